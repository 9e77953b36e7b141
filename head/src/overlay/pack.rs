//! Contents as they travel: what many nodes get is made smaller once, and kept by its hash.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use wulfpack_shared::id::Hash;
use wulfpack_shared::overlay::{Bundle, EntryKind};

/// Smaller contents travel as they are: they are a node's own, or not worth it.
const WORTH_BYTES: usize = 1024;
/// Packed contents that are kept, in bytes together.
const KEPT_BYTES: usize = 32 << 20;
/// Of zstd's levels the one by which a hosts file of ten thousand lines gets smallest in a few milliseconds.
const LEVEL: i32 = 3;

/// Makes contents smaller, each once.
#[derive(Debug, Default)]
pub struct Packer(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    packed: BTreeMap<Hash, Packed>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Packed {
    /// `None`: it does not get smaller.
    frame: Option<Bytes>,
    used: u64,
}

impl Kept {
    fn get(&mut self, hash: &Hash) -> Option<Option<Bytes>> {
        self.clock += 1;
        let known = self.packed.get_mut(hash)?;
        known.used = self.clock;
        Some(known.frame.clone())
    }

    fn put(&mut self, hash: Hash, frame: Option<Bytes>) {
        // What does not get smaller takes room, too: that of its name.
        let size = |frame: &Option<Bytes>| frame.as_ref().map_or(0, Bytes::len) + 128;
        self.bytes += size(&frame);
        if let Some(old) = self.packed.insert(hash, Packed { frame, used: self.clock }) {
            self.bytes -= size(&old.frame);
        }
        while self.bytes > KEPT_BYTES {
            let oldest = self.packed.iter().min_by_key(|(_, packed)| packed.used).map(|(hash, _)| *hash);
            let Some(gone) = oldest.and_then(|hash| self.packed.remove(&hash)) else { return };
            self.bytes -= size(&gone.frame);
        }
    }
}

impl Packer {
    /// The bundles as they travel to a node. Their hashes stay the same.
    pub fn pack(&self, mut bundles: Vec<Bundle>) -> Vec<Bundle> {
        for entry in bundles.iter_mut().flat_map(|bundle| &mut bundle.entries) {
            if let EntryKind::File(bytes) = &entry.kind
                && bytes.len() >= WORTH_BYTES
            {
                let (hash, len) = (Hash::of(bytes), bytes.len() as u64);
                if let Some(zstd) = self.frame(hash, bytes) {
                    entry.kind = EntryKind::Packed { hash, len, zstd };
                }
            }
        }
        bundles
    }

    fn frame(&self, hash: Hash, bytes: &Bytes) -> Option<Bytes> {
        // Held while packing: of many nodes that ask at once the first does the work for all.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get(&hash) {
            return known;
        }
        let frame = zstd::bulk::compress(bytes, LEVEL).ok().filter(|frame| frame.len() < bytes.len()).map(Bytes::from);
        kept.put(hash, frame.clone());
        frame
    }
}

#[cfg(test)]
mod tests {
    use wulfpack_shared::overlay::{Context, Entry, set_hash};

    use super::*;

    fn bundle(contents: &[Bytes]) -> Bundle {
        let entry = |(index, bytes): (usize, &Bytes)| {
            let kind = EntryKind::File(bytes.clone());
            Entry { path: format!("etc/{index}"), kind, mode: 0o644, uid: 0, gid: 0, secret: false }
        };
        let entries = contents.iter().enumerate().map(entry).collect();
        Bundle { name: "x".parse().unwrap(), context: Context::System, entries, reload: vec![] }
    }

    #[test]
    fn what_many_nodes_get_is_packed_once_and_its_hash_stays() {
        let hosts: String = (0..2000).map(|n| format!("10.0.{}.{} node{n}\n", n / 250, n % 250)).collect();
        let noise: Vec<u8> = (0..4096u32).flat_map(|n| Hash::of(&n.to_be_bytes()).0[..1].to_vec()).collect();
        let bundle = bundle(&[Bytes::from(hosts.clone()), Bytes::from_static(b"small"), Bytes::from(noise)]);
        let packer = Packer::default();
        let packed = packer.pack(vec![bundle.clone()]);
        let again = packer.pack(vec![bundle.clone()]);
        let (EntryKind::Packed { zstd: one, len, .. }, EntryKind::Packed { zstd: two, .. }) =
            (&packed[0].entries[0].kind, &again[0].entries[0].kind)
        else {
            panic!("{packed:?}")
        };
        assert_eq!((one.as_ptr(), *len), (two.as_ptr(), hosts.len() as u64), "one copy for both");
        assert!(one.len() * 4 < hosts.len(), "{}", one.len());
        assert_eq!(zstd::bulk::decompress(one, hosts.len()).unwrap(), hosts.as_bytes());
        assert_eq!(packed[0].entries[1..], bundle.entries[1..], "what is small, or gets no smaller, travels as it is");
        assert_eq!(set_hash(&packed, Context::System), set_hash(&[bundle], Context::System));
    }

    #[test]
    fn what_was_used_longest_ago_is_forgotten_first() {
        let mut kept = Kept::default();
        let frame = || Some(Bytes::from(vec![0; KEPT_BYTES / 3]));
        let hash = |n: u8| Hash([n; 32]);
        for n in 0..2 {
            kept.get(&hash(n));
            kept.put(hash(n), frame());
        }
        assert!(kept.get(&hash(0)).is_some());
        kept.get(&hash(2));
        kept.put(hash(2), frame());
        assert!(kept.get(&hash(1)).is_none() && kept.get(&hash(0)).is_some() && kept.get(&hash(2)).is_some());
        assert!(kept.bytes <= KEPT_BYTES);
    }
}
