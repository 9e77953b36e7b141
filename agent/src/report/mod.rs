//! Events for the head, buffered while it is away.
