//! What a member of the swarm takes of links and processors: caps, the mark of its packets, niceness. As people write it, and as it
//! travels.

use core::fmt;
use core::marker::PhantomData;
use core::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Least cap: below it a single chunk would take longer than anybody waits.
const CAP_LEAST: u64 = 1_000_000;
/// Processors that can be named: 0 to 1023.
const CPUS: usize = 1024;
const WORDS: usize = CPUS / 64;

/// A text that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}; write it like {like}")]
pub struct MannersError {
    text: String,
    what: &'static str,
    like: &'static str,
}

impl MannersError {
    fn new(text: &str, what: &'static str, like: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), what, like }
    }
}

/// A limit in bits a second, headers included; or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cap(u64);

impl Cap {
    /// No limit.
    pub const NONE: Self = Self(0);

    /// So many bits a second, but no less than the least cap; 0 is no limit.
    pub const fn bits(bits: u64) -> Self {
        if bits > 0 && bits < CAP_LEAST { Self(CAP_LEAST) } else { Self(bits) }
    }

    /// Bits a second, if there is a limit.
    pub const fn get(self) -> Option<u64> {
        if self.0 == 0 { None } else { Some(self.0) }
    }
}

impl FromStr for Cap {
    type Err = MannersError;

    fn from_str(text: &str) -> Result<Self, MannersError> {
        let refused = || MannersError::new(text, "a rate of at least 1mbit", "200mbit, 2.5gbit or none");
        let lower = text.trim().to_ascii_lowercase();
        if lower == "none" {
            return Ok(Self::NONE);
        }
        let end = lower.find(|letter: char| !(letter.is_ascii_digit() || letter == '.')).unwrap_or(lower.len());
        let (number, unit) = lower.split_at(end);
        let factor: u64 = match unit.trim() {
            "kbit" | "kbit/s" | "kbps" => 1_000,
            "mbit" | "mbit/s" | "mbps" => 1_000_000,
            "gbit" | "gbit/s" | "gbps" => 1_000_000_000,
            _ => return Err(refused()),
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let part: u64 = if part.len() <= 3 { format!("{part:0<3}").parse().ok() } else { None }.ok_or_else(refused)?;
        let thousandths = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(1000)?.checked_add(part));
        let bits = thousandths.and_then(|thousandths| thousandths.checked_mul(factor / 1000));
        bits.filter(|bits| *bits >= CAP_LEAST).map(Self).ok_or_else(refused)
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            0 => "none".to_owned(),
            bits if bits.is_multiple_of(1_000_000_000) => format!("{}gbit", bits / 1_000_000_000),
            bits if bits.is_multiple_of(1_000_000) => format!("{}mbit", bits / 1_000_000),
            bits => format!("{}kbit", bits / 1_000),
        };
        f.pad(&text)
    }
}

/// The mark of the swarm's packets: a differentiated services codepoint (RFC 2474), 0 to 63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dscp(u8);

impl Dscp {
    /// The codepoint.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The codepoint that is not a plain number: `le` (RFC 8622), `ef` (RFC 3246), `cs1` (RFC 2474), `af11` (RFC 2597).
    fn named(text: &str) -> Option<u8> {
        let digit = |at: usize, most: u8| {
            let digit = text.as_bytes().get(at)?.checked_sub(b'0')?;
            (digit <= most).then_some(digit)
        };
        match (text, text.len()) {
            ("default", _) => Some(0),
            ("le", _) => Some(1),
            ("ef", _) => Some(46),
            (_, 3) if text.starts_with("cs") => Some(digit(2, 7)? * 8),
            (_, 4) if text.starts_with("af") => {
                let (class, drop) = (digit(2, 4)?, digit(3, 3)?);
                (class > 0 && drop > 0).then_some(class * 8 + drop * 2)
            }
            _ => None,
        }
    }
}

impl FromStr for Dscp {
    type Err = MannersError;

    fn from_str(text: &str) -> Result<Self, MannersError> {
        let lower = text.trim().to_ascii_lowercase();
        let code = Self::named(&lower).or_else(|| lower.parse().ok().filter(|code| *code < 64));
        code.map(Self).ok_or_else(|| MannersError::new(text, "a DSCP", "le, cs1, af11, ef, default or 0 to 63"))
    }
}

impl fmt::Display for Dscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.pad("default"),
            1 => f.pad("le"),
            code => fmt::Display::fmt(&code, f),
        }
    }
}

/// How far the agent of a running node stands back from others on its processors: 0 (not at all) to 19 (nice(1)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nice(u8);

impl Nice {
    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Nice {
    /// A job gets about 70 times as much of a processor that both want.
    fn default() -> Self {
        Self(19)
    }
}

impl FromStr for Nice {
    type Err = MannersError;

    fn from_str(text: &str) -> Result<Self, MannersError> {
        let nice = text.trim().parse().ok().filter(|nice| *nice <= 19);
        nice.map(Self).ok_or_else(|| MannersError::new(text, "a niceness", "19; 0 to 19"))
    }
}

impl fmt::Display for Nice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Processors that the agent of a running node may use; none named are all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuList([u64; WORDS]);

impl CpuList {
    /// Whether all may be used.
    pub fn is_all(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// The processors that are named.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        (0..CPUS).filter(|cpu| self.0.get(cpu / 64).is_some_and(|word| word >> (cpu % 64) & 1 == 1))
    }
}

impl FromStr for CpuList {
    type Err = MannersError;

