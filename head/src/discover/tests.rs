//! The service with a store, a registry and tokens of its own.

use std::collections::BTreeMap;
use std::net::IpAddr;

use wulfpack_shared::id::{BootId, Hash, Mac, PublicKey};
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::{Inventory, Neighbour, NicInfo};

use super::*;
use crate::config::{AdoptRule, DiscoverConfig};
use crate::registry::{Defaults, Registry, Snapshot};
use crate::store::PendingMachine;

fn machine(serial: &str, port: Option<&str>) -> PendingMachine {
    let mac = Mac([2, 0, 0, 0, 0, 7]);
    let neighbour = port.map(|port| Neighbour { system: "sw-r1".into(), port: port.into(), ..Neighbour::default() });
    let nic = NicInfo {
        name: "eth0".into(),
        mac,
        driver: String::new(),
        slot: String::new(),
        speed: 0,
        carrier: true,
        neighbour,
    };
    let mut inventory = Inventory { nics: vec![nic], memory: 63 << 30, ..Inventory::default() };
    inventory.system.serial = serial.into();
    inventory.system.asset = "A7".into();
    inventory.system.vendor = "Vendor Inc.".into();
    PendingMachine {
        mac,
        key: PublicKey([1; 32]),
        boot: BootId([1; 16]),
        from: IpAddr::from([10, 1, 0, 7]),
        trusted: true,
        runs: Hash::default(),
        agent: String::new(),
        inventory,
        complete: false,
        contested: false,
        first: UnixTime(0),
        heard: UnixTime(0),
        note: String::new(),
    }
}

fn nodes(text: &str) -> std::sync::Arc<Snapshot> {
    Registry::parse(text, Defaults::default()).unwrap().resolve()
}

/// What the rules of this configuration make of a machine.
fn decide(rules: &str, machine: &PendingMachine, snapshot: &Snapshot, lists: &Lists) -> Suggestion {
    let config: DiscoverConfig = serde_saphyr::from_str(rules).unwrap();
    Rules::new(&config).suggest(machine, snapshot, lists)
}

fn node(suggestion: &Suggestion) -> &str {
    match suggestion {
        Suggestion::Node { node, .. } => node.as_str(),
        other => panic!("{other:?}"),
    }
}

