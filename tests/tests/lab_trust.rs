//! Who is no member gets nothing, from the head or from any peer: the real programs, and an outsider in a namespace beside them.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wulfpack_head::admin::{AdminClient, TicketAnswer, TicketFor, TicketRequest};
use wulfpack_head::config::ClusterKeys;
use wulfpack_head::join::membership;
use wulfpack_shared::id::{BootId, VersionId};
use wulfpack_shared::identity::{HeadAddr, Membership, Role, SecretKey, SignedMembership, Ticket};
use wulfpack_shared::image::Run;
use wulfpack_shared::limits::CLOCK_TOLERANCE;
use wulfpack_shared::net::clock::ClusterClock;
use wulfpack_shared::net::control::ControlClient;
use wulfpack_shared::net::endpoint::{DataEndpoint, DataSocket, Tuning};
use wulfpack_shared::net::tls::{Identity, Trust};
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::{
    self, ChunkAsk, ChunkReply, ControlRequest, ControlResponse, DataAddrs, JoinAnswer, JoinPurpose, JoinRequest,
    PeerFrame, PeerInfo, Refusal, RefusalReason, RenewRequest, ReportBatch, TrackRequest, Want,
};
use wulfpack_tests::cluster::Hosts;
use wulfpack_tests::harness::{Fetch, Port};

const SOON: Duration = Duration::from_secs(120);
const PATIENCE: Duration = Duration::from_secs(20);
const SEED: Duration = Duration::from_secs(3600);
/// What `wulf-agent fetch` exits with.
const REFUSED: i32 = 4;

/// Runs `work` in the namespace of `port`, where its sockets belong.
fn inside<T: Send, F: Future<Output = Result<T>>>(port: &Port, work: impl FnOnce() -> F + Send) -> Result<T> {
    port.namespace.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(work())
    })?
}

fn data(port: &Port) -> DataAddrs {
    DataAddrs { port: 9999, ips: vec![port.address().into()] }
}

/// Joins as an agent does that wants to fetch.
async fn join(port: &Port, ticket: &Ticket, key: &SecretKey) -> Result<Result<JoinAnswer, Refusal>> {
    let request = JoinRequest {
        token: ticket.token.clone(),
        purpose: JoinPurpose::Fetch { image: None },
        agent: "test".into(),
        boot: BootId([1; 16]),
        nonce: [1; 16],
        data: data(port),
        arch: "x86_64".into(),
        memory: 1 << 30,
        clock_offset_ms: 0,
    };
    let client = ControlClient::new(ticket.heads.clone(), key)?;
    match client.request(ControlRequest::Join(Box::new(request))).await? {
        ControlResponse::Joined(answer) => Ok(Ok(*answer)),
        ControlResponse::Refused(refusal) => Ok(Err(refusal)),
        other => Err(anyhow!("an answer to another question: {other:?}")),
    }
}

fn framed(message: &impl Serialize) -> Result<Vec<u8>> {
    let body = wire::encode(message);
    Ok([&u32::try_from(body.len())?.to_le_bytes()[..], &body].concat())
}

/// Shows `identity` to a member and asks it for a run of the image; returns the bytes, or why there are none.
async fn ask(port: &Port, identity: Identity, peer: &PeerInfo, image: VersionId) -> Result<Vec<u8>> {
    let socket = DataSocket::bind((port.address(), 0).into(), None)?;
    let endpoint = DataEndpoint::start(vec![socket], identity, Tuning::default(), 16)?;
    let address = *peer.addrs.first().context("the peer has no address")?;
    // The far end says what it thinks of a certificate only after the dialler believes that the connection stands.
    let connection = endpoint.dial(address, peer.key).await?;
    let talk = async {
        let (mut frames, mut heard) = connection.open_bi().await?;
        frames.write_all(&framed(&PeerFrame::Hello { version: wire::VERSION, images: vec![image] })?).await?;
        let mut len = [0; 4];
        heard.read_exact(&mut len).await?;
        let (mut send, mut answer) = connection.open_bi().await?;
        let want =
            if peer.head { Want::Rarest { max_bytes: 1, starved: false, after: 0 } } else { Want::Run(Run::one(0)) };
        send.write_all(&framed(&ChunkAsk { image, want })?).await?;
        let said: ChunkReply = read(&mut len, async |bytes| Ok(answer.read_exact(bytes).await?)).await?;
        match said {
            ChunkReply::Units(_) => Ok(answer.read_to_end(64 << 20).await?),
            other => Err(anyhow!("it answered {other:?}")),
        }
    };
    let result = tokio::time::timeout(PATIENCE, talk).await.context("it said nothing")?;
    match (result, connection.close_reason()) {
        (Err(_), Some(reason)) => Err(anyhow!("{reason}")),
        (result, _) => result,
    }
}

