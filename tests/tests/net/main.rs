//! Real sockets over loopback: the swarm's shell, and `wulf-agent fetch` as a whole.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails fails its test")]

mod common;
mod fetch;
mod swarm;
