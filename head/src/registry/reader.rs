//! Gives the texts of an entry their types, and collects what does not fit instead of stopping at the first.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::merge::is_unset;
use super::problem::Problem;
use super::scalar::{List, Text};

/// Reads fields of one entry.
#[derive(Debug)]
pub(super) struct Reader {
    /// `node n1`, or deeper.
    place: String,
    /// What cannot be used.
    pub(super) errors: Vec<Problem>,
    /// What is used otherwise than it says.
    pub(super) warnings: Vec<Problem>,
}

impl Reader {
    pub(super) fn new(place: String) -> Self {
        Self { place, errors: vec![], warnings: vec![] }
    }

    fn problem(&self, field: &str, line: u64, what: String) -> Problem {
        Problem { line: (line > 0).then_some(line), place: format!("{}: {field}", self.place), what, see: None }
    }

    pub(super) fn refuse(&mut self, field: &str, line: u64, what: impl Display) {
        let problem = self.problem(field, line, what.to_string());
        self.errors.push(problem);
    }

    /// A mistake that another line has a part in.
    pub(super) fn refuse_with(&mut self, field: &str, line: u64, what: impl Display, see: u64) {
        self.refuse(field, line, what);
        if let Some(problem) = self.errors.last_mut() {
            problem.see = (see > 0).then_some(see);
        }
    }

    pub(super) fn warn(&mut self, field: &str, line: u64, what: impl Display) {
        let problem = self.problem(field, line, what.to_string());
        self.warnings.push(problem);
    }

    /// Reads what lies deeper: `network devices: default`.
    pub(super) fn within<T>(&mut self, step: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.place.len();
        self.place.push_str(": ");
        self.place.push_str(step);
        let value = read(self);
        self.place.truncate(length);
        value
    }

    /// A text without control characters: it ends up in files and on command lines.
    pub(super) fn text(&mut self, field: &str, text: Option<&Text>) -> Option<String> {
        let text = text.filter(|text| !is_unset(text.as_str()))?;
        if text.as_str().contains(char::is_control) {
            self.refuse(field, text.line(), "a line break or another control character cannot stand here");
            return None;
        }
        Some(text.as_str().to_owned())
    }

    /// A text that parses.
    pub(super) fn parse<T: FromStr<Err: Display>>(&mut self, field: &str, text: Option<&Text>) -> Option<T> {
        let value = self.text(field, text)?;
        match value.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(field, text.map_or(0, Text::line), format!("{value:?}: {error}"));
                None
            }
        }
    }

    /// Texts that parse.
    pub(super) fn parse_list<T: FromStr<Err: Display>>(&mut self, field: &str, list: &List) -> Vec<T> {
        list.0.iter().filter_map(|text| self.parse(field, Some(text))).collect()
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, field: &str, text: Option<&Text>, words: &[(&str, T)]) -> Option<T> {
        let value = self.text(field, text)?;
        let found = words.iter().find(|(word, _)| *word == value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.refuse(field, text.map_or(0, Text::line), format!("{value:?} is not one of {}", known.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    /// A boolean in any of the forms that YAML and Warewulf know.
    pub(super) fn boolean(&mut self, field: &str, text: Option<&Text>) -> Option<bool> {
        let value = self.text(field, text)?;
        match value.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => {
                self.refuse(field, text.map_or(0, Text::line), format!("{value:?} is neither true nor false"));
                None
            }
        }
    }

    /// An IPv4 address.
    pub(super) fn ipv4(&mut self, field: &str, text: Option<&Text>) -> Option<IpAddr> {
        self.parse::<Ipv4Addr>(field, text).map(IpAddr::V4)
    }

    /// An IPv6 address.
    pub(super) fn ipv6(&mut self, field: &str, text: Option<&Text>) -> Option<IpAddr> {
        self.parse::<Ipv6Addr>(field, text).map(IpAddr::V6)
    }

    /// A netmask, dotted (255.255.255.0) or as a prefix length (24, /24).
    pub(super) fn netmask(&mut self, field: &str, text: Option<&Text>) -> Option<u8> {
        let value = self.text(field, text)?;
        let prefix = match value.parse::<Ipv4Addr>() {
            Ok(mask) => {
                let prefix = mask.to_bits().leading_ones();
                (mask.to_bits().count_ones() == prefix).then_some(prefix)
            }
            Err(_) => value.trim_start_matches('/').parse().ok().filter(|prefix| *prefix <= 32),
        };
        if prefix.is_none() {
            let line = text.map_or(0, Text::line);
            self.refuse(field, line, format!("{value:?} is not a netmask such as 255.255.255.0 or 24"));
        }
        prefix.and_then(|prefix| u8::try_from(prefix).ok())
    }
}
