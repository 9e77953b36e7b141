//! The swarm engine: who asks whom for what, and who serves whom. Pure: it is told what happened and says what to do.
//!
//! The same engine runs on the head, on every node, and ten thousand at a time in the simulator. It never sees image bytes:
//! it says `Fetch { peer, run }`, the shell streams, hashes and stores, and answers `Verified` or `Corrupt`.
//!
//! * `machine.rs`: state, dispatch, timers; `image.rs` and `peers.rs`: what we and others hold.
//! * `source.rs`: whom to ask for what; `offer.rs`: what a peer has for us; `picker.rs`: rarest first.
//! * `fetch.rs` and `tail.rs`: requests, deadlines, endgame, starving; `deadline.rs`: how long a run may take; `trust.rs`: corrupt units.
//! * `serve.rs` and `slots.rs`: slots, and who is told of free ones; `head.rs`: what a head gives out; `have.rs`: announcements; `neighbours.rs`: dialling and parting.
//! * `locality.rs`: how much a node asks of other racks.
//! * `event.rs`: the contract, every input and output; `config.rs` and `stats.rs`: what goes in once and what is counted.
mod bits;
mod config;
mod deadline;
mod event;
mod fetch;
mod have;
mod head;
mod image;
mod locality;
mod machine;
mod neighbours;
mod offer;
mod peers;
mod picker;
mod serve;
mod slots;
mod source;
mod stats;
mod tail;
mod trust;

pub use config::Config;
pub use event::{
    Candidate, Choice, CloseReason, End, Event, ImageIx, Input, Misdeed, Output, PeerIx, PeerKind, PeerMessage, Reason,
    RefuseReason, ReqId, ServeId,
};
pub use machine::Engine;
pub use stats::Stats;

#[cfg(test)]
mod tests;
