//! The root file system: tmpfs, loop, squashfs, overlayfs, switch to the real init.
