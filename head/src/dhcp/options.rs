//! Options that an administrator sets: names and types of RFC 2132 and its successors, values checked before they are used.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest value; longer ones would not leave room for the rest in a packet of 576 bytes. Bytes.
const VALUE_MAX: usize = 255;
/// Most entries of a list.
const LIST_MAX: usize = 63;

/// How a value is written on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Address,
    Addresses,
    U8,
    U16,
    U32,
    I32,
    Switch,
    Text,
    /// RFC 3442: `NETWORK/PREFIX ROUTER`.
    Routes,
    /// RFC 1035 names one after the other (RFC 3397).
    Names,
    Bytes,
}

/// Code, name (as ISC and Kea call it), form.
const KNOWN: [(u8, &str, Form); 55] = [
    (2, "time-offset", Form::I32),
    (3, "routers", Form::Addresses),
    (4, "time-servers", Form::Addresses),
    (5, "name-servers", Form::Addresses),
    (6, "domain-name-servers", Form::Addresses),
    (7, "log-servers", Form::Addresses),
    (8, "cookie-servers", Form::Addresses),
    (9, "lpr-servers", Form::Addresses),
    (11, "resource-location-servers", Form::Addresses),
    (12, "host-name", Form::Text),
    (13, "boot-size", Form::U16),
    (14, "merit-dump", Form::Text),
    (15, "domain-name", Form::Text),
    (16, "swap-server", Form::Address),
    (17, "root-path", Form::Text),
    (18, "extensions-path", Form::Text),
    (19, "ip-forwarding", Form::Switch),
    (22, "max-dgram-reassembly", Form::U16),
    (23, "default-ip-ttl", Form::U8),
    (26, "interface-mtu", Form::U16),
    (27, "all-subnets-local", Form::Switch),
    (28, "broadcast-address", Form::Address),
    (31, "router-discovery", Form::Switch),
    (32, "router-solicitation-address", Form::Address),
    (35, "arp-cache-timeout", Form::U32),
    (37, "default-tcp-ttl", Form::U8),
    (38, "tcp-keepalive-interval", Form::U32),
    (40, "nis-domain", Form::Text),
    (41, "nis-servers", Form::Addresses),
    (42, "ntp-servers", Form::Addresses),
    (43, "vendor-encapsulated-options", Form::Bytes),
    (44, "netbios-name-servers", Form::Addresses),
    (46, "netbios-node-type", Form::U8),
    (47, "netbios-scope", Form::Text),
    (48, "font-servers", Form::Addresses),
    (49, "x-display-manager", Form::Addresses),
    (60, "vendor-class-identifier", Form::Text),
    (62, "nwip-domain-name", Form::Text),
    (64, "nisplus-domain-name", Form::Text),
    (65, "nisplus-servers", Form::Addresses),
    (66, "tftp-server-name", Form::Text),
    (67, "boot-file-name", Form::Text),
    (69, "smtp-server", Form::Addresses),
    (72, "www-server", Form::Addresses),
    (100, "pcode", Form::Text),
    (101, "tcode", Form::Text),
    (108, "v6-only-preferred", Form::U32),
    (114, "v4-captive-portal", Form::Text),
    (116, "auto-config", Form::U8),
    (119, "domain-search", Form::Names),
    (121, "classless-static-routes", Form::Routes),
    (128, "option-128", Form::Bytes),
    (150, "tftp-server-addresses", Form::Addresses),
    (209, "configfile", Form::Text),
    (210, "path-prefix", Form::Text),
];

/// Options that the server computes itself: whom it answers, and whether it is believed, depends on them.
const OURS: [u8; 20] = [0, 1, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 61, 77, 81, 82, 93, 94, 97, 255];

/// Why an option is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("DHCP option {name:?}: {why}")]
pub struct OptionError {
    name: String,
    why: String,
}

/// Options by name or number, checked. `ntp-servers: [10.0.0.1]`, `150: 10.0.0.1`, `43: hex:0104c0000201`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Value>", into = "BTreeMap<String, Value>")]
pub struct OptionSet {
    said: BTreeMap<String, Value>,
    encoded: BTreeMap<u8, Vec<u8>>,
}

impl OptionSet {
    /// The values as they stand in a packet, by code.
    pub const fn encoded(&self) -> &BTreeMap<u8, Vec<u8>> {
        &self.encoded
    }

    /// Adds one that was checked.
    pub(super) fn set(&mut self, code: u8, bytes: Vec<u8>) {
        self.encoded.insert(code, bytes);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }
}

impl TryFrom<BTreeMap<String, Value>> for OptionSet {
    type Error = OptionError;

