//! What of a tree is left out of a version: patterns in files of the image, as in Warewulf.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::image::tree::Tree;

/// Warewulf's file, and ours. A pattern on each line: `*`, `?`, `[a-z]` and `\` as in a shell, within one name; what it matches is
/// left out with all that is in it.
const FILES: [&str; 2] = ["etc/warewulf/excludes", "etc/wulfpack/excludes"];

/// The patterns of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Excludes(Vec<Vec<Vec<u8>>>);

impl Excludes {
    /// Reads them.
    pub(super) fn load(tree: &Tree) -> io::Result<Self> {
        let mut patterns = vec![];
        for file in FILES {
            patterns.extend(Self::parse(&tree.text(file)?).0);
        }
        Ok(Self(patterns))
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let parts = |line: &str| -> Vec<Vec<u8>> {
            line.split('/').filter(|part| !matches!(*part, "" | ".")).map(|part| part.as_bytes().to_owned()).collect()
        };
        // A pattern of the whole tree leaves nothing: nobody means that.
        Self(lines.map(parts).filter(|pattern| !pattern.is_empty()).collect())
    }

    /// Whether the file at `path` inside the tree is left out itself; what lies below it is then not asked for.
    pub(super) fn matches(&self, path: &Path) -> bool {
        let names: Vec<&OsStr> = path.iter().collect();
        let fits = |pattern: &Vec<Vec<u8>>| {
            pattern.len() == names.len()
                && pattern.iter().zip(&names).all(|(pattern, name)| matches_name(pattern, name.as_bytes()))
        };
        self.0.iter().any(fits)
    }
}

/// One name against one pattern.
fn matches_name(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from, mut star) = (0, 0, None);
    while from < name.len() {
        match one(&pattern[at..], name[from]) {
            Some(len) => (at, from) = (at + len, from + 1),
            None if pattern.get(at) == Some(&b'*') => {
                star = Some((at, from));
                at += 1;
            }
            // The last star takes one more.
            None => match &mut star {
                Some((after, taken)) => {
                    *taken += 1;
                    (at, from) = (*after + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// How much of the pattern stands for this character; `None` if it does not.
fn one(pattern: &[u8], character: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'*', ..] => None,
        [b'\\', escaped, ..] => (*escaped == character).then_some(2),
        [b'[', set @ ..] => match set.iter().skip(1).position(|byte| *byte == b']') {
            Some(end) => {
                let set = &set[..=end];
                let (negated, set) = match set {
                    [b'!' | b'^', rest @ ..] => (true, rest),
                    _ => (false, set),
                };
                (in_set(set, character) != negated).then_some(end + 3)
            }
            None => (character == b'[').then_some(1),
        },
        [plain, ..] => (*plain == character).then_some(1),
        [] => None,
    }
}

fn in_set(mut set: &[u8], character: u8) -> bool {
    while let [first, rest @ ..] = set {
        if let [b'-', last, after @ ..] = rest {
            if (*first..=*last).contains(&character) {
                return true;
            }
            set = after;
        } else {
            if *first == character {
                return true;
            }
            set = rest;
        }
    }
    false
}

/// A path as mksquashfs takes it literally where it takes wildcards.
pub(super) fn escaped(path: &Path) -> Vec<u8> {
    let mut text = vec![];
    for byte in path.as_os_str().as_bytes() {
        if b"*?[]\\!+@()|".contains(byte) {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_a_shell_within_one_name() {
        let excludes =
            Excludes::parse("# comment\n/boot/initrd*\n./usr/share/doc/\n*.log\nvar/[a-c]?\\*\nsrv/[!x]y\n/\n\n");
        for gone in ["boot/initrd.img", "boot/initrd", "usr/share/doc", "x.log", "var/bz*", "srv/ay"] {
            assert!(excludes.matches(Path::new(gone)), "{gone}");
        }
        for stays in [
            "boot/vmlinuz",
            "usr/share/doc/x",
            "var/x.log",
            "var/bzz",
            "var/dz*",
            "srv/xy",
            "boot",
            "",
            "boot/x/initrd",
        ] {
            assert!(!excludes.matches(Path::new(stays)), "{stays}");
        }
        assert!(matches_name(b"a*b*c", b"a-b-b-c") && !matches_name(b"a*b*c", b"a-b-b-d") && matches_name(b"**", b""));
        assert_eq!(escaped(Path::new("a*b/[c]")), b"a\\*b/\\[c\\]");
        assert_eq!(Excludes::parse("#\n/\n"), Excludes::default());
    }
}
