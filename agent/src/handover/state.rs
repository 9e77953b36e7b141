//! What makes a process this member of the swarm.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wulfpack_shared::id::{BootId, PublicKey};
use wulfpack_shared::identity::{HeadAddr, SecretKey, SignedMembership};
use wulfpack_shared::image::SignedHeader;
use wulfpack_shared::manners::Manners;
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::{self, DataAddrs, PeerInfo, ReportEvent, SeedPolicy, SwarmSummary};

use crate::report::uptime_ms;

/// Largest state: 64 peers, 2,048 events of 4 KiB at the very most.
const STATE_MAX: usize = 16 * 1024 * 1024;

/// See the file's head. Times are relative to the kernel's own clock, which all processes of one boot share.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberState {
    seed_of_key: Option<[u8; 32]>,
    /// This life of the node.
    pub boot: BootId,
    /// Where the heads are.
    pub heads: Vec<HeadAddr>,
    /// The cluster's keys.
    pub cluster: Vec<PublicKey>,
    /// The membership; absent before the join.
    pub certificate: Option<SignedMembership>,
    /// The image; absent before the join.
    pub image: Option<SignedHeader>,
    /// Where the data plane listens.
    pub data: DataAddrs,
    /// How long to serve.
    pub seed: SeedPolicy,
    /// What it takes of links and processors.
    pub manners: Manners,
    /// Cluster time, and the kernel's uptime in milliseconds at which it was so.
    pub cluster_time: Option<(UnixTime, u64)>,
    /// Peers known at hand-over.
    pub peers: Vec<PeerInfo>,
    /// Number of the next event.
    pub next_event: u64,
    /// Events that the head has not recorded.
    pub events: Vec<ReportEvent>,
    /// The node was reported ready.
    pub ready: bool,
    /// What earlier processes of this boot counted in the swarm.
    pub counted: SwarmSummary,
}

/// Why a state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file cannot be read or written.
    #[error("failed to {action} {path}: {source}")]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It was written by another version, or is damaged.
    #[error("the state in {path} is not readable: {source}")]
    Decode {
        /// Which.
        path: PathBuf,
        /// Why.
        source: wire::DecodeError,
    },
}

impl MemberState {
    /// The state of a node that knows where its heads are and nothing else.
    pub fn new(boot: BootId, heads: Vec<HeadAddr>, cluster: Vec<PublicKey>, data_port: u16) -> Self {
        Self {
            seed_of_key: None,
            boot,
            heads,
            cluster,
            certificate: None,
            image: None,
            data: DataAddrs { port: data_port, ips: vec![] },
            seed: SeedPolicy::default(),
            manners: Manners::default(),
            cluster_time: None,
            peers: vec![],
            next_event: 1,
            events: vec![],
            ready: false,
            counted: SwarmSummary::default(),
        }
    }

    /// The member's key; `None` before it was made.
    pub fn key(&self) -> Option<SecretKey> {
        self.seed_of_key.map(SecretKey::from_seed)
    }

    /// From now on this is the member's key.
    pub fn set_key(&mut self, key: &SecretKey) {
        self.seed_of_key = Some(*key.seed());
    }

    /// Cluster time now, if a head has told it.
    pub fn cluster_now(&self) -> Option<UnixTime> {
        let (time, at) = self.cluster_time?;
        Some(UnixTime(time.0 + uptime_ms().saturating_sub(at)))
    }

    /// The state as bytes for the socket. Secret.
    pub(super) fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, wire::DecodeError> {
        wire::decode::<_, STATE_MAX>(bytes)
    }

    /// Reads the state that a process of this boot left; `None` if there is none.
    pub fn load(path: &Path) -> Result<Option<Self>, StateError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Io { action: "read", path: path.into(), source }),
        };
        Self::decode(&bytes).map(Some).map_err(|source| StateError::Decode { path: path.into(), source })
    }

    /// Writes the state, 0600, whole or not at all. The file lies in memory: there is no disk to flush.
    pub fn save(&self, path: &Path) -> Result<(), StateError> {
        let failed = |source| StateError::Io { action: "write", path: path.into(), source };
        let temporary = path.with_extension("new");
        let write = || -> io::Result<()> {
            let mut file: File =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&self.encode())?;
            fs::rename(&temporary, path)
        };
        write().map_err(failed)
    }
}

impl fmt::Debug for MemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemberState").field("boot", &self.boot).field("ready", &self.ready).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_state_is_read_back_and_only_its_owner_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        assert_eq!(MemberState::load(&path).unwrap(), None);
        let key = SecretKey::from_seed([7; 32]);
        let mut state = MemberState::new(BootId([1; 16]), vec![], vec![], 9871);
        assert!(state.key().is_none());
        state.set_key(&key);
        state.save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read = MemberState::load(&path).unwrap().unwrap();
        assert_eq!(read.key().map(|key| key.public()), Some(key.public()));
        assert_eq!(read, state);
        assert!(!format!("{read:?}").contains("7, 7"));
        fs::write(&path, b"half").unwrap();
        assert!(matches!(MemberState::load(&path), Err(StateError::Decode { .. })));
    }
}
