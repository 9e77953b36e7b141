use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::Path;

use wulfpack_shared::id::ImageName;
use wulfpack_shared::identity::SecretKey;
use wulfpack_shared::image::{ACLS_FILE, Compression, Part, decode_acls};

use super::*;
use crate::config::InitramfsConfig;
use crate::image::fixture::{LAYOUTS, Layout, files_of, put};
use crate::image::tree::Tree;
use crate::image::{ArchiveCompression, ImageError, Library, Silent, Version};

pub(super) fn cluster() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

pub(super) fn name() -> ImageName {
    "test".parse().unwrap()
}

/// A library with the image `test` from this layout.
pub(super) fn library(dir: &Path, layout: &Layout) -> Library {
    let library = Library::open(dir.join("images")).unwrap();
    fs::create_dir_all(library.rootfs(&name())).unwrap();
    layout.create(&library.rootfs(&name()));
    library
}

pub(super) fn build(library: &Library) -> Result<Built, ImageError> {
    library.build(&name(), &BuildSettings::default(), &cluster(), &Silent)
}

/// Names that stand in the image's directory.
fn names(library: &Library) -> Vec<String> {
    Tree::new(library.dir().join("test")).names("")
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: this test needs root");
    }
    root
}

#[test]
fn every_distributions_layout_becomes_a_bootable_version() {
    for layout in &LAYOUTS {
        let dir = tempfile::tempdir().unwrap();
        let built = build(&library(dir.path(), layout)).unwrap_or_else(|error| panic!("{}: {error:?}", layout.name));
        let header = built.version.signed().verify(&[cluster().public()]).unwrap();
        let expected = match layout.name {
            "el8" => (Compression::Gzip, ArchiveCompression::Xz),
            _ => (Compression::Zstd, ArchiveCompression::Zstd),
        };
        assert_eq!(header.kernels.len(), 1, "{}", layout.name);
        assert_eq!(header.kernels[0].version, layout.release);
        let kernel = fs::read(built.version.kernel(layout.release).unwrap()).unwrap();
        assert_eq!(kernel, format!("kernel {}", layout.name).into_bytes());
        assert_eq!(Part::of(&kernel), header.kernels[0].kernel);
        let archive = fs::read(built.version.modules(layout.release).unwrap()).unwrap();
        assert_eq!(Part::of(&archive), header.kernels[0].modules);
        assert_eq!((header.compression, ArchiveCompression::detect(&archive)), expected, "{}", layout.name);
        assert_eq!(archive.len() % 512, 0);
        check_archive(layout, &archive);
        let missing: Vec<_> = built.warnings.iter().filter(|warning| warning.contains("firmware")).collect();
        assert_eq!(missing.len(), 1, "{}: {missing:?}", layout.name);
        assert!(missing[0].contains("tg3") && missing[0].contains("tigon/tg3.bin"), "{missing:?}");
        built.version.read_table().unwrap();
    }
}

