//! `wulf node status`: where the boots of nodes stand, once or as it changes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use clap::Args;
use indicatif::HumanBytes;
use serde::Serialize;
use wulfpack_shared::id::{Hash, NodeName};
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::NodeState;

use super::log::printable;
use super::nodes::{chosen, groups, no_such_nodes};
use super::report::state_cell;
use super::running::ask;
use super::{Cell, Context, OutputFormat, Style, Table, note, print, print_table, write_out};
use crate::admin::{AdminClient, NodeOverlays, ReportRequest, Status};
use crate::exit::Exit;
use crate::fleet::NodeStatus;
use crate::nodeset::NodeSet;

/// Arguments of `wulf node status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Nodes; all if none are named.
    #[arg(value_name = "NODESET")]
    names: Vec<String>,
    /// Go on and show changes: in place on a terminal, else one line for each.
    #[arg(long, short)]
    watch: bool,
}

impl StatusArgs {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let named = !self.names.is_empty();
        let wanted = named.then(|| chosen(&self.names, &groups(context))).transpose()?;
        ask(context, async |client| match self.watch {
            false => once(context, &client, wanted.as_ref()).await,
            true => watch(&client, wanted.as_ref()).await,
        })?;
        Ok(Exit::Ok.into())
    }
}

fn keep(status: &mut Status, wanted: Option<&NodeSet>) -> anyhow::Result<()> {
    if let Some(wanted) = wanted {
        status.nodes.retain(|node| wanted.contains(node.name.as_str()));
        let mut missing = wanted.clone();
        missing.subtract(&status.nodes.iter().map(|node| &node.name).collect());
        if !missing.is_empty() {
            return Err(no_such_nodes("node", &missing.iter().collect::<Vec<_>>()));
        }
    }
    Ok(())
}

async fn once(context: &Context, client: &AdminClient, wanted: Option<&NodeSet>) -> anyhow::Result<()> {
    let mut status: Status = client.get("/v1/status").await?;
    keep(&mut status, wanted)?;
    let nodes = Some(status.nodes.iter().map(|node| node.name.clone()).collect());
    let would: Vec<NodeOverlays> = client.post("/v1/overlays", &ReportRequest { nodes, boots: 1 }).await?;
    match context.output {
        OutputFormat::Table => {
            print_table(&table_with(&status, &would))?;
            troubles(&status).iter().for_each(|trouble| note(trouble));
            Ok(())
        }
        _ => {
            let drift = drifts(&status, &would);
            print(context, &Whole { status: &status, overlays: &would, drift }, Table::pairs)
        }
    }
}

/// For programs: the status, and what each node would get now beside what it runs.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    status: &'a Status,
    overlays: &'a [NodeOverlays],
    /// As the table shows it, for nodes that say what they run.
    drift: BTreeMap<&'a NodeName, String>,
}

fn drifts<'a>(status: &'a Status, would: &[NodeOverlays]) -> BTreeMap<&'a NodeName, String> {
    let would: BTreeMap<_, _> = would.iter().map(|node| (&node.node, node)).collect();
    let of = |node: &'a NodeStatus| Some((&node.name, drift(node, would.get(&node.name)?)?));
    status.nodes.iter().filter_map(of).collect()
}

/// Whether a node that runs gives to the swarm.
const fn seeding(running: NodeState) -> &'static str {
    match running {
        NodeState { paused: true, .. } => "paused",
        NodeState { seeds: true, .. } => "yes",
        NodeState { seeds: false, .. } => "no",
    }
}

/// In what a node differs from what it would get now; nothing where it does not say what it runs.
fn drift(node: &NodeStatus, would: &NodeOverlays) -> Option<String> {
    let running = would.running?;
    let differs = |runs: Option<Hash>, gets: Option<Hash>| runs.is_some() && gets.is_some() && runs != gets;
    let mut drift = vec![];
    if node.image.is_some() && would.image_now.is_some() && node.image != would.image_now {
        drift.push("image".to_owned());
    }
    if differs(running.system, would.system) {
        drift.push("system overlay".to_owned());
    }
    if differs(running.runtime, would.runtime) || (running.runtime.is_none() && would.runtime.is_some()) {
        drift.push("runtime overlay".to_owned());
    }
    if running.edited > 0 {
        drift.push(format!("{} edited", running.edited));
    }
    if running.stale_units > 0 {
        let units = if running.stale_units == 1 { "unit" } else { "units" };
        drift.push(format!("{} {units} not reloaded", running.stale_units));
    }
    if would.error.is_some() {
        drift.push("overlays cannot be rendered".to_owned());
    }
    Some(if drift.is_empty() { "none".to_owned() } else { drift.join(", ") })
}

