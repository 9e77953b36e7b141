//! The swarm engine: who asks whom for what, and who serves whom. Pure: it is told what happened and says what to do.
//!
//! The same engine runs on the head, on every node, and ten thousand at a time in the simulator. It never sees image bytes:
//! it says `Fetch { peer, run }`, the shell streams, hashes and stores, and answers `Verified` or `Corrupt`.
//!
//! * `event.rs`: the contract, every input and output; `config.rs` and `stats.rs`: what goes in once and what is counted.
mod config;
mod event;
mod stats;

pub use config::Config;
pub use event::{
    Candidate, Choice, CloseReason, End, Event, ImageIx, Input, Misdeed, Output, PeerIx, PeerKind, PeerMessage, Reason,
    RefuseReason, ReqId, ServeId,
};
pub use stats::Stats;
