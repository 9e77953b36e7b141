//! Builds that have little to do.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::BuildSettings;
use super::tests::{build, cluster, library, name};
use crate::image::fixture::{LAYOUTS, put};
use crate::image::{FileChange, Library, Silent};

/// mksquashfs that counts how often it was run.
fn counting(dir: &Path) -> (PathBuf, impl Fn() -> usize) {
    let (program, count) = (dir.join("mksquashfs"), dir.join("count"));
    fs::write(&program, format!("#!/bin/sh\necho x >>{}\nexec mksquashfs \"$@\"\n", count.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    (program, move || fs::read_to_string(&count).unwrap_or_default().lines().count())
}

#[test]
fn a_tree_is_packed_again_only_if_something_in_it_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let library = library(dir.path(), &LAYOUTS[4]);
    let (mksquashfs, count) = counting(dir.path());
    let settings = BuildSettings { mksquashfs, ..BuildSettings::default() };
    let run = |settings: &BuildSettings| library.build(&name(), settings, &cluster(), &Silent).unwrap();
    let root = library.rootfs(&name());
    put(&root, "etc/motd", "one");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let file = |path: &str| fs::File::options().write(true).open(root.join(path)).unwrap();
    file("etc/motd").set_modified(time).unwrap();
    let first = run(&settings);
    assert!(!first.existed);
    let again = run(&settings);
    assert_eq!((again.existed, again.version.id(), count()), (true, first.version.id(), 1));
    assert_eq!(again.warnings, first.warnings, "what was warned of is said again");
    // The same size and the same time, and yet another content.
    fs::write(root.join("etc/motd"), "two").unwrap();
    file("etc/motd").set_modified(time).unwrap();
    let second = run(&settings);
    assert_ne!(second.version.id(), first.version.id());
    fs::set_permissions(root.join("etc/motd"), fs::Permissions::from_mode(0o600)).unwrap();
    run(&settings);
    fs::remove_file(root.join("etc/motd")).unwrap();
    run(&settings);
    assert_eq!(count(), 4);
    // A version that lost a file is made again; so is one that somebody wants to be.
    let blob = run(&settings).version.blob();
    assert_eq!(count(), 4);
    fs::write(&blob, "short").unwrap();
    run(&settings);
    run(&BuildSettings { force: true, ..settings.clone() });
    assert_eq!(count(), 6);
    // Other settings may give another version.
    run(&BuildSettings { default_args: vec!["quiet".into()], ..settings });
    assert_eq!(count(), 7);
}

#[test]
fn an_archive_of_modules_is_made_again_only_if_its_files_have_changed() {
    let dir = tempfile::tempdir().unwrap();
    let library = library(dir.path(), &LAYOUTS[4]);
    let release = LAYOUTS[4].release;
    let inputs = |library: &Library| build(library).unwrap().version.info().inputs[release];
    let first = inputs(&library);
    put(&library.rootfs(&name()), "etc/motd", "one");
    assert_eq!(inputs(&library), first);
    put(&library.rootfs(&name()), "etc/modprobe.d/new.conf", "options loop max_loop=8\n");
    let second = inputs(&library);
    assert_ne!(second, first);
    put(&library.rootfs(&name()), &format!("usr/lib/modules/{release}/modules.softdep"), "softdep overlay pre: loop\n");
    assert_ne!(inputs(&library), second);
}

#[test]
fn what_the_image_excludes_is_neither_packed_nor_listed() {
    let dir = tempfile::tempdir().unwrap();
    let library = library(dir.path(), &LAYOUTS[4]);
    let root = library.rootfs(&name());
    for path in ["usr/share/doc/a/b", "usr/share/doc/c", "var/cache/x*y/z", "var/cache/keep", "boot/initrd.img-1"] {
        put(&root, path, "x");
    }
    let everything = build(&library).unwrap().version;
    put(&root, "etc/warewulf/excludes", "/usr/share/doc/*\n/boot/initrd*\n");
    put(&root, "etc/wulfpack/excludes", "var/cache/x\\**\n");
    let less = build(&library).unwrap().version;
    let diff = library.diff(&name(), everything.id(), Some(less.id())).unwrap();
    let with = |change| -> Vec<&str> {
        let files = diff.files.iter().filter(|file| file.change == change);
        files.map(|file| file.path.as_str()).collect()
    };
    let gone = [
        "boot/initrd.img-1",
        "usr/share/doc/a",
        "usr/share/doc/a/b",
        "usr/share/doc/c",
        "var/cache/x*y",
        "var/cache/x*y/z",
    ];
    assert_eq!(with(FileChange::Removed), gone);
    let list = std::process::Command::new("unsquashfs").args(["-l", "-d", ""]).arg(less.blob()).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains("/var/cache/keep") && list.contains("/usr/share/doc\n"), "{list}");
    for path in gone {
        assert!(!list.contains(&format!("/{path}\n")), "{path}");
    }
}

#[test]
fn two_versions_and_a_tree_are_compared_file_by_file_and_in_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let library = library(dir.path(), &LAYOUTS[4]);
    let root = library.rootfs(&name());
    for path in ["etc/same", "etc/content", "etc/mode", "etc/gone", "etc/time"] {
        put(&root, path, path);
    }
    let mut noise = vec![0; 3 << 20];
    getrandom::fill(&mut noise).unwrap();
    put(&root, "usr/lib/noise", noise);
    let before = build(&library).unwrap().version.id();
    put(&root, "etc/content", "other bytes");
    fs::set_permissions(root.join("etc/mode"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(root.join("etc/gone")).unwrap();
    put(&root, "etc/new", "new");
    let touched = fs::File::options().write(true).open(root.join("etc/time")).unwrap();
    touched.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let expected = [
        ("etc/content", FileChange::Content),
        ("etc/gone", FileChange::Removed),
        ("etc/mode", FileChange::Attributes),
        ("etc/new", FileChange::Added),
        ("etc/time", FileChange::Time),
    ];
    let tree = library.diff(&name(), before, None).unwrap();
    let found: Vec<_> = tree.files.iter().map(|file| (file.path.as_str(), file.change)).collect();
    assert_eq!(found, expected);
    let after = build(&library).unwrap().version.id();
    let diff = library.diff(&name(), before, Some(after)).unwrap();
    assert_eq!(diff.files, tree.files);
    let moved = diff.moved.unwrap();
    assert!(moved.bytes > 0 && moved.bytes < moved.of / 2, "{moved:?}");
    assert_eq!(library.diff(&name(), after, Some(after)).unwrap().moved.unwrap().bytes, 0);
}
