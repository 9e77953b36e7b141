//! A member's side of the control plane.

use core::fmt;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use libp2p::request_response::{Event, Message, OutboundFailure, OutboundRequestId, ProtocolSupport};
use libp2p::swarm::{DialError, SwarmEvent};
use libp2p::{PeerId, Swarm};
use libp2p_connection_limits::ConnectionLimits;
use tokio::sync::{mpsc, oneshot};

use super::behaviour::{ANSWER, Behaviour, BehaviourEvent, CONNECT, LISTENED, swarm};
use super::keys;
use crate::identity::{HeadAddr, SecretKey};
use crate::wire::{ControlRequest, ControlResponse, Refusal, RefusalReason};

/// How far an attempt to ask a head came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptPhase {
    /// TCP, Noise or Yamux: nobody is there, or somebody else.
    Connect,
    /// The connection stood; no answer came.
    Answer,
}

impl fmt::Display for AttemptPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Answer => "waiting for its answer",
        })
    }
}

/// One head that did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("head {} failed while {phase}: {why}", .head.control)]
pub struct Attempt {
    /// Which head.
    pub head: HeadAddr,
    /// How far it came.
    pub phase: AttemptPhase,
    /// What went wrong.
    pub why: String,
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// libp2p could not be set up.
    #[error("cannot set up the control plane: {0}")]
    Setup(String),
    /// No head answered.
    #[error("no head answers: {}", .attempts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Unreachable {
        /// What was tried, in order.
        attempts: Vec<Attempt>,
    },
}

type Reply = oneshot::Sender<Result<ControlResponse, (AttemptPhase, String)>>;

struct Command {
    head: HeadAddr,
    /// Over the protocol whose answers may take long.
    patient: bool,
    request: ControlRequest,
    reply: Reply,
}

/// Asks heads. It connects when it is asked to, and reconnects by itself; the connection closes when it is dropped.
#[derive(Debug)]
pub struct ControlClient {
    heads: Vec<HeadAddr>,
    preferred: AtomicUsize,
    commands: mpsc::Sender<Command>,
}

impl ControlClient {
    /// A client of these heads, the preferred one first, that shows the key `secret`. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// libp2p cannot be set up, or there is no head.
    pub fn new(heads: Vec<HeadAddr>, secret: &SecretKey) -> Result<Self, ControlError> {
        if heads.is_empty() {
            return Err(ControlError::Setup("no head is named".to_owned()));
        }
        let limits = ConnectionLimits::default().with_max_established_incoming(Some(0));
        let swarm = swarm(secret, ProtocolSupport::Outbound, limits).map_err(ControlError::Setup)?;
        let (commands, receiver) = mpsc::channel(16);
        let (asked, listening, dial_errors) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let client = Client { swarm, asked, listening, dial_errors };
        drop(tokio::spawn(client.run(receiver)));
        Ok(Self { heads, preferred: AtomicUsize::new(0), commands })
    }

    /// The heads, in the order in which they were given.
    pub fn heads(&self) -> &[HeadAddr] {
        &self.heads
    }

    /// Asks the head that answered last, then the others, until one answers. A head that is busy counts as an answer only if all
    /// are.
    ///
    /// # Errors
    /// No head answered; each is named with what went wrong.
    pub async fn request(&self, request: ControlRequest) -> Result<ControlResponse, ControlError> {
        self.ask_all(request, false).await
    }

    /// Like [`request`](Self::request), for one that may wait [`crate::limits::LISTEN_MAX`] for its answer.
    ///
    /// # Errors
    /// No head answered; each is named with what went wrong.
    pub async fn listen(&self, request: ControlRequest) -> Result<ControlResponse, ControlError> {
        self.ask_all(request, true).await
    }

