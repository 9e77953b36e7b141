//! In a mount namespace of their own, as root, with mksquashfs; skipped aloud where that is not possible.

use std::fs::{self, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;

use rustix::fs::statvfs;
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, unmount};
use wulfpack_shared::image::{ACLS_FILE, FileAcls, encode_acls};
use wulfpack_shared::overlay::{Bundle, Context, Entry, EntryKind};
use wulfpack_shared::wire::{NodeSettings, RootMode, SeedPolicy};

use super::copy::{copy_tree, open_dir};
use super::testing::{MIB, in_mounts, snapshot, squash, tree};
use super::*;

fn mounts() -> String {
    fs::read_to_string("/proc/thread-self/mounts").unwrap()
}

/// A root of this mode with these tmpfs directories, made in `dir`; the tree lies in `dir/tree`.
fn root(dir: &Path, mode: RootMode, upper: u64, tmpfs_dirs: &[&str]) -> Option<(Root, BlobDir)> {
    tree(&dir.join("tree"));
    squash(&dir.join("tree"), &dir.join("made"))?;
    let made = fs::read(dir.join("made")).unwrap();
    let image = BlobDir::mount(&dir.join("run/wulfpack/image"), blob_bytes(made.len() as u64, 36)).unwrap();
    let blob = image.path().join("blob");
    fs::write(&blob, &made).unwrap();
    image.remount_ro().unwrap();
    let dirs: Vec<String> = tmpfs_dirs.iter().map(ToString::to_string).collect();
    let memory = check_memory(u64::MAX, made.len() as u64, 16 * MIB, mode, 0, 0).unwrap();
    let root = match mode {
        RootMode::Overlay => upper,
        RootMode::Tmpfs => memory.root - memory.upper + upper,
    };
    let spec = RootSpec {
        mode,
        blob: &blob,
        memory: MemoryPlan { upper, root },
        newroot: &dir.join("newroot"),
        work: &dir.join("run/wulfpack/root"),
        tmpfs_dirs: &dirs,
    };
    Some((assemble(&spec).unwrap(), image))
}

#[test]
fn every_inode_survives_the_unpacked_root() {
    in_mounts(|dir| {
        let Some((root, _image)) = root(dir, RootMode::Tmpfs, 8 * MIB, &[]) else { return };
        let (image, copy) = (snapshot(&dir.join("tree")), snapshot(&root.newroot));
        for (path, inode) in &image {
            assert_eq!(copy.get(path), Some(inode), "{}", path.display());
        }
        assert_eq!(image.len(), copy.len());
        let sparse = fs::metadata(root.newroot.join("data/sparse")).unwrap();
        assert!(sparse.blocks() * 512 <= 8192, "{} blocks", sparse.blocks());
        // The squashfs is gone, and with it its loop device.
        assert!(!mounts().contains("squashfs"), "{}", mounts());
    });
}

#[test]
fn every_inode_shows_in_the_overlay_root_and_reading_it_takes_no_memory() {
    in_mounts(|dir| {
        let Some((root, image)) = root(dir, RootMode::Overlay, 8 * MIB, &[]) else { return };
        let used = || {
            [image.path(), &dir.join("run/wulfpack/root/write")].map(|path| {
                let stat = statvfs(path).unwrap();
                (stat.f_blocks - stat.f_bfree, stat.f_files - stat.f_ffree)
            })
        };
        let before = used();
        let (tree, shown) = (snapshot(&dir.join("tree")), snapshot(&root.newroot));
        assert_eq!(used(), before);
        for (path, inode) in &tree {
            assert_eq!(shown.get(path), Some(inode), "{}", path.display());
        }
        assert_eq!(tree.len(), shown.len());
    });
}

