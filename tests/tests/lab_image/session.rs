//! Commands inside images: what they see, what they leave, and who may run them when.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::llistxattr;
use serde_json::Value;
use wulfpack_tests::harness::{Process, head_binary, require, run, tiny_root};

use super::{Head, MIB};

/// An image with a shell, and nothing else that runs.
fn image(head: &Head) -> Result<PathBuf> {
    require(&["busybox", "unshare", "setpriv"])?;
    let root = head.dir.join("shell");
    tiny_root(&root, MIB, 0)?;
    for folder in ["bin", "root", "dev", "proc", "sys", "run", "tmp"] {
        fs::create_dir_all(root.join(folder))?;
    }
    let busybox = run(Command::new("which").arg("busybox"))?;
    fs::copy(busybox.trim(), root.join("bin/busybox"))?;
    // With its libraries, if it has any.
    let libraries = Command::new("ldd").arg(busybox.trim()).output()?.stdout;
    for path in String::from_utf8(libraries)?.split_whitespace().filter(|word| word.starts_with("/lib")) {
        let target = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(target.parent().context("a folder")?)?;
        fs::copy(path, target)?;
    }
    for tool in ["sh", "cat", "ls", "ps", "hostname", "touch", "id", "mkdir", "env", "readlink", "rm", "sleep", "mount"]
    {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(tool))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n")?;
    head.ok(&["image", "import", &root.to_string_lossy(), "tiny"])?;
    Ok(head.rootfs())
}

fn exec<'a>(more: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["image", "exec", "tiny", "--build=false"], more, &["--", "/bin/sh", "-c", script]].concat()
}

fn files(root: &Path) -> Result<String> {
    run(Command::new("find").arg(root).args(["-printf", "%P %y %m %U:%G %l\n"]))
}

/// What carries an attribute of an overlay file system.
fn marks(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let mut names = [0; 4096];
        let len = llistxattr(&path, &mut names[..])?;
        if String::from_utf8_lossy(&names[..len]).contains("overlay") {
            found.push(path.clone());
        }
        if fs::symlink_metadata(&path)?.is_dir() {
            found.extend(marks(&path)?);
        }
    }
    Ok(found)
}

#[test]
fn a_command_sees_the_image_and_nothing_of_the_head_and_its_code_is_passed_on() -> Result<()> {
    Head::on_disk("64m", |head| {
        let rootfs = image(&head)?;
        let before = files(&rootfs)?;
        let seen = head.ok(&exec(&[], "hostname; cat /etc/passwd; ps -o pid; ls /dev; env"))?;
        assert!(seen.starts_with("tiny\nroot:x:0:0"), "{seen}");
        assert!(seen.contains("null") && seen.contains("pts") && !seen.contains("sda"), "{seen}");
        assert!(seen.contains("HISTFILE=/dev/null") && !seen.contains("CARGO"), "{seen}");
        // Only this session's processes: the first one, the shell, ps.
        let pids = seen.lines().filter_map(|line| line.trim().parse::<u32>().ok()).collect::<Vec<_>>();
        assert!(pids.len() <= 3 && pids.iter().all(|pid| *pid < 20), "{pids:?}");
        let resolv = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        assert_eq!(head.ok(&exec(&[], "cat /etc/resolv.conf"))?, resolv);
        for code in [0, 3, 77] {
            let ended = head.run(&exec(&[], &format!("exit {code}")))?;
            assert_eq!(ended.status.code(), Some(code));
        }
        assert_eq!(head.run(&exec(&[], "kill -9 $$"))?.status.code(), Some(137));
        let missing = head.run(&["image", "exec", "tiny", "--build=false", "--", "/bin/nothing"])?;
        assert_eq!(missing.status.code(), Some(127));
        assert!(String::from_utf8_lossy(&missing.stderr).contains("was not started"));
        // What is changed stays, and nothing else: no mount point, no mark, nothing in /run.
        assert_eq!(files(&rootfs)?, before);
        head.ok(&exec(&[], "mkdir /etc/made && touch /etc/made/file /run/gone && rm /etc/content"))?;
        let after = files(&rootfs)?;
        assert!(after.contains("etc/made/file f") && !after.contains("run/gone") && !after.contains("etc/content"));
        assert_eq!(marks(&rootfs)?, Vec::<PathBuf>::new());
        let left: Vec<_> = fs::read_dir(head.paths.images().join("tiny"))?.collect::<Result<Vec<_>, _>>()?;
        assert_eq!(left.len(), 3, "{left:?}");
        Ok(())
    })
}

