//! What pax extended headers say of an entry beside its ustar header (POSIX.1-2017, pax; GNU tar manual, "Sparse Formats";
//! star(5), SCHILY.*; libarchive tar(5)).

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt as _;

/// Longest map of a sparse file that is read. Bytes.
const SPARSE_MAP_MAX: usize = 16 << 20;
const BLOCK: usize = 512;

/// The extended header of one entry, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: Vec<(OsString, Vec<u8>)>,
    /// Access control lists as text: for access and, of directories, by default.
    pub(super) acl_access: Option<String>,
    pub(super) acl_default: Option<String>,
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    /// Name and size of a sparse file in format 1.0.
    pub(super) sparse: Option<(Vec<u8>, u64)>,
}

impl Pax {
    /// Takes the records of an extended header: each is its length in decimal, a blank, `key=value`, and a line feed.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub(super) fn parse(&mut self, mut records: &[u8]) -> Result<(), String> {
        let wrong = || "has an extended header that is damaged".to_owned();
        while !records.is_empty() {
            let blank = records.iter().take(20).position(|&byte| byte == b' ').ok_or_else(wrong)?;
            let len = std::str::from_utf8(&records[..blank]).ok().and_then(|len| len.parse::<usize>().ok());
            let len = len.filter(|&len| len > blank + 1 && len <= records.len()).ok_or_else(wrong)?;
            let (record, rest) = records.split_at(len);
            let record = record[blank + 1..].strip_suffix(b"\n").ok_or_else(wrong)?;
            let equals = record.iter().position(|&byte| byte == b'=').ok_or_else(wrong)?;
            let key = std::str::from_utf8(&record[..equals]).map_err(|_| wrong())?;
            self.add(key, &record[equals + 1..])?;
            records = rest;
        }
        Ok(())
    }

    /// Takes one record.
    ///
    /// # Errors
    /// Says what is wrong with a record that changes what the entry is.
    fn add(&mut self, key: &str, value: &[u8]) -> Result<(), String> {
        let text = || std::str::from_utf8(value).map_err(|_| format!("has a record {key} that is not text"));
        let number = || text()?.parse().map_err(|_| format!("has a record {key} that is not a number"));
        if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
            self.xattrs.push((OsString::from(name), value.to_owned()));
        } else if let Some(name) = key.strip_prefix("LIBARCHIVE.xattr.") {
            let name = OsString::from_vec(percent_decode(name.as_bytes()));
            let value = base64(value).ok_or_else(|| format!("has a record {key} that is not base64"))?;
            self.xattrs.push((name, value));
        } else {
            match key {
                "mtime" => self.mtime = Some(parse_time(text()?).ok_or("has an mtime that is not a time")?),
                "SCHILY.acl.access" => self.acl_access = Some(text()?.to_owned()),
                "SCHILY.acl.default" => self.acl_default = Some(text()?.to_owned()),
                "path" => self.path = Some(value.to_owned()),
                "linkpath" => self.link = Some(value.to_owned()),
                "size" => self.size = Some(number()?),
                "uid" => self.uid = Some(number()?),
                "gid" => self.gid = Some(number()?),
                "GNU.sparse.major" if value != b"1" => return Err(OLD_SPARSE.into()),
                "GNU.sparse.map" | "GNU.sparse.numblocks" => return Err(OLD_SPARSE.into()),
                "GNU.sparse.name" => self.sparse.get_or_insert_default().0 = value.to_owned(),
                "GNU.sparse.realsize" => {
                    let size = number()?;
                    self.sparse.get_or_insert_default().1 = size;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

const OLD_SPARSE: &str =
    "is a sparse file in a format of GNU tar before 1.16; pack the archive again without --sparse-version";

/// libarchive leaves the padding out, others do not.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
    data_encoding::BASE64_NOPAD.decode(text.get(..end)?).ok()
}

fn percent_decode(text: &[u8]) -> Vec<u8> {
    let (mut rest, mut plain) = (text, vec![]);
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = &after[2..];
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

/// Seconds with an optional fraction.
fn parse_time(text: &str) -> Option<(i64, u32)> {
    let (secs, fraction) = text.split_once('.').unwrap_or((text, ""));
    let secs: i64 = secs.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    match (text.starts_with('-'), nanos) {
        (true, 1..) => Some((secs.checked_sub(1)?, 1_000_000_000 - nanos)),
        _ => Some((secs, nanos)),
    }
}

/// Reads the map at the head of a sparse file's data: where each piece of the data that follows belongs.
///
/// # Errors
/// Where it is not such a map: pieces overlap, go back, or leave the file.
pub(super) fn read_sparse_map(source: &mut dyn Read, size: u64) -> io::Result<Vec<(u64, u64)>> {
    let (mut text, mut used) = (vec![], 0);
    let mut number = || -> io::Result<u64> {
        loop {
            if let Some(end) = text[used..].iter().position(|&byte| byte == b'\n') {
                let digits = std::str::from_utf8(&text[used..used + end]).ok().and_then(|digits| digits.parse().ok());
                used += end + 1;
                return digits.ok_or_else(|| io::Error::other("a map with something else than numbers"));
            }
            if text.len() - used > 32 || text.len() > SPARSE_MAP_MAX {
                return Err(io::Error::other("a map without an end"));
            }
            let start = text.len();
            text.resize(start + BLOCK, 0);
            source.read_exact(&mut text[start..])?;
        }
    };
    let count = number()?;
    let (mut map, mut at) = (vec![], 0);
    for _ in 0..count {
        let (offset, len) = (number()?, number()?);
        let end = offset.checked_add(len).filter(|&end| offset >= at && end <= size);
        at = end.ok_or_else(|| io::Error::other("a map whose pieces overlap or leave the file"))?;
        map.push((offset, len));
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read() {
        let mut pax = Pax::default();
        for (key, value) in [
            ("mtime", &b"1700000000.25"[..]),
            ("SCHILY.xattr.security.capability", &[1, 0, 255]),
            ("LIBARCHIVE.xattr.user.a%3Db", b"aGk"),
            ("SCHILY.acl.access", b"user::rwx"),
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.name", b"real/name"),
            ("GNU.sparse.realsize", b"4096"),
            ("comment", b"whatever"),
        ] {
            pax.add(key, value).unwrap();
        }
        assert_eq!(pax.mtime, Some((1_700_000_000, 250_000_000)));
        assert_eq!(pax.xattrs, [("security.capability".into(), vec![1, 0, 255]), ("user.a=b".into(), b"hi".to_vec())]);
        assert_eq!(pax.sparse, Some((b"real/name".to_vec(), 4096)));
        assert!(Pax::default().add("GNU.sparse.map", b"0,1").is_err());
        assert!(Pax::default().add("mtime", b"soon").is_err());
    }

    #[test]
    fn records_end_where_their_length_says() {
        let mut pax = Pax::default();
        pax.parse(b"27 SCHILY.xattr.user.x=a\nb\n11 uid=1005\n").unwrap_err();
        let mut pax = Pax::default();
        pax.parse(b"28 SCHILY.xattr.user.x=a\nb\n\n13 uid=10050\n").unwrap();
        assert_eq!(pax.xattrs, [("user.x".into(), b"a\nb\n".to_vec())]);
        assert_eq!(pax.uid, Some(10050));
        for bad in [&b"x"[..], b"5 a=b", b"99 a=b\n", b"3 \n", b"6 a-b\n", b"99999999999999999999 a=b\n", b"1 a=b\n"] {
            assert!(Pax::default().parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times_before_1970_have_fractions_too() {
        assert_eq!(parse_time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(parse_time("7"), Some((7, 0)));
        assert_eq!(parse_time("1.123456789123"), Some((1, 123_456_789)));
        for bad in ["", "x", "1.x", "1.-5"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_sparse_map_is_read_to_its_block_or_refused() {
        let block = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(bytes.len().next_multiple_of(512), 0);
            bytes.extend_from_slice(b"data");
            bytes
        };
        let bytes = block("2\n0\n10\n4096\n20\n");
        let mut rest = &bytes[..];
        assert_eq!(read_sparse_map(&mut rest, 5000).unwrap(), [(0, 10), (4096, 20)]);
        assert_eq!(rest, b"data");
        for bad in ["2\n0\n10\n5\n20\n", "1\n4990\n20\n", "1\n18446744073709551615\n5\n", "x\n", &"1".repeat(600)] {
            assert!(read_sparse_map(&mut &block(bad)[..], 5000).is_err(), "{bad}");
        }
        // A count alone allocates nothing.
        assert!(read_sparse_map(&mut &block("18446744073709551615\n")[..], 5000).is_err());
    }
}
