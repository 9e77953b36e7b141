//! quinn, tuned for a machine room: links of 1 to 100 Gbit/s, round trips far below a millisecond, thousands of nodes that boot
//! at once. Its defaults are made for 100 Mbit/s over 100 ms.
//!
//! * `tuning.rs`: link and image to transport parameters, pure.
//! * `socket.rs`: the UDP socket below. `meter.rs`: what passes it, counted and marked.
//! * `data.rs`: dialling and accepting members.

mod data;
mod meter;
mod socket;
mod tuning;

pub use quinn::Connection;

pub use data::{DataEndpoint, DialError, EndpointError};
pub use meter::{HEADERS_IPV4, WireMeter};
pub use socket::{BindError, DataSocket};
pub use tuning::{Knobs, Tuning};
