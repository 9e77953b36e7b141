//! Images and versions as tables.

use indicatif::HumanBytes;

use crate::cli::{Cell, Style, Table};
use crate::image::{ImageInfo, VersionSummary};

pub(super) fn bytes(count: u64) -> Cell {
    Cell::new(HumanBytes(count).to_string())
}

pub(super) fn versions_table(versions: &[VersionSummary]) -> Table {
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

/// What is known of an image beside its versions.
pub(super) fn facts_table(image: &ImageInfo) -> Table {
    let mut table = Table::pairs();
    let mut row = |name: &str, value: String| table.row([Cell::new(name), Cell::new(value)]);
    row("image", image.name.to_string());
    row("tree", format!("{}{}", image.rootfs.display(), if image.read_only { " (read-only)" } else { "" }));
    if let Some(origin) = &image.origin {
        row("from", origin.source.clone());
        origin.digest.iter().for_each(|digest| row("content", digest.to_string()));
        origin.platform.iter().for_each(|platform| row("platform", platform.to_string()));
        row("imported", format!("{} by {}", origin.imported, origin.imported_by));
    }
    if let Some(active) = image.versions.iter().find(|version| version.active) {
        row("SELinux", active.selinux.describe());
    }
    table
}

pub(super) fn show_table(image: &ImageInfo) -> Table {
    let mut table = versions_table(&image.versions);
    for version in &image.versions {
        for warning in &version.warnings {
            let id = Cell::new(format!("{:.12}", version.id));
            table.row([id, Cell::new("warning").style(Style::Warn), Cell::new(warning)]);
        }
    }
    table
}
