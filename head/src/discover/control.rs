//! The head's control plane: machines in discovery, and everybody else.

use std::net::SocketAddr;

use futures::future::BoxFuture;
use wulfpack_shared::id::PublicKey;
use wulfpack_shared::net::control::ControlHandler;
use wulfpack_shared::wire::{ControlRequest, ControlResponse, Refusal, RefusalReason};

use super::service::{Discovery, refusal};
use crate::join::JoinService;

/// Answers whoever reaches the control plane.
#[derive(Clone, Debug)]
pub struct Control {
    /// Members, and who wants to be one.
    pub join: JoinService,
    /// Machines that no registry knows.
    pub discovery: Discovery,
}

impl ControlHandler for Control {
    fn handle(&self, from: PublicKey, remote: SocketAddr, request: ControlRequest) -> BoxFuture<'_, ControlResponse> {
        let ControlRequest::Discover(request) = request else { return self.join.handle(from, remote, request) };
        let (service, ip) = (self.discovery.clone(), remote.ip().to_canonical());
        Box::pin(async move {
            let told = tokio::task::spawn_blocking(move || service.tell(from, ip, *request)).await;
            answer(remote, told.map(|told| told.map(ControlResponse::Discovered)))
        })
    }

    fn listen(&self, from: PublicKey, remote: SocketAddr, request: ControlRequest) -> BoxFuture<'_, ControlResponse> {
        let ControlRequest::AwaitAdoption(request) = request else { return self.join.listen(from, remote, request) };
        Box::pin(async move {
            let waited = self.discovery.wait(from, remote.ip().to_canonical(), request).await;
            answer(remote, Ok(waited.map(ControlResponse::Adoption)))
        })
    }
}

fn answer(
    remote: SocketAddr,
    done: Result<Result<ControlResponse, Refusal>, tokio::task::JoinError>,
) -> ControlResponse {
    let done = done.unwrap_or_else(|error| {
        tracing::error!(%error, "a machine in discovery could not be answered");
        Err(refusal(RefusalReason::Busy, "the head failed; its log says how"))
    });
    done.unwrap_or_else(|refusal| {
        tracing::info!(%remote, reason = ?refusal.reason, "refused: {}", refusal.text);
        ControlResponse::Refused(refusal)
    })
}