/// rw for the owner, r for user 1000, r for group and mask (linux/posix_acl_xattr.h).
fn acl() -> Vec<u8> {
    let entries = [(1u16, 6u16, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (0x10, 4, u32::MAX), (0x20, 0, u32::MAX)];
    let entry =
        |(tag, perm, id): (u16, u16, u32)| [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat();
    [2u32.to_le_bytes().to_vec()].into_iter().chain(entries.map(entry)).flatten().collect()
}

#[test]
fn acls_that_travelled_beside_the_squashfs_are_given_back() {
    for mode in [RootMode::Overlay, RootMode::Tmpfs] {
        in_mounts(move |dir| {
            let wanted = [("data/a", true, true), ("etc/empty", true, false), ("", false, true)];
            let files = wanted.map(|(path, access, default)| FileAcls {
                path: path.into(),
                access: access.then(acl),
                default: default.then(acl),
            });
            fs::create_dir_all(dir.join("tree")).unwrap();
            fs::write(dir.join("tree").join(ACLS_FILE), encode_acls(&files)).unwrap();
            let Some((root, _image)) = root(dir, mode, 8 * MIB, &["/data"]) else { return };
            assert_eq!(root.notes, Vec::<String>::new());
            let got = |path: &str, name: &str| xattr::get(root.newroot.join(path), name).unwrap();
            for (path, access, default) in wanted {
                assert_eq!(got(path, "system.posix_acl_access"), access.then(acl), "{path}");
                assert_eq!(got(path, "system.posix_acl_default"), default.then(acl), "{path}");
            }
            assert!(!root.newroot.join(ACLS_FILE).exists());
            let time = |path: &Path| fs::metadata(path).unwrap().mtime();
            assert_eq!(time(&root.newroot), time(&dir.join("tree")));
        });
    }
}

#[test]
fn acls_and_user_attributes_are_copied() {
    in_mounts(|dir| {
        let (from, to) = (dir.join("from"), dir.join("to"));
        fs::create_dir_all(from.join("d")).unwrap();
        fs::create_dir_all(&to).unwrap();
        fs::write(from.join("f"), "x").unwrap();
        let acl = acl();
        let set =
            [("f", "system.posix_acl_access"), ("d", "system.posix_acl_access"), ("d", "system.posix_acl_default")];
        for (path, name) in set {
            if xattr::set(from.join(path), name, &acl).is_err() {
                eprintln!("SKIPPED: this kernel's tmpfs has no ACLs");
                return;
            }
        }
        let user = xattr::set(from.join("f"), "user.note", b"u");
        eprintln!("user attributes on tmpfs: {user:?}");
        let copied = copy_tree(open_dir(&from).unwrap().as_fd(), open_dir(&to).unwrap().as_fd()).unwrap();
        assert_eq!((copied.inodes, copied.bytes, copied.dropped_attributes), (2, 1, 0));
        assert_eq!(snapshot(&from), snapshot(&to));
    });
}

#[test]
fn a_full_upper_layer_is_an_error_of_the_writer_and_of_nobody_else() {
    in_mounts(|dir| {
        let Some((root, _image)) = root(dir, RootMode::Overlay, MIB, &["/tmp"]) else { return };
        let error = fs::write(root.newroot.join("filler"), vec![1; 2 * MIB as usize]).unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::NOSPC));
        assert_eq!(fs::read(root.newroot.join("data/big")).unwrap().len(), 3_000_000);
        let content = EntryKind::File(vec![1u8; MIB as usize].into());
        let entry = Entry { path: "etc/x".into(), kind: content, mode: 0o644, uid: 0, gid: 0, secret: false };
        let bundle =
            Bundle { name: "big".parse().unwrap(), context: Context::System, entries: vec![entry], reload: vec![] };
        let error = crate::overlay::apply(&root.newroot, &bundle).unwrap_err();
        assert!(error.source == Errno::NOSPC && error.to_string().contains("root.size"), "{error}");
        fs::write(root.newroot.join("tmp/elsewhere"), "fits").unwrap();
        fs::remove_file(root.newroot.join("filler")).unwrap();
        fs::write(root.newroot.join("etc/again"), "fits").unwrap();
    });
}

