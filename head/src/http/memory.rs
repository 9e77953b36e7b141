//! Files in memory whose pages the kernel sends as they are: a sealed memfd, mapped. Who sends a part of one finds the file by the
//! part's address, and uses sendfile(2) instead of copying: a third of what a kernel download costs.
#![expect(unsafe_code, reason = "a mapping is made, read and unmapped")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// What is smaller is copied: a call more costs as much. Bytes.
const SMALL: usize = 64 * 1024;

/// Length and file of each mapping, by its first address.
static MAPPINGS: RwLock<BTreeMap<usize, (usize, Arc<OwnedFd>)>> = RwLock::new(BTreeMap::new());

/// The bytes, in a file in memory where there can be one.
pub(crate) fn in_memory(bytes: Vec<u8>) -> Bytes {
    if bytes.len() < SMALL {
        return bytes.into();
    }
    match Mapping::new(&bytes) {
        Ok(mapping) => Bytes::from_owner(mapping),
        Err(error) => {
            tracing::debug!(%error, "no file in memory: what is sent is copied");
            bytes.into()
        }
    }
}

/// The file that this part of a mapping belongs to, and where in it the part begins.
pub(super) fn file_of(part: &[u8]) -> Option<(Arc<OwnedFd>, u64)> {
    if part.len() < SMALL {
        return None;
    }
    let begin = part.as_ptr().addr();
    let mappings = MAPPINGS.read().unwrap_or_else(PoisonError::into_inner);
    let (first, (len, file)) = mappings.range(..=begin).next_back()?;
    let offset = begin - first;
    (offset + part.len() <= *len).then(|| (Arc::clone(file), offset as u64))
}

/// A file that nobody can change any more, mapped.
#[derive(Debug)]
struct Mapping {
    at: *const u8,
    len: usize,
}

// SAFETY: the memory behind the pointer is never written, and unmapped only when this is dropped.
unsafe impl Send for Mapping {}
// SAFETY: see above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(bytes: &[u8]) -> io::Result<Self> {
        let mut file = File::from(memfd_create(c"boot", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
        file.write_all(bytes)?;
        let file = OwnedFd::from(file);
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        let len = bytes.len();
        // SAFETY: the kernel chooses the place; the file has this length and keeps it, it is sealed.
        let at = unsafe { mmap(core::ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, &file, 0) }?;
        let mapping = Self { at: at.cast_const().cast(), len };
        let mut mappings = MAPPINGS.write().unwrap_or_else(PoisonError::into_inner);
        mappings.insert(mapping.at.addr(), (len, Arc::new(file)));
        Ok(mapping)
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the mapping has this length, can be read, and lives as long as this.
        unsafe { core::slice::from_raw_parts(self.at, self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // First: from here on the kernel may give the address to another mapping.
        MAPPINGS.write().unwrap_or_else(PoisonError::into_inner).remove(&self.at.addr());
        // SAFETY: this mapping was made by `new`, and nothing borrows from it any more.
        if let Err(error) = unsafe { munmap(self.at.cast_mut().cast(), self.len) } {
            tracing::error!(%error, "a file in memory stays mapped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_file_in_memory_are_found_until_it_is_gone() {
        let data: Vec<u8> = (0..3 * SMALL).map(|index| (index % 251) as u8).collect();
        let bytes = in_memory(data.clone());
        assert_eq!(bytes, data);
        let part = bytes.slice(SMALL / 2..SMALL * 2);
        drop(bytes);
        assert_eq!(file_of(&part).map(|(_, offset)| offset), Some(SMALL as u64 / 2));
        assert!(file_of(&data).is_none(), "not every memory is a file");
        assert!(file_of(&part[..10]).is_none(), "small parts are copied");
        let begin = part.as_ptr().addr() - SMALL / 2;
        drop(part);
        assert!(!MAPPINGS.read().unwrap().contains_key(&begin));
    }
}
