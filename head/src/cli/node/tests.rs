use std::fs;
use std::path::Path;

use clap::Parser;

use super::*;
use crate::cli::Wulf;
use crate::config::Paths;
use crate::registry::Node;

/// Runs `wulf ARGS --yes` against a head below `dir`.
pub(crate) fn wulf(dir: &Path, args: &[&str]) -> anyhow::Result<ExitCode> {
    let config = dir.join("wulfpack.yaml");
    let config = config.to_str().unwrap();
    Wulf::try_parse_from(["wulf"].iter().chain(args).chain(&["--config", config, "--yes"]))?.run()
}

/// A head that has these images, as far as names go.
pub(crate) fn head() -> (tempfile::TempDir, Paths) {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    wulf(dir.path(), &["init", "--below", dir.path().to_str().unwrap()]).unwrap();
    for image in ["a", "b", "x", "debian", "cuda"] {
        fs::create_dir(paths.images().join(image)).unwrap();
    }
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

#[test]
fn nodes_are_chosen_by_groups_wildcards_and_operators() {
    let (dir, paths) = head();
    let wulf = |args: &[&str]| wulf(dir.path(), args);
    wulf(&["profile", "add", "gpu"]).unwrap();
    wulf(&["profile", "add", "unused"]).unwrap();
    wulf(&["node", "add", "n[1-4]", "--image", "a", "--rack", "r1", "--tagadd", "role=login"]).unwrap();
    wulf(&["node", "add", "g[1-2]", "--image", "b", "-P", "gpu", "--rack", "r2"]).unwrap();
    for (nodes, rack) in [
        ("@image:a!n1", "n2 n3 n4"),
        ("@gpu,n?&n[1-2]", "n1 n2"),
        ("@profile:g*", "g1 g2"),
        ("@tag:role=login&n[2-3]", "n2 n3"),
        ("@tag:role", "n1 n2 n3 n4"),
        ("@rack:r[1-2]^@rack:r2", "n1 n2 n3 n4"),
        ("@*!@rack:r1", "g1 g2"),
        ("@all&@root:overlay&@cluster:*,g1", "g1"),
    ] {
        wulf(&["node", "set", "--all", "--rack", "before"]).unwrap_or_else(|error| panic!("{error}"));
        wulf(&["node", "set", "n[1-4]", "--rack", "r1"]).unwrap();
        wulf(&["node", "set", "g[1-2]", "--rack", "r2"]).unwrap();
        wulf(&["node", "set", nodes, "--rack", "hit"]).unwrap_or_else(|error| panic!("{nodes}: {error}"));
        let snapshot = Registry::load(&paths.nodes_file()).unwrap().resolve();
        let hit = snapshot.nodes().filter(|node| node.rack.as_ref().is_some_and(|rack| rack.as_str() == "hit"));
        let hit: Vec<_> = hit.map(|node| node.name.to_string()).collect();
        assert_eq!(hit.join(" "), rack, "{nodes}");
    }
    wulf(&["node", "list", "n*", "--fold"]).unwrap();
    for (args, exit, text) in [
        (&["node", "show", "@rack:r9"][..], Exit::NothingMatched, "no node has rack \"r9\"; did you mean"),
        (&["node", "show", "@gpuu"], Exit::NothingMatched, "did you mean @profile:gpu?"),
        (&["node", "show", "@unused"], Exit::NothingMatched, "no node is in @unused"),
        (&["node", "set", "x*", "--rack", "r1"], Exit::NothingMatched, "no node is in x*"),
        (&["node", "show", "@rak:r1"], Exit::Usage, "did you mean \"rack\"?"),
        (&["node", "delete", "n[4-9],g1"], Exit::NothingMatched, "there is no node n[5-9]"),
        (&["node", "set", "n[3-1]", "--rack", "r1"], Exit::Usage, "character 3: the range counts down; write 1-3"),
    ] {
        let error = wulf(args).unwrap_err();
        assert_eq!(Ended::code_of(&error), exit, "{args:?}: {error}");
        assert!(error.to_string().contains(text), "{args:?}: {error}");
    }
    assert_eq!(Registry::load(&paths.nodes_file()).unwrap().resolve().nodes().len(), 6, "nothing was deleted");
}

#[test]
fn addresses_count_up_in_the_order_in_which_nodes_are_named() {
    let (dir, paths) = head();
    wulf(dir.path(), &["node", "add", "login1,a[9-10]", "b1", "-I", "10.0.0.1", "-M", "24"]).unwrap();
    for (name, last) in [("login1", 1), ("a9", 2), ("a10", 3), ("b1", 4)] {
        assert_eq!(node(&paths, name).primary().unwrap().ip, Some([10, 0, 0, last].into()), "{name}");
    }
}

/// Runs `wulf` with this editor: a shell command that gets the file as `$1`. Of its own process, because it sets variables.
fn edited(dir: &Path, script: &str, args: &[&str]) -> anyhow::Result<ExitCode> {
    use std::os::unix::fs::PermissionsExt as _;
    let editor = dir.join("editor.sh");
    fs::write(&editor, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o755)).unwrap();
    crate::cli::section::with_editor(editor.to_str().unwrap(), || wulf(dir, args))
}

