//! What the demo found out, for people and as JSON.

use std::fmt::Write as _;

use indexmap::IndexMap;
use serde::Serialize;
use wulfpack_head::fleet::{BootState, NodeReport as Boot};
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::Phase;

use crate::cluster::ImageSizes;
use crate::harness::{CpuUse, Firmware};

/// One node's boot.
#[derive(Clone, Debug, Serialize)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// Its firmware.
    pub firmware: Firmware,
    /// Seconds from power-on to the end of each phase; `null` for one that nobody saw.
    pub phases_s: IndexMap<&'static str, Option<f64>>,
    /// Verified image bytes that came from the head.
    pub bytes_from_head: u64,
    /// Verified image bytes that came from peers.
    pub bytes_from_peers: u64,
    /// Kernel, initramfs, boot script and boot program, in bytes.
    pub boot_bytes: u64,
    /// MemAvailable at ready, in bytes; `null` if the node did not say.
    pub mem_available: Option<u64>,
    /// Where the boot stands; `null` if the head never heard of one.
    pub state: Option<BootState>,
    /// Whether root could log in.
    pub login: bool,
}

impl NodeReport {
    /// The report of a machine that was switched on at `power_on`; `boot` is what the head knows of it.
    pub fn new(name: &str, firmware: Firmware, power_on: UnixTime, boot: Option<&Boot>, login: bool) -> Self {
        let end = |phase| {
            let boot = boot?;
            let before_s = boot.started.0 as f64 / 1000.0 - power_on.0 as f64 / 1000.0;
            boot.reached_s
                .get(&phase)
                .copied()
                .flatten()
                .map(|reached| ((before_s + reached) * 1000.0).round() / 1000.0)
        };
        Self {
            name: name.to_owned(),
            firmware,
            phases_s: Phase::ALL.into_iter().map(|phase| (phase.name(), end(phase))).collect(),
            bytes_from_head: boot.map_or(0, |boot| boot.bytes_from_head),
            bytes_from_peers: boot.map_or(0, |boot| boot.bytes_from_peers),
            boot_bytes: boot.map_or(0, |boot| boot.boot_bytes.nbp + boot.boot_bytes.script + boot.boot_bytes.kernel),
            mem_available: boot.and_then(|boot| boot.mem_available),
            state: boot.map(|boot| boot.state),
            login,
        }
    }

    fn ready_s(&self) -> Option<f64> {
        *self.phases_s.get(Phase::Ready.name())?
    }
}

/// The whole demo.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Every node.
    pub nodes: Vec<NodeReport>,
    /// Root file system, chunk table and header of the image.
    pub image_bytes: u64,
    /// The kernel.
    pub kernel_bytes: u64,
    /// Modules and agent.
    pub initramfs_bytes: u64,
    /// Image bytes that the head sent to all nodes.
    pub head_image_bytes_sent: u64,
    /// Kernel, initramfs and boot program bytes that it sent beside them.
    pub head_boot_bytes_sent: u64,
    /// Seconds from power-on until the last node was ready; `null` if one was not.
    pub makespan_s: Option<f64>,
    /// CPU of this host meanwhile.
    pub cpu: CpuUse,
}

impl Report {
    /// Puts the nodes' reports together.
    pub fn new(nodes: Vec<NodeReport>, sizes: ImageSizes, head_image_bytes_sent: u64, cpu: CpuUse) -> Self {
        let ready: Option<Vec<_>> = nodes.iter().map(NodeReport::ready_s).collect();
        Self {
            image_bytes: sizes.image_bytes,
            kernel_bytes: sizes.kernel_bytes,
            initramfs_bytes: sizes.initramfs_bytes,
            head_image_bytes_sent,
            head_boot_bytes_sent: nodes.iter().map(|node| node.boot_bytes).sum(),
            makespan_s: ready.map(|times| times.into_iter().fold(0.0, f64::max)),
            cpu,
            nodes,
        }
    }

    /// Every node is ready and let somebody in.
    pub fn succeeded(&self) -> bool {
        self.makespan_s.is_some() && self.nodes.iter().all(|node| node.login)
    }

