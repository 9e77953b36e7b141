//! What an engine counted since it was made.

/// Counters; bytes are those of whole units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Verified bytes that came from heads.
    pub bytes_from_heads: u64,
    /// Verified bytes that came from other members.
    pub bytes_from_peers: u64,
    /// Bytes of units that arrived although they were held already: endgame and late cancels.
    pub bytes_duplicate: u64,
    /// Bytes of the runs that we began to serve.
    pub bytes_offered: u64,
    /// Requests sent.
    pub requests: u64,
    /// Requests that a peer turned down for want of a slot.
    pub busy: u64,
    /// Requests that a peer turned down because it did not hold them, or had nothing for us.
    pub refused: u64,
    /// Requests cancelled because they missed their deadline.
    pub missed: u64,
    /// Requests sent for units that were in flight elsewhere (endgame).
    pub endgame: u64,
    /// Requests cancelled because all they were for had arrived elsewhere.
    pub superseded: u64,
    /// Corrupt units received.
    pub corrupt: u64,
    /// Requests of peers served.
    pub served: u64,
    /// Requests of peers turned down.
    pub turned_down: u64,
    /// Announcements sent.
    pub haves: u64,
    /// Messages sent that tell a peer of free slots, or of none.
    pub slot_messages: u64,
    /// Times that the engine was called because something was due.
    pub ticks: u64,
    /// Peers connected now.
    pub peers: u32,
    /// Own requests under way now.
    pub in_flight: u32,
}
