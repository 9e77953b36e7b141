//! What the running head says of itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use wulfpack_shared::id::PublicKey;
use wulfpack_shared::time::UnixTime;

use super::core::Core;
use crate::admin::{DhcpStatus, HeadFacts, HeadStatus, ServiceStatus};
use crate::config::ClusterKeys;
use crate::dhcp::Handle;
use crate::fleet::{VersionUse, versions_in_use};

/// The head as its administrator sees it.
#[derive(Debug)]
pub(super) struct RunningHead {
    core: Arc<Core>,
    started: UnixTime,
    services: BTreeMap<String, ServiceStatus>,
    dhcp: Option<(Handle, String)>,
}

impl RunningHead {
    pub(super) fn new(core: Arc<Core>) -> Self {
        let started = core.clock.now();
        Self { core, started, services: BTreeMap::new(), dhcp: None }
    }

    /// Where a service listens.
    pub(super) fn say(&mut self, service: &str, detail: String) {
        tracing::info!("{service}: {detail}");
        self.services.insert(service.to_owned(), ServiceStatus { answers: true, detail });
    }

    /// Why a service does not run.
    pub(super) fn off(&mut self, service: &str, why: &str) {
        tracing::info!("{service}: off: {why}");
        self.services.insert(service.to_owned(), ServiceStatus { answers: false, detail: format!("off: {why}") });
    }

    /// DHCP runs on these interfaces; whether it answers changes.
    pub(super) fn dhcp(&mut self, handle: Handle, interfaces: &[String]) {
        let interfaces = interfaces.join(", ");
        tracing::info!("dhcp: on {interfaces}");
        self.dhcp = Some((handle, interfaces));
    }

    /// All services as they are now.
    fn services(&self) -> BTreeMap<String, ServiceStatus> {
        let mut services = self.services.clone();
        if let Some((handle, interfaces)) = &self.dhcp {
            let state = handle.status().borrow().state;
            let answers = state.answers();
            services.insert("dhcp".into(), ServiceStatus { answers, detail: format!("on {interfaces}: {state}") });
        }
        services
    }
}

impl HeadFacts for RunningHead {
    fn status(&self) -> HeadStatus {
        let services = self.services().into_iter().map(|(name, service)| (name, service.detail)).collect();
        HeadStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            cluster: self.core.config.cluster.clone(),
            started: self.started,
            key: self.core.head.public(),
            cluster_key: self.core.cluster_keys().public(),
            services,
            registry_error: self.core.registry.watcher().error().map(|error| error.to_string()),
            members: self.core.tracker.len(),
            images: self.core.seeds.egress(),
        }
    }

    fn versions_in_use(&self) -> Vec<VersionUse> {
        let members = &self.core.members;
        let is_member = |key: &PublicKey| members.find(key).is_some() && !members.is_revoked(key);
        let swarms = self.core.tracker.swarms();
        let mut uses = self.core.fleet.look(|fleet| versions_in_use(fleet, is_member, swarms));
        // What is chosen for a next boot must be there then.
        let chosen = self.core.once.all().into_iter();
        uses.extend(chosen.filter_map(|(node, record)| {
            let version = record.choice.image()?.version?;
            Some(VersionUse { version, nodes: vec![node], members: 0 })
        }));
        uses
    }

    fn dhcp(&self) -> DhcpStatus {
        let services = self.services();
        let Some((handle, _)) = &self.dhcp else { return DhcpStatus { services, ..DhcpStatus::default() } };
        let status = *handle.status().borrow();
        let other_server = status.state.other_server();
        DhcpStatus { services, other_server, overridden: handle.overridden(), unanswered: status.counters }
    }

    fn replace_keys(&self, keys: ClusterKeys) -> Result<(), String> {
        let mut refused = false;
        self.core.cluster.send_if_modified(|now| {
            refused = !keys.follow(now);
            if !refused {
                *now = Arc::new(keys);
            }
            !refused
        });
        if refused {
            return Err("these keys do not lead on from the cluster's key that this head has: restart it".into());
        }
        tracing::info!(key = %self.core.cluster_keys().public(), "the keys of the cluster have changed");
        Ok(())
    }

    fn override_dhcp(&self, on: bool) -> Result<(), String> {
        let (handle, _) = self.dhcp.as_ref().ok_or("DHCP is off: no interface serves it")?;
        handle.set_override(on);
        Ok(())
    }
}
