//! `/etc/wulfpack/wulfpack.yaml`: the head's own configuration, its documented default, its paths.
