//! Who is admitted as what. Pure: facts in, decision out.

use std::sync::Arc;
use std::time::Duration;

use wulfpack_shared::id::{Mac, NodeName, PublicKey, RackName};
use wulfpack_shared::identity::{Membership, Role, TokenBody, TokenError, TokenSubject};
use wulfpack_shared::limits::{CERTIFICATE_BACKDATE, CERTIFICATE_LIFETIME};
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::{JoinPurpose, Refusal, RefusalReason};

use crate::fleet::Severity;
use crate::registry::{ImageRef, Node, Snapshot};

/// How long after the end of its certificate a node may still renew it: so long a head may be away without a node having to
/// boot again. The heads remember members, and whom they revoked, as long.
pub const RENEWAL_GRACE: Duration = Duration::from_secs(30 * 24 * 3600);

/// All that a decision on a join depends on.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The key that asks, as the connection has shown.
    pub key: PublicKey,
    /// What it asks for.
    pub purpose: &'a JoinPurpose,
    /// What its token says, or why it says nothing.
    pub token: Result<&'a TokenBody, &'a TokenError>,
    /// The keys that have redeemed the token.
    pub bound: &'a [PublicKey],
    /// Whether this key's certificate was revoked.
    pub revoked: bool,
    /// The registry.
    pub snapshot: &'a Snapshot,
}

/// What becomes of a join.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Once the key is bound to the token.
    Admit(Admission),
    /// No.
    Refuse {
        /// What the asker is told.
        refusal: Refusal,
        /// What everybody else is told.
        alarm: Option<Alarm>,
    },
}

/// An admission.
#[derive(Clone, Debug, PartialEq)]
pub struct Admission {
    /// The member's name.
    pub name: NodeName,
    /// What it becomes.
    pub role: Role,
    /// Where it stands.
    pub rack: Option<RackName>,
    /// What it fetches.
    pub image: ImageRef,
    /// The node whose settings and overlays it gets.
    pub settings: Option<Arc<Node>>,
    /// How many keys may redeem the token.
    pub places: u32,
}

/// Something that an administrator should see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// How much it matters.
    pub severity: Severity,
    /// Which node it is about.
    pub node: Option<NodeName>,
    /// What happened.
    pub text: String,
    /// Keys whose certificates become void.
    pub void: Vec<PublicKey>,
}

fn no(reason: RefusalReason, text: impl Into<String>) -> Decision {
    Decision::Refuse { refusal: Refusal { reason, text: text.into() }, alarm: None }
}

/// Decides on a join.
pub fn decide(facts: &Facts<'_>) -> Decision {
    let body = match facts.token {
        Ok(body) => body,
        Err(error) => return bad_token(error),
    };
    if facts.revoked {
        return no(RefusalReason::Token, "the certificate of this key was revoked; the node has to boot again");
    }
    let admission = match &body.subject {
        TokenSubject::Node { name, mac } => match facts.snapshot.node(name) {
            None => return no(RefusalReason::Configuration, format!("node {name} is no longer in the registry")),
            Some(node) if mac.is_some_and(|mac| node.interface(mac).is_none()) => {
                let text = format!("the interface that booted is no longer one of node {name}; boot it again");
                return no(RefusalReason::Configuration, text);
            }
            Some(node) => admit_node(node, facts.purpose),
        },
        TokenSubject::Anonymous { image, count } => {
            let image = ImageRef { name: image.clone(), version: None };
            admit_guest(&facts.key, image, *count, facts.purpose)
        }
        TokenSubject::Discover { mac, .. } => return not_adopted(*mac),
    };
    match admission {
        Ok(admission) if is_taken(facts, admission.places) => taken(facts, admission),
        Ok(admission) => Decision::Admit(admission),
        Err(refusal) => Decision::Refuse { refusal, alarm: None },
    }
}

fn bad_token(error: &TokenError) -> Decision {
    let text = match error {
        TokenError::Expired { .. } => format!("{error}; boot the machine again, or make a new ticket"),
        _ => error.to_string(),
    };
    let alarm = matches!(error, TokenError::Forged).then(|| Alarm {
        severity: Severity::Warning,
        node: None,
        text: "somebody showed a join token that no head of this cluster made".into(),
        void: vec![],
    });
    Decision::Refuse { refusal: Refusal { reason: RefusalReason::Token, text }, alarm }
}

/// What a machine in discovery was given says which machine it is, and opens nothing.
fn not_adopted(mac: Mac) -> Decision {
    let alarm = Alarm {
        severity: Severity::Warning,
        node: None,
        text: format!("the machine {mac}, which waits to be adopted, asked to join all the same"),
        void: vec![],
    };
    let text = format!("the machine {mac} is no node yet: \"wulf node adopt {mac} NAME\" on the head makes it one");
    Decision::Refuse { refusal: Refusal { reason: RefusalReason::Token, text }, alarm: Some(alarm) }
}

fn is_taken(facts: &Facts<'_>, places: u32) -> bool {
    !facts.bound.contains(&facts.key) && facts.bound.len() >= places as usize
}

