//! `wulf node adopt`: unknown machines become nodes.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use wulfpack_shared::id::{Mac, NodeName};

use super::change::{ChangeFlags, Doing, open, save};
use super::discover::fetch;
use super::fields::SetFlags;
use super::nodes::{Guard, groups_of, in_order, texts};
use super::running::ask;
use super::{Context, note};
use crate::admin::{AdoptAnswer, AdoptRequest, DiscoveredMachine, ForgetAnswer, ForgetRequest};
use crate::discover::{Match, natural};
use crate::exit::{Ended, Exit};
use crate::registry::{Defaults, Editor, Entry, Registry, Snapshot};

/// In which order machines take the names.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Order {
    /// Who came first is first.
    #[default]
    Came,
    /// By switch and port, numbers counted as numbers.
    Port,
    /// By serial number.
    Serial,
    /// By MAC address.
    Mac,
}

/// Arguments of `wulf node adopt`.
#[derive(Args, Debug)]
pub struct AdoptArgs {
    /// A MAC address and the node that it becomes; with --match, the nodes that these machines become.
    #[arg(required = true, value_name = "[MAC] NODESET")]
    words: Vec<String>,
    /// Machines that fit, such as serial=ABC123 or switch=sw-r1; all that are given have to fit. Also mac, uuid, asset, vendor,
    /// product, port, arch and bmc.
    #[arg(long = "match", value_name = "FIELD=PATTERN")]
    matches: Vec<Match>,
    /// In which order several machines take the names.
    #[arg(long, value_enum, default_value_t)]
    by: Order,
    #[command(flatten)]
    guard: Guard,
    #[command(flatten)]
    fields: SetFlags,
    #[command(flatten)]
    change: ChangeFlags,
}

impl AdoptArgs {
    /// Runs it.
    pub fn run(mut self, context: &Context) -> anyhow::Result<ExitCode> {
        self.fields.fetch_secrets()?;
        let (mac, names) = self.parts()?;
        let names = texts(names)?;
        let mut machines = fetch(context)?.machines;
        machines.retain(|one| one.node.is_none());
        let mut editor = open(context)?;
        let names = in_order(&names, &groups_of(&editor.file))?;
        let chosen = self.choose(mac, machines, names.len())?;
        if !self.change.is_dry_run() {
            self.guard.check(context, &names)?;
        }
        let mut pairs = vec![];
        for (index, (name, mac)) in (0..).zip(names.iter().zip(chosen)) {
            let node: NodeName = name.parse().map_err(|error| Ended::new(Exit::Usage, format!("{error}")))?;
            if !editor.file.nodes.contains_key(name) {
                let mut entry = Entry::default();
                if !self.fields.names_profiles() && editor.file.nodeprofiles.contains_key("default") {
                    entry.profiles = ["default"].into_iter().collect();
                }
                editor.file.nodes.insert(name.clone(), entry);
            }
            if let Some(entry) = editor.file.nodes.get_mut(name) {
                self.fields.apply(entry, index, names.len()).with_context(|| format!("node {name}"))?;
            }
            pairs.push((mac, node));
        }
        let nodes = Registry::new(editor.file.clone(), Defaults::default()).resolve();
        for (mac, node) in &pairs {
            write_down(&mut editor, &nodes, node, *mac)?;
        }
        if self.change.is_dry_run() {
            return save(context, editor, &self.change, Doing::plainly("node adopt"));
        }
        self.adopt(context, editor, pairs)
    }

    /// First the running head, where two that want the same at the same moment meet; then the file.
    fn adopt(&self, context: &Context, editor: Editor, pairs: Vec<(Mac, NodeName)>) -> anyhow::Result<ExitCode> {
        editor.check(self.change.is_forced())?;
        let request = AdoptRequest { pairs };
        let answer: AdoptAnswer = ask(context, async |client| Ok(client.post("/v1/adopt", &request).await?))?;
        let saved = save(context, editor, &self.change, Doing::plainly("node adopt"));
        if saved.is_ok() {
            let (verb, nodes) = if answer.adopted == 1 { ("machine goes", "a node") } else { ("machines go", "nodes") };
            note(&format!("{} {verb} on as {nodes}", answer.adopted));
            return saved;
        }
        let nodes = request.pairs.into_iter().map(|(_, node)| node).collect();
        let back = ForgetRequest { macs: vec![], nodes };
        let released: anyhow::Result<ForgetAnswer> =
            ask(context, async |client| Ok(client.post("/v1/discover/forget", &back).await?));
        if let Err(error) = released {
            note(&format!("what the head was told is not taken back: {error:#}"));
        }
        saved
    }

