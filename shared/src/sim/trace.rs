//! The hash of a run: all inputs and outputs, in order.

use core::hash::{Hash, Hasher};

use crate::swarm::{Input, Output};
use crate::time::Mono;

/// A running hash (64-bit FNV-1a over words), the same on every 64-bit machine and in every build profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace(u64);

const PRIME: u64 = 0x0000_0100_0000_01b3;

impl Default for Trace {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    /// The hash so far.
    pub const fn value(self) -> u64 {
        self.0
    }

    pub(super) fn input(&mut self, at: Mono, node: u32, input: &Input) {
        (at.0, node, 0u8, input).hash(self);
    }

    pub(super) fn output(&mut self, node: u32, output: &Output) {
        (node, 1u8, output).hash(self);
    }

    const fn mix(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(PRIME);
        self.0 ^= self.0 >> 29;
    }
}

impl Hasher for Trace {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.mix(u64::from(byte));
        }
    }
    fn write_u8(&mut self, word: u8) {
        self.mix(u64::from(word));
    }
    fn write_u16(&mut self, word: u16) {
        self.mix(u64::from(word));
    }
    fn write_u32(&mut self, word: u32) {
        self.mix(u64::from(word));
    }
    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }
    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }
    fn write_isize(&mut self, word: isize) {
        self.mix(word as u64);
    }
}
