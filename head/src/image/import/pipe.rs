//! A compressed layer as a stream of plain bytes: one thread reads, checks and unpacks while another writes files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sha2::{Digest as _, Sha256};

use crate::image::ImageError;
use crate::image::error::Doing as _;
use crate::image::initramfs::ArchiveCompression;
use crate::image::source::{Descriptor, Digest};

/// Bytes that go from thread to thread at a time.
const PIECE: usize = 256 * 1024;
/// Pieces that may wait.
const WAITING: usize = 16;

/// The plain bytes of a layer.
pub(super) struct Piped {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Piped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.pieces.recv() {
                Ok(piece) => (self.piece, self.at) = (piece?, 0),
                Err(_) => return Ok(0),
            }
        }
        let len = buffer.len().min(self.piece.len() - self.at);
        buffer[..len].copy_from_slice(&self.piece[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

/// Hands the plain bytes of the layer in the file `path` to `work`. What `work` made counts only if all of the file has the
/// digest that the manifest says. `each` is told how far the file was read.
pub(super) fn unpacked<T>(
    layer: &Descriptor,
    path: &Path,
    each: &(dyn Fn(u64) + Sync),
    work: impl FnOnce(Piped) -> Result<T, ImageError>,
) -> Result<T, ImageError> {
    let file = File::open(path).doing("read", path)?;
    let (sender, pieces) = sync_channel(WAITING);
    let (done, digest) = std::thread::scope(|scope| {
        let feeder = scope.spawn(move || feed(file, &sender, each));
        let done = work(Piped { pieces, piece: vec![], at: 0 });
        (done, feeder.join().ok().flatten())
    });
    // Where something went wrong half-way, the rest has to be looked at: was it the layer?
    let digest = match digest {
        Some(digest) => digest,
        None => digest_of(path).doing("read", path)?,
    };
    if digest == layer.digest {
        return done;
    }
    let why = format!("its content has digest {digest}");
    Err(ImageError::Layer { digest: layer.digest.clone(), why })
}

fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut hashing = Hashing { file: File::open(path)?, hasher: Sha256::new(), len: 0, each: &|_| {} };
    io::copy(&mut hashing, &mut io::sink())?;
    Ok(hashing.digest())
}

/// Reads, unpacks, sends. The digest of all that was read, if it was read to its end.
fn feed(file: File, sender: &SyncSender<io::Result<Vec<u8>>>, each: &(dyn Fn(u64) + Sync)) -> Option<Digest> {
    let mut hashing = Hashing { file, hasher: Sha256::new(), len: 0, each };
    match pump(&mut hashing, sender) {
        // What follows the end of a compressed stream belongs to the layer too.
        Ok(true) => io::copy(&mut hashing, &mut io::sink()).ok().map(|_| hashing.digest()),
        Ok(false) => None,
        Err(error) => {
            // Nobody reads any more: then it is of no use either.
            drop(sender.send(Err(error)));
            None
        }
    }
}

/// Whether everything was sent.
fn pump(source: &mut Hashing<'_>, sender: &SyncSender<io::Result<Vec<u8>>>) -> io::Result<bool> {
    let mut magic = vec![];
    source.by_ref().take(8).read_to_end(&mut magic)?;
    let compression = ArchiveCompression::detect(&magic);
    let mut plain = compression.reader(io::Cursor::new(magic).chain(source))?;
    loop {
        let mut piece = vec![];
        plain.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        if piece.is_empty() {
            return Ok(true);
        }
        if sender.send(Ok(piece)).is_err() {
            return Ok(false);
        }
    }
}

/// Counts and hashes what is read.
struct Hashing<'a> {
    file: File,
    hasher: Sha256,
    len: u64,
    each: &'a (dyn Fn(u64) + Sync),
}

impl Hashing<'_> {
    fn digest(self) -> Digest {
        Digest::from_hash(self.hasher.finalize().as_slice())
    }
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read(buffer)?;
        self.hasher.update(&buffer[..len]);
        self.len += len as u64;
        (self.each)(self.len);
        Ok(len)
    }
}
