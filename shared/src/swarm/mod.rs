//! The swarm engine: who asks whom for what, and who serves whom. Pure: it is told what happened and says what to do.
//!
//! The same engine runs on the head, on every node, and ten thousand at a time in the simulator. It never sees image bytes:
//! it says `Fetch { peer, run }`, the shell streams, hashes and stores, and answers `Verified` or `Corrupt`.
//!
//! * `event.rs`: the contract, every input and output.
mod event;

pub use event::{
    Candidate, Choice, CloseReason, End, Event, ImageIx, Input, Misdeed, Output, PeerIx, PeerKind, PeerMessage,
    RefuseReason, ReqId, ServeId,
};
