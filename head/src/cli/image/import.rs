//! `wulf image import`.

use anyhow::Context as _;
use clap::Args;
use indicatif::HumanBytes;
use wulfpack_shared::id::ImageName;

use super::bar::Bar;
use super::build::{BuildFlags, build, builder};
use super::credentials::{CredentialFlags, setting};
use super::manage::sync;
use crate::cli::{Context, note};
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::image::{FetchSettings, ImportOutcome, LayerCache, Library, Platform, Replace, Source};

/// Bytes in a GiB.
const GIB: u64 = 1 << 30;

/// Arguments of `wulf image import`.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// docker://HOST/NAME:TAG, oci:DIRECTORY:TAG, oci-archive:FILE, docker-archive:FILE, docker-daemon:NAME:TAG, a directory, or a
    /// tar archive (plain, .gz, .xz, .zst).
    source: Source,
    /// Name of the image; default: taken from the source.
    name: Option<ImageName>,
    /// Replace the tree of an image of that name; its built versions stay.
    #[arg(long, short, conflicts_with = "update")]
    force: bool,
    /// Replace the tree only if the source has changed since it was imported.
    #[arg(long, short)]
    update: bool,
    /// Build it at once.
    #[arg(long, short)]
    build: bool,
    /// Make users and groups equal to the head's; see `wulf image syncuser`.
    #[arg(long)]
    syncuser: bool,
    /// The machine that the image is for, such as linux/arm64; default: like this head. Also $WULFPACK_OCI_PLATFORM.
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", alias = "arch")]
    platform: Option<Platform>,
    #[command(flatten)]
    credentials: CredentialFlags,
}

impl ImportArgs {
    /// Runs it.
    pub(super) fn run(self, context: &Context, config: &Config, library: &Library) -> anyhow::Result<()> {
        let name = self.name.or_else(|| self.source.suggested_name()).ok_or_else(|| {
            Ended::new(Exit::Usage, format!("{} makes no name of an image; write one behind it", self.source))
        })?;
        let platform = match setting("PLATFORM") {
            Some(text) if self.platform.is_none() => Some(text.parse().context("WULFPACK_OCI_PLATFORM")?),
            _ => self.platform,
        };
        let settings = FetchSettings {
            cache: LayerCache::new(config.paths.layers()),
            plain_http: self.credentials.plain_http(),
            credentials: self.credentials.read(self.source.registry())?,
            platform,
            skopeo: "skopeo".into(),
            importer: builder(),
        };
        let replace = match (self.force, self.update) {
            (true, _) => Replace::Yes,
            (_, true) => Replace::Changed,
            _ => Replace::No,
        };
        let bar = Bar::new();
        let outcome = library.import(&self.source, &name, replace, &settings, &bar);
        bar.clear();
        // Best effort: a cache that is too large is no reason to fail what was done.
        if let Err(error) = settings.cache.prune(u64::from(config.image.cache_gib) * GIB) {
            note(&format!("warning: {error}"));
        }
        match outcome? {
            ImportOutcome::Imported(imported) => {
                note(&format!("imported {name}: {} entries, {}", imported.entries, HumanBytes(imported.bytes)));
                if let Some(digest) = library.origin(&name).and_then(|origin| origin.digest) {
                    note(&format!("its content is {digest}"));
                }
            }
            ImportOutcome::Unchanged => {
                note(&format!("{name} came from exactly this content before; it stays as it is"))
            }
        }
        if self.syncuser {
            sync(library, &name)?;
        }
        if self.build {
            return build(context, config, library, &[name], BuildFlags::default());
        }
        note(&format!("build it with `wulf image build {name}`"));
        Ok(())
    }
}
