//! What of the head is seen inside an image, as Warewulf writes it: `src[:dst[:ro|copy]]`.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How it is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BindMode {
    /// It can be changed.
    ReadWrite,
    /// It cannot.
    ReadOnly,
    /// The file is copied in, if the image has none of the name, and removed afterwards unless it was changed.
    Copy,
}

/// One of the head's files or directories inside an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// On the head; absolute.
    pub source: PathBuf,
    /// In the image; absolute.
    pub target: PathBuf,
    /// How.
    pub mode: BindMode,
}

impl FromStr for Bind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, mode) = match parts.as_slice() {
            [source] => (*source, *source, BindMode::ReadWrite),
            [source, target] => (*source, *target, BindMode::ReadWrite),
            [source, target, "ro"] => (*source, *target, BindMode::ReadOnly),
            [source, target, "rw"] => (*source, *target, BindMode::ReadWrite),
            [source, target, "copy"] => (*source, *target, BindMode::Copy),
            _ => return Err(format!("{text:?} is not SOURCE[:TARGET[:ro|copy]]")),
        };
        // Without a target of its own a source has to be the path that it is in the image.
        let target = if target.is_empty() { source } else { target };
        let absolute = |path: &str| {
            let path = Path::new(path);
            path.is_absolute() && !path.components().any(|part| part == Component::ParentDir)
        };
        for path in [source, target] {
            if !absolute(path) {
                return Err(format!("{path:?} of {text:?} is not an absolute path"));
            }
        }
        Ok(Self { source: source.into(), target: target.into(), mode })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warewulfs_forms_are_understood() {
        for (text, source, target, mode) in [
            ("/opt", "/opt", "/opt", BindMode::ReadWrite),
            ("/srv/rpms:/mnt", "/srv/rpms", "/mnt", BindMode::ReadWrite),
            ("/srv/rpms:/mnt:ro", "/srv/rpms", "/mnt", BindMode::ReadOnly),
            ("/etc/yum.conf::copy", "/etc/yum.conf", "/etc/yum.conf", BindMode::Copy),
        ] {
            let bind: Bind = text.parse().unwrap();
            assert_eq!(bind, Bind { source: source.into(), target: target.into(), mode }, "{text}");
        }
        for bad in ["", "opt", "/opt:mnt", "/opt:/mnt:x", "/a:/b:ro:c", "/opt:/mnt/../../etc"] {
            assert!(bad.parse::<Bind>().is_err(), "{bad}");
        }
    }
}
