//! `wulf explain`: what a machine would be told at each step of its boot, and why.

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use wulfpack_shared::id::{Mac, PublicKey};
use wulfpack_shared::time::UnixTime;

use super::running::ask;
use super::{Cell, Context, OutputFormat, Style, Table, print, write_out};
use crate::admin::{DhcpStatus, OnceAnswer, Status};
use crate::boot::Arch;
use crate::config::{Config, Keys};
use crate::dhcp::State;
use crate::exit::{Ended, Exit};
use crate::explain::{Asks, Explained, Firmware, Head, Machine, Step, explain};
use crate::image::Library;
use crate::registry::{Defaults, Origin, Registry};
use crate::serve::BootSettings;

/// Say what a machine would be told at each step of its boot, and why: DHCP by kind of firmware, boot program, boot script, kernel,
/// initramfs, image, overlays, each with the node or profile that a value comes from. Nothing is sent, and no head has to run.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Exit code 1: the boot would not get past some step.

  wulf explain n1                  the node's primary interface, the usual kinds of firmware
  wulf explain 52:54:00:00:00:99   also a machine that nobody knows
  wulf explain n1 --firmware 00:07 --script
  wulf explain n1 --output json")]
pub struct ExplainCommand {
    /// A node, or the MAC address of any machine.
    #[arg(value_name = "NODE|MAC")]
    who: String,
    /// The node's interface of this network, instead of its primary one.
    #[arg(long, value_name = "NAME")]
    net: Option<String>,
    /// Only this kind of firmware: an architecture of DHCP option 93 (00:07, 0x0010, 7), `ipxe`, or `system`.
    #[arg(long, value_name = "ARCH", value_parser = firmware)]
    firmware: Vec<Firmware>,
    /// Interface of the head that the machine asks from; else the one whose network has its address, else the first.
    #[arg(long, value_name = "IF")]
    interface: Option<String>,
    /// Address of the relay that forwards its requests.
    #[arg(long, value_name = "ADDRESS")]
    relay: Option<Ipv4Addr>,
    /// The whole boot script too.
    #[arg(long)]
    script: bool,
}

fn firmware(text: &str) -> Result<Firmware, &'static str> {
    match text {
        "ipxe" => Ok(Firmware::Ipxe),
        "system" => Ok(Firmware::System),
        _ => text.parse::<Arch>().map(Firmware::Arch),
    }
}

/// What the running head says of itself; nothing where none runs, or this user may not ask it.
#[derive(Default)]
struct Running {
    state: Option<State>,
    once: Vec<OnceAnswer>,
    notes: Vec<String>,
}

impl ExplainCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let config = context.load_config()?;
        let registry = Registry::load_with(&config.paths.nodes_file(), Defaults::from(&config))?;
        let boot = BootSettings::of(&config)?;
        let library = Library::looked_at(config.paths.images());
        let running = running(context);
        // Only root can read them; what is missing without them is said.
        let keys = Keys::load(&config.paths).ok();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = UnixTime(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let public = keys.as_ref().map(|keys| (keys.head.public(), keys.cluster.trusted(now)));
        let machine = self.machine()?;
        let name = match &machine {
            Machine::Node(name, _) => Some(name.clone()),
            Machine::Mac(mac) => registry.resolve().by_mac(*mac).map(|node| node.name.clone()),
        };
        let once = running.once.into_iter().find(|answer| Some(&answer.node) == name.as_ref());
        let head = Head {
            config: &config,
            boot: &boot,
            registry: &registry,
            library: &library,
            keys: public.as_ref().map(|(head, cluster): &(PublicKey, Vec<PublicKey>)| (head, cluster.as_slice())),
            ssh: keys.as_ref().map(|keys| &keys.ssh),
            state: running.state,
            once: once.and_then(|answer| answer.record.waiting().cloned()),
            now,
        };
        let asks = Asks { firmwares: self.firmware.clone(), link: self.interface.clone(), relay: self.relay };
        let explained = explain(&head, &machine, &asks).map_err(|why| Ended::new(Exit::NothingMatched, why))?;
        let explained = Explained { notes: [running.notes, notes(&config, &registry)].concat(), ..explained };
        print(context, &explained, || table(&explained))?;
        let scripts = explained.steps.iter().filter_map(|step| step.text.as_ref());
        if self.script && context.output == OutputFormat::Table {
            scripts.for_each(|text| write_out(&format!("\n{text}")).unwrap_or_default());
        }
        Ok(if explained.stops() { Exit::Failed } else { Exit::Ok }.into())
    }
}

