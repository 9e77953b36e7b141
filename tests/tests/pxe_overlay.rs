//! Overlays on a machine that booted over the network: what it got, and what becomes of it when the head's overlays change.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use wulfpack_tests::cluster::{Cluster, ClusterSetup};
use wulfpack_tests::harness::{Head, MachineSpec};

#[path = "pxe_overlay/versions.rs"]
mod versions;

const BOOT: Duration = Duration::from_secs(400);
const SOON: Duration = Duration::from_secs(120);

/// Runs a script on the node that must print exactly this.
fn prints(cluster: &Cluster, script: &str, expected: &str) -> Result<()> {
    let printed = cluster.login(0, script)?;
    assert_eq!(printed.trim(), expected.trim(), "{script}");
    Ok(())
}

/// The files of one overlay of the site, as an administrator with an editor makes them.
struct SiteOverlay<'a> {
    head: &'a Head,
    name: &'static str,
}

impl SiteOverlay<'_> {
    fn create(&self) -> Result<()> {
        self.head.wulf(&["overlay", "create", self.name]).map(drop)
    }

    fn dir(&self) -> PathBuf {
        self.head.paths().overlays.join(self.name)
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let place = self.dir().join("rootfs").join(path);
        fs::create_dir_all(place.parent().context("a path in a directory")?)?;
        fs::write(&place, text).with_context(|| format!("write {}", place.display()))
    }

    fn program(&self, path: &str, text: &str) -> Result<()> {
        self.write(path, text)?;
        Ok(fs::set_permissions(self.dir().join("rootfs").join(path), fs::Permissions::from_mode(0o755))?)
    }

    fn rules(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.dir().join("overlay.yaml"), text)?)
    }

    fn command(&self, command: &str, arguments: &[&str]) -> Result<()> {
        self.head.wulf(&[&["overlay", command, self.name], arguments].concat()).map(drop)
    }
}

/// A unit that runs nothing, and whose reload is this script.
fn unit(reload: &str) -> String {
    format!("[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\nExecReload=/bin/sh -c '{reload}'\n")
}

const NODE_CONF: &str = "\
name={{ node.name }}
fqdn={{ node.fqdn }}
address={{ node.primary.ip }}/{{ node.primary.prefix }}
site={{ node.tags.site }} slot={{ node.tags.slot }}
{% for interface in node.interfaces %}
{{ interface.net }} is {{ interface.device }} with {{ interface.mac }}
{% endfor %}
";

/// A system overlay: templates, owners, modes, links, a removed file, units and hooks.
fn system_overlay(head: &Head) -> Result<()> {
    let overlay = SiteOverlay { head, name: "fixed" };
    overlay.create()?;
    overlay.write("etc/app/node.conf.j2", NODE_CONF)?;
    overlay.write("etc/app/both", "of the system overlay\n")?;
    overlay.write("lib/app/data", "through the image's own link\n")?;
    overlay.write("srv/alice/.profile", "umask 077\n")?;
    let home = overlay.dir().join("rootfs/srv/alice");
    for path in [home.clone(), home.join(".profile")] {
        lchown(path, Some(1000), Some(1000))?;
    }
    symlink("node.conf", overlay.dir().join("rootfs/etc/app/current"))?;
    let key = head.paths().etc.join("app.key");
    fs::write(&key, "secret\n")?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    overlay.command("import", &[&key.to_string_lossy(), "etc/app/key"])?;
    overlay.command("chown", &["etc/app/key", "0", "42"])?;
    overlay.program("usr/local/bin/tool", "#!/bin/sh\n")?;
    overlay.command("chmod", &["usr/local/bin/tool", "4755"])?;
    overlay.command("mkdir", &["srv/shared", "--mode", "2770"])?;
    overlay.command("chown", &["srv/shared", "33", "33"])?;
    overlay.rules("absent: [etc/issue.net]\npaths: {etc/app/key: {secret: true}}\n")?;
    let wanted = overlay.dir().join("rootfs/etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wanted)?;
    for (name, reload) in [
        ("good", "cat /etc/app/run.conf >> /run/good-reloads"),
        ("broken", "echo the valve is stuck; exit 3"),
        ("slow", "echo >> /run/slow-begun; sleep 20; echo >> /run/slow-reloads"),
    ] {
        overlay.write(&format!("etc/systemd/system/{name}.service"), &unit(reload))?;
        symlink(format!("../{name}.service"), wanted.join(format!("{name}.service")))?;
    }
    let early = "#!/bin/sh\necho \"before the root is final: $(cat /etc/hostname)\"\n! test -e /etc/app/run.conf && touch /etc/app/wwinit-ran\n";
    overlay.program("warewulf/wwinit.d/10-early", early)?;
    overlay.program("warewulf/init.d/20-last", "#!/bin/sh\ntest -e /etc/app/run.conf && touch /etc/app/init-ran\n")?;
    overlay.program("warewulf/init.d/30-may-fail.optional", "#!/bin/sh\necho no such card\nexit 7\n")
}

const RELOADS: &str = "\
reload:
  - {paths: [etc/app/run.conf], units: [good.service, of-another-distribution.service]}
  - {paths: [etc/app/broken.conf], units: [broken.service]}
  - {paths: [etc/app/slow.conf], units: [slow.service]}
";

/// A runtime overlay whose files come, change and go.
fn runtime_overlay(head: &Head) -> Result<SiteOverlay<'_>> {
    let overlay = SiteOverlay { head, name: "moving" };
    overlay.create()?;
    overlay.write("etc/app/run.conf.j2", "generation {{ node.tags.generation }} of {{ node.name }}\n")?;
    overlay.write("etc/app/deep/er/leaves", "for a while\n")?;
    overlay.write("etc/app/both", "of the runtime overlay\n")?;
    overlay.write("etc/issue", "of the runtime overlay\n")?;
    overlay.rules(RELOADS)?;
    Ok(overlay)
}

