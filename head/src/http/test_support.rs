//! A desk's surroundings for the tests of all protocols: one node with an image, one without.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use wulfpack_shared::id::{Hash, Mac, NodeName, VersionId};
use wulfpack_shared::image::{Compression, Header, KernelEntry, Part};

use super::*;
use crate::boot::{HeadSettings, InitramfsFormat, Programs, SignedLoader};
use crate::dhcp::Evidence;
use crate::fleet::{BootEvent, BootEvents};
use crate::registry::{ImageRef, Interface, Node, Snapshot};

pub(crate) const MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
pub(crate) const BARE: Mac = Mac([0x52, 0x54, 0, 0, 0, 2]);
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);
pub(crate) const VERSION: VersionId = VersionId([0x1d; 32]);
pub(crate) const KERNEL: &[u8] = b"0123456789";

#[derive(Debug, Default)]
pub(crate) struct Events(pub(crate) Mutex<Vec<BootEvent>>);

impl BootEvents for Events {
    fn record(&self, event: BootEvent) {
        self.0.lock().unwrap().push(event);
    }
}

#[derive(Debug)]
pub(crate) struct Sources;

impl Versions for Sources {
    fn active(&self, image: &ImageRef) -> Result<BootVersion, String> {
        if image.name.as_str() != "debian" {
            return Err(format!("image {} was never built", image.name));
        }
        let part = Part { hash: Hash::of(b"x"), len: 1 };
        let kernel =
            KernelEntry { version: "6.1.0".into(), kernel: part, modules: part, default_args: vec!["quiet".into()] };
        let name = image.name.clone();
        let header =
            Header::new(name, part, Compression::Zstd, 1, 1, vec![Hash::of(b"p")], vec![kernel], "test".into());
        Ok(BootVersion { id: VERSION, header: Arc::new(header) })
    }

    fn read(&self, version: VersionId, release: &str, file: VersionFile) -> Result<Option<Vec<u8>>, String> {
        Ok((version == VERSION && release == "6.1.0").then(|| match file {
            VersionFile::Kernel => KERNEL.to_vec(),
            VersionFile::Modules => vec![0x28, 0xb5, 0x2f, 0xfd, 1],
        }))
    }

    fn signed_loader(&self, image: Option<&ImageRef>, loader: SignedLoader) -> Result<Bytes, String> {
        let image = image.ok_or("this head has no shim")?;
        Ok(format!("{} of {image}", loader.name()).into())
    }
}

pub(crate) fn programs() -> Programs {
    let mut programs = Programs::default();
    programs.insert("snponly.efi", Bytes::from_static(b"MZ program"));
    programs
}

impl Tokens for Sources {
    fn token(&self, node: &NodeName, mac: Mac, _: Option<Duration>) -> Result<Vec<u8>, String> {
        Ok(format!("token of {node} {mac}").into_bytes())
    }

    fn discovery(&self, mac: Mac, _: Option<Duration>, trusted: bool, _: Hash) -> Result<Vec<u8>, String> {
        Ok(format!("discovery of {mac}, trusted {trusted}").into_bytes())
    }

    fn refused(&self, _: &NodeName, _: IpAddr, _: &str) {}

    fn approved(&self, node: &NodeName, _: Mac, from: IpAddr) -> Result<(), String> {
        Err(format!("{node} at {from} has to be approved"))
    }
}

/// Tokens of a head whose administrator approves everybody.
#[derive(Debug)]
pub(crate) struct Generous;

impl Tokens for Generous {
    fn token(&self, node: &NodeName, mac: Mac, shown: Option<Duration>) -> Result<Vec<u8>, String> {
        Sources.token(node, mac, shown)
    }

    fn refused(&self, _: &NodeName, _: IpAddr, _: &str) {}

    fn approved(&self, _: &NodeName, _: Mac, _: IpAddr) -> Result<(), String> {
        Ok(())
    }
}

impl AgentArchive for Sources {
    fn archive(&self, format: InitramfsFormat) -> Result<Bytes, String> {
        if format == InitramfsFormat::Xz {
            Err("the agent is not installed".into())
        } else {
            Ok(Bytes::from(format.name()))
        }
    }
}

pub(crate) fn node(name: &str, mac: Mac, image: Option<&str>) -> Node {
    let interface = Interface {
        net: "default".into(),
        mac: Some(mac),
        ip: Some(ADDRESS.into()),
        prefix: Some(24),
        ..Interface::default()
    };
    Node {
        image: image.map(|name| ImageRef { name: name.parse().unwrap(), version: None }),
        interfaces: vec![interface],
        primary: Some(0),
        ..Node::named(name.parse().unwrap())
    }
}

/// Choices in a store that nobody else has.
fn once() -> crate::once::OnceBook {
    let dir = tempfile::tempdir().unwrap();
    let store = crate::store::RedbStore::open(&dir.path().join("state.redb")).unwrap();
    // The file stays open without its name.
    crate::once::OnceBook::open(Arc::new(store)).unwrap()
}

pub(crate) fn services() -> (Services, Arc<Events>) {
    let events = Arc::new(Events::default());
    let (nodes, head) = ([node("n1", MAC, Some("debian")), node("bare", BARE, None)], HeadSettings::default());
    let services = Services {
        nodes: watch::channel(Arc::new(Snapshot::new(nodes))).1,
        head: watch::channel(Arc::new(head)).1,
        evidence: Evidence::default(),
        events: Arc::clone(&events) as _,
        versions: Arc::new(Sources),
        tokens: Arc::new(Sources),
        agent: Arc::new(Sources),
        programs: Arc::new(programs()),
        scripts: Arc::default(),
        wave: 0,
        once: once(),
        neighbours: None,
        unknown: Unknown::default(),
    };
    (services, events)
}
