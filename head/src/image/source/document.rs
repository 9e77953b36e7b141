//! Manifests and indexes of container images (OCI image-spec 1.1, "Image Manifest" and "Image Index"; Docker's "Image Manifest
//! Version 2, Schema 2", which says the same in other media types). They come from the network.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use wulfpack_shared::limits::{OCI_DOCUMENT_MAX, OCI_LAYERS_MAX};

/// Annotation with the tag of an image in a layout (image-spec, "Image Layout").
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Why a document of a container image cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Longer than any manifest.
    #[error("it has {len} bytes, a manifest has at most {OCI_DOCUMENT_MAX}")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// Not JSON of the right form.
    #[error("it is not a manifest: {0}")]
    Syntax(String),
    /// Both a list and an image, or neither.
    #[error("it is neither a manifest nor an index of a container image{0}")]
    Kind(&'static str),
    /// More layers than anybody makes.
    #[error("it names more than {OCI_LAYERS_MAX} parts")]
    TooMany,
    /// Not a digest that can be checked.
    #[error("{0:?} is not a sha256 digest")]
    Digest(String),
    /// Not what the text of a platform looks like.
    #[error("{0:?} is not a platform such as linux/amd64 or linux/arm64/v8")]
    Platform(String),
    /// The image is not there for this machine.
    #[error("it has nothing for {wanted}; it has {}", have.join(", "))]
    NoPlatform {
        /// What was asked for.
        wanted: Platform,
        /// What there is.
        have: Vec<String>,
    },
    /// A layout holds several images.
    #[error("it holds {}; add one behind a colon", if .0.is_empty() { "no image".to_owned() } else { format!("the images {}", .0.join(", ")) })]
    Ambiguous(Vec<String>),
}

/// A sha256 digest of content: `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(Sha256::digest(bytes).as_slice())
    }

    pub(in crate::image) fn from_hash(hash: &[u8]) -> Self {
        Self(data_encoding::HEXLOWER.encode(hash))
    }

    /// Its 64 digits.
    pub fn hex(&self) -> &str {
        &self.0
    }

    /// Where content with this digest lies in a directory of blobs.
    pub fn path(&self, blobs: &Path) -> PathBuf {
        blobs.join("sha256").join(&self.0)
    }
}

impl FromStr for Digest {
    type Err = DocumentError;

    fn from_str(text: &str) -> Result<Self, DocumentError> {
        let hex = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64);
        let hex = hex.filter(|hex| hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        hex.map(|hex| Self(hex.to_owned())).ok_or_else(|| DocumentError::Digest(text.chars().take(100).collect()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a container image runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Such as `linux`.
    pub os: String,
    /// As Go names it: `amd64`, `arm64`.
    pub architecture: String,
    /// Such as `v8`; none counts as any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// Linux on the machine that this runs on.
    pub fn of_head() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: None }
    }

    /// Whether an image for `self` is one for `wanted`.
    pub(super) fn fits(&self, wanted: &Self) -> bool {
        let variant = wanted.variant.is_none() || wanted.variant == self.variant;
        self.os == wanted.os && self.architecture == wanted.architecture && variant
    }
}

impl FromStr for Platform {
    type Err = DocumentError;

    fn from_str(text: &str) -> Result<Self, DocumentError> {
        let parts: Vec<&str> = text.split('/').collect();
        let good = |part: &&str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        };
        if !parts.iter().all(good) {
            return Err(DocumentError::Platform(text.to_owned()));
        }
        let (os, architecture, variant) = match parts.as_slice() {
            // Warewulf's form.
            [architecture] => ("linux", *architecture, None),
            [os, architecture] => (*os, *architecture, None),
            [os, architecture, variant] => (*os, *architecture, Some((*variant).to_owned())),
            _ => return Err(DocumentError::Platform(text.to_owned())),
        };
        let architecture = match architecture {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Ok(Self { os: os.to_owned(), architecture: architecture.to_owned(), variant })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

/// Names content by what it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Descriptor {
    /// Of the content.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// What it runs on, in an index.
    #[serde(default)]
    pub platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    fn tag(&self) -> Option<&str> {
        self.annotations.as_ref()?.get(REF_NAME).map(String::as_str)
    }
}

#[derive(Deserialize)]
struct Raw {
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

/// What a registry or a layout answers for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image for each of several machines, or several images.
    Index(Vec<Descriptor>),
    /// One image.
    Manifest {
        /// Its configuration.
        config: Descriptor,
        /// Its layers, the lowest first.
        layers: Vec<Descriptor>,
    },
}

impl Document {
    /// Reads one.
    ///
    /// # Errors
    /// Where it is too long, no such document, or one that could be read as two different things.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        if bytes.len() > OCI_DOCUMENT_MAX {
            return Err(DocumentError::TooLong { len: bytes.len() });
        }
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| DocumentError::Syntax(error.to_string()))?;
        match raw {
            // CVE-2021-41190: what one reader takes for a list another takes for an image.
            Raw { manifests: Some(_), layers, config } if layers.is_some() || config.is_some() => {
                Err(DocumentError::Kind(", but both at once"))
            }
            Raw { manifests: Some(list), .. } if list.len() <= OCI_LAYERS_MAX => Ok(Self::Index(list)),
            Raw { config: Some(config), layers: Some(layers), .. } if layers.len() <= OCI_LAYERS_MAX => {
                Ok(Self::Manifest { config, layers })
            }
            Raw { manifests: Some(_), .. } | Raw { config: Some(_), layers: Some(_), .. } => {
                Err(DocumentError::TooMany)
            }
            _ => Err(DocumentError::Kind(" (Docker's schema 1 is too old: push it again with a current tool)")),
        }
    }

    /// The image for a machine among those of an index.
    ///
    /// # Errors
    /// Where there is none; names what there is.
    pub fn choose<'a>(index: &'a [Descriptor], wanted: &Platform) -> Result<&'a Descriptor, DocumentError> {
        // An index that names no platform at all can only mean one image.
        if let [only] = index
            && only.platform.is_none()
        {
            return Ok(only);
        }
        let fits = |entry: &&Descriptor| entry.platform.as_ref().is_some_and(|platform| platform.fits(wanted));
        index.iter().find(fits).ok_or_else(|| {
            let known = |platform: &&Platform| platform.os != "unknown";
            let have = index.iter().filter_map(|entry| entry.platform.as_ref()).filter(known);
            DocumentError::NoPlatform { wanted: wanted.clone(), have: have.map(ToString::to_string).collect() }
        })
    }

    /// The image with this tag among those of a layout; without a tag the only one.
    ///
    /// # Errors
    /// Where there is none, or more than one.
    pub fn tagged<'a>(index: &'a [Descriptor], tag: Option<&str>) -> Result<&'a Descriptor, DocumentError> {
        let mut found = index.iter().filter(|entry| tag.is_none() || entry.tag() == tag);
        match (found.next(), found.next()) {
            (Some(entry), None) => Ok(entry),
            _ => {
                Err(DocumentError::Ambiguous(index.iter().filter_map(|entry| entry.tag().map(str::to_owned)).collect()))
            }
        }
    }
}

