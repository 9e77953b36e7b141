//! What the tests of this folder stand on: a namespace, a tree with one of everything, and a way to compare trees.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

pub(super) const MIB: u64 = 1024 * 1024;

/// Runs `test` in an empty tmpfs of a mount namespace of its own.
pub(crate) fn in_mounts(test: impl FnOnce(&Path) + Send + 'static) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let thread = std::thread::spawn(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS) {
            eprintln!("SKIPPED: no mount namespace ({error}); run as root");
            return;
        }
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        mount("test", &path, "tmpfs", MountFlags::empty(), c"mode=0755").unwrap();
        test(&path);
    });
    thread.join().unwrap();
}

/// Makes a squashfs of the tree; `None`, said aloud, where mksquashfs or the kernel's loop driver is missing.
pub(super) fn squash(tree: &Path, blob: &Path) -> Option<()> {
    if !Path::new("/dev/loop-control").exists() || Command::new("mksquashfs").arg("-version").output().is_err() {
        eprintln!("SKIPPED: needs mksquashfs and /dev/loop-control");
        return None;
    }
    let made = Command::new("mksquashfs").args([tree, blob]).args(["-quiet", "-no-progress", "-xattrs"]).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(())
}

/// A tree with one of everything.
pub(super) fn tree(root: &Path) {
    for dir in ["usr/bin", "etc", "dev", "var/lib/dbus", "var/tmp/kept", "run", "data/a/b", "proc", "sys"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    let file = |path: &str, mode: u32, content: &[u8]| {
        fs::write(root.join(path), content).unwrap();
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    symlink("usr/bin", root.join("bin")).unwrap();
    symlink("/nowhere/at all", root.join("etc/dangling")).unwrap();
    lchown(root.join("etc/dangling"), Some(7), Some(8)).unwrap();
    file("usr/bin/su", 0o644, b"#!setuid");
    chown(root.join("usr/bin/su"), Some(12), Some(34)).unwrap();
    fs::set_permissions(root.join("usr/bin/su"), fs::Permissions::from_mode(0o6755)).unwrap();
    file("usr/bin/ping", 0o755, b"caps");
    // cap_net_raw=ep, version 2 (linux/capability.h).
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    xattr::set(root.join("usr/bin/ping"), "security.capability", &capability).unwrap();
    xattr::set(root.join("usr/bin/ping"), "trusted.note", b"t").unwrap();
    fs::hard_link(root.join("usr/bin/ping"), root.join("data/a/b/ping")).unwrap();
    fs::hard_link(root.join("usr/bin/ping"), root.join("data/a/ping")).unwrap();
    file("etc/shadow", 0o000, b"root:*:");
    file("etc/empty", 0o600, b"");
    file("var/tmp/kept/x", 0o640, b"kept");
    fs::set_permissions(root.join("var/tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    let sparse = File::create(root.join("data/sparse")).unwrap();
    sparse.write_all_at(b"middle", 3 * MIB + 17).unwrap();
    sparse.set_len(8 * MIB + 5).unwrap();
    let big: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    file("data/big", 0o644, &big);
    let node =
        |path: &str, kind, mode, dev| mknodat(CWD, root.join(path), kind, Mode::from_raw_mode(mode), dev).unwrap();
    node("dev/null", FileType::CharacterDevice, 0o666, makedev(1, 3));
    node("dev/disk", FileType::BlockDevice, 0o660, makedev(8, 1));
    node("data/fifo", FileType::Fifo, 0o622, 0);
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for path in ["data/a", "usr/bin/su", "usr"] {
        File::open(root.join(path)).unwrap().set_modified(old).unwrap();
    }
}

#[derive(Debug, PartialEq)]
pub(super) struct Inode {
    mode: u32,
    owner: (u32, u32),
    mtime: i64,
    rdev: u64,
    content: blake3::Hash,
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path of the same inode.
    same_as: PathBuf,
}

/// Everything about every inode.
pub(super) fn snapshot(root: &Path) -> BTreeMap<PathBuf, Inode> {
    fn walk(root: &Path, path: &Path, found: &mut BTreeMap<PathBuf, Inode>, first: &mut BTreeMap<(u64, u64), PathBuf>) {
        let full = root.join(path);
        let meta = fs::symlink_metadata(&full).unwrap();
        let content = if meta.is_file() {
            fs::read(&full).unwrap()
        } else if meta.is_symlink() {
            fs::read_link(&full).unwrap().as_os_str().as_bytes().to_vec()
        } else {
            vec![]
        };
        let names = xattr::list(&full).unwrap().filter(|name| !name.as_bytes().starts_with(b"trusted.overlay"));
        let attributes = names
            .map(|name| (name.as_bytes().to_vec(), xattr::get(&full, &name).unwrap().unwrap_or_default()))
            .collect();
        // A directory has one name; on overlayfs its number may be that of a file of the other layer.
        let number = (meta.dev(), meta.ino());
        let same_as =
            if meta.is_dir() { path } else { first.entry(number).or_insert_with(|| path.to_owned()) }.to_owned();
        let inode = Inode {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            mtime: meta.mtime(),
            rdev: meta.rdev(),
            content: blake3::hash(&content),
            attributes,
            same_as,
        };
        found.insert(path.to_owned(), inode);
        if meta.is_dir() {
            let mut names: Vec<_> = fs::read_dir(&full).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            for name in names {
                walk(root, &path.join(name), found, first);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, Path::new(""), &mut found, &mut BTreeMap::new());
    found
}
