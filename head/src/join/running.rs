//! How questions reach the service; and what nodes ask that run: orders, and their runtime overlays as they are now.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use wulfpack_shared::id::{Hash, PublicKey};
use wulfpack_shared::identity::Role;
use wulfpack_shared::limits::{KNOWN_MAX, ORDERS_MAX};
use wulfpack_shared::net::control::ControlHandler;
use wulfpack_shared::overlay::Context;
use wulfpack_shared::wire::{
    ControlRequest, ControlResponse, Listen, Orders, OverlaysAnswer, OverlaysRequest, Refusal, RefusalReason,
};

use super::JoinService;
use super::service::{blocking, refusal};
use crate::fleet::{Input, Severity};
use crate::registry::{Node, Snapshot};
use crate::store::{Member, StoreError};

impl JoinService {
    /// The node that this member is, as the registry has it.
    fn node(&self, key: &PublicKey) -> Result<(Arc<Node>, Arc<Snapshot>), Refusal> {
        let (member, snapshot) = (self.member(key)?, self.0.registry.snapshot());
        let node = snapshot.node(&member.name).filter(|_| member.role == Role::Node).cloned();
        let node = node.ok_or_else(|| refusal(RefusalReason::NotMember, "this member is no node of the registry"))?;
        Ok((node, snapshot))
    }

    /// A node's runtime overlays as they are now, without what it has.
    pub(super) fn overlays(&self, key: PublicKey, request: &OverlaysRequest) -> Result<OverlaysAnswer, Refusal> {
        let (node, snapshot) = self.node(&key)?;
        let known: BTreeSet<&Hash> = request.known.iter().take(KNOWN_MAX).collect();
        let bundles = self.0.overlays.render(&node, &snapshot);
        let bundles = bundles.map_err(|why| refusal(RefusalReason::Configuration, why))?;
        let runtime = bundles.into_iter().filter(|bundle| bundle.context == Context::Runtime);
        let unknown = runtime.map(|bundle| bundle.without(|hash| known.contains(hash))).collect();
        Ok(OverlaysAnswer { bundles: self.0.packer.pack(unknown) })
    }

    /// Holds the request of a node that listens until there is something for it.
    pub(super) async fn wait_for_orders(&self, key: PublicKey, mut listen: Listen) -> Result<Orders, Refusal> {
        listen.done.truncate(ORDERS_MAX);
        listen.taken.truncate(ORDERS_MAX);
        let (node, _) = self.node(&key)?;
        let orders = self.0.orders.listen(node.name.clone(), listen).await;
        if !orders.is_empty() {
            return Ok(Orders { orders, runtime: None });
        }
        // It waited long: the registry may have changed, and the membership may have ended.
        let (node, snapshot) = self.node(&key)?;
        let service = self.clone();
        let digested = blocking(move || Ok(service.0.overlays.digests(&[node], &snapshot)));
        let runtime = digested.await?.into_iter().find_map(|digest| {
            digest.map_err(|why| tracing::warn!("what a node would get now: {why}")).ok().map(|digest| digest.runtime)
        });
        Ok(Orders { orders, runtime })
    }
}

impl ControlHandler for JoinService {
    fn handle(&self, from: PublicKey, remote: SocketAddr, request: ControlRequest) -> BoxFuture<'_, ControlResponse> {
        Box::pin(async move {
            self.answer(from, remote.ip().to_canonical(), request).await.unwrap_or_else(|refusal| {
                tracing::info!(%remote, reason = ?refusal.reason, "refused: {}", refusal.text);
                ControlResponse::Refused(refusal)
            })
        })
    }

    fn listen(&self, from: PublicKey, remote: SocketAddr, request: ControlRequest) -> BoxFuture<'_, ControlResponse> {
        let ControlRequest::Listen(listen) = request else { return self.handle(from, remote, request) };
        Box::pin(async move {
            self.wait_for_orders(from, listen).await.map_or_else(
                |refusal| {
                    tracing::info!(%remote, reason = ?refusal.reason, "refused: {}", refusal.text);
                    ControlResponse::Refused(refusal)
                },
                ControlResponse::Orders,
            )
        })
    }
}

impl JoinService {
    /// Locks out members that the registry no longer has. Called with each new snapshot.
    pub fn follow(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let gone = |member: &Member| member.role == Role::Node && snapshot.node(&member.name).is_none();
        for key in self.0.members.revoke_where(self.0.clock.now(), gone)? {
            let Some(member) = self.0.members.find(&key) else { continue };
            self.0.orders.forget(&member.name);
            let text = "it left the registry: its certificate is void".to_owned();
            let node = Some(member.name);
            self.0.fleet.tell(Input::Event { severity: Severity::Info, node, text });
        }
        Ok(())
    }
}
