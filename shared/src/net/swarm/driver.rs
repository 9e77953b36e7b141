//! The task that owns the engine: what happened goes in here. What comes out is done in `act.rs`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::board::{Board, Image};
use super::directory::Directory;
use super::link::{CloseCode, greet};
use super::note::{Answer, Command, Note};
use super::{SwarmEvent, act, hear};
use crate::id::{PublicKey, VersionId};
use crate::image::Run;
use crate::net::clock::MonoClock;
use crate::net::endpoint::DataEndpoint;
use crate::net::store::UnitStore;
use crate::net::tls::Identity;
use crate::swarm::{Candidate, Config, Engine, ImageIx, Input, PeerIx, PeerKind, ReqId, ServeId};
use crate::wire::{PeerFrame, PeerInfo};

/// Notes that wait for the driver; the tasks that send them wait with them.
const NOTES: usize = 1024;
/// Images that one engine takes part in.
const IMAGES_MAX: usize = 256;
/// Units in memory at a time, each way, in KiB.
const BUDGET: usize = 24 * 1024;
/// Keys in one `Revoked` message.
const REVOKED_MAX: usize = 1024;

/// A request of ours.
#[derive(Debug)]
pub(super) struct Asked {
    pub image: ImageIx,
    pub cancel: Option<oneshot::Sender<()>>,
}

/// State of the driver's task.
pub(super) struct Driver {
    pub(super) engine: Engine,
    pub(super) clock: MonoClock,
    pub(super) endpoint: Arc<DataEndpoint>,
    pub(super) identity: Identity,
    pub(super) board: Arc<Board>,
    pub(super) directory: Directory,
    pub(super) images: Vec<Arc<Image>>,
    pub(super) asked: BTreeMap<ReqId, Asked>,
    pub(super) deciding: BTreeMap<ServeId, (PeerIx, oneshot::Sender<Answer>)>,
    /// What is being sent, and how to stop it.
    pub(super) serving: BTreeMap<ServeId, oneshot::Sender<()>>,
    pub(super) notes: mpsc::Sender<Note>,
    pub(super) events: mpsc::Sender<SwarmEvent>,
    pub(super) fetch_budget: Arc<Semaphore>,
    pub(super) serve_budget: Arc<Semaphore>,
    inputs: VecDeque<Input>,
    idle: Vec<oneshot::Sender<()>>,
    inbox: mpsc::Receiver<Note>,
    pub(super) next_link: u64,
    pub(super) next_serve: Arc<AtomicU64>,
}

impl Driver {
    pub(super) fn new(
        endpoint: Arc<DataEndpoint>,
        identity: Identity,
        board: Arc<Board>,
        config: Config,
        seed: u64,
        events: mpsc::Sender<SwarmEvent>,
    ) -> Self {
        let (notes, inbox) = mpsc::channel(NOTES);
        let clock = MonoClock::start();
        let engine = Engine::new(config, seed, clock.stamp(identity.trust().clock()));
        Self {
            engine,
            clock,
            endpoint,
            directory: Directory::new(identity.key()),
            identity,
            board,
            images: Vec::new(),
            asked: BTreeMap::new(),
            deciding: BTreeMap::new(),
            serving: BTreeMap::new(),
            notes,
            events,
            fetch_budget: Arc::new(Semaphore::new(BUDGET)),
            serve_budget: Arc::new(Semaphore::new(BUDGET)),
            inputs: VecDeque::new(),
            idle: Vec::new(),
            inbox,
            next_link: 0,
            next_serve: Arc::default(),
        }
    }

