//! Networks, machines and processes that a test makes for itself, and that are gone when it ends.
//!
//! A [`Lab`] is a switch in a network namespace. Every port leads into a namespace of its own, with a link of a chosen
//! rate; in it runs the head, an agent process, or a QEMU machine. Nothing here reaches a network outside.

mod agents;
mod boots;
pub mod cleanup;
mod debian;
mod dhclients;
mod dnsmasq;
mod head;
mod kept;
mod lab;
mod meter;
mod netns;
mod paths;
mod pauses;
mod process;
mod qemu;
mod qmp;
mod rate;
mod registry;
mod ssh;
mod tiny;
mod tool;
mod watch;

pub use agents::{Fetch, FetchReport};
pub use boots::{machine_ports, power_on_all, wait_for_all};
pub use debian::{Flavour, debian_tar};
pub use dhclients::{DhcpClient, Told, dhcrelay};
pub use dnsmasq::dnsmasq;
pub use head::{HEAD_USER, Head};
pub use kept::Kept;
pub use lab::{Lab, Port};
pub use meter::{CpuMeter, CpuUse, bytes_received, bytes_sent};
pub use netns::Namespace;
pub use paths::{agent_binary, cache_dir, head_binary, repo_dir};
pub use pauses::{PauseMeter, Pauses};
pub use process::{Console, Process};
pub use qemu::{Firmware, Machine, MachineSpec, Nic};
pub use rate::Rate;
pub use registry::{OciRegistry, REGISTRY_PASSWORD, REGISTRY_USER, Step, make_image};
pub use ssh::{KeyPair, Login, login_command, wait_for_banner};
pub use tiny::{TINY_RELEASE, noise, sized_root, tiny_root};
pub use tool::{ip, require, run};
