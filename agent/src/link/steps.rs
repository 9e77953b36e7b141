//! Waiting for the interface, for carrier, and for somebody who answers; and noticing when the link is lost.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use wulfpack_shared::id::Mac;

use super::arp::{LEN, parse_reply, request};
use super::io::{LinkError, Links};
use super::packet::ArpSocket;
use super::select::{Interface, choose, describe};

/// Without a word from the kernel, look again after this long.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Between two ARP probes.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// What the boot waits for, for the console.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Waiting {
    /// For nothing of the link.
    #[default]
    Nothing,
    /// For the interface to appear.
    Interface {
        /// Its MAC address, where the head named one.
        mac: Option<Mac>,
        /// Interfaces that are there.
        seen: Vec<String>,
    },
    /// For carrier.
    Carrier {
        /// On this interface.
        name: String,
    },
    /// For gateway or head to answer ARP.
    Neighbour {
        /// On this interface.
        name: String,
        /// Any of these.
        targets: Vec<Ipv4Addr>,
        /// Rounds of probes sent.
        rounds: u32,
    },
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("the link is ready"),
            Self::Interface { mac, seen } => {
                match mac {
                    Some(mac) => write!(f, "waiting for the network interface {mac}")?,
                    None => f.write_str("waiting for a network interface")?,
                }
                if !seen.is_empty() {
                    write!(f, " (present: {})", seen.join(", "))?;
                }
                Ok(())
            }
            Self::Carrier { name } => write!(f, "waiting for carrier on {name}"),
            Self::Neighbour { name, targets, rounds } => {
                let targets: Vec<_> = targets.iter().map(ToString::to_string).collect();
                write!(f, "waiting for {} to answer on {name} ({rounds} probes sent)", targets.join(" or "))
            }
        }
    }
}

/// State of a link that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The other end is there.
    Up,
    /// It is not.
    Lost,
    /// The interface itself has disappeared, or can no longer be watched.
    Gone,
}

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourFound {
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its hardware address.
    pub mac: Mac,
}

