//! Every state that the registry was in: who changed it, when, why, and the whole file. One compressed file each, only ever added.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use wulfpack_shared::id::Hash;
use wulfpack_shared::net::clock::ClusterClock;
use wulfpack_shared::time::UnixTime;

use crate::admin::user_name;
use crate::config::{create_dir, create_new};

/// States that are kept; older ones are forgotten.
const KEPT: usize = 500;
/// Largest registry that is read back. Bytes.
const TEXT_MAX: u64 = 256 * 1024 * 1024;
/// zstd: text of ten thousand nodes in a few milliseconds.
const LEVEL: i32 = 3;
const SUFFIX: &str = "registry.zst";

/// What somebody does to the registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deed {
    /// `node set`.
    pub what: String,
    /// `node n[1-4]`: what it is done to.
    pub subject: String,
    /// Why, in the words of who did it.
    pub why: Option<String>,
}

/// One state of the registry, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Counts up from 1.
    pub number: u64,
    /// When.
    pub at: UnixTime,
    /// User, with the one behind sudo.
    pub who: String,
    /// What was done: `node set`, `by hand`.
    pub what: String,
    /// What it was done to.
    pub subject: String,
    /// Why.
    pub why: Option<String>,
    /// Of the text.
    pub hash: Hash,
}

/// The directory of all states.
#[derive(Clone, Debug)]
pub struct History {
    dir: PathBuf,
}

impl History {
    /// At this directory, which is made when something is recorded.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Numbers of all states, the oldest first; none where there is no directory.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            other => other?,
        };
        let mut numbers = vec![];
        for entry in entries {
            let name = entry?.file_name();
            let number: Option<u64> =
                name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.strip_suffix('.')?.parse().ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:08}.{SUFFIX}"))
    }

    fn open(&self, number: u64) -> io::Result<(Record, impl io::Read)> {
        let file = File::open(self.path(number))?;
        let mut reader = BufReader::new(zstd::Decoder::new(file)?.take(TEXT_MAX));
        let mut line = String::new();
        reader.read_line(&mut line)?;
        Ok((serde_json::from_str(&line)?, reader))
    }

    /// All records, the oldest first. One that cannot be read is left out, and said in the log.
    pub fn records(&self) -> io::Result<Vec<Record>> {
        let read = |number| match self.open(number) {
            Ok((record, _)) => Some(record),
            Err(error) => {
                tracing::warn!(number, %error, "a record of the registry's history cannot be read");
                None
            }
        };
        Ok(self.numbers()?.into_iter().filter_map(read).collect())
    }

    /// The record with this number.
    pub fn record(&self, number: u64) -> io::Result<Record> {
        self.open(number).map(|(record, _)| record)
    }

    /// The last record.
    pub fn last(&self) -> io::Result<Option<Record>> {
        self.numbers()?.last().map(|number| self.record(*number)).transpose()
    }

    /// The text of a state.
    pub fn text(&self, number: u64) -> io::Result<String> {
        let (record, mut reader) = self.open(number)?;
        let mut text = String::new();
        reader.read_to_string(&mut text)?;
        if Hash::of(text.as_bytes()) == record.hash {
            Ok(text)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("state {number} is damaged")))
        }
    }

    /// Records a state that is about to be, or that is.
    pub fn add(&self, deed: &Deed, text: &str) -> io::Result<Record> {
        self.write(ClusterClock::system().now(), whoami(), deed, text)
    }

    /// Records what the file at `path` says unless that is what was recorded last: somebody changed it by hand, or a command was
    /// killed before it wrote what it had recorded. Its owner, and when it was written, are all that is known of that.
    pub fn note(&self, path: &Path, text: &str) -> io::Result<Option<Record>> {
        let last = self.last()?;
        if last.as_ref().is_some_and(|last| last.hash == Hash::of(text.as_bytes())) {
            return Ok(None);
        }
        let data = fs::metadata(path)?;
        let seconds = data.modified()?.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let what = if last.is_none() { "found" } else { "by hand" };
        let deed = Deed { what: what.into(), ..Deed::default() };
        let who = format!("{} (owner of the file)", user_name(data.uid()));
        self.write(UnixTime::from_secs(seconds), who, &deed, text).map(Some)
    }

    fn write(&self, at: UnixTime, who: String, deed: &Deed, text: &str) -> io::Result<Record> {
        // Members of the head's group write here too: a running head records what it takes over.
        create_dir(&self.dir, 0o2770)?;
        let numbers = self.numbers()?;
        let Deed { what, subject, why } = deed.clone();
        let next = numbers.last().map_or(1, |last| last + 1);
        let mut record = Record { number: next, at, who, what, subject, why, hash: Hash::of(text.as_bytes()) };
        loop {
            let plain = format!("{}\n{text}", serde_json::to_string(&record)?);
            let packed = zstd::encode_all(plain.as_bytes(), LEVEL)?;
            match create_new(&self.path(record.number), &packed, 0o640) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => record.number += 1,
                other => {
                    other?;
                    break;
                }
            }
        }
        for old in numbers.iter().take((numbers.len() + 1).saturating_sub(KEPT)) {
            fs::remove_file(self.path(*old)).unwrap_or_default();
        }
        Ok(record)
    }
}

/// The user that runs this process; under sudo the one who called it too.
fn whoami() -> String {
    let user = user_name(nix::unistd::getuid().as_raw());
    match std::env::var("SUDO_USER") {
        Ok(behind) if behind != user && !behind.is_empty() => {
            let behind: String = behind.chars().filter(|c| !c.is_control()).take(64).collect();
            format!("{user} ({behind} by sudo)")
        }
        _ => user,
    }
}
