//! `wulf discover`: machines that no registry knows.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use wulfpack_shared::id::{Mac, NodeName};

use super::adopt::write_down;
use super::change::{ChangeFlags, Doing, open, save};
use super::render::colours;
use super::running::ask;
use super::{Cell, Context, OutputFormat, Style, Table, note, print, write_out};
use crate::admin::{AdminClient, DiscoverList, DiscoveredMachine, ForgetAnswer, ForgetRequest};
use crate::discover::Match;
use crate::exit::{Ended, Exit};
use crate::registry::{Defaults, Registry};

/// A machine that was not heard for so long may be off.
const SILENT: Duration = Duration::from_secs(180);

/// See machines that are not in the registry and wait to become a node.
#[derive(Debug, Subcommand)]
pub enum DiscoverCommand {
    /// List machines that told what they are, who came first before the others.
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show all that a machine told of itself.
    Show {
        /// A MAC address, a serial number, or the node that it has become.
        #[arg(required = true, value_name = "MACHINE")]
        machines: Vec<String>,
    },
    /// Go on and show who comes, and who becomes which node.
    Watch,
    /// Take machines off the list, or take back what made a machine a node where nodes.yaml does not say the same.
    Forget {
        /// MAC addresses, or nodes.
        #[arg(required = true, value_name = "MAC|NODE")]
        who: Vec<String>,
    },
    /// Write machines that have become nodes by a rule into nodes.yaml, with its history.
    Save(SaveArgs),
}

/// Arguments of `wulf discover save`.
#[derive(Args, Debug)]
pub struct SaveArgs {
    #[command(flatten)]
    change: ChangeFlags,
}

/// Arguments of `wulf discover list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Only those that fit, such as serial=ABC* or switch=sw-r1; all that are given have to fit.
    #[arg(long = "match", value_name = "FIELD=PATTERN")]
    matches: Vec<Match>,
    /// Also machines that are nodes by now.
    #[arg(long, short)]
    all: bool,
}

impl DiscoverCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self {
            Self::List(args) => list(context, &args),
            Self::Show { machines } => show(context, &machines),
            Self::Watch => ask(context, async |client| watch(context, &client).await),
            Self::Forget { who } => forget(context, &who),
            Self::Save(args) => write_claims(context, &args.change),
        }
    }
}

/// The list as the head has it.
pub(super) fn fetch(context: &Context) -> anyhow::Result<DiscoverList> {
    ask(context, async |client| Ok(client.get("/v1/discover").await?))
}

fn list(context: &Context, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let mut found = fetch(context)?;
    found.machines.retain(|one| args.all || one.node.is_none());
    found.machines.retain(|one| args.matches.iter().all(|pattern| pattern.fits(&one.machine)));
    print(context, &found, || table(&found))?;
    if !found.claims.is_empty() && context.output == OutputFormat::Table {
        let names: Vec<&str> = found.claims.iter().map(|claim| claim.node.as_str()).collect();
        let names = super::nodes::folded(&names);
        note(&format!(
            "{names} became nodes by a rule and are not in nodes.yaml: `wulf discover save` writes them there"
        ));
    }
    if !found.on {
        note(
            "discovery is off in every network: `dhcp: subnets: …: discover: true` in the configuration switches it on",
        );
    }
    Ok(Exit::Ok.into())
}

fn table(found: &DiscoverList) -> Table {
    let mut table = Table::new([
        "mac", "state", "machine", "serial", "memory", "cores", "disks", "gpus", "switch", "address", "came",
    ]);
    for one in &found.machines {
        let (machine, inventory) = (&one.machine, &one.machine.inventory);
        let switch = inventory.nics.iter().find_map(|nic| nic.neighbour.as_ref());
        let switch = switch.map(|switch| {
            let name = if switch.system.is_empty() { &switch.chassis } else { &switch.system };
            format!("{name} {}", switch.port)
        });
        table.row([
            Cell::new(machine.mac.to_string()),
            state(found, one),
            Cell::new(format!("{} {}", inventory.system.vendor, inventory.system.product).trim()),
            Cell::new(&inventory.system.serial),
            Cell::new(HumanBytes(inventory.memory).to_string()),
            Cell::new(inventory.cpu.cores.to_string()),
            Cell::new(inventory.disks.len().to_string()),
            Cell::new(inventory.gpus.len().to_string()),
            Cell::or_dash(switch),
            Cell::new(machine.from.to_string()),
            Cell::new(machine.first.to_string()).style(Style::Dim),
        ]);
    }
    table
}

