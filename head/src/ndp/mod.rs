//! An answer to the router solicitations of known machines: "no router here", and, to those with an IPv6 address of their own in
//! the registry, "ask by DHCPv6; these networks are on this link" (RFC 4861).
//!
//! iPXE configures IPv4 and IPv6 side by side and goes on when both have ended; with nobody to answer, IPv6 ends after 16 s of
//! every boot. The answer names no router, no prefix and no other server, goes to the machine that asked and to nobody else,
//! and changes nothing for a system that asks later: `solicitation.rs` decides, `io.rs` owns the sockets.

mod io;
mod solicitation;

pub use io::{BindError, Server};
pub use solicitation::{ADVERTISEMENT, read};
