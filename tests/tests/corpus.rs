//! The fuzz targets over their committed corpus and over small mutations of it, the same ones in every run.

use std::fs;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wulfpack_tests::fuzz::{TARGETS, seeds};
use wulfpack_tests::harness::repo_dir;

/// Mutations of each input; the search proper is the fuzzer's.
const MUTATIONS: usize = 400;

fn mutate(rng: &mut ChaCha8Rng, input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=rng.next_u32() % 4 {
        let at = |rng: &mut ChaCha8Rng, len: usize| rng.next_u64() as usize % len.max(1);
        match rng.next_u32() % 4 {
            0 if !bytes.is_empty() => {
                let position = at(rng, bytes.len());
                bytes[position] ^= 1 << (rng.next_u32() % 8);
            }
            1 if !bytes.is_empty() => {
                let position = at(rng, bytes.len());
                bytes[position] = [0, 0x7f, 0x80, 0xfb, 0xfc, 0xfd, 0xff][rng.next_u32() as usize % 7];
            }
            2 => bytes.truncate(at(rng, bytes.len() + 1)),
            _ => {
                let position = at(rng, bytes.len() + 1);
                let more = vec![rng.next_u32() as u8; at(rng, 40)];
                bytes.splice(position..position, more);
            }
        }
    }
    bytes
}

#[test]
fn no_input_of_the_corpus_nor_its_neighbours_breaks_a_parser() {
    for target in TARGETS {
        let folder = repo_dir().join("tests/corpus").join(target.name);
        let mut inputs = seeds(target.name);
        if let Ok(files) = fs::read_dir(&folder) {
            let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
            files.sort();
            inputs.extend(files.iter().map(|file| fs::read(file).unwrap()));
        }
        assert!(!inputs.is_empty(), "{} has no inputs", target.name);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for input in &inputs {
            (target.run)(input);
            for _ in 0..MUTATIONS {
                (target.run)(&mutate(&mut rng, input));
            }
        }
    }
}
