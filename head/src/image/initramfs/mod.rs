//! The agent's initramfs. It is three archives, so that none has to be rebuilt for another: modules and firmware (of the
//! image version), the agent (of the head, current at each boot), the join token (of one boot of one node).
//!
//! * `index`: what depmod found out. `select`: which modules. `modinfo`: what a module says of itself. `firmware`: its files.
//! * `archive`: all of that as one archive. `closure`: what of it one machine needs. `agent`: the two others.
//! * `cpio`, `compress`: the format.

mod agent;
mod archive;
mod closure;
mod compress;
mod cpio;
mod firmware;
mod index;
mod modinfo;
mod select;

pub use agent::{agent_archive, token_archive};
pub use archive::{InitramfsSettings, ModulesReport};
pub(super) use archive::{LoadedIndex, can_mount_root, load_index, write_modules_archive};
pub use closure::{Drivers, PciId, with_drivers};
pub use compress::ArchiveCompression;
pub(super) use compress::unpack;
