//! The machine's consoles: every one that the kernel writes to, and the kernel's log.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use nix::libc;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use tokio::io::unix::AsyncFd;

/// Lines kept for the prompt's `log`.
const LOG_LINES: usize = 40;

/// All active consoles. Cheap to clone; all clones write to the same ones.
#[derive(Clone, Debug)]
pub struct Console(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    ttys: Vec<File>,
    kmsg: Option<File>,
    /// A progress line stands on the consoles without an end of line.
    progress: bool,
    log: VecDeque<String>,
}

impl Console {
    /// Opens what `/sys/class/tty/console/active` lists (see the kernel's `Documentation/ABI/testing/sysfs-tty`), else
    /// `/dev/console`, and `/dev/kmsg`. A console that cannot be opened is left out: this never fails.
    pub fn open() -> Self {
        let active = std::fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
        let mut ttys: Vec<File> =
            active.split_whitespace().filter_map(|name| open_tty(&Path::new("/dev").join(name)).ok()).collect();
        if ttys.is_empty() {
            ttys.extend(open_tty(Path::new("/dev/console")));
        }
        let kmsg = OpenOptions::new().write(true).open("/dev/kmsg").ok();
        Self(Arc::new(Mutex::new(Inner { ttys, kmsg, progress: false, log: VecDeque::new() })))
    }

    /// A line that stays: on every console, in the kernel's log, and in the prompt's `log`.
    pub fn line(&self, text: &str) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let clear = if std::mem::take(&mut inner.progress) { "\r\x1b[K" } else { "" };
        inner.write(&format!("{clear}wulf: {text}\r\n"));
        if let Some(kmsg) = &mut inner.kmsg {
            // One write is one record; losing one because the log is full is all right.
            let _lost = kmsg.write(format!("<6>wulf: {text}").as_bytes());
        }
        if inner.log.len() == LOG_LINES {
            inner.log.pop_front();
        }
        inner.log.push_back(text.to_owned());
    }

    /// A line that the next one overwrites; on the consoles only.
    pub fn progress(&self, text: &str) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.progress = true;
        inner.write(&format!("\r\x1b[Kwulf: {text}"));
    }

    /// Text as it is, for the prompt.
    pub fn raw(&self, text: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(text);
    }

    /// The last lines.
    pub fn log(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).log.iter().cloned().collect()
    }

    /// Ways to read keys, one for each console that can be read.
    pub fn keyboards(&self) -> Vec<Keyboard> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.ttys.iter().filter_map(|tty| Keyboard::new(tty).ok()).collect()
    }
}

impl Inner {
    fn write(&mut self, text: &str) {
        for tty in &mut self.ttys {
            // A console that takes nothing now (flow control, no carrier) must not stop the boot.
            let _lost = tty.write(text.as_bytes());
        }
    }
}

fn open_tty(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK).open(path)
}

/// Keys of one console, read raw until dropped; then the terminal is as it was.
#[derive(Debug)]
pub struct Keyboard {
    tty: AsyncFd<File>,
    before: Termios,
}

impl Keyboard {
    fn new(tty: &File) -> io::Result<Self> {
        let tty = tty.try_clone()?;
        let before = tcgetattr(&tty)?;
        let mut raw = before.clone();
        raw.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        tcsetattr(&tty, SetArg::TCSANOW, &raw)?;
        #[expect(unsafe_code, reason = "the safe constructor is deprecated, and this is the whole use")]
        // SAFETY: the registration owns the file, which is closed only when the registration ends.
        let tty = unsafe { AsyncFd::register(tty) }.map_err(io::Error::from)?;
        Ok(Self { tty, before })
    }

    /// The next byte; waits. An error means that this console can be read no more.
    pub async fn next(&mut self) -> io::Result<u8> {
        loop {
            let mut ready = self.tty.readable_mut().await?;
            let mut byte = [0];
            match ready.try_io(|tty| tty.get_mut().read(&mut byte)) {
                Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(Ok(_)) => return Ok(byte[0]),
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // Nothing can be done if the console is gone.
        let _gone = tcsetattr(self.tty.get_ref(), SetArg::TCSANOW, &self.before);
    }
}
