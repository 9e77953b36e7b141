//! What the running head says of itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use wulfpack_shared::time::UnixTime;

use super::core::Core;
use crate::admin::{HeadFacts, HeadStatus};
use crate::dhcp::Handle;

/// The head as its administrator sees it.
#[derive(Debug)]
pub(super) struct RunningHead {
    core: Arc<Core>,
    started: UnixTime,
    services: BTreeMap<String, String>,
    dhcp: Option<(Handle, String)>,
}

impl RunningHead {
    pub(super) fn new(core: Arc<Core>) -> Self {
        let started = core.clock.now();
        Self { core, started, services: BTreeMap::new(), dhcp: None }
    }

    /// Where a service listens, or why it does not.
    pub(super) fn say(&mut self, service: &str, what: String) {
        tracing::info!("{service}: {what}");
        self.services.insert(service.to_owned(), what);
    }

    /// DHCP runs on these interfaces; whether it answers changes.
    pub(super) fn dhcp(&mut self, handle: Handle, interfaces: &[String]) {
        let interfaces = interfaces.join(", ");
        tracing::info!("dhcp: on {interfaces}");
        self.dhcp = Some((handle, interfaces));
    }
}

impl HeadFacts for RunningHead {
    fn status(&self) -> HeadStatus {
        let mut services = self.services.clone();
        if let Some((handle, interfaces)) = &self.dhcp {
            services.insert("dhcp".into(), format!("on {interfaces}: {}", handle.status().borrow().state));
        }
        HeadStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            cluster: self.core.config.cluster.clone(),
            started: self.started,
            key: self.core.keys.head.public(),
            cluster_key: self.core.keys.cluster.public(),
            services,
            registry_error: self.core.registry.error().map(|error| error.to_string()),
            members: self.core.tracker.len(),
            images: self.core.seeds.egress(),
        }
    }

    fn override_dhcp(&self, on: bool) -> Result<(), String> {
        let (handle, _) = self.dhcp.as_ref().ok_or("DHCP is off: no interface serves it")?;
        handle.set_override(on);
        Ok(())
    }
}
