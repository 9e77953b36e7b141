//! A cluster over loopback, and stores that misbehave.

mod cluster;
mod stores;

pub(crate) use cluster::{Cluster, Member, until};
pub(crate) use stores::{Full, Gate, Liar};
