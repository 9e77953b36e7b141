//! Versions of images, and what is done to images as a whole, by the real program.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use rustix::fs::lgetxattr;
use serde_json::Value;
use wulfpack_tests::harness::{require, run, tiny_root};

use super::{Head, MIB};

fn json(head: &Head, arguments: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&head.ok(&[arguments, &["--output", "json"]].concat())?)?)
}

/// Ids of the versions, the newest first, and of the active one.
fn versions(head: &Head, name: &str) -> Result<(Vec<String>, String)> {
    let list = json(head, &["image", "versions", name])?;
    let list = list.as_array().context("a list")?;
    let id = |version: &Value| version["id"].as_str().unwrap_or_default().to_owned();
    let active = list.iter().find(|version| version["active"] == true).map(id).unwrap_or_default();
    Ok((list.iter().map(id).collect(), active))
}

fn image(head: &Head) -> Result<()> {
    let root = head.dir.join("tiny-root");
    tiny_root(&root, MIB, 0)?;
    fs::write(root.join("etc/motd"), "0")?;
    head.ok(&["image", "import", &root.to_string_lossy(), "tiny", "--build"])?;
    Ok(())
}

#[test]
fn a_version_is_compared_pinned_rolled_back_to_and_kept_while_it_is_held() -> Result<()> {
    Head::on_disk("96m", |head| {
        image(&head)?;
        head.ok(&["node", "add", "n[1-4]", "--image", "tiny"])?;
        head.ok(&["profile", "add", "lab"])?;
        for round in 1..5 {
            fs::write(head.rootfs().join("etc/motd"), format!("round {round}"))?;
            head.ok(&["image", "build", "tiny"])?;
            if round == 1 {
                let (ids, active) = versions(&head, "tiny")?;
                assert_eq!((ids.len(), &ids[0]), (2, &active));
                // The oldest is held by two nodes, the second by a profile.
                head.ok(&["image", "pin", &format!("tiny@{}", &ids[1][..10]), "n[1-2]"])?;
                head.ok(&["image", "pin", "tiny@active", "--profile", "lab"])?;
                let diff = json(&head, &["image", "diff", "tiny", &ids[1][..12], &ids[0][..12]])?;
                assert_eq!(diff["files"].as_array().map(Vec::len), Some(1), "{diff}");
                assert_eq!(
                    (&diff["files"][0]["path"], &diff["files"][0]["change"]),
                    (&"etc/motd".into(), &"content".into())
                );
                let moved = diff["moved"]["bytes"].as_u64().context("bytes")?;
                assert!(moved > 0 && moved < diff["moved"]["of"].as_u64().context("bytes")?, "{diff}");
            }
        }
        let (ids, active) = versions(&head, "tiny")?;
        // Three are kept, and the two that are held beside them.
        assert_eq!((ids.len(), &ids[0]), (5, &active));
        let list = json(&head, &["image", "versions", "tiny"])?;
        assert_eq!(
            (&list[4]["pinned_by"], &list[3]["pinned_by"]),
            (&serde_json::json!(["n1", "n2"]), &serde_json::json!(["profile lab"]))
        );
        assert_eq!(json(&head, &["node", "show", "n1"])?[0]["image"], format!("tiny@{}", ids[4]));
        // One step back, and one more.
        head.ok(&["image", "rollback", "tiny"])?;
        assert_eq!(versions(&head, "tiny")?.1, ids[1]);
        head.ok(&["image", "rollback", "tiny"])?;
        assert_eq!(versions(&head, "tiny")?.1, ids[2]);
        head.ok(&["image", "rollback", "tiny", &ids[0][..12]])?;
        // Freed, it may go; the active one and the held one may not.
        head.ok(&["image", "unpin", "tiny", "n[1-2]"])?;
        head.ok(&["image", "prune", "tiny", "--keep", "1", "--dry-run"])?;
        assert_eq!(versions(&head, "tiny")?.0.len(), 5);
        head.ok(&["image", "prune", "tiny", "--keep", "1"])?;
        assert_eq!(versions(&head, "tiny")?.0, [ids[0].clone(), ids[3].clone()]);
        assert_eq!(head.run(&["image", "pin", "tiny@0000", "n1"])?.status.code(), Some(4));
        Ok(())
    })
}

