//! The boot interface: name, up, carrier, address, reachability.
