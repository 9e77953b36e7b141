//! The leaves of `nodes.yaml`: texts that know their line, and lists of them.
//!
//! Warewulf keeps every scalar as a string (`mtu: "9000"` and `mtu: 9000` are the same), so this file's form does too;
//! `resolve` gives them types.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_saphyr::Spanned;

/// One scalar, and where it stands. Two are equal if their texts are.
#[derive(Clone, Debug, Default)]
pub struct Text {
    value: String,
    line: u64,
}

impl Text {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.value
    }

    /// Its line in the file, from 1; 0 if it did not come from a file.
    pub const fn line(&self) -> u64 {
        self.line
    }
}

impl<T: Into<String>> From<T> for Text {
    fn from(value: T) -> Self {
        Self { value: value.into(), line: 0 }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Text {}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.value)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.value)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<String>::deserialize(deserializer)?;
        Ok(Self { value: spanned.value, line: spanned.referenced.line() })
    }
}

/// A list of texts; a single scalar in its place is a list of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct List(pub Vec<Text>);

impl List {
    /// Whether `item` is in it.
    pub fn contains(&self, item: &str) -> bool {
        self.0.iter().any(|text| text.as_str() == item)
    }
}

impl<T: Into<Text>> FromIterator<T> for List {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self(items.into_iter().map(Into::into).collect())
    }
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;
        impl<'de> Visitor<'de> for ListVisitor {
            type Value = List;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of texts")
            }
            fn visit_str<E>(self, text: &str) -> Result<List, E> {
                Ok(List(vec![text.into()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List, A::Error> {
                let mut list = vec![];
                while let Some(text) = seq.next_element::<Text>()? {
                    list.push(text);
                }
                Ok(List(list))
            }
        }
        deserializer.deserialize_any(ListVisitor)
    }
}
