//! Images made of layers, from layouts that are written here byte by byte.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use tar::{Builder, EntryType, Header};
use wulfpack_shared::id::ImageName;

use super::{ImportOutcome, Replace};
use crate::image::initramfs::ArchiveCompression;
use crate::image::{Digest, FetchSettings, ImageError, LayerCache, Library, Silent, Source};

/// A layer that is being written.
struct Layer(Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Self(Builder::new(vec![]))
    }

    fn add(mut self, name: &str, kind: EntryType, link: &str, data: &str) -> Self {
        let mut header = Header::new_gnu();
        // Names that the crate would not write.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000);
        if kind == EntryType::Char {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        self.0.append(&header, data.as_bytes()).unwrap();
        self
    }

    fn dir(self, name: &str) -> Self {
        self.add(name, EntryType::Directory, "", "")
    }

    fn file(self, name: &str, data: &str) -> Self {
        self.add(name, EntryType::Regular, "", data)
    }

    fn symlink(self, name: &str, to: &str) -> Self {
        self.add(name, EntryType::Symlink, to, "")
    }

    fn hard_link(self, name: &str, to: &str) -> Self {
        self.add(name, EntryType::Link, to, "")
    }

    fn bytes(self, compression: ArchiveCompression) -> Vec<u8> {
        let plain = self.0.into_inner().unwrap();
        compression.compress(vec![], |sink| sink.write_all(&plain)).unwrap()
    }
}

/// A layout with one image of these layers; returns where the layers lie.
fn layout(dir: &Path, layers: &[Vec<u8>]) -> Vec<PathBuf> {
    let blobs = dir.join("blobs");
    fs::create_dir_all(blobs.join("sha256")).unwrap();
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(digest.path(&blobs), bytes).unwrap();
        json!({"mediaType": "m", "digest": digest, "size": bytes.len()})
    };
    let config = put(br#"{"architecture": "amd64", "os": "linux", "rootfs": {}}"#);
    let layers: Vec<_> = layers.iter().map(|layer| put(layer)).collect();
    let manifest = put(json!({"schemaVersion": 2, "config": config, "layers": layers}).to_string().as_bytes());
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
    fs::write(dir.join("index.json"), json!({"schemaVersion": 2, "manifests": [manifest]}).to_string()).unwrap();
    let path = |layer: &serde_json::Value| layer["digest"].as_str().unwrap().parse::<Digest>().unwrap().path(&blobs);
    layers.iter().map(path).collect()
}

struct Setup {
    dir: tempfile::TempDir,
    library: Library,
}

impl Setup {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::open(dir.path().join("images")).unwrap();
        Self { dir, library }
    }

    fn name() -> ImageName {
        "test".parse().unwrap()
    }

    fn source(&self) -> PathBuf {
        self.dir.path().join("layout")
    }

    /// Imports what lies in the layout: recognised by what it is, without `oci:`.
    fn import(&self, replace: Replace, platform: Option<&str>) -> Result<ImportOutcome, ImageError> {
        let settings = FetchSettings {
            cache: LayerCache::new(self.dir.path().join("layers")),
            credentials: None,
            plain_http: false,
            platform: platform.map(|text| text.parse().unwrap()),
            skopeo: "skopeo".into(),
            importer: "lisa".into(),
        };
        self.library.import(&Source::Path(self.source()), &Self::name(), replace, &settings, &Silent)
    }

    fn layers(&self, layers: &[Vec<u8>]) -> Result<ImportOutcome, ImageError> {
        drop(fs::remove_dir_all(self.source()));
        layout(&self.source(), layers);
        self.import(Replace::Yes, None)
    }

    fn root(&self) -> PathBuf {
        self.library.rootfs(&Self::name())
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn is_there(&self, path: &str) -> bool {
        fs::symlink_metadata(self.root().join(path)).is_ok()
    }
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: this test needs root");
    }
    root
}

fn base() -> Layer {
    let base = Layer::new().dir("usr/").dir("usr/lib/").file("usr/lib/base", "base").symlink("lib", "usr/lib");
    base.dir("etc/").file("etc/keep", "1").file("etc/gone", "1").dir("srv/").dir("srv/old/").file("srv/old/x", "1")
}

