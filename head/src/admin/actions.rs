//! What the head does for an administrator, each with its record of who asked for it.

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use wulfpack_shared::limits::TOKEN_LIFETIME;
use wulfpack_shared::time::UnixTime;

use super::api::{ApproveAnswer, ApproveRequest, ApprovedBoot, KeyDeed, KeyInfo, KeysChange};
use super::server::{AdminServices, Caller, Failed, key_info, wrong};
use crate::dhcp::LeaseRecord;
use crate::fleet::Input;
use crate::store::AuditRecord;

/// Lets boots go on that wait for approval. It is in the store when this answers: a head that starts again knows of it.
pub(super) async fn approve(
    State(services): State<AdminServices>,
    ConnectInfo(Caller(who)): ConnectInfo<Caller>,
    Json(request): Json<ApproveRequest>,
) -> Result<Json<ApproveAnswer>, Failed> {
    let now = services.clock.now();
    let mut answer = ApproveAnswer { approved: vec![], not_waiting: vec![] };
    services.fleet.look(|fleet| {
        for node in request.nodes {
            match fleet.waiting(&node, now) {
                Some(boot) => {
                    let until = now + TOKEN_LIFETIME;
                    answer.approved.push(ApprovedBoot { node, mac: boot.mac, addr: boot.addr, until });
                }
                None => answer.not_waiting.push(node),
            }
        }
    });
    if answer.approved.is_empty() {
        return Ok(Json(answer));
    }
    let boots: Vec<_> = answer.approved.iter().map(|boot| format!("{} ({})", boot.node, boot.mac)).collect();
    // No approval without its record.
    let record = AuditRecord { at: now, who: who.clone(), what: "approve".into(), detail: boots.join(", ") };
    services.store.audit(&record)?;
    let input = |boot: &ApprovedBoot| Input::Approve { node: boot.node.clone(), mac: boot.mac, who: who.clone() };
    let inputs: Vec<Input> = answer.approved.iter().map(input).collect();
    if !services.fleet.tell_all_durably(inputs).await {
        return Err(Failed(StatusCode::SERVICE_UNAVAILABLE, "the head is shutting down; approve again".into()));
    }
    Ok(Json(answer))
}

/// What is recorded of a deed.
pub fn key_record(at: UnixTime, who: String, deed: &KeyDeed) -> AuditRecord {
    let (what, detail) = match deed {
        KeyDeed::Backup { file } => ("key-backup", format!("all secret keys to {file}")),
        KeyDeed::Rotate { trusted } => {
            let trusted: Vec<String> = trusted.iter().map(|key| format!("{key:.16}")).collect();
            ("key-rotate", format!("trusted, the newest first: {}", trusted.join(", ")))
        }
    };
    AuditRecord { at, who, what: what.into(), detail }
}

/// Records what is about to be done with the keys.
pub(super) async fn record_key_deed(
    State(services): State<AdminServices>,
    ConnectInfo(Caller(who)): ConnectInfo<Caller>,
    Json(deed): Json<KeyDeed>,
) -> Result<Json<KeyDeed>, Failed> {
    services.store.audit(&key_record(services.clock.now(), who, &deed))?;
    Ok(Json(deed))
}

/// Leases of DHCP ranges that hold now.
pub(super) async fn leases(State(services): State<AdminServices>) -> Result<Json<Vec<LeaseRecord>>, Failed> {
    let now = services.clock.now();
    let leases = services.store.leases()?;
    Ok(Json(leases.into_iter().filter(|lease| lease.holds(now)).collect()))
}

/// Takes up keys of the cluster that are on disk already. That they change was recorded before they were written there.
pub(super) async fn change_keys(
    State(services): State<AdminServices>,
    Json(request): Json<KeysChange>,
) -> Result<Json<KeyInfo>, Failed> {
    let keys = request.keys().ok_or_else(|| wrong("the former keys do not lead to the newest"))?;
    services.facts.replace_keys(keys).map_err(wrong)?;
    Ok(Json(key_info(&services)))
}
