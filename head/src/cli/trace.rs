//! `wulf boot trace`: the last boots of a machine, packet by packet.

use std::process::ExitCode;

use clap::Args;

use super::running::ask;
use super::{Cell, Context, Style, Table, print};
use crate::admin::TraceLine;
use crate::exit::{Ended, Exit};

/// A pause of this many milliseconds begins another boot.
const BOOT_PAUSE_MS: u64 = 60_000;

/// Arguments of `wulf boot trace`.
#[derive(Args, Debug)]
pub struct TraceArgs {
    /// A node, or the MAC address of any machine.
    #[arg(value_name = "NODE|MAC")]
    who: String,
    /// The last so many boots.
    #[arg(long, default_value_t = 3, value_name = "N")]
    last: usize,
}

impl TraceArgs {
    /// Runs it.
    pub(super) fn run(&self, context: &Context) -> anyhow::Result<ExitCode> {
        let path = format!("/v1/trace/{}", self.who);
        let lines: Vec<TraceLine> = ask(context, async |client| Ok(client.get(&path).await?))?;
        if lines.is_empty() {
            let text = format!(
                "nothing was heard of {} since the head started, or it is too long ago: does it reach an interface of `wulf dhcp status`?",
                self.who
            );
            return Err(Ended::new(Exit::NothingMatched, text).into());
        }
        let boots = boots(&lines);
        let shown: Vec<&TraceLine> = boots.iter().rev().take(self.last.max(1)).rev().copied().flatten().collect();
        print(context, &shown, || table(&boots, self.last.max(1)))?;
        Ok(Exit::Ok.into())
    }
}

/// The lines of each boot, the oldest first.
fn boots(lines: &[TraceLine]) -> Vec<&[TraceLine]> {
    lines.chunk_by(|one, next| next.at.0.saturating_sub(one.at.0) < BOOT_PAUSE_MS).collect()
}

fn table(boots: &[&[TraceLine]], last: usize) -> Table {
    let mut table = Table::new(["after", "what", "detail"]);
    for boot in boots.iter().skip(boots.len().saturating_sub(last)) {
        let Some(first) = boot.first() else { continue };
        table.row([Cell::new(first.at.to_string()).style(Style::Dim), Cell::new(first.mac.to_string()), Cell::new("")]);
        for line in *boot {
            let after = line.at.0.saturating_sub(first.at.0);
            let (what, style) = match line.what.as_str() {
                "heard" => ("-> DHCP".to_owned(), Style::Plain),
                "said" => ("<- DHCP".to_owned(), Style::Good),
                "note" => (String::new(), Style::Dim),
                phase => (format!("<- {phase}"), Style::Good),
            };
            let seconds = format!("{}.{:03} s", after / 1000, after % 1000);
            table.row([Cell::new(seconds), Cell::new(what), Cell::new(&line.text).style(style)]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use wulfpack_shared::id::Mac;
    use wulfpack_shared::time::UnixTime;

    use super::*;

    #[test]
    fn boots_are_told_apart_by_their_pause_and_the_last_are_shown() {
        let line = |at, what: &str, text: &str| TraceLine {
            at: UnixTime(at),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            link: None,
            what: what.into(),
            text: text.into(),
            packet: None,
        };
        let lines = [
            line(0, "heard", "DISCOVER"),
            line(90_000, "heard", "DISCOVER again"),
            line(90_500, "note", "no answer: why"),
        ];
        let boots = boots(&lines);
        assert_eq!(boots.iter().map(|boot| boot.len()).collect::<Vec<_>>(), [1, 2]);
        let text = table(&boots, 1).render(false);
        assert!(!text.contains("0.000 s  -> DHCP  DISCOVER\n") && text.contains("0.500 s"), "{text}");
        assert!(text.contains("no answer: why"), "{text}");
    }
}
