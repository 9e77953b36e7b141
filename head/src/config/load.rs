//! Reading and checking `wulfpack.yaml`.

use std::io;
use std::path::{Path, PathBuf};

use super::{Config, yaml};

/// The documented default configuration, as `wulf init` writes it.
pub const DEFAULT_YAML: &str = include_str!("default.yaml");

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is none yet.
    #[error("{path:?} does not exist; `wulf init` writes one", path = path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read {path:?}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says something that it must not.
    #[error("{path}: {what}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line and what is wrong there.
        what: String,
    },
}

impl Config {
    /// Reads and checks the file at `path`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ConfigError::Missing { path: path.into() },
            _ => ConfigError::Read { path: path.into(), source },
        })?;
        Self::parse(&text).map_err(|what| ConfigError::Invalid { path: path.into(), what })
    }

    /// Reads and checks a text. The error names line and fix.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = yaml::parse(text)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let ports = [
            ("control", "tcp", self.ports.control),
            ("http", "tcp", self.ports.http),
            ("data", "udp", self.ports.data),
            ("tftp", "udp", self.ports.tftp),
            ("dhcp", "udp", self.ports.dhcp),
        ];
        for (i, (name, protocol, port)) in ports.iter().enumerate() {
            if *port == 0 {
                return Err(format!("ports: {name}: 0 is not a fixed port; choose one from 1 to 65535"));
            }
            let same = ports.iter().take(i).find(|other| (other.1, other.2) == (*protocol, *port));
            if let Some((other, ..)) = same {
                return Err(format!("ports: {name} and {other} both use {protocol} port {port}"));
            }
        }
        for name in self.interfaces.keys() {
            // What the kernel accepts (net/core/dev.c, dev_valid_name).
            if name.is_empty() || name.len() > 15 || name.contains(['/', ':']) || name.contains(char::is_whitespace) {
                return Err(format!("interfaces: {name:?} is not a name of a network interface"));
            }
        }
        for dir in &self.tmpfs_dirs {
            let clean = dir.strip_prefix('/').is_some_and(wulfpack_shared::overlay::is_clean);
            if !clean {
                return Err(format!("tmpfs_dirs: {dir:?} is not an absolute path without '..' and without final '/'"));
            }
        }
        if !self.domain.is_empty() && self.domain.parse::<wulfpack_shared::id::NodeName>().is_err() {
            return Err(format!("domain: {:?} is not a domain name (RFC 1123, section 2.1)", self.domain));
        }
        for (dir, export) in &self.nfs.exports {
            let words = [export.options.as_str()].into_iter().chain(export.clients.iter().map(String::as_str));
            let wrong = |text: &str| {
                text.is_empty() || text.contains(['(', ')', '#', '"', '\\']) || text.contains(char::is_whitespace)
            };
            if !dir.is_absolute() || dir.to_string_lossy().contains(['"', '\n', '\\']) || words.into_iter().any(wrong) {
                return Err(format!(
                    "nfs: exports: {}: an absolute path, options and clients as in exports(5)",
                    dir.display()
                ));
            }
        }
        if self.image.keep == 0 {
            return Err("image: keep: at least one version has to be kept".into());
        }
        if !(10..=480).contains(&self.update_interval) {
            return Err(format!("update_interval: {} is not between 10 and 480 seconds", self.update_interval));
        }
        self.racks.check()?;
        self.dhcp.check()?;
        self.discover.check()
    }
}

#[cfg(test)]
mod tests;
