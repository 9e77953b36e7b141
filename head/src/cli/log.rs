//! `wulf node log`: what a node said during a boot.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use wulfpack_shared::id::NodeName;

use super::running::ask;
use super::{Context, OutputFormat, print, write_out};
use crate::exit::Exit;
use crate::fleet::LogLine;

/// Arguments of `wulf node log`.
#[derive(Args, Debug)]
pub struct LogArgs {
    /// The node.
    node: NodeName,
    /// An earlier boot: 1 for the one before the last, 2 for the one before that.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..3), value_name = "N")]
    back: u8,
}

impl LogArgs {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let path = format!("/v1/log/{}?boot={}", self.node, self.back);
        let lines: Vec<LogLine> = ask(context, async |client| Ok(client.get(&path).await?))?;
        match context.output {
            OutputFormat::Table => write_out(&text(&lines))?,
            _ => print(context, &lines, super::Table::pairs)?,
        }
        Ok(Exit::Ok.into())
    }
}

fn text(lines: &[LogLine]) -> String {
    let mut text = String::new();
    for line in lines {
        // Writing to a String cannot fail.
        _ = writeln!(text, "{} {}", line.at, printable(&line.text));
    }
    text
}

/// Without control characters: a node must not be able to speak to the administrator's terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wulfpack_shared::time::UnixTime;

    #[test]
    fn a_node_cannot_speak_to_the_terminal() {
        let line = LogLine { at: UnixTime(0), text: "\x1b[2Jhello".into() };
        assert_eq!(text(&[line]), "1970-01-01T00:00:00Z \u{fffd}[2Jhello\n");
    }
}
