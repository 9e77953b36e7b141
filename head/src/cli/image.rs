//! `wulf image`: import, build, list, show, delete.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use wulfpack_shared::id::{ImageName, VersionId};

use super::in_use::in_use;
use super::nodes::clipped;
use super::{Cell, Context, Style, Table, note, print};
use crate::config::{Config, KeyRole, load_key};
use crate::exit::{Ended, Exit};
use crate::fleet::VersionUse;
use crate::image::{BuildSettings, ImageError, ImageInfo, InitramfsSettings, Library, Progress, VersionSummary};
use crate::nodeset::NodeSet;
use crate::registry::{Registry, Snapshot};

/// Images: trees of root file systems, and the versions of them that nodes boot.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Make a directory or a tar archive (plain, .gz, .xz, .zst) the tree of an image.
    Import {
        /// The directory or archive.
        source: PathBuf,
        /// Name of the image.
        name: ImageName,
        /// Replace the tree of an image of that name; its built versions stay.
        #[arg(long)]
        force: bool,
        /// Build it at once.
        #[arg(long)]
        build: bool,
    },
    /// Build a version from the tree of an image; the same tree gives the same version.
    Build {
        /// Names of images.
        #[arg(required = true)]
        names: Vec<ImageName>,
        /// Leave the version active that is active now.
        #[arg(long)]
        no_activate: bool,
        /// Put drivers of InfiniBand adapters into the initramfs, this once; `initramfs: {modules: [infiniband]}` does it always.
        #[arg(long)]
        infiniband: bool,
    },
    /// Make an existing version the one that nodes boot.
    Activate {
        /// Name of the image.
        name: ImageName,
        /// The version; its first characters are enough.
        version: String,
    },
    /// List all images.
    List,
    /// Show an image and its versions.
    Show {
        /// Name of the image.
        name: ImageName,
    },
    /// Remove an image with its tree and all versions.
    Delete {
        /// Name of the image.
        name: ImageName,
        /// Although nodes boot it.
        #[arg(long)]
        force: bool,
    },
}

impl ImageCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        self.execute(context).map_err(|error| match error.downcast_ref() {
            Some(ImageError::NoSuchImage { .. } | ImageError::NoSuchVersion { .. }) => {
                Ended::new(Exit::NothingMatched, format!("{error:#}")).into()
            }
            _ => error,
        })?;
        Ok(Exit::Ok.into())
    }

    fn execute(self, context: &Context) -> anyhow::Result<()> {
        let config = context.load_config()?;
        let library = Library::open(config.paths.images())?;
        match self {
            Self::Import { source, name, force, build: then_build } => {
                let bar = Bar::new();
                let imported = library.import(&source, &name, force, &bar)?;
                bar.clear();
                note(&format!("imported {name}: {} entries, {}", imported.entries, HumanBytes(imported.bytes)));
                if then_build {
                    build(context, &config, &library, &[name], false, false)?;
                } else {
                    note(&format!("build it with `wulf image build {name}`"));
                }
            }
            Self::Build { names, no_activate, infiniband } => {
                build(context, &config, &library, &names, no_activate, infiniband)?;
            }
            Self::Activate { name, version } => {
                let id = find_version(&library.show(&name)?, &version)?;
                library.activate(&name, id)?;
                note(&format!("nodes that boot {name} now get version {id:.12}"));
            }
            Self::List => {
                let images = library.list()?;
                print(context, &images, || list_table(&images))?;
            }
            Self::Show { name } => {
                let image = library.show(&name)?;
                print(context, &image, || show_table(&image))?;
            }
            Self::Delete { name, force } => delete(context, &config, &library, &name, force)?,
        }
        Ok(())
    }
}

/// The registry; an empty one where there is no file yet.
fn nodes(config: &Config) -> anyhow::Result<std::sync::Arc<Snapshot>> {
    let path = config.paths.nodes_file();
    if path.exists() { Ok(Registry::load(&path)?.resolve()) } else { Ok(std::sync::Arc::default()) }
}

