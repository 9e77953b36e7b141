//! What was heard from and said to a machine lately.

use axum::Json;
use axum::extract::{Path as UrlPath, State};
use serde::{Deserialize, Serialize};
use wulfpack_shared::id::{Mac, NodeName};
use wulfpack_shared::time::UnixTime;

use super::server::{AdminServices, Failed, wrong};
use crate::trace::{Decoded, Entry, decode, describe};

/// One line of `GET /v1/trace/MAC` or `GET /v1/trace/NODE`, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceLine {
    /// When.
    pub at: UnixTime,
    /// The machine's interface.
    pub mac: Mac,
    /// The head's interface, where it is known.
    pub link: Option<String>,
    /// `heard`, `said`, `note`, or the phase whose boot service answered.
    pub what: String,
    /// For a person.
    pub text: String,
    /// The packet, where it is one.
    pub packet: Option<Decoded>,
}

fn line(mac: Mac, at: UnixTime, link: Option<String>, entry: Entry) -> TraceLine {
    let told = |what: &str, bytes: &[u8]| {
        let packet = decode(bytes);
        let text = packet.as_ref().map_or_else(|| format!("{} bytes that are no DHCP packet", bytes.len()), describe);
        (what.to_owned(), text, packet)
    };
    let (what, text, packet) = match entry {
        Entry::Heard(bytes) => told("heard", &bytes),
        Entry::Said(bytes) => told("said", &bytes),
        Entry::Note(text) => ("note".into(), text, None),
        Entry::Step(phase, text) => (phase, text, None),
    };
    TraceLine { at, mac, link, what, text, packet }
}

/// By MAC address or by the name of a node, whose interfaces are all shown.
pub(super) async fn trace(
    State(services): State<AdminServices>,
    UrlPath(who): UrlPath<String>,
) -> Result<Json<Vec<TraceLine>>, Failed> {
    let macs: Vec<Mac> = match who.parse::<Mac>() {
        Ok(mac) => vec![mac],
        Err(_) => {
            let name: NodeName =
                who.parse().map_err(|_| wrong(format!("{who:?} is neither a MAC address nor a node")))?;
            let snapshot = services.registry.look().await;
            let node = snapshot.node(&name).ok_or_else(|| wrong(format!("there is no node {name}")))?;
            node.interfaces.iter().filter_map(|interface| interface.mac.or(interface.port_mac)).collect()
        }
    };
    let entries = macs.into_iter().flat_map(|mac| services.trace.of(mac).into_iter().map(move |traced| (mac, traced)));
    let mut lines: Vec<TraceLine> =
        entries.map(|(mac, traced)| line(mac, traced.at, traced.link, traced.entry)).collect();
    lines.sort_by_key(|line| line.at);
    Ok(Json(lines))
}