#[test]
fn an_image_is_renamed_where_it_is_named_copied_and_protected() -> Result<()> {
    Head::on_disk("96m", |head| {
        image(&head)?;
        let id = versions(&head, "tiny")?.1;
        head.ok(&["node", "add", "n1", "--image", "tiny"])?;
        head.ok(&["node", "add", "n2", "--image", &format!("tiny@{id}")])?;
        head.ok(&["image", "copy", "tiny", "other"])?;
        assert!(head.paths.images().join("other/rootfs/etc/motd").exists());
        assert!(head.fails(&["image", "rename", "tiny", "other"])?.contains("other exists already"));
        head.ok(&["image", "rename", "tiny", "rocky"])?;
        let image = |node: &str| -> Result<Value> { Ok(json(&head, &["node", "show", node])?[0]["image"].clone()) };
        assert_eq!((image("n1")?, image("n2")?), ("rocky".into(), format!("rocky@{id}").into()));
        assert_eq!(versions(&head, "rocky")?.1, id);
        assert!(!head.paths.images().join("tiny").exists());
        let kernels = json(&head, &["image", "kernels", "rocky"])?;
        assert_eq!(
            (&kernels[0]["default"], &kernels[0]["built"], &kernels[0]["problem"]),
            (&true.into(), &true.into(), &Value::Null)
        );

        head.ok(&["image", "set", "other", "--read-only"])?;
        let source = head.dir.join("tiny-root").to_string_lossy().into_owned();
        for change in
            [&["image", "import", &source, "other", "--force"][..], &["image", "syncuser", "other", "--write"]]
        {
            assert!(head.fails(change)?.contains("is read-only"), "{change:?}");
        }
        head.ok(&["image", "build", "other"])?;
        head.ok(&["image", "set", "other", "--read-only=false"])?;
        head.ok(&["image", "import", &source, "other", "--force"])?;
        Ok(())
    })
}

#[test]
fn users_of_an_image_are_compared_with_the_head_s_and_changed_with_their_files() -> Result<()> {
    Head::on_disk("96m", |head| {
        image(&head)?;
        let root = head.rootfs();
        // daemon is 1 and bin is 2 on every Debian; this image has them elsewhere.
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\ndaemon:x:990:989::/:/bin/false\n")?;
        fs::write(root.join("etc/group"), "root:x:0:\ndaemon:x:989:\n")?;
        let file = root.join("srv");
        fs::write(&file, "x")?;
        chown(&file, Some(990), Some(989))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o4755))?;
        let plan = json(&head, &["image", "syncuser", "tiny"])?;
        let first = plan["changes"].as_array().context("a list")?.iter().find(|change| change["name"] == "daemon");
        assert_eq!(first.map(|change| (change["from"].clone(), change["to"].clone())), Some((990.into(), 1.into())));
        assert_eq!(fs::metadata(&file)?.uid(), 990, "it only reports");
        head.ok(&["image", "syncuser", "tiny", "--write"])?;
        let after = fs::metadata(&file)?;
        assert_eq!((after.uid(), after.gid(), after.mode() & 0o7777), (1, 1, 0o4755));
        assert!(fs::read_to_string(root.join("etc/passwd"))?.contains("daemon:x:1:1:"));
        assert_eq!(json(&head, &["image", "syncuser", "tiny"])?["changes"], serde_json::json!([]));
        // A number that is somebody else's on the head.
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nlisa:x:1:1::/:/bin/false\n")?;
        let said = head.fails(&["image", "syncuser", "tiny", "--write"])?;
        assert!(said.contains("user 1 is daemon on the head and lisa in the image"), "{said}");
        Ok(())
    })
}

/// The label that a file of a version has.
fn label(blob: &Path, path: &str, scratch: &Path) -> Result<Option<String>> {
    let out = scratch.join("label");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    run(Command::new("unsquashfs").args(["-q", "-n", "-d"]).arg(&out).arg(blob).arg(path))?;
    let mut value = [0; 256];
    match lgetxattr(out.join(path), "security.selinux", &mut value[..]) {
        Ok(len) => Ok(Some(String::from_utf8_lossy(&value[..len]).trim_end_matches('\0').to_owned())),
        Err(rustix::io::Errno::NODATA) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[test]
fn labels_come_from_the_image_s_own_policy_and_show_says_whether_it_can_enforce() -> Result<()> {
    require(&["setfiles", "unsquashfs"])?;
    Head::on_disk("96m", |head| {
        image(&head)?;
        let selinux = |head: &Head| -> Result<String> {
            let text = head.ok(&["image", "show", "tiny"])?;
            Ok(text.lines().find(|line| line.starts_with("SELinux")).unwrap_or_default().to_owned())
        };
        assert!(selinux(&head)?.contains("no: it has no policy"));
        let policy = head.rootfs().join("etc/selinux/targeted/contexts/files");
        fs::create_dir_all(&policy)?;
        fs::write(head.rootfs().join("etc/selinux/config"), "SELINUX=enforcing\nSELINUXTYPE=targeted\n")?;
        let contexts = "/.*\tsystem_u:object_r:default_t:s0\n/etc(/.*)?\tsystem_u:object_r:etc_t:s0\n\
                        /etc/motd\t--\tsystem_u:object_r:motd_t:s0\n/boot(/.*)?\t<<none>>\n";
        fs::write(policy.join("file_contexts"), contexts)?;
        head.ok(&["image", "build", "tiny"])?;
        assert!(selinux(&head)?.contains("yes, with policy targeted"), "{}", selinux(&head)?);
        let id = versions(&head, "tiny")?.1;
        let blob = head.paths.images().join("tiny/versions").join(id).join("blob.squashfs");
        let of = |path: &str| label(&blob, path, &head.paths.state);
        assert_eq!(of("etc/motd")?.as_deref(), Some("system_u:object_r:motd_t:s0"));
        assert_eq!(of("etc/content")?.as_deref(), Some("system_u:object_r:etc_t:s0"));
        assert_eq!(of("usr/lib")?.as_deref(), Some("system_u:object_r:default_t:s0"));
        Ok(())
    })
}
