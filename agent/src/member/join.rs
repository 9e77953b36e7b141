//! Becoming a member: one request, and nothing of the answer is believed before it is checked.

use std::sync::Arc;

use wulfpack_shared::id::{BootId, PublicKey};
use wulfpack_shared::identity::{HeadAddr, SecretKey};
use wulfpack_shared::image::{Header, HeaderError};
use wulfpack_shared::net::clock::ClusterClock;
use wulfpack_shared::net::control::ControlClient;
use wulfpack_shared::net::tls::{Identity, IdentityError, Trust};
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::{ControlRequest, ControlResponse, DataAddrs, JoinAnswer, JoinPurpose, JoinRequest};

use super::ask::{AskError, ask, nonce};
use crate::root::memory;

/// What a host needs to join.
#[derive(Debug)]
pub struct JoinOrder<'a> {
    /// The heads, the preferred one first.
    pub heads: &'a [HeadAddr],
    /// The cluster's keys.
    pub cluster: &'a [PublicKey],
    /// This member's key.
    pub key: &'a SecretKey,
    /// The join token.
    pub token: &'a [u8],
    /// What for.
    pub purpose: JoinPurpose,
    /// This life of the agent.
    pub boot: BootId,
    /// Where its data plane will listen.
    pub data: DataAddrs,
    /// The clock less the head's time in the boot arguments, in milliseconds, before it was stepped.
    pub clock_offset_ms: i64,
}

/// A member.
#[derive(Debug)]
pub struct Joined {
    /// The head's answer, checked.
    pub answer: JoinAnswer,
    /// The image's header.
    pub header: Header,
    /// The head's time when it answered.
    pub time: UnixTime,
    /// Key and certificate for the data plane.
    pub identity: Identity,
    /// The control plane, connected.
    pub client: Arc<ControlClient>,
}

/// Why a host did not become a member.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// There is no answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The manifest does not verify.
    #[error("{0}; a manifest that does not verify must be looked at by a person: is this the right cluster key?")]
    Manifest(#[from] HeaderError),
    /// The certificate does not count.
    #[error(transparent)]
    Certificate(#[from] IdentityError),
}

impl JoinError {
    /// Trying again by itself would be wrong (REAL-CLUSTERS rule 3).
    pub const fn holds(&self) -> bool {
        matches!(self, Self::Manifest(_))
    }
}

/// Joins: asks the heads in their order, checks time, certificate and manifest.
pub async fn join(order: &JoinOrder<'_>) -> Result<Joined, JoinError> {
    let client = Arc::new(ControlClient::new(order.heads.to_vec(), order.key).map_err(AskError::from)?);
    let nonce = nonce()?;
    let request = JoinRequest {
        token: order.token.to_vec(),
        purpose: order.purpose.clone(),
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        boot: order.boot,
        nonce,
        data: order.data.clone(),
        arch: std::env::consts::ARCH.to_owned(),
        memory: memory().map_or(0, |memory| memory.total),
        clock_offset_ms: order.clock_offset_ms,
    };
    let request = ControlRequest::Join(Box::new(request));
    let joined = |answer| if let ControlResponse::Joined(answer) = answer { Some(*answer) } else { None };
    let answer = ask(&client, request, joined).await?;
    // An old ticket, or a boot script from before the cluster changed its key, tells an older key than the one that signs now.
    let cluster = answer.certificate.keys_from(order.cluster);
    let time = answer.time.verify(&nonce, &cluster).map_err(AskError::Time)?;
    let header = answer.image.verify(&cluster)?;
    let trust = Trust::new(cluster, ClusterClock::at(time));
    let identity = Identity::new(order.key.clone(), &answer.certificate, trust)?;
    Ok(Joined { answer, header, time, identity, client })
}
