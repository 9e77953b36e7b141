//! A cluster over loopback, and stores that misbehave.

mod cluster;
mod stores;

pub(crate) use cluster::{Cluster, until};
pub(crate) use stores::{Full, Gate, Liar};