/// Reads one message with its length.
async fn read<T: DeserializeOwned>(
    len: &mut [u8; 4],
    mut exact: impl AsyncFnMut(&mut [u8]) -> Result<()>,
) -> Result<T> {
    exact(len).await?;
    let mut bytes = vec![0; usize::try_from(u32::from_le_bytes(*len))?];
    exact(&mut bytes).await?;
    Ok(wire::decode::<T, 1024>(&bytes)?)
}

/// A cluster with a head and a host that has fetched and serves, and what somebody beside them may know of both.
struct Scene {
    hosts: Hosts,
    seed: Fetch,
    keys: ClusterKeys,
    peers: Vec<PeerInfo>,
    image: VersionId,
    heads: Vec<HeadAddr>,
}

/// Who comes.
struct Caller {
    key: SecretKey,
    certificate: SignedMembership,
    clock: UnixTime,
}

fn now() -> UnixTime {
    ClusterClock::system().now()
}

impl Scene {
    fn set(name: &str) -> Result<Self> {
        let hosts = Hosts::prepare(name, 2, None)?;
        let seed = hosts.fetch(0, SEED)?;
        seed.report(SOON)?;
        let ticket: Ticket = hosts.ticket(1)?.parse()?;
        let (port, heads) = (hosts.port(1)?, ticket.heads.clone());
        // An honest member, to learn from the tracker where the others are.
        let answer = inside(port, || async { join(port, &ticket, &SecretKey::from_seed([7; 32])).await })?;
        let answer = answer.map_err(|refusal| anyhow!("refused: {}", refusal.text))?;
        assert!(answer.peers.iter().any(|peer| peer.head) && answer.peers.iter().any(|peer| !peer.head));
        let keys = ClusterKeys::load(hosts.head.paths())?;
        Ok(Self { seed, keys, peers: answer.peers, image: answer.image.id(), heads, hosts })
    }

    fn membership(&self, key: &SecretKey) -> Result<Membership> {
        Ok(membership(key.public(), "n2".parse()?, Role::Node, None, now(), 0))
    }

    /// Calls every member; they all have to send the caller away, and to say why in their logs and to the caller.
    fn all_refuse(&self, caller: &Caller, why: &str) -> Result<()> {
        let logs = [self.hosts.head.log()?, self.seed.process.console()];
        let heard = logs.map(|log| log.len());
        for error in self.call(caller)?.into_iter().map(|bytes| bytes.err().context("the caller got bytes")) {
            let error = format!("{:#}", error?);
            assert!(error.contains(why), "{error}");
        }
        for (log, from) in logs.into_iter().zip(heard) {
            let behind = log.wait_for_after(from, "caller refused", SOON)?;
            log.wait_for_after(behind, why, SOON)?;
        }
        Ok(())
    }

    fn call(&self, caller: &Caller) -> Result<Vec<Result<Vec<u8>>>> {
        let port = self.hosts.port(1)?;
        // It believes the cluster as well as itself: it is the others that have to refuse.
        let trusted = vec![self.keys.public(), caller.certificate.signer];
        inside(port, || async {
            let mut answers = vec![];
            for peer in &self.peers {
                let trust = Trust::new(trusted.clone(), ClusterClock::at(caller.clock));
                let identity = Identity::new(caller.key.clone(), &caller.certificate, trust)?;
                answers.push(ask(port, identity, peer, self.image).await);
            }
            Ok(answers)
        })
    }
}

#[test]
fn who_is_of_another_cluster_or_too_late_gets_no_chunk_from_head_or_peer_and_both_say_why() -> Result<()> {
    let scene = Scene::set("outsider")?;
    let served = |scene: &Scene| -> Result<u64> {
        Ok(scene.hosts.head.status(0)?.head.images.iter().map(|image| image.sent).sum())
    };
    let before = served(&scene)?;
    let key = SecretKey::from_seed([8; 32]);
    let fresh = scene.membership(&key)?;

    // Nobody but itself vouches for it.
    let certificate = SignedMembership::sign(&fresh, &key);
    let caller = Caller { key: key.clone(), certificate, clock: now() };
    scene.all_refuse(&caller, "not a key of this cluster")?;
    // Well-formed in every way, of a cluster that is not this one, and says it is a head.
    let foreign = SecretKey::from_seed([9; 32]);
    let certificate = SignedMembership::sign(&Membership { role: Role::Head, ..fresh.clone() }, &foreign);
    let caller = Caller { key: key.clone(), certificate, clock: now() };
    scene.all_refuse(&caller, "not a key of this cluster")?;
    // It names this cluster's key as its signer.
    let mut certificate = SignedMembership::sign(&fresh, &foreign);
    let genuine = scene.keys.certify(&fresh);
    certificate.signature =
        SignedMembership::sign(&Membership { epoch: 1, ..fresh.clone() }, scene.keys.newest()).signature;
    certificate.signer = genuine.signer;
    let trust = Trust::new(vec![scene.keys.public()], ClusterClock::system());
    assert!(Identity::new(key.clone(), &certificate, trust).is_err(), "not even it would believe that");
    // This cluster's own certificate, whose time is over by more than clocks may differ.
    let over = now() - CLOCK_TOLERANCE * 2;
    let expired = Membership { not_after: over, ..fresh };
    let caller = Caller { key: key.clone(), certificate: scene.keys.certify(&expired), clock: over };
    scene.all_refuse(&caller, "is valid from")?;
    assert_eq!(served(&scene)?, before, "the head sent something");

    // The same caller with a certificate that counts is served by both: it was not for another reason that it got nothing.
    let caller = Caller { key, certificate: genuine, clock: now() };
    for bytes in scene.call(&caller)? {
        assert!(!bytes?.is_empty());
    }
    assert!(served(&scene)? > before);
    let Scene { hosts, seed, .. } = scene;
    drop(seed);
    hosts.succeeded();
    Ok(())
}