    /// For people: one line per node with the end of each phase, then where the bytes came from.
    pub fn text(&self) -> String {
        let mut text = String::from("\nseconds from power-on to the end of each phase\n");
        // Writing to a String cannot fail, here and below.
        let _ = write!(text, "{:<8} {:<5}", "node", "boot");
        for phase in Phase::ALL {
            let _ = write!(text, " {:>8}", phase.name());
        }
        text.push_str("  login\n");
        for node in &self.nodes {
            let firmware = match node.firmware {
                Firmware::Bios => "bios",
                Firmware::Uefi => "uefi",
                Firmware::Uefi6 => "uefi6",
                Firmware::UefiHttp => "http",
                Firmware::SecureBoot => "secure",
            };
            let _ = write!(text, "{:<8} {firmware:<5}", node.name);
            for end in node.phases_s.values() {
                let _ = match end {
                    Some(end) => write!(text, " {end:>8.1}"),
                    None => write!(text, " {:>8}", "unknown"),
                };
            }
            let _ = writeln!(text, "  {}", if node.login { "yes" } else { "no" });
        }
        self.bytes(&mut text);
        text
    }

    fn bytes(&self, text: &mut String) {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let _ = writeln!(text, "\n{:<8} {:>14} {:>15} {:>14}", "MiB", "from the head", "from its peers", "available");
        for node in &self.nodes {
            let available = node.mem_available.map_or_else(|| "unknown".into(), |bytes| format!("{:.0}", mib(bytes)));
            let (head, peers) = (mib(node.bytes_from_head), mib(node.bytes_from_peers));
            let _ = writeln!(text, "{:<8} {head:>14.1} {peers:>15.1} {available:>14}", node.name);
        }
        let copies = self.head_image_bytes_sent as f64 / self.image_bytes.max(1) as f64;
        let _ = writeln!(
            text,
            "\nimage {:.1} MiB; the head sent {:.1} MiB of it: {copies:.2} copies for {} nodes",
            mib(self.image_bytes),
            mib(self.head_image_bytes_sent),
            self.nodes.len(),
        );
        let _ = writeln!(
            text,
            "kernel {:.1} MiB and initramfs {:.1} MiB; the head sent {:.1} MiB of both",
            mib(self.kernel_bytes),
            mib(self.initramfs_bytes),
            mib(self.head_boot_bytes_sent),
        );
        if let Some(makespan) = self.makespan_s {
            let busy = self.cpu.busy * 100.0;
            let _ = writeln!(text, "all ready after {makespan:.1} s; this host's CPU was {busy:.0} % busy");
        }
    }
}

#[cfg(test)]
mod tests {
    use wulfpack_head::fleet::BootRecord;

    use super::*;

    const POWER_ON: UnixTime = UnixTime(1_000_000);

    fn boot() -> Boot {
        let mut record = BootRecord::new("n1".parse().unwrap(), UnixTime(1_002_000));
        for (phase, at) in [(Phase::Dhcp, 1_002_500), (Phase::Script, 1_003_000)] {
            record.stamped.insert(phase, UnixTime(at));
        }
        Boot::of(&record)
    }

    fn report(logins: [bool; 2]) -> Report {
        let sizes = ImageSizes { image_bytes: 1000, kernel_bytes: 10, initramfs_bytes: 20 };
        let nodes = logins.into_iter().map(|login| {
            let mut node = NodeReport::new("n1", Firmware::Bios, POWER_ON, Some(&boot()), login);
            node.phases_s.insert("ready", Some(20.0));
            node
        });
        Report::new(nodes.collect(), sizes, 1300, CpuUse::default())
    }

    #[test]
    fn phases_count_from_power_on_and_unseen_ones_are_unknown() {
        let node = NodeReport::new("n1", Firmware::Uefi, POWER_ON, Some(&boot()), false);
        assert_eq!(node.phases_s["dhcp"], Some(2.5));
        assert_eq!(node.phases_s["nbp"], None);
        let json = serde_json::to_string(&node).unwrap();
        assert!(json.contains(r#""phases_s":{"dhcp":2.5,"nbp":null,"script":3.0"#), "{json}");
        assert!(json.contains(r#""firmware":"uefi""#), "{json}");
        let silent = NodeReport::new("n2", Firmware::Bios, POWER_ON, None, false);
        assert_eq!((silent.phases_s.len(), silent.ready_s(), silent.state), (Phase::ALL.len(), None, None));
    }

    #[test]
    fn success_takes_every_node_and_every_login() {
        assert!(report([true, true]).succeeded());
        assert!(!report([true, false]).succeeded());
        let mut unready = report([true, true]);
        unready.nodes[0].phases_s.insert("ready", None);
        let sizes = ImageSizes { image_bytes: 1, kernel_bytes: 1, initramfs_bytes: 1 };
        assert!(!Report::new(unready.nodes, sizes, 0, CpuUse::default()).succeeded());
    }

    #[test]
    fn the_head_is_counted_in_copies() {
        let text = report([true, true]).text();
        assert!(text.contains("1.30 copies for 2 nodes"), "{text}");
        assert!(text.contains("unknown"), "{text}");
    }
}