    async fn ask_all(&self, request: ControlRequest, patient: bool) -> Result<ControlResponse, ControlError> {
        let first = self.preferred.load(Ordering::Relaxed);
        let (mut attempts, mut busy) = (Vec::new(), None);
        for step in 0..self.heads.len() {
            let index = (first + step) % self.heads.len();
            let Some(&head) = self.heads.get(index) else { continue };
            match self.ask(head, request.clone(), patient).await {
                Ok(response @ ControlResponse::Refused(Refusal { reason: RefusalReason::Busy, .. })) => {
                    busy = Some(response);
                }
                Ok(response) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(response);
                }
                Err((phase, why)) => attempts.push(Attempt { head, phase, why }),
            }
        }
        busy.ok_or(ControlError::Unreachable { attempts })
    }

    async fn ask(
        &self,
        head: HeadAddr,
        request: ControlRequest,
        patient: bool,
    ) -> Result<ControlResponse, (AttemptPhase, String)> {
        let (reply, answer) = oneshot::channel();
        let gone = || (AttemptPhase::Connect, "the control plane of this process has ended".to_owned());
        self.commands.send(Command { head, patient, request, reply }).await.map_err(|_| gone())?;
        // libp2p has timeouts of its own; this one only guards against their failing.
        let limit = CONNECT + Duration::from_secs(5) + if patient { LISTENED } else { ANSWER };
        match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer.map_err(|_| gone())?,
            Err(_) => Err((AttemptPhase::Answer, "no answer in time".to_owned())),
        }
    }
}

/// The task that owns libp2p's swarm.
struct Client {
    swarm: Swarm<Behaviour>,
    asked: BTreeMap<OutboundRequestId, Reply>,
    /// Numbers of requests are those of their protocol.
    listening: BTreeMap<OutboundRequestId, Reply>,
    /// The last failed dial of each head: libp2p reports it apart from the request that it failed.
    dial_errors: BTreeMap<PeerId, String>,
}

impl Client {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.ask(command),
                    None => return,
                },
                event = self.swarm.select_next_some() => self.event(event),
            }
        }
    }

    fn ask(&mut self, Command { head, patient, request, reply }: Command) {
        let Some(peer) = keys::peer_id(&head.key) else {
            // Nobody waits for it if this fails.
            drop(reply.send(Err((AttemptPhase::Connect, "its key is no ed25519 key".to_owned()))));
            return;
        };
        let addrs = vec![keys::multiaddr(head.control)];
        let behaviour = self.swarm.behaviour_mut();
        let (behaviour, waiting) = match patient {
            false => (&mut behaviour.control, &mut self.asked),
            true => (&mut behaviour.listen, &mut self.listening),
        };
        waiting.insert(behaviour.send_request_with_addresses(&peer, request, addrs), reply);
    }

    fn event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let (event, patient) = match event {
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => {
                self.dial_errors.insert(peer, dial_error(&error));
                return;
            }
            SwarmEvent::Behaviour(BehaviourEvent::Control(event)) => (event, false),
            SwarmEvent::Behaviour(BehaviourEvent::Listen(event)) => (event, true),
            _ => return,
        };
        let (id, result) = match event {
            Event::Message { message: Message::Response { request_id, response }, .. } => (request_id, Ok(response)),
            Event::OutboundFailure { peer, request_id, error, .. } => {
                let dial = self.dial_errors.remove(&peer);
                let failure = match error {
                    OutboundFailure::DialFailure => {
                        (AttemptPhase::Connect, dial.unwrap_or_else(|| "it cannot be dialled".to_owned()))
                    }
                    OutboundFailure::Io(error) => (AttemptPhase::Answer, error.to_string()),
                    error => (AttemptPhase::Answer, error.to_string()),
                };
                (request_id, Err(failure))
            }
            _ => return,
        };
        let waiting = if patient { &mut self.listening } else { &mut self.asked };
        if let Some(reply) = waiting.remove(&id) {
            // The asker may have given up.
            drop(reply.send(result));
        }
    }
}

/// libp2p's dial errors, for a person.
fn dial_error(error: &DialError) -> String {
    match error {
        DialError::WrongPeerId { .. } => {
            "another key answers there: this is not the head that was meant, or it has a new key".to_owned()
        }
        DialError::Transport(attempts) => {
            let innermost = |error: &(dyn std::error::Error + 'static)| {
                let mut error = error;
                while let Some(source) = error.source() {
                    error = source;
                }
                error.to_string()
            };
            attempts.iter().map(|(_, error)| innermost(error)).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}
