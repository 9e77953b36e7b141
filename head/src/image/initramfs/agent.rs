//! The head's own part of the initramfs: the agent, current at each boot, and the join token of one node.

use std::io::Write;
use std::path::Path;

use super::ArchiveCompression;
use super::cpio::{Archive, padding};
use crate::image::ImageError;
use crate::image::error::Doing;

/// Directories that the agent mounts file systems on or keeps its files in.
const DIRECTORIES: [(&str, u32); 6] =
    [("dev", 0o755), ("proc", 0o555), ("sys", 0o555), ("run", 0o755), ("newroot", 0o755), ("wulf", 0o700)];

/// The archive with the agent as `/init`, compressed as told and padded to 512 bytes.
///
/// Take [`ArchiveCompression::detect`] of the modules archive of the kernel it is for: that one the kernel can read.
///
/// # Errors
/// Where the binary cannot be read.
pub fn agent_archive(agent_binary: &Path, compression: ArchiveCompression) -> Result<Vec<u8>, ImageError> {
    let binary = std::fs::read(agent_binary).doing("read the agent", agent_binary)?;
    let mut archive = Archive::default();
    for (path, mode) in DIRECTORIES {
        archive.directory(path, mode);
    }
    archive.character("dev/console", 0o600, 5, 1);
    archive.character("dev/null", 0o666, 1, 3);
    archive.file("init", 0o755, binary);
    let mut bytes = compression.compress(vec![], |sink| archive.write(sink)).doing("pack the agent", agent_binary)?;
    bytes.resize(bytes.len() + padding(bytes.len()), 0);
    Ok(bytes)
}

/// The archive with a node's join token as `/wulf/token` (mode 0600), uncompressed and padded to 512 bytes.
pub fn token_archive(token: &[u8]) -> Vec<u8> {
    let mut archive = Archive::default();
    archive.directory("wulf", 0o700);
    archive.file("wulf/token", 0o600, token.to_vec());
    let mut bytes = vec![];
    #[expect(clippy::expect_used, reason = "writing a token to a Vec fails only above 4 GiB")]
    archive.write(&mut bytes as &mut dyn Write).expect("a token fits an archive");
    bytes.resize(bytes.len() + padding(bytes.len()), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_roots_alone_and_the_archive_ends_on_a_block() {
        let bytes = token_archive(b"sesame");
        assert_eq!(bytes.len() % 512, 0);
        let reader = cpio::NewcReader::new(&bytes[..]).unwrap();
        assert_eq!((reader.entry().name(), reader.entry().mode()), ("wulf", 0o040_700));
        let reader = cpio::NewcReader::new(reader.finish().unwrap()).unwrap();
        assert_eq!((reader.entry().name(), reader.entry().mode()), ("wulf/token", 0o100_600));
        assert_eq!(std::io::read_to_string(reader).unwrap(), "sesame");
    }

    #[test]
    fn the_agent_is_init() {
        let binary = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(binary.path(), "#!agent").unwrap();
        for compression in [ArchiveCompression::None, ArchiveCompression::Gzip, ArchiveCompression::Zstd] {
            let bytes = agent_archive(binary.path(), compression).unwrap();
            assert_eq!((bytes.len() % 512, ArchiveCompression::detect(&bytes)), (0, compression));
        }
        let bytes = agent_archive(binary.path(), ArchiveCompression::None).unwrap();
        let (mut rest, mut names) = (&bytes[..], vec![]);
        loop {
            let reader = cpio::NewcReader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            names.push(reader.entry().name().to_owned());
            rest = reader.finish().unwrap();
        }
        assert_eq!(names, ["dev", "dev/console", "dev/null", "init", "newroot", "proc", "run", "sys", "wulf"]);
    }
}