#[test]
fn binds_are_seen_as_asked_and_mount_points_never_become_part_of_the_image() -> Result<()> {
    Head::on_disk("64m", |head| {
        let rootfs = image(&head)?;
        let given = head.paths.state.join("given");
        fs::create_dir(&given)?;
        fs::write(given.join("file"), "of the head")?;
        let before = files(&rootfs)?;
        let directory = format!("{}:/mnt/deep/down", given.display());
        let read_only = format!("{}:/opt/ro:ro", given.display());
        let file = format!("{}:/etc/one-file", given.join("file").display());
        let binds = ["--bind", &directory, "--bind", &read_only, "--bind", &file];
        let script = "cat /mnt/deep/down/file /etc/one-file; touch /opt/ro/x 2>/dev/null && echo written; touch /mnt/deep/down/back";
        assert_eq!(head.ok(&exec(&binds, script))?, "of the headof the head");
        assert!(given.join("back").exists());
        assert_eq!(files(&rootfs)?, before);
        // New directories of a session that has an overlay file system over the image come without its marks.
        head.ok(&exec(&binds, "mkdir -p /srv/new/deep; rm -f /opt/ro/file 2>/dev/null; true"))?;
        assert!(rootfs.join("srv/new/deep").is_dir() && !rootfs.join("mnt").exists());
        assert_eq!(marks(&rootfs)?, Vec::<PathBuf>::new());
        assert!(given.join("file").exists());
        // A copy goes again unless it was changed.
        let copy = format!("{}:/etc/repo.conf:copy", given.join("file").display());
        assert_eq!(head.ok(&exec(&["--bind", &copy], "cat /etc/repo.conf"))?, "of the head");
        assert!(!rootfs.join("etc/repo.conf").exists());
        head.ok(&exec(&["--bind", &copy], "echo changed >/etc/repo.conf"))?;
        assert_eq!(fs::read_to_string(rootfs.join("etc/repo.conf"))?, "changed\n");
        // No link of the image makes a bind land on the head.
        let victim = head.paths.state.join("victim");
        fs::create_dir(&victim)?;
        std::os::unix::fs::symlink(&victim, rootfs.join("trap"))?;
        head.ok(&exec(&["--bind", &format!("{}:/trap", given.display())], "touch /trap/inside"))?;
        assert!(fs::read_dir(&victim)?.next().is_none() && given.join("inside").exists());
        Ok(())
    })
}

#[test]
fn one_changes_an_image_at_a_time_and_the_other_is_told_who() -> Result<()> {
    Head::on_disk("64m", |head| {
        image(&head)?;
        let mut command = Command::new(head_binary()?);
        command.arg("--config").arg(head.paths.etc.join("wulfpack.yaml"));
        command.args(exec(&[], "echo inside; read line; echo heard $line"));
        let mut session = Process::start("session", command, &head.dir.join("session.log"))?;
        session.console().wait_for("inside", Duration::from_secs(30))?;
        let said = head.fails(&exec(&[], "true"))?;
        assert!(said.contains("is being changed by `wulf --config") && said.contains("exec tiny"), "{said}");
        session.type_text("go\n")?;
        session.wait_success(Duration::from_secs(30))?;
        assert!(session.console().text().contains("heard go"));
        head.ok(&exec(&[], "true"))?;
        Ok(())
    })
}

#[test]
fn a_session_ends_with_the_hook_and_a_build_of_what_changed() -> Result<()> {
    Head::on_disk("64m", |head| {
        let rootfs = image(&head)?;
        let versions = || -> Result<usize> {
            let shown: Value = serde_json::from_str(&head.ok(&["image", "show", "tiny", "--output", "json"])?)?;
            Ok(shown["versions"].as_array().context("versions")?.len())
        };
        fs::create_dir_all(rootfs.join("etc/warewulf"))?;
        fs::write(rootfs.join("etc/warewulf/image_exit.sh"), "echo cleaned >/etc/cleaned\n")?;
        head.ok(&["image", "exec", "tiny", "/bin/touch", "/etc/one"])?;
        assert_eq!(versions()?, 1);
        assert_eq!(fs::read_to_string(rootfs.join("etc/cleaned"))?, "cleaned\n");
        // A command that failed leaves the version that nodes boot.
        assert_eq!(
            head.run(&["image", "exec", "tiny", "/bin/sh", "-c", "touch /etc/two; exit 4"])?.status.code(),
            Some(4)
        );
        assert_eq!(versions()?, 1);
        // So does a hook.
        fs::write(rootfs.join("etc/warewulf/image_exit.sh"), "exit 9\n")?;
        let ended = head.run(&["image", "exec", "tiny", "/bin/touch", "/etc/three"])?;
        assert!(String::from_utf8_lossy(&ended.stderr).contains("image_exit.sh ended with code 9"));
        assert_eq!(versions()?, 1);
        fs::remove_file(rootfs.join("etc/warewulf/image_exit.sh"))?;
        // A shell reads what is typed.
        let mut shell = Command::new(head_binary()?);
        shell.arg("--config").arg(head.paths.etc.join("wulfpack.yaml")).args(["image", "shell", "tiny"]);
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        shell.stdin.take().context("its input")?.write_all(b"echo $WULFPACK_IMAGE; touch /etc/four\n")?;
        let output = shell.wait_with_output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("tiny\n"));
        assert_eq!(versions()?, 2);
        Ok(())
    })
}

#[test]
fn a_node_s_view_shows_its_overlays_and_changes_nothing() -> Result<()> {
    Head::on_disk("64m", |head| {
        let rootfs = image(&head)?;
        let overlay = head.paths.overlays.join("site/rootfs/etc");
        fs::create_dir_all(&overlay)?;
        fs::write(overlay.join("greeting.j2"), "I am {{ node.name }}\n")?;
        fs::set_permissions(overlay.join("greeting.j2"), fs::Permissions::from_mode(0o644))?;
        head.ok(&["node", "add", "n7", "--image", "tiny", "--system-overlays", "site", "--yes"])?;
        let before = files(&rootfs)?;
        let script =
            "hostname; cat /etc/greeting; touch /etc/x 2>/dev/null || echo read-only; touch /tmp/x && echo scratch";
        assert_eq!(head.ok(&exec(&["--node", "n7"], script))?, "n7\nI am n7\nread-only\nscratch\n");
        assert_eq!(files(&rootfs)?, before);
        let said = head.run(&exec(&["--node", "n8"], "true"))?;
        assert_eq!(said.status.code(), Some(4));
        Ok(())
    })
}
