//! Newtypes for everything that has a name, an address or a hash. A value of these types is valid: parse, don't validate.

use core::fmt;
use core::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a text is not the identifier it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}: {why}")]
pub struct ParseIdError {
    text: String,
    what: &'static str,
    why: &'static str,
}

fn refuse<T>(text: &str, what: &'static str, why: &'static str) -> Result<T, ParseIdError> {
    Err(ParseIdError { text: text.chars().take(80).collect(), what, why })
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                if text.is_empty() {
                    return refuse(text, $what, "it is empty");
                }
                if text.len() > $max {
                    return refuse(text, $what, concat!("it is longer than ", $max, " characters"));
                }
                let check: fn(&str) -> Result<(), &'static str> = $check;
                match check(text) {
                    Ok(()) => Ok(Self(text.into())),
                    Err(why) => refuse(text, $what, why),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

fn check_host_name(text: &str) -> Result<(), &'static str> {
    for label in text.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err("each part between dots has 1 to 63 characters (RFC 1123, section 2.1)");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("no part begins or ends with '-' (RFC 1123, section 2.1)");
        }
    }
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
        Ok(())
    } else {
        Err("only letters, digits, '-' and '.' may stand in it (RFC 1123, section 2.1)")
    }
}

fn check_path_name(text: &str) -> Result<(), &'static str> {
    if text.starts_with(['.', '-']) {
        return Err("it begins with '.' or '-'");
    }
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')) {
        Ok(())
    } else {
        Err("only letters, digits, '-', '_' and '.' may stand in it")
    }
}

text_id! {
    /// Name of a node: a host name (RFC 1123).
    NodeName, "a node name", 253, check_host_name
}
text_id! {
    /// Name of an image; also the name of its directory.
    ImageName, "an image name", 64, check_path_name
}
text_id! {
    /// Name of a profile.
    ProfileName, "a profile name", 64, check_path_name
}
text_id! {
    /// Name of an overlay; also the name of its directory.
    OverlayName, "an overlay name", 64, check_path_name
}
text_id! {
    /// Name of a rack: whatever shares an uplink.
    RackName, "a rack name", 64, check_path_name
}

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
                } else {
                    <[u8; $len]>::deserialize(deserializer).map(Self)
                }
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; $len];
                if text.len() != $len * 2 {
                    return refuse(text, $what, concat!("it is not the hexadecimal form of ", $len, " bytes"));
                }
                match HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut bytes) {
                    Ok(_) => Ok(Self(bytes)),
                    Err(_) => refuse(text, $what, "it has a character that is not hexadecimal"),
                }
            }
        }

        impl fmt::Display for $name {
            /// Lower-case hexadecimal; a precision cuts it: `{:.12}`.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self:.12}")
            }
        }
    };
}

bytes_id! {
    /// A BLAKE3 hash.
    Hash, 32, "a hash"
}
bytes_id! {
    /// Identity of one immutable version of an image: the BLAKE3 hash of its encoded manifest header.
    VersionId, 32, "an image version"
}
bytes_id! {
    /// An ed25519 public key: of a cluster, a head or a node.
    PublicKey, 32, "a public key"
}
bytes_id! {
    /// Random identity of one boot (one life of one agent).
    BootId, 16, "a boot id"
}

impl Hash {
    /// The BLAKE3 hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// An Ethernet MAC address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// With dashes, as iPXE's `${mac:hexhyp}` prints it; fit for file names and URLs.
    pub fn dashed(self) -> String {
        self.to_string().replace(':', "-")
    }
}

impl FromStr for Mac {
    type Err = ParseIdError;

    /// Six pairs of hexadecimal digits, all separated by ':' or all by '-'.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let what = "a MAC address";
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut mac = [0; 6];
        let mut parts = text.split(separator);
        for byte in &mut mac {
            match parts.next() {
                Some(part) if part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()) => {
                    *byte = u8::from_str_radix(part, 16).unwrap_or_default();
                }
                _ => return refuse(text, what, "it is not six pairs of hexadecimal digits like 52:54:00:12:34:56"),
            }
        }
        if parts.next().is_some() {
            return refuse(text, what, "it has more than six parts");
        }
        Ok(Self(mac))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        f.pad(&format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            <[u8; 6]>::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_are_host_names() {
        for good in ["n1", "node-001", "c1.rack2.example", "N0001"] {
            assert_eq!(good.parse::<NodeName>().unwrap().as_str(), good);
        }
        for bad in ["", "-n1", "n1-", "a..b", "n_1", "n 1", "n1/../x", &"x".repeat(64)] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn image_names_stay_inside_their_directory() {
        for bad in ["", ".", "..", ".hidden", "-f", "a/b", "a\0b"] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad:?}");
        }
        assert!("debian-12_x.1".parse::<ImageName>().is_ok());
    }

    #[test]
    fn macs_parse_in_both_forms_and_print_in_one() {
        let mac: Mac = "52-54-00-AB-cd-0f".parse().unwrap();
        assert_eq!(mac.to_string(), "52:54:00:ab:cd:0f");
        assert_eq!(mac.dashed(), "52-54-00-ab-cd-0f");
        for bad in
            ["", "52:54:00:ab:cd", "52:54:00:ab:cd:0f:00", "52:54:00:ab:cd:+f", "5254.00ab.cd0f", "52:54-00:ab:cd:0f"]
        {
            assert!(bad.parse::<Mac>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hashes_round_trip() {
        let hash = Hash::of(b"x");
        assert_eq!(hash.to_string().parse::<Hash>().unwrap(), hash);
        assert_eq!(format!("{hash:.4}").len(), 4);
        assert!("zz".repeat(32).parse::<Hash>().is_err());
    }
}
