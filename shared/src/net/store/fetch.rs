//! Files that are being filled, in a directory of their own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, fallocate};

use super::donors::{DonorUse, Donors};
use super::files::{Named, read_table, read_unit, sync_dir};
use super::{Geometry, StoreError, UnitStore};
use crate::id::Hash;
use crate::image::{Header, Run, SignedHeader, Verified};
use crate::limits::HEADER_MAX;
use crate::wire;

/// The squashfs blob, in a store's directory.
pub const BLOB_FILE: &str = "blob";
/// The pages of the chunk table, joined.
pub const TABLE_FILE: &str = "table";
/// The encoded [`SignedHeader`].
pub const HEADER_FILE: &str = "header";

/// The two files, open for writing.
#[derive(Debug)]
struct Writers {
    table: Named,
    blob: Named,
}

/// An image that is being fetched. The files have their full length from the start; what is in them is known to the engine only.
#[derive(Debug)]
pub struct FetchStore {
    geometry: Geometry,
    table: Named,
    blob: Named,
    writers: RwLock<Option<Writers>>,
    donors: Donors,
    reused: AtomicU64,
    /// Units that an earlier process left.
    known: Vec<Run>,
}

impl FetchStore {
    /// Makes the directory (0700) and the files in it, and reserves their space. What was there of an earlier attempt is replaced.
    ///
    /// # Errors
    /// No space, or the directory cannot be written.
    pub fn create(dir: &Path, signed: &SignedHeader, header: Header) -> Result<Self, StoreError> {
        let geometry = Geometry::new(header);
        match fs::DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(StoreError::io("create", dir, error));
            }
            _ => {}
        }
        let units = geometry.units();
        reserve(&dir.join(TABLE_FILE), units.table_len)?;
        reserve(&dir.join(BLOB_FILE), units.blob_len)?;
        write_atomically(dir, HEADER_FILE, &wire::encode(signed))?;
        Self::open(dir, geometry)
    }

    /// Opens what an earlier process left, and hashes all of it: the runs that are right are the store's units now. Nobody's word
    /// on what is held is trusted across a restart.
    ///
    /// # Errors
    /// The files are missing, unreadable, or of another image.
    pub fn reopen(dir: &Path, signed: &SignedHeader, header: Header) -> Result<(Self, Vec<Run>), StoreError> {
        let path = dir.join(HEADER_FILE);
        let found = Named::open(path.clone())?;
        let encoded = wire::encode(signed);
        let foreign = |why: &str| StoreError::Foreign { what: "header", path: path.clone(), why: why.to_owned() };
        if found.len()? != encoded.len() as u64 || encoded.len() > 2 * HEADER_MAX {
            return Err(foreign("it has another length"));
        }
        if found.read(0, encoded.len())? != encoded {
            return Err(foreign("it is another version's"));
        }
        let mut store = Self::open(dir, Geometry::new(header))?;
        for (file, expected) in
            [(&store.table, store.geometry.units().table_len), (&store.blob, store.geometry.units().blob_len)]
        {
            let found = file.len()?;
            if found != expected {
                let why = format!("it has {found} bytes, the header says {expected}");
                return Err(StoreError::Foreign { what: "file", path: file.path.clone(), why });
            }
        }
        let held = store.rehash()?;
        store.known.clone_from(&held);
        Ok((store, held))
    }

    fn open(dir: &Path, geometry: Geometry) -> Result<Self, StoreError> {
        let (table, blob) = (dir.join(TABLE_FILE), dir.join(BLOB_FILE));
        let writers = Writers { table: writable(table.clone())?, blob: writable(blob.clone())? };
        let (table, blob) = (Named::open(table)?, Named::open(blob)?);
        Ok(Self {
            geometry,
            table,
            blob,
            writers: RwLock::new(Some(writers)),
            donors: Donors::default(),
            reused: AtomicU64::new(0),
            known: Vec::new(),
        })
    }

    /// The runs of units whose bytes are right.
    fn rehash(&self) -> Result<Vec<Run>, StoreError> {
        if let Ok(table) = read_table(&self.geometry, &self.table) {
            self.geometry.set_table(table);
        }
        let mut held: Vec<Run> = Vec::new();
        for unit in 0..self.geometry.units().total() {
            let Some(expected) = self.geometry.hash(unit) else { break };
            if Hash::of(&self.read(unit)?) != expected {
                continue;
            }
            match held.last_mut() {
                Some(last) if last.end() == unit => last.count += 1,
                _ => held.push(Run::one(unit)),
            }
        }
        Ok(held)
    }

    /// Takes chunks over from these files, as soon as the table says which it needs.
    #[must_use]
    pub fn with_donors(self, donors: Donors) -> Self {
        Self { donors, ..self }
    }

    /// What became of the donors' files.
    pub fn donor_uses(&self) -> Vec<DonorUse> {
        self.donors.uses()
    }

    /// Bytes that were taken over from donors.
    pub fn reused(&self) -> u64 {
        self.reused.load(Ordering::Relaxed)
    }

    /// Where the blob lies.
    pub fn blob_path(&self) -> &Path {
        &self.blob.path
    }
}

