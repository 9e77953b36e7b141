//! How long a node serves its image, as people write it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use wulfpack_shared::wire::SeedPolicy;

/// A [`SeedPolicy`] as text: seconds, or a number with `s`, `m`, `h` or `d`, or `always`, or `never`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seed(pub SeedPolicy);

/// Why a text is not a seed policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} does not say how long to serve: write seconds, or 10m, 2h, 1d, or always, or never")]
pub struct SeedError {
    text: String,
}

impl FromStr for Seed {
    type Err = SeedError;

    fn from_str(text: &str) -> Result<Self, SeedError> {
        let refused = || SeedError { text: text.chars().take(80).collect() };
        let policy = match text.trim() {
            "always" => SeedPolicy::Always,
            "never" => SeedPolicy::Never,
            time => {
                let (number, factor) = match time.char_indices().last() {
                    Some((at, 's')) => (&time[..at], 1),
                    Some((at, 'm')) => (&time[..at], 60),
                    Some((at, 'h')) => (&time[..at], 3600),
                    Some((at, 'd')) => (&time[..at], 86_400),
                    _ => (time, 1),
                };
                let number: u32 = number.parse().map_err(|_| refused())?;
                SeedPolicy::Seconds(number.checked_mul(factor).ok_or_else(refused)?)
            }
        };
        Ok(Self(policy))
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SeedPolicy::Always => f.pad("always"),
            SeedPolicy::Never => f.pad("never"),
            SeedPolicy::Seconds(0) => f.pad("0"),
            SeedPolicy::Seconds(seconds) => {
                let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
                let (factor, unit) =
                    units.into_iter().find(|(factor, _)| seconds.is_multiple_of(*factor)).unwrap_or((1, "s"));
                f.pad(&format!("{}{unit}", seconds / factor))
            }
        }
    }
}

impl Serialize for Seed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Seed {
    fn schema_name() -> Cow<'static, str> {
        "Seed".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "pattern": "^(always|never|[0-9]+[smhd]?)$", "minimum": 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_printed_in_their_largest_unit() {
        for (text, seconds, printed) in
            [("600", 600, "10m"), ("10m", 600, "10m"), ("90s", 90, "90s"), ("48h", 172_800, "2d"), ("0", 0, "0")]
        {
            let seed: Seed = text.parse().unwrap();
            assert_eq!(seed.0, SeedPolicy::Seconds(seconds));
            assert_eq!(seed.to_string(), printed);
        }
        assert_eq!("always".parse::<Seed>().unwrap().0, SeedPolicy::Always);
        assert_eq!("never".parse::<Seed>().unwrap().to_string(), "never");
    }

    #[test]
    fn nonsense_is_refused_with_the_forms_that_work() {
        for bad in ["", "m", "-1", "10 m", "forever", "99999999d", "5é"] {
            assert!(bad.parse::<Seed>().unwrap_err().to_string().contains("10m"), "{bad:?}");
        }
    }
}
