//! Sizes, rates, times and shares as people write them.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

/// A text that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}; write it like {like}")]
pub struct UnitError {
    text: String,
    what: &'static str,
    like: &'static str,
}

/// A number and what follows it, in millionths: `1.5GiB` is (1_500_000, "gib").
fn split(text: &str) -> Option<(u128, String)> {
    let text = text.trim();
    let end = text.find(|letter: char| !(letter.is_ascii_digit() || letter == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    if part.len() > 6 || whole.len() > 15 {
        return None;
    }
    let part: u128 = format!("{part:0<6}").parse().ok()?;
    Some((whole.parse::<u128>().ok()? * 1_000_000 + part, unit.trim().to_ascii_lowercase()))
}

/// The number times its unit; none if the unit is unknown, or the result zero or too large.
fn scaled(text: &str, factor_of: impl Fn(&str) -> Option<u128>) -> Option<u64> {
    let (millionths, unit) = split(text)?;
    let value = millionths.checked_mul(factor_of(&unit)?)? / 1_000_000;
    u64::try_from(value).ok()
}

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let factor = |unit: &str| {
            Some(match unit {
                "" | "b" => 1,
                "k" | "kib" => 1 << 10,
                "m" | "mib" => 1 << 20,
                "g" | "gib" => 1 << 30,
                "t" | "tib" => 1 << 40,
                "kb" => 1_000,
                "mb" => 1_000_000,
                "gb" => 1_000_000_000,
                "tb" => 1_000_000_000_000,
                _ => return None,
            })
        };
        let error = || UnitError { text: text.into(), what: "size", like: "4GiB, 700MiB or 1.5GB" };
        scaled(text, factor).filter(|&size| size > 0).map(Self).ok_or_else(error)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        indicatif::BinaryBytes(self.0).fmt(f)
    }
}

/// Bits a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

impl Rate {
    /// Bytes a second; at least one.
    pub const fn bytes(self) -> u64 {
        if self.0 < 8 { 1 } else { self.0 / 8 }
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let factor = |unit: &str| {
            Some(match unit {
                "bit" | "bit/s" | "bps" => 1,
                "kbit" | "kbit/s" | "kbps" => 1_000,
                "mbit" | "mbit/s" | "mbps" => 1_000_000,
                "gbit" | "gbit/s" | "gbps" | "gbe" => 1_000_000_000,
                "tbit" | "tbit/s" | "tbps" => 1_000_000_000_000,
                _ => return None,
            })
        };
        let error = || UnitError { text: text.into(), what: "rate", like: "25gbit, 2.5gbit or 200mbit" };
        scaled(text, factor).filter(|&rate| rate > 0).map(Self).ok_or_else(error)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0 {
            1_000_000_000.. => (1e9, "gbit"),
            1_000_000.. => (1e6, "mbit"),
            1_000.. => (1e3, "kbit"),
            _ => (1.0, "bit"),
        };
        write!(f, "{}{name}", self.0 as f64 / unit)
    }
}

/// A time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let factor = |unit: &str| {
            Some(match unit {
                "ns" => 1,
                "us" | "µs" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" | "min" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                _ => return None,
            })
        };
        let error = || UnitError { text: text.into(), what: "time", like: "100us, 2ms, 1.5s or 3min" };
        if text.trim() == "0" {
            return Ok(Self(Duration::ZERO));
        }
        scaled(text, factor).map(|nanos| Self(Duration::from_nanos(nanos))).ok_or_else(error)
    }
}

/// A part of a whole, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u32);

impl Share {
    /// So much of `whole`.
    pub fn of(self, whole: u64) -> u64 {
        u64::try_from(u128::from(whole) * u128::from(self.0) / 1_000_000).unwrap_or(u64::MAX)
    }
}

impl FromStr for Share {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || UnitError { text: text.into(), what: "share", like: "2% or 0.5%" };
        let share = scaled(text, |unit| (unit == "%").then_some(10_000));
        share.and_then(|share| u32::try_from(share).ok()).map(Self).ok_or_else(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_as_people_write_them() {
        for (text, size) in [("4GiB", 4 << 30), ("1.5 GB", 1_500_000_000), ("700M", 700 << 20), ("512", 512)] {
            assert_eq!(text.parse(), Ok(Size(size)), "{text}");
        }
        for (text, rate) in [("25gbit", 25_000_000_000), ("2.5Gbit/s", 2_500_000_000), ("100mbps", 100_000_000)] {
            assert_eq!(text.parse(), Ok(Rate(rate)), "{text}");
        }
        for (text, micros) in [("100us", 100), ("1.5ms", 1500), ("2min", 120_000_000), ("0", 0)] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_micros(micros))), "{text}");
        }
        assert_eq!("2%".parse(), Ok(Share(20_000)));
        assert_eq!(Share(20_000).of(1000), 20);
        assert_eq!(Rate(2_500_000_000).to_string(), "2.5gbit");
    }

    #[test]
    fn mistakes_are_refused_with_an_example() {
        for text in ["", "GiB", "-1GiB", "1e9", "4 gibs", "99999999999TiB", "0", "1.2.3GB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        let error = "25".parse::<Rate>().unwrap_err();
        assert_eq!(error.to_string(), "\"25\" is not a rate; write it like 25gbit, 2.5gbit or 200mbit");
        assert!("5".parse::<Span>().is_err());
        assert!("0.5".parse::<Share>().is_err());
    }
}