fn check_archive(layout: &Layout, archive: &[u8]) {
    let files = files_of(archive);
    let base = format!("lib/modules/{}", layout.release);
    let text = |name: &str| String::from_utf8(files[&format!("{base}/{name}")].1.clone()).unwrap();
    // Plain, whole, and with their signatures.
    for path in [
        "kernel/drivers/block/loop.ko",
        "kernel/fs/squashfs/squashfs.ko",
        "kernel/fs/overlayfs/overlay.ko",
        "kernel/drivers/net/virtio_net.ko",
        "kernel/net/core/failover.ko",
        "kernel/drivers/net/ethernet/intel/e1000e/e1000e.ko",
        "kernel/lib/libcrc32c.ko",
        "kernel/sound/core/snd.ko", // only because modprobe.d says so
    ] {
        assert_eq!(files[&format!("{base}/{path}")].1, Layout::module_bytes(path), "{}: {path}", layout.name);
    }
    assert_eq!(files[&format!("{base}/{}", layout.vendor.0)].1, Layout::vendor_bytes(), "{}", layout.name);
    assert_eq!(files[&format!("{base}/extra/nfpx.ko")].1, Layout::foreign_bytes(), "{}", layout.name);
    assert!(!files.keys().any(|name| name.ends_with(".ko.xz") || name.ends_with(".ko.zst")), "{}", layout.name);
    let expected = "kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko\n";
    assert!(text("modules.dep").contains(expected), "{}", text("modules.dep"));
    assert!(text("modules.alias").contains("e1000e") && text("modules.softdep").contains("e1000e"));
    assert!(text("modules.softdep").contains("softdep virtio_net pre: snd"));
    assert!(text("modules.builtin").contains("af_packet"));
    assert_eq!(files["etc/modprobe.d/site.conf"].1, b"options e1000e EEE=0\n");
    assert!(files.contains_key("lib/modprobe.d/soft.conf"));
    assert_eq!(files["lib/firmware/intel/ice/ddp/ice.pkg"].1, b"firmware of ice");
    // Unpacked, unless this kernel unpacks it itself.
    let keeps = matches!(layout.name, "el9" | "el10" | "ubuntu24");
    let file = format!("lib/firmware/bnx2x/e2.fw{}", if keeps { layout.firmware } else { "" });
    let content = &files.get(&file).unwrap_or_else(|| panic!("{}: no {file}", layout.name)).1;
    assert_eq!(content == b"firmware of bnx2x", !keeps, "{}", layout.name);
}

#[test]
fn infiniband_comes_with_its_firmware_where_the_settings_ask_for_it() {
    for layout in &LAYOUTS {
        let dir = tempfile::tempdir().unwrap();
        let library = library(dir.path(), layout);
        let modules = |config: &str| {
            let config: InitramfsConfig = serde_saphyr::from_str(config).unwrap();
            let settings = BuildSettings { initramfs: (&config).into(), ..BuildSettings::default() };
            let built = library.build(&name(), &settings, &cluster(), &Silent).unwrap();
            let unknown = built.warnings.iter().any(|warning| warning.contains("initramfs.modules"));
            assert!(!unknown, "{}: {:?}", layout.name, built.warnings);
            files_of(&fs::read(built.version.modules(layout.release).unwrap()).unwrap())
        };
        let base = format!("lib/modules/{}/kernel/drivers/infiniband", layout.release);
        assert!(!modules("{}").keys().any(|file| file.starts_with(&base) || file.contains("hfi1")), "{}", layout.name);
        let files = modules("modules: [infiniband, snd]\nomit: [mlx5_ib]");
        for module in ["core/ib_core.ko", "ulp/ipoib/ib_ipoib.ko", "hw/hfi1/hfi1.ko"] {
            assert!(files.contains_key(&format!("{base}/{module}")), "{}: {module}", layout.name);
        }
        assert!(!files.contains_key(&format!("{base}/hw/mlx5/mlx5_ib.ko")), "{}", layout.name);
        assert_eq!(files["lib/firmware/hfi1_dc8051.fw"].1, b"firmware of hfi1", "{}", layout.name);
    }
}

#[test]
fn the_same_tree_gives_the_same_version_and_another_tree_another() {
    let dir = tempfile::tempdir().unwrap();
    let library = library(dir.path(), &LAYOUTS[4]);
    let first = build(&library).unwrap();
    let bytes = |version: &Version| {
        let files = [version.blob(), version.table(), version.modules(LAYOUTS[4].release).unwrap()];
        files.map(|path| fs::read(path).unwrap())
    };
    let before = bytes(&first.version);
    let again = build(&library).unwrap();
    assert!(again.existed);
    assert_eq!(again.version.id(), first.version.id());
    // Also where nothing of the first is left.
    fs::remove_dir_all(first.version.dir()).unwrap();
    let anew = build(&library).unwrap();
    assert!(!anew.existed);
    assert_eq!((anew.version.id(), bytes(&anew.version)), (first.version.id(), before));
    put(&library.rootfs(&name()), "etc/motd", "changed");
    assert_ne!(build(&library).unwrap().version.id(), first.version.id());
    assert_eq!(library.versions(&name()).unwrap().len(), 2);
    assert_eq!(names(&library), ["active", "last.json", "lock", "rootfs", "scan.zst", "versions"]);
}

