//! Who we are at a registry. A password never stands on a command line: skopeo reads it from a file in memory.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;

use data_encoding::BASE64;
use rustix::fs::{MemfdFlags, memfd_create};
use zeroize::Zeroizing;

use crate::image::ImageError;
use crate::image::error::Doing as _;

/// A user of a registry.
pub struct Credentials {
    /// The name.
    pub username: String,
    /// The password or token.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Credentials as a file (containers-auth.json(5)) that has no name: a child process inherits it.
#[derive(Debug)]
pub(super) struct AuthFile(File);

impl AuthFile {
    /// For the registry with this name.
    pub(super) fn new(registry: &str, credentials: &Credentials) -> Result<Self, ImageError> {
        let Credentials { username, password } = credentials;
        let pair = Zeroizing::new(format!("{username}:{}", password.as_str()));
        let encoded = Zeroizing::new(BASE64.encode(pair.as_bytes()));
        // Neither base64 nor the name of a registry holds what JSON would have to escape.
        let text = Zeroizing::new(format!(r#"{{"auths": {{"{registry}": {{"auth": "{}"}}}}}}"#, encoded.as_str()));
        let name = "registry credentials";
        let fd = memfd_create(name, MemfdFlags::empty()).doing("create a file in memory for", name)?;
        let mut file = File::from(fd);
        file.write_all(text.as_bytes()).doing("write", name)?;
        Ok(Self(file))
    }

    /// Its path for a child process.
    pub(super) fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_reads_the_credentials_and_debug_output_shows_no_password() {
        let credentials = Credentials { username: "lisa".into(), password: Zeroizing::new("s3cret:x".into()) };
        assert!(!format!("{credentials:?}").contains("s3cret"));
        let file = AuthFile::new("localhost:5000", &credentials).unwrap();
        let output = std::process::Command::new("cat").arg(file.path()).output().unwrap();
        let expected = r#"{"auths": {"localhost:5000": {"auth": "bGlzYTpzM2NyZXQ6eA=="}}}"#;
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }
}
