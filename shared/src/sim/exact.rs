//! Exact max-min fair rates by progressive filling, computed anew whenever a transfer begins or ends: what `link.rs` comes
//! close to, and is tested against. For small simulations; each change costs time in proportion to all flows.

use super::flows::{FlowId, Flows};
use super::{ImageSpec, Spec};
use crate::time::Mono;

#[derive(Clone, Copy, Debug)]
struct Fluid {
    id: FlowId,
    /// Bytes of its unit that are still to come.
    left: f64,
    /// Bytes a nanosecond.
    rate: f64,
    /// The links that it passes.
    lanes: [u32; 4],
}

/// A unit has gone through; whether it was its flow's last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Through {
    pub(super) flow: FlowId,
    pub(super) unit: u32,
    pub(super) last: bool,
}

#[derive(Debug)]
pub(super) struct Exact {
    /// Bytes a nanosecond of each link: all members' up, all members' down, all racks' out, all racks' in.
    rates: Vec<f64>,
    members: u32,
    racks: Vec<u16>,
    rack_count: u32,
    flows: Vec<Fluid>,
    at: Mono,
    /// Rates are to be computed anew.
    dirty: bool,
    /// The `Through` event that counts.
    pub(super) next: Mono,
}

const NONE: u32 = u32::MAX;

impl Exact {
    pub(super) fn new(spec: &Spec) -> Self {
        let own = spec.members.iter().map(|member| member.rate);
        let all = own.clone().chain(own).chain(spec.rack_rates.iter().copied()).chain(spec.rack_rates.iter().copied());
        Self {
            rates: all.map(|rate| rate as f64 / 1e9).collect(),
            members: spec.members.len() as u32,
            racks: spec.members.iter().map(|member| member.rack).collect(),
            rack_count: spec.rack_rates.len() as u32,
            flows: vec![],
            at: Mono::ZERO,
            dirty: false,
            next: Mono(u64::MAX),
        }
    }

    fn lanes(&self, from: u32, to: u32) -> [u32; 4] {
        let (out, into) = (self.racks[from as usize], self.racks[to as usize]);
        let lane = |rack: u16, base: u32| {
            let narrow = out != into && u32::from(rack) < self.rack_count;
            if narrow { 2 * self.members + base + u32::from(rack) } else { NONE }
        };
        [from, self.members + to, lane(out, 0), lane(into, self.rack_count)]
    }

    pub(super) fn begin(&mut self, id: FlowId, flows: &Flows, image: &ImageSpec, now: Mono) {
        let Some(flow) = flows.get(id) else { return };
        self.advance(now);
        let lanes = self.lanes(flow.from, flow.to);
        self.flows.push(Fluid { id, left: f64::from(image.len_of(flow.next)), rate: 0.0, lanes });
        self.dirty = true;
    }

    pub(super) fn end(&mut self, id: FlowId, now: Mono) {
        self.advance(now);
        self.flows.retain(|fluid| fluid.id != id);
        self.dirty = true;
    }

    fn advance(&mut self, now: Mono) {
        let nanos = now.since(self.at).as_nanos() as f64;
        self.at = now;
        self.flows.iter_mut().for_each(|fluid| fluid.left -= fluid.rate * nanos);
    }

    /// Units that have gone through by now; their flows go on with the next one, or are over.
    pub(super) fn through(&mut self, now: Mono, flows: &mut Flows, image: &ImageSpec) -> Vec<Through> {
        self.advance(now);
        let mut done = vec![];
        let dirty = &mut self.dirty;
        self.flows.retain_mut(|fluid| {
            if fluid.left > fluid.rate {
                return true;
            }
            let Some(flow) = flows.get_mut(fluid.id) else { return false };
            let unit = flow.next;
            flow.next += 1;
            let last = flow.next >= flow.end;
            done.push(Through { flow: fluid.id, unit, last });
            fluid.left += f64::from(image.len_of(flow.next));
            *dirty |= last;
            !last
        });
        done
    }

    /// When the next unit will have gone through, if that has changed.
    pub(super) fn settle(&mut self, now: Mono) -> Option<Mono> {
        if self.dirty {
            self.dirty = false;
            self.advance(now);
            self.fill();
        }
        let wait = self.flows.iter().map(|fluid| fluid.left / fluid.rate.max(1e-12)).min_by(f64::total_cmp)?;
        let at = Mono(self.at.0 + (wait.max(0.0) as u64).saturating_add(1));
        (at != self.next).then(|| {
            self.next = at;
            at
        })
    }

    /// Progressive filling: the link with the least for each of its flows decides theirs; then the next among the rest.
    fn fill(&mut self) {
        let mut left = self.rates.clone();
        let mut through: Vec<Vec<u32>> = vec![vec![]; left.len()];
        let mut open = vec![0u32; left.len()];
        for (index, fluid) in (0u32..).zip(&mut self.flows) {
            fluid.rate = -1.0;
            for &lane in fluid.lanes.iter().filter(|&&lane| lane != NONE) {
                through[lane as usize].push(index);
                open[lane as usize] += 1;
            }
        }
        loop {
            let share = |lane: usize| left[lane] / f64::from(open[lane]);
            let busy = (0..left.len()).filter(|&lane| open[lane] > 0);
            let Some(narrowest) = busy.min_by(|&one, &other| share(one).total_cmp(&share(other))) else { return };
            let rate = share(narrowest).max(0.0);
            for &index in &through[narrowest] {
                let fluid = &mut self.flows[index as usize];
                if fluid.rate >= 0.0 {
                    continue;
                }
                fluid.rate = rate;
                for &lane in fluid.lanes.iter().filter(|&&lane| lane != NONE) {
                    left[lane as usize] -= rate;
                    open[lane as usize] -= 1;
                }
            }
        }
    }
}
