//! Boots that wait for an administrator, and those that their node announced.

use tokio::sync::watch;
use tokio::task::JoinHandle;
use wulfpack_shared::id::{Mac, NodeName};
use wulfpack_shared::wire::{JoinPurpose, JoinRequest, Phase};

use super::*;
use crate::admin::{ApproveAnswer, ApproveRequest};
use crate::config::TokenEvidence;
use crate::fleet::{BootEvent, BootEvents as _};

const MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
const SCRIPT: &str = "/boot/52-54-00-00-00-01/script.ipxe";
const TOKEN: &str = "/boot/52-54-00-00-00-01/token";

/// A head with the node n1, whose boots have to be approved.
async fn demanding(last: u8) -> (Head, watch::Sender<bool>, JoinHandle<()>) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = set_up(dir.path(), last);
    let interface = config.interfaces.get_mut("lo").and_then(Option::as_mut).unwrap();
    interface.token = TokenEvidence::Approve;
    let node = "{image name: small, network devices: {default: {hwaddr: 52:54:00:00:00:01}}}";
    fs::write(config.paths.nodes_file(), format!("nodeprofiles: {{}}\nnodes:\n  n1: {node}\n")).unwrap();
    build(&config, &noise(100_000, 1));
    let head = start(dir, config).await;
    let (stop, told) = watch::channel(false);
    let writer = tokio::spawn(head.core.fleet.clone().write_to(Arc::clone(&head.core.store), told));
    (head, stop, writer)
}

async fn end((head, stop, writer): (Head, watch::Sender<bool>, JoinHandle<()>)) {
    stop.send_replace(true);
    writer.await.unwrap();
    head.services.control.shutdown().await;
}

fn n1() -> NodeName {
    "n1".parse().unwrap()
}

impl Head {
    async fn approve(&self) {
        let request = ApproveRequest { nodes: vec![n1()] };
        let answer: ApproveAnswer = self.client.post("/v1/approve", &request).await.unwrap();
        assert_eq!((answer.approved.len(), answer.not_waiting), (1, vec![]));
    }

    async fn body(&self, path: &str) -> String {
        self.http(path).await.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// n1's machine has loaded its kernel.
    fn loads(&self) {
        let (node, detail) = (Some(n1()), String::new());
        self.core.fleet.record(BootEvent { mac: MAC, node, phase: Phase::Kernel, ip: None, detail, bytes: 1 });
    }

    /// n1 joins with the token of its approved boot.
    async fn joins(&self, key: &SecretKey) -> ControlClient {
        let now = self.core.clock.now();
        let approved = self.core.fleet.look(|fleet| fleet.approved(&n1(), MAC, now)).unwrap();
        let request = JoinRequest {
            token: self.core.tokens.for_approved(&n1(), MAC, approved),
            purpose: JoinPurpose::Boot,
            agent: "0.1.0".into(),
            boot: BootId([7; 16]),
            nonce: [4; 16],
            data: DataAddrs { port: 9871, ips: vec![] },
            arch: "x86_64".into(),
            memory: 1 << 31,
            clock_offset_ms: 0,
        };
        let client = self.control(key);
        let answer = client.request(ControlRequest::Join(Box::new(request))).await.unwrap();
        assert!(matches!(answer, ControlResponse::Joined(_)), "{answer:?}");
        client
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_that_has_to_be_approved_waits_for_it() {
    let (head, stop, writer) = demanding(3).await;
    let waiting = head.http(SCRIPT).await;
    assert!(waiting.contains("wulf node approve n1") && waiting.contains("goto again"), "{waiting}");
    assert!(head.http(TOKEN).await.starts_with("HTTP/1.0 403 "));
    let message = head.status().await.nodes[0].message.clone().unwrap();
    assert!(message.contains("52:54:00:00:00:01 at 127.") && message.contains("waits for approval"), "{message}");

    head.approve().await;
    assert_eq!(head.status().await.nodes[0].message, None);
    assert!(head.http(SCRIPT).await.contains("kernel --name"));
    let given = head.http(TOKEN).await;
    assert!(given.starts_with("HTTP/1.0 200 "), "{given}");
    // It loads its kernel, fails, and begins again: one approval, one token.
    let first = head.body(TOKEN).await;
    head.loads();
    assert!(head.http(SCRIPT).await.contains("kernel --name"));
    assert_eq!(head.body(TOKEN).await, first);
    end((head, stop, writer)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_that_its_node_announced_waits_for_nobody_and_the_one_after_it_does() {
    let (head, stop, writer) = demanding(9).await;
    assert!(head.http(SCRIPT).await.contains("wulf node approve n1"));
    head.approve().await;
    assert!(head.http(SCRIPT).await.contains("kernel --name"));
    let first = head.body(TOKEN).await;
    head.loads();
    let node = head.joins(&SecretKey::generate().unwrap()).await;

    let expected = node.request(ControlRequest::NextBoot).await.unwrap();
    assert!(matches!(expected, ControlResponse::Expected { .. }), "{expected:?}");
    assert!(head.http(SCRIPT).await.contains("kernel --name"));
    let second = head.http(TOKEN).await;
    assert!(second.starts_with("HTTP/1.0 200 ") && !second.ends_with(&first), "{second}");
    assert_eq!(head.status().await.nodes[0].message, None);
    let who = head.core.store.audits(9).unwrap().pop().unwrap().who;
    assert_eq!(who, "node n1");

    // It comes up, and loses its power: nobody has announced that.
    head.loads();
    head.joins(&SecretKey::generate().unwrap()).await;
    assert!(head.http(SCRIPT).await.contains("wulf node approve n1"));
    assert!(head.http(TOKEN).await.starts_with("HTTP/1.0 403 "));
    end((head, stop, writer)).await;
}
