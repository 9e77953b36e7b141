//! The registry as every service sees it: what the file says, and machines that have become nodes and are not written there yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use tokio::sync::watch;
use wulfpack_shared::id::NodeName;

use crate::join::Registry;
use crate::registry::{RegistryWatcher, Snapshot};
use crate::store::{Claim, Discoveries, StoreError};

type Claims = Arc<BTreeMap<NodeName, Claim>>;

/// See the file's head.
#[derive(Debug)]
pub struct ClaimedRegistry {
    watcher: Arc<RegistryWatcher>,
    claims: watch::Sender<Claims>,
    /// Held while the store is read, so that what is read last is what counts.
    reading: Mutex<()>,
    made: Mutex<Option<Made>>,
}

/// A snapshot, and what it was made from.
#[derive(Debug)]
struct Made {
    file: Arc<Snapshot>,
    claims: Claims,
    both: Arc<Snapshot>,
}

impl ClaimedRegistry {
    /// The registry with the claims that the store has.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn open(watcher: Arc<RegistryWatcher>, store: &dyn Discoveries) -> Result<Self, StoreError> {
        let claims = Self::read(store)?;
        Ok(Self { watcher, claims: watch::Sender::new(claims), reading: Mutex::default(), made: Mutex::default() })
    }

    fn read(store: &dyn Discoveries) -> Result<Claims, StoreError> {
        Ok(Arc::new(store.claims()?.into_iter().map(|claim| (claim.node.clone(), claim)).collect()))
    }

    /// Takes up what the store has now.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn follow(&self, store: &dyn Discoveries) -> Result<(), StoreError> {
        let _alone = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        self.claims.send_replace(Self::read(store)?);
        Ok(())
    }

    /// The claims, by node.
    pub fn claims(&self) -> Claims {
        Arc::clone(&self.claims.borrow())
    }

    /// Tells of every change of the claims.
    pub fn changes(&self) -> watch::Receiver<Claims> {
        self.claims.subscribe()
    }

    /// The registry with who has become which node.
    pub fn both(&self) -> Arc<Snapshot> {
        self.with_claims(self.watcher.snapshot())
    }

    /// The registry as it is in the file.
    pub fn file(&self) -> Arc<Snapshot> {
        self.watcher.snapshot()
    }

    /// The file's own watcher.
    pub const fn watcher(&self) -> &Arc<RegistryWatcher> {
        &self.watcher
    }

    fn with_claims(&self, file: Arc<Snapshot>) -> Arc<Snapshot> {
        let claims = self.claims();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*made
            && Arc::ptr_eq(&made.file, &file)
            && Arc::ptr_eq(&made.claims, &claims)
        {
            return Arc::clone(&made.both);
        }
        let both = if claims.is_empty() {
            Arc::clone(&file)
        } else {
            Arc::new(file.with_machines(claims.values().map(|claim| (&claim.node, claim.mac))))
        };
        *made = Some(Made { file, claims, both: Arc::clone(&both) });
        both
    }
}

impl Registry for ClaimedRegistry {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.both()
    }

    fn look(&self) -> BoxFuture<'_, Arc<Snapshot>> {
        Box::pin(async move {
            let file = self.watcher.look().await;
            self.with_claims(file)
        })
    }
}
