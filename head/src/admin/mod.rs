//! The administrator's API on a unix socket: what the command line asks the running head.
//!
//! * `api`: what is said. * `server`: the head's side. * `client`: the command line's side.
//! * `orders`: what running nodes are told. `overlays`: what nodes would get. `actions`: what the head does for an administrator. `events`: what happened, now and next.
//! * `discover`: machines that no registry knows. `who`: who somebody is, for records.

mod actions;
mod api;
mod client;
mod discover;
mod events;
mod once;
mod orders;
mod overlays;
mod server;
#[cfg(test)]
mod tests;
mod trace;
mod who;

pub use actions::key_record;
pub use api::{
    ApproveAnswer, ApproveRequest, ApprovedBoot, DhcpOverride, DhcpStatus, Event, HeadStatus, KeyDeed, KeyInfo,
    KeysChange, NodeOverlays, OrdersAnswer, OrdersRequest, Problem, RenderedFile, ReportRequest, ServiceStatus, Status,
    TicketAnswer, TicketFor, TicketRequest, UnknownMachine,
};
pub use client::{AdminClient, ClientError};
pub use discover::{AdoptAnswer, AdoptRequest, DiscoverList, DiscoveredMachine, ForgetAnswer, ForgetRequest};
pub use once::{OnceAnswer, OnceRequest};
pub use server::{AdminError, AdminServer, AdminServices, HeadFacts};
pub use trace::TraceLine;
pub use who::user_name;
