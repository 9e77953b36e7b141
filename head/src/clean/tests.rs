use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use wulfpack_shared::identity::SecretKey;

use super::*;
use crate::cli::testing::{code, head, wulf};
use crate::config::{Paths, create_dir};
use crate::image::{BuildSettings, Library, Silent, fixture};

fn put(path: &Path, old: bool) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, vec![1; 10_000]).unwrap();
    if old {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
    }
}

/// A library with three versions of one image, the first of which is the oldest.
fn versions(paths: &Paths) -> Library {
    let name = "debian".parse().unwrap();
    let library = fixture::built(&paths.images(), &name);
    for text in ["two", "three"] {
        fs::write(library.rootfs(&name).join("etc-motd"), text).unwrap();
        library.build(&name, &BuildSettings::default(), &SecretKey::from_seed([1; 32]), &Silent).unwrap();
    }
    library
}

#[test]
fn what_is_needed_no_more_is_found_and_what_is_in_use_stays() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    let library = versions(&paths);
    put(&paths.etc.join(".wulf-abc"), true);
    put(&paths.etc.join(".wulf-fresh"), false);
    put(&paths.overlays.join(".site.new/rootfs/x"), true);
    put(&paths.layers().join("blobs/sha256/x"), true);
    put(&paths.packed_agents().join("old.zstd"), true);
    put(&paths.packed_agents().join("new.zstd"), false);
    put(&paths.packed_agents().join("new.gzip"), true);
    let all = library.versions(&"debian".parse().unwrap()).unwrap();
    let ids: Vec<_> = all.iter().map(|version| version.id()).collect();
    assert_eq!(ids.len(), 3);
    let later = SystemTime::now() + Duration::from_secs(1);
    let look = |held: Option<BTreeSet<_>>, keep_layers| {
        let known = Known { keep: 1, held, keep_layers };
        (find(&paths, &library, &known, later).unwrap(), known)
    };
    let kinds = |found: &[Waste]| found.iter().map(|waste| waste.kind).collect::<Vec<_>>();
    let (found, _) = look(None, true);
    assert_eq!(kinds(&found), [Kind::HalfWritten, Kind::Agents], "nobody knows which versions run");
    let (found, _) = look(Some([ids[2]].into()), false);
    assert_eq!(kinds(&found), [Kind::HalfWritten, Kind::Version, Kind::Layers, Kind::Agents]);
    assert_eq!(found[1].version.as_ref().unwrap().1, ids[1], "the newest is active, the oldest runs");
    assert!(found.iter().all(|waste| waste.bytes >= 8192), "{found:?}");
    let (found, known) = look(Some(BTreeSet::new()), false);
    for waste in &found {
        assert!(remove(&library, waste, &known).unwrap(), "{waste:?}");
        assert!(waste.kind == Kind::Layers || !waste.path.exists());
    }
    assert!(paths.etc.join(".wulf-fresh").exists() && paths.packed_agents().join("new.gzip").exists());
    assert_eq!(library.versions(&"debian".parse().unwrap()).unwrap().len(), 1);
    assert!(look(Some(BTreeSet::new()), false).0.is_empty());
}

#[test]
fn nothing_goes_without_a_word_and_a_dry_run_only_shows() {
    let (dir, paths) = head();
    put(&paths.etc.join(".wulf-abc"), true);
    create_dir(&paths.images().join("gone"), 0o750).unwrap();
    for output in ["table", "json", "yaml", "name"] {
        wulf(dir.path(), &["clean", "--dry-run", "--output", output]).unwrap();
    }
    assert!(paths.etc.join(".wulf-abc").exists());
    assert_eq!(code(dir.path(), &["clean"]), 0);
    assert!(!paths.etc.join(".wulf-abc").exists());
    assert!(paths.images().join("gone").exists(), "it was made a moment ago");
}
