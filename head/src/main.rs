//! The `wulf` binary.

fn main() {}