fn state(found: &DiscoverList, one: &DiscoveredMachine) -> Cell {
    if let Some(node) = &one.node {
        return Cell::new(node.as_str()).style(Style::Good);
    }
    if one.machine.contested {
        return Cell::new("two keys").style(Style::Bad);
    }
    let silent = found.now.distance(one.machine.heard);
    if silent > SILENT {
        return Cell::new(format!("silent {} min", silent.as_secs() / 60)).style(Style::Warn);
    }
    Cell::new(if one.machine.complete { "waits" } else { "listens" })
}

fn show(context: &Context, names: &[String]) -> anyhow::Result<ExitCode> {
    let found = fetch(context)?;
    let mut shown = vec![];
    for name in names {
        let mac = name.parse::<Mac>().ok();
        let fits = |one: &&DiscoveredMachine| {
            let is_mac = mac.is_some_and(|mac| {
                mac == one.machine.mac || one.machine.inventory.nics.iter().any(|nic| nic.mac == mac)
            });
            let is_node = one.node.as_ref().is_some_and(|node| node.as_str() == name);
            is_mac || is_node || one.machine.inventory.system.serial.eq_ignore_ascii_case(name)
        };
        let one = found.machines.iter().find(fits);
        let text = || Ended::new(Exit::NothingMatched, format!("no machine on the list is {name}"));
        shown.push(one.ok_or_else(text)?.clone());
    }
    match context.output {
        OutputFormat::Table | OutputFormat::Name => {
            // All of it, in a form that people read.
            let text = serde_saphyr::to_string(&shown).context("cannot show the machines")?;
            write_out(&text)?;
        }
        _ => print(context, &shown, Table::pairs)?,
    }
    Ok(Exit::Ok.into())
}

async fn watch(context: &Context, client: &AdminClient) -> anyhow::Result<ExitCode> {
    let mut path = "/v1/discover".to_owned();
    let mut known: Vec<(Mac, String)> = vec![];
    loop {
        let found: DiscoverList = client.get(&path).await?;
        let now: Vec<(Mac, String)> = found.machines.iter().map(|one| (one.machine.mac, word(one))).collect();
        for ((mac, word), one) in now.iter().zip(&found.machines).filter(|(now, _)| !known.contains(now)) {
            match context.output {
                OutputFormat::Table => {
                    let style = if one.node.is_some() { Style::Good } else { Style::Plain };
                    write_out(&format!("{} {mac} {}\n", found.now, style.paint(word, colours())))?;
                }
                OutputFormat::Name => write_out(&format!("{mac}\n"))?,
                OutputFormat::Json => write_out(&(serde_json::to_string(one)? + "\n"))?,
                OutputFormat::Yaml => write_out(&serde_saphyr::to_string(&[one])?)?,
            }
        }
        for (mac, _) in known.iter().filter(|(mac, _)| !now.iter().any(|(other, _)| other == mac)) {
            if context.output == OutputFormat::Table {
                write_out(&format!("{} {mac} forgotten\n", found.now))?;
            }
        }
        known = now;
        path = format!("/v1/discover?since={}", found.version);
    }
}

/// What is worth a line when it changes.
fn word(one: &DiscoveredMachine) -> String {
    let system = &one.machine.inventory.system;
    let what = format!("{} {}, serial number {}", system.vendor, system.product, system.serial);
    match &one.node {
        Some(node) => format!("is node {node} ({what})"),
        None if one.machine.contested => format!("two keys showed its token ({what})"),
        None if one.machine.note.is_empty() => format!("waits ({what})"),
        None => format!("waits: {} ({what})", one.machine.note),
    }
}

fn forget(context: &Context, who: &[String]) -> anyhow::Result<ExitCode> {
    let (mut macs, mut nodes) = (vec![], vec![]);
    for name in who {
        match name.parse::<Mac>() {
            Ok(mac) => macs.push(mac),
            Err(_) => nodes.push(name.parse::<NodeName>().map_err(|error| Ended::new(Exit::Usage, error.to_string()))?),
        }
    }
    let request = ForgetRequest { macs, nodes };
    let answer: ForgetAnswer = ask(context, async |client| Ok(client.post("/v1/discover/forget", &request).await?))?;
    note(&format!("{} machines are off the list, {} nodes have no machine any more", answer.machines, answer.nodes));
    let all = answer.machines == request.macs.len() && answer.nodes == request.nodes.len();
    Ok(if all { Exit::Ok } else { Exit::NothingMatched }.into())
}

/// The head sees the file, and forgets what stands there now.
fn write_claims(context: &Context, change: &ChangeFlags) -> anyhow::Result<ExitCode> {
    let found = fetch(context)?;
    let mut editor = open(context)?;
    let nodes = Registry::new(editor.file.clone(), Defaults::default()).resolve();
    for claim in &found.claims {
        write_down(&mut editor, &nodes, &claim.node, claim.mac)?;
    }
    save(context, editor, change, Doing::plainly("discover save"))
}
