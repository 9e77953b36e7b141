//! `wulf image versions`, `diff`, `rollback`, `pin`, `unpin` and `prune`.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::HumanBytes;
use serde::Serialize;
use wulfpack_shared::id::{ImageName, VersionId};

use super::build::{kept, pinned};
use super::registry::{open_registry, save_registry};
use super::tables::bytes;
use crate::cli::change::{ChangeFlags, no_such};
use crate::cli::in_use::in_use;
use crate::cli::nodes::{Guard, chosen, groups_of, no_such_nodes};
use crate::cli::{Cell, Context, Style, Table, note, print};
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::image::{FileChange, ImageInfo, Library, VersionDiff, VersionSummary};
use crate::registry::{Editor, Entry};

/// Most files of a comparison that a table shows.
const FILES_SHOWN: usize = 50;

/// The version that begins so.
pub(super) fn find_version(image: &ImageInfo, prefix: &str) -> anyhow::Result<VersionId> {
    let wanted = prefix.to_ascii_lowercase();
    let mut found = image.versions.iter().map(|version| version.id).filter(|id| id.to_string().starts_with(&wanted));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => {
            bail!("image {} has several versions that begin with {prefix}; write more of it", image.name)
        }
        _ => {
            let text = format!("image {} has no version {prefix}; `wulf image versions {0}` lists them", image.name);
            Err(Ended::new(Exit::NothingMatched, text).into())
        }
    }
}

/// A version for people, with who holds it.
#[derive(Serialize)]
struct Held {
    #[serde(flatten)]
    version: VersionSummary,
    /// Nodes and profiles that pin it.
    pinned_by: Vec<String>,
    /// Nodes that run it.
    run_by: Vec<String>,
}

/// Lists the versions of an image and who holds them.
pub(super) fn versions(context: &Context, config: &Config, library: &Library, name: &ImageName) -> anyhow::Result<()> {
    let image = library.show(name)?;
    let pins = pinned(config)?;
    let running = in_use(context).unwrap_or_else(|error| {
        note(&format!("warning: it is not known what running nodes use: {error:#}"));
        vec![]
    });
    let held = image.versions.into_iter().map(|version| {
        let pins = pins.iter().filter(|(_, pinned)| *pinned == version.id);
        let runs = running.iter().filter(|used| used.version == version.id);
        let run_by = runs.flat_map(|used| used.nodes.iter().map(ToString::to_string)).collect();
        Held { pinned_by: pins.map(|(who, _)| who.clone()).collect(), run_by, version }
    });
    let held: Vec<Held> = held.collect();
    print(context, &held, || {
        let mut table = Table::new(["version", "state", "built", "by", "size", "kernels", "pinned by", "run by"]);
        for Held { version, pinned_by, run_by } in &held {
            let list = |names: &[String]| if names.is_empty() { "-".to_owned() } else { names.join(",") };
            table.row([
                Cell::new(format!("{:.12}", version.id)),
                if version.active { Cell::new("active").style(Style::Good) } else { Cell::new("-").style(Style::Dim) },
                Cell::new(version.created.to_string()),
                Cell::new(&version.created_by),
                bytes(version.blob_len),
                Cell::new(version.kernels.join(", ")),
                Cell::new(list(pinned_by)),
                Cell::new(list(run_by)),
            ]);
        }
        table
    })
}

/// Arguments of `wulf image diff`.
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// Name of the image.
    name: ImageName,
    /// The earlier version; its first characters are enough. Default: the active one.
    from: Option<String>,
    /// The later version. Default: the tree as it is now.
    to: Option<String>,
    /// Show all files that differ, not only some.
    #[arg(long, short)]
    all: bool,
}

impl DiffArgs {
    /// Runs it.
    pub(super) fn run(self, context: &Context, library: &Library) -> anyhow::Result<()> {
        let image = library.show(&self.name)?;
        let from = match &self.from {
            Some(prefix) => find_version(&image, prefix)?,
            None => library.active(&self.name)?.id(),
        };
        let to = self.to.as_deref().map(|prefix| find_version(&image, prefix)).transpose()?;
        let diff = library.diff(&self.name, from, to)?;
        print(context, &diff, || files_table(&diff, self.all))?;
        summarise(&diff, self.all);
        Ok(())
    }
}