    /// The machine, if one is named, and the nodesets.
    fn parts(&self) -> anyhow::Result<(Option<Mac>, &[String])> {
        let usage = |text: &str| anyhow::Error::from(Ended::new(Exit::Usage, text.to_owned()));
        let (first, rest) = self.words.split_first().ok_or_else(|| usage("name a machine and a node"))?;
        match (first.parse::<Mac>().ok(), self.matches.is_empty()) {
            (Some(_), false) => Err(usage("either a MAC address or --match says which machine")),
            (Some(_), true) if rest.is_empty() => Err(usage("name the node that the machine becomes")),
            (Some(mac), true) => Ok((Some(mac), rest)),
            (None, false) => Ok((None, &self.words)),
            (None, true) => {
                let text =
                    format!("{first:?} is no MAC address; `wulf discover list` shows the machines, or say --match");
                Err(usage(&text))
            }
        }
    }

    /// As many machines as there are names, in order.
    fn choose(&self, mac: Option<Mac>, mut machines: Vec<DiscoveredMachine>, names: usize) -> anyhow::Result<Vec<Mac>> {
        machines.retain(|one| match mac {
            Some(mac) => one.machine.mac == mac,
            None => self.matches.iter().all(|pattern| pattern.fits(&one.machine)),
        });
        let none = |text: String| anyhow::Error::from(Ended::new(Exit::NothingMatched, text));
        match (machines.len(), mac) {
            (0, Some(mac)) => return Err(none(format!("no machine {mac} waits; `wulf discover list` shows who does"))),
            (0, None) => return Err(none("no machine that waits fits".into())),
            _ => {}
        }
        if machines.len() != names {
            let text = format!(
                "{} machines fit, and {names} nodes are named; `wulf discover list --match …` shows them",
                machines.len()
            );
            return Err(Ended::new(Exit::Usage, text).into());
        }
        match self.by {
            // As the head lists them.
            Order::Came => {}
            Order::Port => machines.sort_by_key(port),
            Order::Serial => machines.sort_by_key(|one| natural(&one.machine.inventory.system.serial)),
            Order::Mac => machines.sort_by_key(|one| one.machine.mac),
        }
        Ok(machines.into_iter().map(|one| one.machine.mac).collect())
    }
}

fn port(one: &DiscoveredMachine) -> Vec<(String, u64)> {
    let switch = one.machine.inventory.nics.iter().find_map(|nic| nic.neighbour.as_ref());
    switch.map_or_else(Vec::new, |switch| natural(&format!("{} {}", switch.system, switch.port)))
}

/// Gives a node of the registry this machine; `nodes` is the registry with profiles merged in.
///
/// # Errors
/// The node has another one.
pub(super) fn write_down(editor: &mut Editor, nodes: &Snapshot, node: &NodeName, mac: Mac) -> anyhow::Result<()> {
    let missing = || Ended::new(Exit::Failed, format!("there is no node {node} in the registry"));
    let resolved = nodes.node(node).ok_or_else(missing)?;
    if resolved.interface(mac).is_some() {
        return Ok(());
    }
    let Some(net) = resolved.vacancy() else {
        let text = format!("node {node} has a machine; `wulf node set {node} --hwaddr UNDEF` takes it away");
        return Err(Ended::new(Exit::Failed, text).into());
    };
    let Some(entry) = editor.file.nodes.get_mut(node.as_str()) else { return Err(missing().into()) };
    let mut device = entry.network_devices.get(net).cloned().unwrap_or_default();
    device.hwaddr = Some(mac.to_string().as_str().into());
    entry.network_devices.insert(net.to_owned(), device);
    // It is found.
    if entry.discoverable.is_some() {
        entry.discoverable = None;
    }
    Ok(())
}
