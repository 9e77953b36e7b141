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
    /// Of the random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut out = std::io::stdout().lock();
    writeln!(out, "machines   wave  booted  lost  retries  dropped   first s  median s    last s   real s")?;
    for wave in args.waves {
        let storm = Storm {
            machines: args.machines,
            rate: args.gbit * 1e9,
            nbp: args.nbp << 10,
            files: args.files << 20,
            wave,
            seed: args.seed,
        };
        let (begun, outcome) = (Instant::now(), run(storm));
        writeln!(
            out,
            "{:8} {wave:6} {:7} {:5} {:8} {:8} {:9.1} {:9.1} {:9.1} {:8.1}",
            args.machines,
            outcome.booted,
            outcome.lost,
            outcome.retries,
            outcome.dropped,
            outcome.first_s,
            outcome.median_s,
            outcome.last_s,
            begun.elapsed().as_secs_f64()
        )?;
    }
    Ok(())
}
