//! The overlays that are built in, so that a head works before its package's data directory is there. The table is made from the
//! tree in `assets/overlays` when the head is built.

/// One built-in overlay.
#[derive(Debug)]
pub(super) struct Shipped {
    pub(super) name: &'static str,
    /// Its `overlay.yaml`; empty if it has none.
    pub(super) rules: &'static str,
    /// Paths below `rootfs`, each with its permissions.
    pub(super) files: &'static [(&'static str, Content, u32)],
}

/// What a path holds.
#[derive(Debug)]
pub(super) enum Content {
    Text(&'static str),
    Link(&'static str),
}

/// Names of the built-in overlays, and other names for them.
pub fn shipped_names() -> impl Iterator<Item = &'static str> {
    OVERLAYS.iter().map(|overlay| overlay.name).chain(ALIASES.iter().map(|(alias, _)| *alias))
}

/// All of them, by name.
pub(super) const OVERLAYS: &[Shipped] = include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

/// Other names under which a Warewulf file may name them.
const ALIASES: [(&str, &str); 4] = [
    ("debian.interfaces", "ifupdown"),
    ("wwclient", "wulf-agent"),
    ("wwclient.x86_64", "wulf-agent"),
    ("wwclient.aarch64", "wulf-agent"),
];

/// The overlay of this name, or that this name means.
pub(super) fn find(name: &str) -> Option<&'static Shipped> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    OVERLAYS.iter().find(|overlay| overlay.name == name)
}
