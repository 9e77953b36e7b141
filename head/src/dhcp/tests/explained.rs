//! What is told to a person is what a machine would be answered.

use super::*;
use crate::dhcp::{Explanation, Question, explain};

fn told(yaml: &str, mac: Mac, arch: Option<u16>, state: Option<State>) -> Explanation {
    let config: DhcpConfig = crate::config::yaml::parse(yaml).unwrap();
    let settings = Settings { policy: Policy::new(&config), ..settings() };
    let nodes = Snapshot::new([node("n1", MAC, ADDRESS)]);
    explain(&Question { settings: &settings, nodes: &nodes, state, mac, arch, ipxe: false, link: None, relay: None })
}

fn has(told: &Explanation, text: &str) -> bool {
    told.reasons.iter().any(|reason| reason.contains(text))
}

#[test]
fn each_answer_comes_with_its_reasons() {
    let stranger = Mac([0x52, 0x54, 0, 0, 0, 9]);
    let node = told("{}", MAC, Some(7), None);
    assert!(node.answered && has(&node, "is n1") && has(&node, "10.0.0.7/24 for 3600 s"), "{node:?}");
    assert_eq!(node.boot_file.as_deref(), Some("tftp://10.0.0.1/snponly.efi"));
    assert_eq!(node.address, Some(ADDRESS.into()));

    let unknown = told("{}", stranger, Some(7), None);
    assert!(!unknown.answered && has(&unknown, "no range for unknown machines"), "{unknown:?}");
    let range = "subnets: {10.0.0.0/24: {range: 10.0.0.100-10.0.0.103}}";
    let lent = told(range, stranger, Some(7), None);
    assert!(lent.answered && has(&lent, "10.0.0.100-10.0.0.103") && has(&lent, "discovery is off"), "{lent:?}");

    let other = State::OtherServer { address: Ipv4Addr::new(10, 0, 0, 250), withheld: true };
    let withheld = told("{}", MAC, Some(7), Some(other));
    assert!(
        !withheld.answered && has(&withheld, "withheld: another DHCP server answers at 10.0.0.250"),
        "{withheld:?}"
    );
    let proxy = told("mode: auto", MAC, Some(0), Some(State::Proxy { beside: Some(Ipv4Addr::new(10, 0, 0, 250)) }));
    assert!(proxy.answered && proxy.address.is_none() && has(&proxy, "proxy"), "{proxy:?}");
    assert_eq!(proxy.boot_file.as_deref(), Some("tftp://10.0.0.1/undionly.kpxe"));
    let system = told("options: {ntp-servers: 10.0.0.1}", MAC, None, None);
    assert!(has(&system, "address only") && has(&system, "ntp-servers"), "{system:?}");
}
