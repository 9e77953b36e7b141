//! The network boot programs there are: read once, kept in memory, found by name only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::arch::Platform;

/// Largest file: network boot programs have less than 1 MiB, and GRUB with its modules 2.5. Bytes.
const FILE_MAX: u64 = 8 * 1024 * 1024;

/// Files by lower-case name.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    files: BTreeMap<String, Bytes>,
    directories: Vec<PathBuf>,
}

impl Programs {
    /// Reads every known program, and those that the administrator names, each from the first directory that has it. One that
    /// cannot be read is left out, with a warning: the others may be all that this cluster's machines need.
    pub fn find(directories: &[PathBuf], named: impl IntoIterator<Item = String>) -> Self {
        let mut programs = Self { files: BTreeMap::new(), directories: directories.to_vec() };
        let named: BTreeSet<String> = named.into_iter().collect();
        let known = Platform::ALL.into_iter().flat_map(|platform| [platform.programs(), platform.chained_programs()]);
        let known = known.flatten().map(|name| (*name).to_owned());
        for name in known.chain(named.iter().cloned()).collect::<BTreeSet<_>>() {
            match programs.path(&name).map(|path| read(&path).map_err(|error| (path, error))) {
                Some(Ok(bytes)) => programs.insert(&name, bytes),
                Some(Err((path, error))) => {
                    tracing::warn!(path = %path.display(), %error, "network boot program not readable");
                }
                None if named.contains(&name) => {
                    tracing::error!(name, ?directories, "network boot program not found, although it is configured");
                }
                None => {}
            }
        }
        programs
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        if !is_inside(name) && !Path::new(name).is_absolute() {
            return None;
        }
        // An absolute name is the administrator's alone, and joins to itself.
        self.directories.iter().map(|directory| directory.join(name)).find(|path| path.is_file())
    }

    /// A program that only the registry names, read at each question: it may have been named after the start. May block.
    pub fn read(&self, name: &str) -> Option<Bytes> {
        let path = self.path(name)?;
        read(&path).inspect_err(|error| tracing::error!(path = %path.display(), %error, "network boot program")).ok()
    }

    /// Adds a file.
    pub fn insert(&mut self, name: &str, bytes: Bytes) {
        self.files.insert(name.trim_start_matches('/').to_ascii_lowercase(), bytes);
    }

    /// The file that a machine means: firmware asks with leading slashes, backslashes and capitals as it likes.
    pub fn get(&self, asked: &str) -> Option<(&str, &Bytes)> {
        let name = asked.trim_start_matches(['/', '\\']).trim_end().to_ascii_lowercase();
        self.files.get_key_value(&name).map(|(name, bytes)| (name.as_str(), bytes))
    }

    /// The names there are.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

/// Whether a name leads to nothing outside of the directory that it is looked for in.
fn is_inside(name: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    name.split('/').all(plain)
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
        let mut files = Programs::default();
        files.insert("snponly.EFI", Bytes::from_static(b"x"));
        for asked in ["snponly.efi", "/snponly.efi", "\\SNPONLY.EFI", "//snponly.efi", "snponly.efi "] {
            assert!(files.get(asked).is_some(), "{asked}");
        }
        for asked in ["", "/", "../snponly.efi", "/etc/passwd", "x/snponly.efi", "snponly"] {
            assert!(files.get(asked).is_none(), "{asked}");
        }
    }

    #[test]
    fn the_first_directory_wins_and_what_is_too_large_missing_or_outside_is_left_out() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(first.path().join("ipxe.pxe"), "first").unwrap();
        std::fs::write(first.path().join("secret"), "secret").unwrap();
        std::fs::write(second.path().join("ipxe.pxe"), "second").unwrap();
        std::fs::write(second.path().join("mine"), "mine").unwrap();
        File::create(second.path().join("undionly.kpxe")).unwrap().set_len(FILE_MAX + 1).unwrap();
        let below = first.path().join("below");
        std::fs::create_dir(&below).unwrap();
        let names = ["mine", "missing", "../secret"].map(String::from);
        let files = Programs::find(&[below, first.path().into(), second.path().into()], names);
        assert_eq!(files.names().collect::<Vec<_>>(), ["ipxe.pxe", "mine"]);
        assert_eq!(files.get("ipxe.pxe").unwrap().1, "first");
    }
}
