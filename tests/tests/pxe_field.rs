//! What the field does to boots (REAL-CLUSTERS.md): an administrator's word, a second DHCP server, a new key, a head that is
//! restarted, a worker that is killed, file servers that are down, a root that is full. Each boot ends at a login.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use wulfpack_head::admin::DhcpStatus;
use wulfpack_head::config::{InterfaceConfig, TokenEvidence};
use wulfpack_head::fleet::{BootReport, BootState};
use wulfpack_head::registry::Editor;
use wulfpack_shared::wire::Phase;
use wulfpack_tests::cluster::{Cluster, ClusterSetup, holds, is_complete, is_ready, is_there};
use wulfpack_tests::harness::{Fetch, MachineSpec, Rate, dnsmasq, wait_for_banner};

const BOOT: Duration = Duration::from_secs(500);
const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

fn named(name: &'static str) -> ClusterSetup {
    ClusterSetup { name, ..ClusterSetup::default() }
}

/// Rule 9: where the network gives no evidence, an administrator does.
#[test]
fn a_boot_waits_until_it_is_approved() -> Result<()> {
    let setup = ClusterSetup {
        configure: |config| {
            let settings = InterfaceConfig { token: TokenEvidence::Approve, ..InterfaceConfig::default() };
            config.interfaces.insert("eth0".into(), Some(settings));
        },
        ..named("approval")
    };
    let cluster = Cluster::prepare(&setup, |_| ())?;
    assert!(cluster.head.wulf(&["node", "approve", "n1"]).is_err(), "nothing waits yet");
    let machines = cluster.power_on_all(&MachineSpec::small())?;
    // It asks again and again, and gets no further.
    let console = machines[0].console();
    let once = console.wait_for_after(0, "has to be approved", BOOT)?;
    console.wait_for_after(once, "has to be approved", BOOT)?;
    cluster.head.wait_event("waits for approval: `wulf node approve n1`", BOOT)?;
    let waiting = cluster.head.status(0)?.nodes;
    assert!(is_there(&waiting, "n1", |node| node.phase.is_some_and(|phase| phase <= Phase::Script)), "{waiting:?}");
    cluster.head.wulf(&["node", "approve", "n1"])?;
    cluster.wait_ready(1, BOOT)?;
    assert!(cluster.head.wulf(&["node", "approve", "n1"]).is_err(), "the boot has spent its approval");
    cluster.ends_well(machines, BOOT)
}

/// Rule 29: a stranger's DHCP server withholds ours, and nothing else, until somebody decides.
#[test]
fn another_dhcp_server_withholds_ours_until_it_is_overridden() -> Result<()> {
    let mut cluster = Cluster::prepare(&named("stranger"), |_| ())?;
    cluster.head.stop()?;
    let stranger = cluster.lab.process_port("stranger", None)?;
    // It knows nothing of our machines, and answers whoever else asks.
    let lines = "no-ping\ndhcp-range=10.42.200.1,10.42.200.50,255.255.0.0\ndhcp-host=52:54:00:42:*:*,ignore\n";
    let server = dnsmasq(&cluster.lab, &stranger, lines)?;
    cluster.head.serve()?;
    let address = stranger.address();
    cluster.head.log()?.wait_for(&format!("withheld: another DHCP server answers at {address}"), BOOT)?;
    let machines = cluster.power_on_all(&MachineSpec::small())?;
    // The firmware finds nobody who lets it boot, and gives up.
    machines[0].console().wait_for("No more network devices", BOOT)?;
    let status: DhcpStatus = cluster.head.json(&["dhcp", "status"])?;
    assert_eq!(status.other_server, Some(address));
    assert!(status.unanswered.withheld > 0 && !status.services["dhcp"].answers, "{status:?}");
    assert!(status.services["dhcp"].detail.contains(&address.to_string()), "{status:?}");
    assert!(["http", "tftp"].iter().all(|name| status.services[*name].answers), "{status:?}");
    assert!(cluster.head.status(0)?.nodes[0].state.is_none(), "nobody booted");

    cluster.head.wulf(&["dhcp", "override", "on"])?;
    let status: DhcpStatus = cluster.head.json(&["dhcp", "status"])?;
    assert!(status.overridden && status.services["dhcp"].answers, "{status:?}");
    machines[0].reset()?;
    cluster.wait_ready(1, BOOT)?;
    // The stranger heard the machine, and was there all the time.
    let heard = server.console().text();
    assert!(heard.contains("52:54:00:42:00:01 ignored") && !heard.contains("DHCPACK"), "{heard}");
    assert!(server.status().is_none());
    cluster.ends_well(machines, BOOT)
}

