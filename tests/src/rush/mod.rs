//! What a power-on of thousands does to the boot services: clients that load them as firmware does, and the peers' figures for the
//! same work on the same host.

mod dhcp;
mod http;
mod servers;
mod tftp;

pub use dhcp::{DhcpRow, dhcp, dhcp_table};
pub use http::{HttpRow, http, http_table};
pub use tftp::{TftpRow, tftp, tftp_table};