/// The token is spent. For a node that means that two machines claim to be it, and one of them is not.
fn taken(facts: &Facts<'_>, admission: Admission) -> Decision {
    let refuse =
        |text: String, alarm| Decision::Refuse { refusal: Refusal { reason: RefusalReason::Token, text }, alarm };
    if let Role::Anonymous { .. } = admission.role {
        return refuse(format!("all {} places of this ticket are taken", admission.places), None);
    }
    let name = admission.name;
    let alarm = Alarm {
        severity: Severity::Alarm,
        node: Some(name.clone()),
        text: format!(
            "the join token of {name} was shown by a second key ({:.16}); somebody on its boot network may have read it. \
             Both are locked out; look at the segment, then boot {name} again",
            facts.key
        ),
        void: facts.bound.iter().copied().chain([facts.key]).collect(),
    };
    let text = format!("the join token of {name} was already used by another machine; the administrator was alarmed");
    refuse(text, Some(alarm))
}

fn admit_node(node: &Arc<Node>, purpose: &JoinPurpose) -> Result<Admission, Refusal> {
    let name = node.name.clone();
    let Some(image) = node.image.clone() else {
        let text = format!("node {name} has no image; `wulf node set {name} --image NAME` gives it one");
        return Err(Refusal { reason: RefusalReason::NoImage, text });
    };
    same_image(purpose, &image)?;
    let settings = matches!(purpose, JoinPurpose::Boot).then(|| Arc::clone(node));
    Ok(Admission { name, role: Role::Node, rack: node.rack.clone(), image, settings, places: 1 })
}

fn admit_guest(key: &PublicKey, image: ImageRef, count: u32, purpose: &JoinPurpose) -> Result<Admission, Refusal> {
    if *purpose == JoinPurpose::Boot {
        let text = "an anonymous ticket fetches an image and nothing else; a node needs its own".into();
        return Err(Refusal { reason: RefusalReason::Token, text });
    }
    same_image(purpose, &image)?;
    // 63 characters at most: a key's hexadecimal form alone would be one too long.
    let name = format!("guest-{key:.16}").parse().map_err(|error: wulfpack_shared::id::ParseIdError| Refusal {
        reason: RefusalReason::Configuration,
        text: error.to_string(),
    })?;
    let role = Role::Anonymous { image: image.name.clone() };
    Ok(Admission { name, role, rack: None, image, settings: None, places: count })
}

fn same_image(purpose: &JoinPurpose, image: &ImageRef) -> Result<(), Refusal> {
    match purpose {
        JoinPurpose::Fetch { image: Some(asked) } if *asked != image.name => Err(Refusal {
            reason: RefusalReason::Configuration,
            text: format!("this ticket is for image {}, not for {asked}", image.name),
        }),
        _ => Ok(()),
    }
}

/// All that a decision on a renewal depends on.
#[derive(Debug)]
pub struct RenewFacts<'a> {
    /// The certificate in use; its signature and subject are verified, its time is not.
    pub membership: &'a Membership,
    /// Whether the key that signed it is still trusted; else it is one that was.
    pub vouched: bool,
    /// Whether the heads' state has this key as the member of this name.
    pub known: bool,
    /// Whether its certificate was revoked.
    pub revoked: bool,
    /// The registry.
    pub snapshot: &'a Snapshot,
    /// The head's time.
    pub now: UnixTime,
}

/// Decides on a renewal: name, role and rack of the new certificate. A member whose certificate ran out while no head was there, or
/// was signed by a key that is dropped now, is renewed as long as the heads remember it: then it is their own record that counts,
/// which nobody can forge, whoever has the dropped key.
pub fn renew(facts: &RenewFacts<'_>) -> Result<(NodeName, Role, Option<RackName>), Refusal> {
    let refuse = |text| Err(Refusal { reason: RefusalReason::NotMember, text });
    let Membership { name, role, not_after, .. } = facts.membership;
    if facts.revoked {
        return refuse(format!("the certificate of {name} was revoked"));
    }
    if facts.now > *not_after + RENEWAL_GRACE {
        let days = RENEWAL_GRACE.as_secs() / 86_400;
        return refuse(format!(
            "the certificate of {name} ran out at {not_after}, more than {days} days ago; boot it again"
        ));
    }
    if facts.now > *not_after && !facts.known {
        return refuse(format!(
            "the certificate of {name} ran out at {not_after} and the heads do not remember it; boot it again"
        ));
    }
    if !facts.vouched && !facts.known {
        return refuse(format!(
            "the certificate of {name} is signed by a dropped key of the cluster and the heads do not remember it; boot it again"
        ));
    }
    match role {
        Role::Node => match facts.snapshot.node(name) {
            Some(node) => Ok((name.clone(), Role::Node, node.rack.clone())),
            None => refuse(format!("node {name} is no longer in the registry")),
        },
        Role::Anonymous { .. } | Role::Head => refuse("only nodes renew their certificates".into()),
    }
}

/// The membership that a certificate issued at `now` states.
pub fn membership(
    subject: PublicKey,
    name: NodeName,
    role: Role,
    rack: Option<RackName>,
    now: UnixTime,
    epoch: u32,
) -> Membership {
    let (not_before, not_after) = (now - CERTIFICATE_BACKDATE, now + CERTIFICATE_LIFETIME);
    Membership { subject, name, role, rack, not_before, not_after, epoch }
}