#[test]
fn layers_take_away_replace_and_add_as_the_specification_says() {
    if !is_root() {
        return;
    }
    let setup = Setup::new();
    let second = Layer::new()
        // Through a link of the layer below, as on every system with one /usr.
        .file("lib/added", "2")
        .hard_link("lib/again", "lib/base")
        .file("etc/.wh.gone", "")
        // Opaque, even behind what the same layer puts there; and a whiteout of what only this layer has.
        .file("srv/old/new", "2")
        .file("srv/old/.wh..wh..opq", "")
        .file("etc/mine", "2")
        .file("etc/.wh.mine", "")
        .file("etc/.wh.never-there", "")
        .file("etc/.wh..wh.aufs", "")
        .add("usr/null", EntryType::Char, "", "");
    // A directory becomes a link, a link a directory, a file a directory.
    let third = Layer::new()
        .symlink("srv", "usr")
        .file("srv/through", "3")
        .dir("lib/")
        .file("lib/own", "3")
        .dir("etc/keep/")
        .file("etc/keep/in", "3");
    let layers = [
        base().bytes(ArchiveCompression::Gzip),
        second.bytes(ArchiveCompression::Zstd),
        third.bytes(ArchiveCompression::None),
        // What docker writes for a step that changed no file.
        vec![0; 1024],
        vec![],
    ];
    assert!(matches!(setup.layers(&layers).unwrap(), ImportOutcome::Imported(_)));
    assert_eq!(setup.text("usr/lib/added"), "2");
    let ino = |path: &str| fs::metadata(setup.root().join(path)).unwrap().ino();
    assert_eq!(ino("usr/lib/again"), ino("usr/lib/base"));
    for gone in ["etc/gone", "etc/.wh.gone", "etc/.wh..wh.aufs", "srv/old", "etc/.wh.mine", "usr/old"] {
        assert!(!setup.is_there(gone), "{gone}");
    }
    assert_eq!(setup.text("etc/mine"), "2");
    assert_eq!(setup.text("usr/through"), "3");
    assert_eq!((setup.text("lib/own"), setup.text("etc/keep/in")), ("3".into(), "3".into()));
    assert!(!setup.root().join("lib").is_symlink() && !setup.is_there("lib/added"));
    let null = fs::metadata(setup.root().join("usr/null")).unwrap();
    assert_eq!((null.mode() & 0o170_000, null.rdev()), (0o020_000, 0x103));
    assert_eq!(fs::metadata(setup.root().join("usr/lib")).unwrap().mtime(), 1_000_000);
    let origin = setup.library.origin(&Setup::name()).unwrap();
    assert_eq!(origin.layers.len(), 5);
    assert_eq!((origin.imported_by.as_str(), origin.platform.unwrap().to_string().as_str()), ("lisa", "linux/amd64"));
    // What is there already is not taken again.
    assert_eq!(setup.import(Replace::Changed, None).unwrap(), ImportOutcome::Unchanged);
    assert!(matches!(setup.import(Replace::No, None), Err(ImageError::Exists { .. })));
    let error = setup.import(Replace::Yes, Some("arm64")).unwrap_err().to_string();
    assert!(error.contains("nothing for linux/arm64; it has linux/amd64"), "{error}");
}

#[test]
fn an_opaque_directory_keeps_what_its_own_layer_put_there() {
    if !is_root() {
        return;
    }
    let setup = Setup::new();
    let second = Layer::new().dir("srv/old/").file("srv/old/sub/new", "2").file("srv/old/.wh..wh..opq", "");
    let layers = [base().file("srv/old/sub/old", "1"), second].map(|layer| layer.bytes(ArchiveCompression::None));
    setup.layers(&layers).unwrap();
    assert_eq!(setup.text("srv/old/sub/new"), "2");
    assert!(!setup.is_there("srv/old/x") && !setup.is_there("srv/old/sub/old"));
}

#[test]
fn no_layer_reaches_out_of_the_tree() {
    if !is_root() {
        return;
    }
    let setup = Setup::new();
    let victim = setup.dir.path().join("images/victim");
    fs::write(&victim, "mine").unwrap();
    let outside = setup.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "mine").unwrap();
    let refused = [
        Layer::new().file("../victim", "theirs"),
        Layer::new().file("etc/../../victim", "theirs"),
        Layer::new().file("etc/.wh...", ""),
        Layer::new().file("../.wh.victim", ""),
        Layer::new().hard_link("etc/stolen", "../../victim"),
        Layer::new().symlink("etc/loop", "loop").file("etc/loop/x", ""),
        Layer::new().symlink("etc/a", "b").symlink("etc/b", "a").file("etc/a/x", ""),
        Layer::new().file("etc/keep/x", "below a file"),
        Layer::new().hard_link("etc/nothing", "etc/not-there"),
    ];
    for (number, layer) in refused.into_iter().enumerate() {
        let error = setup.layers(&[base(), layer].map(|layer| layer.bytes(ArchiveCompression::None))).unwrap_err();
        assert!(matches!(error, ImageError::Entry { .. }), "{number}: {error:?}");
        assert!(!setup.library.contains(&Setup::name()), "{number}");
    }
    // Links lead where they would for a process inside the tree.
    let target = outside.to_str().unwrap().trim_start_matches('/').to_owned();
    let climbing = Layer::new()
        .symlink("etc/up", "../../../../../../../../..")
        .file("etc/up/climbed", "in")
        .symlink("etc/abs", &format!("/{target}"))
        .file("etc/abs/file", "theirs")
        .file("etc/abs/.wh.other", "")
        .file("etc/up/.wh.victim", "");
    setup.layers(&[base(), climbing].map(|layer| layer.bytes(ArchiveCompression::None))).unwrap();
    assert_eq!(setup.text("climbed"), "in");
    assert_eq!(setup.text(&format!("{target}/file")), "theirs");
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "mine");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
}

#[test]
fn a_damaged_layer_is_named_and_leaves_what_was_there() {
    if !is_root() {
        return;
    }
    for compression in [ArchiveCompression::None, ArchiveCompression::Gzip] {
        let setup = Setup::new();
        let layer = base().file("etc/content", &"content ".repeat(50_000)).bytes(compression);
        let path = layout(&setup.source(), std::slice::from_ref(&layer)).remove(0);
        let digest = Digest::of(&layer).to_string();
        let mut flipped = layer.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        for damaged in [&flipped[..], &layer[..middle], &[&layer[..], b"x"].concat()[..]] {
            fs::write(&path, damaged).unwrap();
            let error = setup.import(Replace::Yes, None).unwrap_err().to_string();
            assert!(error.contains(&digest) && error.contains("damaged"), "{compression:?}: {error}");
            assert!(!setup.library.contains(&Setup::name()));
        }
        fs::write(&path, &layer).unwrap();
        setup.import(Replace::No, None).unwrap();
        fs::write(&path, &flipped).unwrap();
        setup.import(Replace::Yes, None).unwrap_err();
        assert_eq!(setup.text("etc/keep"), "1");
    }
}