    fn from_str(text: &str) -> Result<Self, MannersError> {
        let refused = || MannersError::new(text, "a list of processors below 1024", "0-3,8 or all");
        let mut list = Self::default();
        if text.trim() == "all" {
            return Ok(list);
        }
        for range in text.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.trim().parse::<usize>().ok().filter(|cpu| *cpu < CPUS);
            let (first, last) =
                number(first).zip(number(last)).filter(|(first, last)| first <= last).ok_or_else(refused)?;
            for cpu in first..=last {
                if let Some(word) = list.0.get_mut(cpu / 64) {
                    *word |= 1 << (cpu % 64);
                }
            }
        }
        Ok(list)
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.pad("all");
        }
        let mut ranges: Vec<(usize, usize)> = vec![];
        for cpu in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == cpu => *last = cpu,
                _ => ranges.push((cpu, cpu)),
            }
        }
        let text =
            |(first, last): (usize, usize)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
        f.pad(&ranges.into_iter().map(text).collect::<Vec<_>>().join(","))
    }
}

/// What a member takes of links and processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Manners {
    /// Most that it gives to others, all in all.
    pub upload: Cap,
    /// Most that it takes from others.
    pub download: Cap,
    /// Mark of its packets.
    pub dscp: Dscp,
    /// Niceness of the agent once the node runs.
    pub nice: Nice,
    /// Processors of the agent once the node runs.
    pub cpus: CpuList,
}

/// Text where people read it, the number where programs do.
macro_rules! as_text_or {
    ($name:ident, $number:ty, $check:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    return deserializer.deserialize_any(Text(PhantomData));
                }
                let number = <$number>::deserialize(deserializer)?;
                let check: fn(&$number) -> bool = $check;
                if check(&number) { Ok(Self(number)) } else { Err(de::Error::custom("out of range")) }
            }
        }
    };
}

as_text_or!(Cap, u64, |bits| *bits == 0 || *bits >= CAP_LEAST);
as_text_or!(Dscp, u8, |code| *code < 64);
as_text_or!(Nice, u8, |nice| *nice <= 19);
as_text_or!(CpuList, [u64; WORDS], |_| true);

/// Reads a text, or a number as if it were one.
struct Text<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    fn round<T: FromStr<Err: fmt::Debug> + fmt::Display>(text: &str) -> String {
        text.parse::<T>().unwrap().to_string()
    }

    #[test]
    fn what_people_write_is_read_and_printed_in_one_form() {
        for (text, printed) in
            [("200mbit", "200mbit"), ("2.5Gbit/s", "2500mbit"), ("1000mbps", "1gbit"), ("none", "none")]
        {
            assert_eq!(round::<Cap>(text), printed);
        }
        for (text, printed) in
            [("le", "le"), ("CS1", "8"), ("af11", "10"), ("ef", "46"), ("0", "default"), ("63", "63")]
        {
            assert_eq!(round::<Dscp>(text), printed);
        }
        for (text, printed) in [("all", "all"), ("3", "3"), ("8,0-3,2", "0-3,8"), ("1023", "1023")] {
            assert_eq!(round::<CpuList>(text), printed);
        }
        assert_eq!(round::<Nice>("19"), "19");
    }

    #[test]
    fn nonsense_is_refused_with_the_forms_that_work() {
        for bad in ["", "100", "999kbit", "1mb", "-1mbit", "1.2345mbit", "99999999999999gbit", "0mbit"] {
            assert!(bad.parse::<Cap>().unwrap_err().to_string().contains("200mbit"), "{bad:?}");
        }
        for bad in ["", "64", "af01", "af14", "cs8", "csx", "-1"] {
            assert!(bad.parse::<Dscp>().unwrap_err().to_string().contains("af11"), "{bad:?}");
        }
        for bad in ["", "1024", "3-1", "0-", "x", "0,,1"] {
            assert!(bad.parse::<CpuList>().unwrap_err().to_string().contains("0-3,8"), "{bad:?}");
        }
        assert!("20".parse::<Nice>().is_err() && "-1".parse::<Nice>().is_err());
    }

    #[test]
    fn it_travels_in_few_bytes_and_out_of_range_is_refused() {
        let manners = Manners {
            upload: "200mbit".parse().unwrap(),
            download: Cap::NONE,
            dscp: "le".parse().unwrap(),
            nice: Nice::default(),
            cpus: "0-3".parse().unwrap(),
        };
        let bytes = wire::encode(&manners);
        assert!(bytes.len() < 40, "{}", bytes.len());
        assert_eq!(wire::decode::<Manners, 256>(&bytes).unwrap(), manners);
        assert!(wire::decode::<Dscp, 64>(&wire::encode(&64u8)).is_err());
        assert!(wire::decode::<Nice, 64>(&wire::encode(&20u8)).is_err());
        assert!(wire::decode::<Cap, 64>(&wire::encode(&1u64)).is_err());
    }
}
