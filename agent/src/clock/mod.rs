//! Stepping the clock.