/// Rule 34: the cluster changes its key while nodes run. They stay members, and give to those who know only of the new one.
#[test]
fn a_new_key_of_the_cluster_reaches_who_boots_and_who_runs() -> Result<()> {
    let cluster = Cluster::prepare(&ClusterSetup { nodes: 2, ..named("rotate") }, |_| ())?;
    let key = || -> Result<String> {
        let shown: serde_json::Value = cluster.head.json(&["key", "show"])?;
        Ok(shown["cluster"].as_str().context("no key is shown")?.to_owned())
    };
    let mut machines = vec![cluster.power_on(0, &MachineSpec::small())?];
    cluster.wait_ready(1, BOOT)?;
    let (old, boot_id) = (key()?, cluster.login(0, BOOT_ID)?);
    cluster.head.wulf(&["key", "rotate"])?;
    let new = key()?;
    assert_ne!(new, old);
    machines.push(cluster.power_on(1, &MachineSpec::small())?);
    let nodes = cluster.wait_ready(2, BOOT)?;
    assert!(cluster.login(1, "cat /proc/cmdline")?.contains(&new), "n2 was told the new key");
    assert!(!cluster.login(0, "cat /proc/cmdline")?.contains(&new), "n1 booted with the old one");
    assert!(is_there(&nodes, "n2", |node| node.bytes_from_peers > 0), "{nodes:?}");
    // The one that ran is a member still: the head takes its report of what it gave.
    cluster.head.wait_for(BOOT, |nodes| is_there(nodes, "n1", |node| node.bytes_served > 0))?;
    assert_eq!(cluster.login(0, BOOT_ID)?, boot_id);
    assert_eq!(cluster.login(0, "systemctl is-active wulf-agent")?.trim(), "active");
    cluster.ends_well(machines, BOOT)
}

/// A package upgrade on the head in the middle of a boot: nothing is lost, and nobody begins again.
#[test]
fn the_head_is_restarted_in_the_middle_of_a_fetch() -> Result<()> {
    let mut cluster = Cluster::prepare(&ClusterSetup::slow("restart", 2), |_| ())?;
    let machines = cluster.power_on_all(&MachineSpec::small())?;
    let before = cluster.head.wait_for(BOOT, |nodes| nodes.iter().all(|node| holds(node, 8)))?;
    assert!(before.iter().all(|node| node.held < node.total), "{before:?}");
    cluster.head.stop()?;
    cluster.head.serve()?;
    let after = cluster.wait_ready(2, BOOT)?;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.started, after.started, "{} began again", after.name);
    }
    let report: BootReport = cluster.head.json(&["boot", "report"])?;
    assert_eq!(report.nodes.len(), 2);
    is_complete(&report, &cluster.sizes)?;
    assert!(report.makespan_s.is_some() && report.nodes.iter().all(|node| node.failures.is_empty()), "{report:?}");
    cluster.ends_well(machines, BOOT)
}

/// Rule 4: the child of PID 1 may be killed. The kernel's own SIGKILL to all but PID 1 stands for whatever does it.
#[test]
fn a_worker_that_is_killed_in_the_middle_of_a_fetch_goes_on() -> Result<()> {
    let profile = &["--yes", "--kernelargs", "quiet console=ttyS0 sysrq_always_enabled=1"];
    let cluster = Cluster::prepare(&ClusterSetup { profile, ..ClusterSetup::slow("worker", 1) }, |_| ())?;
    let machines = cluster.power_on_all(&MachineSpec::small())?;
    let before = cluster.head.wait_for(BOOT, |nodes| is_there(nodes, "n1", |node| holds(node, 4)))?;
    assert!(before.iter().all(|node| node.held < node.total), "{before:?}");
    let console = machines[0].console();
    assert!(!console.text().contains("the agent's worker"));
    machines[0].press(&["alt", "sysrq", "i"])?;
    console.wait_for("the agent's worker was ended by SIGKILL", BOOT)?;
    console.wait_for("units are here from before and were verified again", BOOT)?;
    cluster.head.wait_event("the agent was restarted: was ended by SIGKILL", BOOT)?;
    let after = cluster.wait_ready(1, BOOT)?;
    assert_eq!(before[0].started, after[0].started, "it began again");
    cluster.ends_well(machines, BOOT)
}

