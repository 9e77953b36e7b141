//! `wulf image copy`, `rename`, `kernels`, `set` and `syncuser`.

use std::fs;

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::HumanBytes;
use serde::Serialize;
use wulfpack_shared::id::ImageName;

use super::bar::Bar;
use super::build::{BuildFlags, build};
use super::registry::{open_registry, save_registry};
use super::versions::rewrite;
use crate::cli::change::ChangeFlags;
use crate::cli::{Cell, Context, Style, Table, note, print};
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::image::{Library, TreeKernel};

/// Arguments of `wulf image copy` and `rename`.
#[derive(Args, Debug)]
pub struct MoveArgs {
    /// Name of the image.
    name: ImageName,
    /// Its new name.
    new: ImageName,
    /// Build it under the new name.
    #[arg(long, short)]
    build: bool,
}

impl MoveArgs {
    /// Makes another image with the same tree.
    pub(super) fn copy(self, context: &Context, config: &Config, library: &Library) -> anyhow::Result<()> {
        let bar = Bar::new();
        let copied = library.copy(&self.name, &self.new, &bar)?;
        bar.clear();
        note(&format!(
            "{} is a copy of {}: {} entries, {}",
            self.new,
            self.name,
            copied.entries,
            HumanBytes(copied.bytes)
        ));
        if self.build { build(context, config, library, &[self.new], BuildFlags::default()) } else { Ok(()) }
    }

    /// Gives an image another name, here and wherever the registry names it.
    pub(super) fn rename(self, context: &Context, config: &Config, library: &Library) -> anyhow::Result<()> {
        let Self { name, new, build: then_build } = self;
        let registry = config.paths.nodes_file();
        // What could fail is tried first: the registry is open, and locked, before anything has another name.
        let mut editor = registry.exists().then(|| open_registry(context)).transpose()?;
        let places = editor.as_mut().map_or(0, |editor| rewrite(editor, &name, &new));
        library.rename(&name, &new, &Bar::new())?;
        if let Some(editor) = editor.filter(|_| places > 0) {
            let saved = save_registry(&Context { yes: true, ..context.clone() }, editor, &ChangeFlags::default());
            if let Err(error) = saved {
                library
                    .rename(&new, &name, &Bar::new())
                    .context("the image has its new name, the registry the old one")?;
                return Err(error.context(format!("image {name} keeps its name")));
            }
        }
        note(&format!("image {name} is now {new}"));
        if then_build {
            return build(context, config, library, &[new], BuildFlags::default());
        }
        Ok(())
    }
}

/// Lists the kernels of trees.
pub(super) fn kernels(context: &Context, library: &Library, names: &[ImageName]) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Row {
        image: ImageName,
        #[serde(flatten)]
        kernel: TreeKernel,
    }
    let names = match names {
        [] => library.list()?.into_iter().map(|image| image.name).collect(),
        names => names.to_vec(),
    };
    let mut rows = vec![];
    for name in names {
        let found = library.kernels(&name)?;
        rows.extend(found.into_iter().map(|kernel| Row { image: name.clone(), kernel }));
    }
    print(context, &rows, || {
        let mut table = Table::new(["image", "kernel", "default", "built", "nodes", "file"]);
        for Row { image, kernel } in &rows {
            let nodes = match &kernel.problem {
                None => Cell::new("can boot it").style(Style::Good),
                Some(why) => Cell::new(why).style(Style::Bad),
            };
            let yes = |flag: bool| if flag { Cell::new("yes") } else { Cell::new("-").style(Style::Dim) };
            table.row([
                Cell::new(image.as_str()),
                Cell::new(&kernel.release),
                yes(kernel.default),
                yes(kernel.built),
                nodes,
                Cell::new(format!("/{}", kernel.path)),
            ]);
        }
        table
    })
}

/// Arguments of `wulf image set`.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// Name of the image.
    name: ImageName,
    /// Whether commands may change its tree; building and booting go on.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    read_only: Option<bool>,
}

impl SetArgs {
    /// Runs it.
    pub(super) fn run(self, library: &Library) -> anyhow::Result<()> {
        let Some(read_only) = self.read_only else {
            return Err(Ended::new(Exit::Usage, "say what to set: --read-only or --read-only=false").into());
        };
        library.set_read_only(&self.name, read_only)?;
        note(&format!(
            "the tree of {} {}",
            self.name,
            if read_only { "cannot be changed any more" } else { "can be changed" }
        ));
        Ok(())
    }
}

/// Arguments of `wulf image syncuser`.
#[derive(Args, Debug)]
pub struct SyncUserArgs {
    /// Name of the image.
    name: ImageName,
    /// Change the image; without it only what would change is shown.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    write: bool,
    /// Build it afterwards.
    #[arg(long, short)]
    build: bool,
}

impl SyncUserArgs {
    /// Runs it.
    pub(super) fn run(self, context: &Context, config: &Config, library: &Library) -> anyhow::Result<()> {
        let (passwd, group) = accounts()?;
        let plan = library.sync_users_plan(&self.name, &passwd, &group)?;
        print(context, &plan, || {
            let mut table = Table::new(["kind", "name", "image", "head"]);
            for change in &plan.changes {
                let from = Cell::or_dash(change.from);
                table.row([change.kind.into(), Cell::new(&change.name), from, Cell::new(change.to.to_string())]);
            }
            table
        })?;
        if !plan.conflicts.is_empty() {
            let list: Vec<String> = plan.conflicts.iter().map(ToString::to_string).collect();
            bail!("nothing can be changed in image {}:\n  {}", self.name, list.join("\n  "));
        }
        if plan.is_empty() {
            note(&format!("users and groups of {} are as on the head", self.name));
        } else if self.write {
            sync(library, &self.name)?;
        } else {
            note(&format!("`wulf image syncuser --write {}` changes this, and the owners of files", self.name));
        }
        if self.build { build(context, config, library, &[self.name], BuildFlags::default()) } else { Ok(()) }
    }
}

/// Users and groups of this head.
fn accounts() -> anyhow::Result<(String, String)> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    Ok((read("/etc/passwd")?, read("/etc/group")?))
}

/// Makes users and groups of an image equal to the head's.
pub(super) fn sync(library: &Library, name: &ImageName) -> anyhow::Result<()> {
    let (passwd, group) = accounts()?;
    let bar = Bar::new();
    let (plan, files) = library.sync_users(name, &passwd, &group, &bar)?;
    bar.clear();
    note(&format!("{name}: {} users and groups changed, {files} files have other owners", plan.changes.len()));
    Ok(())
}
