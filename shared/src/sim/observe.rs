//! Watching a simulation.

use crate::swarm::{Engine, Input, Output};
use crate::time::Mono;

/// Sees every input and output as it happens. The engine is as it is after the input.
pub trait Observer {
    /// Whether it looks at inputs and outputs at all.
    const WATCHES: bool = true;
    /// A member's engine was told something.
    fn input(&mut self, _at: Mono, _member: u32, _engine: &Engine, _input: &Input) {}
    /// A member's engine said something.
    fn output(&mut self, _at: Mono, _member: u32, _engine: &Engine, _output: &Output) {}
    /// A unit, or a piece of one, was carried. Called when its first byte is at the receiver's link.
    fn transfer(&mut self, _transfer: &Transfer) {}
    /// A unit is verified on a member.
    fn verified(&mut self, _at: Mono, _member: u32, _unit: u32) {}
}

/// Sees nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

impl Observer for Unobserved {
    const WATCHES: bool = false;
}

/// A unit, or a piece of one, carried from one member's link to another's. Times are without latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Who sent it.
    pub from: u32,
    /// Who received it.
    pub to: u32,
    /// Which unit.
    pub unit: u32,
    /// Its bytes.
    pub bytes: u32,
    /// When its first bit left.
    pub begun: Mono,
    /// When its last bit had left.
    pub sent: Mono,
    /// When its last bit had left the sender's rack, if it went through the core; else as `begun`.
    pub left_rack: Mono,
    /// When its last bit had come into the receiver's rack, if it went through the core; else as `begun`.
    pub entered_rack: Mono,
    /// When its last bit had passed the receiver's link.
    pub received: Mono,
}
