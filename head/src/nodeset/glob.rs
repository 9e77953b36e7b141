//! Shell patterns of two characters: `*` any text, `?` any character.

/// Whether `text` matches `pattern`. At worst the product of both lengths in time.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || text.get(t) == Some(c) => (p, t) = (p + 1, t + 1),
            // The last star takes one more character, and all is tried again from there.
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

/// Whether it is a pattern at all.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match_as_in_a_shell() {
        for (pattern, text) in
            [("*", ""), ("n*", "n1"), ("n?", "n1"), ("*a*b", "xaxbxb"), ("**", "x"), ("n1", "n1"), ("*.x", "a.x")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "x"), ("n?", "n"), ("n?", "n12"), ("*a", "ab"), ("n*x", "n1"), ("N*", "n1")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
