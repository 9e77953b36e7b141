//! What has to change so that every name has the same number in an image as on the head.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

/// Fields of a line: `passwd(5)` has seven, `group(5)` four; the third is the number.
const NAME: usize = 0;
const NUMBER: usize = 2;
const PRIMARY_GROUP: usize = 3;

/// A name that gets a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IdChange {
    /// `user` or `group`.
    pub kind: &'static str,
    /// The name.
    pub name: String,
    /// Its number in the image; `None`: the image does not have it yet.
    pub from: Option<u32>,
    /// Its number on the head.
    pub to: u32,
}

impl fmt::Display for IdChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, from, to } = self;
        match from {
            Some(from) => write!(f, "{kind} {name}: {from} becomes {to}"),
            None => write!(f, "{kind} {name}: is added with {to}"),
        }
    }
}

/// Two names that would have one number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// `user` or `group`.
    pub kind: &'static str,
    /// On the head.
    pub head: String,
    /// Only in the image.
    pub image: String,
    /// What both have.
    pub number: u32,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, head, image, number } = self;
        write!(
            f,
            "{kind} {number} is {head} on the head and {image} in the image: give {image} another number there, or make {kind} \
             {image} on the head"
        )
    }
}

/// What has to change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Names, users first.
    pub changes: Vec<IdChange>,
    /// Why nothing can be changed.
    pub conflicts: Vec<Conflict>,
    /// The image's `/etc/passwd` afterwards.
    #[serde(skip)]
    pub passwd: String,
    /// The image's `/etc/group` afterwards.
    #[serde(skip)]
    pub group: String,
    /// Owners of files that change, old and new.
    #[serde(skip)]
    pub uids: BTreeMap<u32, u32>,
    /// Groups of files that change, old and new.
    #[serde(skip)]
    pub gids: BTreeMap<u32, u32>,
}

impl Plan {
    /// From `/etc/passwd` and `/etc/group` of head and image.
    pub fn new(head: (&str, &str), image: (&str, &str)) -> Self {
        let mut plan = Self::default();
        let users = plan.compare("user", head.0, image.0);
        let groups = plan.compare("group", head.1, image.1);
        plan.uids = moved(&users, image.0);
        plan.gids = moved(&groups, image.1);
        let gids = plan.gids.clone();
        let primary = |gid: u32| gids.get(&gid).copied().unwrap_or(gid);
        plan.passwd = rewritten(image.0, head.0, &users, Some(&primary));
        plan.group = rewritten(image.1, head.1, &groups, None);
        plan
    }

    /// Whether everything is as it should be.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.conflicts.is_empty()
    }

    /// Numbers by name, as they will be; notes changes and conflicts.
    fn compare(&mut self, kind: &'static str, head: &str, image: &str) -> BTreeMap<String, u32> {
        let (head, image) = (names(head), names(image));
        let mut wanted: BTreeMap<String, u32> = image.iter().cloned().collect();
        for (name, number) in &head {
            let before = wanted.insert(name.clone(), *number);
            if before != Some(*number) {
                self.changes.push(IdChange { kind, name: name.clone(), from: before, to: *number });
            }
        }
        let on_head: BTreeSet<&String> = head.iter().map(|(name, _)| name).collect();
        for (name, number) in image.iter().filter(|(name, _)| !on_head.contains(name)) {
            // Several names of one number on the head itself are the head's business; root's often has more.
            if let Some((other, _)) = head.iter().find(|(_, other)| other == number) {
                let conflict = Conflict { kind, head: other.clone(), image: name.clone(), number: *number };
                self.conflicts.push(conflict);
            }
        }
        wanted
    }
}

/// Names with their numbers, in order; lines that are none (comments, NIS) are left out, of equal names the first counts.
fn names(text: &str) -> Vec<(String, u32)> {
    let mut seen = BTreeSet::new();
    let parsed = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        Some(((*fields.get(NAME)?).to_owned(), fields.get(NUMBER)?.parse().ok()?))
    });
    parsed
        .filter(|(name, _)| !name.is_empty() && !name.starts_with(['#', '+', '-']) && seen.insert(name.clone()))
        .collect()
}

/// Numbers that change. A number that several names had goes with the first of them.
fn moved(wanted: &BTreeMap<String, u32>, image: &str) -> BTreeMap<u32, u32> {
    let mut moved = BTreeMap::new();
    for (name, number) in names(image) {
        let to = wanted.get(&name).copied().unwrap_or(number);
        moved.entry(number).or_insert(to);
    }
    moved.retain(|from, to| from != to);
    moved
}

