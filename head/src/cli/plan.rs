//! `wulf plan`: how long an image would take to all nodes of a cluster, simulated with the real engine and tracker.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use wulfpack_shared::sim::Unobserved;
use wulfpack_shared::time::Mono;

use super::{Cell, Context, OutputFormat, Style, Table, note, print};
use crate::exit::{Ended, Exit};
use crate::plan::{Fail, Figures, PlanError, Rate, Setup, Size, Slow, Span, TraceWriter, Watch, run};

/// What a swarm is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rival {
    /// One web server on the head.
    Http,
}

/// Simulate how long an image takes to all nodes of a cluster: the real engine and tracker, in virtual time.
///
/// Nothing is sent and no head is asked. The same seed gives the same figures.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// How many nodes.
    #[arg(long, value_name = "N")]
    nodes: u32,
    /// Bytes of the image, such as 4GiB.
    #[arg(long, value_name = "SIZE")]
    image_size: Size,
    /// Rate of a node's link, such as 25gbit.
    #[arg(long, value_name = "RATE")]
    nic: Rate,
    /// Rate of the head's link; a node's if not given.
    #[arg(long, value_name = "RATE")]
    head_nic: Option<Rate>,
    /// How many heads serve together.
    #[arg(long, default_value_t = 1, value_name = "N")]
    heads: u32,
    /// How many racks, of equal size; without, only the machines' own links are narrow.
    #[arg(long, default_value_t = 0, value_name = "N")]
    racks: u16,
    /// How much faster a rack's nodes are together than its uplink.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", requires = "racks")]
    oversubscription: f64,
    /// One way, from any machine to any other.
    #[arg(long, default_value = "100us", value_name = "TIME")]
    latency: Span,
    /// Switch the nodes on one after the other over this time; each node's time then counts from its own start.
    #[arg(long, default_value = "0", value_name = "TIME")]
    stagger: Span,
    /// What a node's processor can send and receive together.
    #[arg(long, value_name = "RATE")]
    cpu: Option<Rate>,
    /// A share of the nodes at a share of the speed, such as 2%@1%; they are not waited for.
    #[arg(long, value_name = "SHARE@SPEED")]
    slow: Option<Slow>,
    /// What fails when: 20%@50% (nodes, when half of F/C has passed), head@covered, head@1.5copies, tracker@100ms.
    #[arg(long, value_delimiter = ',', value_name = "WHO@WHEN")]
    fail: Vec<Fail>,
    /// Equal chunks of this size instead of lengths as the chunker cuts.
    #[arg(long, value_name = "SIZE")]
    chunk: Option<Size>,
    /// Kernel and initramfs of one node, which leave the head once for each.
    #[arg(long, default_value = "40MiB", value_name = "SIZE")]
    boot_size: Size,
    /// Compare with another way to send an image.
    #[arg(long, value_enum, value_name = "WHAT")]
    against: Option<Rival>,
    /// What everything random comes from; drawn and printed if not given.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write every transfer to a file, for a checker.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// A progress bar on standard error; invisible where that is no terminal.
struct Bar(ProgressBar);

impl Watch for Bar {
    fn progress(&self, done: u64, total: u64, now: Mono) {
        self.0.set_length(total);
        self.0.set_position(done);
        self.0.set_message(format!("{:.3} s simulated", now.0 as f64 / 1e9));
    }
}

impl PlanArgs {
    fn setup(&self) -> anyhow::Result<Setup> {
        let seed = match self.seed {
            Some(seed) => seed,
            // 53 bits, so that every reader of JSON gets the same number.
            None => getrandom::u64().context("cannot draw a seed")? >> 11,
        };
        Ok(Setup {
            nodes: self.nodes,
            image: self.image_size,
            chunk: self.chunk,
            nic: self.nic,
            head_nic: self.head_nic.unwrap_or(self.nic),
            heads: self.heads,
            racks: self.racks,
            oversubscription: self.oversubscription,
            latency: self.latency.0,
            stagger: self.stagger.0,
            cpu: self.cpu,
            slow: self.slow,
            fail: self.fail.clone(),
            noticed: Setup::NOTICED,
            boot: self.boot_size,
            seed,
        })
    }

    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let setup = self.setup()?;
        let http = self.against == Some(Rival::Http);
        let bar = Bar(ProgressBar::no_length());
        let style = ProgressStyle::with_template("{spinner} [{bar:30}] {percent}% {msg} {elapsed}");
        bar.0.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let result = match &self.trace {
            None => run(&setup, http, &mut Unobserved, &bar),
            Some(path) => {
                let cannot = || format!("cannot write {}", path.display());
                let file = BufWriter::new(File::create(path).with_context(cannot)?);
                let mut writer = TraceWriter::new(file, &setup.spec()).with_context(cannot)?;
                let result = run(&setup, http, &mut writer, &bar);
                writer.finish().with_context(cannot)?;
                result
            }
        };
        bar.0.finish_and_clear();
        let figures = result.map_err(|PlanError::Senseless(text)| Ended::new(Exit::Usage, text))?;
        print(context, &figures, || table(&setup, &figures))?;
        if context.output == OutputFormat::Table && self.seed.is_none() {
            note(&format!("the same again: --seed {}", figures.seed));
        }
        if figures.is_sound() {
            return Ok(Exit::Ok.into());
        }
        if figures.ratio.is_some_and(|ratio| ratio < 1.0) {
            return Err(
                Ended::new(Exit::Failed, "faster than the bound: the simulator is wrong, please report it").into()
            );
        }
        let left = figures.expected - figures.completed;
        Err(Ended::new(Exit::Failed, format!("{left} of the {} nodes that live do not complete", figures.expected))
            .into())
    }
}

fn seconds(value: Option<f64>) -> Cell {
    value.map_or_else(|| Cell::new("never").style(Style::Bad), |value| Cell::new(format!("{value:.3} s")))
}

fn table(setup: &Setup, figures: &Figures) -> Table {
    let mut table = Table::pairs();
    let mut row = |name: &str, value: Cell| table.row([name.into(), value]);
    row("first node", seconds(figures.t_first_s));
    row("median node", seconds(figures.t_median_s));
    row("99 of 100", seconds(figures.t_p99_s));
    row("last node", seconds(figures.t_last_s));
    let ratio = figures.ratio.map_or_else(String::new, |ratio| format!(", the last node at {ratio:.3} of it"));
    row("bound", Cell::new(format!("{:.3} s{ratio}", figures.bound_s)));
    row("one server", Cell::new(format!("{:.3} s", figures.single_server_s)));
    if let Some(http) = figures.http {
        let slower = http.times_slower.map_or_else(String::new, |times| format!(", {times:.1} times the swarm's"));
        row("over HTTP", Cell::new(format!("{:.3} s{slower}", http.t_last_s)));
    }
    let done = Cell::new(format!("{} of {} nodes", figures.completed, figures.nodes));
    row("completed", if figures.completed < figures.expected { done.style(Style::Bad) } else { done });
    row("the head sends", Cell::new(format!("{:.3} copies of the image", figures.head_egress_copies)));
    let boot = figures.boot;
    let text = format!(
        "{} beside it ({:.2} copies, {:.3} s of its link): kernel and initramfs of each node",
        HumanBytes(boot.head_bytes),
        boot.head_copies,
        boot.t_s
    );
    row("", Cell::new(text));
    if setup.racks > 0 {
        row("cross-rack", Cell::new(format!("{:.1} % of the image bytes", 100.0 * figures.cross_rack_fraction)));
    }
    row("seed", Cell::new(figures.seed.to_string()));
    table
}
