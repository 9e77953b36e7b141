//! The few words of QEMU's machine protocol that a power switch and a keyboard need.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(10);

/// Sends one command, such as `system_reset`, with its arguments: an object, which may be empty.
pub(super) fn execute(socket: &Path, command: &str, arguments: Value) -> Result<()> {
    let stream = UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut writer = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    lines.next().context("QEMU did not greet")??;
    for (command, arguments) in [("qmp_capabilities", json!({})), (command, arguments)] {
        writeln!(writer, "{}", json!({ "execute": command, "arguments": arguments }))?;
        loop {
            let line = lines.next().with_context(|| format!("QEMU did not answer {command}"))??;
            let answer: Value = serde_json::from_str(&line)?;
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
