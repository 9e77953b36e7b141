use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::io::Errno;
use wulfpack_shared::overlay::{Bundle, Context, Entry, EntryKind};

use super::*;

fn entry(path: &str, kind: EntryKind, mode: u32) -> Entry {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    Entry { path: path.into(), kind, mode, uid, gid, secret: false }
}

fn file(path: &str, content: &'static str) -> Entry {
    entry(path, EntryKind::File(content.into()), 0o644)
}

fn bundle(entries: Vec<Entry>) -> Bundle {
    Bundle { name: "test".parse().unwrap(), context: Context::System, entries, reload: vec![] }
}

fn run(root: &Path, entries: Vec<Entry>) -> Result<Applied, ApplyError> {
    apply(root, &bundle(entries))
}

#[test]
fn the_images_links_are_followed_inside_the_root_and_stay() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("usr/lib")).unwrap();
    symlink("usr/lib", root.join("lib")).unwrap();
    symlink("/run", root.join("usr/run")).unwrap(); // dangling, absolute
    let applied = run(
        &root,
        vec![
            entry("lib", EntryKind::Directory, 0o755),
            entry("lib/systemd/system", EntryKind::Directory, 0o750),
            file("lib/systemd/system/x.service", "unit"),
            file("usr/run/y", "y"),
        ],
    )
    .unwrap();
    assert!(fs::symlink_metadata(root.join("lib")).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(root.join("usr/lib/systemd/system/x.service")).unwrap(), "unit");
    assert_eq!(fs::metadata(root.join("usr/lib/systemd/system")).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(fs::read_to_string(root.join("run/y")).unwrap(), "y");
    assert_eq!((applied.changed.len(), applied.unchanged), (3, 1));
}

#[test]
fn a_final_link_is_replaced_and_its_target_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(&outside, "before").unwrap();
    symlink(&outside, root.join("etc/resolv.conf")).unwrap();
    run(&root, vec![file("etc/resolv.conf", "nameserver 10.0.0.1")]).unwrap();
    assert!(fs::symlink_metadata(root.join("etc/resolv.conf")).unwrap().is_file());
    assert_eq!(fs::read_to_string(&outside).unwrap(), "before");
}

#[test]
fn nothing_leaves_the_root_whatever_links_say() {
    let dir = tempfile::tempdir().unwrap();
    let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("victim"), "alive").unwrap();
    symlink("../../../../../../outside", root.join("a/b/up")).unwrap();
    symlink(&outside, root.join("a/absolute")).unwrap();
    symlink("/proc/self/root", root.join("a/magic")).unwrap();
    symlink("loop2", root.join("loop1")).unwrap();
    symlink("loop1", root.join("loop2")).unwrap();
    let entries = ["a/b/up/victim", "a/absolute/victim", "a/magic/victim"].map(|path| file(path, "dead")).to_vec();
    run(&root, entries).unwrap();
    let absent = ["a/b/up/victim", "a/absolute/victim"].map(|path| entry(path, EntryKind::Absent, 0)).to_vec();
    run(&root, absent).unwrap();
    assert_eq!(fs::read_to_string(outside.join("victim")).unwrap(), "alive");
    assert!(root.join("outside").is_dir() && root.join("proc/self/root/victim").exists());
    assert_eq!(run(&root, vec![file("loop1/x", "")]).unwrap_err().source, Errno::LOOP);
    for unclean in ["../outside/x", "/etc/x", "a//b", "a/./b", "", "a/../../x"] {
        assert_eq!(run(&root, vec![file(unclean, "")]).unwrap_err().source, Errno::INVAL, "{unclean}");
    }
}

#[test]
fn modes_and_links_are_set_and_what_is_so_already_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let entries = vec![
        entry("bin", EntryKind::Directory, 0o1777),
        entry("bin/su", EntryKind::File("#!".into()), 0o4755),
        entry("bin/link", EntryKind::Symlink("su".into()), 0o777),
    ];
    assert_eq!(run(root.path(), entries.clone()).unwrap().changed, ["bin", "bin/su", "bin/link"]);
    let inode = fs::metadata(root.path().join("bin/su")).unwrap().ino();
    assert_eq!(fs::metadata(root.path().join("bin/su")).unwrap().mode() & 0o7777, 0o4755);
    assert_eq!(fs::metadata(root.path().join("bin")).unwrap().mode() & 0o7777, 0o1777);
    let again = run(root.path(), entries).unwrap();
    assert_eq!((again.changed.len(), again.unchanged), (0, 3));
    assert_eq!(fs::metadata(root.path().join("bin/su")).unwrap().ino(), inode);
    // Content, mode or kind differs: replaced.
    fs::set_permissions(root.path().join("bin/su"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(run(root.path(), vec![entry("bin/su", EntryKind::File("#!".into()), 0o4755)]).unwrap().changed.len(), 1);
    assert_eq!(run(root.path(), vec![file("bin/link", "no link")]).unwrap().changed.len(), 1);
    assert!(fs::symlink_metadata(root.path().join("bin/link")).unwrap().is_file());
    assert_eq!(fs::read_dir(root.path().join("bin")).unwrap().count(), 2);
}

#[test]
fn absent_removes_trees_and_what_is_not_there_is_no_error() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("a/b/c")).unwrap();
    fs::write(root.path().join("a/b/c/f"), "").unwrap();
    symlink("/", root.path().join("a/b/slash")).unwrap();
    let absent = |path| vec![entry(path, EntryKind::Absent, 0)];
    assert_eq!(run(root.path(), absent("a/b")).unwrap().changed, ["a/b"]);
    assert!(root.path().join("a").is_dir() && !root.path().join("a/b").exists());
    assert_eq!(run(root.path(), absent("a/b")).unwrap().unchanged, 1);
    assert_eq!(run(root.path(), absent("x/y/z")).unwrap().unchanged, 1);
    assert!(!root.path().join("x").exists());
}

#[test]
fn a_clash_with_the_image_names_the_path() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("dir/full")).unwrap();
    fs::write(root.path().join("plain"), "").unwrap();
    let error = run(root.path(), vec![file("dir", "")]).unwrap_err();
    assert_eq!((error.path.as_str(), error.source), ("dir", Errno::ISDIR));
    assert!(error.to_string().contains("overlay test: cannot write /dir: it is a directory in the image"), "{error}");
    assert!(!root.path().join(".wulfpack-new").exists());
    assert_eq!(run(root.path(), vec![file("plain/x", "")]).unwrap_err().source, Errno::NOTDIR);
    assert_eq!(run(root.path(), vec![entry("plain", EntryKind::Directory, 0o755)]).unwrap_err().source, Errno::NOTDIR);
}

#[test]
fn what_a_killed_process_left_behind_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join(".wulfpack-new"), "half").unwrap();
    run(root.path(), vec![file("x", "whole")]).unwrap();
    assert_eq!(fs::read_to_string(root.path().join("x")).unwrap(), "whole");
    assert!(!root.path().join(".wulfpack-new").exists());
}

proptest::proptest! {
    #[test]
    fn any_path_stays_below_the_root(path in "[a-c./]{0,12}", target in "[a-c./]{1,12}") {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(&root).unwrap();
        symlink(&target, root.join("a")).unwrap();
        let _outcome = run(&root, vec![file(&path, "x")]);
        let _outcome = run(&root, vec![entry(&path, EntryKind::Absent, 0)]);
        proptest::prop_assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
