//! Machines that no node is, where discovery is on: they get the agent, without an image and without anything that opens one.

use std::sync::Arc;

use wulfpack_shared::id::{Hash, Mac};

use super::desk::{Desk, Handout, Peer, Refusal};
use crate::boot::{DISCOVER_TEMPLATE, Loader, choose_kernel};
use crate::config::{DiscoverConfig, TokenEvidence};
use crate::discover::{Networks, runs, seat};
use crate::registry::{ImageRef, Node};

/// Where discovery is on, and what machines boot there.
#[derive(Clone, Debug, Default)]
pub struct Unknown {
    /// Where.
    pub networks: Networks,
    /// What.
    pub config: DiscoverConfig,
}

impl Desk {
    /// What this unknown machine boots as; an error for its console where discovery is off or has nothing to boot.
    async fn seat(&self, peer: Peer, mac: Mac) -> Result<Node, String> {
        let unknown = &self.services.unknown;
        if !unknown.networks.cover(mac, peer.remote.ip()) {
            return Err(format!("no node has the MAC address {mac}: \"wulf node add\" makes this machine one"));
        }
        let (versions, nodes) = (Arc::clone(&self.services.versions), Arc::clone(&self.services.nodes.borrow()));
        let config = unknown.config.clone();
        let found = tokio::task::spawn_blocking(move || seat(&config, &nodes, || versions.any())).await;
        let found = found.map_err(|error| error.to_string())?;
        found.ok_or_else(|| {
            "there is no image with a version to boot for discovery: build one, or name it under `discover: image`"
                .into()
        })
    }

    /// The image whose shim and GRUB an unknown machine gets.
    pub(super) async fn seat_image(&self, peer: Peer, mac: Mac) -> Option<Option<ImageRef>> {
        self.seat(peer, mac).await.ok().map(|seat| seat.image)
    }

    /// The script that boots the agent in discovery, and what it boots; else what the machine waits for.
    pub(super) async fn discovery(&self, loader: Loader, peer: Peer, mac: Mac) -> Result<(String, String), String> {
        let seat = self.seat(peer, mac).await?;
        let plan = self.plan(peer, mac, &seat, true).await?;
        let script = self.services.scripts.boot(loader, DISCOVER_TEMPLATE, &plan).map_err(|error| error.to_string())?;
        self.admit(mac, &mac.to_string())?;
        Ok((script, format!("discovery with {}, kernel {}", plan.image, plan.release)))
    }

    /// The token with which such a machine tells what it is.
    pub(super) async fn discovery_token(self: &Arc<Self>, peer: Peer, mac: Mac) -> Handout {
        let refuse = |reason: String| {
            tracing::warn!(%mac, remote = %peer.remote.ip(), %reason, "no discovery token");
            Refusal::Forbidden(reason)
        };
        let seat = self.seat(peer, mac).await.map_err(|_| Refusal::Missing("no node has this MAC address"))?;
        let runs = self.runs(&seat).await.map_err(refuse)?;
        let desk = Arc::clone(self);
        let work = move || {
            let trusted = peer.proof != TokenEvidence::Approve;
            let shown = if trusted { desk.evidence(peer, mac)? } else { None };
            desk.services.tokens.discovery(mac, shown, trusted, runs)
        };
        let made = tokio::task::spawn_blocking(work).await;
        let archive = made.unwrap_or_else(|error| Err(error.to_string())).map_err(refuse)?;
        Ok((archive.into(), None))
    }

    async fn runs(&self, seat: &Node) -> Result<Hash, String> {
        let (versions, image) = (Arc::clone(&self.services.versions), seat.image.clone().ok_or("it has no image")?);
        let version = tokio::task::spawn_blocking(move || versions.active(&image)).await;
        let version = version.unwrap_or_else(|error| Err(error.to_string()))?;
        let kernel = choose_kernel(seat, &version.header).map_err(|error| error.to_string())?;
        Ok(runs(kernel, seat))
    }
}
