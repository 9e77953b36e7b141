//! Names with ranges: `n[1-4,7]`, `rack[1-2]n[01-16]`, `a,b`. Padding is kept. Only what adds and selects nodes by number.

/// Most names that one expression may stand for.
const NAMES_MAX: usize = 100_000;

/// Why an expression does not stand for names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostlistError {
    /// It is not written as it should be.
    #[error("{text:?}: {why}; write n[1-4,7] or n1,n2")]
    Syntax {
        /// The expression.
        text: String,
        /// What is wrong.
        why: &'static str,
    },
    /// It stands for too many names.
    #[error("{text:?} stands for more than {NAMES_MAX} names")]
    TooMany {
        /// The expression.
        text: String,
    },
}

/// All names of all expressions in order, each once.
pub fn expand<T: AsRef<str>>(expressions: &[T]) -> Result<Vec<String>, HostlistError> {
    let mut names = indexmap::IndexSet::new();
    for expression in expressions {
        let expression = expression.as_ref();
        for part in split(expression)? {
            names.extend(expand_one(part)?);
            if names.len() > NAMES_MAX {
                return Err(HostlistError::TooMany { text: expression.into() });
            }
        }
    }
    Ok(names.into_iter().collect())
}

fn syntax(text: &str, why: &'static str) -> HostlistError {
    HostlistError::Syntax { text: text.chars().take(120).collect(), why }
}

/// At commas outside brackets.
fn split(text: &str) -> Result<Vec<&str>, HostlistError> {
    let (mut parts, mut start, mut inside) = (vec![], 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '[' if inside => return Err(syntax(text, "brackets inside brackets")),
            '[' => inside = true,
            ']' if !inside => return Err(syntax(text, "a ']' without '['")),
            ']' => inside = false,
            ',' if !inside => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(syntax(text, "a '[' without ']'"));
    }
    parts.push(&text[start..]);
    if parts.iter().any(|part| part.is_empty()) { Err(syntax(text, "an empty name")) } else { Ok(parts) }
}

fn expand_one(text: &str) -> Result<Vec<String>, HostlistError> {
    let mut names = vec![String::new()];
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        let (ranges, after) = after.split_once(']').ok_or_else(|| syntax(text, "a '[' without ']'"))?;
        let numbers = numbers(text, ranges)?;
        if names.len().saturating_mul(numbers.len()) > NAMES_MAX {
            return Err(HostlistError::TooMany { text: text.into() });
        }
        names =
            names.iter().flat_map(|name| numbers.iter().map(move |number| format!("{name}{before}{number}"))).collect();
        rest = after;
    }
    names.iter_mut().for_each(|name| name.push_str(rest));
    Ok(names)
}

fn numbers(text: &str, ranges: &str) -> Result<Vec<String>, HostlistError> {
    let mut numbers = vec![];
    for range in ranges.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let digits = |text: &str| !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(first) || !digits(last) {
            return Err(syntax(text, "a range is made of numbers"));
        }
        // Nine digits fit.
        let (from, to): (u32, u32) = (first.parse().unwrap_or_default(), last.parse().unwrap_or_default());
        if from > to {
            return Err(syntax(text, "a range that counts down"));
        }
        if (to - from) as usize >= NAMES_MAX {
            return Err(HostlistError::TooMany { text: text.into() });
        }
        let width = if first.starts_with('0') { first.len() } else { 0 };
        numbers.extend((from..=to).map(|number| format!("{number:0width$}")));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Vec<String> {
        expand(&[text]).unwrap()
    }

    #[test]
    fn ranges_count_and_keep_their_padding() {
        assert_eq!(one("n1"), ["n1"]);
        assert_eq!(one("n[1-3,7]"), ["n1", "n2", "n3", "n7"]);
        assert_eq!(one("n[08-11]"), ["n08", "n09", "n10", "n11"]);
        assert_eq!(one("r[1-2]n[1-2].x"), ["r1n1.x", "r1n2.x", "r2n1.x", "r2n2.x"]);
        assert_eq!(one("a,n[1,2],a"), ["a", "n1", "n2"]);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for bad in ["", "n[", "n]", "n[[1]]", "n[1-]", "n[a-b]", "n[3-1]", "a,,b", "n[1]]", "n[9999999999]"] {
            assert!(matches!(expand(&[bad]), Err(HostlistError::Syntax { .. })), "{bad:?}");
        }
    }

    #[test]
    fn an_expression_cannot_fill_the_memory() {
        for bad in ["n[1-999999999]", "a[1-1000]b[1-1000]", "a[0-9999]b[0-9999]c[0-9999]"] {
            assert!(matches!(expand(&[bad]), Err(HostlistError::TooMany { .. })), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_expanded_or_refused(text in "[a-c0-3\\[\\],-]{0,24}") {
            if let Ok(names) = expand(&[&text]) {
                proptest::prop_assert!(names.iter().all(|name| !name.is_empty() && !name.contains(['[', ']', ','])));
            }
        }
    }
}
