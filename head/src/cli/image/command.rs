//! The commands.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use wulfpack_shared::id::{ImageName, VersionId};

use super::build::build;
use super::delete::delete;
use super::import::ImportArgs;
use super::session::{ExecArgs, SessionArgs, run_inside};
use super::tables::{facts_table, list_table, show_table};
use crate::cli::{Context, OutputFormat, note, print, print_table};
use crate::exit::{Ended, Exit};
use crate::image::{ImageError, ImageInfo, Library};

/// Images: trees of root file systems, and the versions of them that nodes boot.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Make an image from a container image, a directory, or a tar archive.
    #[command(alias = "pull")]
    Import(ImportArgs),
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
    /// Run a command inside an image, in namespaces of its own; its exit code is passed on.
    Exec(ExecArgs),
    /// Work inside an image in a shell.
    #[command(alias = "chroot")]
    Shell(SessionArgs),
    /// The inside of exec and shell.
    #[command(hide = true)]
    Inside {
        /// What to do.
        spec: PathBuf,
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
        })
    }

    fn execute(self, context: &Context) -> anyhow::Result<ExitCode> {
        if let Self::Inside { spec } = &self {
            run_inside(context, spec.as_path())?;
            return Ok(Exit::Ok.into());
        }
        let config = context.load_config()?;
        let library = Library::open(config.paths.images())?;
        match self {
            Self::Import(args) => args.run(context, &config, &library)?,
            Self::Build { names, no_activate, infiniband } => {
                build(context, &config, &library, &names, no_activate, infiniband)?;
            }
            Self::Exec(args) => return args.run(context, &config, &library),
            Self::Shell(args) => return args.run(context, &config, &library, vec![]),
            Self::Inside { .. } => {}
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
                if context.output == OutputFormat::Table {
                    print_table(&facts_table(&image))?;
                }
                print(context, &image, || show_table(&image))?;
            }
            Self::Delete { name, force } => delete(context, &config, &library, &name, force)?,
        }
        Ok(Exit::Ok.into())
    }
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
