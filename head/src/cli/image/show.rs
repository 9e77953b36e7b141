//! `wulf image list` and `wulf image show`.

use clap::Args;
use indicatif::HumanBytes;
use serde::Serialize;
use wulfpack_shared::id::ImageName;

use super::build::nodes;
use super::manage::kernels;
use super::tables::{bytes, facts_table, show_table};
use crate::cli::nodes::clipped;
use crate::cli::{Cell, Context, OutputFormat, Style, Table, note, print, print_table};
use crate::config::Config;
use crate::image::{ImageInfo, Library};
use crate::nodeset::NodeSet;

/// Arguments of `wulf image list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Names of images; default: all.
    names: Vec<ImageName>,
    /// With nodes, origin and time of import.
    #[arg(long, short)]
    long: bool,
    /// With all kernels of the active version.
    #[arg(long, short)]
    kernel: bool,
    /// With what tree and versions take on the disk.
    #[arg(long, short)]
    size: bool,
}

/// An image in the list.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    image: ImageInfo,
    /// Nodes that boot it.
    nodes: String,
    /// Bytes on disk of its tree and of its versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<(u64, u64)>,
}

impl ListArgs {
    /// Runs it.
    pub(super) fn run(self, context: &Context, config: &Config, library: &Library) -> anyhow::Result<()> {
        let mut images = match self.names.as_slice() {
            [] => library.list()?,
            names => names.iter().map(|name| library.show(name)).collect::<Result<_, _>>()?,
        };
        let snapshot = nodes(config)?;
        let rows = images.drain(..).map(|image| {
            let users = snapshot.nodes().filter(|node| node.image.as_ref().is_some_and(|used| used.name == image.name));
            let users: NodeSet = users.map(|node| &node.name).collect();
            let disk = self.size.then(|| library.disk_use(&image.name)).transpose()?;
            Ok(Row { nodes: clipped(&users), disk, image })
        });
        let rows = rows.collect::<anyhow::Result<Vec<Row>>>()?;
        print(context, &rows, || self.table(&rows))
    }

    fn table(&self, rows: &[Row]) -> Table {
        let mut table = match (self.long, self.kernel, self.size) {
            (true, ..) => Table::new(["image", "active", "built", "nodes", "imported", "from", "read-only"]),
            (_, true, _) => Table::new(["image", "active", "kernels"]),
            (_, _, true) => Table::new(["image", "tree", "versions", "size", "unpacked"]),
            _ => Table::new(["image", "active", "built", "size", "unpacked", "kernel", "versions"]),
        };
        for Row { image, nodes, disk } in rows {
            let active = image.versions.iter().find(|version| version.active);
            let name = || Cell::new(image.name.as_str());
            let version = || match active {
                Some(version) => Cell::new(format!("{:.12}", version.id)),
                None => Cell::new("not built").style(Style::Warn),
            };
            let built = Cell::or_dash(active.map(|version| version.created));
            let size = active.map_or_else(|| Cell::new("-"), |version| bytes(version.blob_len));
            let unpacked = active.map_or_else(|| Cell::new("-"), |version| bytes(version.unpacked_len));
            if self.long {
                let origin = image.origin.as_ref();
                table.row([
                    name(),
                    version(),
                    built,
                    Cell::new(if nodes.is_empty() { "-" } else { nodes }),
                    Cell::or_dash(origin.map(|origin| origin.imported)),
                    Cell::or_dash(origin.map(|origin| &origin.source)),
                    Cell::new(if image.read_only { "yes" } else { "-" }),
                ]);
            } else if self.kernel {
                let kernels = active.map_or_else(String::new, |version| version.kernels.join(", "));
                table.row([name(), version(), Cell::new(kernels)]);
            } else if self.size {
                let (tree, versions) = disk.unwrap_or_default();
                table.row([name(), bytes(tree), bytes(versions), size, unpacked]);
            } else {
                let kernel = Cell::or_dash(active.and_then(|version| version.kernels.first()));
                table.row([name(), version(), built, size, unpacked, kernel, image.versions.len().to_string().into()]);
            }
        }
        table
    }
}

/// Shows one image.
pub(super) fn show(
    context: &Context,
    config: &Config,
    library: &Library,
    name: &ImageName,
    all: bool,
) -> anyhow::Result<()> {
    let image = library.show(name)?;
    let people = context.output == OutputFormat::Table;
    if people {
        print_table(&facts_table(&image))?;
    }
    print(context, &image, || show_table(&image))?;
    if all && people {
        let snapshot = nodes(config)?;
        let users = snapshot.nodes().filter(|node| node.image.as_ref().is_some_and(|used| used.name == *name));
        let users: NodeSet = users.map(|node| &node.name).collect();
        note(&if users.is_empty() {
            "no node boots it".to_owned()
        } else {
            format!("nodes that boot it: {}", clipped(&users))
        });
        let (tree, versions) = library.disk_use(name)?;
        note(&format!("on disk: tree {}, versions {}", HumanBytes(tree), HumanBytes(versions)));
        kernels(context, library, std::slice::from_ref(name))?;
    }
    Ok(())
}