/// Rule 20: one file server is switched off, another takes connections and says nothing. Neither stops a login.
#[test]
fn file_servers_that_are_down_stop_no_login() -> Result<()> {
    let cluster = Cluster::prepare(&named("nfs"), |_| ())?;
    let (off, hung) = (cluster.lab.process_port("off", None)?, cluster.lab.process_port("hung", None)?);
    cluster.lab.set_cable(&off, false)?;
    let _says_nothing = hung.namespace.enter(|| TcpListener::bind((hung.address(), 2049)))??;
    // Without mount.nfs(8), which a small image does not have, the kernel itself has to be told the address.
    let mounts = [(&off, "/srv/off"), (&hung, "/srv/hung")].map(|(server, file)| {
        let address = server.address();
        let options = format!("vers=4.2,addr={address}");
        serde_json::json!({ "spec": format!("{address}:/data"), "file": file, "vfstype": "nfs", "mntops": options })
    });
    let mut registry = Editor::open(&cluster.head.paths().nodes_file())?;
    let node = registry.file.nodes.get_mut("n1").context("n1 is not in the registry")?;
    node.resources.insert("fstab".into(), serde_json::json!(mounts));
    let log = cluster.head.log()?;
    let before = log.len();
    registry.save()?;
    log.wait_for_after(before, "registry changed", BOOT)?;

    let machines = cluster.power_on_all(&MachineSpec::small())?;
    wait_for_banner(&cluster.head.port.namespace, cluster.address(0)?, BOOT)?;
    let fstab = cluster.login(0, "cat /etc/fstab")?;
    assert_eq!(fstab.matches(",_netdev,nofail").count(), 2, "{fstab}");
    // The login is there while the mount still hangs.
    assert_eq!(cluster.login(0, "systemctl is-active srv-hung.mount || true")?.trim(), "activating");
    let nodes = cluster.wait_ready(1, BOOT)?;
    assert!(is_there(&nodes, "n1", |node| node.state == Some(BootState::Degraded)), "{nodes:?}");
    let mut failed = cluster.head.report()?.nodes.remove(0).failed_units;
    failed.sort();
    assert_eq!(failed, ["srv-hung.mount", "srv-off.mount"]);
    cluster.ends_well(machines, BOOT)
}

/// Rule 18: a full upper layer is an error of whoever fills it. The node lives on, and goes on serving the image.
#[test]
fn a_full_root_goes_on_serving() -> Result<()> {
    let mut cluster = Cluster::prepare(&named("full"), |_| ())?;
    let (host, ticket) = cluster.add_host("h1", Rate(16_000_000))?;
    let machines = cluster.power_on_all(&MachineSpec::small())?;
    cluster.head.wait_for(BOOT, |nodes| is_there(nodes, "n1", is_ready))?;
    let agent = "systemctl show -p MainPID -p NRestarts -p ActiveState wulf-agent";
    let before = cluster.login(0, agent)?;
    let fill = "dd if=/dev/zero of=/root/big bs=1M 2>&1 | grep -o 'No space left on device'";
    assert_eq!(cluster.login(0, fill)?.trim(), "No space left on device");
    let fetch = Fetch::start(&cluster.lab, &host, &ticket, Duration::ZERO)?;
    cluster.head.wait_for(BOOT, |nodes| is_there(nodes, "h1", |node| node.held > 0))?;
    // From now on the full node is the only source.
    cluster.head.kill()?;
    let report = fetch.report(BOOT)?;
    assert!(report.from_peers > report.bytes / 2, "{report:?}");
    assert_eq!(cluster.login(0, "df --output=avail / | tail -n 1")?.trim(), "0", "it is full still");
    assert_eq!(cluster.login(0, agent)?, before);
    assert_eq!(cluster.login(0, "systemctl is-system-running")?.trim(), "running");
    // What has to start anew does: the state of the member lies elsewhere.
    cluster.login(0, "systemctl restart wulf-agent && rm /root/big")?;
    cluster.ends_well(machines, BOOT)
}

