//! What both stores do with files.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{Geometry, StoreError};
use crate::id::Hash;
use crate::image::ChunkTable;
use crate::limits::PAGE_LEN;
use crate::net::buffer::Buffer;

/// A file with its name, for errors.
#[derive(Debug)]
pub(super) struct Named {
    pub file: File,
    pub path: PathBuf,
}

impl Named {
    pub(super) fn open(path: PathBuf) -> Result<Self, StoreError> {
        let file = File::open(&path).map_err(|error| StoreError::io("open", &path, error))?;
        Ok(Self { file, path })
    }

    pub(super) fn len(&self) -> Result<u64, StoreError> {
        Ok(self.file.metadata().map_err(|error| StoreError::io("look at", &self.path, error))?.len())
    }

    pub(super) fn read(&self, offset: u64, len: usize) -> Result<Bytes, StoreError> {
        let mut buffer = Buffer::of(len);
        self.file.read_exact_at(&mut buffer, offset).map_err(|error| self.read_failed(error))?;
        Ok(buffer.freeze())
    }

    fn read_failed(&self, error: io::Error) -> StoreError {
        StoreError::io("read", &self.path, error)
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all_at(bytes, offset).map_err(|error| StoreError::io("write", &self.path, error))
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_all().map_err(|error| StoreError::io("flush", &self.path, error))
    }
}

/// Reads a unit from the two files.
pub(super) fn read_unit(geometry: &Geometry, table: &Named, blob: &Named, unit: u32) -> Result<Bytes, StoreError> {
    let place = geometry.place(unit)?;
    let file = if place.in_table { table } else { blob };
    file.read(place.offset, place.len as usize)
}

/// Reads the table from its file and checks it against the header, page by page; names the first page that is not right.
pub(super) fn read_table(geometry: &Geometry, file: &Named) -> Result<ChunkTable, StoreError> {
    let foreign = |why| StoreError::Foreign { what: "chunk table", path: file.path.clone(), why };
    let (found, expected) = (file.len()?, geometry.units().table_len);
    if found != expected {
        return Err(foreign(format!("it has {found} bytes, the header says {expected}")));
    }
    let bytes = file.read(0, usize::try_from(expected).unwrap_or(usize::MAX))?;
    for (page, bytes) in (0u32..).zip(bytes.chunks(PAGE_LEN as usize)) {
        if geometry.hash(page) != Some(Hash::of(bytes)) {
            return Err(foreign(format!("page {page} does not have the hash that the header says")));
        }
    }
    Ok(ChunkTable::parse(geometry.header(), &bytes)?)
}

/// Makes a change of names in a directory last.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    let result = File::open(dir).and_then(|dir| dir.sync_all());
    result.map_err(|error| StoreError::io("flush", dir, error))
}
