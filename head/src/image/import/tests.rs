use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use tar::{Builder, EntryType, Header};
use wulfpack_shared::id::ImageName;

use super::*;
use crate::image::fixture::{LAYOUTS, add_special_files, inodes, put, small_disk};
use crate::image::initramfs::ArchiveCompression;
use crate::image::library::ImageLock;
use crate::image::tree::Tree;
use crate::image::{FetchSettings, ImageError, LayerCache, Library, Silent, Source};

fn name() -> ImageName {
    "test".parse().unwrap()
}

fn take_in(library: &Library, source: &Path, name: &ImageName, replace: bool) -> Result<Imported, ImageError> {
    let settings = FetchSettings {
        cache: LayerCache::new(library.dir().join("../layers")),
        credentials: None,
        plain_http: false,
        platform: None,
        skopeo: "skopeo".into(),
        importer: "lisa".into(),
    };
    let replace = if replace { Replace::Yes } else { Replace::No };
    match library.import(&Source::Path(source.into()), name, replace, &settings, &Silent)? {
        ImportOutcome::Imported(imported) => Ok(imported),
        ImportOutcome::Unchanged => panic!("a path is always read"),
    }
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: this test needs root");
    }
    root
}

fn names(library: &Library) -> Vec<String> {
    Tree::new(library.dir()).names("")
}

/// A tree with everything that a file can be.
fn source(dir: &Path) -> std::path::PathBuf {
    let source = dir.join("source");
    fs::create_dir(&source).unwrap();
    LAYOUTS[0].create(&source);
    add_special_files(&source);
    source
}

#[test]
fn a_directory_comes_in_inode_by_inode() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let source = source(dir.path());
    let library = Library::open(dir.path().join("images")).unwrap();
    let imported = take_in(&library, &source, &name(), false).unwrap();
    let expected = inodes(&source);
    assert_eq!(imported.entries, expected.len() as u64);
    assert_eq!(inodes(&library.rootfs(&name())), expected);
    assert_eq!(fs::metadata(library.dir().join("test")).unwrap().mode() & 0o7777, 0o750);
    let error = take_in(&library, dir.path(), &"other".parse().unwrap(), false).unwrap_err();
    assert!(matches!(error, ImageError::SourceAroundLibrary { .. }), "{error}");
}

#[test]
fn archives_of_every_kind_come_in_inode_by_inode() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let source = source(dir.path());
    let expected = inodes(&source);
    let library = Library::open(dir.path().join("images")).unwrap();
    let options: [(&[&str], ArchiveCompression); 4] = [
        // Lists as attributes; holes in GNU's old form and in that of pax.
        (&["--format=pax", "--xattrs", "--xattrs-include=*"], ArchiveCompression::None),
        (&["--format=pax", "--xattrs", "--xattrs-include=*", "--sparse"], ArchiveCompression::Gzip),
        // Lists as text, with numbers and with names.
        (
            &[
                "--format=pax",
                "--xattrs",
                "--xattrs-include=security.*",
                "--xattrs-include=user.*",
                "--acls",
                "--numeric-owner",
            ],
            ArchiveCompression::Zstd,
        ),
        (
            &[
                "--format=pax",
                "--xattrs",
                "--xattrs-include=security.*",
                "--xattrs-include=user.*",
                "--acls",
                "--sparse",
            ],
            ArchiveCompression::Xz,
        ),
    ];
    for (options, compression) in options {
        let plain = dir.path().join("plain.tar");
        let status = Command::new("tar").args(options).arg("-C").arg(&source).arg("-cf").arg(&plain).arg(".").status();
        assert!(status.unwrap().success());
        let archive = dir.path().join("archive");
        let bytes = fs::read(&plain).unwrap();
        let packed = if compression == ArchiveCompression::Xz || compression == ArchiveCompression::Zstd {
            // The best level would take minutes.
            let tool = if compression == ArchiveCompression::Xz { "xz" } else { "zstd" };
            let output = Command::new(tool).args(["-1", "-c"]).arg(&plain).output();
            output.ok().filter(|output| output.status.success()).map_or(bytes, |output| output.stdout)
        } else {
            compression.compress(vec![], |sink| sink.write_all(&bytes)).unwrap()
        };
        fs::write(&archive, &packed).unwrap();
        take_in(&library, &archive, &name(), true).unwrap_or_else(|error| panic!("{options:?}: {error:?}"));
        let found = inodes(&library.rootfs(&name()));
        for (path, inode) in &expected {
            assert_eq!(found.get(path), Some(inode), "{options:?}: {path}");
        }
        assert_eq!(found.len(), expected.len());
        assert_eq!(Tree::new(library.dir().join("test")).names(""), ["lock", "origin.json", "rootfs"]);
        // Half of an archive is refused, whatever cuts it off.
        for cut in [packed.len() / 2, packed.len() - packed.len() / 10] {
            fs::write(&archive, &packed[..cut]).unwrap();
            let error = take_in(&library, &archive, &"half".parse().unwrap(), false).unwrap_err();
            assert!(matches!(error, ImageError::Archive { .. }), "{error:?}");
            assert_eq!(names(&library), ["test"]);
        }
    }
}

