//! The boot script and what it points to: rendered for each node from the registry's snapshot, served from memory.

mod arch;
mod format;
mod loader;
mod matrix;
mod neighbours;
mod once;
mod plan;
mod programs;
mod script;
mod templates;
mod waves;

pub use arch::{Arch, Carrier, Platform};
pub use format::InitramfsFormat;
pub use loader::{Loader, SignedLoader};
pub use matrix::{BootChoice, BootFile, Client, Nbps, program_path, shim_name};
pub use neighbours::neighbour_start;
pub use once::Once;
pub use plan::{BootPlan, HeadSettings, Initrd, PlanError, Visit, boot_args, choose_kernel};
pub use programs::Programs;
pub use script::{ScriptError, Scripts};
pub use templates::{DEFAULT_TEMPLATE, DISCOVER_TEMPLATE, is_template_name};
pub use waves::Waves;

#[cfg(test)]
mod tests;
