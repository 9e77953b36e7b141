//! Kills a process at each of its writes in turn: strace(1) sends SIGKILL when the n-th system call that changes something begins.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;

/// Tells the test below that it is the process which is to be killed.
const DIR: &str = "WULFPACK_CRASH_DIR";
/// What a save may change the disk with.
const CALLS: &str =
    "write,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,fsync,fchmod,chmod,fchmodat,fchown";

fn editor(dir: &Path) -> Editor {
    let history = History::new(dir.join("history"));
    Editor::open(&dir.join("nodes.yaml")).unwrap().with_history(history).unwrap()
}

#[test]
fn the_process_that_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let mut editor = editor(Path::new(&dir));
    editor.file.nodes["n1"].image = Some("new".into());
    editor.save_as(&Deed { what: "node set".into(), ..Deed::default() }, false).unwrap();
}

#[test]
fn a_process_killed_at_any_write_leaves_the_old_registry_or_the_new_one() {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "strace is missing; scripts/setup installs it");
        return;
    }
    let module = module_path!().split_once("::").unwrap().1;
    let test = format!("{module}::the_process_that_is_killed");
    let (mut old, mut new, mut survived) = (0, 0, false);
    for nth in 1..200 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodes.yaml");
        fs::write(&path, "nodes: {n1: {image name: old}}").unwrap();
        let status = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={CALLS}")])
            .args(["-e", &format!("inject={CALLS}:signal=SIGKILL:when={nth}")])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", &test, "--test-threads", "1"])
            .env(DIR, dir.path())
            .output()
            .unwrap()
            .status;
        let registry = Registry::parse(&fs::read_to_string(&path).unwrap(), Defaults::default()).unwrap();
        match registry.file().nodes["n1"].image.as_ref().unwrap().as_str() {
            "old" => old += 1,
            "new" => new += 1,
            other => panic!("{other}"),
        }
        // Whatever it left: the next command works, and nothing that was in force is missing in the history.
        let mut editor = editor(dir.path());
        editor.file.nodes["n1"].comment = Some("next".into());
        editor.save_as(&Deed::default(), false).unwrap();
        let history = History::new(dir.path().join("history"));
        let texts: Vec<String> =
            history.records().unwrap().iter().map(|record| history.text(record.number).unwrap()).collect();
        assert!(texts.first().unwrap().contains("old") && texts.last().unwrap().contains("next"), "{texts:?}");
        if status.success() {
            survived = true;
            break;
        }
    }
    assert!(survived && old >= 5 && new >= 2, "killed {old} times before and {new} times after the registry was new");
}
