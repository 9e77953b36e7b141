//! Who is told of whom. The head's own tracker is plugged in from the tests; this one gives out random members.

use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use crate::limits::HEAD_NEIGHBOURS;
use crate::swarm::{Candidate, PeerIx, PeerKind};
use crate::time::Mono;

/// The part of the head that knows the members. Member 0 is the head.
pub trait Tracker {
    /// A member joins (its first call) or asks for more.
    fn ask(&mut self, now: Mono, who: PeerIx, rack: u16, want: u16, rng: &mut ChaCha8Rng) -> Vec<Candidate>;
    /// What the last answer said of the asker's rack: its members, and the flows from other racks that all may have together.
    fn rack(&self) -> (u32, u32) {
        (0, 0)
    }
    /// The head was restarted: what was only in its memory is gone.
    fn restarted(&mut self);
}

/// Gives random members; names the head to the first 64, and to whoever asks again.
#[derive(Clone, Debug, Default)]
pub struct RandomTracker {
    members: Vec<(PeerIx, u16)>,
}

impl Tracker for RandomTracker {
    fn ask(&mut self, _now: Mono, who: PeerIx, rack: u16, want: u16, rng: &mut ChaCha8Rng) -> Vec<Candidate> {
        let known = self.members.iter().any(|&(member, _)| member == who);
        let mut answer = vec![];
        if known || self.members.len() < usize::from(HEAD_NEIGHBOURS) {
            answer.push(Candidate { peer: PeerIx(0), kind: PeerKind::Head, same_rack: true });
        }
        let mut others: Vec<_> = self.members.iter().filter(|&&(member, _)| member != who).copied().collect();
        for picked in 0..usize::from(want).min(others.len()) {
            let rest = (others.len() - picked) as u64;
            let other = picked + ((u64::from(rng.next_u32()) * rest) >> 32) as usize;
            others.swap(picked, other);
            let (peer, other_rack) = others[picked];
            answer.push(Candidate { peer, kind: PeerKind::Node, same_rack: rack == other_rack });
        }
        if !known {
            self.members.push((who, rack));
        }
        answer
    }

    fn restarted(&mut self) {
        self.members.clear();
    }
}
