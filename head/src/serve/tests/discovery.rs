//! Machines that no registry knows, at a head that serves.

use std::collections::BTreeSet;

use wulfpack_shared::id::{Hash, Mac, NodeName};
use wulfpack_shared::wire::{
    Adoption, AwaitAdoption, DiscoverRequest, Inventory, JoinPurpose, JoinRequest, NicInfo, Refusal,
};

use super::*;
use crate::admin::{AdoptAnswer, AdoptRequest, DiscoverList, Event, ForgetAnswer, ForgetRequest};
use crate::boot::choose_kernel;
use crate::config::{AdoptRule, AdoptWhen, SubnetConfig};
use crate::discover::runs;
use crate::http::Versions as _;
use crate::registry::{History, Node, Registry};

const MACHINES: u8 = 20;

/// A head that discovers, with these nodes, which have an image.
async fn discovering(last: u8, nodes: &str, rules: Vec<AdoptRule>) -> Head {
    let dir = tempfile::tempdir().unwrap();
    let mut config = set_up(dir.path(), last);
    let on = SubnetConfig { discover: true, ..SubnetConfig::default() };
    config.dhcp.subnets.insert("127.0.0.0/8".parse().unwrap(), Some(on));
    config.discover.rules = rules;
    fs::write(config.paths.nodes_file(), format!("nodeprofiles: {{}}\nnodes:\n{nodes}")).unwrap();
    build(&config, &noise(100_000, 1));
    start(dir, config).await
}

/// Nodes n1 to n20.
fn twenty(fields: &str) -> String {
    (1..=MACHINES).map(|number| format!("  n{number}: {{image name: small{fields}}}\n")).collect()
}

/// A machine in discovery.
struct Machine {
    mac: Mac,
    key: SecretKey,
    client: ControlClient,
    token: Vec<u8>,
    boot: BootId,
}

impl Head {
    fn machine(&self, number: u8) -> Machine {
        let (key, mac) = (SecretKey::generate().unwrap(), Mac([0x52, 0x54, 0, 0, 1, number]));
        let now = self.core.clock.now();
        let token = self.core.tokens.for_discovery(now, (mac, true, self.runs()), now);
        let client = self.control(&key);
        Machine { mac, key, client, token, boot: BootId([number; 16]) }
    }

    /// What a machine runs that boots the image.
    fn runs(&self) -> Hash {
        let node = Node { image: Some("small".parse().unwrap()), ..Node::named("x".parse().unwrap()) };
        let version = self.core.catalogue.active(node.image.as_ref().unwrap()).unwrap();
        runs(choose_kernel(&node, &version.header).unwrap(), &node)
    }

    async fn discovered(&self) -> DiscoverList {
        self.client.get("/v1/discover").await.unwrap()
    }

    /// Whether an administrator sees an event with these words.
    async fn tells(&self, words: &str) -> bool {
        let (_stop, told) = tokio::sync::watch::channel(true);
        // Everything that was told before is in the store then.
        self.core.fleet.clone().write_to(Arc::clone(&self.core.store), told).await;
        let events: Vec<Event> = self.client.get("/v1/events?count=100").await.unwrap();
        events.iter().any(|event| event.record.text.contains(words))
    }
}

impl Machine {
    fn tells(&self) -> DiscoverRequest {
        let mut inventory = Inventory { memory: 1 << 34, ..Inventory::default() };
        inventory.system.serial = format!("SN{}", self.mac.0[5]);
        inventory.nics.push(NicInfo {
            name: "eth0".into(),
            mac: self.mac,
            driver: String::new(),
            slot: String::new(),
            speed: 0,
            carrier: true,
            neighbour: None,
        });
        let (token, mac, boot) = (self.token.clone(), self.mac, self.boot);
        DiscoverRequest { token, mac, boot, agent: "0.1.0".into(), inventory, complete: true }
    }