/// One entry: name, type, target of a link or content.
type Entry<'a> = (&'a str, EntryType, &'a str);

/// An archive that no decent program would write: names go in as they are.
fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(vec![]);
    for (name, kind, rest) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        let content = if *kind == EntryType::Regular { rest.as_bytes() } else { b"" };
        if *kind != EntryType::Regular {
            header.as_mut_bytes()[157..157 + rest.len()].copy_from_slice(rest.as_bytes());
        }
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn import(entries: &[Entry<'_>]) -> (tempfile::TempDir, Library, Result<Imported, ImageError>) {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "outside/secret", "secret");
    let library = Library::open(dir.path().join("images")).unwrap();
    let file = dir.path().join("archive.tar");
    fs::write(&file, archive(entries)).unwrap();
    let result = take_in(&library, &file, &name(), false);
    (dir, library, result)
}

#[test]
fn an_archive_that_tries_to_leave_its_tree_is_refused_by_name() {
    if !is_root() {
        return;
    }
    use EntryType as T;
    let hostile: [&[Entry<'_>]; 8] = [
        &[("../evil", T::Regular, "x")],
        &[("etc/../../evil", T::Regular, "x")],
        &[("etc/..", T::Directory, "")],
        &[("evil", T::Symlink, "../../../outside"), ("evil/x", T::Regular, "x")],
        &[("evil", T::Symlink, "/tmp"), ("evil/a/b", T::Directory, "")],
        &[("evil", T::Link, "../../../outside/secret")],
        &[("evil", T::Link, "/etc/passwd")],
        &[("way", T::Symlink, "../../../outside"), ("evil", T::Link, "way/secret")],
    ];
    for entries in hostile {
        let before = [("etc", T::Directory, "")];
        let (dir, library, result) = import(&[&before[..], entries].concat());
        let error = result.unwrap_err();
        assert!(matches!(error, ImageError::Entry { .. }), "{entries:?}: {error:?}");
        assert!(names(&library).is_empty());
        assert_eq!(Tree::new(dir.path()).names(""), ["archive.tar", "images", "outside"]);
        assert_eq!(Tree::new(dir.path()).names("outside"), ["secret"]);
    }
}

#[test]
fn absolute_names_and_repeated_entries_stay_inside() {
    if !is_root() {
        return;
    }
    use EntryType as T;
    let (dir, library, result) = import(&[
        ("/etc/motd", T::Regular, "first"),
        ("etc/motd", T::Symlink, "../../../../outside/secret"),
        // Replaces the link, does not write through it.
        ("./etc/motd", T::Regular, "second"),
        ("usr", T::Directory, ""),
        ("usr/climbs", T::Symlink, "../../../../outside/secret"),
    ]);
    result.unwrap();
    let rootfs = library.rootfs(&name());
    assert_eq!(fs::read_to_string(rootfs.join("etc/motd")).unwrap(), "second");
    assert_eq!(fs::read_to_string(dir.path().join("outside/secret")).unwrap(), "secret");
    assert!(Tree::new(rootfs).read("usr/climbs").is_err());
}

#[test]
fn what_is_no_root_file_system_is_refused() {
    if !is_root() {
        return;
    }
    let (_dir, library, result) =
        import(&[("debian", EntryType::Directory, ""), ("debian/etc", EntryType::Directory, "")]);
    assert!(matches!(result, Err(ImageError::NotARoot { .. })));
    assert!(names(&library).is_empty());
}

#[test]
fn a_full_disk_leaves_the_old_tree_or_none() {
    if !is_root() {
        return;
    }
    let run = || {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "small/etc/motd", "small");
        let mut noise = vec![0; 8 << 20];
        getrandom::fill(&mut noise).unwrap();
        put(dir.path(), "large/etc/noise", noise);
        let disk = dir.path().join("disk");
        fs::create_dir(&disk).unwrap();
        small_disk(&disk, "4m");
        let library = Library::open(disk.join("images")).unwrap();
        let error = take_in(&library, &dir.path().join("large"), &name(), false).unwrap_err();
        assert!(error.to_string().contains("free some space"), "{error}");
        assert!(names(&library).is_empty());
        take_in(&library, &dir.path().join("small"), &name(), false).unwrap();
        let before = inodes(&library.rootfs(&name()));
        take_in(&library, &dir.path().join("large"), &name(), true).unwrap_err();
        assert_eq!(inodes(&library.rootfs(&name())), before);
        assert_eq!(Tree::new(library.dir().join("test")).names(""), ["lock", "origin.json", "rootfs"]);
    };
    std::thread::spawn(run).join().unwrap();
}

#[test]
fn a_tree_is_replaced_only_on_demand_and_in_one_piece() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "one/etc/one", "1");
    put(dir.path(), "two/etc/two", "2");
    let library = Library::open(dir.path().join("images")).unwrap();
    take_in(&library, &dir.path().join("one"), &name(), false).unwrap();
    let error = take_in(&library, &dir.path().join("two"), &name(), false).unwrap_err();
    assert!(matches!(error, ImageError::Exists { .. }));
    take_in(&library, &dir.path().join("two"), &name(), true).unwrap();
    assert_eq!(Tree::new(library.rootfs(&name())).names("etc"), ["two"]);
}

