//! The swarm in virtual time: one size after another, the rows of the figures, many seeds with faults, and the check of a trace.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use wulfpack_head::plan::HeadTracker;
use wulfpack_shared::sim::{Spec, Unobserved, World};
use wulfpack_shared::time::Mono;
use wulfpack_tests::sim::{Measured, Row, check_trace, measure, rows, try_seeds};

/// Simulate the swarm.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    sizes: Sizes,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every simulated row of the figures, with its goal and the worst of the seeds.
    Rows(Rows),
    /// Scenarios with faults by seed: safety after every event, then everybody complete by a computed deadline.
    Seeds(Seeds),
    /// Check a trace of `wulf plan --trace`: no link beyond its rate, nothing sent before it was verified.
    Check {
        /// The trace.
        file: PathBuf,
    },
}

/// N nodes and a head on equal links, all switched on at once.
#[derive(Debug, Args)]
struct Sizes {
    /// Numbers of nodes.
    #[arg(long, value_delimiter = ',', default_value = "4,8,64")]
    nodes: Vec<u32>,
    /// Image size in MiB.
    #[arg(long, default_value_t = 256)]
    image: u64,
    /// Rate of every link in Mbit/s.
    #[arg(long, default_value_t = 1000)]
    rate: u64,
    /// Seeds 1 to this; the worst counts.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
}

#[derive(Debug, Args)]
struct Rows {
    /// Seeds 1 to this; the worst counts.
    #[arg(long, default_value_t = 5)]
    seeds: u64,
    /// Only rows whose name contains this; may be given more than once.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// No rows of more than 1,000 nodes or 4 GiB.
    #[arg(long)]
    quick: bool,
    /// Simulations at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Write the rows to a file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Seeds {
    /// How many.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Append those that fail to this file, with their cause.
    #[arg(long, value_name = "FILE", default_value = "tests/seeds.txt")]
    keep: PathBuf,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    match cli.command {
        None => sizes(&cli.sizes),
        Some(Command::Rows(args)) => print_rows(&args),
        Some(Command::Seeds(args)) => seeds(&args),
        Some(Command::Check { file }) => check(&file),
    }
}

fn code(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn check(file: &PathBuf) -> Result<ExitCode> {
    let open = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let checked = check_trace(BufReader::new(open))?;
    let mut out = std::io::stdout().lock();
    for finding in &checked.findings {
        writeln!(out, "{finding}")?;
    }
    let verdict = if checked.findings.is_empty() { "nothing wrong" } else { "WRONG" };
    writeln!(out, "{} transfers, {} verified units: {verdict}", checked.transfers, checked.verified)?;
    Ok(code(checked.findings.is_empty()))
}

fn seeds(args: &Seeds) -> Result<ExitCode> {
    let bar = ProgressBar::new(args.seeds);
    bar.set_style(ProgressStyle::with_template("[{bar:30}] {pos}/{len} seeds {elapsed}, {eta} left")?);
    let failed = try_seeds(args.from..args.from + args.seeds, || bar.inc(1));
    bar.finish_and_clear();
    let mut out = std::io::stdout().lock();
    for (seed, cause) in &failed {
        writeln!(out, "{seed} # {cause}")?;
    }
    writeln!(
        out,
        "{} seeds from {} on, {} failed, {:.1} s",
        args.seeds,
        args.from,
        failed.len(),
        bar.elapsed().as_secs_f64()
    )?;
    if !failed.is_empty() {
        let cannot = || format!("cannot keep seeds in {}", args.keep.display());
        let mut file = File::options().append(true).create(true).open(&args.keep).with_context(cannot)?;
        for (seed, cause) in &failed {
            writeln!(file, "{seed} # {cause}").with_context(cannot)?;
        }
    }
    Ok(code(failed.is_empty()))
}

fn print_rows(args: &Rows) -> Result<ExitCode> {
    let wanted = |row: &Row| {
        (args.only.is_empty() || args.only.iter().any(|text| row.name.contains(text.as_str())))
            && !(args.quick && (row.setup.nodes > 1000 || row.setup.image.0 > 4 << 30))
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", Measured::HEADINGS)?;
    let mut all = vec![];
    for row in rows().iter().filter(|row| wanted(row)) {
        let measured = Measured::of(row, &runs(row, args)?);
        writeln!(out, "{}", measured.line())?;
        out.flush()?;
        all.push(measured);
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&serde_json::json!({ "rows": all }))?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(code(all.iter().all(|row| row.met)))
}

/// All seeds of a row, a few at a time, in order.
fn runs(row: &Row, args: &Rows) -> Result<Vec<(wulfpack_head::plan::Figures, f64)>> {
    let (next, done) = (Mutex::new(1..=args.seeds), Mutex::new(vec![]));
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| {
                while let Some(seed) = next.lock().ok().and_then(|mut seeds| seeds.next()) {
                    let began = Instant::now();
                    let figures = measure(row, seed);
                    if let Ok(mut done) = done.lock() {
                        done.push((seed, figures.map(|figures| (figures, began.elapsed().as_secs_f64()))));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().ok().context("a simulation panicked")?;
    done.sort_by_key(|(seed, _)| *seed);
    done.into_iter().map(|(_, run)| run).collect()
}

fn sizes(args: &Sizes) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "nodes seed  T_last/T*  median  head copies  dup %  endgame  busy  missed  msgs/MiB  ticks/MiB  events     real"
    )?;
    for &nodes in &args.nodes {
        for seed in 1..=args.seeds {
            size(&mut out, nodes, seed, args)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn size(out: &mut impl Write, nodes: u32, seed: u64, args: &Sizes) -> Result<()> {
    let began = Instant::now();
    let spec = Spec::equal(nodes, args.rate * 125_000, args.image << 20, seed);
    let bound = spec.bound();
    let mut world = World::new(spec, HeadTracker::default()).untraced();
    let whole = world.run_to_completion(Mono::ZERO + bound * 20, &mut Unobserved);
    let begun = world.begun().unwrap_or_default();
    let mut times: Vec<_> = (1..=nodes).filter_map(|node| world.finished(node)).map(|at| at.since(begun)).collect();
    times.sort_unstable();
    let ratio = |index: usize| times.get(index).map_or(f64::NAN, |at| at.as_secs_f64() / bound.as_secs_f64());
    let bytes = (args.image << 20) as f64;
    let totals = world.totals();
    let delivered = (totals.bytes_from_heads + totals.bytes_from_peers).max(1) as f64 / f64::from(1 << 20);
    writeln!(
        out,
        "{nodes:5} {seed:4} {:10.3} {:7.3} {:12.3} {:6.2} {:8} {:5} {:7} {:9.2} {:10.2} {:7} {:8.1}s{}",
        ratio(times.len().saturating_sub(1)),
        ratio(times.len() / 2),
        world.sent(0) as f64 / bytes,
        100.0 * totals.bytes_duplicate as f64 / bytes / f64::from(nodes),
        totals.endgame,
        totals.busy,
        totals.missed,
        (totals.haves + totals.slot_messages) as f64 / delivered,
        totals.ticks as f64 / delivered,
        world.events(),
        began.elapsed().as_secs_f64(),
        if whole { "" } else { "  UNFINISHED" },
    )?;
    Ok(())
}
