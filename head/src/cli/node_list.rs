//! `wulf node list` and `wulf node show`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::nodes::{chosen, no_such_nodes};
use super::{Cell, Context, OutputFormat, Style, Table, print, write_out};
use crate::exit::Exit;
use crate::nodeset::{Groups as _, NodeSet, RegistryGroups};
use crate::registry::{Defaults, Node, Origin, Registry, origins};

/// Arguments of `wulf node list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Nodes; all if none are named.
    #[arg(value_name = "NODESET")]
    names: Vec<String>,
    /// Print their names only, folded: n[1-4,7].
    #[arg(long)]
    fold: bool,
    #[command(flatten)]
    columns: Columns,
}

/// What of each node is listed.
#[derive(Args, Clone, Copy, Debug)]
#[group(multiple = false)]
struct Columns {
    /// Their networks.
    #[arg(long, short = 'n')]
    net: bool,
    /// Their management controllers.
    #[arg(long)]
    ipmi: bool,
    /// Kernel, root, overlays.
    #[arg(long, short = 'l')]
    long: bool,
    /// Every value, and where it comes from.
    #[arg(long, short = 'a')]
    all: bool,
}

/// Arguments of `wulf node show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// Nodes.
    #[arg(required = true, value_name = "NODESET")]
    names: Vec<String>,
    /// Where each value comes from: the node itself or a profile, and what it stands in front of.
    #[arg(long)]
    source: bool,
}

/// Nodes that were named, and the registry that they are of.
struct Selected {
    registry: Registry,
    nodes: Vec<Arc<Node>>,
}

/// The named nodes, or all; by pattern, then as people count.
fn select(context: &Context, names: &[String]) -> anyhow::Result<Selected> {
    let config = context.load_config()?;
    let registry = Registry::load_with(&config.paths.nodes_file(), Defaults::from(&config))?;
    let (snapshot, groups) = (registry.resolve(), RegistryGroups::new(&registry));
    let wanted = if names.is_empty() { groups.all()? } else { chosen(names, &groups)? };
    let (mut nodes, mut missing) = (vec![], vec![]);
    for name in wanted.iter() {
        match name.parse().ok().and_then(|name| snapshot.node(&name)) {
            Some(node) => nodes.push(Arc::clone(node)),
            None => missing.push(name),
        }
    }
    if missing.is_empty() { Ok(Selected { registry, nodes }) } else { Err(no_such_nodes("node", &missing)) }
}

impl ListArgs {
    /// Runs it.
    pub(super) fn run(&self, context: &Context) -> anyhow::Result<ExitCode> {
        let selected = select(context, &self.names)?;
        let nodes = &selected.nodes;
        if self.fold {
            let names: NodeSet = nodes.iter().map(|node| node.name.as_str()).collect();
            write_out(&format!("{names}\n"))?;
        } else if self.columns.all {
            show_sources(context, &selected)?;
        } else {
            let Columns { net, ipmi, long, .. } = self.columns;
            print(context, nodes, || match (net, ipmi, long) {
                (true, ..) => networks(nodes),
                (_, true, _) => controllers(nodes),
                (.., true) => details(nodes),
                _ => overview(nodes),
            })?;
        }
        Ok(Exit::Ok.into())
    }
}

fn overview(nodes: &[Arc<Node>]) -> Table {
    let mut table = Table::new(["node", "profiles", "image", "mac", "address", "rack"]);
    for node in nodes {
        let primary = node.primary();
        table.row([
            node.name.as_str().into(),
            node.profiles.join(",").into(),
            Cell::or_dash(node.image.as_ref()),
            Cell::or_dash(primary.and_then(|interface| interface.mac)),
            Cell::or_dash(primary.and_then(|interface| interface.ip.or(interface.ip6))),
            Cell::or_dash(node.rack.as_ref()),
        ]);
    }
    table
}

fn networks(nodes: &[Arc<Node>]) -> Table {
    let mut table = Table::new(["node", "network", "device", "type", "mac", "address", "gateway", "mtu"]);
    for node in nodes {
        for interface in &node.interfaces {
            let with = |ip: Option<std::net::IpAddr>, prefix: Option<u8>| {
                ip.map(|ip| prefix.map_or_else(|| ip.to_string(), |prefix| format!("{ip}/{prefix}")))
            };
            let addresses = [with(interface.ip, interface.prefix), with(interface.ip6, interface.prefix6)];
            let addresses: Vec<String> = addresses.into_iter().flatten().collect();
            table.row([
                node.name.as_str().into(),
                (&interface.net).into(),
                Cell::or_dash(interface.device.as_ref()),
                Cell::or_dash(interface.kind.as_ref()),
                Cell::or_dash(interface.mac),
                Cell::or_dash((!addresses.is_empty()).then(|| addresses.join(","))),
                Cell::or_dash(interface.gateway.or(interface.gateway6)),
                Cell::or_dash(interface.mtu),
            ]);
        }
    }
    table
}

