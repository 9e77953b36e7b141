//! The `wulf-agent` binary.

fn main() {}
