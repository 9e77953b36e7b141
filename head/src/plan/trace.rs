//! Every transfer of a simulation, as text: one line of JSON that says what the links can do, then one line for each piece of
//! a unit that was carried and each unit that was verified. A checker that knows nothing of the simulator reads it.
//!
//! ```text
//! {"format":"wulfpack-trace-1","rates":[…],"racks":[…],"rack_rates":[…],"heads":1}
//! V <ns> <member> <unit>
//! T <from> <to> <unit> <bytes> <begun> <sent> <left rack> <entered rack> <received>     times in ns
//! ```

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use wulfpack_shared::sim::{Observer, Spec, Transfer};
use wulfpack_shared::time::Mono;

/// What the first line calls this format.
pub const TRACE_FORMAT: &str = "wulfpack-trace-1";

/// The first line. Rates are bytes a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceHeader {
    /// [`TRACE_FORMAT`].
    pub format: String,
    /// Of each member's link, each way; the heads come first.
    pub rates: Vec<u64>,
    /// The rack of each.
    pub racks: Vec<u16>,
    /// Of each rack's uplink, each way; a rack beyond the end has none that could be narrow.
    pub rack_rates: Vec<u64>,
    /// Heads; they hold everything.
    pub heads: u32,
}

impl From<&Spec> for TraceHeader {
    fn from(spec: &Spec) -> Self {
        Self {
            format: TRACE_FORMAT.into(),
            rates: spec.members.iter().map(|member| member.rate).collect(),
            racks: spec.members.iter().map(|member| member.rack).collect(),
            rack_rates: spec.rack_rates.clone(),
            heads: spec.heads,
        }
    }
}

/// Writes a trace. The first error ends the writing and is told at the end.
#[derive(Debug)]
pub struct TraceWriter<W> {
    out: W,
    failed: Option<io::Error>,
}

impl<W: Write> TraceWriter<W> {
    /// Writes the first line.
    pub fn new(mut out: W, spec: &Spec) -> io::Result<Self> {
        serde_json::to_writer(&mut out, &TraceHeader::from(spec))?;
        out.write_all(b"\n")?;
        Ok(Self { out, failed: None })
    }

    fn write(&mut self, line: core::fmt::Arguments<'_>) {
        if self.failed.is_none() {
            self.failed = self.out.write_fmt(line).err();
        }
    }

    /// All is written, or what failed.
    pub fn finish(mut self) -> io::Result<W> {
        self.failed.take().map_or(Ok(()), Err)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

impl<W: Write> Observer for TraceWriter<W> {
    const WATCHES: bool = false;

    fn transfer(&mut self, transfer: &Transfer) {
        let Transfer { from, to, unit, bytes, begun, sent, left_rack, entered_rack, received } = *transfer;
        let (begun, sent, left, entered, received) = (begun.0, sent.0, left_rack.0, entered_rack.0, received.0);
        self.write(format_args!("T {from} {to} {unit} {bytes} {begun} {sent} {left} {entered} {received}\n"));
    }

    fn verified(&mut self, at: Mono, member: u32, unit: u32) {
        self.write(format_args!("V {} {member} {unit}\n", at.0));
    }
}
