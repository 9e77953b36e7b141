//! Names and alias patterns, compared as kmod compares them.

/// A module or alias name as the kernel knows it: `-` is `_`, except inside a bracket expression
/// (kmod, `alias_normalize`).
pub(super) fn normalize(name: &str) -> String {
    let mut in_brackets = false;
    name.chars()
        .map(|c| {
            match c {
                '[' => in_brackets = true,
                ']' => in_brackets = false,
                _ => {}
            }
            if c == '-' && !in_brackets { '_' } else { c }
        })
        .collect()
}

/// The module that a path of `modules.dep` names: `kernel/fs/overlayfs/overlay.ko.xz` is `overlay`.
pub(super) fn module_of_path(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.find(".ko").map_or(file, |end| file.get(..end).unwrap_or(file));
    normalize(stem)
}

/// One parsed element of a pattern.
enum Element<'a> {
    Any,
    Byte(u8),
    One,
    /// The inside of `[…]`, and whether it is negated.
    Set(&'a [u8], bool),
}

/// The first element of `pattern` and what follows it. An unclosed `[` stands for itself.
fn element(pattern: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&first, rest) = pattern.split_first()?;
    Some(match first {
        b'*' => (Element::Any, rest),
        b'?' => (Element::One, rest),
        b'\\' => rest.split_first().map_or((Element::Byte(b'\\'), rest), |(&byte, rest)| (Element::Byte(byte), rest)),
        b'[' => {
            let negated = matches!(rest.first(), Some(b'!' | b'^'));
            let body = if negated { rest.get(1..).unwrap_or_default() } else { rest };
            // A `]` that comes first belongs to the set.
            match body.iter().skip(1).position(|&byte| byte == b']') {
                Some(end) => {
                    let (set, after) = body.split_at(end + 1);
                    (Element::Set(set, negated), after.get(1..).unwrap_or_default())
                }
                None => (Element::Byte(b'['), rest),
            }
        }
        byte => (Element::Byte(byte), rest),
    })
}

fn in_set(set: &[u8], byte: u8) -> bool {
    let mut rest = set;
    while let Some((&low, after)) = rest.split_first() {
        if let [b'-', high, tail @ ..] = after {
            if (low..=*high).contains(&byte) {
                return true;
            }
            rest = tail;
        } else {
            if low == byte {
                return true;
            }
            rest = after;
        }
    }
    false
}

/// Whether all of `text` matches `pattern` in the sense of fnmatch(3) without flags. Linear in memory, at most
/// quadratic in time: only the last `*` is ever tried again.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.as_bytes(), text.as_bytes());
    // Where to go on after the last `*`, and the text it was tried with.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match element(pattern) {
            None if text.is_empty() => return true,
            Some((Element::Any, rest)) => {
                retry = Some((rest, text));
                pattern = rest;
                continue;
            }
            Some((one, rest)) => {
                if let Some((&byte, after)) = text.split_first() {
                    let fits = match one {
                        Element::Any | Element::One => true,
                        Element::Byte(wanted) => wanted == byte,
                        Element::Set(set, negated) => in_set(set, byte) != negated,
                    };
                    if fits {
                        (pattern, text) = (rest, after);
                        continue;
                    }
                }
            }
            None => {}
        }
        let Some((after_star, tried)) = retry else { return false };
        let Some((_, later)) = tried.split_first() else { return false };
        retry = Some((after_star, later));
        (pattern, text) = (after_star, later);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_fnmatch_does() {
        for (pattern, text) in [
            ("pci:v00001AF4d00001041sv*sd*bc*sc*i*", "pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00"),
            ("virtio:d00000001v*", "virtio:d00000001v00001AF4"),
            ("usb:v0424d[0-9a]*", "usb:v0424d9abc"),
            ("a[!b-d]z", "aez"),
            ("a[]x]z", "a]z"),
            ("a\\*z", "a*z"),
            ("*a*b", "aabab"),
            ("a[b", "a[b"),
            ("", ""),
            ("*", ""),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("a[b-d]z", "aez"), ("a?", "a"), ("*a*b", "aaba"), ("abc", "ab"), ("ab", "abc"), ("a[!b]", "ab")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn names_lose_their_dashes_but_sets_keep_them() {
        assert_eq!(normalize("snd-hda-intel"), "snd_hda_intel");
        assert_eq!(normalize("a-[0-9]-b"), "a_[0-9]_b");
        assert_eq!(module_of_path("kernel/drivers/net/e1000e/e1000e.ko.xz"), "e1000e");
        assert_eq!(module_of_path("extra/mlx5-core.ko"), "mlx5_core");
    }

    proptest::proptest! {
        #[test]
        fn any_pattern_ends(pattern in "[a-c*?\\[\\]!\\\\-]{0,40}", text in "[a-c]{0,60}") {
            matches(&pattern, &text);
        }

        #[test]
        fn a_plain_text_matches_itself_only(text in "[a-z:]{0,20}", other in "[a-z:]{0,20}") {
            proptest::prop_assert!(matches(&text, &text));
            proptest::prop_assert_eq!(matches(&text, &other), text == other);
        }
    }
}
