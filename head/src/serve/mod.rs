//! `wulf serve`: starts every service, drops privileges, supervises.
//!
//! * `run`: the life of a head. * `privileges`: from root to the service's own user.
//! * `core`: what all services share. * `services`: binds, starts and watches over them. * `facts`: what the head says of itself.
//! * `settings`: what boot services go by, for whoever explains them without a head that runs.
//! * `sources`: what services ask for. * `agent`: the installed agent as an archive. * `seed`: the head as first seed. * `places`: addresses and links.

mod agent;
mod core;
mod discovery;
mod facts;
mod neighbours;
mod places;
mod privileges;
mod run;
mod seed;
mod services;
mod settings;
mod sources;
#[cfg(test)]
mod tests;

pub use places::head_addresses;
pub use run::serve;
pub use settings::BootSettings;
