//! Our keys and addresses as libp2p's, and back.

use std::net::{IpAddr, SocketAddr};

use libp2p::identity::{Keypair, PublicKey as Libp2pKey, ed25519};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::id::PublicKey;
use crate::identity::SecretKey;

/// The peer id of a key; `None` if the 32 bytes are no point of the curve.
pub fn peer_id(key: &PublicKey) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(&key.0).ok()?;
    Some(Libp2pKey::from(key).to_peer_id())
}

/// The key that a peer id stands for; `None` if it is not an ed25519 key's. (Ids of keys this short hold the key itself.)
pub fn public_key(peer: &PeerId) -> Option<PublicKey> {
    let key = Libp2pKey::try_decode_protobuf(peer.as_ref().digest()).ok()?;
    Some(PublicKey(key.try_into_ed25519().ok()?.to_bytes()))
}

/// libp2p's form of our key; `None` never happens for a key of 32 bytes.
pub(super) fn keypair(secret: &SecretKey) -> Option<Keypair> {
    // libp2p wipes the buffer it is given; a copy of the seed is wiped by `Zeroizing`.
    let mut seed = secret.seed();
    Keypair::ed25519_from_bytes(&mut seed[..]).ok()
}

/// `/ip4/…/tcp/…`.
pub(super) fn multiaddr(addr: SocketAddr) -> Multiaddr {
    Multiaddr::from(addr.ip()).with(Protocol::Tcp(addr.port()))
}

/// The address in `/ip4/…/tcp/…`.
pub(super) fn socket_addr(addr: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = addr.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_peer_ids_convert_both_ways() {
        let secret = SecretKey::from_seed([5; 32]);
        let peer = peer_id(&secret.public()).unwrap();
        assert_eq!(public_key(&peer), Some(secret.public()));
        assert_eq!(keypair(&secret).unwrap().public().to_peer_id(), peer);
    }

    #[test]
    fn addresses_convert_both_ways() {
        for text in ["10.0.0.1:9870", "[fd00::1]:9870"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(socket_addr(&multiaddr(addr)), Some(addr));
        }
        assert_eq!(socket_addr(&"/ip4/10.0.0.1/udp/5".parse().unwrap()), None);
    }
}
