//! The moment of handing over, on a unix socket that only root can reach.
//!
//! ```text
//!   service                       child
//!      ── connects ───────────────>
//!      <────── state, length first ──     (the child goes on serving)
//!      ── "ready" ────────────────>
//!                                    drains: active transfers end, new ones are turned away
//!      <────── "released", since ──     the port is free; since when nothing new was taken, and nothing heard
//!      binds the port, serves        ends
//! ```

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::state::MemberState;

const READY: u8 = b'R';
const RELEASED: u8 = b'F';
/// Largest state that a service takes. Bytes.
const STATE_MAX: u32 = 16 * 1024 * 1024;

/// The side that gives: the child that booted the node.
#[derive(Debug)]
pub struct Giver(UnixListener);

impl Giver {
    /// Listens at `path`, whose directory must be private; a socket left by an earlier process is replaced.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(Self(listener))
    }

    /// Waits for a service and gives it the state that `state` makes; returns when the service is ready to go on. The caller
    /// then stops serving and calls [`Given::release`]. A service that goes away before that changes nothing.
    pub async fn give(&self, state: impl Fn() -> MemberState) -> io::Result<Given> {
        loop {
            let (mut stream, _) = self.0.accept().await?;
            let bytes = state().encode();
            let offer = async {
                stream.write_u32(u32::try_from(bytes.len()).map_err(io::Error::other)?).await?;
                stream.write_all(&bytes).await?;
                stream.read_u8().await
            };
            if matches!(offer.await, Ok(READY)) {
                return Ok(Given(stream));
            }
        }
    }
}

/// A service is ready and waits for the port.
#[derive(Debug)]
pub struct Given(UnixStream);

/// Since when the child serves no more, in milliseconds of the kernel's uptime: what the gap at the hand-over is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// New requests were turned away; those under way went on.
    pub turned_away: u64,
    /// Nobody listens.
    pub closed: u64,
}

impl Given {
    /// Tells the service that the port is free.
    pub async fn release(mut self, since: Since) -> io::Result<()> {
        self.0.write_u8(RELEASED).await?;
        self.0.write_u64(since.turned_away).await?;
        self.0.write_u64(since.closed).await
    }
}

/// The side that takes over: the service of the running system.
#[derive(Debug)]
pub struct Taker(UnixStream);

impl Taker {
    /// Connects to the child and takes the state; `None` if there is no child any more.
    pub async fn connect(path: &Path) -> io::Result<Option<(Self, MemberState)>> {
        let mut stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let len = stream.read_u32().await?;
        if len > STATE_MAX {
            return Err(io::Error::other(format!(
                "the state offered has {len} bytes, more than the limit of {STATE_MAX}"
            )));
        }
        let mut bytes = vec![0; len as usize];
        stream.read_exact(&mut bytes).await?;
        let state = MemberState::decode(&bytes).map_err(io::Error::other)?;
        Ok(Some((Self(stream), state)))
    }

    /// Says that this process is ready to serve, and waits until the port is free. A child that dies has freed it too, and
    /// nobody knows when.
    pub async fn take(mut self) -> io::Result<Option<Since>> {
        self.0.write_u8(READY).await?;
        let released = async {
            match self.0.read_u8().await? {
                RELEASED => Ok(Some(Since { turned_away: self.0.read_u64().await?, closed: self.0.read_u64().await? })),
                other => Err(io::Error::other(format!("the child answered {other:#x}"))),
            }
        };
        match released.await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use wulfpack_shared::id::BootId;
    use wulfpack_shared::identity::SecretKey;

    use super::*;

    const SINCE: Since = Since { turned_away: 7, closed: 9 };

    #[tokio::test]
    async fn the_port_is_released_only_when_the_service_is_ready() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sock");
        assert!(Taker::connect(&path).await.unwrap().is_none());
        let giver = Giver::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut state = MemberState::new(BootId([1; 16]), vec![], vec![], 9871);
        state.set_key(&SecretKey::from_seed([7; 32]));
        let given = state.clone();
        let child = tokio::spawn(async move {
            let given = giver.give(|| given.clone()).await.unwrap();
            given.release(SINCE).await.unwrap();
        });
        // A service that dies half-way leaves the child waiting for the next.
        drop(Taker::connect(&path).await.unwrap());
        let (taker, taken) = Taker::connect(&path).await.unwrap().unwrap();
        assert_eq!(taken, state);
        assert_eq!(taker.take().await.unwrap(), Some(SINCE));
        child.await.unwrap();
        assert!(Taker::connect(&path).await.unwrap().is_none(), "the child is gone");
    }

    #[tokio::test]
    async fn a_child_that_dies_has_freed_the_port_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sock");
        let giver = Giver::bind(&path).unwrap();
        let child = tokio::spawn(async move {
            drop(giver.give(|| MemberState::new(BootId([1; 16]), vec![], vec![], 9871)).await.unwrap());
        });
        let (taker, _) = Taker::connect(&path).await.unwrap().unwrap();
        assert_eq!(taker.take().await.unwrap(), None);
        child.await.unwrap();
    }
}
