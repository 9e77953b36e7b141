//! `wulf overlay create|edit|import|mkdir|chmod|chown|delete`: changes the site's overlays on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use wulfpack_shared::id::OverlayName;

use super::change::confirm;
use super::{Context, note};
use crate::exit::Exit;
use crate::overlay::Site;

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).ok_or_else(|| "an octal number up to 7777".into())
}

/// A path in an overlay.
#[derive(Args, Debug)]
pub struct Place {
    /// Overlay.
    overlay: OverlayName,
    /// Path below its rootfs; a template's name ends in .j2.
    path: String,
}

/// Commands that change overlays.
#[derive(Subcommand, Debug)]
pub enum ChangeCommand {
    /// Make an empty overlay.
    Create {
        /// Its name.
        overlay: OverlayName,
    },
    /// Edit a file of an overlay with $EDITOR; it is made if it is missing.
    Edit {
        #[command(flatten)]
        place: Place,
        /// Permissions, in octal; otherwise those it has, or 0644.
        #[arg(long, short, value_parser = octal)]
        mode: Option<u32>,
    },
    /// Copy a file into an overlay.
    Import {
        /// Overlay.
        overlay: OverlayName,
        /// File to copy; it keeps its permissions.
        source: PathBuf,
        /// Path below its rootfs; otherwise that of the file.
        path: Option<String>,
        /// Replace a file that is there.
        #[arg(long)]
        overwrite: bool,
    },
    /// Make a directory in an overlay.
    Mkdir {
        #[command(flatten)]
        place: Place,
        /// Permissions, in octal.
        #[arg(long, short, default_value = "755", value_parser = octal)]
        mode: u32,
    },
    /// Change permissions of a path of an overlay.
    Chmod {
        #[command(flatten)]
        place: Place,
        /// Permissions, in octal.
        #[arg(value_parser = octal)]
        mode: u32,
    },
    /// Change owner and group of a path of an overlay.
    Chown {
        #[command(flatten)]
        place: Place,
        /// Owner, as a number: names could differ on the node.
        uid: u32,
        /// Group, as a number.
        gid: Option<u32>,
    },
    /// Remove files of an overlay, or this site's overlay: a shipped one of the same name counts again.
    Delete {
        /// Overlay.
        overlay: OverlayName,
        /// Paths below its rootfs.
        paths: Vec<String>,
        /// Do not ask.
        #[arg(long, short)]
        force: bool,
        /// Remove directories above, too, that are empty then.
        #[arg(long, short)]
        parents: bool,
    },
}

pub(super) fn site(context: &Context) -> anyhow::Result<Site> {
    let paths = context.load_config()?.paths;
    Ok(Site::new(paths.overlays.clone(), paths.shipped_overlays()))
}

impl ChangeCommand {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let site = site(context)?;
        match self {
            Self::Create { overlay } => site.create(&overlay)?,
            Self::Edit { place: Place { overlay, path }, mode } => edit(&site, &overlay, &path, mode)?,
            Self::Import { overlay, source, path, overwrite } => {
                let bytes = fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
                let mode = fs::metadata(&source)?.permissions().mode() & 0o7777;
                let path = match path {
                    Some(path) => path,
                    None => std::path::absolute(&source)?.display().to_string(),
                };
                let there = site.files(&overlay)?.iter().any(|file| file.path == path.trim_matches('/'));
                if there && !overwrite {
                    bail!("{path} is in overlay {overlay} already; --overwrite replaces it");
                }
                site.write(&overlay, &path, &bytes, Some(mode))?;
            }
            Self::Mkdir { place: Place { overlay, path }, mode } => site.mkdir(&overlay, &path, mode)?,
            Self::Chmod { place: Place { overlay, path }, mode } => site.chmod(&overlay, &path, mode)?,
            Self::Chown { place: Place { overlay, path }, uid, gid } => site.chown(&overlay, &path, uid, gid)?,
            Self::Delete { overlay, paths, force, parents } => {
                if !force && !context.yes {
                    let what = if paths.is_empty() { format!("overlay {overlay}") } else { paths.join(", ") };
                    confirm(&format!("Remove {what}? [y/N]"))?;
                }
                if paths.is_empty() {
                    site.delete(&overlay)?;
                }
                paths.iter().try_for_each(|path| site.delete_path(&overlay, path, parents))?;
            }
        }
        Ok(Exit::Ok.into())
    }
}

fn edit(site: &Site, overlay: &OverlayName, path: &str, mode: Option<u32>) -> anyhow::Result<()> {
    let before = site.read(overlay, path)?;
    let suffix = path.rsplit('/').next().unwrap_or_default();
    let file = tempfile::Builder::new().prefix("wulf-").suffix(&format!("-{suffix}")).tempfile()?;
    fs::write(file.path(), &before)?;
    let editor = std::env::var("VISUAL").or_else(|_| std::env::var("EDITOR")).unwrap_or_else(|_| "vi".into());
    // As git does it: the variable may hold options.
    let status = Command::new("sh").arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(file.path()).status();
    let status = status.with_context(|| format!("cannot start {editor}"))?;
    anyhow::ensure!(status.success(), "{editor} ended with {status}: nothing is changed");
    let after = fs::read(file.path())?;
    if after == before && mode.is_none() {
        note("nothing is changed");
        return Ok(());
    }
    Ok(site.write(overlay, path, &after, mode)?)
}
