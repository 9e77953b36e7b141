//! The head as first seed: every built version of every image, and new ones as they are built.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use wulfpack_shared::id::{ImageName, VersionId};
use wulfpack_shared::image::Units;
use wulfpack_shared::net::store::SeedStore;
use wulfpack_shared::net::swarm::{Swarm, SwarmEvent};

use crate::fleet::{FleetHandle, ImageEgress, Input, Severity};
use crate::image::{Library, Version};

/// How often the library is looked at. A few `readdir`; notification would miss network file systems.
const INTERVAL: Duration = Duration::from_secs(2);

/// What the head seeds.
#[derive(Debug)]
pub(super) struct Seeds {
    library: Arc<Library>,
    swarm: Arc<Swarm>,
    seeded: Mutex<Vec<Seed>>,
    /// Versions that cannot be seeded; told once.
    broken: Mutex<BTreeSet<VersionId>>,
}

#[derive(Clone, Debug)]
struct Seed {
    image: ImageName,
    version: VersionId,
    bytes: u64,
}

impl Seeds {
    pub(super) fn new(library: Arc<Library>, swarm: Arc<Swarm>) -> Self {
        Self { library, swarm, seeded: Mutex::default(), broken: Mutex::default() }
    }

    /// Looks at the library once and seeds what is new.
    pub(super) async fn look(self: &Arc<Self>) {
        let seeds = Arc::clone(self);
        let opened = tokio::task::spawn_blocking(move || seeds.open_new()).await.unwrap_or_default();
        for (version, store) in opened {
            let (image, id, held) = (version.name().clone(), version.id(), store.held());
            if let Err(error) = self.swarm.add_image(id, Arc::new(store), held).await {
                tracing::error!(%image, %error, "the version is not seeded");
                continue;
            }
            tracing::info!(%image, version = %format_args!("{id:.12}"), "seeding");
            let units = Units::of(version.header());
            let bytes = units.blob_len + units.table_len;
            self.seeded.lock().unwrap_or_else(PoisonError::into_inner).push(Seed { image, version: id, bytes });
        }
    }

    fn open_new(&self) -> Vec<(Version, SeedStore)> {
        let images = self.library.list().unwrap_or_else(|error| {
            tracing::error!(%error, "the images cannot be listed");
            vec![]
        });
        let mut opened = vec![];
        for image in images {
            for summary in image.versions {
                if !self.is_seeded(&summary.id) && !self.is_broken(&summary.id) {
                    opened.extend(self.open(&image.name, summary.id));
                }
            }
        }
        opened
    }

    fn open(&self, image: &ImageName, id: VersionId) -> Option<(Version, SeedStore)> {
        let result = self.library.version(image, id).map_err(|error| error.to_string()).and_then(|version| {
            let store = SeedStore::open(version.header().clone(), version.blob(), version.table());
            store.map(|store| (version, store)).map_err(|error| error.to_string())
        });
        result
            .inspect_err(|error| {
                tracing::error!(%image, version = %format_args!("{id:.12}"), %error, "the version is not seeded");
                self.broken.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
            })
            .ok()
    }

    fn is_seeded(&self, id: &VersionId) -> bool {
        self.seeded.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|seed| seed.version == *id)
    }

    fn is_broken(&self, id: &VersionId) -> bool {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// What was sent of each version since the start.
    pub(super) fn egress(&self) -> Vec<ImageEgress> {
        let seeded = self.seeded.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let egress = |seed: Seed| {
            let sent = self.swarm.summary(&seed.version).served;
            ImageEgress { image: seed.image, version: seed.version, bytes: seed.bytes, sent }
        };
        seeded.into_iter().map(egress).collect()
    }

    fn name(&self, version: &VersionId) -> String {
        let seeded = self.seeded.lock().unwrap_or_else(PoisonError::into_inner);
        let image = seeded.iter().find(|seed| seed.version == *version).map(|seed| seed.image.to_string());
        format!("{}@{version:.12}", image.unwrap_or_default())
    }

    /// Follows the library until dropped.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look().await;
        }
    }

    /// Records what the swarm says, until it has ended.
    pub(super) async fn listen(self: Arc<Self>, fleet: FleetHandle, mut events: mpsc::Receiver<SwarmEvent>) {
        while let Some(event) = events.recv().await {
            let (severity, text) = match event {
                SwarmEvent::Covered { image } => {
                    let name = self.name(&image);
                    (Severity::Info, format!("image {name} is covered: each chunk is on at least two live nodes"))
                }
                SwarmEvent::Misbehaved { peer, what } => {
                    (Severity::Warning, format!("member {peer:.16} broke the swarm's protocol: {what}"))
                }
                SwarmEvent::Rotten { image, unit } => {
                    let name = self.name(&image);
                    let text = format!(
                        "unit {unit} of image {name} went bad on this head's disk and is not sent any more: build the image again"
                    );
                    (Severity::Alarm, text)
                }
                SwarmEvent::StoreFull(why) | SwarmEvent::StoreFailed(why) => {
                    (Severity::Alarm, format!("an image cannot be read: {why}"))
                }
                SwarmEvent::SelfSuspect | SwarmEvent::CorruptFrom { .. } => continue,
                SwarmEvent::PagesComplete { .. }
                | SwarmEvent::Complete { .. }
                | SwarmEvent::Starved { .. }
                | SwarmEvent::AskTracker { .. } => continue,
            };
            tracing::info!("{text}");
            fleet.tell(Input::Event { severity, node: None, text });
        }
    }
}
