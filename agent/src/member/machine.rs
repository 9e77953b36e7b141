//! When a member talks to a head: pure. Three conversations, each with at most one request under way: track (peers), report
//! (events, counters) and renew (certificate). A head that does not answer costs backoff, never the others' turn.

use core::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wulfpack_shared::time::{Mono, Now, UnixTime};

/// First and longest pause after an unanswered request.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// Events that come together go together.
const GATHER: Duration = Duration::from_millis(200);
/// Counters of the swarm are reported this often while something moves.
const COUNTERS: Duration = Duration::from_secs(5);
/// Soonest that the swarm's wish for peers leads to another request.
const ASK_GAP: Duration = Duration::from_secs(1);

/// The conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Talk {
    /// Announce what this member holds; get peers.
    Track,
    /// Events and counters.
    Report,
    /// A new certificate.
    Renew,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// The swarm could use this many more peers.
    AskTracker {
        /// How many.
        want: u16,
    },
    /// An event waits in the queue.
    EventWaits,
    /// The head answered.
    Answered(Talk),
    /// The head said when the next `Track` is due; in seconds. Comes with `Answered(Track)`.
    TrackAgain(u16),
    /// The head did not answer, or said no.
    Failed(Talk),
    /// The certificate in use is valid until then, and was made then.
    Certificate {
        /// First moment of validity (back-dated) or of issue.
        issued: UnixTime,
        /// Last moment.
        until: UnixTime,
    },
    /// Whether this member still takes part in the swarm.
    Seeding(bool),
    /// Whether counters are worth reporting regularly.
    Busy(bool),
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this request. Answered with `Answered` or `Failed`.
    Send {
        /// Which.
        talk: Talk,
        /// Of `Track`: how many peers would be of use.
        want: u16,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Line {
    due: Option<Mono>,
    under_way: bool,
    failures: u32,
}

/// See the file's head.
#[derive(Debug)]
pub struct Schedule {
    track: Line,
    report: Line,
    renew: Line,
    want: u16,
    seeding: bool,
    busy: bool,
    events: bool,
    last_track: Option<Mono>,
    renew_at: Option<UnixTime>,
    rng: ChaCha8Rng,
    output: Vec<Output>,
}

impl Schedule {
    /// A member that has just joined and is to track after `track_after_s` seconds.
    pub fn new(now: Now, track_after_s: u16, seed: u64) -> Self {
        let due = Some(now.mono + Duration::from_secs(track_after_s.into()));
        Self {
            track: Line { due, ..Line::default() },
            report: Line::default(),
            renew: Line::default(),
            want: 0,
            seeding: true,
            busy: true,
            events: false,
            last_track: None,
            renew_at: None,
            rng: ChaCha8Rng::seed_from_u64(seed),
            output: vec![],
        }
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        match input {
            Input::Tick => {}
            Input::AskTracker { want } => {
                self.want = self.want.max(want);
                let soonest = self.last_track.map_or(now.mono, |last| (last + ASK_GAP).max(now.mono));
                if !self.track.under_way && self.track.failures == 0 {
                    self.track.due = Some(self.track.due.map_or(soonest, |due| due.min(soonest)));
                }
            }
            Input::EventWaits => {
                self.events = true;
                if !self.report.under_way && self.report.failures == 0 {
                    let soon = now.mono + GATHER;
                    self.report.due = Some(self.report.due.map_or(soon, |due| due.min(soon)));
                }
            }
            Input::Answered(talk) => self.answered(now, talk),
            Input::TrackAgain(secs) => {
                let spread = self.jitter(Duration::from_secs(secs.into()));
                self.track.due = self.seeding.then(|| now.mono + spread);
            }
            Input::Failed(talk) => self.failed(now.mono, talk),
            Input::Certificate { issued, until } => {
                // Half of its life, and not when everybody else does.
                let half = Duration::from_millis(until.0.saturating_sub(issued.0) / 2);
                self.renew_at = Some(issued + self.jitter(half));
                self.renew.due = Some(self.renew_due(now));
            }
            Input::Seeding(seeding) => {
                self.seeding = seeding;
                // One last track says that the member leaves; a first one that it is back.
                self.track.due = Some(now.mono);
            }
            Input::Busy(busy) => self.busy = busy,
        }
        self.fire(now.mono);
    }

    /// What to do next; drain after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.output.is_empty() { None } else { Some(self.output.remove(0)) }
    }

    /// When to hand in a tick, and for which conversation.
    pub fn poll_timeout(&self) -> Option<(Mono, Talk)> {
        [(self.track, Talk::Track), (self.report, Talk::Report), (self.renew, Talk::Renew)]
            .into_iter()
            .filter(|(line, _)| !line.under_way)
            .filter_map(|(line, talk)| Some((line.due?, talk)))
            .min()
    }

    fn line(&mut self, talk: Talk) -> &mut Line {
        match talk {
            Talk::Track => &mut self.track,
            Talk::Report => &mut self.report,
            Talk::Renew => &mut self.renew,
        }
    }

    /// Between 3/4 and 5/4 of `base`.
    fn jitter(&mut self, base: Duration) -> Duration {
        base * 3 / 4 + base / 2 * (self.rng.next_u32() % 1024) / 1024
    }

    fn renew_due(&self, now: Now) -> Mono {
        match (self.renew_at, now.wall) {
            (Some(at), Some(wall)) => now.mono + Duration::from_millis(at.0.saturating_sub(wall.0)),
            _ => now.mono + BACKOFF.1,
        }
    }

    fn answered(&mut self, now: Now, talk: Talk) {
        let line = self.line(talk);
        line.under_way = false;
        line.failures = 0;
        match talk {
            Talk::Track => {}
            Talk::Report => {
                let next = if self.busy { Some(now.mono + COUNTERS) } else { None };
                self.report.due = if self.events { Some(now.mono + GATHER) } else { next };
            }
            Talk::Renew => {
                self.renew.due = None;
                // Whose certificate had run out was refused everything else: from now on it is a member again.
                for line in [&mut self.track, &mut self.report] {
                    if line.failures > 0 && !line.under_way {
                        line.due = Some(now.mono);
                    }
                }
            }
        }
    }

    fn failed(&mut self, now: Mono, talk: Talk) {
        let failures = {
            let line = self.line(talk);
            line.under_way = false;
            line.failures += 1;
            line.failures
        };
        let pause = BACKOFF.0.saturating_mul(1 << (failures - 1).min(5)).min(BACKOFF.1);
        let pause = self.jitter(pause);
        self.line(talk).due = Some(now + pause);
    }

    fn fire(&mut self, now: Mono) {
        for talk in [Talk::Track, Talk::Report, Talk::Renew] {
            let line = self.line(talk);
            if line.under_way || line.due.is_none_or(|due| due > now) {
                continue;
            }
            line.under_way = true;
            line.due = None;
            let want = if talk == Talk::Track { std::mem::take(&mut self.want) } else { 0 };
            match talk {
                Talk::Track => self.last_track = Some(now),
                Talk::Report => self.events = false,
                Talk::Renew => {}
            }
            self.output.push(Output::Send { talk, want });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Now {
        Now { mono: Mono::from_millis(millis), wall: Some(UnixTime(1_000_000_000_000 + millis)) }
    }

    fn feed(schedule: &mut Schedule, now: Now, input: Input) -> Vec<Talk> {
        schedule.handle_input(now, input);
        std::iter::from_fn(|| schedule.poll_output()).map(|Output::Send { talk, .. }| talk).collect()
    }

    #[test]
    fn a_wish_for_peers_is_passed_on_at_once_but_not_twice_a_second() {
        let mut schedule = Schedule::new(at(0), 30, 1);
        assert_eq!(feed(&mut schedule, at(10), Input::AskTracker { want: 5 }), [Talk::Track]);
        assert_eq!(feed(&mut schedule, at(20), Input::AskTracker { want: 5 }), [], "one is under way");
        feed(&mut schedule, at(30), Input::Answered(Talk::Track));
        feed(&mut schedule, at(30), Input::TrackAgain(60));
        assert_eq!(feed(&mut schedule, at(40), Input::AskTracker { want: 5 }), []);
        assert_eq!(schedule.poll_timeout(), Some((Mono::from_millis(1010), Talk::Track)));
        assert_eq!(feed(&mut schedule, at(1010), Input::Tick), [Talk::Track]);
    }

    #[test]
    fn events_gather_and_none_is_forgotten_while_one_report_is_under_way() {
        let mut schedule = Schedule::new(at(0), 30, 1);
        assert_eq!(feed(&mut schedule, at(0), Input::EventWaits), []);
        assert_eq!(feed(&mut schedule, at(200), Input::Tick), [Talk::Report]);
        assert_eq!(feed(&mut schedule, at(210), Input::EventWaits), []);
        assert_eq!(feed(&mut schedule, at(220), Input::Answered(Talk::Report)), []);
        assert_eq!(feed(&mut schedule, at(420), Input::Tick), [Talk::Report]);
    }

    #[test]
    fn a_dead_head_is_asked_at_most_every_seconds_and_at_least_every_75() {
        let mut schedule = Schedule::new(at(0), 0, 1);
        let mut now = Now::mono(Mono::ZERO);
        feed(&mut schedule, now, Input::Tick);
        for _ in 0..50 {
            feed(&mut schedule, now, Input::Failed(Talk::Track));
            let (wake, talk) = schedule.poll_timeout().unwrap();
            assert_eq!(talk, Talk::Track);
            let pause = wake.since(now.mono);
            assert!((Duration::from_millis(1_500)..=Duration::from_secs(75)).contains(&pause), "{pause:?}");
            now = Now::mono(wake);
            assert_eq!(feed(&mut schedule, now, Input::AskTracker { want: 9 }), [Talk::Track]);
        }
    }

    #[test]
    fn a_certificate_that_ran_out_is_renewed_when_a_head_comes_back_and_the_member_tracks_at_once() {
        let mut schedule = Schedule::new(at(0), 3600, 1);
        let issued = UnixTime(1_000_000_000_000);
        let life = Duration::from_secs(80_000);
        feed(&mut schedule, at(0), Input::Certificate { issued, until: issued + life });
        // To the nanosecond, as what is due a part of a millisecond later is not due yet.
        let exact = |mono: Mono| Now { mono, ..at(mono.as_millis()) };
        // No head for ten lives: both are tried again and again.
        let (mut now, mut renewals) = (Mono::ZERO, 0);
        while now < Mono::ZERO + life * 10 {
            now = schedule.poll_timeout().unwrap().0;
            for talk in feed(&mut schedule, exact(now), Input::Tick) {
                renewals += u32::from(talk == Talk::Renew);
                feed(&mut schedule, exact(now), Input::Failed(talk));
            }
        }
        assert!(renewals > 9 * 80_000 / 75, "{renewals}");
        now = schedule.renew.due.unwrap();
        let sent = feed(&mut schedule, exact(now), Input::Tick);
        assert!(sent.contains(&Talk::Renew));
        for talk in sent.into_iter().filter(|talk| *talk != Talk::Renew) {
            feed(&mut schedule, exact(now), Input::Failed(talk));
        }
        assert_eq!(feed(&mut schedule, exact(now), Input::Answered(Talk::Renew)), [Talk::Track]);
        let issued = UnixTime(issued.0 + now.as_millis());
        feed(&mut schedule, exact(now), Input::Certificate { issued, until: issued + life });
        let pause = schedule.renew.due.unwrap().since(now);
        assert!((Duration::from_secs(30_000)..=Duration::from_secs(50_000)).contains(&pause), "{pause:?}");
    }

    #[test]
    fn a_certificate_is_renewed_around_half_of_its_life() {
        let mut schedule = Schedule::new(at(0), 3600, 1);
        let issued = UnixTime(1_000_000_000_000);
        feed(&mut schedule, at(0), Input::Certificate { issued, until: issued + Duration::from_secs(80_000) });
        let renew = schedule.renew.due.unwrap();
        assert!((30_000_000..=50_000_000).contains(&renew.as_millis()), "{renew:?}");
    }
}
