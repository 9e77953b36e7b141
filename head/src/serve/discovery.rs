//! Machines that no registry knows, as a part of the running head.

use std::sync::Arc;

use tokio::sync::watch;

use super::core::Core;
use crate::boot::HeadSettings;
use crate::discover::{Discovery, DiscoveryOptions, Networks, Rules};
use crate::http::Unknown;
use crate::store::StoreError;

/// What the boot services have for such machines.
pub(super) fn unknown(core: &Core) -> Unknown {
    Unknown { networks: Networks::new(&core.config.dhcp), config: core.config.discover.clone() }
}

/// What the control plane has for them.
pub(super) fn open(core: &Core, head: watch::Receiver<Arc<HeadSettings>>) -> Result<Discovery, StoreError> {
    Discovery::open(DiscoveryOptions {
        on: !Networks::new(&core.config.dhcp).is_empty(),
        rules: Rules::new(&core.config.discover),
        key: core.token_key.clone(),
        tokens: core.tokens.clone(),
        store: Arc::clone(&core.store),
        registry: Arc::clone(&core.registry),
        nodes: core.nodes.subscribe(),
        head,
        versions: Arc::new(core.catalogue.clone()),
        fleet: core.fleet.clone(),
        clock: core.clock.clone(),
    })
}

/// Tells all services who has become which node.
pub(super) async fn follow_claims(core: Arc<Core>) {
    let mut claims = core.registry.changes();
    while claims.changed().await.is_ok() {
        tell_nodes(&core);
    }
}

/// Tells all services of the nodes as they are now. Made under the channel's lock: what is told last is what is.
pub(super) fn tell_nodes(core: &Core) {
    core.nodes.send_modify(|nodes| *nodes = core.registry.both());
}
