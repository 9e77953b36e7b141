//! What happened in the cluster, now and next.

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use tokio::time::timeout;

use super::api::Event;
use super::server::{AdminServices, EVENTS_MAX, Failed, WAIT};
use crate::fleet::EventRecord;
use crate::store::StoreError;

/// Events that are answered unless the asker says how many.
const COUNT: usize = 50;

#[derive(Deserialize)]
pub(super) struct Wanted {
    count: Option<usize>,
    from: Option<u64>,
}

pub(super) async fn events(
    State(services): State<AdminServices>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<Event>>, Failed> {
    let count = wanted.count.unwrap_or(COUNT).min(EVENTS_MAX);
    let found = match wanted.from {
        None => services.store.events(count)?,
        Some(from) => timeout(WAIT, next(&services, from, count)).await.unwrap_or(Ok(vec![]))?,
    };
    Ok(Json(found.into_iter().map(|(number, record)| Event { number, record }).collect()))
}

/// The first events from this number on; waits until there is one.
async fn next(services: &AdminServices, from: u64, count: usize) -> Result<Vec<(u64, EventRecord)>, StoreError> {
    let mut written = services.fleet.written();
    loop {
        // Before the look, so that what is written during it is looked at again.
        written.mark_unchanged();
        let found = services.store.events_from(from, count)?;
        if !found.is_empty() || written.changed().await.is_err() {
            return Ok(found);
        }
    }
}