/// What an image's configuration says of the machine it is for; `None` where it is no such document.
pub(super) fn config_platform(bytes: &[u8]) -> Option<Platform> {
    (bytes.len() <= OCI_DOCUMENT_MAX).then(|| serde_json::from_slice(bytes).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> String {
        format!("sha256:{}", format!("{byte:02x}").repeat(32))
    }

    fn entry(byte: u8, rest: &str) -> String {
        format!(r#"{{"mediaType": "m", "size": 7, "digest": "{}"{rest}}}"#, digest(byte))
    }

    #[test]
    fn the_image_for_the_machine_is_chosen_and_what_there_is_instead_is_named() {
        let platform = |text: &str| format!(r#", "platform": {{{text}}}"#);
        let text = format!(
            r#"{{"schemaVersion": 2, "manifests": [{}, {}, {}]}}"#,
            entry(1, &platform(r#""os": "linux", "architecture": "amd64""#)),
            entry(2, &platform(r#""os": "linux", "architecture": "arm64", "variant": "v8""#)),
            entry(3, &platform(r#""os": "unknown", "architecture": "unknown""#)),
        );
        let Document::Index(index) = Document::parse(text.as_bytes()).unwrap() else { panic!("an index") };
        let of =
            |wanted: &str| Document::choose(&index, &wanted.parse().unwrap()).map(|entry| entry.digest.to_string());
        for (wanted, byte) in [("amd64", 1), ("linux/x86_64", 1), ("arm64", 2), ("linux/arm64/v8", 2)] {
            assert_eq!(of(wanted).unwrap(), digest(byte), "{wanted}");
        }
        let error = of("linux/arm64/v7").unwrap_err().to_string();
        assert_eq!(error, "it has nothing for linux/arm64/v7; it has linux/amd64, linux/arm64/v8");
        for bad in ["", "linux/", "a/b/c/d", "linux amd64", "a/b/../x"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_both_a_list_and_an_image_or_neither_is_refused() {
        let (config, layers) = (entry(1, ""), entry(2, ""));
        let image = format!(r#"{{"config": {config}, "layers": [{layers}]}}"#);
        assert!(matches!(Document::parse(image.as_bytes()), Ok(Document::Manifest { .. })));
        let both = format!(r#"{{"config": {config}, "layers": [{layers}], "manifests": []}}"#);
        for bad in [both.as_str(), "{}", "[]", r#"{"schemaVersion": 1, "fsLayers": []}"#] {
            assert!(Document::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(matches!(Document::parse(&vec![b' '; OCI_DOCUMENT_MAX + 1]), Err(DocumentError::TooLong { .. })));
        let many = format!(r#"{{"config": {config}, "layers": [{}]}}"#, vec![layers; OCI_LAYERS_MAX + 1].join(","));
        assert_eq!(Document::parse(many.as_bytes()), Err(DocumentError::TooMany));
    }

    #[test]
    fn a_digest_is_64_digits_and_never_a_path() {
        assert_eq!(Digest::of(b"").hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let up = format!("sha256:{}", "../".repeat(22));
        for bad in ["sha256:", "sha512:00", &digest(1).to_uppercase(), &up[..71], "latest"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_image_of_a_layout_is_found_by_its_tag() {
        let tag = |name: &str| format!(r#", "annotations": {{"{REF_NAME}": "{name}"}}"#);
        let text = format!(r#"{{"manifests": [{}, {}]}}"#, entry(1, &tag("a")), entry(2, &tag("b")));
        let Document::Index(index) = Document::parse(text.as_bytes()).unwrap() else { panic!("an index") };
        assert_eq!(Document::tagged(&index, Some("b")).unwrap().digest.to_string(), digest(2));
        assert_eq!(Document::tagged(&index[..1], None).unwrap().digest.to_string(), digest(1));
        let error = Document::tagged(&index, None).unwrap_err().to_string();
        assert_eq!(error, "it holds the images a, b; add one behind a colon");
    }
}
