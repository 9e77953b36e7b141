//! The boot script and what it points to: rendered for each node from the registry's snapshot, served from memory.

mod format;
mod plan;
mod script;

pub use format::InitramfsFormat;
pub use plan::{BootPlan, HeadSettings, Initrd, PlanError, Visit, choose_kernel};
pub use script::{ScriptError, autoexec_script, boot_script, waiting_script};

#[cfg(test)]
mod tests;
