//! TFTP for the network boot program, bounded.
