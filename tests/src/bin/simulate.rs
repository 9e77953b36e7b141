//! Simulates a swarm on equal links and prints how close it came to the bound.

use std::io::Write;
use std::time::Instant;

use clap::Parser;
use wulfpack_shared::sim::{Spec, Unobserved, World};
use wulfpack_shared::time::Mono;
use wulfpack_tests::sim::HeadTracker;

/// Simulate N nodes and a head on equal links, all switched on at once.
#[derive(Debug, Parser)]
struct Args {
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

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut out = std::io::stdout().lock();
    writeln!(out, "nodes seed  T_last/T*  median  head copies  dup %  endgame  busy  missed  events     real")?;
    for &nodes in &args.nodes {
        for seed in 1..=args.seeds {
            let began = Instant::now();
            let spec = Spec::equal(nodes, args.rate * 125_000, args.image << 20, seed);
            let bound = spec.bound();
            let mut world = World::new(spec, HeadTracker::default()).untraced();
            let whole = world.run_to_completion(Mono::ZERO + bound * 20, &mut Unobserved);
            let begun = world.begun().unwrap_or_default();
            let mut times: Vec<_> =
                (1..=nodes).filter_map(|node| world.finished(node)).map(|at| at.since(begun)).collect();
            times.sort_unstable();
            let ratio = |index: usize| times.get(index).map_or(f64::NAN, |at| at.as_secs_f64() / bound.as_secs_f64());
            let bytes = (args.image << 20) as f64;
            let totals = world.totals();
            writeln!(
                out,
                "{nodes:5} {seed:4} {:10.3} {:7.3} {:12.3} {:6.2} {:8} {:5} {:7} {:7} {:8.1}s{}",
                ratio(times.len().saturating_sub(1)),
                ratio(times.len() / 2),
                world.sent(0) as f64 / bytes,
                100.0 * totals.bytes_duplicate as f64 / bytes / f64::from(nodes),
                totals.endgame,
                totals.busy,
                totals.missed,
                world.events(),
                began.elapsed().as_secs_f64(),
                if whole { "" } else { "  UNFINISHED" },
            )?;
        }
    }
    Ok(())
}
