//! What the rest of a process holds of its swarm.

use core::time::Duration;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::board::Board;
use super::driver::Driver;
use super::note::Command;
use super::{SwarmConfig, SwarmError, SwarmEvent};
use crate::id::{PublicKey, VersionId};
use crate::identity::SignedMembership;
use crate::image::Run;
use crate::net::endpoint::DataEndpoint;
use crate::net::store::UnitStore;
use crate::net::tls::Identity;
use crate::swarm::Stats;
use crate::wire::{PeerInfo, SwarmSummary};

/// Events that wait for the process to read them.
const EVENTS: usize = 256;

/// A running member of the swarm. It ends when it is dropped; [`Swarm::shutdown`] ends it in good order.
#[derive(Debug)]
pub struct Swarm {
    commands: mpsc::Sender<Command>,
    board: Arc<Board>,
    identity: Identity,
    addrs: Vec<SocketAddr>,
    driver: Mutex<Option<JoinHandle<()>>>,
}

impl Swarm {
    /// Starts a member. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// A socket cannot be used, or TLS cannot be set up.
    pub fn start(config: SwarmConfig) -> Result<(Self, mpsc::Receiver<SwarmEvent>), SwarmError> {
        let SwarmConfig { identity, sockets, engine, tuning, seed } = config;
        // As many again may be in the handshake, or be told that there is no room.
        let most = 2 * usize::from(engine.neighbours_max);
        let endpoint = Arc::new(DataEndpoint::start(sockets, identity.clone(), tuning, most)?);
        let addrs = endpoint.local_addrs().collect();
        let board = Arc::new(Board::new(&tuning, endpoint.meter()));
        let (commands, receiver) = mpsc::channel(64);
        let (events, told) = mpsc::channel(EVENTS);
        let driver = Driver::new(endpoint, identity.clone(), Arc::clone(&board), engine, seed, events);
        let driver = Mutex::new(Some(tokio::spawn(driver.run(receiver))));
        Ok((Self { commands, board, identity, addrs, driver }, told))
    }

    /// Where it listens.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The first address it listens on.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.addrs.first().copied()
    }

    async fn command(&self, command: Command) -> Result<(), SwarmError> {
        self.commands.send(command).await.map_err(|_| SwarmError::Ended)
    }

    /// Takes part in an image version whose units lie in `store`; `held` are those that are known to be right. Peers are told only of
    /// images that were added before they connected: add images first, peers then.
    ///
    /// # Errors
    /// The swarm has ended, or has too many images.
    pub async fn add_image(
        &self,
        version: VersionId,
        store: Arc<dyn UnitStore>,
        held: Vec<Run>,
    ) -> Result<(), SwarmError> {
        let (added, answer) = oneshot::channel();
        self.command(Command::Image { version, store, held, added }).await?;
        match answer.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(SwarmError::TooManyImages),
            Err(_) => Err(SwarmError::Ended),
        }
    }

    /// Peers that the tracker named.
    ///
    /// # Errors
    /// The swarm has ended.
    pub async fn add_peers(&self, peers: Vec<PeerInfo>) -> Result<(), SwarmError> {
        self.command(Command::Peers(peers)).await
    }

    /// What the tracker says of this member's rack: how many members it has (0: unknown), and how many flows from other racks all
    /// of them may have together (0: no limit).
    ///
    /// # Errors
    /// The swarm has ended.
    pub async fn set_rack(&self, size: u32, cap: u32) -> Result<(), SwarmError> {
        self.command(Command::Rack { size, cap }).await
    }

    /// Casts out the members with these keys: connections are closed, new ones refused, and neighbours told to ask their tracker.
    ///
    /// # Errors
    /// The swarm has ended.
    pub async fn revoke(&self, keys: Vec<PublicKey>) -> Result<(), SwarmError> {
        self.command(Command::Revoke(keys)).await
    }

    /// Shows another certificate of the same key in every handshake from now on.
    ///
    /// # Errors
    /// It does not count; the old one stays in use.
    pub fn renew(&self, certificate: &SignedMembership) -> Result<(), SwarmError> {
        Ok(self.identity.renew(certificate)?)
    }

    /// Counters of one image; all zero if the swarm does not take part in it.
    pub fn summary(&self, version: &VersionId) -> SwarmSummary {
        self.board.summary(version)
    }

    /// What the engine has counted, of all images: requests, messages, and how often it was woken.
    ///
    /// # Errors
    /// The swarm has ended.
    pub async fn stats(&self) -> Result<Stats, SwarmError> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Stats(reply)).await?;
        answer.await.map_err(|_| SwarmError::Ended)
    }

    /// The units of one image that are verified in its store.
    pub fn held(&self, version: &VersionId) -> Vec<Run> {
        self.board.get(version).map(|image| image.held()).unwrap_or_default()
    }

    /// The images that the swarm takes part in.
    pub fn images(&self) -> Vec<VersionId> {
        self.board.versions()
    }

    /// Connected peers and where they are.
    ///
    /// # Errors
    /// The swarm has ended.
    pub async fn connected(&self) -> Result<Vec<(PublicKey, SocketAddr)>, SwarmError> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Connected(reply)).await?;
        answer.await.map_err(|_| SwarmError::Ended)
    }

    /// Serves new requests (`true`, as at the start) or turns them down (`false`: seed policy "never", or a job runs). Fetching goes
    /// on either way.
    ///
    /// # Errors
    /// The swarm has ended.
    pub async fn set_serving(&self, serving: bool) -> Result<(), SwarmError> {
        self.command(Command::Draining(!serving)).await
    }

    /// Leaves the swarm for a while (`true`), or comes back: while a member is paused nothing is served, what is being sent breaks off
    /// within half a second, every connection is closed and callers are turned away. Connections that it opens itself stand.
    ///
    /// # Errors
    /// The swarm has ended.
    pub async fn set_paused(&self, paused: bool) -> Result<(), SwarmError> {
        self.command(Command::Paused(paused)).await
    }

    /// Leaves in good order: new requests are turned down as busy, those under way are finished (for at most `limit`), then peers are
    /// told goodbye.
    ///
    /// # Errors
    /// The swarm has ended.
    pub async fn drain(&self, limit: Duration) -> Result<(), SwarmError> {
        self.command(Command::Draining(true)).await?;
        let (reply, idle) = oneshot::channel();
        self.command(Command::WhenIdle(reply)).await?;
        if tokio::time::timeout(limit, idle).await.is_err() {
            tracing::info!(?limit, "requests are still being served; they are broken off");
        }
        self.command(Command::Bye).await
    }

    /// Closes every connection and stops listening.
    pub async fn shutdown(&self) {
        // It has ended already if this fails.
        drop(self.command(Command::Stop).await);
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = futures::future::OptionFuture::from(driver).await {
            tracing::error!(%error, "the swarm's task failed");
        }
    }
}