#[test]
fn an_edit_changes_adds_and_removes_and_a_broken_one_is_kept() {
    let (dir, paths) = head();
    wulf(dir.path(), &["node", "add", "n[1-3]", "--image", "a", "--ipmipass", "hush"]).unwrap();
    edited(
        dir.path(),
        r#"sed -i 's/image name: a/image name: b/; /^n3:/,$d' "$1"; echo 'n9: {}' >> "$1""#,
        &["node", "edit", "n[1-3]"],
    )
    .unwrap();
    let registry = Registry::load(&paths.nodes_file()).unwrap();
    let names: Vec<&String> = registry.file().nodes.keys().collect();
    assert_eq!(names, ["n1", "n2", "n9"]);
    assert_eq!(node(&paths, "n1").image.unwrap().to_string(), "b");
    assert_eq!(node(&paths, "n1").ipmi.password.unwrap().expose(), "hush", "a hidden password stays");

    let before = fs::read(paths.nodes_file()).unwrap();
    for (script, expected) in [
        (r#"echo 'n2: {imgae name: x}' > "$1""#, "did you mean \"image name\"?"),
        (r#"echo 'n2: {profiles: [nosuch]}' > "$1""#, "there is no profile \"nosuch\""),
        (r#"echo 'n2: {' > "$1""#, "the edit is kept in"),
    ] {
        let error = format!("{:#}", edited(dir.path(), script, &["node", "edit", "n2"]).unwrap_err());
        assert!(error.contains(expected), "{error}");
        let kept = error.split("kept in ").nth(1).unwrap().split(':').next().unwrap();
        assert!(fs::read_to_string(kept).unwrap().starts_with("n2:"), "{error}");
        fs::remove_file(kept).unwrap();
    }
    edited(dir.path(), "exit 3", &["node", "edit", "n2"]).unwrap_err();
    edited(dir.path(), r#": > "$1""#, &["node", "edit", "n2"]).unwrap();
    assert_eq!(fs::read(paths.nodes_file()).unwrap(), before);
}

#[test]
fn what_is_exported_can_be_imported_elsewhere() {
    let (dir, paths) = head();
    wulf(dir.path(), &["node", "add", "n[1-3]", "--image", "a", "--ipmipass", "hush", "--rack", "r1"]).unwrap();
    let registry = Registry::load(&paths.nodes_file()).unwrap();
    let export = |secrets| Section::Nodes.export(registry.file(), &["n1".into(), "n3".into()], secrets).unwrap();
    assert!(export(false).contains("(secret)") && export(true).contains("hush"));
    let file = dir.path().join("export.yaml");
    fs::write(&file, export(false).replace("r1", "r2")).unwrap();
    wulf(dir.path(), &["node", "import", file.to_str().unwrap()]).unwrap();
    assert_eq!(node(&paths, "n3").rack.unwrap().as_str(), "r2");
    assert_eq!(node(&paths, "n3").ipmi.password.unwrap().expose(), "hush");
    assert_eq!(node(&paths, "n2").rack.unwrap().as_str(), "r1");
    // A whole file of Warewulf is as good.
    fs::write(&file, "nodeprofiles: {}\nnodes:\n  n7:\n    image name: b\n").unwrap();
    wulf(dir.path(), &["node", "import", file.to_str().unwrap()]).unwrap();
    assert_eq!(node(&paths, "n7").image.unwrap().to_string(), "b");
}

#[test]
fn changes_are_recorded_compared_and_taken_back() {
    let (dir, paths) = head();
    let wulf = |args: &[&str]| wulf(dir.path(), args);
    wulf(&["node", "add", "n1", "--image", "a", "--reason", "new machine"]).unwrap();
    wulf(&["node", "set", "n1", "--image", "b"]).unwrap();
    wulf(&["node", "delete", "n1"]).unwrap();
    let records = crate::registry::History::new(paths.history()).records().unwrap();
    let told: Vec<_> =
        records.iter().map(|record| (record.what.as_str(), record.subject.as_str(), record.why.as_deref())).collect();
    assert_eq!(
        told,
        [
            ("found", "", None),
            ("node add", "node n1", Some("new machine")),
            ("node set", "node n1", None),
            ("node delete", "node n1", None)
        ]
    );
    for output in ["table", "json", "yaml", "name"] {
        for args in [&["history"][..], &["diff"], &["diff", "2"], &["diff", "2", "3"]] {
            wulf(&[args, &["--output", output]].concat()).unwrap();
        }
    }
    wulf(&["undo"]).unwrap();
    assert_eq!(node(&paths, "n1").image.unwrap().to_string(), "b");
    wulf(&["undo", "3"]).unwrap();
    assert_eq!(node(&paths, "n1").image.unwrap().to_string(), "a");
    // A broken file is taken back too.
    fs::write(paths.nodes_file(), "nodes: {").unwrap();
    wulf(&["undo"]).unwrap();
    assert_eq!(node(&paths, "n1").image.unwrap().to_string(), "a");
    for args in [&["undo", "99"][..], &["diff", "99"], &["undo", "1"]] {
        assert_eq!(Ended::code_of(&wulf(args).unwrap_err()), Exit::NothingMatched, "{args:?}");
    }
}

#[test]
fn unset_gives_a_field_back_to_the_profiles() {
    let (dir, paths) = head();
    wulf(dir.path(), &["profile", "set", "default", "--image", "a"]).unwrap();
    wulf(dir.path(), &["node", "add", "n[1-2]", "--image", "b", "--tagadd", "x=1", "--ipmiaddr", "10.1.0.1"]).unwrap();
    assert_eq!(node(&paths, "n2").ipmi.ip, Some([10, 1, 0, 2].into()));
    wulf(dir.path(), &["node", "unset", "n[1-2]", "--image", "--tag", "x", "--ipmiaddr"]).unwrap();
    let n2 = node(&paths, "n2");
    assert_eq!((n2.image.unwrap().to_string(), n2.tags.len(), n2.ipmi.ip), ("a".into(), 0, None));
    for args in [&["node", "unset", "n1"][..], &["node", "set", "n1"], &["profile", "set", "default"]] {
        assert_eq!(Ended::code_of(&wulf(dir.path(), args).unwrap_err()), Exit::Usage, "{args:?}");
    }
}

#[test]
fn an_image_that_is_not_there_needs_force() {
    let (dir, paths) = head();
    let error = wulf(dir.path(), &["node", "add", "n1", "--image", "debain"]).unwrap_err().to_string();
    assert!(error.contains("did you mean \"debian\"?"), "{error}");
    wulf(dir.path(), &["node", "add", "n1", "--image", "later", "--force"]).unwrap();
    wulf(dir.path(), &["node", "set", "n1", "--rack", "r1"]).unwrap();
    assert_eq!(node(&paths, "n1").image.unwrap().to_string(), "later");
}
