//! Orders of the head to this running node. The node keeps one request open at a head; an answer is an order, or after minutes the
//! word that there is none.
//!
//! * `inbox`: pure; what is said and what is new. * `listener`: the task that asks.

mod inbox;
mod listener;

pub use inbox::Inbox;
pub use listener::{Listener, Told};