fn files_table(diff: &VersionDiff, all: bool) -> Table {
    let mut table = Table::new(["change", "before", "after", "file"]);
    let some = diff.files.iter().take(if all { usize::MAX } else { FILES_SHOWN });
    for file in some {
        let (text, style) = match file.change {
            FileChange::Added => ("added", Style::Good),
            FileChange::Removed => ("removed", Style::Bad),
            FileChange::Content => ("content", Style::Warn),
            FileChange::Attributes => ("attributes", Style::Warn),
            FileChange::Time => ("time", Style::Dim),
        };
        let size = |len: u64, there: bool| if there { HumanBytes(len).to_string() } else { "-".into() };
        table.row([
            Cell::new(text).style(style),
            Cell::new(size(file.size.0, file.change != FileChange::Added)),
            Cell::new(size(file.size.1, file.change != FileChange::Removed)),
            Cell::new(format!("/{}", file.path)),
        ]);
    }
    table
}

fn summarise(diff: &VersionDiff, all: bool) {
    let count = |change| diff.files.iter().filter(|file| file.change == change).count();
    let (added, removed) = (count(FileChange::Added), count(FileChange::Removed));
    let changed = diff.files.len() - added - removed;
    note(&format!("files: {added} added, {removed} removed, {changed} changed"));
    if !all && diff.files.len() > FILES_SHOWN {
        note(&format!("{} more are shown with --all", diff.files.len() - FILES_SHOWN));
    }
    if let Some(moved) = diff.moved {
        let share = if moved.of == 0 { 0.0 } else { moved.bytes as f64 * 100.0 / moved.of as f64 };
        let (bytes, of) = (HumanBytes(moved.bytes), HumanBytes(moved.of));
        note(&format!(
            "{bytes} of {of} ({share:.1} %, {} chunks) are new to a node with the earlier version",
            moved.chunks
        ));
    }
}

/// Goes back to the version that was built before the active one, or to the one that is named.
pub(super) fn rollback(library: &Library, name: &ImageName, version: Option<&str>) -> anyhow::Result<()> {
    let image = library.show(name)?;
    let active = library.active(name)?.id();
    let id = match version {
        Some(prefix) => find_version(&image, prefix)?,
        None => {
            let before = image.versions.iter().skip_while(|version| version.id != active).nth(1);
            let text =
                || format!("image {name} has no version before {active:.12}; `wulf image versions {name}` lists them");
            before.ok_or_else(|| Ended::new(Exit::NothingMatched, text()))?.id
        }
    };
    library.activate(name, id)?;
    note(&format!(
        "nodes that boot {name} now get version {id:.12} instead of {active:.12}; those that run keep theirs until they boot"
    ));
    Ok(())
}

/// Arguments of `wulf image pin` and `unpin`.
#[derive(Args, Debug)]
pub struct PinArgs {
    /// The image; of `pin` with a version: NAME@VERSION, whose first characters are enough.
    image: String,
    /// Nodes that boot this version.
    #[arg(value_name = "NODESET", required_unless_present = "profile")]
    nodes: Vec<String>,
    /// Profile whose nodes boot this version, unless they say otherwise themselves.
    #[arg(long, short = 'P', value_name = "PROFILE")]
    profile: Vec<String>,
    #[command(flatten)]
    guard: Guard,
    #[command(flatten)]
    change: ChangeFlags,
}

impl PinArgs {
    /// Makes nodes and profiles boot one version, whatever is active.
    pub(super) fn pin(self, context: &Context, library: &Library) -> anyhow::Result<ExitCode> {
        let (name, prefix) = self.image.split_once('@').with_context(|| {
            format!("{} names no version; write NAME@VERSION, `wulf image versions NAME` lists them", self.image)
        })?;
        let name: ImageName = name.parse()?;
        let image = library.show(&name)?;
        let id = if prefix == "active" { library.active(&name)?.id() } else { find_version(&image, prefix)? };
        self.set(context, &format!("{name}@{id}"))
    }

