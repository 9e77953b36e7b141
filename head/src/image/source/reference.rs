//! What an administrator writes as the source of an image.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use wulfpack_shared::id::ImageName;

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory or a tar with a root file system.
    Path(PathBuf),
    /// `docker://HOST/NAME[:TAG|@DIGEST]`: without the scheme, as skopeo wants it behind `docker://`.
    Registry(String),
    /// `oci:DIRECTORY[:TAG]`: a layout on disk.
    Layout {
        /// Its directory.
        dir: PathBuf,
        /// Which image of it.
        tag: Option<String>,
    },
    /// What skopeo reads: `oci-archive:`, `docker-archive:`, `docker-daemon:`, `containers-storage:`.
    Archive {
        /// The scheme, with its colon.
        scheme: &'static str,
        /// What follows it.
        rest: String,
    },
}

/// Why a source cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// A scheme that nobody reads.
    #[error(
        "{0:?} is no source: docker://HOST/NAME:TAG, oci:DIRECTORY[:TAG], oci-archive:FILE, docker-archive:FILE, \
         docker-daemon:NAME:TAG, a directory, or a tar archive"
    )]
    Scheme(String),
    /// A registry's image whose name cannot be one.
    #[error("{0:?} is not the name of an image in a registry, such as docker://quay.io/rockylinux/rockylinux:9")]
    Reference(String),
}

/// What skopeo reads beside registries and layouts.
const ARCHIVES: [&str; 4] = ["oci-archive:", "docker-archive:", "docker-daemon:", "containers-storage:"];

impl Source {
    /// A name for the image, taken from the source; `None` if that makes no name.
    pub fn suggested_name(&self) -> Option<ImageName> {
        let text = match self {
            Self::Path(path) => {
                let name = path.file_name()?.to_str()?;
                let suffixes = [".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.zst"];
                suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name).to_owned()
            }
            Self::Registry(reference) => {
                let name = reference.split('@').next()?;
                name.rsplit('/').next()?.replace(':', "-")
            }
            Self::Layout { dir, tag } => {
                let name = dir.file_name()?.to_str()?;
                tag.as_ref().map_or_else(|| name.to_owned(), |tag| format!("{name}-{tag}"))
            }
            Self::Archive { rest, .. } => {
                let name = rest.rsplit('/').next()?;
                name.split(".tar").next()?.replace(':', "-")
            }
        };
        text.parse().ok()
    }

    /// The registry's name for credentials; `None` where there is no registry.
    pub fn registry(&self) -> Option<&str> {
        let Self::Registry(reference) = self else { return None };
        let first = reference.split('/').next().filter(|_| reference.contains('/'));
        // Docker's own rule for what is a host and what is a name on its hub.
        Some(first.filter(|host| host.contains(['.', ':']) || *host == "localhost").unwrap_or("docker.io"))
    }
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        if let Some(reference) = text.strip_prefix("docker://") {
            let plain = |c: char| c.is_ascii_alphanumeric() || "./:@_-[]".contains(c);
            let good = reference.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[');
            return if good && reference.chars().all(plain) && !reference.ends_with(['/', ':', '@']) {
                Ok(Self::Registry(reference.to_owned()))
            } else {
                Err(SourceError::Reference(text.to_owned()))
            };
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            let (dir, tag) = rest.rsplit_once(':').map_or((rest, None), |(dir, tag)| (dir, Some(tag.to_owned())));
            return Ok(Self::Layout { dir: dir.into(), tag });
        }
        if let Some(scheme) = ARCHIVES.into_iter().find(|scheme| text.starts_with(scheme)) {
            return Ok(Self::Archive { scheme, rest: text.strip_prefix(scheme).unwrap_or_default().to_owned() });
        }
        let path = text.strip_prefix("file://").unwrap_or(text);
        if path.contains("://") {
            return Err(SourceError::Scheme(text.to_owned()));
        }
        Ok(Self::Path(path.into()))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Registry(reference) => write!(f, "docker://{reference}"),
            Self::Layout { dir, tag: None } => write!(f, "oci:{}", dir.display()),
            Self::Layout { dir, tag: Some(tag) } => write!(f, "oci:{}:{tag}", dir.display()),
            Self::Archive { scheme, rest } => write!(f, "{scheme}{rest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood_and_printed_as_it_was_written() {
        let digest = format!("docker://ghcr.io/a/b@sha256:{}", "0".repeat(64));
        let cases = [
            ("docker://quay.io/rockylinux/rockylinux:9", Some("rockylinux-9"), Some("quay.io")),
            ("docker://debian", Some("debian"), Some("docker.io")),
            ("docker://warewulf/rocky:9.4", Some("rocky-9.4"), Some("docker.io")),
            ("docker://localhost:5000/a/b", Some("b"), Some("localhost:5000")),
            (digest.as_str(), Some("b"), Some("ghcr.io")),
            ("oci:/srv/layout:9", Some("layout-9"), None),
            ("oci:/srv/layout", Some("layout"), None),
            ("oci-archive:/srv/rocky.tar", Some("rocky"), None),
            ("docker-archive:/srv/rocky.tar.gz", Some("rocky"), None),
            ("docker-daemon:rocky:9", Some("rocky-9"), None),
            ("/srv/chroots/rocky", Some("rocky"), None),
            ("rocky.tar.zst", Some("rocky"), None),
        ];
        for (text, name, registry) in cases {
            let source: Source = text.parse().unwrap();
            assert_eq!(source.to_string(), text);
            assert_eq!(source.suggested_name().map(|name| name.to_string()).as_deref(), name, "{text}");
            assert_eq!(source.registry(), registry, "{text}");
        }
        assert_eq!("file:///srv/x.tar".parse(), Ok(Source::Path("/srv/x.tar".into())));
        for bad in ["docker://", "docker://-x", "docker://a b", "docker://a:", "docker://--help", "http://x/y"] {
            assert!(bad.parse::<Source>().is_err(), "{bad}");
        }
    }
}
