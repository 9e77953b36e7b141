//! Stores that misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use wulfpack_shared::image::Verified;
use wulfpack_shared::net::store::{FetchStore, Geometry, SeedStore, StoreError, UnitStore};

/// Serves wrong bytes from a unit on.
#[derive(Debug)]
pub(crate) struct Liar {
    pub(crate) store: SeedStore,
    pub(crate) from: u32,
}

impl UnitStore for Liar {
    fn geometry(&self) -> &Geometry {
        self.store.geometry()
    }

    fn read(&self, unit: u32) -> Result<Bytes, StoreError> {
        let bytes = self.store.read(unit)?;
        if unit < self.from {
            return Ok(bytes);
        }
        let mut bytes = bytes.to_vec();
        bytes[0] ^= 1;
        Ok(bytes.into())
    }

    fn write(&self, unit: u32, bytes: &Verified) -> Result<(), StoreError> {
        self.store.write(unit, bytes)
    }

    fn seal(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn is_sealed(&self) -> bool {
        self.store.is_sealed()
    }
}

/// Has no room.
#[derive(Debug)]
pub(crate) struct Full {
    pub(crate) store: FetchStore,
}

impl UnitStore for Full {
    fn geometry(&self) -> &Geometry {
        self.store.geometry()
    }

    fn read(&self, unit: u32) -> Result<Bytes, StoreError> {
        self.store.read(unit)
    }

    fn write(&self, _: u32, _: &Verified) -> Result<(), StoreError> {
        Err(StoreError::Full { path: "/full".into(), source: std::io::ErrorKind::StorageFull.into() })
    }

    fn seal(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn is_sealed(&self) -> bool {
        self.store.is_sealed()
    }
}

/// Lets some units be read and holds the reader of the next one, until it is opened.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    left: Arc<AtomicUsize>,
    reached: Arc<Semaphore>,
    opened: Arc<(std::sync::Mutex<bool>, std::sync::Condvar)>,
}

impl Gate {
    pub(crate) fn closed_after(units: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(units)), reached: Arc::new(Semaphore::new(0)), opened: Arc::default() }
    }

    pub(crate) fn before(&self, store: SeedStore) -> Gated {
        Gated { gate: self.clone(), store }
    }

    /// Somebody stands at the gate.
    pub(crate) async fn reached(&self) {
        let reached = tokio::time::timeout(Duration::from_secs(60), self.reached.acquire()).await;
        reached.expect("nobody came to the gate").unwrap().forget();
    }

    pub(crate) fn open(&self) {
        *self.opened.0.lock().unwrap() = true;
        self.opened.1.notify_all();
    }

    fn pass(&self) {
        let take = |left: usize| left.checked_sub(1);
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err() {
            self.reached.add_permits(1);
            let opened = self.opened.0.lock().unwrap();
            drop(self.opened.1.wait_while(opened, |opened| !*opened).unwrap());
        }
    }
}

/// A store behind a gate.
#[derive(Debug)]
pub(crate) struct Gated {
    gate: Gate,
    store: SeedStore,
}

impl UnitStore for Gated {
    fn geometry(&self) -> &Geometry {
        self.store.geometry()
    }

    fn read(&self, unit: u32) -> Result<Bytes, StoreError> {
        self.gate.pass();
        self.store.read(unit)
    }

    fn write(&self, unit: u32, bytes: &Verified) -> Result<(), StoreError> {
        self.store.write(unit, bytes)
    }

    fn seal(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn is_sealed(&self) -> bool {
        self.store.is_sealed()
    }
}
