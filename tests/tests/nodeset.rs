//! Our nodesets against ClusterShell itself: thousands of generated texts in one process of it, names and folded text compared.

#![expect(clippy::unwrap_used, reason = "what fails, fails the test")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use serde::Deserialize;
use wulfpack_head::nodeset::{GroupError, Groups, NoGroups, NodeSet, Resolver};

/// Debian's own Python: the one that has its packages.
const PYTHON: &str = "/usr/bin/python3";

/// Groups of both sides: source, group, nodes. The first source is the default.
const GROUPS: [(&str, &str, &str); 6] = [
    ("group", "login", "login[1-2]"),
    ("group", "g1", "n[1-8],r[1-3]n[1-4]"),
    ("group", "g2", "n[05-12],m[1-2]"),
    ("rack", "r1", "r1n[1-4],n[1-5]"),
    ("rack", "r2", "r2n[1-4],n[4-9]"),
    ("rack", "r3", "r3n[1-4]"),
];

const SCRIPT: &str = r#"
import json, sys
from ClusterShell.NodeSet import NodeSet
from ClusterShell.NodeUtils import GroupResolver, GroupSource

lines = sys.stdin.read().split("\n")
sources = {}
for source, group, nodes in json.loads(lines[0]):
    sources.setdefault(source, {})[group] = nodes
made = [GroupSource(name, groups) for name, groups in sources.items()]
resolver = GroupResolver(made[0])
for source in made[1:]:
    resolver.add_source(source)
for line in lines[1:]:
    text = json.loads(line)
    try:
        nodes = NodeSet(text, resolver=resolver)
        answer = {"names": sorted(nodes), "folded": str(nodes)}
    except Exception as error:
        answer = {"error": "%s: %s" % (type(error).__name__, error)}
    print(json.dumps(answer))
"#;

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Answer {
    Set { names: Vec<String>, folded: String },
    Refused { error: String },
}

/// What ClusterShell makes of these texts.
fn clustershell(texts: &[String]) -> Vec<Answer> {
    let mut child = Command::new(PYTHON)
        .args(["-I", "-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {PYTHON}: {error}; `scripts/setup lab` installs what is missing"));
    let mut lines = vec![serde_json::to_string(&GROUPS).unwrap()];
    lines.extend(texts.iter().map(|text| serde_json::to_string(text).unwrap()));
    // It reads everything before it writes anything, so that neither waits for the other.
    child.stdin.take().unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "ClusterShell is missing or broken; `scripts/setup lab` installs it");
    let answers: Vec<Answer> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), texts.len());
    answers
}

/// The same groups on our side.
struct SameGroups;

impl SameGroups {
    fn of(&self, wanted: impl Fn(&str, &str) -> bool) -> NodeSet {
        let mut set = NodeSet::default();
        for (_, _, nodes) in GROUPS.into_iter().filter(|(source, group, _)| wanted(source, group)) {
            set.union(&Resolver::new(&NoGroups).resolve(nodes).unwrap());
        }
        set
    }
}

impl Groups for SameGroups {
    fn all(&self) -> Result<NodeSet, GroupError> {
        Ok(self.of(|source, _| source == "group"))
    }
    fn members(&self, source: Option<&str>, group: &str) -> Result<NodeSet, GroupError> {
        let source = source.unwrap_or("group");
        let known = |theirs: &str, name: &str| theirs == source && (group == "*" || name == group);
        if !GROUPS.into_iter().any(|(theirs, name, _)| known(theirs, name)) {
            return Err(GroupError::NoGroup(format!("there is no @{source}:{group}")));
        }
        Ok(self.of(known))
    }
}

struct Generator(ChaCha8Rng);

impl Generator {
    fn below(&mut self, end: u32) -> u32 {
        self.0.next_u32() % end
    }