impl UnitStore for FetchStore {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn read(&self, unit: u32) -> Result<Bytes, StoreError> {
        read_unit(&self.geometry, &self.table, &self.blob, unit)
    }

    fn write(&self, unit: u32, bytes: &Verified) -> Result<(), StoreError> {
        let place = self.geometry.place(unit)?;
        let found = bytes.bytes().len();
        if found != place.len as usize {
            return Err(StoreError::Length { unit, expected: place.len, found });
        }
        let writers = self.writers.read().unwrap_or_else(PoisonError::into_inner);
        let writers = writers.as_ref().ok_or_else(|| StoreError::Sealed { path: self.blob.path.clone() })?;
        let file = if place.in_table { &writers.table } else { &writers.blob };
        file.write(place.offset, bytes.bytes())
    }

    fn take_over(&self) -> Result<Vec<Run>, StoreError> {
        let mut held: Vec<Run> = Vec::new();
        if self.donors.is_empty() {
            return Ok(held);
        }
        for unit in self.geometry.units().pages..self.geometry.units().total() {
            if self.known.iter().any(|run| (run.first..run.end()).contains(&unit)) {
                continue;
            }
            let wanted = self.geometry.hash(unit).zip(self.geometry.len(unit));
            let Some(bytes) = wanted.and_then(|(hash, len)| self.donors.read(&hash, len)) else { continue };
            self.write(unit, &bytes)?;
            self.reused.fetch_add(bytes.bytes().len() as u64, Ordering::Relaxed);
            match held.last_mut() {
                Some(last) if last.end() == unit => last.count += 1,
                _ => held.push(Run::one(unit)),
            }
        }
        Ok(held)
    }

    fn seal(&self) -> Result<(), StoreError> {
        // Writers that are at work finish first: the lock is theirs until then.
        match self.writers.write().unwrap_or_else(PoisonError::into_inner).take() {
            Some(writers) => writers.table.sync().and_then(|()| writers.blob.sync()),
            None => Ok(()),
        }
    }

    fn is_sealed(&self) -> bool {
        self.writers.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

fn writable(path: PathBuf) -> Result<Named, StoreError> {
    let opened = OpenOptions::new().write(true).open(&path);
    Ok(Named { file: opened.map_err(|error| StoreError::io("open", &path, error))?, path })
}

/// Makes a file of this length whose space is taken already, where the file system can do that.
fn reserve(path: &Path, len: u64) -> Result<(), StoreError> {
    let fail = |what, error| StoreError::io(what, path, error);
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    let file = file.map_err(|error| fail("create", error))?;
    match fallocate(&file, FallocateFlags::empty(), 0, len.max(1)) {
        Ok(()) => {}
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            tracing::debug!(path = %path.display(), "the file system cannot reserve space");
        }
        Err(errno) => return Err(fail("reserve space for", errno.into())),
    }
    file.set_len(len).map_err(|error| fail("set the length of", error))
}

fn write_atomically(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let (path, temp) = (dir.join(name), dir.join(format!(".{name}.new")));
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file: File = options.write(true).create(true).truncate(true).mode(0o600).open(&temp)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temp, &path)
    };
    write().map_err(|error| StoreError::io("write", &path, error))?;
    sync_dir(dir)
}
