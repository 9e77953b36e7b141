//! The HTTP boot service: boot script, kernel, initramfs archives.
