//! Addresses that count up over the nodes of a command.

use std::net::IpAddr;

use crate::exit::{Ended, Exit};

pub(super) fn usage(message: impl Into<String>) -> anyhow::Error {
    Ended::new(Exit::Usage, message).into()
}

/// The address `index` above this one.
pub(super) fn count_up(flag: &str, first: &str, index: u32) -> anyhow::Result<String> {
    if index == 0 {
        return Ok(first.to_owned());
    }
    let ip: IpAddr = first.parse().map_err(|error| usage(format!("--{flag} {first}: {error}")))?;
    let next = match ip {
        IpAddr::V4(ip) => ip.to_bits().checked_add(index).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(ip) => ip.to_bits().checked_add(index.into()).map(|bits| IpAddr::V6(bits.into())),
    };
    next.map(|ip| ip.to_string()).ok_or_else(|| usage(format!("--{flag} {first}: no {index} addresses follow it")))
}
