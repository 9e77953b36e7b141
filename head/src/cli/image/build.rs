//! `wulf image build`.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use wulfpack_shared::id::ImageName;

use super::bar::Bar;
use super::manage::sync;
use super::tables::versions_table;
use crate::cli::in_use::in_use;
use crate::cli::{Context, note, print};
use crate::config::{Config, KeyRole, load_key};
use crate::fleet::VersionUse;
use crate::image::{BuildSettings, InitramfsSettings, Library};
use crate::registry::{Entry, ImageRef, Registry, Snapshot};
use wulfpack_shared::id::VersionId;

/// The registry; an empty one where there is no file yet.
pub(super) fn nodes(config: &Config) -> anyhow::Result<Arc<Snapshot>> {
    let path = config.paths.nodes_file();
    if path.exists() { Ok(Registry::load(&path)?.resolve()) } else { Ok(Arc::default()) }
}

/// How images are built, beside what the configuration says.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct BuildFlags {
    /// Leave the version active that is active now.
    #[arg(long)]
    no_activate: bool,
    /// Build although nothing has changed since the last time.
    #[arg(long, short)]
    force: bool,
    /// Make users and groups equal to the head's before; see `wulf image syncuser`.
    #[arg(long)]
    syncuser: bool,
    /// Put drivers of InfiniBand adapters into the initramfs, this once; `initramfs: {modules: [infiniband]}` does it always.
    #[arg(long)]
    infiniband: bool,
}

/// Who pins which version, by the registry: profiles and nodes.
pub(crate) fn pinned(config: &Config) -> anyhow::Result<Vec<(String, VersionId)>> {
    let path = config.paths.nodes_file();
    if !path.exists() {
        return Ok(vec![]);
    }
    let registry = Registry::load(&path)?;
    let version = |entry: &Entry| entry.image.as_ref()?.as_str().parse::<ImageRef>().ok()?.version;
    let profiles = registry.file().nodeprofiles.iter();
    let mut pins: Vec<(String, VersionId)> =
        profiles.filter_map(|(name, entry)| Some((format!("profile {name}"), version(entry)?))).collect();
    let nodes = registry.file().nodes.iter();
    pins.extend(nodes.filter_map(|(name, entry)| Some((name.clone(), version(entry)?))));
    Ok(pins)
}

/// Builds images, and prints their new versions.
pub(super) fn build(
    context: &Context,
    config: &Config,
    library: &Library,
    names: &[ImageName],
    flags: BuildFlags,
) -> anyhow::Result<()> {
    let BuildFlags { no_activate, force, syncuser, infiniband } = flags;
    if syncuser {
        names.iter().try_for_each(|name| sync(library, name))?;
    }
    let cluster = load_key(&config.paths.cluster_key(), KeyRole::Cluster)?;
    let pinned = pinned(config)?.into_iter().map(|(_, version)| version);
    let (keep, running) = kept(config, in_use(context));
    let mut initramfs = InitramfsSettings::from(&config.initramfs);
    initramfs.infiniband |= infiniband;
    let settings = BuildSettings {
        initramfs,
        keep,
        in_use: pinned.chain(running).collect(),
        activate: !no_activate,
        force,
        selinux: config.image.selinux,
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
pub(crate) fn kept(config: &Config, uses: anyhow::Result<Vec<VersionUse>>) -> (u32, BTreeSet<VersionId>) {
    match uses {
        Ok(uses) => (config.image.keep, uses.into_iter().map(|used| used.version).collect()),
        Err(error) => {
            note(&format!("warning: old versions stay, nobody can say which of them running nodes use: {error:#}"));
            (u32::MAX, BTreeSet::new())
        }
    }
}

/// The person behind `sudo` where there is one.
pub(super) fn builder() -> String {
    let name = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    name.unwrap_or_else(|| format!("uid {}", nix::unistd::getuid()))
}
