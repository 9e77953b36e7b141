//! Thousands of agents that join one head in the same moment, while a transfer runs: what each costs the head.
//!
//! * `storm`: the agents, all in this process, each with its own key and its own connection. * `watch`: memory, and whether bytes flow.
//! * `memory`: what idle connections cost a node. `neighbour`: caps, and a job beside a node that serves.

mod memory;
mod neighbour;
mod storm;
mod watch;

pub use memory::{MemoryRow, memory, memory_table};
pub use neighbour::{NeighbourRow, neighbour, neighbour_table};
pub use storm::{JoinRow, join_table, joins};
