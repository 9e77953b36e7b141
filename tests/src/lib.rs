//! What proves Wulfpack: the harness that tests, demo and benchmarks share.
