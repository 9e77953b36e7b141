use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use wulfpack_shared::id::Hash;
use wulfpack_shared::overlay::{Bundle, Context, Entry, EntryKind, Reload, set_hash};

use super::*;

/// A root, the image below it, and what was applied.
struct Node {
    _dir: tempfile::TempDir,
    root: PathBuf,
    lower: PathBuf,
    record: Record,
}

fn entry(path: &str, kind: EntryKind, mode: u32) -> Entry {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    Entry { path: path.into(), kind, mode, uid, gid, secret: false }
}

fn file(path: &str, content: &'static str) -> Entry {
    entry(path, EntryKind::File(content.into()), 0o644)
}

fn bundle(context: Context, entries: Vec<Entry>) -> Bundle {
    let reload = Reload { paths: vec!["etc/app".into()], units: vec!["app.service".into()], restart: false };
    Bundle { name: "test".parse().unwrap(), context, entries, reload: vec![reload] }
}

/// A node that booted with these runtime entries over an image with `etc/app/conf` and `etc/own`.
fn node(runtime: Vec<Entry>) -> Node {
    let dir = tempfile::tempdir().unwrap();
    let (root, lower) = (dir.path().join("root"), dir.path().join("lower"));
    for tree in [&root, &lower] {
        fs::create_dir_all(tree.join("etc/app")).unwrap();
        fs::write(tree.join("etc/app/conf"), "image").unwrap();
        fs::set_permissions(tree.join("etc/app/conf"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::write(tree.join("etc/own"), "image").unwrap();
        symlink("app/conf", tree.join("etc/link")).unwrap();
    }
    let bundles = [bundle(Context::System, vec![file("etc/system", "system")]), bundle(Context::Runtime, runtime)];
    for bundle in &bundles {
        apply(&root, bundle).unwrap();
    }
    Node { _dir: dir, root, lower, record: Record::of(&bundles) }
}

impl Node {
    fn update(&mut self, entries: Vec<Entry>, force: bool) -> Updated {
        update(&self.root, Some(&self.lower), &mut self.record, &[bundle(Context::Runtime, entries)], force).unwrap()
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap()
    }
}

#[test]
fn what_leaves_the_overlay_becomes_what_the_image_or_the_system_overlay_has() {
    let mut node = node(vec![
        file("etc/app/conf", "overlay"),
        file("etc/system", "runtime"),
        entry("etc/link", EntryKind::Symlink("elsewhere".into()), 0o777),
        entry("etc/own", EntryKind::Absent, 0),
        file("opt/site/deep/new", "new"),
    ]);
    assert!(!node.root.join("etc/own").exists());
    let updated = node.update(vec![], false);
    assert_eq!((node.text("etc/app/conf"), node.text("etc/system")), ("image".into(), "system".into()));
    assert_eq!(fs::metadata(node.root.join("etc/app/conf")).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_link(node.root.join("etc/link")).unwrap().to_str(), Some("app/conf"));
    assert_eq!(node.text("etc/own"), "image");
    assert!(!node.root.join("opt").exists(), "directories that only the overlay needed are gone");
    assert_eq!((updated.changed.len(), updated.edited.len(), updated.failed.len()), (5, 0, 0), "{updated:?}");
    assert_eq!(node.update(vec![], false), Updated::default());
}

#[test]
fn a_file_that_was_edited_on_the_node_is_kept_and_named_until_it_is_forced() {
    let mut node = node(vec![file("etc/app/conf", "one"), file("etc/b", "b")]);
    fs::write(node.root.join("etc/app/conf"), "mine").unwrap();
    fs::remove_file(node.root.join("etc/b")).unwrap();
    let updated = node.update(vec![file("etc/app/conf", "two"), file("etc/b", "b2")], false);
    assert_eq!(updated.edited, ["etc/app/conf", "etc/b"]);
    assert_eq!((node.text("etc/app/conf").as_str(), &node.record.edited), ("mine", &updated.edited));
    // It leaves the overlay, and is still somebody's.
    assert_eq!(node.update(vec![file("etc/b", "b3")], false).edited, ["etc/app/conf", "etc/b"]);
    let updated = node.update(vec![file("etc/b", "b3")], true);
    assert_eq!((updated.changed.len(), node.text("etc/app/conf").as_str()), (2, "image"));
    assert!(node.record.edited.is_empty());
}

#[test]
fn contents_that_are_on_the_node_need_not_travel() {
    let mut node = node(vec![file("etc/app/conf", "same"), file("etc/c", "gone")]);
    let hash = Hash::of(b"same");
    assert!(known(&node.root, &node.record).unwrap().contains(&hash));
    // Moved, with another mode: the content is taken from where it lies.
    let moved = entry("etc/moved", EntryKind::Known { hash, len: 4 }, 0o600);
    let kept = entry("etc/app/conf", EntryKind::Known { hash, len: 4 }, 0o644);
    let updated = node.update(vec![kept, moved], false);
    assert_eq!((node.text("etc/moved").as_str(), updated.failed.len()), ("same", 0));
    assert_eq!(updated.changed, ["etc/c", "etc/moved"]);
    // What is said to be here and is not.
    let wrong = entry("etc/wrong", EntryKind::Known { hash: Hash::of(b"never"), len: 5 }, 0o644);
    let updated = node.update(vec![wrong], false);
    assert_eq!(updated.failed.len(), 1);
    assert_eq!(node.record.runtime, None, "half is not the whole");
}

#[test]
fn only_what_changed_is_reloaded_and_the_hash_is_that_of_the_head() {
    let mut node = node(vec![file("etc/app/conf", "one"), file("etc/b", "b")]);
    assert!(node.update(vec![file("etc/app/conf", "one"), file("etc/b", "c")], false).reload.is_empty());
    let entries = vec![file("etc/app/conf", "two"), file("etc/b", "c")];
    let updated = node.update(entries.clone(), false);
    assert_eq!(updated.reload[0].units, ["app.service"]);
    assert_eq!(node.record.runtime, Some(set_hash(&[bundle(Context::Runtime, entries)], Context::Runtime)));
    let path = node.root.join("record");
    node.record.save(&path).unwrap();
    assert_eq!(Record::load(&path).unwrap(), node.record);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
