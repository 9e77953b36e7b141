//! TFTP, for boot programs and for loaders that speak nothing else.
//!
//! Everything is served by name, from memory; there is no directory to walk out of. `machine.rs` decides who is served when,
//! `sender.rs` what is sent again, `path.rs` what a name means, `io.rs` owns the sockets. It is our own and not async-tftp, whose
//! first user it replaced: there a client that aborts keeps its place until the retries are over, nobody can be made to wait for
//! a turn, and what it does cannot be simulated.

mod io;
mod machine;
mod packet;
mod path;
mod sender;

pub use io::{BindError, Options, Server};
pub use machine::{Counters, Input, Machine, Output};
pub use packet::{Packet, ReadRequest, parse};
pub use path::Wanted;

#[cfg(test)]
mod tests;
