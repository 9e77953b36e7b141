//! Secret keys as files: 32 bytes in hexadecimal between two lines that say what they are, readable by their owner alone.

use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER_PERMISSIVE;
use wulfpack_shared::identity::SecretKey;
use zeroize::Zeroizing;

use super::{ClusterKeys, Paths, create_new, write_atomically};

/// What a key is for; stands in its file, so that one cannot be taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRole {
    /// Signs manifests, certificates and time for the cluster.
    Cluster,
    /// This head's identity on the control and data plane.
    Head,
    /// The secret from which the SSH host keys of nodes are derived.
    Ssh,
}

impl KeyRole {
    const fn label(self) -> &'static str {
        match self {
            Self::Cluster => "CLUSTER",
            Self::Head => "HEAD",
            Self::Ssh => "SSH HOSTS",
        }
    }
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("cannot read the key {path:?}; `wulf init` creates missing ones", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner may read or write it.
    #[error("{path:?} has mode {mode:04o}: others could have read the key. If nobody has, run `chmod 600 {path:?}`; else replace it", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not such a file.
    #[error("{path:?} is not a Wulfpack {label} key file", path = path.display(), label = .role.label().to_lowercase())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was expected.
        role: KeyRole,
    },
    /// What it says of former keys does not lead to the cluster's key.
    #[error("{path:?} does not belong to the cluster's key beside it; restore both from one backup, or move it away: nodes that know only an older key then have to boot again", path = path.display())]
    Former {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write the key {path:?}", path = path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The keys that a running head needs.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Sign for the cluster.
    pub cluster: ClusterKeys,
    /// This head.
    pub head: SecretKey,
    /// Secret from which SSH host keys are derived.
    pub ssh: SecretKey,
}

impl Keys {
    /// Reads all keys; refuses files that others than their owner may read.
    pub fn load(paths: &Paths) -> Result<Self, KeyError> {
        Ok(Self {
            cluster: ClusterKeys::load(paths)?,
            head: load_key(&paths.head_key(), KeyRole::Head)?,
            ssh: load_key(&paths.ssh_key(), KeyRole::Ssh)?,
        })
    }
}

/// Reads a key; refuses a file that others than its owner may read.
pub fn load_key(path: &Path, role: KeyRole) -> Result<SecretKey, KeyError> {
    let unreadable = |source| KeyError::Read { path: path.into(), source };
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    // Of the opened file, not of the path: the two could differ.
    let mode = file.metadata().map_err(unreadable)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.into(), mode });
    }
    let mut text = Zeroizing::new(String::with_capacity(1024));
    file.by_ref().take(1024).read_to_string(&mut text).map_err(unreadable)?;
    decode(&text, role).ok_or_else(|| KeyError::Malformed { path: path.into(), role })
}

/// Writes a fresh key, mode 0600. Fails where the file exists.
pub fn create_key(path: &Path, role: KeyRole) -> Result<SecretKey, KeyError> {
    let key = SecretKey::generate()
        .map_err(|error| KeyError::Create { path: path.into(), source: io::Error::other(error.to_string()) })?;
    create_new(path, encode(&key, role).as_bytes(), 0o600)
        .map_err(|source| KeyError::Create { path: path.into(), source })?;
    Ok(key)
}

/// Puts a key where another one is, or none.
pub(super) fn replace_key(path: &Path, role: KeyRole, key: &SecretKey) -> Result<(), KeyError> {
    write_atomically(path, encode(key, role).as_bytes(), 0o600)
        .map_err(|source| KeyError::Create { path: path.into(), source })
}

fn encode(key: &SecretKey, role: KeyRole) -> Zeroizing<String> {
    let label = role.label();
    let hex = Zeroizing::new(HEXLOWER_PERMISSIVE.encode(&*key.seed()));
    Zeroizing::new(format!(
        "-----BEGIN WULFPACK {label} KEY-----\n{}\n-----END WULFPACK {label} KEY-----\n",
        hex.as_str()
    ))
}

fn decode(text: &str, role: KeyRole) -> Option<SecretKey> {
    let label = role.label();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    (lines.next()? == format!("-----BEGIN WULFPACK {label} KEY-----")).then_some(())?;
    let hex = lines.next()?;
    (lines.next()? == format!("-----END WULFPACK {label} KEY-----") && lines.next().is_none()).then_some(())?;
    let mut seed = Zeroizing::new([0; 32]);
    (hex.len() == 64).then_some(())?;
    HEXLOWER_PERMISSIVE.decode_mut(hex.as_bytes(), &mut *seed).ok()?;
    Some(SecretKey::from_seed(*seed))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_created_key_is_private_and_loads_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.key");
        let key = create_key(&path, KeyRole::Cluster).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(load_key(&path, KeyRole::Cluster).unwrap().public(), key.public());
        assert!(matches!(create_key(&path, KeyRole::Cluster), Err(KeyError::Create { .. })), "never overwritten");
        assert!(matches!(load_key(&path, KeyRole::Head), Err(KeyError::Malformed { .. })), "never mistaken");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("head.key");
        create_key(&path, KeyRole::Head).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = load_key(&path, KeyRole::Head).unwrap_err();
            assert!(matches!(error, KeyError::Exposed { .. }), "{error}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn a_damaged_key_is_refused_without_showing_it() {
        let good = encode(&SecretKey::from_seed([7; 32]), KeyRole::Head);
        assert!(decode(&good, KeyRole::Head).is_some());
        for bad in [good.replace("07", "zz"), good.replace("0707", ""), good.repeat(2), String::new()] {
            assert!(decode(&bad, KeyRole::Head).is_none());
        }
        let error = KeyError::Malformed { path: "k".into(), role: KeyRole::Head }.to_string();
        assert_eq!(error, "\"k\" is not a Wulfpack head key file");
    }
}