    fn try_from(said: BTreeMap<String, Value>) -> Result<Self, OptionError> {
        let mut encoded = BTreeMap::new();
        for (name, value) in &said {
            let (code, bytes) = option(name, value)?;
            if encoded.insert(code, bytes).is_some() {
                return Err(OptionError { name: name.clone(), why: "it is there twice, by name and by number".into() });
            }
        }
        Ok(Self { said, encoded })
    }
}

impl From<OptionSet> for BTreeMap<String, Value> {
    fn from(set: OptionSet) -> Self {
        set.said
    }
}

/// One option of a text, as it stands in a tag of a node: code and bytes.
///
/// # Errors
/// It is not an option, or not a value of it.
pub fn option_of_text(name: &str, text: &str) -> Result<(u8, Vec<u8>), OptionError> {
    option(name, &Value::String(text.to_owned()))
}

/// The name of an option; `None` where it is only a number to us.
pub fn option_name(code: u8) -> Option<&'static str> {
    KNOWN.iter().find(|(known, ..)| *known == code).map(|(_, name, _)| *name)
}

fn option(name: &str, value: &Value) -> Result<(u8, Vec<u8>), OptionError> {
    let wrong = |why: String| OptionError { name: name.to_owned(), why };
    let by_name = KNOWN.iter().find(|(_, known, _)| *known == name);
    let by_number = name.parse::<u8>().ok();
    let (code, form) = match (by_name, by_number) {
        (Some((code, _, form)), _) => (*code, *form),
        (None, Some(code)) => {
            let form = KNOWN.iter().find(|(known, ..)| *known == code).map_or(Form::Bytes, |(.., form)| *form);
            (code, form)
        }
        (None, None) => {
            let names: Vec<&str> = KNOWN.iter().map(|(_, name, _)| *name).collect();
            let why =
                crate::config::yaml::unknown("there is no option of this name; a number does as well", name, &names);
            return Err(wrong(why));
        }
    };
    if OURS.contains(&code) {
        return Err(wrong("the server itself says this".into()));
    }
    let bytes = encode(form, value).map_err(wrong)?;
    match bytes.len() {
        0 => Err(wrong("it is empty".into())),
        len if len > VALUE_MAX => {
            Err(wrong(format!("its {len} bytes are more than the {VALUE_MAX} that an option may have")))
        }
        _ => Ok((code, bytes)),
    }
}

/// The entries of a value: a list, or a text with commas between them.
fn entries(value: &Value) -> Result<Vec<String>, String> {
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.trim().to_owned()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(switch) => Ok(switch.to_string()),
        _ => Err("it is neither a text nor a number nor a list of these".to_owned()),
    };
    let list = match value {
        Value::Array(list) => list.iter().map(text).collect::<Result<Vec<_>, _>>()?,
        other => text(other)?.split(',').map(|entry| entry.trim().to_owned()).collect(),
    };
    if list.len() > LIST_MAX { Err(format!("a list has at most {LIST_MAX} entries")) } else { Ok(list) }
}

fn encode(form: Form, value: &Value) -> Result<Vec<u8>, String> {
    let whole = || match value {
        Value::String(text) => Ok(text.clone()),
        Value::Array(_) | Value::Object(_) | Value::Null => Err("it is not one value".to_owned()),
        other => Ok(other.to_string()),
    };
    let number = |least: i64, most: i64| -> Result<i64, String> {
        let text = whole()?;
        let number = text.trim().parse::<i64>().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("{text:?} is not a number from {least} to {most}"))
    };
    let tail = |number: i64, len: usize| number.to_be_bytes().get(8 - len..).unwrap_or_default().to_vec();
    Ok(match form {
        Form::Address => address(&whole()?)?.octets().to_vec(),
        Form::Addresses => {
            let list = entries(value)?.iter().map(|entry| address(entry)).collect::<Result<Vec<_>, _>>()?;
            list.iter().flat_map(Ipv4Addr::octets).collect()
        }
        Form::U8 => tail(number(0, 255)?, 1),
        Form::U16 => tail(number(0, 65_535)?, 2),
        Form::U32 => tail(number(0, u32::MAX.into())?, 4),
        Form::I32 => tail(number(i32::MIN.into(), i32::MAX.into())?, 4),
        Form::Switch => match whole()?.as_str() {
            "true" | "yes" | "on" | "1" => vec![1],
            "false" | "no" | "off" | "0" => vec![0],
            other => return Err(format!("{other:?} is neither true nor false")),
        },
        Form::Text => {
            let text = whole()?;
            if text.chars().any(char::is_control) {
                return Err("a control character stands in it".into());
            }
            text.into_bytes()
        }
        Form::Routes => routes(&entries(value)?)?,
        Form::Names => names(&entries(value)?)?,
        Form::Bytes => bytes(&whole()?)?,
    })
}

fn address(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an IPv4 address"))
}