fn build(
    context: &Context,
    config: &Config,
    library: &Library,
    names: &[ImageName],
    no_activate: bool,
    infiniband: bool,
) -> anyhow::Result<()> {
    let cluster = load_key(&config.paths.cluster_key(), KeyRole::Cluster)?;
    let nodes = nodes(config)?;
    let pinned = nodes.nodes().filter_map(|node| node.image.as_ref()?.version);
    let (keep, running) = kept(config, in_use(context));
    let mut initramfs = InitramfsSettings::from(&config.initramfs);
    initramfs.infiniband |= infiniband;
    let settings = BuildSettings {
        initramfs,
        keep,
        in_use: pinned.chain(running).collect(),
        activate: !no_activate,
        builder: builder(),
        ..BuildSettings::default()
    };
    let mut summaries = vec![];
    for name in names {
        let bar = Bar::new();
        let built = library.build(name, &settings, &cluster, &bar).with_context(|| format!("image {name}"))?;
        bar.clear();
        for warning in &built.warnings {
            note(&format!("warning: {warning}"));
        }
        let id = built.version.id();
        let what = if built.existed { "has not changed, it is still" } else { "is now" };
        note(&format!("{name} {what} version {id:.12}{}", if no_activate { " (not activated)" } else { "" }));
        summaries.extend(library.show(name)?.versions.into_iter().filter(|version| version.id == id));
    }
    print(context, &summaries, || versions_table(&summaries))
}

/// How many versions are kept, and which for the sake of running nodes: all, where those are not known (REAL-CLUSTERS, rule 32).
fn kept(config: &Config, uses: anyhow::Result<Vec<VersionUse>>) -> (u32, BTreeSet<VersionId>) {
    match uses {
        Ok(uses) => (config.image.keep, uses.into_iter().map(|used| used.version).collect()),
        Err(error) => {
            note(&format!("warning: old versions stay, nobody can say which of them running nodes use: {error:#}"));
            (u32::MAX, BTreeSet::new())
        }
    }
}

/// The person behind `sudo` where there is one.
fn builder() -> String {
    let name = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    name.unwrap_or_else(|| format!("uid {}", nix::unistd::getuid()))
}

fn find_version(image: &ImageInfo, prefix: &str) -> anyhow::Result<VersionId> {
    let wanted = prefix.to_ascii_lowercase();
    let mut found = image.versions.iter().map(|version| version.id).filter(|id| id.to_string().starts_with(&wanted));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => {
            bail!("image {} has several versions that begin with {prefix}; write more of it", image.name)
        }
        _ => bail!("image {} has no version {prefix}; `wulf image show {0}` lists those it has", image.name),
    }
}

fn delete(context: &Context, config: &Config, library: &Library, name: &ImageName, force: bool) -> anyhow::Result<()> {
    let image = library.show(name)?;
    let nodes = nodes(config)?;
    let uses = nodes.nodes().filter(|node| node.image.as_ref().is_some_and(|image| image.name == *name));
    let known: NodeSet = uses.map(|node| &node.name).collect();
    let mut users: Vec<String> = (!known.is_empty()).then(|| clipped(&known)).into_iter().collect();
    match in_use(context) {
        Ok(uses) => users.extend(running(&image, &uses, &known)),
        Err(_) if force => {}
        Err(error) => {
            let error = error.context("nobody can say whether running nodes use it; --force removes it all the same");
            return Err(error.context(format!("image {name} stays")));
        }
    }
    if users.is_empty() || force {
        let versions = image.versions.len();
        if !context.yes && !confirm(&format!("Remove image {name} with its tree and {versions} versions?"))? {
            bail!("nothing was removed");
        }
    }
    let bar = Bar::new();
    library.delete(name, &users, force, &bar)?;
    bar.clear();
    note(&format!("removed image {name}"));
    Ok(())
}

