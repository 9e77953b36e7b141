//! What this machine is: for a head that does not know it.
//!
//! * `lldp`: what the switches say of themselves; pure. `listen`: hears them, for a bounded time.
//! * `dmi`: firmware's tables; pure. `ipmi`: the management controller's own word.
//! * `inventory`: everything together, from sysfs.

mod dmi;
mod inventory;
mod ipmi;
mod listen;
mod lldp;

pub use dmi::{Management, management};
pub use inventory::inventory;
pub use listen::{HEARING, hear};
pub use lldp::neighbour;
