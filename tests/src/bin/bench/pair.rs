//! `scripts/bench pair`.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use wulfpack_tests::pair::{PairContest, Setting, Way, pair_table};

use crate::write_json;

#[derive(clap::Args)]
pub(crate) struct Pair {
    /// MiB of the image.
    #[arg(long, default_value_t = 1024)]
    size: u64,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// What to measure; default: all that is installed.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Mover::Wulfpack, Mover::Quinn, Mover::Bare, Mover::Nginx])]
    what: Vec<Mover>,
    /// Another value for a parameter of QUIC, such as window=1048576.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<Setting>,
    /// Starts both ends by this, such as 'qemu-x86_64 -cpu qemu64'.
    #[arg(long, value_name = "COMMAND")]
    wrapper: Option<String>,
    /// Writes the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mover {
    /// Our swarm.
    Wulfpack,
    /// quinn with the same windows; reads, hashes and writes.
    Quinn,
    /// quinn with the same windows, nothing done with the bytes.
    Bare,
    /// nginx and curl over plain TCP.
    Nginx,
    /// iroh-blobs; `cargo build --release --manifest-path tests/iroh/Cargo.toml` builds it, apart from all else.
    Iroh,
}

pub(crate) fn pair(options: &Pair) -> Result<()> {
    let mut contest = PairContest::new(options.size << 20)?;
    contest.settings.clone_from(&options.settings);
    contest.wrapper = options.wrapper.iter().flat_map(|text| text.split_whitespace()).map(str::to_owned).collect();
    let mut rows = vec![];
    for mover in &options.what {
        rows.push(match mover {
            Mover::Wulfpack => contest.way(Way::Wulfpack, options.runs)?,
            Mover::Quinn => contest.way(Way::Quinn, options.runs)?,
            Mover::Bare => contest.way(Way::Bare, options.runs)?,
            Mover::Nginx => contest.web(options.runs)?,
            Mover::Iroh => contest.iroh(options.runs)?,
        });
    }
    writeln!(std::io::stdout().lock(), "{}", pair_table(&rows))?;
    options.json.as_ref().map_or(Ok(()), |path| write_json(path, &rows))
}
