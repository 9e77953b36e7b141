//! The head of a Wulfpack cluster: the library behind the `wulf` binary.

pub mod admin;
pub mod boot;
pub mod cli;
pub mod config;
pub mod dhcp;
pub mod dhcp6;
pub mod discover;
pub mod exit;
pub mod fleet;
pub mod http;
pub mod image;
pub mod import;
pub mod join;
pub mod ndp;
pub mod nodeset;
pub mod orders;
pub mod overlay;
pub mod plan;
pub mod registry;
pub mod remote;
pub mod serve;
pub mod store;
pub mod tftp;
pub mod trace;
pub mod tracker;
