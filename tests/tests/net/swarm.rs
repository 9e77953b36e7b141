//! The swarm on real sockets over loopback: head, nodes, and those who do not play by the rules.

use crate::common::{Cluster, Gate, Liar, Member, until};
use wulfpack_shared::image::{Run, cut};
use wulfpack_shared::net::endpoint::DataEndpoint;
use wulfpack_shared::net::store::StoreError;
use wulfpack_shared::net::swarm::SwarmEvent;
use wulfpack_shared::wire::{self, ChunkAsk, ChunkReply, PeerFrame, VERSION, Want};

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_end_with_the_bytes_of_the_head() {
    let cluster = Cluster::new(6 << 20);
    let head = cluster.head(1).await;
    let mut nodes = Vec::new();
    for n in 2..5 {
        nodes.push(cluster.node(n).await);
    }
    let everybody: Vec<_> = nodes.iter().map(|node| node.info()).chain([head.info()]).collect();
    for node in &nodes {
        node.swarm.add_peers(everybody.clone()).await.unwrap();
    }
    let version = cluster.version();
    for node in &mut nodes {
        node.event(|event| *event == SwarmEvent::PagesComplete { image: version }).await;
        node.event(|event| *event == SwarmEvent::Complete { image: version }).await;
        assert!(node.blob() == cluster.blob, "the bytes differ");
        let summary = node.swarm.summary(&version);
        assert_eq!(summary.from_heads + summary.from_peers, cluster.transferred());
        assert_eq!((summary.held, summary.total, summary.corrupt), (cluster.units(), cluster.units(), 0));
        assert_eq!(node.swarm.held(&version), [Run { first: 0, count: cluster.units() }]);
    }
    let received: u64 = nodes.iter().map(|node| node.swarm.summary(&version).from_heads).sum();
    let served = until(|| {
        let served = head.swarm.summary(&version).served;
        (served >= received).then_some(served)
    });
    assert!(served.await >= received);
}

