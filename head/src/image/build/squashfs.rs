//! Running mksquashfs: the same tree gives the same bytes, and every file is in it or the build fails.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wulfpack_shared::image::{ACLS_FILE, Compression};

use super::excludes::escaped;
use crate::image::error::Doing as _;
use crate::image::{ImageError, Progress};

/// Longest message of mksquashfs that is repeated. Bytes.
const MESSAGE_MAX: usize = 2000;
/// Carries the path of the file with the access control lists to the shell that mksquashfs starts.
const ACLS_VARIABLE: &str = "WULFPACK_ACLS";

/// One run.
pub(super) struct Squash<'a> {
    pub(super) program: &'a Path,
    pub(super) compression: Compression,
    /// For files that are not part of the result.
    pub(super) scratch: &'a Path,
}

impl Squash<'_> {
    /// Packs the tree at `root`, without the content of its directories `but` and without `left_out`, into the file `blob`.
    pub(super) fn pack(
        &self,
        root: &Path,
        (but, left_out): (&[&str], &[PathBuf]),
        acls: Option<&[u8]>,
        blob: &Path,
        progress: &dyn Progress,
    ) -> Result<(), ImageError> {
        progress.stage("Packing the tree", Some(100));
        let mut command = self.command(root, blob);
        let file = self.scratch.join("acls");
        if let Some(acls) = acls {
            std::fs::write(&file, acls).doing("write", &file)?;
            // `F`: with a time of its own, 0; the content is what the command prints.
            command.env(ACLS_VARIABLE, &file);
            command.args(["-p", &format!("{ACLS_FILE} F 0 600 0 0 cat \"${ACLS_VARIABLE}\"")]);
        }
        // A star does not stand for a name that begins with a dot.
        let mut patterns =
            but.iter().flat_map(|name| [format!("{name}/*\n"), format!("{name}/.*\n")]).collect::<String>();
        for path in left_out {
            let line = escaped(path);
            patterns.push_str(std::str::from_utf8(&line).map_err(|_| ImageError::Mksquashfs {
                why: format!("{path:?} cannot be left out: its name is no text"),
            })?);
            patterns.push('\n');
        }
        let list = self.scratch.join("excludes");
        std::fs::write(&list, patterns).doing("write", &list)?;
        command.arg("-wildcards").arg("-ef").arg(&list);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child =
            child.map_err(|source| ImageError::NoMksquashfs { program: self.program.to_owned(), source })?;
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let words = std::thread::scope(|scope| {
            // Both at once: it would wait for whichever nobody reads.
            let errors = scope.spawn(|| errors.map(read_words).unwrap_or_default());
            if let Some(mut output) = output {
                // A pipe that breaks ends the display of progress, nothing else.
                watch(&mut output, |percent| progress.set(percent)).unwrap_or_default();
            }
            errors.join().unwrap_or_default()
        });
        let status = child.wait().doing("wait for", self.program)?;
        let complaint = complaint(&words);
        if status.success() && complaint.is_none() {
            return Ok(());
        }
        let words = complaint.unwrap_or_else(|| format!("it ended with {status} and said nothing"));
        if words.contains("No space left on device") {
            return Err(io::Error::from(io::ErrorKind::StorageFull)).doing("write", blob);
        }
        Err(ImageError::Mksquashfs { why: words })
    }

    fn command(&self, root: &Path, blob: &Path) -> Command {
        let mut command = Command::new(self.program);
        // It would contradict -mkfs-time, and must not make two builds differ.
        command.env_remove("SOURCE_DATE_EPOCH").env("LC_ALL", "C");
        command.arg(root).arg(blob);
        command.args(["-noappend", "-no-recovery", "-reproducible", "-mkfs-time", "0", "-xattrs", "-exit-on-error"]);
        command.args(["-b", "131072", "-progress", "-comp"]).arg(match self.compression {
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
            Compression::Xz => "xz",
        });
        command
    }
}

/// All that it says, up to a limit; what follows is read too, so that it never waits for us.
fn read_words(mut errors: impl Read) -> String {
    let mut words = vec![];
    let limit = 64 * MESSAGE_MAX as u64;
    let read = errors.by_ref().take(limit).read_to_end(&mut words).map(|_| ());
    read.and_then(|()| io::copy(&mut errors, &mut io::sink()).map(|_| ())).unwrap_or_default();
    String::from_utf8_lossy(&words).into_owned()
}

/// What mksquashfs complained of; `None` if only of what does not matter here.
fn complaint(words: &str) -> Option<String> {
    let matters = |line: &&str| {
        let line = line.trim();
        // ACLs travel in a file of their own.
        !line.is_empty() && !line.starts_with("Unrecognised xattr prefix system.posix_acl_")
    };
    let lines: Vec<&str> = words.split(['\n', '\r']).filter(matters).map(str::trim).collect();
    let mut text = lines.join("; ");
    if let Some((end, _)) = text.char_indices().nth(MESSAGE_MAX) {
        text.truncate(end);
    }
    (!text.is_empty()).then_some(text)
}

/// Reads the progress bar, `[===   ] 123/456  27%`, and tells the percentage.
fn watch(output: &mut dyn Read, mut tell: impl FnMut(u64)) -> io::Result<()> {
    let (mut buffer, mut number) = ([0; 4096], 0u64);
    loop {
        let len = output.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        for byte in &buffer[..len] {
            match byte {
                b'0'..=b'9' => number = number.saturating_mul(10).saturating_add(u64::from(byte - b'0')),
                b'%' => {
                    tell(number.min(100));
                    number = 0;
                }
                _ => number = 0,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentage_is_read_from_the_bar() {
        let mut told = vec![];
        let text = "Creating 4.0 filesystem, block size 131072.\r[==/   ]   12/400   3%\r[=====|] 400/400 100%\n";
        watch(&mut text.as_bytes(), |percent| told.push(percent)).unwrap();
        assert_eq!(told, [3, 100]);
    }

    #[test]
    fn only_what_matters_is_a_complaint() {
        assert_eq!(complaint("Unrecognised xattr prefix system.posix_acl_access\n\n"), None);
        assert_eq!(
            complaint("\nFailed to read file x, creating empty file\n").unwrap(),
            "Failed to read file x, creating empty file"
        );
    }
}
