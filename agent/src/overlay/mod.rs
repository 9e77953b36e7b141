//! Applying overlays inside the new root.