#[test]
fn old_versions_go_but_never_those_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let library = library(dir.path(), &LAYOUTS[4]);
    let mut ids = vec![];
    let mut settings = BuildSettings { keep: 2, ..BuildSettings::default() };
    for round in 0..5 {
        put(&library.rootfs(&name()), "etc/motd", format!("{round}"));
        // The first is pinned; the fourth is not activated.
        settings.activate = round != 3;
        let built = library.build(&name(), &settings, &cluster(), &Silent).unwrap();
        ids.push(built.version.id());
        settings.in_use = BTreeSet::from([ids[0]]);
        let active = library.active(&name()).unwrap().id();
        assert_eq!(active, if round == 3 { ids[2] } else { ids[round] });
    }
    let kept: BTreeSet<_> = library.versions(&name()).unwrap().iter().map(Version::id).collect();
    assert_eq!(kept, BTreeSet::from([ids[0], ids[3], ids[4]]));
    library.activate(&name(), ids[0]).unwrap();
    assert_eq!(library.active(&name()).unwrap().id(), ids[0]);
    assert!(matches!(library.activate(&name(), ids[1]), Err(ImageError::NoSuchVersion { .. })));
}

/// Builds the layout of Ubuntu after a change of its tree; returns the error and checks that nothing else is left.
fn fails(change: impl Fn(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let library = library(dir.path(), &LAYOUTS[4]);
    change(&library.rootfs(&name()));
    let error = build(&library).unwrap_err();
    assert_eq!(names(&library), ["lock", "rootfs"], "{error}");
    assert!(matches!(library.active(&name()), Err(ImageError::NotBuilt { .. })));
    error.to_string()
}

#[test]
fn a_build_that_could_not_boot_fails_and_names_what_is_missing() {
    let base = format!("usr/lib/modules/{}", LAYOUTS[4].release);
    let kernel = format!("boot/vmlinuz-{}", LAYOUTS[4].release);
    let error = fails(|root| fs::remove_file(root.join(&kernel)).unwrap());
    assert!(error.contains("no kernel") && error.contains(LAYOUTS[4].release), "{error}");
    let error = fails(|root| fs::remove_dir_all(root.join("usr/lib/modules")).unwrap());
    assert!(error.contains("no kernel") && error.contains("/boot/vmlinuz-*"), "{error}");
    let error = fails(|root| fs::remove_file(root.join(&base).join("modules.dep")).unwrap());
    assert!(error.contains("modules.dep") && error.contains("depmod -a"), "{error}");
    let edit = |root: &Path, file: &str, from: &str, to: &str| {
        let text = fs::read_to_string(root.join(file)).unwrap();
        assert!(text.contains(from));
        fs::write(root.join(file), text.replace(from, to)).unwrap();
    };
    let dep = format!("{base}/modules.dep");
    let error = fails(|root| edit(root, &dep, "squashfs", "squishfs"));
    assert!(error.contains("module squashfs") && error.contains("CONFIG_SQUASHFS=m"), "{error}");
    let config = format!("boot/config-{}", LAYOUTS[4].release);
    let error = fails(|root| {
        edit(root, &config, "CONFIG_OVERLAY_FS=m", "");
        edit(root, &dep, "overlay.ko", "underlay.ko");
    });
    assert!(error.contains("CONFIG_OVERLAY_FS"), "{error}");
    let error = fails(|root| edit(root, &config, "CONFIG_SQUASHFS_XATTR=y", ""));
    assert!(error.contains("SQUASHFS_XATTR"), "{error}");
    let error = fails(|root| put(root, &format!("{base}/kernel/fs/squashfs/squashfs.ko.zst"), "damaged"));
    assert!(error.contains("squashfs.ko"), "{error}");
}

#[test]
fn a_file_that_cannot_be_read_fails_the_build_by_name() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let library = library(dir.path(), &LAYOUTS[4]);
    let secret = library.rootfs(&name()).join("etc/secret-of-lisa");
    fs::write(&secret, "x").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    lchown(&secret, Some(1005), Some(100)).unwrap();
    // Root without the right to read what belongs to others.
    let program = dir.path().join("mksquashfs");
    fs::write(&program, "#!/bin/sh\nexec setpriv --bounding-set -dac_override,-dac_read_search mksquashfs \"$@\"\n")
        .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let settings = BuildSettings { mksquashfs: program, ..BuildSettings::default() };
    let error = library.build(&name(), &settings, &cluster(), &Silent).unwrap_err().to_string();
    assert!(error.contains("etc/secret-of-lisa"), "{error}");
    assert_eq!(names(&library), ["lock", "rootfs"]);
    let settings = BuildSettings { mksquashfs: dir.path().join("none"), ..BuildSettings::default() };
    let error = library.build(&name(), &settings, &cluster(), &Silent).unwrap_err().to_string();
    assert!(error.contains("squashfs-tools"), "{error}");
}

