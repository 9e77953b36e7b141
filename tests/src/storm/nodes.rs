//! The machines as the registry has them.

use std::net::Ipv4Addr;
use std::sync::Arc;

use wulfpack_head::registry::{Interface, Node, Snapshot};
use wulfpack_shared::id::Mac;

pub(super) fn mac(number: u32) -> Mac {
    let [_, a, b, c] = number.to_be_bytes();
    Mac([0x52, 0x54, 0, a, b, c])
}

pub(super) fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 42, 64, 0)) + number)
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
        let name = format!("n{number}").parse().ok()?;
        Some(Node { interfaces: vec![interface], ..Node::named(name) })
    };
    Arc::new(Snapshot::new((0..count).filter_map(node)))
}
