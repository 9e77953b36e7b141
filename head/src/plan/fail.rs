//! What is to go wrong: who fails, and when.

use core::fmt;
use core::str::FromStr;

use super::units::{Share, Span};

/// Who fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Every head.
    Head,
    /// The tracker of every head; their data goes on.
    Tracker,
    /// A share of the nodes, drawn by the seed.
    Nodes(Share),
}

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// So long after the first node was switched on.
    After(Span),
    /// When so much of the time that an image takes over a node's link has passed.
    Part(Share),
    /// When the head has sent so many hundredths of an image.
    Copies(u32),
    /// When every chunk is verified on two live nodes.
    Covered,
}

/// Who fails when: `20%@50%`, `head@covered`, `head@1.5copies`, `tracker@100ms`. Nothing that failed returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fail {
    /// Who.
    pub who: Who,
    /// When.
    pub when: When,
}

const LIKE: &str = "write it like 20%@50%, head@covered, head@1.5copies or tracker@100ms";

impl FromStr for Fail {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (who, when) = text.split_once('@').ok_or_else(|| format!("{text:?} does not say when; {LIKE}"))?;
        let who = match who {
            "head" => Who::Head,
            "tracker" => Who::Tracker,
            share => Who::Nodes(share.parse().map_err(|error| format!("{error}; {LIKE}"))?),
        };
        let when = if when == "covered" {
            When::Covered
        } else if let Some(copies) = when.strip_suffix("copies").or_else(|| when.strip_suffix("copy")) {
            let hundredths = format!("{copies}%").parse::<Share>().map_err(|_| format!("{text:?}: {LIKE}"))?.0 / 100;
            When::Copies(hundredths)
        } else if let Ok(share) = when.parse() {
            When::Part(share)
        } else {
            When::After(when.parse().map_err(|error| format!("{error}; {LIKE}"))?)
        };
        Ok(Self { who, when })
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.who {
            Who::Head => write!(f, "head")?,
            Who::Tracker => write!(f, "tracker")?,
            Who::Nodes(share) => write!(f, "{}%", f64::from(share.0) / 1e4)?,
        }
        match self.when {
            When::After(span) => write!(f, "@{:?}", span.0),
            When::Part(share) => write!(f, "@{}%", f64::from(share.0) / 1e4),
            When::Copies(hundredths) => write!(f, "@{}copies", f64::from(hundredths) / 1e2),
            When::Covered => write!(f, "@covered"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_read_and_printed_alike() {
        for text in ["20%@50%", "head@covered", "head@1.5copies", "tracker@100ms", "0.5%@2s"] {
            assert_eq!(text.parse::<Fail>().unwrap().to_string(), text);
        }
        assert_eq!("head@1copy".parse::<Fail>().unwrap().when, When::Copies(100));
        for text in ["", "head", "20@50%", "head@", "head@soon", "rack@5s", "head@copies"] {
            assert!(text.parse::<Fail>().is_err(), "{text}");
        }
    }
}
