//! Who we are at a registry: from flags, the environment, a file, or a person. Without any of these skopeo looks where
//! `skopeo login`, podman and docker left it.

use std::fs;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::image::Credentials;

/// Longest password. Bytes; tokens of some registries have several thousand.
const PASSWORD_MAX: u64 = 64 * 1024;

/// Flags of whatever speaks to a registry.
#[derive(Args, Debug)]
pub(super) struct CredentialFlags {
    /// User of the registry; default: as `skopeo login`, podman or docker saved it. Also $WULFPACK_OCI_USERNAME.
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// File with the password, `-` for standard input; without it $WULFPACK_OCI_PASSWORD counts, or a person is asked.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Speak plain HTTP to the registry, or TLS without a look at its certificate. Also $WULFPACK_OCI_NOHTTPS.
    #[arg(long)]
    nohttps: bool,
}

/// A setting from the environment, by our name or by Warewulf's.
pub(super) fn setting(name: &str) -> Option<String> {
    let names = [format!("WULFPACK_OCI_{name}"), format!("WAREWULF_OCI_{name}")];
    names.iter().find_map(|name| std::env::var(name).ok()).filter(|value| !value.is_empty())
}

impl CredentialFlags {
    /// Whether the registry may be spoken to without TLS.
    pub(super) fn plain_http(&self) -> bool {
        self.nohttps || setting("NOHTTPS").is_some_and(|value| !matches!(value.as_str(), "0" | "false" | "no"))
    }

    /// The credentials; `None` leaves them to skopeo.
    pub(super) fn read(self, registry: Option<&str>) -> anyhow::Result<Option<Credentials>> {
        let Some(registry) = registry else { return Ok(None) };
        let Some(username) = self.username.or_else(|| setting("USERNAME")) else {
            if self.password_file.is_some() {
                bail!("--password-file needs --username");
            }
            return Ok(None);
        };
        let password = match self.password_file {
            Some(path) => read_password(&path)?,
            None => match setting("PASSWORD") {
                Some(password) => Zeroizing::new(password),
                None => ask(&format!("Password of {username} at {registry}: "))?,
            },
        };
        Ok(Some(Credentials { username, password }))
    }
}

fn read_password(path: &std::path::Path) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().take(PASSWORD_MAX).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(PASSWORD_MAX).read_to_string(&mut text))
    };
    read.with_context(|| format!("cannot read the password from {}", path.display()))?;
    Ok(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned()))
}

/// Asks a person, and shows nothing of the answer.
fn ask(question: &str) -> anyhow::Result<Zeroizing<String>> {
    let terminal = io::stdin();
    if !terminal.is_terminal() {
        bail!("nobody is there to ask for the password; give --password-file or set WULFPACK_OCI_PASSWORD");
    }
    write!(io::stderr().lock(), "{question}")?;
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    let mut answer = Zeroizing::new(String::new());
    let read = terminal.read_line(&mut answer);
    tcsetattr(&terminal, OptionalActions::Flush, &before)?;
    writeln!(io::stderr().lock())?;
    read?;
    Ok(Zeroizing::new(answer.trim_end_matches(['\n', '\r']).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_comes_from_a_file_without_its_line_feed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "s3cret\n").unwrap();
        let flags = |username: Option<&str>| CredentialFlags {
            username: username.map(str::to_owned),
            password_file: Some(file.path().to_owned()),
            nohttps: false,
        };
        let credentials = flags(Some("lisa")).read(Some("localhost:5000")).unwrap().unwrap();
        assert_eq!((credentials.username.as_str(), credentials.password.as_str()), ("lisa", "s3cret"));
        assert!(flags(None).read(Some("localhost:5000")).unwrap_err().to_string().contains("--username"));
        assert!(flags(Some("lisa")).read(None).unwrap().is_none(), "no registry, no password");
    }
}
