//! Agent to head and back: every request, every answer, and why a head says no. The connection (libp2p over TCP and Noise) proves
//! the agent's key.

use serde::{Deserialize, Serialize};

use crate::time::UnixTime;
use crate::wire::{
    Adoption, AwaitAdoption, DiscoverRequest, Discovered, JoinAnswer, JoinRequest, Listen, Orders, OverlaysAnswer,
    OverlaysRequest, RenewAnswer, RenewRequest, ReportBatch, TrackAnswer, TrackRequest,
};

/// What an agent asks of a head. A key without a valid certificate may only send `Join`, and, where
/// discovery is on, `Discover` and `AwaitAdoption`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlRequest {
    /// Become a member.
    Join(Box<JoinRequest>),
    /// Announce what this member holds and ask for peers.
    Track(TrackRequest),
    /// Tell what happened.
    Report(ReportBatch),
    /// A new certificate before the old one ends.
    Renew(RenewRequest),
    /// This node goes down and boots again at once: where boots wait for approval, its next one shall not.
    NextBoot,
    /// Wait for orders.
    Listen(Listen),
    /// The runtime overlays as they would be now.
    Overlays(OverlaysRequest),
    /// A machine that no registry knows tells what it is.
    Discover(Box<DiscoverRequest>),
    /// Such a machine waits for what becomes of it.
    AwaitAdoption(AwaitAdoption),
}

/// What the head answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlResponse {
    /// To `Join`.
    Joined(Box<JoinAnswer>),
    /// To `Track`.
    Peers(TrackAnswer),
    /// To `Report`: the highest sequence number now safe with the head.
    Recorded {
        /// Events up to and including this one need not be sent again.
        through: u64,
    },
    /// To `Renew`.
    Renewed(RenewAnswer),
    /// To any of them.
    Refused(Refusal),
    /// To `NextBoot`.
    Expected {
        /// The boot has to begin before that.
        until: UnixTime,
    },
    /// To `Listen`.
    Orders(Orders),
    /// To `Overlays`.
    Overlays(OverlaysAnswer),
    /// To `Discover`.
    Discovered(Discovered),
    /// To `AwaitAdoption`.
    Adoption(Adoption),
}

/// Why the head said no, for the person at the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What to do about it in code.
    pub reason: RefusalReason,
    /// What to show.
    pub text: String,
}

/// Kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalReason {
    /// The token is forged, expired, or was redeemed by another key.
    Token,
    /// This key has no valid certificate.
    NotMember,
    /// The node has no image, or the image has no built version.
    NoImage,
    /// Something in the head's configuration must be mended first.
    Configuration,
    /// Try again later.
    Busy,
    /// The agent speaks another version.
    Version,
}
