//! The shell that drives the swarm engine on real connections. One task owns the engine; tasks of connections, requests and served
//! requests tell it what happened and do what it says. No image byte passes through the engine's task.
//!
//! * `handle.rs`: what the rest of a process holds: [`Swarm`]. `config.rs`: what it is started with. `event.rs`: what it tells.
//! * `driver.rs`: the task that owns the engine. `hear.rs`: what happened, in. `act.rs`: what the engine wants, out.
//! * `directory.rs`: who is known, by which index, over which connection.
//! * `link.rs`: one connection: hello, messages both ways, requests coming in.
//! * `fetch.rs`: one of our requests. `serve.rs`: one of theirs. `throttle.rs`: caps on both.
//! * `frame.rs`: messages on a stream. `board.rs`: what an image holds and has counted, shared by all of these.

mod act;
mod board;
mod config;
mod directory;
mod driver;
mod event;
mod fetch;
mod frame;
mod handle;
mod hear;
mod link;
mod note;
mod serve;
mod throttle;

pub use config::{SwarmConfig, SwarmError};
pub use event::SwarmEvent;
pub use handle::Swarm;
