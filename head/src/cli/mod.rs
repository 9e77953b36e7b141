//! The `wulf` command line. Each group of commands is a file: its clap types and a `run`.
//!
//! * `root`: the whole command line; parses, sets up logging, dispatches, turns errors into exit codes.
//! * `context`: options of every command.
//! * `fields`: flags that set fields of a node or a profile. `change`: shows, asks, saves. `difference`: what is shown.
//! * `section`: nodes or profiles as YAML: edit, export, import. `node_list`: what is listed and shown of nodes.
//! * `import`: another system's head becomes one of ours.
//! * `ssh`: a command on many nodes.
//! * `history`: states that the registry was in, and the way back to them.
//! * `nodes`: the nodes that a command is about; asks before many are changed.
//! * `once`: what nodes boot once.
//! * `power`: what management controllers do.
//! * `in_use`: which image versions running nodes use.
//! * `service`: what `init` prepares for the service, its user and its unit.
//! * `audit`: records of what commands do without the head.
//! * `plan`: simulates what a cluster would do.
//! * `running`: asks the running head. `report`, `status`, `log`: what it knows of boots. `approve`: lets them go on.
//! * `overlay`: what nodes are made of beside their image.
//! * `orders`: tells running nodes to do something, and shows how it goes.
//! * `discover`: machines that no registry knows. `adopt`: they become nodes.
//! * `dhcp`: whether boot services answer. `events`: what happened in the cluster.
//! * `explain`: what a machine would be told, and why.
//! * `clean`: removes what is needed no more.
//! * `complete`: what a shell completes.
//! * `configure`: what this host's own system needs.
//! * `doctor`: what is wrong with this head.
//! * `render`: tables, JSON and YAML on standard output.

mod adopt;
mod approve;
mod audit;
mod change;
mod clean;
mod complete;
mod config;
mod configure;
mod context;
mod dhcp;
mod difference;
mod discover;
mod doctor;
mod events;
mod explain;
mod fields;
mod history;
mod image;
mod import;
mod in_use;
mod init;
mod key;
mod log;
mod node;
mod node_list;
mod nodes;
mod once;
mod orders;
mod overlay;
mod overlay_change;
mod plan;
mod power;
mod profile;
mod render;
mod report;
mod root;
mod running;
mod section;
mod serve;
mod service;
mod ssh;
mod status;
mod swarm;
#[cfg(test)]
pub(crate) mod testing;
mod ticket;
mod trace;

pub use adopt::AdoptArgs;
pub use approve::ApproveArgs;
pub use clean::CleanCommand;
pub use config::ConfigCommand;
pub use configure::ConfigureCommand;
pub use context::{Context, OutputFormat};
pub use dhcp::DhcpCommand;
pub use discover::DiscoverCommand;
pub use doctor::DoctorCommand;
pub use events::EventsCommand;
pub use explain::ExplainCommand;
pub use history::{DiffCommand, HistoryCommand, UndoCommand};
pub use image::ImageCommand;
pub use import::{ImportCommand, UpgradeCommand};
pub use init::InitCommand;
pub use key::KeyCommand;
pub use log::LogArgs;
pub use node::NodeCommand;
pub use once::BootArgs;
pub use overlay::OverlayCommand;
pub use plan::PlanArgs;
pub use power::PowerCommand;
pub use profile::ProfileCommand;
pub use render::{Cell, Style, Table, note, print, print_table, write_out};
pub use report::BootCommand;
pub use root::{Wulf, main};
pub use serve::serve;
pub use ssh::SshCommand;
pub use status::StatusArgs;
pub use swarm::SwarmCommand;
pub use ticket::TicketCommand;