    async fn tell(&self, request: DiscoverRequest) -> Result<String, Refusal> {
        match self.client.request(ControlRequest::Discover(Box::new(request))).await.unwrap() {
            ControlResponse::Discovered(told) => Ok(told.text),
            ControlResponse::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    async fn wait(&self, mac: Mac, wait_s: u16) -> Result<Adoption, Refusal> {
        let request = AwaitAdoption { mac, boot: self.boot, wait_s };
        match self.client.listen(ControlRequest::AwaitAdoption(request)).await.unwrap() {
            ControlResponse::Adoption(adoption) => Ok(adoption),
            ControlResponse::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    /// The node that it becomes, and its join token.
    async fn adopted(&self) -> (NodeName, Vec<u8>) {
        loop {
            match self.wait(self.mac, 60).await.unwrap() {
                Adoption::Adopted { node, args, token } => {
                    assert!(args.contains(&format!("wulf.node={node}")), "{args}");
                    assert!(args.contains(&format!("wulf.mac={}", self.mac)) && !args.contains("discover"), "{args}");
                    return (node, token);
                }
                Adoption::Waiting { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn join(&self, token: &[u8]) -> Result<NodeName, Refusal> {
        let request = JoinRequest {
            token: token.to_vec(),
            purpose: JoinPurpose::Boot,
            agent: "0.1.0".into(),
            boot: self.boot,
            nonce: [4; 16],
            data: DataAddrs { port: 9871, ips: vec![] },
            arch: "x86_64".into(),
            memory: 1 << 31,
            clock_offset_ms: 0,
        };
        match self.client.request(ControlRequest::Join(Box::new(request))).await.unwrap() {
            ControlResponse::Joined(answer) => Ok(answer.node.unwrap().name),
            ControlResponse::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }
}

/// Twenty machines ask in the same moment; each becomes one node, and joins as that.
async fn race(head: &Head) {
    let machines: Vec<Machine> = (1..=MACHINES).map(|number| head.machine(number)).collect();
    let run = |machine: Machine| async move {
        machine.tell(machine.tells()).await.unwrap();
        let (node, token) = machine.adopted().await;
        assert_eq!(machine.join(&token).await.unwrap(), node);
        (node, machine.mac)
    };
    let racers: Vec<_> = machines.into_iter().map(|machine| tokio::spawn(run(machine))).collect();
    let mut names = BTreeSet::new();
    for racer in racers {
        let (node, mac) = racer.await.unwrap();
        assert_eq!(head.core.nodes.borrow().by_mac(mac).unwrap().name, node);
        assert!(names.insert(node.clone()), "{node} has two machines");
    }
    assert_eq!(names.len(), usize::from(MACHINES));
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_machines_race_for_twenty_discoverable_nodes() {
    let head = discovering(20, &twenty(", discoverable: true"), vec![]).await;
    race(&head).await;
    let late = head.machine(100);
    let text = late.tell(late.tells()).await.unwrap();
    assert!(text.contains("wulf node adopt 52:54:00:00:01:64"), "no node is left: {text}");
    assert_eq!(late.wait(late.mac, 0).await.unwrap(), Adoption::Waiting { text: String::new() });

    // What is written into the file is there, and is the same; then nothing is claimed any more.
    let claims = head.discovered().await.claims;
    assert_eq!(claims.len(), usize::from(MACHINES));
    let path = head.core.config.paths.nodes_file();
    let mut file = Registry::load(&path).unwrap().file().clone();
    for claim in &claims {
        let entry = file.nodes.get_mut(claim.node.as_str()).unwrap();
        let device =
            crate::registry::NetDev { hwaddr: Some(claim.mac.to_string().as_str().into()), ..Default::default() };
        entry.network_devices.insert("default".into(), device);
    }
    fs::write(&path, serde_saphyr::to_string(&file).unwrap()).unwrap();
    let settled = async {
        while !head.discovered().await.claims.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), settled).await.unwrap();
    for claim in claims {
        assert_eq!(head.core.nodes.borrow().by_mac(claim.mac).unwrap().name, claim.node);
    }
    assert!(History::new(head.core.config.paths.history()).last().unwrap().is_some());
    head.services.control.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_machines_race_for_the_names_of_a_rule() {
    let rule = AdoptRule {
        when: AdoptWhen { serial: Some("SN*".into()), ..AdoptWhen::default() },
        nodes: Some("n[1-20]".into()),
        ..AdoptRule::default()
    };
    let head = discovering(21, &twenty(""), vec![rule]).await;
    race(&head).await;
    head.services.control.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_makes_a_waiting_machine_a_node() {
    let head = discovering(22, "  n1: {image name: small}\n  n2: {image name: never}\n", vec![]).await;
    let (first, second) = (head.machine(1), head.machine(2));
    for machine in [&first, &second] {
        machine.tell(machine.tells()).await.unwrap();
    }
    let listed = head.discovered().await;
    let serials: Vec<_> = listed.machines.iter().map(|one| one.machine.inventory.system.serial.as_str()).collect();
    assert_eq!((serials.as_slice(), listed.machines[0].node.as_ref()), (&["SN1", "SN2"][..], None));

    // All of a command or nothing: two machines cannot be one node.
    let n1: NodeName = "n1".parse().unwrap();
    let adopt = |pairs: Vec<(Mac, NodeName)>| {
        let request = AdoptRequest { pairs };
        let client = &head.client;
        async move { client.post::<AdoptAnswer>("/v1/adopt", &request).await }
    };
    let error = adopt(vec![(first.mac, n1.clone()), (second.mac, n1.clone())]).await.unwrap_err();
    assert!(error.to_string().contains("is n1 already"), "{error}");
    assert_eq!(head.discovered().await.claims, []);

    let waiting = tokio::spawn(async move {
        let found = first.adopted().await;
        (first, found)
    });
    adopt(vec![("52:54:00:00:01:01".parse().unwrap(), n1.clone())]).await.unwrap();
    let (first, (node, token)) = waiting.await.unwrap();
    assert_eq!(node, n1);
    let (_, again) = first.adopted().await;
    assert_eq!(first.join(&again).await.unwrap(), n1, "an answer that was lost costs nothing");
    assert_eq!(first.join(&token).await.unwrap(), n1);

    // What its node boots was never built: it is told, and waits.
    adopt(vec![(second.mac, "n2".parse().unwrap())]).await.unwrap();
    let Adoption::Waiting { text } = second.wait(second.mac, 1).await.unwrap() else { panic!() };
    assert!(text.contains("n2") && text.contains("never"), "{text}");
    let forget = ForgetRequest { macs: vec![], nodes: vec!["n2".parse().unwrap()] };
    let forgot: ForgetAnswer = head.client.post("/v1/discover/forget", &forget).await.unwrap();
    assert_eq!(forgot.nodes, 1);
    assert!(head.core.registry.both().by_mac(second.mac).is_none());
    head.services.control.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_boots_something_else_is_started_again() {
    let head =
        discovering(23, "  n1: {image name: small, kernel: {args: [debug]}, discoverable: true}\n", vec![]).await;
    let machine = head.machine(1);
    machine.tell(machine.tells()).await.unwrap();
    let Adoption::Restart { node, why } = machine.wait(machine.mac, 60).await.unwrap() else { panic!() };
    assert!(node.as_str() == "n1" && why.contains("debug"), "{why}");
    head.services.control.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lies_in_discovery_gets_nothing_and_is_recorded() {
    let head = discovering(24, &twenty(""), vec![]).await;
    let (honest, liar) = (head.machine(1), head.machine(2));
    honest.tell(honest.tells()).await.unwrap();

    // Another machine's address, another machine's token, none, and one that is too large.
    let spoofed = DiscoverRequest { mac: honest.mac, ..liar.tells() };
    assert_eq!(liar.tell(spoofed).await.unwrap_err().reason, RefusalReason::Token);
    assert!(head.tells("booted from 52:54:00:00:01:02 and says that it is 52:54:00:00:01:01").await);
    let forged = DiscoverRequest { token: vec![1; 64], ..liar.tells() };
    assert_eq!(liar.tell(forged).await.unwrap_err().reason, RefusalReason::Token);
    let mut huge = liar.tells();
    huge.inventory.nics = vec![huge.inventory.nics[0].clone(); 1000];
    assert_eq!(liar.tell(huge).await.unwrap_err().reason, RefusalReason::Configuration);
    assert!(head.tells("too many or too long network interfaces").await);
    let mut long = liar.tells();
    long.inventory.system.serial = "x".repeat(100_000);
    assert!(liar.tell(long).await.is_err());
    assert_eq!(head.discovered().await.machines.len(), 1);

    // What becomes of another machine is nobody's business, before it is a node and after.
    assert_eq!(liar.wait(honest.mac, 0).await.unwrap_err().reason, RefusalReason::Token);
    assert_eq!(liar.wait(liar.mac, 0).await.unwrap(), Adoption::Forgotten);
    let pairs = vec![(honest.mac, "n1".parse().unwrap())];
    head.client.post::<AdoptAnswer>("/v1/adopt", &AdoptRequest { pairs }).await.unwrap();
    assert!(liar.wait(honest.mac, 1).await.is_err());
    assert!(head.tells("asked what has become of 52:54:00:00:01:01").await);

    // A token for discovery joins nobody, and a token of the adopted machine nobody else.
    let refused = liar.join(&liar.token).await.unwrap_err();
    assert!(refused.text.contains("is no node yet"), "{}", refused.text);
    assert!(head.tells("asked to join all the same").await);
    let (_, token) = honest.adopted().await;
    assert_eq!(liar.join(&token).await.unwrap_err().reason, RefusalReason::Token);
    assert!(head.tells("was shown by a second key").await);
    head.services.control.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_token_two_keys_show_becomes_no_node_by_itself() {
    let head = discovering(25, "  n1: {image name: small}\n", vec![]).await;
    let machine = head.machine(1);
    machine.tell(machine.tells()).await.unwrap();
    let thief = Machine { key: SecretKey::generate().unwrap(), ..head.machine(1) };
    let thief = Machine { client: head.control(&thief.key), token: machine.token.clone(), ..thief };
    let refused = thief.tell(thief.tells()).await.unwrap_err();
    assert_eq!(refused.reason, RefusalReason::Token);
    assert!(head.discovered().await.machines[0].machine.contested);
    assert!(head.tells("two keys showed the discovery token").await);
    // A node that it could become appears.
    let path = head.core.config.paths.nodes_file();
    fs::write(path, "nodes:\n  n1: {image name: small, discoverable: true}\n").unwrap();
    let noted = async {
        while !head.discovered().await.machines[0].machine.note.contains("two keys") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), noted).await.unwrap();
    assert_eq!(head.discovered().await.claims, []);
    head.services.control.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_discovery_is_off_nobody_is_listed() {
    let head = with_image(26, &noise(1000, 1)).await;
    let machine = head.machine(1);
    assert_eq!(machine.tell(machine.tells()).await.unwrap_err().reason, RefusalReason::Configuration);
    assert!(head.discovered().await.machines.is_empty());
    head.services.control.shutdown().await;
}
