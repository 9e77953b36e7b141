//! Simulates machines that power on in the same second, and prints how long the head needs to bring all of them to their kernels.

use std::io::Write as _;
use std::time::Instant;

use clap::Parser;
use wulfpack_tests::storm::{Storm, run};

/// Power on N machines within one second: the real DHCP, TFTP and wave machines of the head, the retries of EDK2 and iPXE.
#[derive(Debug, Parser)]
struct Args {
    /// Machines.
    #[arg(long, default_value_t = 5000)]
    machines: u32,
    /// The head's link in Gbit/s.
    #[arg(long, default_value_t = 10.0)]
    gbit: f64,
    /// Boot program in KiB.
    #[arg(long, default_value_t = 250)]
    nbp: u64,
    /// Kernel and initramfs in MiB.
    #[arg(long, default_value_t = 28)]
    files: u64,
    /// Machines that load them at a time, one row each; 0: no limit.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 250, 1000])]
    waves: Vec<usize>,
    /// Those of the agent among them, in MiB: they always come from the head.
    #[arg(long, default_value_t = 4)]
    agent: u64,
    /// Machines of a rack: with neighbour boot those that are up give kernel and modules to the others.
    #[arg(long, default_value_t = 40)]
    rack: u32,
    /// Seconds from a node's kernel until it is up.
    #[arg(long, default_value_t = 25)]
    up: u64,
    /// Of the random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "machines   wave  neighbours  booted  lost  retries  dropped   first s  median s    last s  head GiB   real s"
    )?;
    let rows = args.waves.iter().flat_map(|wave| [(*wave, false), (*wave, true)]);
    for (wave, neighbours) in rows {
        let storm = Storm {
            machines: args.machines,
            rate: args.gbit * 1e9,
            nbp: args.nbp << 10,
            files: args.files << 20,
            agent: args.agent << 20,
            wave,
            neighbours,
            rack: args.rack,
            up_s: args.up,
            seed: args.seed,
        };
        let (begun, outcome) = (Instant::now(), run(storm));
        writeln!(
            out,
            "{:8} {wave:6} {:>11} {:7} {:5} {:8} {:8} {:9.1} {:9.1} {:9.1} {:9.1} {:8.1}",
            args.machines,
            if neighbours { "yes" } else { "no" },
            outcome.booted,
            outcome.lost,
            outcome.retries,
            outcome.dropped,
            outcome.first_s,
            outcome.median_s,
            outcome.last_s,
            outcome.head_bytes as f64 / f64::from(1 << 30),
            begun.elapsed().as_secs_f64()
        )?;
    }
    Ok(())
}