    /// Makes them boot the active version again.
    pub(super) fn unpin(self, context: &Context, library: &Library) -> anyhow::Result<ExitCode> {
        let name: ImageName = self.image.split('@').next().unwrap_or_default().parse()?;
        library.show(&name)?;
        self.set(context, name.as_str())
    }

    fn set(&self, context: &Context, value: &str) -> anyhow::Result<ExitCode> {
        let mut editor = open_registry(context)?;
        let nodes: Vec<String> = if self.nodes.is_empty() {
            vec![]
        } else {
            chosen(&self.nodes, &groups_of(&editor.file))?.iter().collect()
        };
        let missing: Vec<&String> = nodes.iter().filter(|node| !editor.file.nodes.contains_key(*node)).collect();
        if !missing.is_empty() {
            return Err(no_such_nodes("node", &missing));
        }
        if !self.change.is_dry_run() {
            self.guard.check(context, &nodes)?;
        }
        for node in &nodes {
            editor.file.nodes.entry(node.clone()).and_modify(|entry| entry.image = Some(value.into()));
        }
        for profile in &self.profile {
            let entry = editor.file.nodeprofiles.get_mut(profile);
            let entry = entry.ok_or_else(|| no_such("profile", std::slice::from_ref(profile)))?;
            entry.image = Some(value.into());
        }
        save_registry(context, editor, &self.change)
    }
}

/// Arguments of `wulf image prune`.
#[derive(Args, Debug)]
pub struct PruneArgs {
    /// Names of images; default: all.
    names: Vec<ImageName>,
    /// Versions of each that are kept; default: `image: keep` of the configuration.
    #[arg(long, value_name = "N")]
    keep: Option<u32>,
    /// Show what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
}

impl PruneArgs {
    /// Removes old versions that nobody holds.
    pub(super) fn run(self, context: &Context, config: &Config, library: &Library) -> anyhow::Result<()> {
        let names = match self.names.as_slice() {
            [] => library.list()?.into_iter().map(|image| image.name).collect(),
            names => names.to_vec(),
        };
        let (keep, running) = kept(config, in_use(context));
        // Where it is not known what runs, nothing may go.
        let keep = if keep == u32::MAX { keep } else { self.keep.unwrap_or(keep) };
        let held = pinned(config)?.into_iter().map(|(_, version)| version).chain(running).collect();
        for name in names {
            let image = library.show(&name)?;
            let gone =
                if self.dry_run { library.prunable(&name, keep, &held)? } else { library.prune(&name, keep, &held)? };
            let freed =
                image.versions.iter().filter(|version| gone.contains(&version.id)).map(|version| version.blob_len);
            let ids: Vec<String> = gone.iter().map(|id| format!("{id:.12}")).collect();
            let did = if self.dry_run { "would remove" } else { "removed" };
            match ids.as_slice() {
                [] => note(&format!("{name}: nothing to remove")),
                ids => note(&format!("{name}: {did} {} ({})", ids.join(", "), HumanBytes(freed.sum()))),
            }
        }
        Ok(())
    }
}

/// Names another image where this one was named, pinned or not; returns in how many places.
pub(super) fn rewrite(editor: &mut Editor, from: &ImageName, to: &ImageName) -> usize {
    let mut changed = 0;
    let mut each = |entry: &mut Entry| {
        let Some(image) = &entry.image else { return };
        let (name, version) =
            image.as_str().split_once('@').map_or((image.as_str(), None), |(name, id)| (name, Some(id)));
        if name == from.as_str() {
            entry.image = Some(version.map_or_else(|| to.to_string(), |id| format!("{to}@{id}")).into());
            changed += 1;
        }
    };
    editor.file.nodes.values_mut().for_each(&mut each);
    editor.file.nodeprofiles.values_mut().for_each(&mut each);
    changed
}
