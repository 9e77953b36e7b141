//! Complete files, read-only.

use std::path::PathBuf;

use bytes::Bytes;

use super::files::{Named, read_table, read_unit};
use super::{Geometry, StoreError, UnitStore};
use crate::image::{Header, Run, Verified};

/// A complete image: its table is checked when it is opened, its chunks by whoever receives them.
#[derive(Debug)]
pub struct SeedStore {
    geometry: Geometry,
    table: Named,
    blob: Named,
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
        Ok(Self { geometry, table, blob })
    }

    /// All units, for [`crate::net::swarm::Swarm::add_image`].
    pub fn held(&self) -> Vec<Run> {
        vec![Run { first: 0, count: self.geometry.units().total() }]
    }
}

impl UnitStore for SeedStore {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn read(&self, unit: u32) -> Result<Bytes, StoreError> {
        read_unit(&self.geometry, &self.table, &self.blob, unit)
    }

    fn write(&self, _: u32, _: &Verified) -> Result<(), StoreError> {
        Err(StoreError::Sealed { path: self.blob.path.clone() })
    }

    fn seal(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
