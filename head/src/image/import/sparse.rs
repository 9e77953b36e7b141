//! Writing files so that what is empty takes no space.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

/// Pages of zeros of this size become holes.
const PAGE: usize = 4096;
/// Read at a time.
const BUFFER: usize = 64 * PAGE;

/// Where copying failed: the two ends need different advice.
#[derive(Debug)]
pub(super) enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

/// Copies all of `source` into the new file `sink`; returns the length. `each` is told of every piece.
pub(super) fn copy(mut source: &mut dyn Read, sink: &File, mut each: impl FnMut(u64)) -> Result<u64, CopyError> {
    let (mut buffer, mut offset) = (vec![0; BUFFER], 0u64);
    loop {
        let len = fill(&mut source, &mut buffer).map_err(CopyError::Read)?;
        if len == 0 {
            break;
        }
        write_at(sink, &buffer[..len], offset).map_err(CopyError::Write)?;
        offset += len as u64;
        each(len as u64);
    }
    sink.set_len(offset).map_err(CopyError::Write)?;
    Ok(offset)
}

/// Writes `bytes` without their empty pages.
pub(super) fn write_at(sink: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let (mut start, mut end) = (0, 0);
    for page in bytes.chunks(PAGE) {
        if page.iter().all(|&byte| byte == 0) {
            sink.write_all_at(&bytes[start..end], offset + start as u64)?;
            start = end + page.len();
        }
        end += page.len();
    }
    sink.write_all_at(&bytes[start..end], offset + start as u64)
}

/// Reads until the buffer is full or the source ends.
pub(super) fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match source.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn empty_pages_become_holes_and_nothing_is_lost() {
        let mut content = vec![0; 3_000_001];
        content[5000] = 1;
        content[1_000_000..1_100_000].fill(7);
        content[2_000_000] = 9;
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut told = 0;
        let len = copy(&mut &content[..], file.as_file(), |bytes| told += bytes).unwrap();
        assert_eq!((len, told), (3_000_001, 3_000_001));
        assert_eq!(std::fs::read(file.path()).unwrap(), content);
        assert!(file.as_file().metadata().unwrap().blocks() * 512 < 500_000, "it has holes");
    }
}
