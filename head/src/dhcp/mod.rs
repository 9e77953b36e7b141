//! The DHCP server: `machine.rs` decides, `io.rs` owns the sockets.