/// Rule 37: a node among jobs is as nice as the registry says, gives nothing while it is paused, by whomever, and is as good as asleep.
#[test]
fn a_node_among_jobs_stands_back_and_gives_nothing_while_it_is_paused() -> Result<()> {
    let profile = &["--yes", "--seed", "always", "--upload", "16mbit", "--dscp", "le", "--nice", "7", "--cpus", "0"];
    let cluster = Cluster::prepare(&ClusterSetup { profile, ..named("jobs") }, |_| ())?;
    let machines = cluster.power_on_all(&MachineSpec::small())?;
    cluster.wait_ready(1, BOOT)?;
    let tasks = "/proc/$(systemctl show -p MainPID --value wulf-agent)/task";
    let each = |what: &str| cluster.login(0, &format!("for task in {tasks}/*; do {what}; done"));
    for (what, word) in [("cut -d' ' -f19 $task/stat", "7"), ("sed -n 's/^Cpus_allowed_list:.//p' $task/status", "0")] {
        let lines = each(what)?;
        assert!(!lines.is_empty() && lines.lines().all(|line| line == word), "{what}: {lines}");
    }
    let running = || -> Result<(bool, bool)> {
        let status: serde_json::Value = cluster.head.json(&["node", "status"])?;
        let running = &status["overlays"][0]["running"];
        Ok((running["paused"] == true, running["seeds"] == true))
    };
    let until = |wanted: (bool, bool)| -> Result<()> {
        let end = Instant::now() + BOOT;
        while running()? != wanted {
            anyhow::ensure!(Instant::now() < end, "the head never heard {wanted:?}");
        }
        Ok(())
    };
    until((false, true))?;
    cluster.head.wulf(&["swarm", "pause", "n1"])?;
    until((true, true))?;
    cluster.login(0, "systemctl restart wulf-agent")?;
    until((true, true))?;
    let end = Instant::now() + BOOT;
    while !cluster.head.wulf(&["node", "log", "n1"])?.contains("paused, as before the restart") {
        anyhow::ensure!(Instant::now() < end, "the restarted service does not say that it is paused");
    }
    // Asleep: few wakes in a minute, little memory.
    let wakes = || -> Result<u64> {
        let lines = each("sed -n 's/^voluntary_ctxt_switches:.//p' $task/status")?;
        lines.lines().map(|line| Ok(line.trim().parse::<u64>()?)).sum()
    };
    let before = wakes()?;
    cluster.login(0, "sleep 60")?;
    let woken = wakes()? - before;
    let rss = cluster.login(0, &format!("sed -n 's/^VmRSS:[^0-9]*//p' {tasks}/../status"))?;
    let kib: u64 = rss.split_whitespace().next().context("no VmRSS")?.parse()?;
    assert!(woken <= 4 && kib <= 24 * 1024, "{woken} wakes in a minute, {kib} KiB");
    cluster.head.wulf(&["swarm", "resume", "n1"])?;
    until((false, true))?;
    // The same by a job's prolog and epilog, on the node.
    cluster.login(0, include_str!("../../head/assets/slurm/prolog"))?;
    until((true, true))?;
    assert!(cluster.login(0, "cat /run/wulfpack/busy")?.contains("runs"));
    cluster.login(0, include_str!("../../head/assets/slurm/epilog"))?;
    until((false, true))?;
    assert_eq!(cluster.login(0, "ls /run/wulfpack/busy /run/wulfpack/jobs 2>&1 | grep -c 'No such'")?.trim(), "2");
    cluster.ends_well(machines, BOOT)
}