    /// Runs until it is told to stop, or the handle is dropped.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let sockets = self.endpoint.local_addrs().count();
        let acceptors: Vec<_> = (0..sockets).map(|socket| tokio::spawn(self.acceptor(socket))).collect();
        loop {
            let far = Instant::now() + core::time::Duration::from_secs(3600);
            let wake = self.engine.poll_timeout().map_or(far, |(at, _)| self.clock.instant(at).into());
            tokio::select! {
                command = commands.recv() => match command {
                    None | Some(Command::Stop) => break,
                    Some(command) => self.command(command),
                },
                // Never `None`: the driver holds a sender itself.
                Some(note) = self.inbox.recv() => {
                    hear::note(&mut self, note);
                    // More may have come meanwhile; the engine's timer is looked at once for all of them.
                    while let Ok(note) = self.inbox.try_recv() {
                        hear::note(&mut self, note);
                    }
                },
                () = sleep_until(wake) => self.input(Input::Tick),
            }
            if self.serving.is_empty() {
                self.idle.drain(..).for_each(|waiting| {
                    let _ = waiting.send(());
                });
            }
        }
        acceptors.iter().for_each(tokio::task::JoinHandle::abort);
        self.endpoint.close("the member leaves").await;
    }

    /// Takes callers on one socket.
    fn acceptor(&self, socket: usize) -> impl Future<Output = ()> + Send + use<> {
        let (endpoint, identity) = (Arc::clone(&self.endpoint), self.identity.clone());
        let (notes, board) = (self.notes.clone(), Arc::clone(&self.board));
        async move {
            while let Some(incoming) = endpoint.incoming(socket).await {
                if board.is_paused() {
                    incoming.refuse();
                    board.turn_away();
                    continue;
                }
                let (endpoint, identity) = (Arc::clone(&endpoint), identity.clone());
                let (notes, images) = (notes.clone(), board.versions());
                drop(tokio::spawn(async move {
                    let Some(connection) = endpoint.handshake(incoming).await else { return };
                    let from = connection.remote_address();
                    match greet(connection, &identity, images, false).await {
                        Ok(fresh) => drop(notes.send(Note::Up(Box::new(fresh))).await),
                        Err(why) => tracing::debug!(%from, %why, "caller gone after its handshake"),
                    }
                }));
            }
        }
    }

    /// Hands an input to the engine and does what it says, until it says nothing more.
    pub(super) fn input(&mut self, input: Input) {
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front() {
            let now = self.clock.stamp(self.identity.trust().clock());
            self.engine.handle_input(now, input);
            while let Some(output) = self.engine.poll_output() {
                act::output(self, output);
            }
        }
    }

    /// An input that follows from an output: handed in after the outputs that are under way.
    pub(super) fn later(&mut self, input: Input) {
        self.inputs.push_back(input);
    }

    pub(super) fn event(&self, event: SwarmEvent) {
        // A quarter of the room is kept for what must not get lost.
        let room = self.events.capacity() * 4 > self.events.max_capacity();
        if (room || !event.is_chatter())
            && let Err(error) = self.events.try_send(event)
        {
            tracing::debug!(%error, "nobody reads the swarm's events");
        }
    }

    pub(super) fn image(&self, ix: ImageIx) -> Option<&Arc<Image>> {
        self.images.get(usize::from(ix.0))
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Image { version, store, held, added } => {
                let done = self.add_image(version, store, &held);
                let _ = added.send(done);
            }
            Command::Peers(peers) => self.add_peers(&peers),
            Command::Rack { size, cap } => self.input(Input::Rack { size, cap }),
            Command::Revoke(keys) => self.revoke(&keys),
            Command::Draining(draining) => self.input(Input::Draining(draining)),
            Command::WhenIdle(reply) => self.idle.push(reply),
            Command::Paused(paused) => {
                self.board.set_paused(paused);
                self.input(Input::Draining(paused));
                if paused {
                    self.say_goodbye();
                }
            }
            // Whoever asked may have gone.
            Command::Stats(reply) => drop(reply.send(self.engine.stats())),
            Command::Bye => self.say_goodbye(),
            Command::Connected(reply) => {
                let connected = self.directory.connected();
                drop(
                    reply.send(connected.map(|(_, peer, link)| (peer.key, link.connection.remote_address())).collect()),
                );
            }
            Command::Stop => {}
        }
    }

    /// Closes every connection; what is still being sent on it breaks off.
    fn say_goodbye(&self) {
        for (_, _, link) in self.directory.connected() {
            link.close(CloseCode::Bye, Some(PeerFrame::Bye));
        }
    }

    fn add_image(&mut self, version: VersionId, store: Arc<dyn UnitStore>, held: &[Run]) -> bool {
        if self.board.get(&version).is_some() {
            return true;
        }
        if self.images.len() >= IMAGES_MAX {
            return false;
        }
        let ix = ImageIx(u16::try_from(self.images.len()).unwrap_or(u16::MAX));
        let image = Arc::new(Image::new(version, ix, store, held));
        self.images.push(Arc::clone(&image));
        self.board.add(Arc::clone(&image));
        let geometry = image.store.geometry();
        self.input(Input::Image { image: ix, units: *geometry.units() });
        for run in image.held() {
            self.input(Input::Held { image: ix, run });
        }
        if let Some(table) = geometry.table() {
            let lens = table.entries().iter().map(|entry| entry.len).collect();
            self.input(Input::Table { image: ix, lens });
        }
        true
    }

    pub(super) fn add_peers(&mut self, peers: &[PeerInfo]) {
        let rack = self.identity.membership().rack;
        let mut candidates = Vec::with_capacity(peers.len());
        for info in peers {
            if let Some(peer) = self.directory.named(info) {
                let same_rack = info.rack.is_none() || rack.is_none() || info.rack == rack;
                let kind = if info.head { PeerKind::Head } else { PeerKind::Node };
                candidates.push(Candidate { peer, kind, same_rack });
            }
        }
        if !candidates.is_empty() {
            self.input(Input::Candidates(candidates));
        }
    }

    fn revoke(&mut self, keys: &[PublicKey]) {
        let fresh = self.identity.trust().revoke(keys);
        for key in &fresh {
            if let Some(peer) = self.directory.find(key) {
                self.input(Input::Revoked { peer });
            }
        }
        for keys in fresh.chunks(REVOKED_MAX) {
            for (_, _, link) in self.directory.connected() {
                link.send(PeerFrame::Revoked { keys: keys.to_vec() });
            }
        }
    }
}