#[test]
fn each_tmpfs_directory_keeps_its_content_and_takes_an_overlay_on_top() {
    in_mounts(|dir| {
        let dirs = ["/var/tmp", "/tmp", "/var/lib/containers", "/data", "/bin/store", "/etc/shadow", "../x"];
        let Some((root, _image)) = root(dir, RootMode::Overlay, 4 * MIB, &dirs) else { return };
        assert_eq!(fs::read(root.newroot.join("var/tmp/kept/x")).unwrap(), b"kept");
        assert_eq!(fs::read(root.newroot.join("data/a/ping")).unwrap(), b"caps");
        let modes = ["tmp", "var/tmp"].map(|path| fs::metadata(root.newroot.join(path)).unwrap().mode() & 0o7777);
        assert_eq!(modes, [0o1777, 0o1777]);
        assert_eq!(root.notes.len(), 2, "{:?}", root.notes);
        for path in ["var/tmp", "tmp", "var/lib/containers", "data", "usr/bin/store"] {
            let base = root.newroot.join(path).join("test");
            for name in ["lower", "upper", "work", "merged"] {
                fs::create_dir_all(base.join(name)).unwrap();
            }
            let at = |name: &str| base.join(name).display().to_string();
            let options = format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
            let options = std::ffi::CString::new(options).unwrap();
            mount("o", base.join("merged"), "overlay", MountFlags::empty(), options.as_c_str()).unwrap();
            fs::write(base.join("merged/f"), path).unwrap();
            assert_eq!(fs::read_to_string(base.join("upper/f")).unwrap(), path);
            unmount(base.join("merged"), rustix::mount::UnmountFlags::empty()).unwrap();
        }
    });
}

#[test]
fn a_root_that_fails_leaves_nothing_mounted() {
    in_mounts(|dir| {
        fs::write(dir.join("blob"), vec![7; 65_536]).unwrap();
        let before = mounts();
        let spec = |mode, root| RootSpec {
            mode,
            blob: Box::leak(dir.join("blob").into_boxed_path()),
            memory: MemoryPlan { upper: MIB, root },
            newroot: Box::leak(dir.join("newroot").into_boxed_path()),
            work: Box::leak(dir.join("work").into_boxed_path()),
            tmpfs_dirs: &[],
        };
        let error = assemble(&spec(RootMode::Overlay, MIB)).unwrap_err().to_string();
        assert!(error.contains("squashfs"), "{error}");
        assert_eq!(mounts(), before);
        tree(&dir.join("tree"));
        fs::remove_file(dir.join("blob")).unwrap();
        let Some(()) = squash(&dir.join("tree"), &dir.join("blob")) else { return };
        let error = assemble(&spec(RootMode::Tmpfs, MIB)).unwrap_err();
        assert!(error.source == Errno::NOSPC && error.to_string().contains("data/big"), "{error}");
        assert_eq!(mounts(), before);
    });
}

#[test]
fn the_blobs_tmpfs_is_closed_bounded_and_becomes_read_only() {
    in_mounts(|dir| {
        let image = BlobDir::mount(&dir.join("wulfpack/image"), blob_bytes(100_000, 36)).unwrap();
        for path in [dir.join("wulfpack"), image.path().to_owned()] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, 0o700);
        }
        let file = OpenOptions::new().write(true).create_new(true).open(image.path().join("blob")).unwrap();
        file.write_all_at(&[1; 100_000], 0).unwrap();
        assert!(file.write_all_at(&[1; 4096], 3 * MIB).is_ok());
        assert!(file.write_all_at(&vec![1; 2 * MIB as usize], 0).is_err());
        assert!(image.remount_ro().unwrap_err().to_string().contains("still open for writing"));
        drop(file);
        image.remount_ro().unwrap();
        let error = fs::write(image.path().join("more"), "").unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::ROFS));
        image.unmount().unwrap();
        assert!(!mounts().contains("wulfpack-image"));
    });
}