/// Waits until `wulf node status` says this of the node's drift.
fn drift(cluster: &Cluster, expected: &str) -> Result<()> {
    let deadline = Instant::now() + SOON;
    loop {
        let status: Value = cluster.head.json(&["node", "status", "n1"])?;
        let drift = status["drift"]["n1"].as_str().unwrap_or("(it does not say)").to_owned();
        if drift == expected {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the drift is {drift:?} and not {expected:?}: {status:#}");
    }
}

/// Pushes; the exit code, and what it said.
fn push(cluster: &Cluster, more: &[&str]) -> Result<(Option<i32>, String)> {
    cluster.head.attempt(&[&["overlay", "push", "n1", "--spread", "0"], more].concat())
}

/// Pushes; what it said of the changes, which all went well.
fn push_well(cluster: &Cluster, more: &[&str]) -> Result<String> {
    match push(cluster, more)? {
        (Some(0), said) => Ok(said),
        (code, said) => bail!("the push ended with {code:?}: {said}"),
    }
}

fn tag(cluster: &Cluster, generation: u32) -> Result<()> {
    cluster.head.wulf(&["node", "set", "n1", "--yes", "--tagadd", &format!("generation={generation}")]).map(drop)
}

#[test]
fn a_node_runs_the_heads_overlays_and_follows_them() -> Result<()> {
    // No look by itself disturbs the pushes; later the head is told to let nodes look often.
    let setup =
        ClusterSetup { name: "overlay", configure: |config| config.update_interval = 480, ..ClusterSetup::default() };
    let mut cluster = Cluster::prepare(&setup, |_| ())?;
    system_overlay(&cluster.head)?;
    runtime_overlay(&cluster.head)?;
    let site = ["--system-overlays", "fixed", "--runtime-overlays", "moving", "--tagadd", "site=north"];
    cluster.head.wulf(&[&["profile", "add", "site", "--yes"][..], &site].concat())?;
    cluster.head.wulf(&["node", "set", "n1", "--yes", "--profile", "default,site", "--tagadd", "slot=7"])?;
    tag(&cluster, 1)?;
    let machine = cluster.power_on(0, &MachineSpec::default())?;
    cluster.wait_ready(1, BOOT).with_context(|| format!("its console ends: {}", machine.console().tail(25)))?;
    what_the_boot_brought(&cluster)?;
    hooks_ran(&cluster)?;
    drift(&cluster, "none")?;
    what_changes_is_pushed(&cluster)?;
    what_was_edited_is_kept(&cluster)?;
    a_job_is_left_alone(&cluster)?;
    a_unit_that_fails_is_told(&cluster)?;
    an_update_holds_nothing_up(&cluster)?;
    a_node_looks_by_itself(&mut cluster)?;
    prints(&cluster, "systemctl is-active wulf-agent", "active")?;
    drop(machine);
    cluster.succeeded();
    Ok(())
}

fn what_the_boot_brought(cluster: &Cluster) -> Result<()> {
    let port = cluster.nodes.first().context("a node")?;
    let conf = format!(
        "name=n1\nfqdn=n1\naddress={}/16\nsite=north slot=7\ndefault is eth0 with {}",
        port.address(),
        port.mac()
    );
    prints(cluster, "cat /etc/app/node.conf", &conf)?;
    prints(
        cluster,
        "cat /etc/app/run.conf /etc/issue /etc/app/both",
        "generation 1 of n1\nof the runtime overlay\nof the runtime overlay",
    )?;
    let paths = "/etc/app/node.conf /etc/app/key /usr/local/bin/tool /srv/shared /srv/alice /srv/alice/.profile /etc/app/current \
                 /usr/lib/app/data /etc/app";
    let rights = "\
644 0:0 /etc/app/node.conf
600 0:42 /etc/app/key
4755 0:0 /usr/local/bin/tool
2770 33:33 /srv/shared
755 1000:1000 /srv/alice
644 1000:1000 /srv/alice/.profile
777 0:0 /etc/app/current
644 0:0 /usr/lib/app/data
755 0:0 /etc/app";
    prints(cluster, &format!("stat -c '%a %u:%g %n' {paths}"), rights)?;
    prints(cluster, "readlink /etc/app/current /lib; cat /etc/app/key", "node.conf\nusr/lib\nsecret")?;
    prints(cluster, "test -e /etc/issue.net || echo gone", "gone")?;
    prints(cluster, "systemctl is-active good broken slow | sort -u", "active")
}

fn hooks_ran(cluster: &Cluster) -> Result<()> {
    prints(cluster, "ls /etc/app/*-ran", "/etc/app/init-ran\n/etc/app/wwinit-ran")?;
    let log = cluster.head.wulf(&["node", "log", "n1"])?;
    for line in [
        "/warewulf/wwinit.d/10-early: before the root is final: n1",
        "/warewulf/init.d/30-may-fail.optional: no such card",
        "/warewulf/init.d/30-may-fail.optional failed and is optional: it ended with exit status: 7",
    ] {
        assert!(log.contains(line), "{line:?} is not in the node's log: {log}");
    }
    Ok(())
}

/// A change of the registry, of a template and of files: the drift shows it, and a push brings it.
fn what_changes_is_pushed(cluster: &Cluster) -> Result<()> {
    let overlay = SiteOverlay { head: &cluster.head, name: "moving" };
    let image = fs::read_to_string(cluster.head.paths().images().join("debian/rootfs/etc/issue"))?;
    tag(cluster, 2)?;
    drift(cluster, "runtime overlay")?;
    for path in ["etc/app/deep/er/leaves", "etc/app/both", "etc/issue"] {
        overlay.command("delete", &[path, "--force", "--parents"])?;
    }
    overlay.write("opt/site/new", "new\n")?;
    let said = push_well(cluster, &[])?;
    for path in ["/etc/app/run.conf", "/etc/issue", "/opt/site/new"] {
        assert!(said.contains(path), "{said}");
    }
    drift(cluster, "none")?;
    prints(
        cluster,
        "cat /etc/app/run.conf /opt/site/new /etc/app/both",
        "generation 2 of n1\nnew\nof the system overlay",
    )?;
    prints(cluster, "cat /etc/issue", &image)?;
    prints(cluster, "ls -d /etc/app/deep 2>/dev/null || echo gone", "gone")?;
    // Its reload hook ran, once, and after the file had changed; the unit that is not there is no mistake.
    prints(cluster, "cat /run/good-reloads", "generation 2 of n1")?;
    // A change of the system overlay is seen, and comes with the next boot.
    SiteOverlay { head: &cluster.head, name: "fixed" }.write("etc/app/later", "later\n")?;
    drift(cluster, "system overlay")?;
    SiteOverlay { head: &cluster.head, name: "fixed" }.command("delete", &["etc/app/later", "--force"])?;
    drift(cluster, "none")
}

fn what_was_edited_is_kept(cluster: &Cluster) -> Result<()> {
    prints(cluster, "echo edited >> /etc/app/run.conf", "")?;
    tag(cluster, 3)?;
    let said = push_well(cluster, &[])?;
    assert!(said.contains("edited on the node and kept: /etc/app/run.conf"), "{said}");
    prints(cluster, "cat /etc/app/run.conf", "generation 2 of n1\nedited")?;
    drift(cluster, "1 edited")?;
    push_well(cluster, &["--force"])?;
    prints(cluster, "cat /etc/app/run.conf", "generation 3 of n1")?;
    drift(cluster, "none")
}

fn a_job_is_left_alone(cluster: &Cluster) -> Result<()> {
    prints(cluster, "echo job 4711 > /run/wulfpack/busy", "")?;
    tag(cluster, 4)?;
    let (code, said) = push(cluster, &["--timeout", "5"])?;
    assert!(code != Some(0) && said.contains("job 4711"), "{said}");
    prints(cluster, "cat /etc/app/run.conf; rm /run/wulfpack/busy", "generation 3 of n1")?;
    push_well(cluster, &[])?;
    prints(cluster, "cat /etc/app/run.conf", "generation 4 of n1")
}

/// The head hears which node, which unit, how it ended and what it said; the next push tells the unit again.
fn a_unit_that_fails_is_told(cluster: &Cluster) -> Result<()> {
    let overlay = SiteOverlay { head: &cluster.head, name: "moving" };
    overlay.write("etc/app/broken.conf", "1\n")?;
    let (code, said) = push(cluster, &[])?;
    assert_ne!(code, Some(0), "{said}");
    for part in ["n1", "broken.service", "status 1", "the valve is stuck", "changed /etc/app/broken.conf"] {
        assert!(said.contains(part), "{part:?} is not said: {said}");
    }
    let event = cluster.head.wait_event("the valve is stuck", SOON)?;
    assert_eq!(event.node.map(|node| node.to_string()).as_deref(), Some("n1"));
    drift(cluster, "1 unit not reloaded")?;
    let mend = "mkdir /run/systemd/system/broken.service.d && cd /run/systemd/system/broken.service.d && \
                printf '[Service]\\nExecReload=\\nExecReload=/bin/true\\n' > mended.conf && systemctl daemon-reload";
    prints(cluster, mend, "")?;
    push_well(cluster, &[])?;
    drift(cluster, "none")
}

/// While a unit takes its time to reload the service does all else, ends when it is told to, and loses nothing by it.
fn an_update_holds_nothing_up(cluster: &Cluster) -> Result<()> {
    let overlay = SiteOverlay { head: &cluster.head, name: "moving" };
    overlay.write("etc/app/slow.conf", "1\n")?;
    push_well(cluster, &["--no-wait"])?;
    prints(cluster, "timeout 60 sh -c 'until test -e /run/slow-begun; do sleep 0.2; done'", "")?;
    prints(cluster, "test -e /run/slow-reloads || echo under way; systemctl restart wulf-agent", "under way")?;
    prints(cluster, "journalctl -u wulf-agent | grep -ci 'timed out' || true", "0")?;
    drift(cluster, "1 unit not reloaded")?;
    push_well(cluster, &[])?;
    drift(cluster, "none")?;
    prints(cluster, "test -e /run/slow-reloads && echo reloaded", "reloaded")
}

/// Without a push: a look by hash, about as often as the configuration says, also at a head that was away.
fn a_node_looks_by_itself(cluster: &mut Cluster) -> Result<()> {
    cluster.head.stop()?;
    cluster.head.reconfigure(|config| config.update_interval = 10)?;
    cluster.head.serve()?;
    tag(cluster, 9)?;
    let wait = "timeout 120 sh -c 'until grep -q \"generation 9\" /etc/app/run.conf; do sleep 1; done' && cat /etc/app/run.conf";
    prints(cluster, wait, "generation 9 of n1")?;
    drift(cluster, "none")?;
    let log = cluster.head.wulf(&["node", "log", "n1"])?;
    assert!(log.contains("runtime overlays: changed /etc/app/run.conf"), "{log}");
    Ok(())
}