#[tokio::test(flavor = "multi_thread")]
async fn corrupt_bytes_are_refused_and_the_fetch_completes() {
    let cluster = Cluster::new(3 << 20);
    let head = cluster.head(1).await;
    let liar = cluster.seed(2, |store| Liar { store, from: 1 }).await;
    let mut node = cluster.node(3).await;
    // The table's page is right, so that chunks are asked for; each of them is wrong.
    node.swarm.add_peers(vec![liar.info()]).await.unwrap();
    let key = liar.key();
    node.event(|event| matches!(event, SwarmEvent::CorruptFrom { peer, .. } if *peer == key)).await;
    node.swarm.add_peers(vec![head.info()]).await.unwrap();
    node.event(|event| matches!(event, SwarmEvent::Complete { .. })).await;
    assert!(node.blob() == cluster.blob);
    let summary = node.swarm.summary(&cluster.version());
    assert!(summary.corrupt >= 1 && summary.wasted > 0, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_whose_disk_went_bad_says_so_itself_and_sends_the_rest() {
    let cluster = Cluster::new(3 << 20);
    let rotten = cluster.spoil(0);
    let mut seed = cluster.seed(1, |store| store).await;
    let mut node = cluster.node(2).await;
    node.swarm.add_peers(vec![seed.info()]).await.unwrap();
    let version = cluster.version();
    seed.event(|event| *event == SwarmEvent::Rotten { image: version, unit: rotten }).await;
    let all_but_one = || (node.swarm.summary(&version).held == cluster.units() - 1).then_some(());
    until(all_but_one).await;
    assert_eq!(node.swarm.summary(&version).corrupt, 0, "nobody was sent a wrong byte");
    assert_eq!(seed.swarm.summary(&version).held, cluster.units() - 1);
    cluster.mend(0);
    let head = cluster.head(3).await;
    node.swarm.add_peers(vec![head.info()]).await.unwrap();
    node.event(|event| matches!(event, SwarmEvent::Complete { .. })).await;
    assert!(node.blob() == cluster.blob);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_dies_in_the_middle_costs_only_time() {
    let cluster = Cluster::new(4 << 20);
    let gate = Gate::closed_after(3);
    let dying = cluster.seed(2, |store| gate.before(store)).await;
    let mut node = cluster.node(3).await;
    node.swarm.add_peers(vec![dying.info()]).await.unwrap();
    gate.reached().await;
    dying.swarm.shutdown().await;
    gate.open();
    let head = cluster.head(1).await;
    node.swarm.add_peers(vec![head.info()]).await.unwrap();
    node.event(|event| matches!(event, SwarmEvent::Complete { .. })).await;
    assert!(node.blob() == cluster.blob);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_covered_the_head_may_go() {
    let cluster = Cluster::new(3 << 20);
    let mut head = cluster.head(1).await;
    let (mut a, mut b, mut c) = (cluster.node(2).await, cluster.node(3).await, cluster.node(4).await);
    a.swarm.add_peers(vec![head.info(), b.info()]).await.unwrap();
    b.swarm.add_peers(vec![head.info(), a.info()]).await.unwrap();
    let version = cluster.version();
    head.event(|event| *event == SwarmEvent::Covered { image: version }).await;
    head.swarm.shutdown().await;
    c.swarm.add_peers(vec![a.info(), b.info()]).await.unwrap();
    for node in [&mut a, &mut b, &mut c] {
        node.event(|event| *event == SwarmEvent::Complete { image: version }).await;
        assert!(node.blob() == cluster.blob);
    }
    assert_eq!(c.swarm.summary(&version).from_heads, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_does_not_end_the_swarm() {
    let cluster = Cluster::new(1 << 20);
    let head = cluster.head(1).await;
    let mut node = cluster.node_with(2, |store| crate::common::Full { store }).await;
    node.swarm.add_peers(vec![head.info()]).await.unwrap();
    let told = node.event(|event| matches!(event, SwarmEvent::StoreFull(_) | SwarmEvent::StoreFailed(_))).await;
    let full = StoreError::Full { path: "/full".into(), source: std::io::ErrorKind::StorageFull.into() };
    assert_eq!(told, SwarmEvent::StoreFull(full.to_string()));
    assert_eq!(node.swarm.summary(&cluster.version()).held, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_nothing_and_is_told_why() {
    let cluster = Cluster::new(1 << 20);
    let head = cluster.head(1).await;
    let stranger = cluster.outsider(&Cluster::foreign(1 << 20), 2);
    let error = ask(&cluster, &head, &stranger).await.unwrap_err();
    assert!(error.contains("not a key of this cluster"), "{error}");
    assert_eq!(head.swarm.connected().await.unwrap(), []);
    assert_eq!(head.swarm.summary(&cluster.version()).served, 0);
    // With a certificate of this cluster the same words get units.
    let member = cluster.outsider(&cluster, 2);
    assert_eq!(ask(&cluster, &head, &member).await.unwrap(), framed(&ChunkReply::Units(Run::one(0))));
}

#[tokio::test(flavor = "multi_thread")]
async fn garbled_and_huge_frames_close_the_connection_and_nothing_else() {
    let cluster = Cluster::new(1 << 20);
    let head = cluster.head(1).await;
    let rogue = cluster.endpoint(9);
    let hello = |first: &[u8]| [first, &framed(&PeerFrame::Hello { version: VERSION, images: vec![] })].concat();
    let huge = u32::MAX.to_le_bytes();
    let garbled = [&hello(&[])[..], &4u32.to_le_bytes(), &[0xff; 4]].concat();
    let huge_later = [&hello(&[])[..], &huge].concat();
    for bytes in [hello(&huge), garbled, huge_later] {
        let connection = rogue.dial(head.addr(), head.key()).await.unwrap();
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        let why = connection.closed().await.to_string();
        assert!(why.contains("message"), "{why}");
    }
    // The same as a request.
    let connection = rogue.dial(head.addr(), head.key()).await.unwrap();
    let (mut frames, _recv) = connection.open_bi().await.unwrap();
    frames.write_all(&hello(&[])).await.unwrap();
    let (mut ask, _recv) = connection.open_bi().await.unwrap();
    ask.write_all(&huge).await.unwrap();
    let why = connection.closed().await.to_string();
    assert!(why.contains("longer than the limit"), "{why}");
    let mut node = cluster.node(3).await;
    node.swarm.add_peers(vec![head.info()]).await.unwrap();
    node.event(|event| matches!(event, SwarmEvent::Complete { .. })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anonymous_member_gets_its_image_and_no_other() {
    let cluster = Cluster::new(1 << 20);
    let head = cluster.head(1).await;
    let mut good = cluster.anonymous(2, "debian").await;
    good.swarm.add_peers(vec![head.info()]).await.unwrap();
    good.event(|event| matches!(event, SwarmEvent::Complete { .. })).await;
    for (image, reply) in [("debian", ChunkReply::Units(Run::one(0))), ("other", ChunkReply::Refused)] {
        let asker = cluster.anonymous_endpoint(3, image);
        let said = ask(&cluster, &head, &asker).await.unwrap();
        assert_eq!(said, framed(&reply), "a member for {image}");
        asker.close("done").await;
    }
}

/// Says hello to the head and asks for a unit; its whole first answer, or why there is none.
async fn ask(cluster: &Cluster, head: &Member, asker: &DataEndpoint) -> Result<Vec<u8>, String> {
    let connection = asker.dial(head.addr(), head.key()).await.map_err(|error| error.to_string())?;
    let talk = async {
        let (mut frames, mut heard) = connection.open_bi().await.ok()?;
        frames.write_all(&framed(&PeerFrame::Hello { version: VERSION, images: vec![] })).await.ok()?;
        heard.read_exact(&mut [0; 4]).await.ok()?;
        let (mut ask, mut answer) = connection.open_bi().await.ok()?;
        let wanted =
            ChunkAsk { image: cluster.version(), want: Want::Rarest { max_bytes: 1, starved: false, after: 0 } };
        ask.write_all(&framed(&wanted)).await.ok()?;
        let mut said = vec![0; 4];
        answer.read_exact(&mut said).await.ok()?;
        let len = u32::from_le_bytes([said[0], said[1], said[2], said[3]]);
        said.resize(4 + len as usize, 0);
        answer.read_exact(&mut said[4..]).await.ok()?;
        Some(said)
    };
    match talk.await {
        Some(said) => Ok(said),
        None => Err(connection.closed().await.to_string()),
    }
}

fn framed(message: &impl serde::Serialize) -> Vec<u8> {
    let body = wire::encode(message);
    [&(body.len() as u32).to_le_bytes()[..], &body].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_member_is_cut_off() {
    let cluster = Cluster::new(1 << 20);
    let head = cluster.head(1).await;
    let mut node = cluster.node(2).await;
    node.swarm.add_peers(vec![head.info()]).await.unwrap();
    node.event(|event| matches!(event, SwarmEvent::Complete { .. })).await;
    head.swarm.revoke(vec![node.key()]).await.unwrap();
    let dialler = cluster.endpoint(2);
    let connection = dialler.dial(head.addr(), head.key()).await.unwrap();
    let why = connection.closed().await.to_string();
    assert!(why.contains("revoked"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_drains_says_goodbye() {
    let cluster = Cluster::new(1 << 20);
    let head = cluster.head(1).await;
    let mut node = cluster.node(2).await;
    node.swarm.add_peers(vec![head.info()]).await.unwrap();
    node.event(|event| matches!(event, SwarmEvent::Complete { .. })).await;
    head.swarm.drain(core::time::Duration::from_secs(20)).await.unwrap();
    until(|| (node.swarm.summary(&cluster.version()).peers == 0).then_some(())).await;
    head.swarm.shutdown().await;
    node.swarm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_member_lets_everybody_go_and_takes_nobody_until_it_resumes() {
    let cluster = Cluster::new(2 << 20);
    let (seed, mut first) = (cluster.seed(1, |store| store).await, cluster.node(2).await);
    first.swarm.add_peers(vec![seed.info()]).await.unwrap();
    first.event(|event| matches!(event, SwarmEvent::Complete { .. })).await;
    seed.swarm.set_paused(true).await.unwrap();
    let alone = async {
        while !seed.swarm.connected().await.unwrap().is_empty() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), alone).await.unwrap();
    let caller = cluster.endpoint(9);
    assert!(caller.dial(seed.addr(), seed.key()).await.is_err(), "a paused member took a caller");
    seed.swarm.set_paused(false).await.unwrap();
    let mut second = cluster.node(3).await;
    second.swarm.add_peers(vec![seed.info()]).await.unwrap();
    second.event(|event| matches!(event, SwarmEvent::Complete { .. })).await;
    assert!(second.blob() == cluster.blob);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_another_image_has_are_fetched_once() {
    let (old, new) = (Cluster::new(2 << 20), Cluster::new(3 << 20));
    let (first, second) = (old.head(1).await, new.head(3).await);
    let mut node = old.node(2).await;
    node.swarm.add_peers(vec![first.info()]).await.unwrap();
    node.event(|event| matches!(event, SwarmEvent::Complete { .. })).await;
    new.begin(&node, 2).await;
    node.swarm.add_peers(vec![second.info()]).await.unwrap();
    node.event(|event| matches!(event, SwarmEvent::Complete { image } if *image == new.version())).await;
    let (mut shared, mut end) = (0, 0);
    cut(&new.blob[..], |chunk| {
        end += chunk.len();
        shared += if end <= old.blob.len() { chunk.len() as u64 } else { 0 };
    })
    .unwrap();
    let fetched = node.swarm.summary(&new.version()).from_heads;
    assert!(shared > 0);
    assert_eq!(fetched, new.transferred() - shared);
    // And it serves them for both.
    let mut third = new.node(4).await;
    third.swarm.add_peers(vec![node.info()]).await.unwrap();
    third.event(|event| matches!(event, SwarmEvent::Complete { .. })).await;
    assert!(third.blob() == new.blob);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_heads_share_the_work_and_one_of_them_may_die() {
    let cluster = Cluster::new(24 << 20);
    let (first, second) = (cluster.head(1).await, cluster.head(2).await);
    let mut nodes = [cluster.node(3).await, cluster.node(4).await, cluster.node(5).await];
    let everybody: Vec<_> = [&first, &second].into_iter().chain(&nodes).map(Member::info).collect();
    for node in &nodes {
        node.swarm.add_peers(everybody.clone()).await.unwrap();
    }
    let version = cluster.version();
    let served = |head: &Member| head.swarm.summary(&version).served;
    until(|| (served(&first) > 1 << 20 && served(&second) > 1 << 20).then_some(())).await;
    first.swarm.shutdown().await;
    for node in &mut nodes {
        node.event(|event| matches!(event, SwarmEvent::Complete { .. })).await;
        assert!(node.blob() == cluster.blob);
    }
    // Neither knows what the other sends before a node says that it has it: twice at the very most.
    let from_heads: u64 = nodes.iter().map(|node| node.swarm.summary(&version).from_heads).sum();
    assert!(from_heads < 2 * cluster.transferred(), "{from_heads} bytes from heads");
}