fn settings() -> NodeSettings {
    NodeSettings {
        name: "n1".parse().unwrap(),
        hostname: "n1.cluster".into(),
        machine_id: [0xab; 16],
        entropy: [0; 32],
        root: RootMode::Overlay,
        root_percent: 25,
        tmpfs_dirs: vec![],
        init: "/sbin/init".into(),
        kernel: "6.1".into(),
        seed: SeedPolicy::default(),
        manners: Default::default(),
        overlays: vec![],
    }
}

#[test]
fn identity_is_written_and_nothing_needs_an_update() {
    in_mounts(|dir| {
        let root = dir.join("root");
        tree(&root);
        symlink("/data/id", root.join("etc/machine-id")).unwrap();
        finish(&root, &settings()).unwrap();
        let id = format!("{}\n", "ab".repeat(16));
        assert_eq!(fs::read_to_string(root.join("etc/machine-id")).unwrap(), id);
        assert_eq!(fs::read_link(root.join("var/lib/dbus/machine-id")).unwrap(), Path::new("/etc/machine-id"));
        assert_eq!(rustix::system::uname().nodename(), c"n1.cluster");
        for path in ["etc/.updated", "var/.updated"] {
            assert_eq!(fs::metadata(root.join(path)).unwrap().mtime(), 1_000_000_000);
            assert!(fs::read_to_string(root.join(path)).unwrap().contains("TIMESTAMP_NSEC=1000000000000000000"));
        }
    });
}

#[test]
fn the_switch_moves_the_mounts_and_empties_only_the_initramfs() {
    in_mounts(|dir| {
        let initramfs = dir.join("initramfs");
        fs::create_dir(&initramfs).unwrap();
        mount("rootfs", &initramfs, "tmpfs", MountFlags::empty(), c"mode=0755").unwrap();
        rustix::process::chroot(&initramfs).unwrap();
        rustix::process::chdir("/").unwrap();
        fs::create_dir_all("/lib/modules").unwrap();
        fs::write("/lib/modules/x.ko", "x").unwrap();
        fs::write("/init", "agent").unwrap();
        mount_early().unwrap();
        mount_early().unwrap(); // what is mounted stays as it is
        assert!(
            Path::new("/dev/null").exists() && Path::new("/proc/self").exists() && Path::new("/sys/class").exists()
        );
        fs::create_dir("/newroot").unwrap();
        assert_eq!(switch(Path::new("/newroot")).unwrap_err().source, Errno::PERM);
        assert!(Path::new("/init").exists());
        BlobDir::mount(Path::new("/run/wulfpack/image"), MIB).unwrap();
        fs::write("/run/wulfpack/image/blob", "image").unwrap();
        mount("root", "/newroot", "tmpfs", MountFlags::empty(), None).unwrap();
        fs::write("/newroot/system", "real").unwrap();
        let old = open_dir(Path::new("/")).unwrap();
        // /init, /lib/modules/x.ko with two directories; the mount points are empty directories by now.
        let deleted = move_mounts_and_switch(Path::new("/newroot")).unwrap();
        assert!(deleted >= 4, "{deleted}");
        let left: Vec<_> =
            rustix::fs::Dir::new(old).unwrap().map(|entry| entry.unwrap().file_name().to_owned()).collect();
        assert!(!left.contains(&c"init".to_owned()) && !left.contains(&c"lib".to_owned()), "{left:?}");
        assert_eq!(fs::read_to_string("/system").unwrap(), "real");
        assert_eq!(fs::read_to_string("/run/wulfpack/image/blob").unwrap(), "image");
        assert!(Path::new("/dev/pts/ptmx").exists() && Path::new("/proc/self/status").exists());
        let error = exec_init("/sbin/init", &[]).unwrap_err();
        assert_eq!(error.source, Errno::NOENT);
    });
}
