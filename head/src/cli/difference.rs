//! A change of the registry as a person checks it: nodes that change alike stand together.

use std::collections::BTreeMap;

use super::nodes::clipped;
use super::{Cell, Style, Table};
use crate::nodeset::NodeSet;
use crate::registry::Change;

/// Different values of one field that are shown, of nodes that change in the same field.
const VALUES_MAX: usize = 8;

/// What happens to one field.
type Step<'a> = (&'a str, Option<&'a str>, Option<&'a str>);

/// Changes under the names that they are of: `nodes n[1-512]`, then field by field.
pub(super) fn grouped(changes: &[Change]) -> Table {
    let mut table = Table::pairs();
    for (section, kind) in [("nodeprofiles", "profile"), ("nodes", "node")] {
        for (names, steps) in groups(changes, section) {
            let count = names.len();
            let names = clipped(&names);
            let title = if count == 1 { format!("{kind} {names}") } else { format!("{count} {kind}s {names}") };
            table.row([Cell::new(title)]);
            for (text, style) in lines(&steps) {
                table.row([Cell::new(format!("  {text}")).style(style)]);
            }
        }
    }
    table
}

/// The fields that change, by the set of names whose change in it is the same.
fn groups<'a>(changes: &'a [Change], section: &str) -> Vec<(NodeSet, Vec<Vec<Step<'a>>>)> {
    // By field, then by what happens to it: the names.
    let mut fields: BTreeMap<&str, BTreeMap<Step<'a>, Vec<&str>>> = BTreeMap::new();
    for change in changes {
        let Some(rest) = change.path.strip_prefix(section).and_then(|rest| rest.strip_prefix(": ")) else { continue };
        let (name, field) = rest.split_once(": ").unwrap_or((rest, ""));
        let step = (field, change.before.as_deref(), change.after.as_deref());
        fields.entry(field).or_default().entry(step).or_default().push(name);
    }
    let mut groups: BTreeMap<Vec<&str>, Vec<Vec<Step<'a>>>> = BTreeMap::new();
    for steps in fields.into_values() {
        // Where each name has its own value, such as an address that counts up, the names stand together all the same.
        if steps.len() > VALUES_MAX {
            let mut names: Vec<&str> = steps.values().flatten().copied().collect();
            names.sort_unstable();
            groups.entry(names).or_default().push(steps.into_keys().collect());
            continue;
        }
        for (step, mut names) in steps {
            names.sort_unstable();
            groups.entry(names).or_default().push(vec![step]);
        }
    }
    groups.into_iter().map(|(names, steps)| (names.into_iter().collect(), steps)).collect()
}

fn lines(steps: &[Vec<Step<'_>>]) -> Vec<(String, Style)> {
    let mut lines = vec![];
    for values in steps {
        lines.extend(values.iter().take(VALUES_MAX).map(line));
        let hidden = values.len().saturating_sub(VALUES_MAX);
        if hidden > 1 {
            lines.push((format!("… {} more values", hidden - 1), Style::Dim));
        }
        lines.extend(values.get(VALUES_MAX..).and_then(<[_]>::last).map(line));
    }
    lines
}

fn line(&(field, before, after): &Step<'_>) -> (String, Style) {
    let field = if field.is_empty() { String::new() } else { format!("{field}: ") };
    match (before, after) {
        (Some(before), Some(after)) => (format!("~ {field}{before} -> {after}"), Style::Warn),
        (Some(before), None) => (format!("- {field}{before}"), Style::Bad),
        (None, Some(after)) => (format!("+ {field}{after}"), Style::Good),
        (None, None) => (String::new(), Style::Plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str, before: Option<&str>, after: Option<&str>) -> Change {
        Change { path: path.into(), before: before.map(Into::into), after: after.map(Into::into) }
    }

    #[test]
    fn nodes_that_change_alike_stand_together() {
        let changes = [
            change("nodes: n1: image name", Some("a"), Some("b")),
            change("nodes: n1: rack", None, Some("r1")),
            change("nodes: n2: image name", Some("a"), Some("b")),
            change("nodes: n3: image name", Some("c"), Some("b")),
            change("nodeprofiles: gpu: tags: x", Some("1"), None),
        ];
        let expected = "profile gpu\n  - tags: x: 1\nnode n1\n  + rack: r1\n2 nodes n[1-2]\n  ~ image name: a -> b\n\
                        node n3\n  ~ image name: c -> b\n";
        assert_eq!(grouped(&changes).render(false), expected);
    }

    #[test]
    fn addresses_that_count_up_do_not_fill_the_screen() {
        let paths: Vec<Change> =
            (10..74).map(|n| change(&format!("nodes: n{n}: ipaddr"), None, Some(&format!("10.0.0.{n}")))).collect();
        let text = grouped(&paths).render(false);
        assert!(text.starts_with("64 nodes n[10-73]\n  + ipaddr: 10.0.0.10\n"), "{text}");
        assert!(text.contains("… 55 more values\n  + ipaddr: 10.0.0.73\n") && text.lines().count() == 11, "{text}");
    }
}