/// Who runs versions of this image beside those that `known` names, whatever the registry wants them to boot next.
fn running(image: &ImageInfo, uses: &[VersionUse], known: &NodeSet) -> Vec<String> {
    let own = uses.iter().filter(|used| image.versions.iter().any(|version| version.id == used.version));
    own.filter_map(|VersionUse { version, nodes, members }| match nodes.as_slice() {
        [] => Some(format!("{members} hosts in the swarm of version {version:.12}")),
        nodes => {
            let mut others: NodeSet = nodes.iter().collect();
            others.subtract(known);
            let run = if others.len() == 1 { "runs" } else { "run" };
            (!others.is_empty()).then(|| format!("{} ({run} version {version:.12})", clipped(&others)))
        }
    })
    .collect()
}

/// Asks a person. Where there is none, `--yes` has to say so.
fn confirm(question: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("{question} Repeat with --yes if so");
    }
    write!(io::stderr().lock(), "{question} [y/N] ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn bytes(count: u64) -> Cell {
    Cell::new(HumanBytes(count).to_string())
}

fn list_table(images: &[ImageInfo]) -> Table {
    let mut table = Table::new(["image", "active", "built", "size", "unpacked", "kernel", "versions"]);
    for image in images {
        let active = image.versions.iter().find(|version| version.active);
        table.row([
            image.name.as_str().into(),
            match active {
                Some(version) => Cell::new(format!("{:.12}", version.id)),
                None => Cell::new("not built").style(Style::Warn),
            },
            Cell::or_dash(active.map(|version| version.created)),
            active.map_or_else(|| Cell::new("-"), |version| bytes(version.blob_len)),
            active.map_or_else(|| Cell::new("-"), |version| bytes(version.unpacked_len)),
            Cell::or_dash(active.and_then(|version| version.kernels.first())),
            Cell::new(image.versions.len().to_string()),
        ]);
    }
    table
}

fn versions_table(versions: &[VersionSummary]) -> Table {
    let mut table =
        Table::new(["version", "state", "built", "by", "size", "unpacked", "chunks", "packed", "boot", "kernels"]);
    for version in versions {
        table.row([
            Cell::new(format!("{:.12}", version.id)),
            if version.active { Cell::new("active").style(Style::Good) } else { Cell::new("-").style(Style::Dim) },
            Cell::new(version.created.to_string()),
            Cell::new(&version.created_by),
            bytes(version.blob_len),
            bytes(version.unpacked_len),
            Cell::new(version.chunks.to_string()),
            Cell::new(format!("{:?}", version.compression).to_lowercase()),
            bytes(version.boot_len),
            Cell::new(version.kernels.join(", ")),
        ]);
    }
    table
}

fn show_table(image: &ImageInfo) -> Table {
    let mut table = versions_table(&image.versions);
    for version in &image.versions {
        for warning in &version.warnings {
            let id = Cell::new(format!("{:.12}", version.id));
            table.row([id, Cell::new("warning").style(Style::Warn), Cell::new(warning)]);
        }
    }
    table
}

/// A progress bar on standard error; invisible where that is no terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::no_length();
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        Self(bar)
    }

    fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl Progress for Bar {
    fn stage(&self, what: &str, total: Option<u64>) {
        let template = match total {
            // Percent and small counts are no bytes.
            Some(..=100) => "{spinner} {msg} [{bar:30}] {percent}% {elapsed}",
            Some(_) => "{spinner} {msg} [{bar:30}] {bytes}/{total_bytes} {eta}",
            None => "{spinner} {msg} {elapsed}",
        };
        self.0.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.0.set_message(what.to_owned());
        self.0.set_position(0);
        match total {
            Some(total) => self.0.set_length(total),
            None => self.0.unset_length(),
        }
    }

    fn set(&self, done: u64) {
        self.0.set_position(done);
    }
}
