//! What the overlays of this boot made of the node: kept beside the root, so that a later change knows what it may replace.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use wulfpack_shared::id::Hash;
use wulfpack_shared::limits::OVERLAYS_MAX;
use wulfpack_shared::overlay::{Bundle, Context, Entry, EntryKind, Reload, set_hash};
use wulfpack_shared::wire;

/// A record holds the system overlays whole, and of the runtime overlays what they are.
const RECORD_MAX: usize = 2 * OVERLAYS_MAX;

/// See the file's head.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Hash of the system overlays.
    pub system: Option<Hash>,
    /// Hash of the runtime overlays; `None` while some of them could not be applied.
    pub runtime: Option<Hash>,
    /// What the system overlays made, with contents: a path that leaves the runtime overlays becomes this again.
    below: BTreeMap<String, Entry>,
    /// What the runtime overlays made, without contents.
    pub(super) above: BTreeMap<String, Entry>,
    /// Paths of runtime overlays that were edited on the node, and are kept.
    pub edited: Vec<String>,
    /// Units that have not been told of a change yet, or could not take it: the next update tells them again.
    pub due: Vec<Due>,
}

/// A unit that reads files that have changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// Its name, as `systemctl` takes it.
    pub unit: String,
    /// Restart it, where it would be reloaded otherwise.
    pub restart: bool,
}

/// All entries by path; of several with one path the last counts, as it is applied last.
pub(super) fn by_path(bundles: &[Bundle], context: Context) -> BTreeMap<String, Entry> {
    let of_context = bundles.iter().filter(|bundle| bundle.context == context);
    of_context.flat_map(|bundle| &bundle.entries).map(|entry| (entry.path.clone(), entry.clone())).collect()
}

/// The entry without its content.
pub(super) fn light(mut entry: Entry) -> Entry {
    if let EntryKind::File(bytes) = &entry.kind {
        entry.kind = EntryKind::Known { hash: Hash::of(bytes), len: bytes.len() as u64 };
    }
    entry
}

impl Record {
    /// All of these bundles have been applied, in their order.
    pub fn of(bundles: &[Bundle]) -> Self {
        let above = by_path(bundles, Context::Runtime).into_iter().map(|(path, entry)| (path, light(entry)));
        Self {
            system: Some(set_hash(bundles, Context::System)),
            runtime: Some(set_hash(bundles, Context::Runtime)),
            below: by_path(bundles, Context::System),
            above: above.collect(),
            edited: vec![],
            due: vec![],
        }
    }

    /// These units have to be told. Each is told once, and restarted if one of the reasons wants that.
    pub fn owe(&mut self, reloads: &[Reload]) {
        for Reload { units, restart, .. } in reloads {
            for unit in units {
                match self.due.iter_mut().find(|due| due.unit == *unit) {
                    Some(due) => due.restart |= restart,
                    None => self.due.push(Due { unit: unit.clone(), restart: *restart }),
                }
            }
        }
    }

    /// What a path is without the runtime overlays, where a system overlay says it.
    pub(super) fn below(&self, path: &str) -> Option<&Entry> {
        self.below.get(path)
    }

    /// Reads the record of this boot; an empty one if there is none.
    pub fn load(path: &Path) -> io::Result<Self> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        wire::decode::<_, RECORD_MAX>(&bytes).map_err(io::Error::other)
    }

    /// Writes it, 0600 because files of overlays may be secret, whole or not at all. It lies in memory.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let temporary = path.with_extension("new");
        let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(&wire::encode(self))?;
        fs::rename(&temporary, path)
    }
}
