//! Who is known, by which index, over which connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::link::Link;
use super::note::LinkId;
use crate::id::{ImageName, PublicKey};
use crate::identity::{Membership, Role};
use crate::limits::PEER_ADDRS_MAX;
use crate::swarm::{PeerIx, PeerKind};
use crate::wire::PeerInfo;

/// Peers that are remembered. Every one is a member of the cluster, or was named by the tracker.
const KNOWN_MAX: usize = 65_536;

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub key: PublicKey,
    /// Where to dial it.
    pub addrs: Vec<SocketAddr>,
    /// What the tracker or its certificate says it is.
    pub kind: PeerKind,
    /// The one image that an anonymous member may have.
    pub only: Option<ImageName>,
    /// Its connection, if it stands.
    pub link: Option<Link>,
    /// A dial is under way.
    pub dialling: bool,
}

/// All peers.
#[derive(Debug)]
pub(super) struct Directory {
    own: PublicKey,
    peers: Vec<Peer>,
    by_key: BTreeMap<PublicKey, PeerIx>,
}

/// What becomes of a second connection with the same peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rival {
    /// The new one replaces the old.
    TakeNew,
    /// The old one stays.
    KeepOld,
}

impl Directory {
    pub(super) const fn new(own: PublicKey) -> Self {
        Self { own, peers: Vec::new(), by_key: BTreeMap::new() }
    }

    pub(super) fn get(&self, peer: PeerIx) -> Option<&Peer> {
        self.peers.get(peer.0 as usize)
    }

    pub(super) fn get_mut(&mut self, peer: PeerIx) -> Option<&mut Peer> {
        self.peers.get_mut(peer.0 as usize)
    }

    pub(super) fn find(&self, key: &PublicKey) -> Option<PeerIx> {
        self.by_key.get(key).copied()
    }

    /// The index of a key; `None` for our own, and when too many are known.
    fn index(&mut self, key: PublicKey, kind: PeerKind) -> Option<PeerIx> {
        if let Some(known) = self.find(&key) {
            return Some(known);
        }
        let next = u32::try_from(self.peers.len()).ok()?;
        if key == self.own || self.peers.len() >= KNOWN_MAX {
            return None;
        }
        self.peers.push(Peer { key, addrs: Vec::new(), kind, only: None, link: None, dialling: false });
        self.by_key.insert(key, PeerIx(next));
        Some(PeerIx(next))
    }

    /// Enters what the tracker says.
    pub(super) fn named(&mut self, info: &PeerInfo) -> Option<PeerIx> {
        let kind = if info.head { PeerKind::Head } else { PeerKind::Node };
        let ix = self.index(info.key, kind)?;
        let peer = self.get_mut(ix)?;
        peer.kind = kind;
        peer.addrs = info.addrs.iter().copied().take(PEER_ADDRS_MAX).collect();
        Some(ix)
    }

    /// Enters what a handshake has shown.
    pub(super) fn met(&mut self, key: PublicKey, membership: &Membership, remote: SocketAddr) -> Option<PeerIx> {
        let (kind, only) = match &membership.role {
            Role::Head => (PeerKind::Head, None),
            Role::Node => (PeerKind::Node, None),
            Role::Anonymous { image } => (PeerKind::Node, Some(image.clone())),
        };
        let ix = self.index(key, kind)?;
        let peer = self.get_mut(ix)?;
        (peer.kind, peer.only) = (kind, only);
        // Members dial from the socket they listen on, so that where one came from is where it can be found.
        if !peer.addrs.contains(&remote) {
            peer.addrs.truncate(PEER_ADDRS_MAX - 1);
            peer.addrs.push(remote);
        }
        Some(ix)
    }

    /// Of two connections with one peer, the one opened by the smaller key stays: both ends decide alike. Of two opened by the same
    /// end, the newer stays: the opener has given the older up.
    pub(super) fn rival(&self, peer: &PublicKey, old_dialled: bool, new_dialled: bool) -> Rival {
        let opener = |dialled| if dialled { self.own } else { *peer };
        if old_dialled == new_dialled || opener(new_dialled) < opener(old_dialled) {
            Rival::TakeNew
        } else {
            Rival::KeepOld
        }
    }

    /// The standing connection of a peer, if it is this one.
    pub(super) fn link(&self, peer: PeerIx, link: LinkId) -> Option<&Link> {
        self.get(peer)?.link.as_ref().filter(|standing| standing.id == link)
    }

    /// All peers that are connected.
    pub(super) fn connected(&self) -> impl Iterator<Item = (PeerIx, &Peer, &Link)> {
        (0u32..).zip(&self.peers).filter_map(|(ix, peer)| Some((PeerIx(ix), peer, peer.link.as_ref()?)))
    }

    /// Two others to try, for a peer that has to go. Which two depends on who asks, so that not all go to the same.
    pub(super) fn alternatives(&self, to: PeerIx) -> Vec<PeerInfo> {
        let fit = |peer: &&Peer| peer.kind == PeerKind::Node && !peer.addrs.is_empty();
        let mut others: Vec<&Peer> =
            self.connected().filter(|(ix, _, _)| *ix != to).map(|(_, peer, _)| peer).filter(fit).collect();
        if !others.is_empty() {
            let start = to.0 as usize % others.len();
            others.rotate_left(start);
        }
        let info = |peer: &Peer| PeerInfo { key: peer.key, addrs: peer.addrs.clone(), rack: None, head: false };
        others.into_iter().take(2).map(info).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(key: u8) -> PeerInfo {
        PeerInfo { key: PublicKey([key; 32]), addrs: vec!["10.0.0.1:1".parse().unwrap(); 9], rack: None, head: false }
    }

    #[test]
    fn an_index_stands_for_one_key_and_never_for_ourselves() {
        let mut directory = Directory::new(PublicKey([5; 32]));
        let (a, b) = (directory.named(&info(1)), directory.named(&info(2)));
        assert_eq!((a, b), (Some(PeerIx(0)), Some(PeerIx(1))));
        assert_eq!(directory.named(&info(1)), a);
        assert_eq!(directory.named(&info(5)), None);
        assert_eq!(directory.get(PeerIx(0)).unwrap().addrs.len(), PEER_ADDRS_MAX);
    }

    #[test]
    fn both_ends_keep_the_same_of_two_connections() {
        let (small, large) = (PublicKey([1; 32]), PublicKey([2; 32]));
        let (at_small, at_large) = (Directory::new(small), Directory::new(large));
        // The connection that `small` opened comes second at either end, or first at either end, or mixed.
        assert_eq!(at_small.rival(&large, false, true), Rival::TakeNew);
        assert_eq!(at_large.rival(&small, true, false), Rival::TakeNew);
        assert_eq!(at_small.rival(&large, true, false), Rival::KeepOld);
        assert_eq!(at_large.rival(&small, false, true), Rival::KeepOld);
        assert_eq!(at_small.rival(&large, true, true), Rival::TakeNew);
    }
}
