//! Boots that running nodes announce.

use wulfpack_shared::limits::TOKEN_LIFETIME;

use super::*;
use crate::fleet::{BootEvent, BootEvents as _};

impl Head {
    /// What the boot services see of a machine that boots as n1.
    fn boots(&self) {
        let (node, ip) = (Some("n1".parse().unwrap()), Some(SEEN));
        let event = BootEvent { mac: MAC, node, phase: Phase::Script, ip, detail: String::new(), bytes: 1 };
        self.fleet.record(event);
    }

    fn next_boots(&self) -> NextBoots {
        NextBoots::new(Arc::clone(&self.store), self.members.clone(), self.fleet.clone())
    }

    fn claim(&self, mac: Mac) -> bool {
        self.next_boots().claim(&"n1".parse().unwrap(), mac, SEEN, self.clock.now()).unwrap()
    }

    async fn announce(&self, who: u8) -> Result<UnixTime, Refusal> {
        match self.service.handle(key(who), "10.0.0.7:5000".parse().unwrap(), ControlRequest::NextBoot).await {
            ControlResponse::Expected { until } => Ok(until),
            ControlResponse::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_running_node_announces_its_next_boot_once_and_for_its_own_interface() {
    let head = head();
    assert_eq!(head.announce(1).await.unwrap_err().reason, RefusalReason::NotMember);
    head.boots();
    head.join(1, head.token("n1")).unwrap();
    assert!(!head.claim(MAC), "nothing was announced");
    let until = head.announce(1).await.unwrap();
    assert!(until.distance(NOW + TOKEN_LIFETIME) < Duration::from_secs(60));
    assert!(!head.claim(Mac([9; 6])), "another interface");
    assert!(head.claim(MAC));
    assert!(!head.claim(MAC), "once");
    let approved = |mac| head.fleet.look(|fleet| fleet.approved(&"n1".parse().unwrap(), mac, head.clock.now()));
    assert!(approved(MAC).is_some() && approved(Mac([9; 6])).is_none());
    let audit = &head.store.audits(9).unwrap()[0];
    assert_eq!((audit.who.as_str(), audit.detail.as_str()), ("node n1", "n1 (02:00:00:00:00:01), its own reboot"));
    // The boot that is under way now is another one: the key of the last one has nothing to say about it.
    assert!(head.announce(1).await.unwrap_err().text.contains("not the boot of n1"));
}

#[tokio::test]
async fn an_announced_boot_counts_for_a_quarter_of_an_hour_and_dies_with_the_certificate_and_the_next_join() {
    let head = head();
    let announced = async |who: u8, at: Duration| {
        head.clock.set(NOW + at);
        head.boots();
        let token = head.tokens.for_boot(&"n1".parse().unwrap(), MAC, head.clock.now(), head.clock.now());
        let join = JoinRequest { boot: BootId([who; 16]), ..request(token, JoinPurpose::Boot) };
        head.service.join(key(who), SEEN, &join).unwrap();
        head.announce(who).await.unwrap();
    };
    let hour = Duration::from_secs(3600);
    announced(1, hour).await;
    head.clock.set(NOW + hour + TOKEN_LIFETIME + Duration::from_secs(60));
    assert!(!head.claim(MAC), "too late");

    announced(2, hour * 2).await;
    head.members.revoke(&[key(2)], head.clock.now()).unwrap();
    assert!(!head.claim(MAC), "revoked");

    announced(3, hour * 3).await;
    let ticket = head.tokens.for_ticket("n1".parse().unwrap(), hour, head.clock.now()).unwrap();
    head.join(4, ticket).unwrap();
    assert!(!head.claim(MAC), "the node is there already");
}

#[tokio::test]
async fn an_image_chosen_for_one_boot_is_what_that_boot_joins_for_and_no_other() {
    use crate::once::{OnceRecord, Step};
    let head = head();
    // The image of the registry was never built.
    assert_eq!(head.join(1, head.token("n2")).unwrap_err().reason, RefusalReason::NoImage);
    let (node, choice) = ("n2".parse().unwrap(), "debian".parse().unwrap());
    let record = OnceRecord { choice, who: "root".into(), at: NOW, taken: None };
    head.service.0.once.choose(std::slice::from_ref(&node), Some(&record)).unwrap();
    assert!(head.join(1, head.token("n2")).is_err(), "this machine has not loaded it");
    assert!(head.service.0.once.loaded(&node, Step::Agent, MAC, NOW).is_some());
    let answer = head.join(1, head.token("n2")).unwrap();
    assert_eq!((answer.image.id(), answer.node.unwrap().name), (header("debian").id(), node));
    let again = JoinRequest { boot: BootId([7; 16]), ..request(head.token("n2"), JoinPurpose::Boot) };
    assert!(head.service.join(key(2), SEEN, &again).is_err(), "another boot");
}
