//! Which kernels an image has, where Warewulf would find them.

use std::cmp::Ordering;
use std::io;

use wulfpack_shared::limits::KERNELS_MAX;

use crate::image::initramfs::unpack;
use crate::image::tree::Tree;

/// Largest kernel that is read, plain. Bytes.
const KERNEL_MAX: u64 = 512 << 20;

/// A kernel together with its modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::image) struct FoundKernel {
    /// As `uname -r` prints it: the name of its directory below `/lib/modules`.
    pub(in crate::image) release: String,
    /// Path of the kernel in the image.
    pub(in crate::image) path: String,
}

/// The kernels that have modules, the default first: the highest release that is neither a debug nor a rescue kernel, then
/// the others in falling order; at most [`KERNELS_MAX`].
///
/// Looks at `/boot/Image-*`, `/boot/vmlinuz-linux*`, `/boot/vmlinuz-*` and `/lib/modules/*/vmlinuz[.gz]`.
pub(in crate::image) fn find_kernels(tree: &Tree) -> Vec<FoundKernel> {
    let mut found: Vec<FoundKernel> = vec![];
    let mut add = |release: String, path: String| {
        let known = found.iter().any(|kernel| kernel.release == release);
        // modules.dep is read for every kernel that counts; without its directory it cannot boot a node.
        if !known && tree.is_dir(format!("lib/modules/{release}")) && tree.is_file(&path) {
            found.push(FoundKernel { release, path });
        }
    };
    let boot = tree.names("boot");
    for name in &boot {
        let path = format!("boot/{name}");
        if let Some(release) = name.strip_prefix("Image-") {
            add(release.to_owned(), path);
        } else if name.starts_with("vmlinuz-linux") {
            // Named after its package, not after its release: the kernel itself knows that.
            if let Some(release) = tree.read(&path).ok().as_deref().and_then(release_of_bzimage) {
                add(release, path);
            }
        } else if let Some(release) = name.strip_prefix("vmlinuz-") {
            add(release.to_owned(), path);
        }
    }
    for release in tree.names("lib/modules") {
        for file in ["vmlinuz", "vmlinuz.gz"] {
            add(release.clone(), format!("lib/modules/{release}/{file}"));
        }
    }
    found.sort_by(|a, b| {
        is_special(&a.release).cmp(&is_special(&b.release)).then_with(|| compare(&b.release, &a.release))
    });
    found.truncate(KERNELS_MAX);
    found
}

/// The kernel's bytes as a boot loader wants them: those of a `vmlinuz.gz` are unpacked.
pub(in crate::image) fn read_kernel(tree: &Tree, kernel: &FoundKernel) -> io::Result<Vec<u8>> {
    unpack(tree.read(&kernel.path)?, KERNEL_MAX)
}

/// Kernels that nobody means to run by default.
fn is_special(release: &str) -> bool {
    release.contains("+debug") || release.contains("-rescue") || release.ends_with("-debug")
}

/// The release in an x86 kernel (Documentation/arch/x86/boot.rst: `kernel_version` at 0x20e, less 0x200).
fn release_of_bzimage(bytes: &[u8]) -> Option<String> {
    (bytes.get(0x202..0x206)? == b"HdrS").then_some(())?;
    let pointer = u16::from_le_bytes(bytes.get(0x20e..0x210)?.try_into().ok()?);
    let text = bytes.get(0x200 + usize::from(pointer)..)?;
    let end = text.iter().take(256).position(|&byte| byte == 0 || byte == b' ')?;
    let release = std::str::from_utf8(text.get(..end)?).ok()?;
    (!release.is_empty() && !release.contains('/')).then(|| release.to_owned())
}

/// Orders releases: runs of digits by value, everything else by its characters.
fn compare(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (parts(a), parts(b));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                // A longer number beats a suffix: 5.14.0 is later than 5.14-rc1.
                (Ok(_), Err(_)) => Ordering::Greater,
                (Err(_), Ok(_)) => Ordering::Less,
                (Err(_), Err(_)) => a.cmp(b),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Runs of digits and runs of letters; whatever separates them is left out.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).flat_map(|word| {
        let mut rest = word;
        std::iter::from_fn(move || {
            let digit = rest.chars().next()?.is_ascii_digit();
            let end = rest.find(|c: char| c.is_ascii_digit() != digit).unwrap_or(rest.len());
            let (part, after) = rest.split_at(end);
            rest = after;
            Some(part)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_by_their_numbers() {
        let ordered = [
            "4.18.0-80.el8.x86_64",
            "4.18.0-553.el8_10.x86_64",
            "5.14-rc1",
            "5.14.0-70.el9",
            "5.14.0-427.13.1.el9_4.x86_64",
            "6.8.0-31-generic",
            "6.8.0-101-generic",
            "6.12.0-55.el10",
        ];
        for pair in ordered.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
    }

    #[test]
    fn the_default_is_the_highest_that_is_neither_debug_nor_rescue() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(dir.path());
        let boot = dir.path().join("boot");
        std::fs::create_dir_all(&boot).unwrap();
        for release in ["6.1.0-9", "6.1.0-13", "6.1.0-20+debug", "0-rescue-0123456789"] {
            std::fs::create_dir_all(dir.path().join("lib/modules").join(release)).unwrap();
            std::fs::write(boot.join(format!("vmlinuz-{release}")), "kernel").unwrap();
        }
        std::fs::write(boot.join("vmlinuz-7.0.0-without-modules"), "kernel").unwrap();
        let releases: Vec<_> = find_kernels(&tree).into_iter().map(|kernel| kernel.release).collect();
        assert_eq!(releases, ["6.1.0-13", "6.1.0-9", "6.1.0-20+debug", "0-rescue-0123456789"]);
    }

    #[test]
    fn a_kernel_named_after_its_package_tells_its_release() {
        let mut image = vec![0; 0x400];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
        image[0x300..0x300 + 20].copy_from_slice(b"6.9.1-arch1-1 (build");
        assert_eq!(release_of_bzimage(&image).as_deref(), Some("6.9.1-arch1-1"));
        assert_eq!(release_of_bzimage(&image[..0x300]), None);
        assert_eq!(release_of_bzimage(b"MZ"), None);
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("boot")).unwrap();
        std::fs::create_dir_all(dir.path().join("usr/lib/modules/6.9.1-arch1-1")).unwrap();
        std::os::unix::fs::symlink("usr/lib", dir.path().join("lib")).unwrap();
        std::fs::write(dir.path().join("boot/vmlinuz-linux"), image).unwrap();
        let expected = FoundKernel { release: "6.9.1-arch1-1".into(), path: "boot/vmlinuz-linux".into() };
        assert_eq!(find_kernels(&Tree::new(dir.path())), [expected]);
    }
}
