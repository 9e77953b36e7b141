//! A number as it stands in a name: its digits, leading zeros included.

use std::fmt;

/// Most digits of a number; a longer run of digits in a name is text like any other.
pub(super) const DIGITS_MAX: usize = 18;

/// How many digit strings are shorter than `index + 1` digits: those of one digit begin at 0, of two at 10, of three at 110.
const FIRST: [u64; DIGITS_MAX + 1] = {
    let mut first = [0; DIGITS_MAX + 1];
    let mut width = 1;
    while width <= DIGITS_MAX {
        first[width] = first[width - 1] * 10 + 10;
        width += 1;
    }
    first
};

/// Digits. Shorter ones come first, then the smaller: ClusterShell's order. The value is the place in that order, so that a
/// run of numbers of one width is a run of integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Number(pub(super) u64);

impl Number {
    /// The number with this value and at least so many digits.
    pub(super) fn new(value: u64, width: usize) -> Option<Self> {
        let digits = value.checked_ilog10().map_or(1, |log| log as usize + 1).max(width);
        let first = FIRST.get(digits.checked_sub(1)?).filter(|_| digits <= DIGITS_MAX)?;
        Some(Self(first + value))
    }

    /// The number with these digits; `None` if there are none or too many.
    pub(super) fn read(digits: &str) -> Option<Self> {
        let fits = digits.bytes().all(|digit| digit.is_ascii_digit()) && digits.len() <= DIGITS_MAX;
        if fits { Self::new(digits.parse().ok()?, digits.len()) } else { None }
    }

    /// How many digits it has.
    pub(super) fn width(self) -> usize {
        FIRST.partition_point(|first| *first <= self.0).min(DIGITS_MAX)
    }

    /// What it counts.
    pub(super) fn value(self) -> u64 {
        self.0 - FIRST.get(self.width() - 1).copied().unwrap_or_default()
    }

    /// Whether it begins with a zero that it could do without.
    pub(super) fn is_padded(self) -> bool {
        let width = self.width();
        width > 1 && self.value() < 10_u64.pow(width as u32 - 1)
    }

    /// Whether `next` is the number that people count after this one: 10 after 9, but not 010 after 9, nor 100 after 099.
    pub(super) fn precedes(self, next: Self) -> bool {
        !next.is_padded() && self.value() + 1 == next.value()
    }

    /// Last number of the same width.
    pub(super) fn widest(self) -> Self {
        Self(FIRST.get(self.width()).map_or(u64::MAX, |next| next - 1))
    }

    /// By text, as a dictionary has it: 10 before 9.
    pub(super) fn by_text(self) -> (u64, usize) {
        let width = self.width();
        (self.value() * 10_u64.pow((DIGITS_MAX - width) as u32), width)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.width();
        write!(f, "{:0width$}", self.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_kept() {
        for digits in ["0", "9", "00", "10", "007", "999", "999999999999999999", "000000000000000000"] {
            let number = Number::read(digits).unwrap();
            assert_eq!((number.to_string().as_str(), number.width()), (digits, digits.len()));
        }
        for bad in ["", "x", "-1", "+1", "1000000000000000000", "0000000000000000001"] {
            assert_eq!(Number::read(bad), None, "{bad}");
        }
        assert_eq!(Number::new(7, 3).unwrap().to_string(), "007");
        assert_eq!(Number::new(10_u64.pow(18), 1), None);
    }

    #[test]
    fn the_order_is_by_length_then_by_value() {
        let mut numbers: Vec<_> =
            ["10", "9", "001", "99", "05", "0", "000"].iter().map(|n| Number::read(n).unwrap()).collect();
        numbers.sort();
        let texts: Vec<_> = numbers.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["0", "9", "05", "10", "99", "000", "001"]);
        numbers.sort_by_key(|number| number.by_text());
        let texts: Vec<_> = numbers.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["0", "000", "001", "05", "10", "9", "99"]);
    }

    #[test]
    fn padding_is_a_zero_too_many() {
        let padded = |digits: &str| Number::read(digits).unwrap().is_padded();
        assert!(padded("00") && padded("01") && padded("099"));
        assert!(!padded("0") && !padded("1") && !padded("10") && !padded("100"));
        assert_eq!(Number::read("10").unwrap().widest().to_string(), "99");
        assert!(Number::read("99").unwrap().precedes(Number::read("100").unwrap()));
        assert!(!Number::read("9").unwrap().precedes(Number::read("010").unwrap()));
    }
}
