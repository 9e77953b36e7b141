//! `wulf node log`: what nodes said during a boot.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use wulfpack_shared::id::NodeName;

use super::nodes::{chosen_names, folded};
use super::running::ask;
use super::{Context, OutputFormat, Table, note, print, write_out};
use crate::admin::{AdminClient, ClientError};
use crate::exit::Exit;
use crate::fleet::LogLine;

/// Arguments of `wulf node log`.
#[derive(Args, Debug)]
pub struct LogArgs {
    /// Nodes; of several, each line begins with its node.
    #[arg(required = true, value_name = "NODESET")]
    names: Vec<String>,
    /// An earlier boot: 1 for the one before the last, 2 for the one before that.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..3), value_name = "N")]
    back: u8,
}

/// A line, and who said it.
#[derive(Serialize)]
struct NodeLine {
    node: NodeName,
    #[serde(flatten)]
    line: LogLine,
}

type Gathered = (Vec<NodeLine>, Vec<NodeName>, Option<String>);

impl LogArgs {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let nodes = chosen_names(context, &self.names)?;
        let (lines, silent, why) = ask(context, async |client| self.gather(&client, &nodes).await)?;
        match context.output {
            OutputFormat::Table => write_out(&text(&lines, nodes.len() > 1))?,
            _ => print(context, &lines, Table::pairs)?,
        }
        if let Some(why) = why {
            note(&format!("nothing of {}: {why}", folded(&silent)));
            return Ok(Exit::Failed.into());
        }
        Ok(Exit::Ok.into())
    }

    /// The lines of these nodes; those of which there are none, and why, of the last of them.
    async fn gather(&self, client: &AdminClient, nodes: &[NodeName]) -> anyhow::Result<Gathered> {
        let (mut lines, mut silent, mut last) = (vec![], vec![], None);
        for node in nodes {
            match client.get::<Vec<LogLine>>(&format!("/v1/log/{node}?boot={}", self.back)).await {
                Ok(said) => lines.extend(said.into_iter().map(|line| NodeLine { node: node.clone(), line })),
                Err(ClientError::Refused(why)) if nodes.len() > 1 => {
                    silent.push(node.clone());
                    last = Some(why);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok((lines, silent, last))
    }
}

fn text(lines: &[NodeLine], several: bool) -> String {
    let mut text = String::new();
    for NodeLine { node, line } in lines {
        // Writing to a String cannot fail, here and below.
        if several {
            _ = write!(text, "{node}: ");
        }
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
        let lines = [NodeLine { node: "n1".parse().unwrap(), line }];
        assert_eq!(text(&lines, false), "1970-01-01T00:00:00Z \u{fffd}[2Jhello\n");
        assert_eq!(text(&lines, true), "n1: 1970-01-01T00:00:00Z \u{fffd}[2Jhello\n");
    }
}
