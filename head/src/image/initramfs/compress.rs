//! Compression of initramfs archives and of the files that go into them.

use std::io::{self, Read, Write};

use liblzma::stream::{Check, Stream};

/// How an initramfs archive is compressed. The kernel tells by the first bytes, archive by archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveCompression {
    /// Not at all.
    None,
    /// gzip, `CONFIG_RD_GZIP`.
    Gzip,
    /// XZ with CRC32, the only check that the kernel knows; `CONFIG_RD_XZ`.
    Xz,
    /// Zstandard, `CONFIG_RD_ZSTD`.
    Zstd,
}

const GZIP: &[u8] = &[0x1f, 0x8b];
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Largest window a zstd archive may ask for: 2^31 bytes, what `zstd --long=31` writes.
const ZSTD_WINDOW_LOG_MAX: u32 = 31;
/// Window of the kernel's own limit for an initramfs is 2^27 bytes; level 19 uses 2^23.
const ZSTD_LEVEL: i32 = 19;

impl ArchiveCompression {
    /// By the first bytes (RFC 1952 §2.3.1; xz file format §2.1.1; RFC 8878 §3.1.1). Anything else is taken for uncompressed.
    pub fn detect(bytes: &[u8]) -> Self {
        match bytes {
            _ if bytes.starts_with(GZIP) => Self::Gzip,
            _ if bytes.starts_with(XZ) => Self::Xz,
            _ if bytes.starts_with(ZSTD) => Self::Zstd,
            _ => Self::None,
        }
    }

    /// Compresses what `fill` writes into `sink`. Equal input gives equal output: no time, no name, one thread.
    pub fn compress<W: Write>(self, sink: W, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<W> {
        match self {
            Self::None => {
                let mut sink = sink;
                fill(&mut sink)?;
                Ok(sink)
            }
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(sink, flate2::Compression::best());
                fill(&mut encoder)?;
                encoder.finish()
            }
            Self::Xz => {
                let stream = Stream::new_easy_encoder(9, Check::Crc32)?;
                let mut encoder = liblzma::write::XzEncoder::new_stream(sink, stream);
                fill(&mut encoder)?;
                encoder.finish()
            }
            Self::Zstd => {
                let mut encoder = zstd::Encoder::new(sink, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                fill(&mut encoder)?;
                encoder.finish()
            }
        }
    }

    /// What `source` holds before this compression.
    pub fn reader<'a, R: Read + 'a>(self, source: R) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::None => Box::new(source),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(source)),
            Self::Xz => Box::new(liblzma::read::XzDecoder::new_multi_decoder(source)),
            Self::Zstd => {
                let mut decoder = zstd::Decoder::new(source)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }
}

/// The plain bytes of a module or firmware file, whatever it is compressed with; plain bytes come back as they are.
///
/// # Errors
/// Where the bytes are damaged or unpack to more than `limit` bytes.
pub(in crate::image) fn unpack(bytes: Vec<u8>, limit: u64) -> io::Result<Vec<u8>> {
    let compression = ArchiveCompression::detect(&bytes);
    if compression == ArchiveCompression::None {
        return Ok(bytes);
    }
    let mut plain = vec![];
    compression.reader(&bytes[..])?.take(limit + 1).read_to_end(&mut plain)?;
    if plain.len() as u64 > limit {
        return Err(io::Error::other(format!("it unpacks to more than {limit} bytes")));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_compression_is_detected_undone_and_the_same_twice() {
        let text = b"070701 and so on ".repeat(1000);
        for compression in
            [ArchiveCompression::None, ArchiveCompression::Gzip, ArchiveCompression::Xz, ArchiveCompression::Zstd]
        {
            let packed = || compression.compress(vec![], |sink| sink.write_all(&text)).unwrap();
            assert_eq!(packed(), packed());
            assert_eq!(ArchiveCompression::detect(&packed()), compression);
            assert_eq!(unpack(packed(), 1 << 20).unwrap(), text);
            if compression != ArchiveCompression::None {
                assert!(unpack(packed(), 1000).is_err(), "{compression:?} passes its limit");
                assert!(unpack(packed()[..20].to_vec(), 1 << 20).is_err(), "{compression:?} accepts half a file");
            }
        }
    }
}
