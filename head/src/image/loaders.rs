//! The image's own shim and GRUB, for machines with Secure Boot: a distribution's shim trusts its own GRUB and its own kernels
//! and no other's, so that the three belong together. They are copied at build time: on the image's tree they may be root's alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::error::Doing as _;
use super::tree::Tree;
use super::{ImageError, Version};
use crate::boot::SignedLoader;

const LOADERS: &str = "loaders";
/// Largest loader. Bytes.
const LOADER_MAX: usize = 8 * 1024 * 1024;
/// Where distributions put them: Debian and Ubuntu, SUSE, and what a boot partition has. GRUB has to be one that boots from the
/// network; `*` is any one directory.
const SHIM: [&str; 5] = [
    "usr/lib/shim/shimx64.efi.signed.latest",
    "usr/lib/shim/shimx64.efi.signed",
    "usr/share/efi/x86_64/shim.efi",
    "boot/efi/EFI/*/shimx64.efi",
    "usr/lib/efi/shim/*/EFI/*/shimx64.efi",
];
const GRUB: [&str; 5] = [
    "usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed",
    "usr/share/efi/x86_64/grub.efi",
    "boot/efi/EFI/*/grubx64.efi",
    "usr/lib/efi/grub/*/EFI/*/grubx64.efi",
    "usr/lib64/efi/grub.efi",
];

const fn places(loader: SignedLoader) -> &'static [&'static str] {
    match loader {
        SignedLoader::Shim => &SHIM,
        SignedLoader::Grub => &GRUB,
    }
}

/// Copies what the tree has into a version that is being built; nothing where it has not both.
pub(super) fn collect(tree: &Tree, dir: &Path) -> Result<bool, ImageError> {
    let (Some(shim), Some(grub)) = (find(tree, SignedLoader::Shim), find(tree, SignedLoader::Grub)) else {
        return Ok(false);
    };
    let place = dir.join(LOADERS);
    fs::create_dir(&place).doing("create", &place)?;
    for (loader, bytes) in [(SignedLoader::Shim, shim), (SignedLoader::Grub, grub)] {
        let path = place.join(loader.name());
        fs::write(&path, bytes).doing("write", &path)?;
    }
    Ok(true)
}

fn find(tree: &Tree, loader: SignedLoader) -> Option<Vec<u8>> {
    let candidates = places(loader).iter().flat_map(|pattern| expand(tree, pattern));
    candidates.filter_map(|path| tree.read(path).ok()).find(|bytes| is_program(bytes))
}

fn expand(tree: &Tree, pattern: &str) -> Vec<String> {
    pattern.split('/').fold(vec![String::new()], |paths, part| {
        let next = |path: &String| match part {
            "*" => tree.names(path).into_iter().map(|name| format!("{path}/{name}")).collect::<Vec<_>>(),
            _ => vec![if path.is_empty() { part.to_owned() } else { format!("{path}/{part}") }],
        };
        paths.iter().flat_map(next).collect()
    })
}

/// A program of UEFI begins as one of DOS did (PE/COFF).
fn is_program(bytes: &[u8]) -> bool {
    bytes.starts_with(b"MZ") && bytes.len() <= LOADER_MAX
}

impl Version {
    /// The image's own shim or GRUB; `None` where it did not have both when it was built.
    pub fn loader(&self, loader: SignedLoader) -> Option<PathBuf> {
        let path = self.dir().join(LOADERS).join(loader.name());
        path.is_file().then_some(path)
    }
}

/// shim or GRUB of the head's own distribution, below `root`.
///
/// # Errors
/// Where there is none; the text says what to install.
pub fn head_loader(root: &Path, loader: SignedLoader) -> io::Result<Bytes> {
    let missing = || {
        let name = loader.name();
        let why = format!(
            "neither the image nor this head has a {name} for Secure Boot: install shim and a signed GRUB for network boots \
             in the image (on Debian the packages shim-signed and grub-efi-amd64-signed) and build it again"
        );
        io::Error::new(io::ErrorKind::NotFound, why)
    };
    find(&Tree::new(root), loader).map(Bytes::from).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, path: &str, bytes: &[u8]) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn an_image_gives_its_own_loaders_or_none() {
        let (root, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let tree = Tree::new(root.path());
        put(root.path(), "boot/efi/EFI/rocky/shimx64.efi", b"MZ shim");
        assert!(!collect(&tree, dir.path()).unwrap(), "a shim alone leads nowhere");
        put(root.path(), "usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed", b"no program");
        put(root.path(), "boot/efi/EFI/rocky/grubx64.efi", b"MZ grub");
        assert!(collect(&tree, dir.path()).unwrap());
        assert_eq!(fs::read(dir.path().join("loaders/grubx64.efi")).unwrap(), b"MZ grub");
        assert_eq!(fs::read(dir.path().join("loaders/shimx64.efi")).unwrap(), b"MZ shim");
        assert_eq!(head_loader(root.path(), SignedLoader::Shim).unwrap(), "MZ shim");
        let error = head_loader(dir.path(), SignedLoader::Grub).unwrap_err().to_string();
        assert!(error.contains("grubx64.efi") && error.contains("grub-efi-amd64-signed"), "{error}");
    }

    #[test]
    fn a_link_out_of_the_image_finds_nothing_of_the_heads() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        put(outside.path(), "secret", b"MZ secret");
        put(root.path(), "usr/lib/shim/x", b"");
        let link = root.path().join("usr/lib/shim/shimx64.efi.signed");
        std::os::unix::fs::symlink(outside.path().join("secret"), link).unwrap();
        assert!(find(&Tree::new(root.path()), SignedLoader::Shim).is_none());
    }
}
