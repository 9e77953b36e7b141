//! The login check: the head sees for itself that a node answers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{FleetHandle, Input, Output};
use crate::config::{ReadyCheck, ReadyConfig};

/// Longest that one attempt takes.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Pauses between attempts: doubling from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// When the check is given up: services that take longer than this have failed.
const GIVE_UP: Duration = Duration::from_secs(15 * 60);
/// Most checks at a time.
const CHECKS_MAX: usize = 256;
/// Bytes that are read for a banner: a server may send lines before it (RFC 4253, section 4.2).
const BANNER_MAX: usize = 4096;

/// Runs the login checks that the fleet asks for, until it is gone.
pub async fn check_logins(fleet: FleetHandle, config: ReadyConfig, mut asked: mpsc::UnboundedReceiver<Output>) {
    let mut running = JoinSet::new();
    while let Some(Output::Probe { node, started, addr }) = asked.recv().await {
        while running.len() >= CHECKS_MAX {
            running.join_next().await;
        }
        while running.try_join_next().is_some() {}
        let fleet = fleet.clone();
        running.spawn(async move {
            let result = check(config, addr).await;
            fleet.tell(Input::Login { node, started, result });
        });
    }
}

async fn check(config: ReadyConfig, ip: IpAddr) -> Result<(), String> {
    if config.check == ReadyCheck::None {
        return Ok(());
    }
    let addr = SocketAddr::new(ip, config.port);
    let mut last = String::from("it did not answer in time");
    let attempts = async {
        let mut pause = PAUSE.0;
        loop {
            match timeout(ATTEMPT, attempt(config.check, addr)).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => last = format!("no answer for {} s", ATTEMPT.as_secs()),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    };
    let done = timeout(GIVE_UP, attempts).await.is_ok();
    if done { Ok(()) } else { Err(format!("{addr}: {last}")) }
}

async fn attempt(check: ReadyCheck, addr: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(addr).await?;
    if check == ReadyCheck::Tcp {
        return Ok(());
    }
    let (mut banner, mut buffer) = (vec![], [0; 512]);
    loop {
        let count = stream.read(&mut buffer).await?;
        banner.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if has_ssh_banner(&banner) {
            return Ok(());
        }
        if count == 0 || banner.len() > BANNER_MAX {
            return Err(io::Error::other("what answers there is no SSH server"));
        }
    }
}

/// Whether a whole line of `bytes` begins with `SSH-` (RFC 4253, section 4.2).
fn has_ssh_banner(bytes: &[u8]) -> bool {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').and_then(|end| bytes.get(..end));
    whole.is_some_and(|lines| lines.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"SSH-")))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_banner_is_a_whole_line() {
        assert!(has_ssh_banner(b"SSH-2.0-OpenSSH_9.2p1\r\n"));
        assert!(has_ssh_banner(b"Welcome\r\nSSH-2.0-x\r\n"));
        for bad in [&b"SSH-2.0-OpenSSH"[..], b"", b"HTTP/1.1 400\r\n", b"xSSH-2.0\n"] {
            assert!(!has_ssh_banner(bad));
        }
    }

    #[tokio::test]
    async fn the_check_goes_on_until_a_server_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            // The first to answer is not ready yet.
            drop(listener.accept().await.unwrap());
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"SSH-2.0-x\r\n").await.unwrap();
        });
        let config = ReadyConfig { check: ReadyCheck::Ssh, port: addr.port() };
        assert_eq!(check(config, addr.ip()).await, Ok(()));
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_check_of_tcp_connects_and_none_believes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        assert!(attempt(ReadyCheck::Tcp, addr).await.is_ok());
        let none = ReadyConfig { check: ReadyCheck::None, port: 1 };
        assert_eq!(check(none, addr.ip()).await, Ok(()));
    }
}
