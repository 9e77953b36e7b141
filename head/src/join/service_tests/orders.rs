use wulfpack_shared::wire::{Listen, NodeState, OrderDone, OrderKind, OrderOutcome, Orders, OverlaysRequest};

use super::*;
use crate::orders::{JobState, Pace};

#[tokio::test]
async fn a_node_that_listens_gets_its_orders_and_tells_how_they_ended() {
    let head = head();
    let (remote, ours) = ("10.0.0.7:5000".parse().unwrap(), head.service.clone());
    let listen = |done| {
        let listen = Listen { state: NodeState::default(), done, taken: vec![], wait_s: 60 };
        ours.listen(key(1), remote, ControlRequest::Listen(listen))
    };
    assert!(matches!(listen(vec![]).await, ControlResponse::Refused(Refusal { reason: RefusalReason::NotMember, .. })));
    let token = head.token("n1");
    head.join(1, token).unwrap();
    let pace = Pace { at_once: 1, spread_ms: 0, give_up_s: 60 };
    let id = head.orders.give(["n1".parse().unwrap()].into(), OrderKind::Resume, pace);
    let ControlResponse::Orders(Orders { orders, .. }) = listen(vec![]).await else { panic!("no orders") };
    assert_eq!(orders.iter().map(|order| order.what).collect::<Vec<_>>(), [OrderKind::Resume]);
    let outcome = OrderOutcome::Done("well".into());
    let told = listen(vec![OrderDone { number: orders[0].number, outcome }]);
    let seen = head.orders.progress_after(id, 3, Duration::from_secs(30));
    let progress = tokio::select! { _ = told => panic!("there is no order"), progress = seen => progress.unwrap() };
    assert_eq!(progress.nodes.values().collect::<Vec<_>>(), [&JobState::Done("well".into())]);
}

#[tokio::test]
async fn a_node_asks_for_its_runtime_overlays_without_what_it_has() {
    let head = head();
    let remote = "10.0.0.7:5000".parse().unwrap();
    let token = head.token("n1");
    head.join(1, token).unwrap();
    let ask = async |known| {
        let request = ControlRequest::Overlays(OverlaysRequest { known });
        match head.service.handle(key(1), remote, request).await {
            ControlResponse::Overlays(answer) => answer.bundles,
            other => panic!("{other:?}"),
        }
    };
    let bundles = ask(vec![]).await;
    assert_eq!(bundles.len(), 1, "the runtime overlays only: {bundles:?}");
    let EntryKind::File(bytes) = &bundles[0].entries[0].kind else { panic!("{bundles:?}") };
    let known = ask(vec![Hash::of(bytes)]).await;
    assert!(matches!(known[0].entries[0].kind, EntryKind::Known { .. }), "{known:?}");
    assert_eq!(known[0].hash(), bundles[0].hash());
}
