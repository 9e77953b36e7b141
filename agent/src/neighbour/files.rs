//! What is given: files that the signed manifest names, and nothing else.

use bytes::Bytes;
use wulfpack_shared::id::VersionId;
use wulfpack_shared::image::{Header, Part};

/// Largest kernel or archive of modules that a node keeps for others. Bytes.
const FILE_MAX: u64 = 256 * 1024 * 1024;
/// The head fills archives up to a multiple of this, so that the next one is found behind them.
const ALIGN: usize = 4;

/// A file that somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Index of the kernel in the manifest.
    kernel: usize,
    /// Its archive of modules, and not the kernel itself.
    modules: bool,
}

impl Wanted {
    /// By which it is kept.
    pub(super) const fn key(self) -> (usize, bool) {
        (self.kernel, self.modules)
    }
}

/// The files of one image version.
#[derive(Clone, Debug)]
pub struct Files {
    version: VersionId,
    header: Header,
}

impl Files {
    /// Those of this version.
    pub const fn new(version: VersionId, header: Header) -> Self {
        Self { version, header }
    }

    /// What a path means: `/files/VERSION/RELEASE/kernel|modules`, as on the head.
    pub fn find(&self, path: &str) -> Option<Wanted> {
        let mut parts = path.strip_prefix("/files/")?.split('/');
        let (version, release, file) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || version != self.version.to_string() {
            return None;
        }
        let kernel = self.header.kernels.iter().position(|kernel| kernel.version == release)?;
        let modules = match file {
            "kernel" => false,
            "modules" => true,
            _ => return None,
        };
        let wanted = Wanted { kernel, modules };
        self.part(wanted).filter(|part| part.len <= FILE_MAX)?;
        Some(wanted)
    }

    /// The path of a file on the head.
    pub fn path(&self, wanted: Wanted) -> Option<String> {
        let kernel = self.header.kernels.get(wanted.kernel)?;
        let file = if wanted.modules { "modules" } else { "kernel" };
        Some(format!("/files/{}/{}/{file}", self.version, kernel.version))
    }

    fn part(&self, wanted: Wanted) -> Option<Part> {
        let kernel = self.header.kernels.get(wanted.kernel)?;
        Some(if wanted.modules { kernel.modules } else { kernel.kernel })
    }

    /// Most bytes that the head may send for it.
    pub fn len_max(&self, wanted: Wanted) -> usize {
        self.part(wanted).map_or(0, |part| usize::try_from(part.len).unwrap_or(0).saturating_add(ALIGN))
    }

    /// The bytes, if they are those of the manifest.
    pub fn verify(&self, wanted: Wanted, bytes: Bytes) -> Option<Bytes> {
        let part = self.part(wanted)?;
        let (file, rest) = bytes.split_at_checked(usize::try_from(part.len).ok()?)?;
        let filled = rest.len() < ALIGN && rest.iter().all(|byte| *byte == 0);
        (filled && Part::of(file) == part).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use wulfpack_shared::id::Hash;
    use wulfpack_shared::image::{Compression, KernelEntry};

    use super::*;

    fn files() -> Files {
        let kernel = KernelEntry {
            version: "6.1.0".into(),
            kernel: Part::of(b"kernel"),
            modules: Part::of(b"mod"),
            default_args: vec![],
        };
        let blob = Part { hash: Hash::of(b"x"), len: 1 };
        let name = "debian".parse().unwrap();
        let pages = vec![Hash::of(b"p")];
        let header = Header::new(name, blob, Compression::Zstd, 1, 1, pages, vec![kernel], "test".into());
        Files::new(VersionId([0x1d; 32]), header)
    }

    #[test]
    fn only_files_of_the_nodes_own_image_are_there() {
        let files = files();
        let version = VersionId([0x1d; 32]);
        let kernel = files.find(&format!("/files/{version}/6.1.0/kernel")).unwrap();
        assert_eq!(files.path(kernel).unwrap(), format!("/files/{version}/6.1.0/kernel"));
        for path in [
            "/",
            "/boot/52-54-00-00-00-01/token",
            &format!("/files/{}/6.1.0/kernel", VersionId([2; 32])),
            &format!("/files/{version}/6.1.1/kernel"),
            &format!("/files/{version}/6.1.0/../kernel"),
            &format!("/files/{version}/6.1.0/manifest"),
            "/etc/shadow",
        ] {
            assert_eq!(files.find(path), None, "{path}");
        }
    }

    #[test]
    fn nothing_is_given_that_is_not_what_the_manifest_says() {
        let files = files();
        let version = VersionId([0x1d; 32]);
        let modules = files.find(&format!("/files/{version}/6.1.0/modules")).unwrap();
        assert_eq!(files.len_max(modules), 7);
        for (bytes, given) in [
            (&b"mod"[..], true),
            (b"mod\0", true),
            (b"moe\0", false),
            (b"mod\x01", false),
            (b"mod\0\0\0\0\0", false),
            (b"mo", false),
            (b"", false),
        ] {
            assert_eq!(files.verify(modules, Bytes::copy_from_slice(bytes)).is_some(), given, "{bytes:?}");
        }
    }
}
