//! Does what the machine wants: packets out, leases into the store, news to whoever wants them.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;

use dhcproto::v4::CLIENT_PORT;
use nix::libc::{in_addr, in_pktinfo};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use tokio::io::Interest;
use tokio::sync::mpsc;

use super::act::PXE_PORT;
use super::io::{Services, Wire};
use super::leases::LeaseRecord;
use super::machine::Output;
use super::packet::machine_of;
use super::raw::Flow;
use crate::store::Store;
use crate::trace::Entry;

/// Most answers whose leases are stored together.
const TOGETHER: usize = 256;

/// Leases to store, and what is done once they are.
#[derive(Debug, Default)]
pub(super) struct Promise {
    pub(super) records: Vec<LeaseRecord>,
    pub(super) then: Vec<Output>,
}

/// What an output acts on.
#[derive(Clone, Debug)]
pub(super) struct Acting {
    pub(super) wires: Vec<Arc<Wire>>,
    pub(super) services: Services,
}

impl Acting {
    /// Does one thing.
    pub(super) async fn act(&self, output: Output) {
        let Services { evidence, events, trace, .. } = &self.services;
        match output {
            Output::Send { link, source, source_port, to, hardware, bytes } => {
                let Some(wire) = self.wires.get(link) else { return };
                let sent = match (&wire.raw, hardware) {
                    (Some(raw), Some(mac)) => {
                        let flow = Flow { source: (source, source_port), to: (*to.ip(), to.port()) };
                        raw.send_udp(&flow, mac, &bytes).await
                    }
                    (None, Some(_)) => {
                        let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, to.port());
                        wire.send(source, source_port, to, &bytes).await
                    }
                    (_, None) => wire.send(source, source_port, to, &bytes).await,
                };
                if let Err(error) = sent {
                    tracing::warn!(interface = %wire.link.name, %to, %error, "DHCP packet not sent");
                }
                if source_port != CLIENT_PORT
                    && let Some(mac) = machine_of(&bytes)
                {
                    trace.add(mac, Some(&wire.link.name), Entry::Said(bytes));
                }
            }
            Output::Probe { link, address } => {
                if let Some(Wire { raw: Some(raw), link, .. }) = self.wires.get(link).map(AsRef::as_ref)
                    && let Err(error) = raw.ask(address).await
                {
                    tracing::warn!(interface = %link.name, %address, %error, "nobody can be asked who has the address");
                }
            }
            Output::Given { mac, address, boots } => evidence.given(mac, address, boots, Instant::now()),
            Output::Released { mac } => evidence.released(mac),
            Output::Note { mac, text } => trace.add(mac, None, Entry::Note(text.into_owned())),
            Output::Event(event) => events.record(event),
            Output::Alarm(text) => {
                tracing::warn!("{text}");
                events.warn(text);
            }
            // Collected before.
            Output::Store(_) => {}
        }
    }
}

impl Wire {
    /// Sends from one of the interface's addresses (ip(7), `IP_PKTINFO`).
    async fn send(&self, source: Ipv4Addr, source_port: u16, to: SocketAddrV4, bytes: &[u8]) -> io::Result<()> {
        let socket = match (source_port, &self.client, &self.pxe) {
            (CLIENT_PORT, Some(client), _) => client,
            // Without the port for answers there is nothing to ask for.
            (CLIENT_PORT, None, _) => return Ok(()),
            (PXE_PORT, _, Some(pxe)) => pxe,
            _ => &self.server,
        };
        let from = in_addr { s_addr: u32::from_ne_bytes(source.octets()) };
        let info = in_pktinfo {
            ipi_ifindex: i32::try_from(self.link.index).unwrap_or(0),
            ipi_spec_dst: from,
            ipi_addr: in_addr { s_addr: 0 },
        };
        let to = SockaddrIn::from(to);
        let send = || {
            let control = [ControlMessage::Ipv4PacketInfo(&info)];
            sendmsg(socket.as_raw_fd(), &[io::IoSlice::new(bytes)], &control, MsgFlags::empty(), Some(&to))
                .map_err(io::Error::from)
        };
        socket.async_io(Interest::WRITABLE, send).await.map(|_| ())
    }
}

/// Leases from before.
pub(super) async fn stored(store: &Arc<dyn Store>) -> Vec<LeaseRecord> {
    let store = Arc::clone(store);
    match tokio::task::spawn_blocking(move || store.leases()).await {
        Ok(Ok(leases)) => leases,
        Ok(Err(error)) => {
            tracing::error!(%error, "the leases of unknown machines are not known");
            vec![]
        }
        Err(error) => {
            tracing::error!(%error, "the leases of unknown machines are not known");
            vec![]
        }
    }
}

/// Stores leases, many at a time, and does what was promised on them. `returned` gets those that other heads have lent.
pub(super) async fn keep(
    acting: Acting,
    mut promises: mpsc::Receiver<Promise>,
    returned: mpsc::Sender<Vec<LeaseRecord>>,
) {
    let mut batch = vec![];
    while promises.recv_many(&mut batch, TOGETHER).await > 0 {
        let records: Vec<LeaseRecord> = batch.iter().flat_map(|promise| promise.records.clone()).collect();
        let (store, now) = (Arc::clone(&acting.services.store), acting.services.trace.now());
        let written = tokio::task::spawn_blocking(move || store.lend(&records, now)).await;
        let outcomes = match written {
            Ok(Ok(outcomes)) => outcomes,
            // No lease that a restart would forget: the machine asks again.
            Ok(Err(error)) => {
                tracing::error!(%error, "leases of unknown machines are not stored");
                batch.clear();
                continue;
            }
            Err(_) => return,
        };
        let mut outcomes = outcomes.into_iter();
        for promise in batch.drain(..) {
            let taken: Vec<LeaseRecord> = outcomes.by_ref().take(promise.records.len()).flatten().collect();
            if taken.is_empty() {
                for output in promise.then {
                    acting.act(output).await;
                }
            } else if returned.send(taken).await.is_err() {
                return;
            }
        }
    }
}
