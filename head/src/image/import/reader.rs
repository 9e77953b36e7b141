//! Reading tar entry by entry (POSIX.1-2017, pax; GNU tar manual, "Basic Tar Format"). The headers' fields are the tar crate's
//! business; its own walk over an archive splits pax records at line feeds, which extended attributes and access control lists
//! may hold.

use std::io::{self, Read};

use tar::{EntryType, GnuExtSparseHeader, Header};

use super::pax::Pax;
use super::sparse::fill;

const BLOCK: u64 = 512;
/// Longest extended header. Bytes: extended attributes have up to 64 KiB each.
const PAX_MAX: u64 = 64 << 20;
/// Longest name in GNU's form. Bytes.
const NAME_MAX: u64 = 1 << 20;

/// Why an archive cannot be read on.
#[derive(Debug)]
pub(super) enum TarError {
    /// It does not begin as one.
    NotTar,
    /// It ends early or is damaged.
    Broken(io::Error),
    /// This entry cannot be taken.
    Entry(Vec<u8>, String),
}

impl From<io::Error> for TarError {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// One entry, in front of its data.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) header: Header,
    pub(super) pax: Pax,
    /// Pieces of a sparse file in GNU's old form, and its size.
    pub(super) old_sparse: Option<(Vec<(u64, u64)>, u64)>,
}

/// An archive. Reading from it reads the data of the entry that came last.
#[derive(Debug)]
pub(super) struct TarReader<R> {
    source: R,
    /// Data of the current entry that was not read yet, and what fills its last block.
    left: u64,
    padding: u64,
    begun: bool,
    layer: bool,
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if len == 0 {
            return Ok(0);
        }
        let read = self.source.read(&mut buffer[..len])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

impl<R: Read> TarReader<R> {
    pub(super) const fn new(source: R) -> Self {
        Self { source, left: 0, padding: 0, begun: false, layer: false }
    }

    /// A layer of a container image: it may be empty, and end without the blocks that end an archive. Whether it is whole, its
    /// digest tells.
    pub(super) const fn layer(source: R) -> Self {
        Self { source, left: 0, padding: 0, begun: true, layer: true }
    }

    /// What the archive is read from, at its end.
    pub(super) fn into_inner(self) -> R {
        self.source
    }

    /// The next entry; `None` at the end of the archive.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        let (mut pax, mut long_name, mut long_link) = (Pax::default(), None, None);
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size()?;
            self.expect(size);
            match header.entry_type() {
                EntryType::XHeader => {
                    let records = self.all(PAX_MAX)?;
                    pax.parse(&records).map_err(|why| TarError::Entry(header.path_bytes().into_owned(), why))?;
                }
                EntryType::XGlobalHeader => {}
                EntryType::GNULongName => long_name = Some(text(self.all(NAME_MAX)?)),
                EntryType::GNULongLink => long_link = Some(text(self.all(NAME_MAX)?)),
                _ => {
                    if let Some(size) = pax.size {
                        self.expect(size);
                    }
                    let old_sparse =
                        if header.entry_type().is_gnu_sparse() { Some(self.old_map(&header)?) } else { None };
                    let name = pax.path.take().or(long_name).unwrap_or_else(|| header.path_bytes().into_owned());
                    let link = pax.link.take().or(long_link).or_else(|| header.link_name_bytes().map(Into::into));
                    return Ok(Some(Entry { name, link, header, pax, old_sparse }));
                }
            }
        }
    }

    fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
    }

    /// Goes to the next header.
    fn skip(&mut self) -> io::Result<()> {
        let rest = self.left.saturating_add(self.padding);
        let skipped = io::copy(&mut self.source.by_ref().take(rest), &mut io::sink())?;
        (self.left, self.padding) = (0, 0);
        if skipped < rest { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// All data of the current entry.
    fn all(&mut self, limit: u64) -> io::Result<Vec<u8>> {
        if self.left > limit {
            return Err(io::Error::other(format!("a header of more than {limit} bytes")));
        }
        let mut bytes = vec![];
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let read = fill(&mut self.source, block);
        match if self.begun { read? } else { read.unwrap_or(0) } {
            0 if self.layer => return Ok(None),
            len if len as u64 == BLOCK => {}
            _ if !self.begun => return Err(TarError::NotTar),
            _ => return Err(TarError::Broken(io::ErrorKind::UnexpectedEof.into())),
        }
        // Two of them end an archive; without, it was cut off.
        if block.iter().all(|&byte| byte == 0) {
            return if self.begun { Ok(None) } else { Err(TarError::NotTar) };
        }
        // The checksum counts with blanks in its own place.
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        let own: u32 = block[148..156].iter().map(|&byte| u32::from(byte)).sum();
        if header.cksum().ok() != Some(sum - own + 8 * u32::from(b' ')) {
            let error = io::Error::other("a header whose checksum is wrong");
            return Err(if self.begun { TarError::Broken(error) } else { TarError::NotTar });
        }
        self.begun = true;
        Ok(Some(header))
    }

    /// The map of a sparse file in GNU's old form: four pieces in the header, the others in blocks behind it.
    fn old_map(&mut self, header: &Header) -> Result<(Vec<(u64, u64)>, u64), TarError> {
        let wrong = |why: &str| TarError::Entry(header.path_bytes().into_owned(), format!("is sparse with {why}"));
        let gnu = header.as_gnu().ok_or_else(|| wrong("a header that is not GNU's"))?;
        let size = gnu.real_size()?;
        let mut map = vec![];
        let mut at = 0;
        let mut add = |piece: &tar::GnuSparseHeader| -> Result<(), TarError> {
            if piece.is_empty() {
                return Ok(());
            }
            let (offset, len) = (piece.offset()?, piece.length()?);
            let end = offset.checked_add(len).filter(|&end| offset >= at && end <= size);
            at = end.ok_or_else(|| wrong("a map whose pieces overlap or leave the file"))?;
            map.push((offset, len));
            Ok(())
        };
        gnu.sparse.iter().try_for_each(&mut add)?;
        let mut extended = gnu.is_extended();
        while extended {
            let mut more = GnuExtSparseHeader::new();
            self.source.read_exact(more.as_mut_bytes())?;
            more.sparse.iter().try_for_each(&mut add)?;
            extended = more.is_extended();
        }
        Ok((map, size))
    }
}

/// GNU ends long names with a zero.
fn text(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
        bytes.truncate(end);
    }
    bytes
}
