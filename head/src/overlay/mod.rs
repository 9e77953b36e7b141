//! Overlays: templates rendered for one node at request time.
