//! Complete files, read-only.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::files::{Named, read_table, read_unit};
use super::{Geometry, StoreError, UnitStore};
use crate::image::{Header, Run, Verified, verify};

/// A complete image: a head's, or that of a node whose service goes on with what another process stored. Nobody's word on the
/// chunks is trusted, and nobody waits for all of them to be hashed: each is checked when it is first read.
#[derive(Debug)]
pub struct SeedStore {
    geometry: Geometry,
    table: Named,
    blob: Named,
    /// Of each unit, whether its bytes were right once.
    checked: Vec<AtomicBool>,
}

impl SeedStore {
    /// Opens the files of an image.
    ///
    /// # Errors
    /// They cannot be read, or are not those of this header.
    pub fn open(header: Header, blob: PathBuf, table: PathBuf) -> Result<Self, StoreError> {
        let geometry = Geometry::new(header);
        let (blob, table) = (Named::open(blob)?, Named::open(table)?);
        let (found, expected) = (blob.len()?, geometry.units().blob_len);
        if found != expected {
            let why = format!("it has {found} bytes, the header says {expected}");
            return Err(StoreError::Foreign { what: "blob", path: blob.path, why });
        }
        let parsed = read_table(&geometry, &table)?;
        geometry.set_table(parsed);
        let checked = (0..geometry.units().total()).map(|_| AtomicBool::new(false)).collect();
        Ok(Self { geometry, table, blob, checked })
    }

    /// All units, for [`crate::net::swarm::Swarm::add_image`].
    pub fn held(&self) -> Vec<Run> {
        vec![Run { first: 0, count: self.geometry.units().total() }]
    }

    /// Checks a unit that was read, unless it was right before. Two readers at once both do it, and find the same.
    fn check(&self, unit: u32, bytes: &Bytes) -> Result<(), StoreError> {
        let Some(checked) = self.checked.get(unit as usize).filter(|checked| !checked.load(Ordering::Relaxed)) else {
            return Ok(());
        };
        let expected = self.geometry.hash(unit).ok_or(StoreError::NoUnit { unit })?;
        // Hashed again if it is wrong: our own memory may have slipped once.
        if verify(&expected, bytes.clone()).or_else(|_| verify(&expected, bytes.clone())).is_err() {
            let file = if self.geometry.units().chunk(unit).is_none() { &self.table } else { &self.blob };
            return Err(StoreError::Rotten { unit, path: file.path.clone() });
        }
        checked.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl UnitStore for SeedStore {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn read(&self, unit: u32) -> Result<Bytes, StoreError> {
        let bytes = read_unit(&self.geometry, &self.table, &self.blob, unit)?;
        self.check(unit, &bytes)?;
        Ok(bytes)
    }

    fn write(&self, _: u32, _: &Verified) -> Result<(), StoreError> {
        Err(StoreError::Sealed { path: self.blob.path.clone() })
    }

    fn seal(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn is_sealed(&self) -> bool {
        true
    }
}
