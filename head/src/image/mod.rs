//! Images: import, build into versions, kernels, agent initramfs, listing, deletion.
