//! Between PID 1 and its child: lines of JSON over the socket that is the child's standard input.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the child asks of PID 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToSupervisor {
    /// The root is ready: move into it and become init.
    Pivot {
        /// Where the assembled root is mounted.
        root: PathBuf,
        /// Absolute path of init inside it.
        init: String,
    },
    /// Restart the machine.
    Reboot,
    /// Switch the machine off.
    Poweroff,
}

/// Why PID 1 could not do it. There is no answer to success: PID 1 is init then, and the socket is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) reason: String,
}

/// The child's end.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
}

impl Channel {
    /// The channel that PID 1 gave this process as standard input; an error if it is something else.
    pub fn from_stdin() -> io::Result<Self> {
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        stream.local_addr()?;
        Ok(Self { stream })
    }

    /// Sends a request and waits for its end: `Ok` when PID 1 has become init, `Err` with its reason when it could not.
    /// For `Reboot` and `Poweroff` it does not return while the machine goes down.
    pub fn request(&mut self, message: &ToSupervisor) -> io::Result<()> {
        send(&mut self.stream, message)?;
        let mut line = String::new();
        match BufReader::new(&self.stream).read_line(&mut line) {
            Ok(0) => Ok(()),
            // PID 1 replaced itself before it had read everything.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Err(error) => Err(error),
            Ok(_) => {
                let failure: Failure = serde_json::from_str(&line).map_err(io::Error::other)?;
                Err(io::Error::other(failure.reason))
            }
        }
    }
}

pub(super) fn send(stream: &mut UnixStream, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_channel_is_success_and_a_line_is_a_failure() {
        for reply in [None, Some("no such init")] {
            let (mut supervisor, stream) = UnixStream::pair().unwrap();
            let mut channel = Channel { stream };
            let asker = std::thread::spawn(move || channel.request(&ToSupervisor::Reboot));
            let mut line = String::new();
            BufReader::new(supervisor.try_clone().unwrap()).read_line(&mut line).unwrap();
            assert_eq!(serde_json::from_str::<ToSupervisor>(&line).unwrap(), ToSupervisor::Reboot);
            if let Some(reason) = reply {
                send(&mut supervisor, &Failure { reason: reason.into() }).unwrap();
            }
            drop(supervisor);
            let result = asker.join().unwrap();
            assert_eq!(result.err().map(|error| error.to_string()).as_deref(), reply);
        }
    }
}
