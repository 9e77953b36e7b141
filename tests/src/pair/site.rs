//! An image of random bytes in a directory, and members that may have it. Every process that is told the directory makes the same
//! keys and certificates, so that nobody has to join.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use wulfpack_shared::identity::{Membership, Role, SecretKey, SignedMembership};
use wulfpack_shared::image::{Compression, Header, Part, SignedHeader, TableBuilder, cut};
use wulfpack_shared::limits::HEADER_MAX;
use wulfpack_shared::net::clock::ClusterClock;
use wulfpack_shared::net::store::{FetchStore, SeedStore};
use wulfpack_shared::net::tls::{Identity, Trust};
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const WEEK: u64 = 7 * 24 * 3600;

/// The image's directory.
#[derive(Clone, Debug)]
pub struct Site {
    dir: PathBuf,
    /// The image's header.
    pub header: Header,
    /// The same, signed.
    pub signed: SignedHeader,
}

impl Site {
    /// Makes an image of so many bytes.
    pub fn make(dir: &Path, len: usize) -> Result<Self> {
        let mut blob = vec![0; len];
        ChaCha8Rng::seed_from_u64(7).fill_bytes(&mut blob);
        fs::write(dir.join("blob"), &blob).with_context(|| format!("write {len} bytes in {}", dir.display()))?;
        let mut table = TableBuilder::default();
        cut(&blob[..], |chunk| table.push(&chunk))?;
        let (table, count, pages) = table.finish()?;
        fs::write(dir.join("table"), table)?;
        let name = "pair".parse()?;
        let header = Header::new(name, Part::of(&blob), Compression::Gzip, 1, count, pages, vec![], "bench".into());
        let signed = SignedHeader::sign(&header, &cluster_key())?;
        fs::write(dir.join("header"), wire::encode(&signed))?;
        Ok(Self { dir: dir.to_owned(), header, signed })
    }

    /// Opens one that was made.
    pub fn open(dir: &Path) -> Result<Self> {
        let encoded = fs::read(dir.join("header")).with_context(|| format!("read {}", dir.display()))?;
        let signed = wire::decode::<SignedHeader, { 2 * HEADER_MAX }>(&encoded)?;
        let header = signed.verify(&[cluster_key().public()])?;
        Ok(Self { dir: dir.to_owned(), header, signed })
    }

    /// Where the image lies.
    pub fn blob(&self) -> PathBuf {
        self.dir.join("blob")
    }

    /// Member number `n`.
    pub fn identity(&self, n: u16, role: Role) -> Result<Identity> {
        let [high, low] = n.to_be_bytes();
        let mut seed = [100; 32];
        seed[..2].copy_from_slice(&[high, low]);
        let secret = SecretKey::from_seed(seed);
        let membership = Membership {
            subject: secret.public(),
            name: format!("n{n}").parse()?,
            role,
            rack: None,
            not_before: NOW,
            not_after: UnixTime::from_secs(NOW.as_secs() + WEEK),
            epoch: 0,
        };
        let certificate = SignedMembership::sign(&membership, &cluster_key());
        let trust = Trust::new(vec![cluster_key().public()], ClusterClock::at(NOW));
        Identity::new(secret, &certificate, trust).context("a certificate of the bench's own cluster")
    }

    /// A store that has the image.
    pub fn seed_store(&self) -> Result<SeedStore> {
        Ok(SeedStore::open(self.header.clone(), self.blob(), self.dir.join("table"))?)
    }

    /// An empty store in a directory below the image's.
    pub fn fetch_store(&self, name: &str) -> Result<FetchStore> {
        Ok(FetchStore::create(&self.dir.join(name), &self.signed, self.header.clone())?)
    }
}

fn cluster_key() -> SecretKey {
    SecretKey::from_seed([1; 32])
}
