//! Link rates, and the shaping of one end of a link.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result};

use super::netns::Namespace;

/// Bits per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

impl Rate {
    /// Bytes per second.
    pub fn bytes_per_second(self) -> f64 {
        self.0 as f64 / 8.0
    }
}

impl FromStr for Rate {
    type Err = String;

    /// Reads what `tc` calls a rate: a whole number with `kbit`, `mbit` or `gbit`.
    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let digits = lower.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(lower.len());
        let (number, unit) = lower.split_at(digits);
        let factor = match unit {
            "kbit" => 1_000,
            "mbit" => 1_000_000,
            "gbit" => 1_000_000_000,
            _ => return Err(format!("{text:?} is not a rate; write it like 200mbit or 1gbit")),
        };
        match number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)) {
            Some(rate) if rate > 0 => Ok(Self(rate)),
            _ => Err(format!("{text:?} is not a rate; write it like 200mbit or 1gbit")),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            rate if rate.is_multiple_of(1_000_000_000) => write!(f, "{}gbit", rate / 1_000_000_000),
            rate if rate.is_multiple_of(1_000_000) => write!(f, "{}mbit", rate / 1_000_000),
            rate => write!(f, "{}kbit", rate / 1_000),
        }
    }
}

/// Limits what leaves `device` to `rate`. The bucket holds 2 ms, the queue 20 ms: about what a switch port has.
pub(super) fn shape(namespace: &Namespace, device: &str, rate: Rate) -> Result<()> {
    let bytes_per_second = rate.0 / 8;
    let burst = (bytes_per_second / 500).max(16 * 1024);
    let limit = (bytes_per_second / 50).max(128 * 1024);
    // Packets that the kernel would cut later must not be counted as one.
    namespace.run("ethtool", &["-K", device, "tso", "off", "gso", "off", "gro", "off"])?;
    let (rate, burst, limit) = (rate.to_string(), burst.to_string(), limit.to_string());
    let arguments = ["qdisc", "replace", "dev", device, "root", "tbf", "rate", &rate, "burst", &burst, "limit", &limit];
    namespace.run("tc", &arguments).with_context(|| format!("shape {device} in {}", namespace.name()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_round_trip_and_wrong_ones_are_refused() {
        for text in ["200mbit", "1gbit", "64kbit", "2500mbit"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["", "mbit", "0mbit", "200", "200mb", "-1gbit", "99999999999999gbit"] {
            assert!(text.parse::<Rate>().is_err(), "{text:?}");
        }
    }
}
