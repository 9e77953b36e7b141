//! What goes wrong, or right again.

use core::time::Duration;

use super::event::Event;
use super::world::{IMAGE, World};
use super::{Observer, Tracker};
use crate::image::Run;
use crate::swarm::{Input, PeerMessage};
use crate::time::Mono;

/// Something that goes wrong, or right again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Dies without a word and forgets everything.
    Die,
    /// A dead member starts again, with nothing (a head: with everything).
    Return,
    /// Its link carries no units for so many milliseconds.
    Stall(u32),
    /// Its cable is out for so many milliseconds: nothing gets through either way, and what it is connected to gives it up if
    /// that takes too long.
    Cut(u32),
    /// Its rack is cut off from all others for so many milliseconds.
    CutRack(u32),
    /// Its link carries so many bytes a second from now on.
    Rate(u64),
    /// All units that it serves are corrupt from now on, or good again.
    Corrupt(bool),
    /// It says that it holds everything, though it does not.
    Boast,
    /// It takes requests and never answers, or does again.
    Mute(bool),
    /// It tells everybody that it holds units that the image does not have.
    Nonsense,
    /// It opens a handshake with everybody, over and over, in so many rounds a millisecond apart.
    Flood(u16),
    /// Its certificate is expired, or another's: every handshake with it fails, or works again.
    Outlawed(bool),
    /// One in so many units that it receives is altered in its memory; 0 for none.
    Flips(u32),
    /// Its store is full, or has room again.
    Full(bool),
    /// The tracker answers nobody from now on, or answers again and knows nobody.
    TrackerDead(bool),
}

impl<T: Tracker> World<T> {
    pub(super) fn fail(&mut self, node: u32, fault: Fault, observer: &mut impl Observer) {
        let ahead = |millis: u32| self.now + Duration::from_millis(u64::from(millis));
        let vices = &mut self.members[node as usize].vices;
        match fault {
            Fault::Die => self.die(node),
            Fault::Return => self.come_back(node),
            Fault::Stall(millis) => self.net.stall(node, ahead(millis)),
            Fault::Cut(millis) => self.cut(node, ahead(millis)),
            Fault::CutRack(millis) => self.cut_rack(self.spec.members[node as usize].rack, ahead(millis)),
            Fault::Rate(rate) => self.net.set_rate(node, rate),
            Fault::Corrupt(corrupt) => vices.corrupt = corrupt,
            Fault::Boast => {
                vices.corrupt = true;
                let run = self.whole();
                self.tell(node, Input::Held { image: IMAGE, run }, observer);
            }
            Fault::Mute(mute) => vices.mute = mute,
            Fault::Nonsense => self.talk_nonsense(node),
            Fault::Flood(rounds) => self.flood(node, rounds),
            Fault::Outlawed(outlawed) => vices.outlawed = outlawed,
            Fault::Flips(flips) => vices.flips = flips,
            Fault::Full(full) => vices.full = full,
            Fault::TrackerDead(dead) => {
                self.tracker_dead = dead;
                self.tracker.restarted();
            }
        }
    }

    /// A member dies without a word; its peers notice later.
    fn die(&mut self, node: u32) {
        let noticed = self.now + self.spec.links.death_noticed;
        let counts = !self.spec.is_head(node) && self.is_awaited(node);
        let member = &mut self.members[node as usize];
        if !member.alive {
            return;
        }
        self.open -= u32::from(member.finished.is_none() && counts);
        member.alive = false;
        member.life += 1;
        member.engine = None;
        member.wake = None;
        member.finished = None;
        member.reqs.clear();
        let flows: Vec<_> = member.serves.drain(..).filter_map(|serving| serving.flow).collect();
        let conns = core::mem::take(&mut member.conns);
        flows.into_iter().for_each(|flow| self.end_flow(flow));
        for (peer, conn) in conns.iter() {
            self.queue.push(noticed, Event::Gone { conn: conn.id, node: peer, peer: node });
        }
    }

    fn come_back(&mut self, node: u32) {
        let counts = !self.spec.is_head(node) && self.is_awaited(node);
        let member = &mut self.members[node as usize];
        if !member.alive {
            member.alive = true;
            self.open += u32::from(counts);
            self.queue.push(self.now, Event::Start { node, life: member.life });
        }
    }

    /// Connections break on both ends if the silence lasts long enough.
    fn break_silent(&mut self, node: u32, peer: u32, until: Mono) {
        let noticed = self.now + self.spec.links.death_noticed;
        if until < noticed {
            return;
        }
        if let Some(conn) = self.members[node as usize].conns.get(peer) {
            self.queue.push(noticed, Event::Gone { conn: conn.id, node, peer });
            self.queue.push(noticed, Event::Gone { conn: conn.id, node: peer, peer: node });
        }
    }

    fn cut(&mut self, node: u32, until: Mono) {
        self.net.stall(node, until);
        let member = &mut self.members[node as usize];
        member.dark_until = member.dark_until.max(until);
        for peer in member.conns.peers().to_vec() {
            self.break_silent(node, peer, until);
        }
    }

    fn cut_rack(&mut self, rack: u16, until: Mono) {
        self.net.stall_rack(rack, until);
        if self.racks_dark.len() <= usize::from(rack) {
            self.racks_dark.resize(usize::from(rack) + 1, Mono::ZERO);
        }
        let dark = &mut self.racks_dark[usize::from(rack)];
        *dark = (*dark).max(until);
        for node in 0..self.members.len() as u32 {
            if self.spec.members[node as usize].rack != rack {
                continue;
            }
            for peer in self.members[node as usize].conns.peers().to_vec() {
                if !self.spec.same_rack(node, peer) {
                    self.break_silent(node, peer, until);
                }
            }
        }
    }

    fn talk_nonsense(&mut self, node: u32) {
        let ranges = vec![Run { first: self.spec.image.units.total(), count: u32::MAX / 2 }];
        for peer in self.members[node as usize].conns.peers().to_vec() {
            let message = PeerMessage::Have { image: IMAGE, ranges: ranges.clone() };
            let input = Input::Message { peer: Self::peer(node), message };
            self.send(node, peer, |conn, to| Event::Message { conn, from: node, to, input });
        }
    }

    /// Half-open handshakes: they cost the other end its time and come to nothing.
    fn flood(&mut self, node: u32, rounds: u16) {
        for to in (0..self.members.len() as u32).filter(|&to| to != node) {
            let member = &mut self.members[to as usize];
            member.cpu_free = member.cpu_free.max(self.now) + self.spec.links.handshake_cpu / 4;
        }
        if rounds > 1 {
            let at = self.now + Duration::from_millis(1);
            self.queue.push(at, Event::Fault { node, fault: Fault::Flood(rounds - 1) });
        }
    }
}