fn why(suggestion: Suggestion) -> String {
    match suggestion {
        Suggestion::None(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_switch_port_names_a_node_once_the_switch_has_spoken() {
    let snapshot = nodes("nodes: {r1n7: , login: , taken: {network devices: {default: {hwaddr: 02:00:00:00:00:99}}}}");
    let none = Lists::new();
    let rules = "rules: [{when: {switch: \"sw-r?\"}, node: \"r1n{port}\"}, {ports: {mgmt: login}}]";
    assert_eq!(node(&decide(rules, &machine("S", Some("Ethernet1/07")), &snapshot, &none)), "r1n7");
    assert_eq!(node(&decide(rules, &machine("S", Some("mgmt")), &snapshot, &none)), "login");
    assert_eq!(decide(rules, &machine("S", None), &snapshot, &none), Suggestion::NotYet);
    let deaf = PendingMachine { complete: true, ..machine("S", None) };
    assert!(why(decide(rules, &deaf, &snapshot, &none)).contains("knows no switch"));
    let text = why(decide(rules, &machine("S", Some("Ethernet1/8")), &snapshot, &none));
    assert!(text.contains("no node r1n8") && text.contains("Ethernet1/8 stands for no node"), "{text}");
    let taken = "rules: [{ports: {mgmt: taken}}]";
    assert!(why(decide(taken, &machine("S", Some("mgmt")), &snapshot, &none)).contains("has a machine"));
}

#[test]
fn a_list_knows_machines_by_serial_number_uuid_or_address() {
    let snapshot = nodes("nodes: {n1: , n2: , n3: }");
    let file = std::path::PathBuf::from("/etc/wulfpack/serials");
    let list = "# rack 1\nSN-7, n1\nSN-8 n2 # the second\n02-00-00-00-00-07\tn3\n";
    let lists = BTreeMap::from([(file.clone(), parse_list(list))]);
    let rules = format!("rules: [{{list: {}}}]", file.display());
    assert_eq!(node(&decide(&rules, &machine("sn-7", None), &snapshot, &lists)), "n1");
    assert_eq!(node(&decide(&rules, &machine("other", None), &snapshot, &lists)), "n3");
    let broken = BTreeMap::from([(file, Err("/etc/wulfpack/serials: line 3".to_owned()))]);
    assert!(why(decide(&rules, &machine("sn-7", None), &snapshot, &broken)).contains("line 3"));
    for (text, part) in [
        ("a n1\nb n1", "line 2: n1 stands there twice"),
        ("a n1\na n2", "line 2: a stands there twice"),
        ("a", "line 1: it is not SERIAL NODE"),
        ("a n1 x", "line 1: it is not SERIAL NODE"),
        ("a n_1", "line 1: "),
    ] {
        let error = parse_list(text).unwrap_err();
        assert!(error.contains(part), "{text:?}: {error}");
    }
}

#[test]
fn the_first_free_node_in_order_and_attributes_of_the_machine() {
    let snapshot = nodes(
        "nodes: {g1: {network devices: {default: {hwaddr: 02:00:00:00:00:99}}}, g2: {asset key: B1}, g10: , g3: {asset key: A7}}",
    );
    let none = Lists::new();
    let machine = machine("S", None);
    let fits =
        |when: &str| decide(&format!("rules: [{{when: {{{when}}}, nodes: \"g[1-10]\"}}]"), &machine, &snapshot, &none);
    assert_eq!(
        node(&fits("vendor: \"vendor*\", memory_gib: 64, subnet: 10.1.0.0/16")),
        "g3",
        "g2 wants another asset tag"
    );
    for misfit in ["vendor: Other", "memory_gib: 128", "subnet: 10.2.0.0/16", "gpus: 1", "mac: \"52:*\"", "disks: 1"] {
        assert_eq!(fits(misfit), Suggestion::None(String::new()), "{misfit}");
    }
    assert_eq!(
        node(&decide("rules: [{when: {vendor: \"*\"}, node: \"{asset}\"}]", &machine, &nodes("nodes: {a7: }"), &none)),
        "a7"
    );
}

#[test]
fn discoverable_nodes_are_taken_by_cluster_and_name_as_in_warewulf() {
    let snapshot = nodes(
        "nodes: {n10: {discoverable: true}, n9: {discoverable: true}, a1: {cluster name: z, discoverable: true}, \
         n1: , n2: {discoverable: true, asset key: other}, n3: {discoverable: true, network devices: {default: {hwaddr: 02:00:00:00:00:99}}}}",
    );
    let found = decide("{}", &machine("S", None), &snapshot, &Lists::new());
    assert_eq!(node(&found), "n9");
    let none = nodes("nodes: {n1: }");
    assert_eq!(decide("{}", &machine("S", None), &none, &Lists::new()), Suggestion::None(String::new()));
}

#[test]
fn a_node_that_booted_from_another_card_is_not_made_another_node() {
    let snapshot =
        nodes("nodes: {n1: {network devices: {default: {hwaddr: 02:00:00:00:00:55}}}, n2: {discoverable: true}}");
    let mut twice = machine("S", None);
    twice.inventory.nics.push(NicInfo { mac: Mac([2, 0, 0, 0, 0, 0x55]), ..twice.inventory.nics[0].clone() });
    let text = why(decide("{}", &twice, &snapshot, &Lists::new()));
    assert!(text.contains("02:00:00:00:00:55 is one of node n1"), "{text}");
}

#[test]
fn rules_that_say_too_little_or_too_much_are_refused() {
    for (rules, part) in [
        ("[{when: {vendor: x}}]", "nothing says which node"),
        ("[{node: a, nodes: b, when: {vendor: x}}]", "only one"),
        ("[{nodes: \"n[1-4]\"}]", "fits every machine"),
        ("[{node: n1}]", "fits every machine"),
        ("[{when: {vendor: x}, nodes: \"n[4-\"}]", "nodes: "),
        ("[{when: {vendor: x}, nodes: \"@all\"}]", "nodes: "),
        ("[{list: serials}]", "not an absolute path"),
    ] {
        let error = crate::config::Config::parse(&format!("discover: {{rules: {rules}}}")).unwrap_err();
        assert!(error.contains("discover: rules: number 1") && error.contains(part), "{rules}: {error}");
    }
    assert!(AdoptRule { node: Some("n{port}".into()), ..AdoptRule::default() }.wants_switch());
}