/// `hex:0a1b`, an IPv4 address, or a text as it is.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    if let Some(hex) = text.strip_prefix("hex:") {
        let digits: String = hex.chars().filter(|c| !matches!(c, ':' | ' ' | '-')).collect();
        return data_encoding::HEXLOWER_PERMISSIVE
            .decode(digits.as_bytes())
            .map_err(|_| format!("{hex:?} is not an even number of hexadecimal digits"));
    }
    Ok(text.parse::<Ipv4Addr>().map_or_else(|_| text.as_bytes().to_vec(), |address| address.octets().to_vec()))
}

fn routes(entries: &[String]) -> Result<Vec<u8>, String> {
    let mut bytes = vec![];
    for entry in entries {
        let form = || format!("{entry:?} is not written NETWORK/PREFIX ROUTER");
        let (net, router) = entry.split_once(char::is_whitespace).ok_or_else(form)?;
        let net: ipnet::Ipv4Net = net.parse().map_err(|_| form())?;
        let significant = usize::from(net.prefix_len().div_ceil(8));
        bytes.push(net.prefix_len());
        bytes.extend(net.network().octets().iter().take(significant));
        bytes.extend(address(router.trim())?.octets());
    }
    Ok(bytes)
}

fn names(entries: &[String]) -> Result<Vec<u8>, String> {
    let mut bytes = vec![];
    for name in entries {
        for label in name.trim_end_matches('.').split('.') {
            let len = u8::try_from(label.len()).ok().filter(|len| (1..=63).contains(len));
            bytes.push(len.ok_or_else(|| format!("{name:?} is not a domain name"))?);
            bytes.extend(label.bytes());
        }
        bytes.push(0);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: Value) -> Result<Vec<u8>, String> {
        let set = OptionSet::try_from(BTreeMap::from([(name.to_owned(), value)])).map_err(|error| error.to_string())?;
        Ok(set.encoded().values().next().cloned().unwrap())
    }

    #[test]
    fn values_have_the_form_of_their_option() {
        for (name, value, bytes) in [
            ("ntp-servers", serde_json::json!(["10.0.0.1", "10.0.0.2"]), vec![10, 0, 0, 1, 10, 0, 0, 2]),
            ("42", serde_json::json!("10.0.0.1, 10.0.0.2"), vec![10, 0, 0, 1, 10, 0, 0, 2]),
            ("150", serde_json::json!("10.0.0.1"), vec![10, 0, 0, 1]),
            ("interface-mtu", serde_json::json!(9000), vec![0x23, 0x28]),
            ("time-offset", serde_json::json!(-1), vec![0xff; 4]),
            ("ip-forwarding", serde_json::json!(true), vec![1]),
            ("43", serde_json::json!("hex:01:04:C0-00"), vec![1, 4, 0xc0, 0]),
            ("224", serde_json::json!("site"), b"site".to_vec()),
            ("121", serde_json::json!("10.9.0.0/16 10.0.0.9"), vec![16, 10, 9, 10, 0, 0, 9]),
            ("domain-search", serde_json::json!("a.b"), vec![1, b'a', 1, b'b', 0]),
        ] {
            assert_eq!(one(name, value), Ok(bytes), "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_option_that_was_meant() {
        for (name, value, said) in [
            ("ntp-server", serde_json::json!("10.0.0.1"), "ntp-servers"),
            ("server-identifier", serde_json::json!("10.0.0.1"), "there is no option"),
            ("54", serde_json::json!("10.0.0.1"), "the server itself"),
            ("routers", serde_json::json!("10.0.0"), "not an IPv4 address"),
            ("interface-mtu", serde_json::json!(70000), "from 0 to 65535"),
            ("43", serde_json::json!("hex:abc"), "hexadecimal"),
            ("domain-name", serde_json::json!("a\nb"), "control"),
            ("domain-name", serde_json::json!(""), "empty"),
            ("root-path", serde_json::json!("x".repeat(256)), "256 bytes"),
        ] {
            let error = one(name, value).unwrap_err();
            assert!(error.contains(said), "{name}: {error}");
        }
        let twice =
            BTreeMap::from([("42".to_owned(), "10.0.0.1".into()), ("ntp-servers".to_owned(), "10.0.0.1".into())]);
        assert!(OptionSet::try_from(twice).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn codes_and_names_are_unique_and_none_is_ours() {
        let codes: std::collections::BTreeSet<u8> = KNOWN.iter().map(|(code, ..)| *code).collect();
        let names: std::collections::BTreeSet<&str> = KNOWN.iter().map(|(_, name, _)| *name).collect();
        assert_eq!((codes.len(), names.len()), (KNOWN.len(), KNOWN.len()));
        assert!(OURS.iter().all(|code| !codes.contains(code)));
    }
}