#[test]
fn interrupted_work_is_cleared_away_unless_it_still_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let library = Library::open(dir.path()).unwrap();
    put(dir.path(), "test/.tmp-killed/rootfs/etc/half", "x");
    put(dir.path(), "test/rootfs/etc/motd", "x");
    let busy = ImageLock::take(&dir.path().join("busy"), true, &Silent).unwrap();
    put(dir.path(), "busy/.tmp-alive/rootfs/etc/half", "x");
    Library::open(dir.path()).unwrap();
    assert_eq!(Tree::new(dir.path()).names("test"), ["lock", "rootfs"]);
    assert_eq!(Tree::new(dir.path()).names("busy"), [".tmp-alive", "lock"]);
    drop(busy);
    Library::open(dir.path()).unwrap();
    assert_eq!(Tree::new(dir.path()).names("busy"), ["lock"]);
    // Nothing was ever complete there.
    assert_eq!(library.list().unwrap().len(), 1);
}

#[test]
fn an_image_in_use_or_with_mounts_stays() {
    if !is_root() {
        return;
    }
    let run = || {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::open(dir.path().join("images")).unwrap();
        let rootfs = library.rootfs(&name());
        put(&rootfs, "etc/motd", "x");
        let users = ["n1".to_owned(), "n2".to_owned()];
        let error = library.delete(&name(), &users, false, &Silent).unwrap_err();
        assert!(error.to_string().contains("n1, n2"), "{error}");
        fs::create_dir(rootfs.join("dev")).unwrap();
        small_disk(&rootfs.join("dev"), "1m");
        put(&rootfs, "dev/of-the-head", "x");
        let error = library.delete(&name(), &users, true, &Silent).unwrap_err();
        assert!(matches!(&error, ImageError::Mounted { mount } if mount.ends_with("rootfs/dev")), "{error:?}");
        assert!(rootfs.join("dev/of-the-head").exists() && rootfs.join("etc/motd").exists());
        nix::mount::umount(&rootfs.join("dev")).unwrap();
        library.delete(&name(), &users, true, &Silent).unwrap();
        assert!(names(&library).is_empty());
        let error = library.delete(&name(), &[], true, &Silent).unwrap_err();
        assert!(matches!(error, ImageError::NoSuchImage { .. }));
        let all: BTreeMap<String, String> = inodes(library.dir());
        assert_eq!(all.len(), 1);
    };
    std::thread::spawn(run).join().unwrap();
}
