//! Content-defined chunking (FastCDC 2020, Xia et al.): an edit moves the chunks around it and no others, so that versions
//! and sibling images share most of theirs.

use serde::{Deserialize, Serialize};

use crate::limits::{CHUNK_AVG, CHUNK_MAX, CHUNK_MIN};

/// The algorithm and its parameters; part of the manifest. Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunker {
    algorithm: u8,
    /// Smallest chunk, except for the last.
    pub min: u32,
    /// Aimed average.
    pub avg: u32,
    /// Largest chunk.
    pub max: u32,
}

/// `fastcdc` crate, module `v2020`, normalisation level 1.
const FASTCDC_2020: u8 = 1;

impl Chunker {
    /// What every image is cut with: 64 / 256 / 1024 KiB.
    pub const DEFAULT: Self = Self { algorithm: FASTCDC_2020, min: CHUNK_MIN, avg: CHUNK_AVG, max: CHUNK_MAX };

    /// Whether the parameters respect the limits that receive buffers rely on.
    pub(super) const fn is_sound(&self) -> bool {
        self.algorithm == FASTCDC_2020 && self.min <= self.avg && self.avg <= self.max && self.max <= CHUNK_MAX
    }
}

/// Cuts what `source` yields and hands each chunk's bytes to `each`, in order.
pub fn cut<R: std::io::Read>(source: R, mut each: impl FnMut(Vec<u8>)) -> std::io::Result<()> {
    let Chunker { min, avg, max, .. } = Chunker::DEFAULT;
    for chunk in fastcdc::v2020::StreamCDC::new(source, min as usize, avg as usize, max as usize) {
        each(chunk.map_err(std::io::Error::other)?.data);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;
    use crate::id::Hash;

    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        ChaCha8Rng::seed_from_u64(7).fill_bytes(&mut bytes);
        bytes
    }

    fn lens_and_hash(bytes: &[u8]) -> (Vec<usize>, Hash) {
        let (mut lens, mut all) = (vec![], vec![]);
        cut(bytes, |chunk| {
            lens.push(chunk.len());
            all.extend_from_slice(&Hash::of(&chunk).0);
        })
        .unwrap();
        (lens, Hash::of(&all))
    }

    /// If this fails, the cut points have changed: every chunk of every image of every site would move.
    #[test]
    fn golden_cut_points() {
        let (lens, _) = lens_and_hash(&noise(4 << 20));
        assert_eq!(lens.iter().sum::<usize>(), 4 << 20);
        assert_eq!(lens, GOLDEN);
    }

    const GOLDEN: &[usize] = &[
        298186, 319533, 68541, 365637, 779248, 360322, 471144, 537394, 125393, 226948, 213950, 182521, 72934, 103006,
        69547,
    ];

    #[test]
    fn an_edit_moves_only_the_chunks_around_it() {
        let before = noise(16 << 20);
        let mut after = before.clone();
        after.splice(5_000_000..5_000_010, *b"an insertion of other length");
        let mut known = std::collections::BTreeSet::new();
        cut(&before[..], |chunk| {
            known.insert(Hash::of(&chunk));
        })
        .unwrap();
        let mut fresh = 0;
        cut(&after[..], |chunk| fresh += u32::from(!known.contains(&Hash::of(&chunk)))).unwrap();
        assert!((1..=3).contains(&fresh), "{fresh} chunks are new");
    }
}