    fn one_of<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u32) as usize]
    }

    /// `3`, `1-7`, `08-12`, `1-9/2`.
    fn range(&mut self, end: u32) -> String {
        let first = self.below(end);
        let last = first + self.below(5);
        let width = if self.below(4) == 0 { 2 + self.below(2) as usize } else { 1 };
        // Both ends of a padded range have the same width.
        let width = if width > 1 { width.max(last.to_string().len()) } else { 1 };
        match self.below(6) {
            0 | 1 => format!("{first:0width$}"),
            2 => format!("{first:0width$}-{last:0width$}/{}", 1 + self.below(3)),
            _ => format!("{first:0width$}-{last:0width$}"),
        }
    }

    fn number(&mut self) -> String {
        match self.below(6) {
            0 => self.below(12).to_string(),
            1 => format!("{:02}", self.below(12)),
            // Digits in front of the brackets and behind them. Of one width: ClusterShell counts from 19 to 110 in n1[9-10].
            2 => format!("{}[{}-9]", self.below(3), self.below(9)),
            3 => format!("[{}-9]{}", 1 + self.below(8), self.below(3)),
            _ => {
                let count = 1 + self.below(3);
                let ranges: Vec<_> = (0..count).map(|_| self.range(14)).collect();
                format!("[{}]", ranges.join(","))
            }
        }
    }

    fn term(&mut self) -> String {
        match self.below(16) {
            0 => self.one_of(&["login", "a", "x-y"]).to_owned(),
            1 => self.one_of(&["@g1", "@g[1-2]", "@*", "@login", "@rack:r1", "@rack:r[2-3]", "@rack:*"]).to_owned(),
            2 => self.one_of(&["n*", "r?n1", "*", "login?", "n[1-2]*", "r[1-2]n?", "x*"]).to_owned(),
            3..=7 => format!("{}{}", self.one_of(&["n", "n", "m", "r"]), self.number()),
            8..=13 => format!("r{}n{}", self.number(), self.number()),
            14 => format!("n{}-ib{}", self.number(), self.number()),
            _ => format!("r{}c{}n{}.x", self.number(), self.number(), self.number()),
        }
    }

    fn text(&mut self) -> String {
        let mut text = self.term();
        for _ in 0..self.below(6) {
            let operator = self.one_of(&[",", ",", ",", "!", "!", "&", "^", " , ", " ! "]);
            text.push_str(operator);
            text.push_str(&self.term());
        }
        text
    }

    /// Many single names, as they come from a list: what folding is for.
    fn list(&mut self) -> String {
        let form = self.below(4);
        let (rows, columns) = (2 + self.below(9), 2 + self.below(12));
        let count = 2 + self.below(rows * columns);
        let names: Vec<_> = (0..count)
            .map(|_| {
                let (row, column) = (self.below(rows), 8 + self.below(columns));
                match form {
                    0 => format!("n{column}"),
                    1 => format!("n{column:02}"),
                    2 => format!("r{row}n{column}"),
                    _ => format!("r{row}n{column:02}s{}", self.below(3)),
                }
            })
            .collect();
        names.join(",")
    }

    /// A text with a few of its characters changed.
    fn mutated(&mut self) -> String {
        let mut text: Vec<char> = self.text().chars().collect();
        for _ in 0..1 + self.below(3) {
            let at = self.below(text.len() as u32) as usize;
            let character = self.one_of(&["[", "]", ",", "-", "/", "!", "&", "^", "0", "1", "9", "n", " ", "@", "*"]);
            match self.below(3) {
                0 if text.len() > 1 => drop(text.remove(at)),
                1 => text.insert(at, character.chars().next().unwrap()),
                _ => text[at] = character.chars().next().unwrap(),
            }
        }
        text.into_iter().collect()
    }
}

/// Whether digits touch brackets; there ClusterShell refuses much that has a meaning, and means something else by n1[9-10].
fn digits_touch_brackets(text: &str) -> bool {
    let pairs: Vec<char> = text.chars().collect();
    pairs.windows(2).any(|pair| matches!(pair, [d, '['] | [']', d] if d.is_ascii_digit()))
}

#[test]
fn names_and_folded_texts_are_those_of_clustershell() {
    let mut generator = Generator(ChaCha8Rng::seed_from_u64(4));
    let mut texts: Vec<String> = (0..4000).map(|_| generator.text()).collect();
    texts.extend((0..1500).map(|_| generator.list()));
    let mut sets = 0;
    for (text, answer) in texts.iter().zip(clustershell(&texts)) {
        let ours = Resolver::new(&SameGroups).resolve(text).map_err(|error| error.to_string());
        match (ours, answer) {
            (Ok(set), Answer::Set { names, folded }) => {
                let mut ours: Vec<String> = set.iter().collect();
                ours.sort();
                assert_eq!(ours, names, "{text}");
                assert_eq!(set.to_string(), folded, "{text}");
                sets += usize::from(!set.is_empty());
            }
            // It cannot put digits behind a range over several widths together.
            (Ok(_), Answer::Refused { error }) if digits_touch_brackets(text) && error.contains("padding") => {}
            (ours, theirs) => panic!("{text}: {ours:?}, but ClusterShell {theirs:?}"),
        }
    }
    assert!(sets > 4000, "only {sets} of the texts name nodes");
}

#[test]
fn what_we_read_of_mistaken_texts_clustershell_reads_the_same() {
    let mut generator = Generator(ChaCha8Rng::seed_from_u64(5));
    let texts: Vec<String> =
        (0..12_000).map(|_| generator.mutated()).filter(|text| !digits_touch_brackets(text)).collect();
    let (mut both, mut neither) = (0, 0);
    for (text, answer) in texts.iter().zip(clustershell(&texts)) {
        match (Resolver::new(&SameGroups).with_limit(20_000).resolve(text), answer) {
            (Ok(set), Answer::Set { names, folded }) => {
                let mut ours: Vec<String> = set.iter().collect();
                ours.sort();
                assert_eq!((ours, set.to_string()), (names, folded), "{text}");
                both += 1;
            }
            (Ok(set), Answer::Refused { error }) => panic!("{text}: we read {set}, ClusterShell says {error}"),
            (Err(_), Answer::Refused { .. }) => neither += 1,
            // Blanks within names, negative numbers, unusual characters: we are strict.
            (Err(_), Answer::Set { .. }) => {}
        }
    }
    assert!(both > 500 && neither > 500, "{both} read by both, {neither} by neither");
}
