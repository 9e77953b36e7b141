//! A tree in memory and its one newc archive (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel).

use std::collections::BTreeMap;
use std::io::{self, Write};

use cpio::newc::{Builder, ModeFileType, trailer};

/// Archives end on a multiple of this, so that others can follow in one initramfs.
const BLOCK: usize = 512;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Directory { mode: u32 },
    File { mode: u32, bytes: Vec<u8> },
    Link { target: String },
    Character { mode: u32, major: u32, minor: u32 },
}

/// The files of an archive by path without leading slash. All belong to root and are from 1970; the order is that of the paths.
#[derive(Clone, Debug, Default)]
pub(super) struct Archive {
    nodes: BTreeMap<String, Node>,
}

impl Archive {
    fn put(&mut self, path: &str, node: Node) {
        let mut parent = path;
        while let Some((above, _)) = parent.rsplit_once('/') {
            self.nodes.entry(above.to_owned()).or_insert(Node::Directory { mode: 0o755 });
            parent = above;
        }
        self.nodes.insert(path.to_owned(), node);
    }

    /// A directory.
    pub(super) fn directory(&mut self, path: &str, mode: u32) {
        self.put(path, Node::Directory { mode });
    }

    /// A file; directories above it come by themselves.
    pub(super) fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        self.put(path, Node::File { mode, bytes });
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &str) {
        self.put(path, Node::Link { target: target.to_owned() });
    }

    /// A character device.
    pub(super) fn character(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.put(path, Node::Character { mode, major, minor });
    }

    /// Bytes of all files.
    pub(super) fn content_len(&self) -> u64 {
        self.nodes.values().map(|node| if let Node::File { bytes, .. } = node { bytes.len() as u64 } else { 0 }).sum()
    }

    /// Writes the archive with its trailer.
    pub(super) fn write(&self, mut sink: &mut dyn Write) -> io::Result<()> {
        for (inode, (path, node)) in (1u32..).zip(&self.nodes) {
            let entry = Builder::new(path).ino(inode);
            let (entry, content): (_, &[u8]) = match node {
                Node::Directory { mode } => (entry.mode(*mode).set_mode_file_type(ModeFileType::Directory), &[]),
                Node::File { mode, bytes } => (entry.mode(*mode).set_mode_file_type(ModeFileType::Regular), bytes),
                Node::Link { target } => {
                    (entry.mode(0o777).set_mode_file_type(ModeFileType::Symlink), target.as_bytes())
                }
                Node::Character { mode, major, minor } => (
                    entry.mode(*mode).set_mode_file_type(ModeFileType::Char).rdev_major(*major).rdev_minor(*minor),
                    &[],
                ),
            };
            let len = u32::try_from(content.len())
                .map_err(|_| io::Error::other(format!("{path} is larger than 4 GiB, which no cpio archive holds")))?;
            let mut writer = entry.write(&mut sink, len);
            writer.write_all(content)?;
            writer.finish()?;
        }
        trailer(sink)?;
        Ok(())
    }
}

/// How many zero bytes follow an archive of `len` bytes.
pub(super) const fn padding(len: usize) -> usize {
    (BLOCK - len % BLOCK) % BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first_and_nothing_depends_on_the_order_of_insertion() {
        let mut one = Archive::default();
        one.file("lib/modules/x/a.ko", 0o644, b"module".to_vec());
        one.link("lib/firmware/b", "a");
        one.character("dev/console", 0o600, 5, 1);
        let mut two = Archive::default();
        two.character("dev/console", 0o600, 5, 1);
        two.link("lib/firmware/b", "a");
        two.file("lib/modules/x/a.ko", 0o644, b"module".to_vec());
        let bytes = |archive: &Archive| {
            let mut bytes = vec![];
            archive.write(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(bytes(&one), bytes(&two));
        let (mut rest, mut seen) = (&bytes(&one)[..], vec![]);
        loop {
            let reader = cpio::NewcReader::new(rest).unwrap();
            let entry = reader.entry();
            if entry.is_trailer() {
                break;
            }
            assert_eq!((entry.mtime(), entry.uid(), entry.nlink()), (0, 0, 1));
            seen.push((entry.name().to_owned(), entry.mode(), entry.rdev_minor()));
            rest = reader.finish().unwrap();
        }
        let expected = [
            ("dev", 0o040_755, 0),
            ("dev/console", 0o020_600, 1),
            ("lib", 0o040_755, 0),
            ("lib/firmware", 0o040_755, 0),
            ("lib/firmware/b", 0o120_777, 0),
            ("lib/modules", 0o040_755, 0),
            ("lib/modules/x", 0o040_755, 0),
            ("lib/modules/x/a.ko", 0o100_644, 0),
        ];
        assert_eq!(seen, expected.map(|(name, mode, minor)| (name.to_owned(), mode, minor)));
    }

    #[test]
    fn padding_fills_a_block() {
        assert_eq!([0, 1, 511, 512, 513].map(padding), [0, 511, 1, 0, 511]);
    }
}