impl ExplainCommand {
    fn machine(&self) -> anyhow::Result<Machine> {
        if let Ok(mac) = self.who.parse::<Mac>() {
            return Ok(Machine::Mac(mac));
        }
        let name = self.who.parse().map_err(|error| {
            Ended::new(Exit::Usage, format!("{:?} is neither a MAC address nor a node: {error}", self.who))
        })?;
        Ok(Machine::Node(name, self.net.clone()))
    }
}

/// What the running head knows and its files do not say.
fn running(context: &Context) -> Running {
    let asked = ask(context, async |client| {
        let dhcp: DhcpStatus = client.get("/v1/dhcp").await?;
        let status: Status = client.get("/v1/status").await?;
        let once: Vec<OnceAnswer> = client.get("/v1/once").await?;
        Ok((dhcp, status, once))
    });
    let (dhcp, status, once) = match asked {
        Ok(answers) => answers,
        Err(error) => {
            return Running {
                notes: vec![format!("as a head that starts now would say it: {error:#}")],
                ..Running::default()
            };
        }
    };
    let state = match dhcp.other_server {
        Some(address) => State::OtherServer { address, withheld: !dhcp.overridden },
        None => State::Serving,
    };
    let notes = status.head.registry_error.map(|error| {
        format!("the running head goes by the last registry without mistakes, this by nodes.yaml as it is: {error}")
    });
    Running { state: Some(state), once, notes: notes.into_iter().collect() }
}

fn notes(config: &Config, registry: &Registry) -> Vec<String> {
    let mistakes = registry.errors().0.len();
    let path = config.paths.nodes_file();
    let text = || format!("{} has {mistakes} mistakes; \"wulf doctor\" lists them", path.display());
    (mistakes > 0).then(text).into_iter().collect()
}

fn table(explained: &Explained) -> Table {
    let mut table = Table::new(["step", "", "what and why"]);
    let name = explained.node.as_ref().map_or_else(|| "no node".to_owned(), ToString::to_string);
    table.row([Cell::new("machine"), Cell::or_dash(explained.mac), Cell::new(name)]);
    for note in &explained.notes {
        table.row([Cell::new(""), Cell::new(""), Cell::new(note).style(Style::Warn)]);
    }
    for step in &explained.steps {
        rows(&mut table, step);
    }
    table
}

fn rows(table: &mut Table, step: &Step) {
    let about = Cell::new(step.about.as_deref().unwrap_or_default());
    let mut first = Some((Cell::new(step.step), about));
    let mut row = |text: Cell| {
        let (name, about) = first.take().unwrap_or_default();
        table.row([name, about, text]);
    };
    match &step.answer {
        Some(answer) => row(Cell::new(answer).style(if step.stops { Style::Bad } else { Style::Good })),
        None if step.stops => row(Cell::new("the boot ends here").style(Style::Bad)),
        None if step.about.is_some() => row(Cell::new("no answer").style(Style::Warn)),
        None => {}
    }
    for why in &step.why {
        row(Cell::new(format!("  {why}")));
    }
    for origin in &step.values {
        row(Cell::new(format!("  {}", said(origin))).style(Style::Dim));
    }
}

/// A value of the registry with what it comes from.
fn said(origin: &Origin) -> String {
    let Origin { field, value, sources, superseded } = origin;
    let instead: Vec<String> = superseded.iter().map(|(source, value)| format!("{value} ({source})")).collect();
    let instead = if instead.is_empty() { String::new() } else { format!("; instead of {}", instead.join(", ")) };
    format!("{field} = {value}   from {}{instead}", sources.join(", "))
}
