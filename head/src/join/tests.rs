use wulfpack_shared::id::{Mac, PublicKey};
use wulfpack_shared::identity::{Role, TokenBody, TokenError, TokenSubject};
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::{JoinPurpose, RefusalReason};

use super::machine::{Decision, Facts, RENEWAL_GRACE, RenewFacts, decide, membership, renew};
use crate::fleet::Severity;
use crate::registry::{ImageRef, Interface, Node, Snapshot};

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const ME: PublicKey = PublicKey([1; 32]);
const OTHER: PublicKey = PublicKey([2; 32]);

pub(super) fn node(name: &str, image: Option<&str>) -> Node {
    Node {
        image: image.map(|image| ImageRef { name: image.parse().unwrap(), version: None }),
        rack: Some("r1".parse().unwrap()),
        interfaces: vec![Interface { net: "default".into(), mac: Some(MAC), ..Interface::default() }],
        primary: Some(0),
        ..Node::named(name.parse().unwrap())
    }
}

fn snapshot() -> Snapshot {
    Snapshot::new([node("n1", Some("debian"))])
}

fn token() -> TokenBody {
    let subject = TokenSubject::Node { name: "n1".parse().unwrap(), mac: Some(MAC) };
    TokenBody { subject, nonce: [7; 16], expires: UnixTime(1000) }
}

fn guest(count: u32) -> TokenBody {
    TokenBody { subject: TokenSubject::Anonymous { image: "debian".parse().unwrap(), count }, ..token() }
}

fn ask(token: &TokenBody, purpose: &JoinPurpose, bound: &[PublicKey], snapshot: &Snapshot) -> Decision {
    decide(&Facts { key: ME, purpose, token: Ok(token), bound, revoked: false, snapshot })
}

fn refusal(decision: Decision) -> (RefusalReason, String) {
    match decision {
        Decision::Refuse { refusal, .. } => (refusal.reason, refusal.text),
        Decision::Admit(admission) => panic!("admitted {admission:?}"),
    }
}

#[test]
fn a_node_is_admitted_with_its_settings_and_may_repeat_it() {
    for bound in [&[][..], &[ME]] {
        let Decision::Admit(admission) = ask(&token(), &JoinPurpose::Boot, bound, &snapshot()) else { panic!() };
        assert_eq!((admission.name.as_str(), &admission.role, admission.places), ("n1", &Role::Node, 1));
        assert_eq!((admission.image.name.as_str(), admission.settings.is_some()), ("debian", true));
        assert_eq!(admission.rack.unwrap().as_str(), "r1");
    }
}

#[test]
fn a_fetch_gets_the_image_and_no_settings() {
    for image in [None, Some("debian".parse().unwrap())] {
        let Decision::Admit(admission) = ask(&token(), &JoinPurpose::Fetch { image }, &[], &snapshot()) else {
            panic!()
        };
        assert_eq!(admission.settings, None);
    }
    let other = JoinPurpose::Fetch { image: Some("rocky".parse().unwrap()) };
    let (reason, text) = refusal(ask(&token(), &other, &[], &snapshot()));
    assert_eq!(
        (reason, text.as_str()),
        (RefusalReason::Configuration, "this ticket is for image debian, not for rocky")
    );
}

#[test]
fn a_second_key_locks_both_out_and_raises_an_alarm() {
    let Decision::Refuse { refusal, alarm } = ask(&token(), &JoinPurpose::Boot, &[OTHER], &snapshot()) else {
        panic!()
    };
    assert_eq!(refusal.reason, RefusalReason::Token);
    let alarm = alarm.unwrap();
    assert_eq!((alarm.severity, alarm.void), (Severity::Alarm, vec![OTHER, ME]));
    assert_eq!(alarm.node.unwrap().as_str(), "n1");
}

#[test]
fn a_token_that_says_nothing_is_refused_with_its_reason() {
    let snapshot = snapshot();
    let (purpose, expired) = (JoinPurpose::Boot, TokenError::Expired { expired: UnixTime(1000), now: UnixTime(9_000) });
    let facts = |error| Facts {
        key: ME,
        purpose: &purpose,
        token: Err(error),
        bound: &[],
        revoked: false,
        snapshot: &snapshot,
    };
    let (reason, text) = refusal(decide(&facts(&expired)));
    assert!(
        reason == RefusalReason::Token && text.contains("expired") && text.contains("boot the machine again"),
        "{text}"
    );
    let Decision::Refuse { refusal, alarm } = decide(&facts(&TokenError::Forged)) else { panic!() };
    assert!(refusal.text.contains("not made by a head"), "{}", refusal.text);
    assert_eq!(alarm.unwrap().void, []);
}