/// The image's file with the new numbers, and behind it what only the head has.
fn rewritten(image: &str, head: &str, wanted: &BTreeMap<String, u32>, primary: Option<&dyn Fn(u32) -> u32>) -> String {
    let known: BTreeSet<String> = names(image).into_iter().map(|(name, _)| name).collect();
    let mut text = String::new();
    for line in image.lines() {
        let mut fields: Vec<String> = line.split(':').map(str::to_owned).collect();
        let number = fields.first().filter(|name| known.contains(*name)).and_then(|name| wanted.get(name));
        if let (Some(number), true) = (number, fields.get(NUMBER).is_some_and(|field| field.parse::<u32>().is_ok())) {
            fields[NUMBER] = number.to_string();
            if let (Some(primary), Some(gid)) = (primary, fields.get(PRIMARY_GROUP).and_then(|gid| gid.parse().ok())) {
                fields[PRIMARY_GROUP] = primary(gid).to_string();
            }
        }
        text.push_str(&fields.join(":"));
        text.push('\n');
    }
    let missing: BTreeSet<String> =
        names(head).into_iter().map(|(name, _)| name).filter(|name| !known.contains(name)).collect();
    for line in head.lines() {
        let mut fields: Vec<&str> = line.split(':').collect();
        if !fields.first().is_some_and(|name| missing.contains(*name)) {
            continue;
        }
        // Passwords stay on the head.
        if let Some(password) = fields.get_mut(1) {
            *password = "x";
        }
        text.push_str(&fields.join(":"));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD_PASSWD: &str =
        "root:x:0:0::/root:/bin/bash\nmunge:x:995:994::/:/sbin/nologin\nlisa:hash:1005:100::/users/lisa:/bin/bash\n";
    const HEAD_GROUP: &str = "root:x:0:\nmunge:x:994:\nusers:x:100:lisa\n";
    const IMAGE_PASSWD: &str =
        "root:x:0:0::/root:/bin/sh\n# comment\nmunge:x:990:989::/:/sbin/nologin\nchrony:x:989:989::/:/sbin/nologin\n";
    const IMAGE_GROUP: &str = "root:x:0:\nmunge:x:989:chrony\n";

    #[test]
    fn names_of_the_head_get_its_numbers_and_missing_ones_are_added() {
        let plan = Plan::new((HEAD_PASSWD, HEAD_GROUP), (IMAGE_PASSWD, IMAGE_GROUP));
        let said: Vec<String> = plan.changes.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "user munge: 990 becomes 995",
                "user lisa: is added with 1005",
                "group munge: 989 becomes 994",
                "group users: is added with 100"
            ]
        );
        assert!(plan.conflicts.is_empty());
        assert_eq!(plan.uids, BTreeMap::from([(990, 995)]));
        assert_eq!(plan.gids, BTreeMap::from([(989, 994)]));
        assert_eq!(
            plan.passwd,
            "root:x:0:0::/root:/bin/sh\n# comment\nmunge:x:995:994::/:/sbin/nologin\nchrony:x:989:994::/:/sbin/nologin\n\
             lisa:x:1005:100::/users/lisa:/bin/bash\n"
        );
        assert_eq!(plan.group, "root:x:0:\nmunge:x:994:chrony\nusers:x:100:lisa\n");
        assert!(Plan::new((HEAD_PASSWD, HEAD_GROUP), (&plan.passwd, &plan.group)).is_empty());
    }

    #[test]
    fn a_number_that_two_names_would_have_is_a_conflict_that_names_both() {
        let image = format!("{IMAGE_PASSWD}slurm:x:995:995::/:/bin/false\n");
        let plan = Plan::new((HEAD_PASSWD, HEAD_GROUP), (&image, IMAGE_GROUP));
        let said = plan.conflicts[0].to_string();
        assert!(said.starts_with("user 995 is munge on the head and slurm in the image"), "{said}");
    }

    proptest! {
        #[test]
        fn afterwards_every_name_of_the_head_has_its_number_and_no_other_name_moved(
            head in prop::collection::btree_map("[a-e]", 0u32..8, 0..5),
            image in prop::collection::btree_map("[a-h]", 0u32..12, 0..8),
        ) {
            let text = |map: &BTreeMap<String, u32>| map.iter().map(|(name, id)| format!("{name}:x:{id}:0::/:/x\n")).collect::<String>();
            let (head_text, image_text) = (text(&head), text(&image));
            let plan = Plan::new((&head_text, ""), (&image_text, ""));
            let after: BTreeMap<String, u32> = names(&plan.passwd).into_iter().collect();
            for (name, number) in &head {
                prop_assert_eq!(after.get(name), Some(number));
            }
            for (name, number) in image.iter().filter(|(name, _)| !head.contains_key(*name)) {
                prop_assert_eq!(after.get(name), Some(number));
                let taken = head.values().any(|other| other == number);
                prop_assert_eq!(plan.conflicts.iter().any(|conflict| conflict.image == *name), taken);
            }
            prop_assert!(Plan::new((&head_text, ""), (&plan.passwd, "")).changes.is_empty());
        }
    }
}
