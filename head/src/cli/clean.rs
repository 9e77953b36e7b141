//! `wulf clean`: removes what lies on the head and is needed no more.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use indicatif::HumanBytes;

use super::change::confirm;
use super::image::{kept, pinned};
use super::in_use::in_use;
use super::{Cell, Context, OutputFormat, Table, note, print};
use crate::clean::{Kind, Known, Waste, find, remove};
use crate::exit::{Ended, Exit};
use crate::image::Library;

/// Remove what is needed no more: what killed commands left half-written, image versions that no node runs or pins beyond those that
/// are kept, cached layers of container images, packed agents of older programs. It is shown with sizes first. What is in use stays.
/// Overlays are never built and stored for nodes, so that none of them can be stale.
#[derive(Args, Debug)]
pub struct CleanCommand {
    /// Show what would go, and remove nothing.
    #[arg(long)]
    dry_run: bool,
    /// Leave the layers of container images, which the next import would fetch again.
    #[arg(long)]
    keep_layers: bool,
}

impl CleanCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let config = context.load_config()?;
        let (keep, running) = kept(&config, in_use(context));
        // Nobody can say which versions run: then none goes.
        let held = if keep == u32::MAX { None } else { Some(running) };
        let pins = pinned(&config)?;
        let held = held.map(|held| held.into_iter().chain(pins.into_iter().map(|(_, version)| version)).collect());
        let known = Known { keep, held, keep_layers: self.keep_layers };
        let library = Library::open(config.paths.images())?;
        let found = find(&config.paths, &library, &known, SystemTime::now())?;
        let all: u64 = found.iter().map(|waste| waste.bytes).sum();
        if context.output != OutputFormat::Table || !found.is_empty() {
            print(context, &found, || table(&found))?;
        }
        if found.is_empty() {
            note("Nothing to clean.");
            return Ok(Exit::Ok.into());
        }
        if self.dry_run {
            note(&format!("{} could be freed", HumanBytes(all)));
            return Ok(Exit::Ok.into());
        }
        if !context.yes {
            if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
                return Err(Ended::new(Exit::Usage, "nobody is there to confirm this; say --yes").into());
            }
            confirm(&format!("Remove this, {}? [y/N]", HumanBytes(all)))?;
        }
        let (mut freed, mut failed) = (0, false);
        for waste in &found {
            match remove(&library, waste, &known) {
                Ok(true) => freed += waste.bytes,
                Ok(false) => note(&format!("{} stays: it is in use now, or gone already", waste.path.display())),
                Err(error) => {
                    note(&format!("{}: {error}", waste.path.display()));
                    failed = true;
                }
            }
        }
        note(&format!("freed {}", HumanBytes(freed)));
        Ok(if failed { Exit::Failed } else { Exit::Ok }.into())
    }
}

fn table(found: &[Waste]) -> Table {
    let mut table = Table::new(["what", "size", "path", "why"]);
    for waste in found {
        let what = match waste.kind {
            Kind::HalfWritten => "half-written",
            Kind::Leftover => "left over",
            Kind::Version => "version",
            Kind::Layers => "layers",
            Kind::Agents => "packed agent",
        };
        let size = HumanBytes(waste.bytes).to_string();
        table.row([
            Cell::new(what),
            Cell::new(size),
            Cell::new(waste.path.display().to_string()),
            Cell::new(&waste.why),
        ]);
    }
    table
}