async fn watch(client: &AdminClient, wanted: Option<&NodeSet>) -> anyhow::Result<()> {
    let terminal = io::stdout().is_terminal();
    let mut last: Option<Status> = None;
    loop {
        let path =
            last.as_ref().map_or_else(|| "/v1/status".into(), |last| format!("/v1/status?since={}", last.version));
        let mut status: Status = client.get(&path).await?;
        keep(&mut status, wanted)?;
        if terminal {
            write_out(&screen(&status, terminal_rows()))?;
        } else {
            write_out(&changes(last.as_ref(), &status))?;
        }
        last = Some(status);
    }
}

/// The whole table from the upper left corner; each line clears what stood there (ECMA-48, section 8.3.41).
fn screen(status: &Status, rows: usize) -> String {
    let mut text = String::from("\x1b[H");
    let body = table(status).render(true);
    let lines: Vec<&str> = body.lines().collect();
    let room = rows.saturating_sub(2);
    for line in lines.iter().take(room) {
        _ = write!(text, "{line}\x1b[K\r\n");
    }
    if lines.len() > room {
        _ = write!(text, "… {} more\x1b[K", lines.len() - room);
    } else {
        let ready = status.nodes.iter().filter(|node| node.ready_s.is_some()).count();
        _ = write!(text, "{ready} of {} ready at {}\x1b[K", status.nodes.len(), status.now);
    }
    text.push_str("\x1b[J");
    text
}

/// Lines of the terminal.
fn terminal_rows() -> usize {
    rustix::termios::tcgetwinsize(io::stdout()).map_or(24, |size| usize::from(size.ws_row).max(4))
}

/// One line for each node whose state or phase has changed.
fn changes(last: Option<&Status>, now: &Status) -> String {
    let key = |node: &NodeStatus| (node.state, node.phase, node.message.clone());
    let mut text = String::new();
    for node in &now.nodes {
        let before = last.and_then(|last| last.nodes.iter().find(|old| old.name == node.name));
        if node.state.is_some() && before.map(key) != Some(key(node)) {
            let state = node.state.map_or_else(String::new, |state| format!("{state:?}").to_lowercase());
            let phase = node.phase.map_or_else(String::new, |phase| format!(" {phase}"));
            let message = node.message.as_ref().map_or_else(String::new, |message| format!(": {}", printable(message)));
            _ = writeln!(text, "{} {} {state}{phase}{message}", now.now, node.name);
        }
    }
    text
}

fn table(status: &Status) -> Table {
    table_with(status, &[])
}

fn table_with(status: &Status, would: &[NodeOverlays]) -> Table {
    let mut drifts = drifts(status, would);
    let running: BTreeMap<_, _> = would.iter().filter_map(|node| Some((&node.node, node.running?))).collect();
    let mut table = Table::new([
        "node",
        "state",
        "phase",
        "since",
        "heard",
        "image",
        "held",
        "from head",
        "from peers",
        "given",
        "seeds",
        "address",
        "drift",
        "",
    ]);
    for node in &status.nodes {
        let ago = |at: Option<UnixTime>| Cell::or_dash(at.map(|at| format!("{} ago", span(status.now, at))));
        let bytes = |bytes: u64| Cell::or_dash((node.total > 0).then(|| HumanBytes(bytes).to_string()));
        let held = (node.total > 0).then(|| format!("{}%", u64::from(node.held) * 100 / u64::from(node.total)));
        table.row([
            node.name.as_str().into(),
            state_cell(node.state),
            Cell::or_dash(node.phase),
            ago(node.started),
            ago(node.heard),
            Cell::or_dash(node.image.map(|image| format!("{image:.12}"))).style(Style::Dim),
            Cell::or_dash(held),
            bytes(node.bytes_from_head),
            bytes(node.bytes_from_peers),
            bytes(node.bytes_served),
            Cell::or_dash(running.get(&node.name).copied().map(seeding)),
            Cell::or_dash(node.addr),
            Cell::or_dash(drifts.remove(&node.name)),
            Cell::new(node.message.as_deref().unwrap_or_default()),
        ]);
    }
    table
}

