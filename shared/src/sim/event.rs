//! What happens at a time.

use super::Fault;
use super::flows::FlowId;
use super::link::Piece;
use crate::swarm::{Choice, Input, ReqId, ServeId};

#[derive(Debug)]
pub(super) enum Event {
    Start {
        node: u32,
        life: u32,
    },
    JoinAsked {
        node: u32,
        life: u32,
    },
    TrackerAsked {
        node: u32,
        life: u32,
        want: u16,
    },
    /// Not bound to a connection.
    Tell {
        node: u32,
        life: u32,
        input: Input,
    },
    /// Over a connection; void if it is gone.
    Message {
        conn: u64,
        from: u32,
        to: u32,
        input: Input,
    },
    Ask {
        conn: u64,
        from: u32,
        to: u32,
        req: ReqId,
        choice: Choice,
    },
    Withdraw {
        conn: u64,
        from: u32,
        to: u32,
        req: ReqId,
    },
    DialArrived {
        from: u32,
        life: u32,
        to: u32,
    },
    Established {
        from: u32,
        from_life: u32,
        to: u32,
        to_life: u32,
    },
    /// This end learns that the connection is gone.
    Gone {
        conn: u64,
        node: u32,
        peer: u32,
    },
    Wake {
        node: u32,
        life: u32,
    },
    /// A link may send its next piece.
    Turn {
        node: u32,
    },
    /// A unit has gone through, if the rates are still what they were.
    Through,
    /// A piece is at the uplink of the rack where it belongs.
    Hop(Box<Piece>),
    /// A piece that went through the core is at the receiver's link.
    Land(Box<Piece>),
    /// The last byte of a flow has left.
    AllSent {
        from: u32,
        life: u32,
        serve: ServeId,
    },
    /// The last byte of a unit is there.
    Arrived {
        flow: FlowId,
        unit: u32,
        corrupt: bool,
        last: bool,
    },
    Fault {
        node: u32,
        fault: Fault,
    },
}
