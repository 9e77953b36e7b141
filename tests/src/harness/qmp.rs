//! The few words of QEMU's machine protocol that a power switch needs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

const PATIENCE: Duration = Duration::from_secs(10);

/// Sends one command without arguments, such as `system_reset`.
pub(super) fn execute(socket: &Path, command: &str) -> Result<()> {
    let stream = UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut writer = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    lines.next().context("QEMU did not greet")??;
    for command in ["qmp_capabilities", command] {
        writeln!(writer, r#"{{"execute":"{command}"}}"#)?;
        loop {
            let line = lines.next().with_context(|| format!("QEMU did not answer {command}"))??;
            let answer: serde_json::Value = serde_json::from_str(&line)?;
            if answer.get("return").is_some() {
                break;
            }
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {command}: {error}");
            }
            // Everything else is an event.
        }
    }
    Ok(())
}
