//! What can be asked of a simulation.

use super::world::{IMAGE, World};
use super::{Spec, Trace, Tracker};
use crate::swarm::{Engine, Stats};
use crate::time::Mono;

impl<T: Tracker> World<T> {
    /// Living nodes that are waited for and are not complete, or have not joined.
    pub fn unfinished(&self) -> impl Iterator<Item = u32> {
        (0u32..)
            .zip(&self.members)
            .skip(self.spec.heads as usize)
            .filter(|&(node, member)| member.alive && member.finished.is_none() && self.is_awaited(node))
            .map(|(node, _)| node)
    }

    /// Whether the simulation is not over before this node is complete.
    pub(super) fn is_awaited(&self, node: u32) -> bool {
        self.spec.members.get(node as usize).is_some_and(|member| member.awaited)
    }

    /// Whether every living node that is waited for is complete.
    pub const fn is_complete(&self) -> bool {
        self.open == 0
    }

    /// When a head said that every unit is verified on two live nodes.
    pub const fn covered(&self) -> Option<Mono> {
        self.covered
    }

    /// When a member was switched on.
    pub fn started(&self, member: u32) -> Option<Mono> {
        self.members.get(member as usize)?.begun
    }

    /// Units that all living nodes hold together.
    pub fn units_held(&self) -> u64 {
        let engines = self.members.iter().skip(self.spec.heads as usize).filter_map(|member| member.engine.as_ref());
        engines.map(|engine| u64::from(engine.held_count(IMAGE))).sum()
    }

    /// The simulated time.
    pub const fn now(&self) -> Mono {
        self.now
    }

    /// What is simulated.
    pub const fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The hash of all inputs and outputs so far; 0 if it is not kept.
    pub fn trace(&self) -> u64 {
        self.trace.map_or(0, Trace::value)
    }

    /// Events that have happened.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// When a member became complete.
    pub fn finished(&self, member: u32) -> Option<Mono> {
        self.members.get(member as usize)?.finished
    }

    /// When the first node started.
    pub fn begun(&self) -> Option<Mono> {
        self.members.iter().skip(self.spec.heads as usize).filter_map(|member| member.begun).min()
    }

    /// A living member's engine.
    pub fn engine(&self, member: u32) -> Option<&Engine> {
        self.members.get(member as usize)?.engine.as_ref()
    }

    /// Whether a member is alive.
    pub fn is_alive(&self, member: u32) -> bool {
        self.members.get(member as usize).is_some_and(|member| member.alive)
    }

    /// Bytes of units that left a member's link.
    pub fn sent(&self, member: u32) -> u64 {
        self.net.sent(member)
    }

    /// Bytes of units that a member's link took in.
    pub fn received(&self, member: u32) -> u64 {
        self.net.received(member)
    }

    /// Bytes that left all heads' links.
    pub fn head_egress(&self) -> u64 {
        (0..self.spec.heads).map(|head| self.net.sent(head)).sum()
    }

    /// Bytes of units that came into racks from outside, and that all nodes' links took in.
    pub fn cross_rack(&self) -> (u64, u64) {
        (self.net.crossed(), (self.spec.heads..self.members.len() as u32).map(|node| self.net.received(node)).sum())
    }

    /// The sum of what the living nodes' engines counted.
    pub fn totals(&self) -> Stats {
        let mut sum = Stats::default();
        for stats in self
            .members
            .iter()
            .skip(self.spec.heads as usize)
            .filter_map(|member| member.engine.as_ref())
            .map(Engine::stats)
        {
            sum.bytes_from_heads += stats.bytes_from_heads;
            sum.bytes_from_peers += stats.bytes_from_peers;
            sum.bytes_duplicate += stats.bytes_duplicate;
            sum.bytes_offered += stats.bytes_offered;
            sum.requests += stats.requests;
            sum.busy += stats.busy;
            sum.refused += stats.refused;
            sum.missed += stats.missed;
            sum.endgame += stats.endgame;
            sum.superseded += stats.superseded;
            sum.corrupt += stats.corrupt;
            sum.served += stats.served;
            sum.turned_down += stats.turned_down;
            sum.haves += stats.haves;
            sum.slot_messages += stats.slot_messages;
            sum.ticks += stats.ticks;
        }
        sum
    }
}