impl Links {
    /// Returns when a link may have changed.
    async fn changed(changes: &mut watch::Receiver<()>) {
        // On a closed channel `changed` returns at once; the pause keeps the caller's loop slow all the same.
        if !matches!(timeout(LOOK_AGAIN, changes.changed()).await, Ok(Ok(())) | Err(_)) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits for the interface with this MAC address (permanent before current), or, without one, for any Ethernet
    /// interface.
    ///
    /// # Errors
    /// [`LinkError::NoInterface`] when `within` has passed.
    pub async fn find_interface(
        &self,
        mac: Option<Mac>,
        within: Duration,
        waiting: &watch::Sender<Waiting>,
    ) -> Result<Interface, LinkError> {
        let deadline = Instant::now() + within;
        let mut changes = self.changes.clone();
        loop {
            let all = self.interfaces().await?;
            if let Some(found) = choose(&all, mac) {
                waiting.send_replace(Waiting::Nothing);
                return Ok(found.clone());
            }
            let seen = describe(&all);
            if Instant::now() >= deadline {
                return Err(LinkError::NoInterface { mac, seen, waited: within });
            }
            waiting.send_replace(Waiting::Interface { mac, seen });
            tokio::select! {
                () = Self::changed(&mut changes) => {}
                () = sleep_until(deadline) => {}
            }
        }
    }

    /// Waits until the other end of the link is there.
    ///
    /// # Errors
    /// [`LinkError::NoCarrier`] when `within` has passed, [`LinkError::Gone`].
    pub async fn wait_carrier(
        &self,
        interface: &Interface,
        within: Duration,
        waiting: &watch::Sender<Waiting>,
    ) -> Result<(), LinkError> {
        let deadline = Instant::now() + within;
        let mut changes = self.changes.clone();
        let name = &interface.name;
        loop {
            match self.interface(interface.index).await? {
                None => return Err(LinkError::Gone { name: name.clone() }),
                Some(now) if now.carrier => {
                    waiting.send_replace(Waiting::Nothing);
                    return Ok(());
                }
                Some(_) => {}
            }
            if Instant::now() >= deadline {
                return Err(LinkError::NoCarrier { name: name.clone(), waited: within });
            }
            waiting.send_replace(Waiting::Carrier { name: name.clone() });
            tokio::select! {
                () = Self::changed(&mut changes) => {}
                () = sleep_until(deadline) => {}
            }
        }
    }

    /// Asks every target by ARP, each second, until one answers. `own` must be the interface's address. With no
    /// targets there is nobody to wait for: `None`.
    ///
    /// # Errors
    /// [`LinkError::NoAnswer`] when `within` has passed, [`LinkError::Socket`].
    pub async fn arp_probe(
        &self,
        interface: &Interface,
        own: Ipv4Addr,
        targets: &[Ipv4Addr],
        within: Duration,
        waiting: &watch::Sender<Waiting>,
    ) -> Result<Option<NeighbourFound>, LinkError> {
        let Some(mac) = interface.mac.filter(|_| !targets.is_empty()) else { return Ok(None) };
        let socket = |what| move |source| LinkError::Socket { what, source };
        let name = &interface.name;
        let arp = ArpSocket::open(interface.index).map_err(socket("open a packet socket for ARP"))?;
        let deadline = Instant::now() + within;
        let (mut next, mut rounds) = (Instant::now(), 0u32);
        let mut buffer = [0; 64];
        loop {
            if Instant::now() >= deadline {
                return Err(LinkError::NoAnswer { name: name.clone(), targets: targets.to_owned(), waited: within });
            }
            if Instant::now() >= next {
                for target in targets {
                    // A link that is just going down refuses; the next round tries again.
                    if let Err(error) = arp.send(&request(mac, own, *target)).await {
                        tracing::debug!(%error, %target, "ARP request not sent");
                    }
                }
                rounds += 1;
                next = Instant::now() + PROBE_EVERY;
                waiting.send_replace(Waiting::Neighbour { name: name.clone(), targets: targets.to_owned(), rounds });
            }
            tokio::select! {
                received = arp.receive(&mut buffer) => match received {
                    Ok(len) => {
                        let packet = buffer.get(..len.min(LEN)).unwrap_or_default();
                        if let Some((ip, mac)) = parse_reply(packet, own).filter(|(ip, _)| targets.contains(ip)) {
                            waiting.send_replace(Waiting::Nothing);
                            return Ok(Some(NeighbourFound { ip, mac }));
                        }
                    }
                    // The socket reports a link that went down once (ENETDOWN); then it goes on.
                    Err(error) => {
                        tracing::debug!(%error, "ARP socket");
                        sleep_until(next.min(deadline)).await;
                    }
                },
                () = sleep_until(next.min(deadline)) => {}
            }
        }
    }

    /// Watches the interface's carrier until nobody listens any more. The value is never older than the last word of
    /// the kernel.
    pub fn watch_carrier(&self, interface: &Interface) -> watch::Receiver<Carrier> {
        let (tell, told) = watch::channel(if interface.carrier { Carrier::Up } else { Carrier::Lost });
        let (links, index) = (self.clone(), interface.index);
        tokio::spawn(async move {
            let mut changes = links.changes.clone();
            loop {
                let state = match links.interface(index).await {
                    Ok(Some(now)) if now.carrier => Carrier::Up,
                    Ok(Some(_)) => Carrier::Lost,
                    Ok(None) | Err(_) => Carrier::Gone,
                };
                tell.send_if_modified(|last| core::mem::replace(last, state) != state);
                tokio::select! {
                    word = changes.changed() => if word.is_err() {
                        tell.send_replace(Carrier::Gone);
                        return;
                    },
                    () = tell.closed() => return,
                }
            }
        });
        told
    }
}