#[test]
fn a_key_that_never_joined_is_told_nothing_by_the_control_plane() -> Result<()> {
    let scene = Scene::set("no-member")?;
    let port = scene.hosts.port(1)?;
    let stranger = SecretKey::from_seed([8; 32]);
    let foreign = SignedMembership::sign(&scene.membership(&stranger)?, &SecretKey::from_seed([9; 32]));
    // A member's own certificate, in another's hand.
    let member = SecretKey::from_seed([7; 32]);
    let stolen = scene.keys.certify(&scene.membership(&member)?);
    let forgotten = Membership { not_after: now() - CLOCK_TOLERANCE * 2, ..scene.membership(&stranger)? };
    let forgotten = scene.keys.certify(&forgotten);
    let track = TrackRequest { data: data(port), images: vec![], want: 8, have: vec![], leaving: false };
    let requests = [
        (ControlRequest::Track(track), "no valid certificate"),
        (
            ControlRequest::Report(ReportBatch { boot: BootId([1; 16]), events: vec![], swarm: None }),
            "no valid certificate",
        ),
        (renewal(foreign), "not a key of this cluster"),
        (renewal(stolen), "belongs to another key"),
        (renewal(forgotten), "do not remember it"),
    ];
    for (request, why) in requests {
        let answer =
            inside(port, || async { Ok(ControlClient::new(scene.heads.clone(), &stranger)?.request(request).await?) })?;
        let ControlResponse::Refused(refusal) = answer else { panic!("{answer:?}") };
        assert_eq!(refusal.reason, RefusalReason::NotMember, "{}", refusal.text);
        assert!(refusal.text.contains(why), "{}", refusal.text);
    }
    let Scene { hosts, seed, .. } = scene;
    drop(seed);
    hosts.succeeded();
    Ok(())
}

fn renewal(certificate: SignedMembership) -> ControlRequest {
    ControlRequest::Renew(RenewRequest { certificate, nonce: [2; 16] })
}

#[test]
fn a_ticket_whose_time_is_over_admits_nobody() -> Result<()> {
    let hosts = Hosts::prepare("late", 1, None)?;
    let request = TicketRequest { subject: TicketFor::Node("n1".parse()?), life_s: 1 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let admin = AdminClient::new(&hosts.head.paths().admin_socket());
    let answer: TicketAnswer = runtime.block_on(admin.post("/v1/ticket", &request))?;
    while now() <= answer.expires {
        std::thread::sleep(answer.expires.distance(now()) + Duration::from_millis(1));
    }
    let fetch = Fetch::start(&hosts.lab, hosts.port(0)?, &answer.ticket, SEED)?;
    assert_eq!(fetch.process.wait(SOON)?.code(), Some(REFUSED), "{}", fetch.process.console().tail(5));
    assert!(fetch.process.console().text().contains("join token refused: it expired at"));
    assert!(!fetch.file.exists());
    hosts.head.log()?.wait_for("join token refused: it expired at", SOON)?;
    hosts.succeeded();
    Ok(())
}

#[test]
fn a_host_that_meets_another_head_than_its_ticket_names_tells_it_nothing() -> Result<()> {
    let hosts = Hosts::prepare("other-head", 1, None)?;
    let ticket: Ticket = hosts.ticket(0)?.parse()?;
    let other = SecretKey::from_seed([3; 32]).public();
    let heads = ticket.heads.iter().map(|head| HeadAddr { key: other, ..*head }).collect();
    let misled = Ticket { heads, ..ticket.clone() };
    let port = hosts.port(0)?;
    let ask = |ticket: &Ticket, seed: u8| {
        inside(port, || async { join(port, ticket, &SecretKey::from_seed([seed; 32])).await })
    };
    let error = format!("{:#}", ask(&misled, 8).err().context("it was believed")?);
    assert!(error.contains("another key answers there"), "{error}");
    // The token was shown to nobody: it still counts for the first key that shows it.
    assert!(ask(&ticket, 9)?.is_ok());
    hosts.succeeded();
    Ok(())
}
