//! Asks the management controller for its address (IPMI 2.0, 23.2 "Get LAN Configuration Parameters"), over the kernel's driver
//! (Linux, include/uapi/linux/ipmi.h). It blocks for a few seconds at worst.
#![expect(unsafe_code, reason = "the driver is spoken to by ioctl, with pointers in its structures")]

use core::ffi::{c_int, c_long, c_short, c_uchar, c_uint, c_ushort};
use core::net::Ipv4Addr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use wulfpack_shared::id::Mac;

/// The first controller.
const DEVICE: &str = "/dev/ipmi0";
/// `IPMI_SYSTEM_INTERFACE_ADDR_TYPE` and `IPMI_BMC_CHANNEL`.
const SYSTEM_INTERFACE: c_int = 0x0c;
const BMC_CHANNEL: c_short = 0x0f;
/// Network function "transport", command "get LAN configuration parameters".
const TRANSPORT: u8 = 0x0c;
const GET_LAN: u8 = 0x02;
/// Parameters (table 23-4).
const IP_ADDRESS: u8 = 3;
const MAC_ADDRESS: u8 = 5;
/// Channels that are a network port, by custom.
const CHANNELS: [u8; 4] = [1, 2, 3, 8];
/// Longest wait for an answer. Milliseconds.
const PATIENCE_MS: u16 = 1000;
/// Most answers to something else that are passed over.
const OTHERS_MAX: usize = 8;

#[repr(C)]
struct Address {
    kind: c_int,
    channel: c_short,
    lun: c_uchar,
}

#[repr(C)]
struct Message {
    netfn: c_uchar,
    cmd: c_uchar,
    len: c_ushort,
    data: *mut c_uchar,
}

#[repr(C)]
struct Request {
    address: *mut c_uchar,
    address_len: c_uint,
    id: c_long,
    message: Message,
}

#[repr(C)]
struct Received {
    kind: c_int,
    address: *mut c_uchar,
    address_len: c_uint,
    id: c_long,
    message: Message,
}

mod call {
    use super::{Received, Request};
    nix::ioctl_readwrite!(receive, b'i', 11, Received);
    nix::ioctl_read!(send, b'i', 13, Request);
}

/// Address and MAC address of the controller on its network; `None` without a controller or a driver for it.
pub(super) fn lan() -> Option<(Option<Ipv4Addr>, Option<Mac>)> {
    let device = OpenOptions::new().read(true).write(true).open(Path::new(DEVICE)).ok()?;
    for channel in CHANNELS {
        let ask = |parameter| parameter_of(&device, channel, parameter);
        match ask(IP_ADDRESS) {
            Ok(answer) => {
                let ip = value(&answer).map(Ipv4Addr::from).filter(|ip| !ip.is_unspecified());
                let mac = ask(MAC_ADDRESS).ok().and_then(|answer| value(&answer).map(Mac));
                return Some((ip, mac));
            }
            Err(error) => tracing::debug!(%error, channel, "the management controller"),
        }
    }
    Some((None, None))
}

/// What follows completion code (0: done) and revision.
fn value<const N: usize>(answer: &[u8]) -> Option<[u8; N]> {
    match answer.split_first_chunk::<2>()? {
        ([0, _], value) => value.first_chunk().copied(),
        _ => None,
    }
}

fn parameter_of(device: &File, channel: u8, parameter: u8) -> io::Result<Vec<u8>> {
    let mut address = Address { kind: SYSTEM_INTERFACE, channel: BMC_CHANNEL, lun: 0 };
    let mut data = [channel, parameter, 0, 0];
    let id = c_long::from(channel) << 8 | c_long::from(parameter);
    let len = c_uint::try_from(size_of::<Address>()).map_err(io::Error::other)?;
    let message = Message { netfn: TRANSPORT, cmd: GET_LAN, len: 4, data: data.as_mut_ptr() };
    let mut request = Request { address: (&raw mut address).cast(), address_len: len, id, message };
    // SAFETY: the driver reads the request, and through its pointers `address` and `data`, which outlive the call.
    unsafe { call::send(device.as_raw_fd(), &raw mut request) }?;
    for _ in 0..OTHERS_MAX {
        let mut ready = [PollFd::new(device.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(PATIENCE_MS))? == 0 {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer"));
        }
        let mut buffer = [0; 64];
        let mut from = Address { kind: 0, channel: 0, lun: 0 };
        let message = Message { netfn: 0, cmd: 0, len: 64, data: buffer.as_mut_ptr() };
        let mut received = Received { kind: 0, address: (&raw mut from).cast(), address_len: len, id: 0, message };
        // SAFETY: the driver writes at most `address_len` and `len` bytes through the pointers, which outlive the call.
        unsafe { call::receive(device.as_raw_fd(), &raw mut received) }?;
        if received.id == id {
            let answer = buffer.get(..usize::from(received.message.len)).unwrap_or_default().to_vec();
            return if answer.first() == Some(&0) {
                Ok(answer)
            } else {
                Err(io::Error::other(format!("completion code {:#x}", answer.first().copied().unwrap_or(0xff))))
            };
        }
    }
    Err(io::Error::other("it answers other questions"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_only_whole_and_without_an_error() {
        assert_eq!(value(&[0, 0x11, 10, 9, 0, 1]), Some([10, 9, 0, 1]));
        assert_eq!(value::<4>(&[0, 0x11, 10, 9, 0]), None);
        assert_eq!(value::<4>(&[0x80, 0x11, 10, 9, 0, 1]), None);
        assert_eq!(value::<4>(&[]), None);
    }

    #[test]
    fn structures_are_as_large_as_the_kernels() {
        // struct ipmi_req and ipmi_recv on 64 bits.
        assert_eq!((size_of::<Address>(), size_of::<Request>(), size_of::<Received>()), (8, 40, 48));
    }
}
