//! `wulf image delete`.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::bail;
use wulfpack_shared::id::ImageName;

use super::bar::Bar;
use super::build::nodes;
use crate::cli::in_use::in_use;
use crate::cli::nodes::clipped;
use crate::cli::{Context, note};
use crate::config::Config;
use crate::fleet::VersionUse;
use crate::image::{ImageInfo, Library};
use crate::nodeset::NodeSet;

/// Removes an image that nobody uses, or that is to go all the same.
pub(super) fn delete(
    context: &Context,
    config: &Config,
    library: &Library,
    name: &ImageName,
    force: bool,
) -> anyhow::Result<()> {
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
pub(super) fn confirm(question: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("{question} Repeat with --yes if so");
    }
    write!(io::stderr().lock(), "{question} [y/N] ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
