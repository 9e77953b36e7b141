//! Running skopeo(1): it speaks to registries and reads the archives of container engines, under the administrator's own
//! containers-policy.json(5), registries.conf(5) and credentials.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use wulfpack_shared::limits::OCI_DOCUMENT_MAX;

use super::auth::AuthFile;
use super::{Credentials, Platform};
use crate::image::ImageError;
use crate::image::error::Doing as _;

/// Longest complaint that is repeated. Bytes.
const WORDS_MAX: u64 = 64 * 1024;
/// How often the size of what has arrived is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How skopeo is run for one source.
#[derive(Debug)]
pub(super) struct Skopeo {
    program: PathBuf,
    auth: Option<AuthFile>,
    plain_http: bool,
}

impl Skopeo {
    /// `registry` is who the credentials are for.
    pub(super) fn new(
        program: &Path,
        registry: Option<&str>,
        credentials: Option<&Credentials>,
        plain_http: bool,
    ) -> Result<Self, ImageError> {
        let auth = registry.zip(credentials).map(|(registry, credentials)| AuthFile::new(registry, credentials));
        Ok(Self { program: program.to_owned(), auth: auth.transpose()?, plain_http })
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(verb).args(["--retry-times", "3"]).stdin(Stdio::null()).stderr(Stdio::piped());
        if let Some(auth) = &self.auth {
            command.arg("--authfile").arg(auth.path());
        }
        command
    }

    /// The manifest or index that `reference` names, byte by byte as the registry has it.
    pub(super) fn inspect(&self, reference: &str) -> Result<Vec<u8>, ImageError> {
        let mut command = self.command("inspect");
        if self.plain_http {
            command.arg("--tls-verify=false");
        }
        command.args(["--raw", "--", reference]).stdout(Stdio::piped());
        let mut child = self.start(&mut command)?;
        let (mut output, errors) = (child.stdout.take(), child.stderr.take());
        let mut document = vec![];
        let words = std::thread::scope(|scope| {
            let words = scope.spawn(|| read_words(errors));
            if let Some(output) = &mut output {
                // One byte more than may be: the parser then says that it is too long.
                output.take(OCI_DOCUMENT_MAX as u64 + 1).read_to_end(&mut document)?;
            }
            // skopeo must not wait for a reader that has enough.
            output.take();
            Ok::<_, io::Error>(words.join().unwrap_or_default())
        });
        let words = words.doing("read from", &self.program)?;
        self.check(child.wait(), reference, &words)?;
        Ok(document)
    }

    /// Copies an image as it is into a layout, its blobs into the directory `blobs`. `look` is called now and then.
    pub(super) fn copy(
        &self,
        reference: &str,
        platform: &Platform,
        layout: &Path,
        blobs: &Path,
        look: impl Fn(),
    ) -> Result<(), ImageError> {
        let mut command = self.command("copy");
        if self.plain_http {
            command.arg("--src-tls-verify=false");
        }
        command.args(["--override-os", &platform.os, "--override-arch", &platform.architecture]);
        if let Some(variant) = &platform.variant {
            command.args(["--override-variant", variant]);
        }
        command.args(["--quiet", "--dest-oci-accept-uncompressed-layers", "--dest-shared-blob-dir"]).arg(blobs);
        command.args(["--", reference]).arg(format!("oci:{}", layout.display())).stdout(Stdio::null());
        let mut child = self.start(&mut command)?;
        let errors = child.stderr.take();
        let (status, words) = std::thread::scope(|scope| {
            let (tell, told) = mpsc::channel();
            // Its error output ends with it. Nobody listens any more only where this thread panics.
            scope.spawn(move || drop(tell.send(read_words(errors))));
            let words = loop {
                look();
                match told.recv_timeout(LOOK) {
                    Err(RecvTimeoutError::Timeout) => {}
                    words => break words.unwrap_or_default(),
                }
            };
            (child.wait(), words)
        });
        self.check(status, reference, &words)
    }

    fn start(&self, command: &mut Command) -> Result<Child, ImageError> {
        command.spawn().map_err(|source| ImageError::NoSkopeo { program: self.program.clone(), source })
    }

    fn check(&self, status: io::Result<ExitStatus>, reference: &str, words: &str) -> Result<(), ImageError> {
        let status = status.doing("wait for", &self.program)?;
        if status.success() {
            return Ok(());
        }
        let why = message(words).unwrap_or_else(|| format!("skopeo ended with {status} and said nothing"));
        if why.contains("no space left on device") {
            return Err(io::Error::from(io::ErrorKind::StorageFull)).doing("write", "the cache of layers");
        }
        Err(ImageError::Source { what: reference.to_owned(), why: format!("{why}{}", advice(&why)) })
    }
}

/// Bytes of unfinished files in a layout that is being written.
pub(super) fn arrived(layout: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(layout) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(fs::Metadata::is_file)
        .map(|file| file.len())
        .sum()
}

fn read_words(errors: Option<impl Read>) -> String {
    let mut words = vec![];
    if let Some(mut errors) = errors {
        // What cannot be read is not repeated; what is too much is read all the same, so that nobody waits for us.
        drop(errors.by_ref().take(WORDS_MAX).read_to_end(&mut words));
        drop(io::copy(&mut errors, &mut io::sink()));
    }
    String::from_utf8_lossy(&words).into_owned()
}

/// The last thing that it complained of: `time="…" level=fatal msg="…"`.
fn message(words: &str) -> Option<String> {
    let line = words.lines().rev().find(|line| !line.trim().is_empty())?;
    let text = line.split_once("msg=").map_or(line, |(_, text)| text);
    // Quoted as in Go, whose quotes are JSON's but for rare characters.
    let text: String = serde_json::from_str(text).unwrap_or_else(|_| text.trim_matches('"').to_owned());
    // Repeats what was asked for, and is said of much that is no matter of names.
    let repeated = text.strip_prefix("Error parsing image name ").and_then(|rest| rest.split_once("\": "));
    Some(repeated.map_or(text.clone(), |(_, cause)| cause.to_owned()))
}

fn advice(why: &str) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
    if says(&["unauthorized", "authentication required", "denied", "invalid username/password"]) {
        " (give --username and --password-file, or log in once with `skopeo login`)"
    } else if says(&["server gave HTTP response to HTTPS client"]) {
        " (--nohttps speaks plain HTTP)"
    } else if says(&["certificate signed by unknown authority"]) {
        " (put the registry's certificate into /etc/containers/certs.d, see containers-certs.d(5))"
    } else if says(&["policy.json"]) {
        " (install the package golang-github-containers-common or containers-common)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_found_in_the_log() {
        let words =
            "time=\"x\" level=warning msg=\"first\"\ntime=\"x\" level=fatal msg=\"reading \\\"a\\\": unauthorized\"\n";
        assert_eq!(message(words).unwrap(), "reading \"a\": unauthorized");
        assert!(advice("reading: unauthorized").contains("--username"));
        assert_eq!(message("\n"), None);
        assert_eq!(message("unknown flag: --x").unwrap(), "unknown flag: --x");
    }

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let skopeo = Skopeo::new(Path::new("/nowhere/skopeo"), None, None, false).unwrap();
        let error = skopeo.inspect("docker://localhost:1/x").unwrap_err().to_string();
        assert!(error.contains("/nowhere/skopeo") && error.contains("install"), "{error}");
    }
}
