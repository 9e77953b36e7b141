//! Hears LLDP on several interfaces, one packet socket each (packet(7)), for as long as a switch may take to speak.
#![expect(
    unsafe_code,
    reason = "no safe wrapper among our dependencies builds a sockaddr_ll or joins a group on a packet socket"
)]

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;
use wulfpack_shared::limits::LLDP_FRAME_MAX;
use wulfpack_shared::wire::Neighbour;

use super::lldp;

/// How long a switch that speaks at all may be silent: the default of msgTxInterval, and a little (IEEE 802.1AB-2016, 9.2.5).
pub const HEARING: Duration = Duration::from_secs(33);
/// EtherType of LLDP.
const ETHERTYPE: u16 = 0x88cc;
/// The nearest bridge, the nearest bridge that is no hub, the nearest customer bridge (table 7-1).
const GROUPS: [[u8; 6]; 3] = [[1, 0x80, 0xc2, 0, 0, 0x0e], [1, 0x80, 0xc2, 0, 0, 3], [1, 0x80, 0xc2, 0, 0, 0]];

/// The neighbours of these interfaces, by index; ends when each has said something, or when the time is over. An interface that
/// cannot be listened on has none.
pub async fn hear(interfaces: &[u32], within: Duration) -> BTreeMap<u32, Neighbour> {
    let mut listening = JoinSet::new();
    for &index in interfaces {
        listening.spawn(async move {
            let heard = first(index).await;
            heard.inspect_err(|error| tracing::debug!(%error, index, "no LLDP")).ok().map(|found| (index, found))
        });
    }
    let mut heard = BTreeMap::new();
    let all = async {
        while let Some(done) = listening.join_next().await {
            heard.extend(done.ok().flatten());
        }
    };
    // The time is over: what was heard counts.
    let _over = tokio::time::timeout(within, all).await;
    heard
}

async fn first(index: u32) -> io::Result<Neighbour> {
    let socket = open(index)?;
    let mut frame = [0; LLDP_FRAME_MAX];
    loop {
        let len = socket.async_io(tokio::io::Interest::READABLE, |mut socket| socket.read(&mut frame)).await?;
        if let Some(found) = lldp::neighbour(frame.get(..len).unwrap_or_default()) {
            return Ok(found);
        }
    }
}

fn open(index: u32) -> io::Result<AsyncFd<Socket>> {
    let protocol = ETHERTYPE.to_be();
    let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking(), Some(Protocol::from(i32::from(protocol))))?;
    let mut storage = SockAddrStorage::zeroed();
    let index = i32::try_from(index).map_err(io::Error::other)?;
    // SAFETY: sockaddr_ll is one of the platform's address types, and all zeros is valid for it.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    link.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    link.sll_protocol = protocol;
    link.sll_ifindex = index;
    let len = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    // SAFETY: the storage holds a sockaddr_ll, whose length this is.
    socket.bind(&unsafe { SockAddr::new(storage, len) })?;
    for group in GROUPS {
        let mut address = [0; 8];
        address[..6].copy_from_slice(&group);
        let request = libc::packet_mreq {
            mr_ifindex: index,
            mr_type: u16::try_from(libc::PACKET_MR_MULTICAST).map_err(io::Error::other)?,
            mr_alen: 6,
            mr_address: address,
        };
        let len = libc::socklen_t::try_from(size_of::<libc::packet_mreq>()).map_err(io::Error::other)?;
        // SAFETY: the descriptor is open, and the kernel reads `len` bytes of a structure that lives until it returns.
        let done = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_ADD_MEMBERSHIP,
                (&raw const request).cast(),
                len,
            )
        };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: the socket owns its descriptor, always returns the same one, and is closed only with the AsyncFd.
    Ok(unsafe { AsyncFd::register(socket) }?)
}
