//! Head and agents over loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::*;
use crate::id::PublicKey;
use crate::identity::{HeadAddr, SecretKey};
use crate::limits::{CONTROL_REQUEST_MAX, REPORT_TEXT_MAX};
use crate::wire::{
    ControlRequest, ControlResponse, Refusal, RefusalReason, ReportBatch, ReportEvent, ReportKind, TrackAnswer,
};

/// Answers reports with what it learned about the asker.
struct Echo;

impl ControlHandler for Echo {
    fn handle(&self, from: PublicKey, remote: SocketAddr, request: ControlRequest) -> BoxFuture<'_, ControlResponse> {
        async move {
            match request {
                ControlRequest::Report(batch) if batch.events.is_empty() => {
                    let text = format!("{from} {}", remote.ip());
                    ControlResponse::Refused(Refusal { reason: RefusalReason::NotMember, text })
                }
                ControlRequest::Report(batch) => ControlResponse::Recorded { through: batch.events.len() as u64 },
                _ => ControlResponse::Peers(TrackAnswer {
                    peers: vec![],
                    rack_size: 0,
                    rack_cap: 0,
                    epoch: 0,
                    revoked: vec![from; 60_000],
                    again_s: 5,
                }),
            }
        }
        .boxed()
    }
}

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

async fn head(n: u8) -> (ControlServer, HeadAddr) {
    let server = ControlServer::start(vec!["127.0.0.1:0".parse().unwrap()], &key(n), Arc::new(Echo)).await.unwrap();
    let control = server.local_addrs()[0];
    (server, HeadAddr { key: key(n).public(), control })
}

fn report(events: usize, text: usize) -> ControlRequest {
    let kind = ReportKind::Log("x".repeat(text));
    let events = (1..=events as u64).map(|seq| ReportEvent { seq, at_ms: 0, kind: kind.clone() }).collect();
    ControlRequest::Report(ReportBatch { boot: crate::id::BootId([0; 16]), events, swarm: None })
}

#[tokio::test]
async fn the_head_learns_the_key_and_the_address_of_the_asker() {
    let (_server, head) = head(1).await;
    let client = ControlClient::new(vec![head], &key(2)).unwrap();
    let ControlResponse::Refused(refusal) = client.request(report(0, 0)).await.unwrap() else { panic!("not refused") };
    assert_eq!(refusal.text, format!("{} 127.0.0.1", key(2).public()));
    let batch = client.request(report(20, REPORT_TEXT_MAX)).await.unwrap();
    assert_eq!(batch, ControlResponse::Recorded { through: 20 });
}

#[tokio::test]
async fn a_dead_head_is_passed_over_and_named_if_all_are_dead() {
    let (server, dead) = head(1).await;
    server.shutdown().await;
    let (_server, alive) = head(3).await;
    let client = ControlClient::new(vec![dead, alive], &key(2)).unwrap();
    assert_eq!(client.request(report(1, 1)).await.unwrap(), ControlResponse::Recorded { through: 1 });
    let client = ControlClient::new(vec![dead], &key(2)).unwrap();
    let error = client.request(report(1, 1)).await.unwrap_err().to_string();
    assert!(error.contains(&dead.control.to_string()) && error.contains("connecting"), "{error}");
    assert!(error.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_head_with_another_key_is_not_asked() {
    let (_server, head) = head(1).await;
    let client = ControlClient::new(vec![HeadAddr { key: key(9).public(), ..head }], &key(2)).unwrap();
    let error = client.request(report(1, 1)).await.unwrap_err().to_string();
    assert!(error.contains("another key answers there"), "{error}");
}

#[tokio::test]
async fn a_head_that_comes_back_is_reached_again() {
    let (server, head) = head(1).await;
    let client = ControlClient::new(vec![head], &key(2)).unwrap();
    client.request(report(1, 1)).await.unwrap();
    server.shutdown().await;
    client.request(report(1, 1)).await.unwrap_err();
    let _server = ControlServer::start(vec![head.control], &key(1), Arc::new(Echo)).await.unwrap();
    assert_eq!(client.request(report(2, 1)).await.unwrap(), ControlResponse::Recorded { through: 2 });
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let (_server, head) = head(1).await;
    let error = ControlServer::start(vec![head.control], &key(3), Arc::new(Echo)).await.unwrap_err().to_string();
    assert!(error.contains(&head.control.to_string()) && error.contains("in use"), "{error}");
}

#[tokio::test]
async fn too_long_messages_end_the_request_and_not_the_head() {
    let (_server, head) = head(1).await;
    let client = ControlClient::new(vec![head], &key(2)).unwrap();
    // Longer than a request may be.
    let error = client.request(report(1, CONTROL_REQUEST_MAX)).await.unwrap_err();
    let ControlError::Unreachable { attempts } = &error else { panic!("{error}") };
    assert_eq!(attempts[0].phase, AttemptPhase::Answer, "{error}");
    // A long answer within the limit arrives whole.
    let track = crate::wire::TrackRequest {
        data: crate::wire::DataAddrs { port: 1, ips: vec![] },
        images: vec![],
        want: 1,
        have: vec![],
        leaving: false,
    };
    let ControlResponse::Peers(answer) = client.request(ControlRequest::Track(track)).await.unwrap() else {
        panic!("no peers")
    };
    assert_eq!(answer.revoked.len(), 60_000);
    assert_eq!(client.request(report(1, 1)).await.unwrap(), ControlResponse::Recorded { through: 1 });
}
