//! All overlays for all nodes of a large cluster.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context as _, Result};
use wulfpack_head::config::Config;
use wulfpack_head::overlay::{Facts, Readable, Renderer};
use wulfpack_head::registry::{Defaults, Registry, Snapshot};
use wulfpack_shared::id::Hash;
use wulfpack_shared::identity::SecretKey;
use wulfpack_shared::overlay::EntryKind;

/// What to measure.
#[derive(clap::Args)]
pub(super) struct Overlays {
    /// Nodes; one row for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [2500, 5000, 10_000])]
    nodes: Vec<u32>,
}

impl Overlays {
    /// Renders everything and prints a row for each number of nodes.
    pub(super) fn run(&self) -> Result<String> {
        let mut text = String::from(
            "nodes   seconds  files     GiB for all  MiB of different contents  drift of all, s  the same again, s  after a new node, s\n",
        );
        for nodes in &self.nodes {
            row(*nodes, &mut text)?;
        }
        Ok(text)
    }
}

fn registry(nodes: u32) -> Result<Registry> {
    let mut text = String::from(
        "nodeprofiles: {default: {system overlay: [hostname, resolv, fstab, issue, chrony, systemd.networkd, systemd.mount, \
         NetworkManager, netplan, ssh.host_keys, wwinit], runtime overlay: [hosts, ssh.authorized_keys]}}\nnodes:\n",
    );
    for node in 0..nodes {
        let (high, low) = (node / 250, node % 250 + 1);
        _ = writeln!(
            text,
            "  n{node}: {{profiles: [default], network devices: {{default: {{device: eth0, hwaddr: \"52:54:00:00:{high:02x}:{low:02x}\", \
             ipaddr: 10.0.{high}.{low}, netmask: 255.255.0.0}}}}}}"
        );
    }
    Registry::parse(&text, Defaults::default()).map_err(|problems| anyhow::anyhow!("{problems}"))
}

fn row(nodes: u32, text: &mut String) -> Result<()> {
    let snapshot = registry(nodes)?.resolve();
    let start = Instant::now();
    let head = "10.0.255.1".parse().context("an address")?;
    let facts =
        Facts::new(&Config::default(), &snapshot, &[head], "ssh-ed25519 AAAA a\n", SecretKey::from_seed([1; 32]));
    let renderer = Renderer::new([], Readable::default());
    let now = renderer.now();
    let (mut files, mut bytes, mut different) = (0u64, 0u64, 0u64);
    let (mut kept, mut seen) = (vec![], BTreeSet::new());
    for node in snapshot.nodes() {
        for entry in now.render(node, &facts)?.into_iter().flat_map(|bundle| bundle.entries) {
            let EntryKind::File(content) = entry.kind else { continue };
            files += 1;
            bytes += content.len() as u64;
            // Large ones that lie in one place are one; it is kept, so that no other can come to lie there.
            let large = content.len() > 65_536;
            if large && kept.iter().any(|known: &bytes::Bytes| known.as_ptr() == content.as_ptr()) {
                continue;
            }
            if seen.insert(Hash::of(&content)) {
                different += content.len() as u64;
            }
            if large {
                kept.push(content);
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let (gib, mib) = (bytes / (1 << 20), different / (1 << 20));
    let fresh = Renderer::new([], Readable::default());
    let first = drift(&fresh, &snapshot, &facts)?;
    let again = drift(&fresh, &snapshot, &facts)?;
    let grown = registry(nodes + 1)?.resolve();
    let facts = Facts::new(&Config::default(), &grown, &[head], "ssh-ed25519 AAAA a\n", SecretKey::from_seed([1; 32]));
    let changed = drift(&fresh, &grown, &facts)?;
    _ = writeln!(
        text,
        "{nodes:<7} {seconds:<8.2} {files:<9} {:<12} {mib:<26} {first:<16.2} {again:<18.2} {changed:.2}",
        format!("{}.{}", gib / 1024, gib % 1024 * 10 / 1024)
    );
    Ok(())
}

/// How long it takes to say what all nodes would get.
fn drift(renderer: &Renderer, snapshot: &Snapshot, facts: &Facts) -> Result<f64> {
    let (begun, now) = (Instant::now(), renderer.now());
    for node in snapshot.nodes() {
        now.digest(node, facts)?;
    }
    Ok(begun.elapsed().as_secs_f64())
}
