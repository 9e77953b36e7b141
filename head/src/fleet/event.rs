//! What boot services tell the fleet about a machine, before its agent can speak for itself.

use std::net::IpAddr;
use std::sync::Arc;

use wulfpack_shared::id::{Mac, NodeName};
use wulfpack_shared::wire::Phase;

/// A boot service answered a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootEvent {
    /// The machine.
    pub mac: Mac,
    /// The node it is, if known.
    pub node: Option<NodeName>,
    /// `Dhcp`, `Nbp`, `Script` or `Kernel`.
    pub phase: Phase,
    /// Its address at that moment, if known.
    pub ip: Option<IpAddr>,
    /// For a person: what was answered, such as the name of the file.
    pub detail: String,
    /// Bytes sent for it.
    pub bytes: u64,
}

/// Where boot services put their events. It must neither block nor fail.
pub trait BootEvents: Send + Sync + std::fmt::Debug {
    /// Takes one event.
    fn record(&self, event: BootEvent);

    /// Takes a warning for administrators that is about no node in particular.
    fn warn(&self, _text: String) {}
}

impl<T: BootEvents> BootEvents for Arc<T> {
    fn record(&self, event: BootEvent) {
        (**self).record(event);
    }

    fn warn(&self, text: String) {
        (**self).warn(text);
    }
}
