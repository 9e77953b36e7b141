//! What the head's own system needs: hosts file, NFS exports, SSH keys; and what another DHCP server has to know.
//!
//! * `block`: a marked part of a file that is otherwise the administrator's. * `files`: files as they will be, compared and written.
//! * `hosts`, `exports`, `ssh`: what is written. * `commands`: what is run afterwards.
//! * `outside`: what another DHCP server has to know; `isc`, `kea`, `dnsmasq`: in its own words.

mod block;
mod commands;
mod dnsmasq;
mod exports;
mod files;
mod hosts;
mod isc;
mod kea;
mod outside;
mod ssh;
#[cfg(test)]
mod tests;

pub use block::BlockError;
pub use commands::Run;
pub use exports::exports;
pub use files::FileChange;
pub use hosts::hosts;
pub use outside::{Dialect, Outside};
pub use ssh::{authorized_keys, keygen, known_hosts, public_keys};
