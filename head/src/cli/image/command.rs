//! The commands.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use wulfpack_shared::id::ImageName;

use super::build::{BuildFlags, build};
use super::delete::delete;
use super::import::ImportArgs;
use super::manage::{MoveArgs, SetArgs, SyncUserArgs, kernels};
use super::session::{ExecArgs, SessionArgs, run_inside};
use super::show::{ListArgs, show};
use super::versions::{DiffArgs, PinArgs, PruneArgs, find_version, rollback, versions};
use crate::cli::nodes::NODESETS;
use crate::cli::{Context, note};
use crate::exit::{Ended, Exit};
use crate::image::{ImageError, Library};

/// Images: trees of root file systems, and the versions of them that nodes boot.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Make an image from a container image, a directory, or a tar archive.
    #[command(alias = "pull")]
    Import(ImportArgs),
    /// Build a version from the tree of an image; the same tree gives the same version.
    Build {
        /// Names of images.
        #[arg(required_unless_present = "all")]
        names: Vec<ImageName>,
        /// All images.
        #[arg(long, short)]
        all: bool,
        /// How.
        #[command(flatten)]
        flags: BuildFlags,
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
    #[command(alias = "ls")]
    List(ListArgs),
    /// Show an image, where it came from, and its versions.
    Show {
        /// Name of the image.
        name: ImageName,
        /// Who uses it, and its kernels, too.
        #[arg(long, short)]
        all: bool,
    },
    /// List the kernels in the trees of images.
    Kernels {
        /// Names of images; default: all.
        names: Vec<ImageName>,
    },
    /// List the versions of an image, and who holds them.
    Versions {
        /// Name of the image.
        name: ImageName,
    },
    /// Compare two versions, or a version with the tree as it is: file by file, and in bytes that have to be moved.
    Diff(DiffArgs),
    /// Let nodes boot the version that was built before the active one.
    Rollback {
        /// Name of the image.
        name: ImageName,
        /// Another version; its first characters are enough.
        version: Option<String>,
    },
    /// Let nodes or profiles boot one version, whatever is active.
    #[command(after_long_help = NODESETS)]
    Pin(PinArgs),
    /// Let nodes or profiles boot the active version again.
    #[command(after_long_help = NODESETS)]
    Unpin(PinArgs),
    /// Remove old versions that nobody holds.
    Prune(PruneArgs),
    /// Make another image with the same tree.
    Copy(MoveArgs),
    /// Give an image another name, also where nodes and profiles name it.
    #[command(alias = "mv")]
    Rename(MoveArgs),
    /// Make users and groups of an image equal to the head's, by name, with the owners of files.
    Syncuser(SyncUserArgs),
    /// Forbid commands to change an image, or let them.
    Set(SetArgs),
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
            Self::Build { names, all, flags } => {
                let names = if all { library.list()?.into_iter().map(|image| image.name).collect() } else { names };
                build(context, &config, &library, &names, flags)?;
            }
            Self::Exec(args) => return args.run(context, &config, &library),
            Self::Shell(args) => return args.run(context, &config, &library, vec![]),
            Self::Inside { .. } => {}
            Self::Activate { name, version } => {
                let id = find_version(&library.show(&name)?, &version)?;
                library.activate(&name, id)?;
                note(&format!("nodes that boot {name} now get version {id:.12}"));
            }
            Self::List(args) => args.run(context, &config, &library)?,
            Self::Show { name, all } => show(context, &config, &library, &name, all)?,
            Self::Kernels { names } => kernels(context, &library, &names)?,
            Self::Versions { name } => versions(context, &config, &library, &name)?,
            Self::Diff(args) => args.run(context, &library)?,
            Self::Rollback { name, version } => rollback(&library, &name, version.as_deref())?,
            Self::Pin(args) => return args.pin(context, &library),
            Self::Unpin(args) => return args.unpin(context, &library),
            Self::Prune(args) => args.run(context, &config, &library)?,
            Self::Copy(args) => args.copy(context, &config, &library)?,
            Self::Rename(args) => args.rename(context, &config, &library)?,
            Self::Syncuser(args) => args.run(context, &config, &library)?,
            Self::Set(args) => args.run(&library)?,
            Self::Delete { name, force } => delete(context, &config, &library, &name, force)?,
        }
        Ok(Exit::Ok.into())
    }
}