fn controllers(nodes: &[Arc<Node>]) -> Table {
    let mut table = Table::new(["node", "address", "port", "user", "password", "protocol", "template", "write"]);
    for node in nodes {
        let ipmi = &node.ipmi;
        table.row([
            node.name.as_str().into(),
            Cell::or_dash(ipmi.ip),
            Cell::or_dash(ipmi.port),
            Cell::or_dash(ipmi.username.as_ref()),
            Cell::or_dash(ipmi.password.as_ref().map(|_| "(secret)")),
            Cell::or_dash(ipmi.interface.as_ref()),
            Cell::or_dash(ipmi.template.as_ref()),
            Cell::new(if ipmi.write { "yes" } else { "no" }),
        ]);
    }
    table
}

fn details(nodes: &[Arc<Node>]) -> Table {
    let mut table = Table::new(["node", "image", "kernel", "root", "groups", "system overlays", "runtime overlays"]);
    let joined = |names: Vec<String>| Cell::or_dash((!names.is_empty()).then(|| names.join(",")));
    for node in nodes {
        let root = serde_json::to_value(node.root).ok().and_then(|root| root.as_str().map(str::to_lowercase));
        table.row([
            node.name.as_str().into(),
            Cell::or_dash(node.image.as_ref()),
            Cell::or_dash(node.kernel_version.as_ref()),
            Cell::or_dash(root),
            joined(node.groups.clone()),
            joined(node.system_overlays.iter().map(ToString::to_string).collect()),
            joined(node.runtime_overlays.iter().map(ToString::to_string).collect()),
        ]);
    }
    table
}

/// All values of one node, with what they come from.
#[derive(Serialize)]
struct Sourced<'a> {
    node: &'a str,
    values: Vec<Origin>,
}

impl ShowArgs {
    /// Runs it.
    pub(super) fn run(&self, context: &Context) -> anyhow::Result<ExitCode> {
        let selected = select(context, &self.names)?;
        if self.source {
            show_sources(context, &selected)?;
        } else {
            print(context, &selected.nodes, || values_table(&selected))?;
        }
        Ok(Exit::Ok.into())
    }
}

fn sourced(selected: &Selected) -> Vec<Sourced<'_>> {
    let file = selected.registry.file();
    let values = |node: &'_ Arc<Node>| {
        let name = node.name.as_str();
        file.nodes.get(name).map(|entry| origins(file, name, entry)).unwrap_or_default()
    };
    selected.nodes.iter().map(|node| Sourced { node: node.name.as_str(), values: values(node) }).collect()
}

fn values_table(selected: &Selected) -> Table {
    let mut table = Table::new(["node", "field", "value"]);
    for Sourced { node, values } in sourced(selected) {
        for origin in values {
            table.row([node.into(), origin.field.into(), origin.value.into()]);
        }
    }
    table
}

fn show_sources(context: &Context, selected: &Selected) -> anyhow::Result<()> {
    let sourced = sourced(selected);
    // For programs a map by node, so that nothing depends on the order.
    let by_node: BTreeMap<&str, &Vec<Origin>> = sourced.iter().map(|node| (node.node, &node.values)).collect();
    if context.output != OutputFormat::Table && context.output != OutputFormat::Name {
        return print(context, &by_node, Table::pairs);
    }
    print(context, &by_node, || {
        let mut table = Table::new(["node", "field", "source", "value", "instead of"]);
        for Sourced { node, values } in &sourced {
            for origin in values {
                let own = origin.sources.iter().all(|source| source == node);
                let source = Cell::new(if own { "-".into() } else { origin.sources.join(",") });
                let superseded: Vec<String> =
                    origin.superseded.iter().map(|(source, value)| format!("{value} ({source})")).collect();
                table.row([
                    (*node).into(),
                    (&origin.field).into(),
                    source,
                    (&origin.value).into(),
                    Cell::new(superseded.join(", ")).style(Style::Dim),
                ]);
            }
        }
        table
    })
}
