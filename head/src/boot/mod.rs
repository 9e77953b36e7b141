//! The boot script and what it points to: rendered for each node from the registry's snapshot, served from memory.