/// What is wrong with the head itself.
fn troubles(status: &Status) -> Vec<String> {
    let mut troubles = vec![];
    if let Some(error) = &status.head.registry_error {
        troubles.push(format!("the registry's file is not used as it is: {error}"));
    }
    if let Some(dhcp) = status.head.services.get("dhcp").filter(|dhcp| dhcp.contains("withheld")) {
        troubles.push(format!("dhcp {dhcp}"));
    }
    if !status.unknown.is_empty() {
        let macs: Vec<_> = status.unknown.iter().take(5).map(|machine| machine.mac.to_string()).collect();
        let more = status.unknown.len().saturating_sub(5);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        troubles.push(format!("machines that are no nodes asked: {}{more}", macs.join(", ")));
    }
    troubles
}

/// A distance in time, in its largest unit.
fn span(now: UnixTime, at: UnixTime) -> String {
    match now.distance(at).as_secs() {
        secs @ 0..120 => format!("{secs} s"),
        secs @ 120..7200 => format!("{} min", secs / 60),
        secs @ 7200..172_800 => format!("{} h", secs / 3600),
        secs => format!("{} d", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use wulfpack_shared::id::PublicKey;
    use wulfpack_shared::wire::Phase;

    use super::*;
    use crate::admin::HeadStatus;
    use crate::fleet::BootState;

    fn status(phase: Phase) -> Status {
        let mut node = NodeStatus::unseen("n1".parse().unwrap());
        (node.state, node.phase) = (Some(BootState::Booting), Some(phase));
        (node.held, node.total, node.started) = (1, 4, Some(UnixTime::from_secs(940)));
        let head = HeadStatus {
            version: "0".into(),
            cluster: "c".into(),
            started: UnixTime(0),
            key: PublicKey::default(),
            cluster_key: PublicKey::default(),
            services: BTreeMap::new(),
            registry_error: None,
            members: 0,
            images: vec![],
        };
        let nodes = vec![node, NodeStatus::unseen("n2".parse().unwrap())];
        Status { version: 1, now: UnixTime::from_secs(1000), head, nodes, unknown: vec![] }
    }

    #[test]
    fn without_a_terminal_each_change_is_a_line() {
        let (first, next) = (status(Phase::Fetch), status(Phase::Mount));
        assert_eq!(changes(None, &first), "1970-01-01T00:16:40Z n1 booting fetch\n");
        assert_eq!(changes(Some(&first), &first), "");
        assert_eq!(changes(Some(&first), &next), "1970-01-01T00:16:40Z n1 booting mount\n");
    }

    #[test]
    fn the_table_shows_progress_and_what_was_never_seen() {
        let text = table(&status(Phase::Fetch)).render(false);
        let cells =
            |line: usize| text.lines().nth(line).unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(cells(1)[..8], ["n1", "booting", "fetch", "60", "s", "ago", "-", "-"]);
        assert!(cells(1).contains(&"25%".to_owned()), "{text}");
        assert_eq!(cells(2)[..3], ["n2", "-", "-"]);
    }

    #[test]
    fn a_node_that_runs_something_else_than_it_would_get_says_what() {
        let status = status(Phase::Fetch);
        let (old, new) = (Some(Hash([1; 32])), Some(Hash([2; 32])));
        let would = |running| NodeOverlays {
            node: status.nodes[0].name.clone(),
            system: new,
            runtime: new,
            bytes: 0,
            error: None,
            image_now: None,
            running,
        };
        assert_eq!(drift(&status.nodes[0], &would(None)), None);
        let state = NodeState { system: new, runtime: new, ..NodeState::default() };
        assert_eq!(drift(&status.nodes[0], &would(Some(state))).unwrap(), "none");
        let shown = |state| table_with(&status, &[would(Some(state))]).render(false).contains(" paused ");
        assert!(shown(NodeState { paused: true, ..state }) && !shown(state));
        let state = NodeState { system: old, runtime: old, edited: 2, stale_units: 1, ..NodeState::default() };
        let all = "system overlay, runtime overlay, 2 edited, 1 unit not reloaded";
        assert_eq!(drift(&status.nodes[0], &would(Some(state))).unwrap(), all);
    }

    #[test]
    fn the_screen_never_scrolls() {
        let mut status = status(Phase::Fetch);
        status.nodes = vec![status.nodes[0].clone(); 100];
        let text = screen(&status, 10);
        assert_eq!(text.matches('\n').count(), 8);
        assert!(text.contains("93 more"), "{text}");
    }
}
