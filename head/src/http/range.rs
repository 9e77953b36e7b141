//! The `Range` header (RFC 9110, section 14.2), single ranges of bytes only.

use core::ops::Range;

/// What a request asks of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// This part, which lies inside it and is not empty.
    Part(Range<usize>),
    /// Bytes that it does not have.
    Outside,
}

/// Reads the header for a file of `len` bytes. What is malformed or asks for several parts is ignored, as the RFC allows.
pub(super) fn wanted(header: &str, len: usize) -> Wanted {
    let Some(spec) = header.trim().strip_prefix("bytes=") else { return Wanted::Whole };
    let Some((first, last)) = spec.split_once('-') else { return Wanted::Whole };
    let number = |text: &str| -> Option<usize> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // A number beyond all files is still a number.
        digits.then(|| text.parse().unwrap_or(usize::MAX))
    };
    let (start, end) = match (first.trim(), last.trim()) {
        ("", suffix) => match number(suffix) {
            None => return Wanted::Whole,
            Some(0) => return Wanted::Outside,
            Some(suffix) => (len.saturating_sub(suffix), len),
        },
        (first, "") => match number(first) {
            None => return Wanted::Whole,
            Some(first) => (first, len),
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => (first, last.saturating_add(1).min(len)),
            _ => return Wanted::Whole,
        },
    };
    if start < end { Wanted::Part(start..end) } else { Wanted::Outside }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        let cases = [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=2-5", Wanted::Part(2..6)),
            ("bytes=2-", Wanted::Part(2..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=-30", Wanted::Part(0..10)),
            ("bytes=9-99999999999999999999999", Wanted::Part(9..10)),
            ("bytes=10-", Wanted::Outside),
            ("bytes=99999999999999999999999-", Wanted::Outside),
            ("bytes=-0", Wanted::Outside),
            ("bytes=5-2", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
        ];
        for (header, expected) in cases {
            assert_eq!(wanted(header, 10), expected, "{header}");
        }
        assert_eq!(wanted("bytes=0-", 0), Wanted::Outside);
    }

    proptest! {
        #[test]
        fn a_part_lies_inside_the_file(header in "(bytes=)?[0-9,-]{0,30}.{0,5}", len in 0usize..2000) {
            if let Wanted::Part(part) = wanted(&header, len) {
                prop_assert!(part.start < part.end && part.end <= len);
            }
        }
    }
}
