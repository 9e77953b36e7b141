//! What a fetch ended with, for people and for programs.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// Bytes by source, and times in seconds since the program started.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Name of the image.
    pub image: String,
    /// Its version, hexadecimal.
    pub version: String,
    /// Bytes of the image.
    pub bytes: u64,
    /// Verified bytes that came from heads, table pages included.
    pub from_heads: u64,
    /// Verified bytes that came from peers, table pages included.
    pub from_peers: u64,
    /// Bytes that an interrupted fetch had left.
    pub resumed: u64,
    /// Bytes that were taken over from files of `--have`.
    pub reused: u64,
    /// Bytes that arrived in vain.
    pub wasted: u64,
    /// Bytes served to others until the image was complete.
    pub served: u64,
    /// Processor time until the image was complete.
    pub cpu_s: f64,
    /// The most memory that was resident at a time until then, in bytes; the image is no part of it.
    pub memory_peak: u64,
    /// Requests sent until then, and those of them that were turned down for want of a slot.
    pub requests: u64,
    /// See `requests`.
    pub turned_down: u64,
    /// Messages sent to peers until then beside requests: what is held, and which slots are free.
    pub messages: u64,
    /// Until the head had admitted this host.
    pub join_s: f64,
    /// Until the first unit was verified.
    pub first_s: f64,
    /// Until the last was.
    pub complete_s: f64,
}

/// Seconds with milliseconds.
pub(super) fn secs(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Bytes for a person.
pub(super) fn human(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |part: u64| 100.0 * part as f64 / (self.from_heads + self.from_peers).max(1) as f64;
        writeln!(f, "image       {} {:.12}", self.image, self.version)?;
        writeln!(f, "size        {}", human(self.bytes))?;
        writeln!(f, "from heads  {} ({:.0} %)", human(self.from_heads), share(self.from_heads))?;
        writeln!(f, "from peers  {} ({:.0} %)", human(self.from_peers), share(self.from_peers))?;
        if self.resumed > 0 {
            writeln!(f, "resumed     {}", human(self.resumed))?;
        }
        if self.reused > 0 {
            writeln!(f, "reused      {}", human(self.reused))?;
        }
        writeln!(f, "served      {}", human(self.served))?;
        writeln!(f, "wasted      {}", human(self.wasted))?;
        writeln!(f, "processor   {:.3} s", self.cpu_s)?;
        writeln!(f, "memory      {} at most", human(self.memory_peak))?;
        writeln!(f, "requests    {} ({} turned down)", self.requests, self.turned_down)?;
        writeln!(f, "messages    {}", self.messages)?;
        writeln!(f, "joined      {:.3} s", self.join_s)?;
        writeln!(f, "first unit  {:.3} s", self.first_s)?;
        write!(f, "complete    {:.3} s", self.complete_s)
    }
}
