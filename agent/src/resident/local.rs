//! `wulf-agent pause` and `resume`: the node's own word to its service, on a unix socket that only root can reach. No head is asked.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use wulfpack_shared::wire::OrderOutcome;

const PAUSE: u8 = b'P';
const RESUME: u8 = b'R';
const DONE: u8 = b'D';
/// A caller that says nothing for so long is not waited for; nor is a service that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What somebody on this node wants.
#[derive(Debug)]
pub(super) struct Wish {
    /// Pause, or resume.
    pub(super) pause: bool,
    /// How it went.
    pub(super) done: oneshot::Sender<OrderOutcome>,
}

/// Listens at `path`, whose directory must be private; a socket of an earlier process is replaced.
pub(super) fn listen(path: &Path) -> io::Result<mpsc::Receiver<Wish>> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    let (wishes, wished) = mpsc::channel(4);
    drop(tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // One after the other: what was said last counts.
            let _nothing_said = timeout(PATIENCE, hear(stream, &wishes)).await;
        }
    }));
    Ok(wished)
}

async fn hear(mut stream: UnixStream, wishes: &mpsc::Sender<Wish>) -> Option<()> {
    let pause = match stream.read_u8().await.ok()? {
        PAUSE => true,
        RESUME => false,
        _ => return None,
    };
    let (done, outcome) = oneshot::channel();
    wishes.send(Wish { pause, done }).await.ok()?;
    if matches!(outcome.await.ok()?, OrderOutcome::Done(_)) {
        stream.write_u8(DONE).await.ok()?;
    }
    Some(())
}

/// Tells the service of this node to pause or resume; returns when it has.
///
/// # Errors
/// No service is there, or it could not do it.
pub async fn pause(path: &Path, pause: bool) -> Result<()> {
    let tell = async {
        let mut stream = UnixStream::connect(path)
            .await
            .with_context(|| format!("no service of a booted node answers at {} (are you root?)", path.display()))?;
        stream.write_u8(if pause { PAUSE } else { RESUME }).await?;
        match stream.read_u8().await {
            Ok(DONE) => Ok(()),
            _ => bail!("the service could not do it; its log says why"),
        }
    };
    timeout(PATIENCE, tell).await.context("the service does not answer")?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wish_is_heard_and_answered_when_it_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        assert!(pause(&path, true).await.is_err());
        let mut wishes = listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for (wanted, outcome, good) in [
            (true, OrderOutcome::Done(String::new()), true),
            (false, OrderOutcome::Done(String::new()), true),
            (false, OrderOutcome::Failed("no".into()), false),
        ] {
            let (told, ()) = tokio::join!(pause(&path, wanted), async {
                let wish = wishes.recv().await.unwrap();
                assert_eq!(wish.pause, wanted);
                wish.done.send(outcome).unwrap();
            });
            assert_eq!(told.is_ok(), good);
        }
    }
}
