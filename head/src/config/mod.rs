//! `/etc/wulfpack/wulfpack.yaml`: the head's own configuration, its documented default, its paths, and the cluster's keys.
//!
//! * `model`: every setting, its type and its default. `default.yaml` is the same, documented, as `wulf init` writes it.
//! * `dhcp`, `discover`: the parts of it for the DHCP server and for unknown machines.
//! * `load`: reading and checking the file.
//! * `paths`: where everything lies.
//! * `seed`: how long a node serves its image, as text. `swarm`: what it takes of links and processors meanwhile, and racks.
//! * `keys`: the secret keys of cluster and head as files. `cluster`: the cluster's key, and those that it had before.
//! * `access`: what the service's own user may read.
//! * `files`: writing a file so that a reader sees the old or the new one, never half of one.
//! * `yaml`: reading YAML with errors that name the line and the likely meaning.

mod access;
mod cluster;
#[cfg(test)]
mod cluster_tests;
mod dhcp;
mod discover;
mod files;
mod keys;
mod load;
mod model;
mod paths;
mod seed;
mod swarm;
pub(crate) mod yaml;

pub use access::{check_readable, let_group_read};
pub use cluster::{ClusterKeys, FormerKey, KeysLock};
pub(crate) use dhcp::hex;
pub use dhcp::{AddressRange, ClassConfig, DhcpConfig, DhcpMode, ReservationConfig, SubnetConfig};
pub use discover::{AdoptRule, AdoptWhen, DiscoverConfig};
pub use files::{create_dir, create_new, write_atomically};
pub use keys::{KeyError, KeyRole, Keys, create_key, load_key};
pub use load::{ConfigError, DEFAULT_YAML};
pub use model::{
    BootConfig, Config, ImageConfig, InitramfsConfig, InterfaceConfig, NeighbourBoot, NfsConfig, NfsExport, Ports,
    ReadyCheck, ReadyConfig, TokenEvidence,
};
pub use paths::Paths;
pub use seed::{Seed, SeedError};
pub use swarm::{RacksConfig, SwarmConfig};
