//! Outcomes of many nodes as a person reads them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::fanout::{Outcome, Status};
use crate::nodeset::NodeSet;

/// Outcomes under the names of the nodes that had the same one.
pub fn gather(outcomes: &[Outcome]) -> String {
    let mut groups: BTreeMap<(&Status, &[u8]), Vec<&str>> = BTreeMap::new();
    for Outcome { node, status, output } in outcomes {
        groups.entry((status, output)).or_default().push(node);
    }
    let mut text = String::new();
    for ((status, output), names) in groups {
        let (count, names) = (names.len(), names.into_iter().collect::<NodeSet>());
        let how = match status {
            Status::Exit(0) => String::new(),
            Status::Exit(code) => format!(": exit code {code}"),
            Status::Killed => ": killed by a signal".into(),
            Status::Timeout => ": its time was over".into(),
            Status::NotStarted(why) => format!(": {why}"),
        };
        let title = if count == 1 { format!("{names}{how}") } else { format!("{names} ({count}){how}") };
        // Writing to a String cannot fail.
        _ = writeln!(text, "---------------\n{title}\n---------------");
        let said = String::from_utf8_lossy(output);
        text.extend(said.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }));
        if !said.is_empty() && !said.ends_with('\n') {
            text.push('\n');
        }
    }
    text
}