#[test]
fn a_revoked_key_stays_out() {
    let (snapshot, token) = (snapshot(), token());
    let purpose = JoinPurpose::Boot;
    let facts =
        Facts { key: ME, purpose: &purpose, token: Ok(&token), bound: &[ME], revoked: true, snapshot: &snapshot };
    assert!(refusal(decide(&facts)).1.contains("revoked"));
}

#[test]
fn nodes_that_are_gone_moved_or_without_image_are_refused_by_name() {
    let boot = JoinPurpose::Boot;
    let (reason, text) = refusal(ask(&token(), &boot, &[], &Snapshot::default()));
    assert!(reason == RefusalReason::Configuration && text.contains("n1"), "{text}");
    let mut moved = node("n1", Some("debian"));
    moved.interfaces[0].mac = Some(Mac([9; 6]));
    assert_eq!(refusal(ask(&token(), &boot, &[], &Snapshot::new([moved]))).0, RefusalReason::Configuration);
    let (reason, text) = refusal(ask(&token(), &boot, &[], &Snapshot::new([node("n1", None)])));
    assert!(reason == RefusalReason::NoImage && text.contains("wulf node set n1 --image"), "{text}");
}

#[test]
fn an_anonymous_ticket_gives_one_image_to_so_many_hosts_and_never_settings() {
    let fetch = JoinPurpose::Fetch { image: None };
    let Decision::Admit(admission) = ask(&guest(2), &fetch, &[OTHER], &Snapshot::default()) else { panic!() };
    assert_eq!(admission.role, Role::Anonymous { image: "debian".parse().unwrap() });
    assert_eq!((admission.settings, admission.places), (None, 2));
    assert_eq!(admission.name.as_str(), "guest-0101010101010101");

    let full = [OTHER, PublicKey([3; 32])];
    let Decision::Refuse { refusal: refused, alarm } = ask(&guest(2), &fetch, &full, &snapshot()) else { panic!() };
    assert!(refused.text.contains("all 2 places"), "{}", refused.text);
    assert_eq!(alarm, None, "one too many is no attack");
    assert_eq!(refusal(ask(&guest(2), &JoinPurpose::Boot, &[], &snapshot())).0, RefusalReason::Token);
    let other = JoinPurpose::Fetch { image: Some("rocky".parse().unwrap()) };
    assert_eq!(refusal(ask(&guest(2), &other, &[], &snapshot())).0, RefusalReason::Configuration);
}

#[test]
fn members_are_renewed_while_the_registry_has_them() {
    let snapshot = snapshot();
    let now = UnixTime::from_secs(10_000_000);
    let own = membership(ME, "n1".parse().unwrap(), Role::Node, None, now, 3);
    assert_eq!((own.not_before.as_secs(), own.not_after.as_secs()), (10_000_000 - 86_400, 10_000_000 + 7 * 86_400));
    let later = UnixTime(own.not_after.0 + 1);
    let facts =
        |now, known, revoked| RenewFacts { membership: &own, vouched: true, known, revoked, snapshot: &snapshot, now };
    assert_eq!(
        renew(&facts(now, false, false)).unwrap().2.unwrap().as_str(),
        "r1",
        "the rack is the registry's of today"
    );
    assert!(renew(&facts(later, true, false)).is_ok(), "a node that the heads remember comes back by itself");
    let last = own.not_after + RENEWAL_GRACE;
    assert!(renew(&facts(last, true, false)).is_ok());
    let refused = renew(&facts(UnixTime(last.0 + 1), true, false)).unwrap_err();
    assert!(refused.text.contains("more than 30 days ago; boot it again"), "{}", refused.text);
    for bad in [facts(later, false, false), facts(now, true, true)] {
        assert_eq!(renew(&bad).unwrap_err().reason, RefusalReason::NotMember);
    }
    let dropped = |known| renew(&RenewFacts { vouched: false, ..facts(now, known, false) });
    assert!(dropped(true).is_ok(), "the heads' own record counts for more than a signature");
    assert!(dropped(false).unwrap_err().text.contains("dropped key"));
    let gone = RenewFacts { snapshot: &Snapshot::default(), ..facts(now, true, false) };
    assert!(renew(&gone).unwrap_err().text.contains("no longer in the registry"));
    let guest =
        membership(ME, "guest-1".parse().unwrap(), Role::Anonymous { image: "debian".parse().unwrap() }, None, now, 0);
    assert!(renew(&RenewFacts { membership: &guest, ..facts(now, true, false) }).is_err());
}
