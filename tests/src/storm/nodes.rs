//! The machines as the registry has them.

use std::net::Ipv4Addr;
use std::sync::Arc;

use wulfpack_head::registry::{Interface, Node, Snapshot};
use wulfpack_shared::id::{Mac, NodeName};

pub(super) fn mac(number: u32) -> Mac {
    let [_, a, b, c] = number.to_be_bytes();
    Mac([0x52, 0x54, 0, a, b, c])
}

pub(super) fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 42, 64, 0)) + number)
}

#[expect(clippy::expect_used, reason = "letters and digits")]
pub(super) fn name(number: u32) -> NodeName {
    format!("n{number}").parse().expect("a name")
}

pub(super) fn nodes(count: u32) -> Arc<Snapshot> {
    let node = |number: u32| {
        let interface = Interface {
            net: "default".into(),
            mac: Some(mac(number)),
            ip: Some(address(number).into()),
            prefix: Some(16),
            ..Interface::default()
        };
        Node { interfaces: vec![interface], ..Node::named(name(number)) }
    };
    Arc::new(Snapshot::new((0..count).map(node)))
}
