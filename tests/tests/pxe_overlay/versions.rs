//! Versions of an image, seen from a node that runs one of them.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use wulfpack_tests::cluster::{Cluster, ClusterSetup, is_ready};
use wulfpack_tests::harness::{Head, MachineSpec};

use super::{BOOT, SiteOverlay, drift, prints, push_well};

/// A policy of SELinux that labels two files. The kernel of the image does not enforce it; labels are attributes all the same.
const POLICY: &str = "set -e; d=/etc/selinux/lab/contexts/files; mkdir -p $d; \
    printf 'SELINUX=permissive\\nSELINUXTYPE=lab\\n' > /etc/selinux/config; \
    printf '/.*\\tsystem_u:object_r:default_t:s0\\n/etc/labelled\\t--\\tsystem_u:object_r:lab_t:s0\\n' > $d/file_contexts; \
    echo two > /etc/generation; echo of the image > /etc/labelled";

/// Prints the label of a file by getxattr(2), which is number 191 here.
fn label(cluster: &Cluster, path: &str) -> Result<String> {
    let script = format!(
        "perl -e '$p = \"{path}\"; $k = \"security.selinux\"; $b = \"\\0\" x 256; \
         $n = syscall(191, $p, $k, $b, 256); print substr($b, 0, $n)'"
    );
    Ok(cluster.login(0, &script)?.trim_end_matches('\0').to_owned())
}

/// Ids of the image's versions, the newest first.
fn versions(head: &Head) -> Result<Vec<String>> {
    let list: Value = head.json(&["image", "versions", "debian"])?;
    let ids = list.as_array().context("a list")?.iter().map(|version| version["id"].as_str().map(str::to_owned));
    ids.collect::<Option<_>>().context("versions have ids")
}

/// Has the machine boot again, as its user would.
fn reboot(cluster: &Cluster) -> Result<()> {
    let started = cluster.head.status(0)?.nodes.first().context("a node")?.started;
    // The connection ends with the system.
    drop(cluster.login(0, "systemctl reboot"));
    cluster.head.wait_for(BOOT, |nodes| nodes.iter().all(|node| node.started != started && is_ready(node)))?;
    Ok(())
}

#[test]
fn a_node_shows_which_version_of_its_image_it_runs_and_boots_the_one_it_would_get() -> Result<()> {
    let cluster = Cluster::prepare(&ClusterSetup { name: "versions", ..ClusterSetup::default() }, |_| ())?;
    let overlay = SiteOverlay { head: &cluster.head, name: "label" };
    overlay.create()?;
    overlay.write("etc/other", "1\n")?;
    cluster.head.wulf(&["node", "set", "n1", "--yes", "--runtime-overlays", "label"])?;
    let machine = cluster.power_on(0, &MachineSpec::default())?;
    cluster.wait_ready(1, BOOT).with_context(|| format!("its console ends: {}", machine.console().tail(25)))?;
    drift(&cluster, "none")?;
    // A change inside the image becomes a version, which is active; the node runs another one.
    cluster.head.wulf(&["image", "exec", "debian", "--", "/bin/sh", "-c", POLICY])?;
    let ids = versions(&cluster.head)?;
    let [new, old] = ids.as_slice() else { bail!("two versions are expected: {ids:?}") };
    drift(&cluster, "image")?;
    cluster.head.wulf(&["image", "pin", &format!("debian@{old}"), "n1"])?;
    drift(&cluster, "none")?;
    cluster.head.wulf(&["image", "unpin", "debian", "n1"])?;
    drift(&cluster, "image")?;
    prints(&cluster, "test -e /etc/generation || echo before", "before")?;

    reboot(&cluster)?;
    drift(&cluster, "none")?;
    prints(&cluster, "cat /etc/generation /etc/other /etc/labelled", "two\n1\nof the image")?;
    let status = cluster.head.status(0)?;
    assert_eq!(status.nodes[0].image.map(|image| image.to_string()).as_ref(), Some(new));
    // Labels of the image's own policy are there, and stay with a path whose content an overlay replaces.
    assert_eq!(label(&cluster, "/etc/labelled")?, "system_u:object_r:lab_t:s0");
    overlay.write("etc/labelled", "of the overlay\n")?;
    push_well(&cluster, &[])?;
    prints(&cluster, "cat /etc/labelled", "of the overlay")?;
    assert_eq!(label(&cluster, "/etc/labelled")?, "system_u:object_r:lab_t:s0");
    overlay.command("delete", &["etc/labelled", "--force"])?;
    push_well(&cluster, &[])?;
    prints(&cluster, "cat /etc/labelled", "of the image")?;
    assert_eq!(label(&cluster, "/etc/labelled")?, "system_u:object_r:lab_t:s0");

    // One step back: the next boot has the first version again.
    cluster.head.wulf(&["image", "rollback", "debian"])?;
    drift(&cluster, "image")?;
    reboot(&cluster)?;
    drift(&cluster, "none")?;
    prints(&cluster, "test -e /etc/generation || echo before", "before")?;
    drop(machine);
    cluster.succeeded();
    Ok(())
}
