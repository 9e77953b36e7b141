//! Choices for one boot: what a machine has loaded uses them up.

use std::time::{SystemTime, UNIX_EPOCH};

use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::Phase;

use super::desk::Desk;
use crate::boot::Loader;
use crate::fleet::BootEvent;
use crate::once::Step;
use crate::registry::Node;

/// Beginning of what events say of a script that boots no image.
pub(super) const WITHOUT_IMAGE: &str = "template ";

impl Desk {
    /// The node as it boots where something was chosen for its next boot.
    pub(super) fn chosen(&self, loader: Loader, node: &Node) -> Option<Node> {
        let once = self.services.once.waiting(&node.name)?;
        Some(once.apply(node, |template| self.services.scripts.boots_image(loader, template)))
    }

    /// A choice for one boot may be used up by this; `agent`: it is the last archive. What that changes is written where blocking
    /// is allowed.
    pub(super) fn use_up(&self, event: &BootEvent, agent: bool) {
        let step = match event.phase {
            Phase::Script => Step::Script { boots_image: !event.detail.starts_with(WITHOUT_IMAGE) },
            _ if agent => Step::Agent,
            _ => return,
        };
        let (Some(node), once) = (&event.node, &self.services.once) else { return };
        if let Some(choice) = once.loaded(node, step, event.mac, wall_clock()) {
            tracing::info!(%node, %choice, "booted once, as was chosen");
        }
        if once.is_dirty() {
            let once = once.clone();
            let write = move || {
                if let Err(error) = once.flush() {
                    tracing::error!(%error, "a choice for one boot was used, and that cannot be recorded");
                }
            };
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(write)),
                Err(_) => write(),
            }
        }
    }
}

/// The head's time.
pub(super) fn wall_clock() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
