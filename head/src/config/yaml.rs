//! Reading YAML with errors that name the line and the likely meaning.

use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde_saphyr::Error;

/// Parses one YAML document written by the administrator. The error is a text such as
/// `line 7: unknown key "intrfaces"; did you mean "interfaces"?`.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let options = serde_saphyr::options! {
        // The files are root's own; ten thousand nodes are a normal size.
        budget: None,
        with_snippet: false,
        // A file mode or an asset tag such as 0755 stays what was written.
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    };
    // An empty document means "all defaults"; the parser would call it an unexpected end.
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return serde_saphyr::from_str_with_options("{}", options).map_err(|error| explain(&error));
    }
    serde_saphyr::from_str_with_options(text, options).map_err(|error| explain(&error))
}

fn explain(error: &Error) -> String {
    let error = error.without_snippet();
    let message = match error {
        Error::SerdeUnknownField { field, expected, .. } => unknown(&format!("unknown key {field:?}"), field, expected),
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            unknown(&format!("{variant:?} is not possible here"), variant, expected)
        }
        other => first_line(&other.to_string()),
    };
    match error.location() {
        Some(location) if location.line() > 0 && !message.starts_with("line ") => {
            format!("line {}: {message}", location.line())
        }
        _ => message,
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// `what`, and which of `known` was probably meant, or all of them.
pub(crate) fn unknown(what: &str, given: &str, known: &[&str]) -> String {
    let mut message = what.to_owned();
    if let Some(near) = nearest(given, known) {
        _ = write!(message, "; did you mean {near:?}?");
    } else if !known.is_empty() {
        _ = write!(message, "; possible are {}", known.join(", "));
    }
    message
}

/// The entry of `known` that differs from `given` by the fewest edits, if by few enough to be a slip.
pub(crate) fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], " ");
    let given = plain(given);
    let slip = (given.len() / 2).clamp(1, 3);
    known
        .iter()
        .map(|&name| (edits(&given, &plain(name)), name))
        .filter(|(distance, _)| *distance <= slip)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein distance in characters.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = i;
        let mut previous = i + 1;
        if let Some(first) = row.first_mut() {
            *first = previous;
        }
        for (cell, b) in row.iter_mut().skip(1).zip(&right) {
            let best = (diagonal + usize::from(a != *b)).min(previous + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = best;
            previous = best;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_count_insertions_removals_and_replacements() {
        for (left, right, distance) in [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("hwaddr", "hwadr", 1)] {
            assert_eq!(edits(left, right), distance);
        }
    }

    #[test]
    fn only_a_slip_gets_a_suggestion() {
        let known = ["image name", "ipxe template", "init"];
        assert_eq!(nearest("image_name", &known), Some("image name"));
        assert_eq!(nearest("imgae name", &known), Some("image name"));
        assert_eq!(nearest("inti", &known), Some("init"));
        assert_eq!(nearest("root", &known), None);
        assert_eq!(nearest("zzz", &known), None);
    }
}
