//! Transfers that run now: their number is bounded, and each tells the fleet when its file was handed out whole.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_tftp::packet::Error;
use async_tftp::server::Handler;
use bytes::Bytes;
use futures::io::{AsyncRead, Sink};
use tokio::sync::watch;
use wulfpack_shared::wire::Phase;

use super::files::Files;
use crate::dhcp::Evidence;
use crate::fleet::{BootEvent, BootEvents};
use crate::registry::Snapshot;

/// Most transfers of all machines and of one. One that a machine has aborted counts until its retries are over.
const TRANSFERS_MAX: u32 = 512;
const TRANSFERS_OF_ONE_MAX: u32 = 4;

/// Answers requests for files.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub(super) files: Arc<Files>,
    pub(super) nodes: watch::Receiver<Arc<Snapshot>>,
    pub(super) evidence: Evidence,
    pub(super) events: Arc<dyn BootEvents>,
    pub(super) running: Arc<Mutex<Running>>,
}

#[derive(Debug, Default)]
pub(super) struct Running {
    all: u32,
    by_machine: BTreeMap<IpAddr, u32>,
}

impl Running {
    fn begin(&mut self, machine: IpAddr) -> bool {
        let of_one = self.by_machine.get(&machine).copied().unwrap_or(0);
        let room = self.all < TRANSFERS_MAX && of_one < TRANSFERS_OF_ONE_MAX;
        if room {
            self.all += 1;
            self.by_machine.insert(machine, of_one + 1);
        }
        room
    }

    fn end(&mut self, machine: IpAddr) {
        self.all = self.all.saturating_sub(1);
        if let Some(of_one) = self.by_machine.get_mut(&machine) {
            *of_one -= 1;
            if *of_one == 0 {
                self.by_machine.remove(&machine);
            }
        }
    }
}

/// One transfer of one file.
#[derive(Debug)]
pub(super) struct Transfer {
    left: Bytes,
    len: u64,
    name: String,
    machine: IpAddr,
    desk: Desk,
}

impl Handler for Desk {
    type Reader = Transfer;
    type Writer = Sink;

    async fn read_req_open(&mut self, client: &SocketAddr, path: &Path) -> Result<(Transfer, Option<u64>), Error> {
        let asked = path.to_str().unwrap_or_default();
        let Some((name, bytes)) = self.files.find(asked) else {
            tracing::debug!(%client, asked, "TFTP request for a file that is not served");
            return Err(Error::FileNotFound);
        };
        let machine = client.ip();
        if !self.running.lock().unwrap_or_else(PoisonError::into_inner).begin(machine) {
            tracing::warn!(%client, name, "TFTP request refused: too many transfers");
            return Err(Error::Msg("too many transfers, try again".into()));
        }
        let len = bytes.len() as u64;
        Ok((Transfer { left: bytes.clone(), len, name: name.to_owned(), machine, desk: self.clone() }, Some(len)))
    }

    async fn write_req_open(&mut self, _: &SocketAddr, _: &Path, _: Option<u64>) -> Result<Sink, Error> {
        Err(Error::PermissionDenied)
    }
}

impl AsyncRead for Transfer {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let len = buffer.len().min(self.left.len());
        let piece = self.left.split_to(len);
        if let Some(space) = buffer.get_mut(..len) {
            space.copy_from_slice(&piece);
        }
        Poll::Ready(Ok(len))
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.desk.running.lock().unwrap_or_else(PoisonError::into_inner).end(self.machine);
        // Firmware first asks for the size alone and aborts: only a file that was read to its end was handed out.
        if !self.left.is_empty() {
            return;
        }
        let IpAddr::V4(address) = self.machine else { return };
        let Some(mac) = self.desk.evidence.mac_of(address) else { return };
        let node = self.desk.nodes.borrow().by_mac(mac).map(|node| node.name.clone());
        let ip = Some(self.machine);
        let detail = core::mem::take(&mut self.name);
        self.desk.events.record(BootEvent { mac, node, phase: Phase::Nbp, ip, detail, bytes: self.len });
    }
}
