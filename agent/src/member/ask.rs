//! One question to the heads, and what can go wrong with any of them.

use wulfpack_shared::identity::SignatureError;
use wulfpack_shared::net::control::{ControlClient, ControlError};
use wulfpack_shared::wire::{ControlRequest, ControlResponse, Refusal};

/// Why there is no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No head answered.
    #[error("no head could be reached: {0}")]
    Unreachable(#[from] ControlError),
    /// A head said no.
    #[error("the head refuses: {}", .0.text)]
    Refused(Refusal),
    /// A head answered something else.
    #[error("the head answered something else than what was asked: it may run another version")]
    Confused,
    /// No random numbers.
    #[error("the kernel gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// The time is not signed by the cluster for this request.
    #[error("the head's time is not to be trusted: {0}")]
    Time(#[from] SignatureError),
}

/// A number that a signed time has to answer.
pub(super) fn nonce() -> Result<[u8; 16], AskError> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(AskError::Random)?;
    Ok(nonce)
}

/// Asks the heads in their order; `pick` takes the answer out that this request has.
pub(crate) async fn ask<T>(
    client: &ControlClient,
    request: ControlRequest,
    pick: impl FnOnce(ControlResponse) -> Option<T>,
) -> Result<T, AskError> {
    match client.request(request).await? {
        ControlResponse::Refused(refusal) => Err(AskError::Refused(refusal)),
        answer => pick(answer).ok_or(AskError::Confused),
    }
}
