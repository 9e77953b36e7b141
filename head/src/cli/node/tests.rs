use std::fs;
use std::path::Path;

use clap::Parser;

use super::*;
use crate::cli::Wulf;
use crate::config::Paths;

/// Runs `wulf ARGS --yes` against a head below `dir`.
fn wulf(dir: &Path, args: &[&str]) -> anyhow::Result<ExitCode> {
    let config = dir.join("wulfpack.yaml");
    let config = config.to_str().unwrap();
    Wulf::try_parse_from(["wulf"].iter().chain(args).chain(&["--config", config, "--yes"]))?.run()
}

fn head() -> (tempfile::TempDir, Paths) {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    wulf(dir.path(), &["init", "--below", dir.path().to_str().unwrap()]).unwrap();
    (dir, paths)
}

fn node(paths: &Paths, name: &str) -> Node {
    let registry = Registry::load(&paths.nodes_file()).unwrap();
    registry.resolve().node(&name.parse().unwrap()).unwrap().as_ref().clone()
}

#[test]
fn nodes_are_added_in_a_row_with_addresses_counting_up() {
    let (dir, paths) = head();
    let args = [
        "node",
        "add",
        "n[9-11]",
        "-I",
        "10.0.0.9",
        "-M",
        "255.255.255.0",
        "-N",
        "eth0",
        "--image",
        "debian",
        "--rack",
        "r1",
    ];
    wulf(dir.path(), &args).unwrap();
    let n11 = node(&paths, "n11");
    assert_eq!(n11.profiles, ["default"]);
    assert_eq!(n11.primary().unwrap().ip, Some([10, 0, 0, 11].into()));
    assert_eq!((n11.primary().unwrap().prefix, n11.rack.unwrap().as_str()), (Some(24), "r1"));
    assert_eq!(n11.image.unwrap().to_string(), "debian");
    assert!(wulf(dir.path(), &["node", "add", "n10"]).unwrap_err().to_string().contains("exists"));
}

#[test]
fn set_changes_what_it_names_and_delete_removes() {
    let (dir, paths) = head();
    wulf(dir.path(), &["node", "add", "n[1-3]", "--image", "a", "--tagadd", "x=1,y=2"]).unwrap();
    wulf(dir.path(), &["node", "set", "n[1-2]", "--image", "b", "--tagdel", "x", "-A", "console=ttyS0,115200 ~quiet"])
        .unwrap();
    wulf(dir.path(), &["node", "set", "n1", "-H", "52:54:00:00:00:01"]).unwrap();
    let n1 = node(&paths, "n1");
    assert_eq!((n1.image.unwrap().to_string(), n1.tags.len()), ("b".into(), 1));
    assert_eq!(n1.kernel_args, ["net.ifnames=1", "console=ttyS0,115200"]);
    assert_eq!(n1.interfaces[0].mac, Some("52:54:00:00:00:01".parse().unwrap()));
    assert_eq!(node(&paths, "n3").image.unwrap().to_string(), "a");
    wulf(dir.path(), &["node", "delete", "n[1-2]"]).unwrap();
    assert_eq!(Registry::load(&paths.nodes_file()).unwrap().resolve().nodes().len(), 1);
}

#[test]
fn a_dry_run_and_a_mistake_change_nothing() {
    let (dir, paths) = head();
    wulf(dir.path(), &["node", "add", "n1", "-H", "52:54:00:00:00:01"]).unwrap();
    let before = fs::read(paths.nodes_file()).unwrap();
    wulf(dir.path(), &["node", "set", "n1", "--image", "x", "--dry-run"]).unwrap();
    for (args, expected) in [
        (&["node", "add", "n2", "-H", "52:54:00:00:00:01"][..], "already belongs to n1"),
        (&["node", "add", "n_2"], "node n_2: name"),
        (&["node", "add", "n2", "-P", "defalut"], "did you mean \"default\"?"),
        (&["node", "set", "n1", "--root", "disk"], "node n1: root"),
        (&["profile", "delete", "default"], "there is no profile \"default\""),
    ] {
        let error = wulf(dir.path(), args).unwrap_err().to_string();
        assert!(error.contains(expected), "{args:?}: {error}");
    }
    assert_eq!(fs::read(paths.nodes_file()).unwrap(), before);
}

#[test]
fn exit_codes_tell_usage_from_nothing_matched() {
    let (dir, _paths) = head();
    for (args, exit) in [
        (&["node", "show", "nosuch"][..], Exit::NothingMatched),
        (&["node", "set", "nosuch", "--image", "x"], Exit::NothingMatched),
        (&["profile", "show", "nosuch"], Exit::NothingMatched),
        (&["node", "list", "n["], Exit::Usage),
    ] {
        assert_eq!(Ended::code_of(&wulf(dir.path(), args).unwrap_err()), exit, "{args:?}");
    }
}

#[test]
fn profiles_are_added_set_and_used() {
    let (dir, paths) = head();
    wulf(dir.path(), &["profile", "add", "gpu", "--profile", "default", "--image", "cuda", "-M", "16"]).unwrap();
    wulf(dir.path(), &["profile", "set", "gpu", "--seed", "always"]).unwrap();
    wulf(dir.path(), &["node", "add", "g1", "-P", "gpu"]).unwrap();
    let g1 = node(&paths, "g1");
    assert_eq!(g1.profiles, ["default", "gpu"]);
    assert_eq!(g1.seed, wulfpack_shared::wire::SeedPolicy::Always);
    for output in ["table", "json", "yaml"] {
        for args in [&["node", "list"][..], &["node", "show", "g1"], &["profile", "list"], &["profile", "show", "gpu"]]
        {
            wulf(dir.path(), &[args, &["--output", output]].concat()).unwrap();
        }
    }
}
