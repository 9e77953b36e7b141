//! Kernel modules: what the hardware asks for, and what the root needs.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use crate::life::context::{Context, StepError};
use crate::modules::Loader;

pub(super) async fn modules(context: &Arc<Context>) -> Result<(), StepError> {
    if let Some(error) = &context.bad_args {
        return Err(StepError::again(format!("{error}; the boot script is wrong, a reboot fetches it again")));
    }
    let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    let release =
        release.map_err(|error| StepError::again(format!("failed to ask for the kernel's release: {error}")))?;
    context.doing(format!("for Linux {release}"));
    let loading = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        let mut loader = Loader::new(Path::new("/"), &release)
            .with_context(|| format!("the initramfs has no modules for Linux {release}; does the node boot another kernel than its image has?"))?;
        Ok([loader.load_for_hardware(Path::new("/sys")), loader.load_for_root()])
    });
    let reports = loading.await.map_err(StepError::again)??;
    for report in &reports {
        for note in &report.notes {
            context.say(note);
        }
        for failure in &report.failed {
            context.say(format!("module {} (wanted by {}): {}", failure.module, failure.wanted_by, failure.reason));
        }
    }
    let loaded: Vec<&str> = reports.iter().flat_map(|report| &report.loaded).map(String::as_str).collect();
    if !loaded.is_empty() {
        context.say(format!("modules loaded: {}", loaded.join(" ")));
    }
    Ok(())
}
