//! The shell that drives the swarm engine.
