//! The files there are: read once, kept in memory, found by name only.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// Largest file: network boot programs have less than 1 MiB. Bytes.
const FILE_MAX: u64 = 4 * 1024 * 1024;

/// Files by lower-case name.
#[derive(Clone, Debug, Default)]
pub struct Files(BTreeMap<String, Bytes>);

impl Files {
    /// Reads each of the named files from the first directory that has it. One that cannot be read is left out, with a warning:
    /// the others may be all that this cluster's machines need.
    pub fn read(directories: &[PathBuf], names: &[String]) -> Self {
        let mut files = Self::default();
        for name in names {
            let found = directories.iter().map(|directory| directory.join(name)).find(|path| path.is_file());
            let Some(path) = found else {
                tracing::warn!(
                    name,
                    ?directories,
                    "network boot program not found: install iPXE (on Debian the package ipxe)"
                );
                continue;
            };
            match read(&path) {
                Ok(bytes) => files.insert(name, bytes),
                Err(error) => tracing::warn!(path = %path.display(), %error, "network boot program not readable"),
            }
        }
        files
    }

    /// Adds a file.
    pub fn insert(&mut self, name: &str, bytes: Bytes) {
        self.0.insert(name.to_ascii_lowercase(), bytes);
    }

    /// The file that a machine means: firmware asks with leading slashes, backslashes and capitals as it likes.
    pub(super) fn find(&self, asked: &str) -> Option<(&str, &Bytes)> {
        let name = asked.trim_start_matches(['/', '\\']).trim_end().to_ascii_lowercase();
        self.0.get_key_value(&name).map(|(name, bytes)| (name.as_str(), bytes))
    }

    /// The names there are.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

fn read(path: &Path) -> io::Result<Bytes> {
    let mut bytes = vec![];
    File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(io::Error::other(format!("it is larger than {FILE_MAX} bytes and no network boot program")));
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_as_firmware_writes_them_and_nothing_else_is() {
        let mut files = Files::default();
        files.insert("snponly.EFI", Bytes::from_static(b"x"));
        for asked in ["snponly.efi", "/snponly.efi", "\\SNPONLY.EFI", "//snponly.efi", "snponly.efi "] {
            assert!(files.find(asked).is_some(), "{asked}");
        }
        for asked in ["", "/", "../snponly.efi", "/etc/passwd", "x/snponly.efi", "snponly"] {
            assert!(files.find(asked).is_none(), "{asked}");
        }
    }

    #[test]
    fn the_first_directory_wins_and_what_is_too_large_or_missing_is_left_out() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(first.path().join("a"), "first").unwrap();
        std::fs::write(second.path().join("a"), "second").unwrap();
        std::fs::write(second.path().join("b"), "b").unwrap();
        File::create(second.path().join("large")).unwrap().set_len(FILE_MAX + 1).unwrap();
        let names = ["a", "b", "large", "missing"].map(String::from);
        let files = Files::read(&[first.path().into(), second.path().into()], &names);
        assert_eq!(files.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(files.find("a").unwrap().1, "first");
    }
}