#[test]
fn a_full_disk_leaves_no_half_version() {
    if !is_root() {
        return;
    }
    let run = || {
        let dir = tempfile::tempdir().unwrap();
        crate::image::fixture::small_disk(dir.path(), "12m");
        let library = library(dir.path(), &LAYOUTS[4]);
        let mut noise = vec![0; 8 << 20];
        getrandom::fill(&mut noise).unwrap();
        put(&library.rootfs(&name()), "usr/lib/noise", noise);
        let error = build(&library).unwrap_err();
        let ImageError::Io { source, .. } = &error else { panic!("{error:?}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains("free some space"), "{error}");
        assert_eq!(names(&library), ["lock", "rootfs"]);
    };
    std::thread::spawn(run).join().unwrap();
}

#[test]
fn what_squashfs_holds_is_the_tree_without_what_belongs_to_the_running_system() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let library = library(dir.path(), &LAYOUTS[0]);
    let rootfs = library.rootfs(&name());
    crate::image::fixture::add_special_files(&rootfs);
    let built = build(&library).unwrap();
    let out = dir.path().join("out");
    let mut unsquashfs = std::process::Command::new("unsquashfs");
    unsquashfs.args(["-q", "-n", "-d"]).arg(&out).arg(built.version.blob()).stdout(std::process::Stdio::null());
    assert!(unsquashfs.status().unwrap().success());
    let acls = decode_acls(&fs::read(out.join(ACLS_FILE)).unwrap()).unwrap();
    assert_eq!(fs::metadata(out.join(ACLS_FILE)).unwrap().mode() & 0o7777, 0o600);
    fs::remove_file(out.join(ACLS_FILE)).unwrap();
    fs::remove_file(rootfs.join("proc/leftover")).unwrap();
    for file in &acls {
        let path = out.join(std::str::from_utf8(&file.path).unwrap());
        for (attribute, value) in [("access", &file.access), ("default", &file.default)] {
            if let Some(value) = value {
                xattr::set(&path, format!("system.posix_acl_{attribute}"), value).unwrap();
            }
        }
    }
    let mut expected: BTreeMap<_, _> = crate::image::fixture::inodes(&rootfs);
    let mut found = crate::image::fixture::inodes(&out);
    // Taking the leftover away has changed the directory; the file with the lists was in the root.
    for path in ["proc", ""] {
        expected.remove(path);
        found.remove(path);
    }
    assert_eq!(found, expected);
    assert!(built.version.header().unpacked_len < 8 << 20, "holes are not counted");
}
