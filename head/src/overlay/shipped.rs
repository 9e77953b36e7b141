//! The overlays that are built in, so that a head works before its package's data directory is there.
//! A test holds this table against the tree in `assets/overlays`.

/// One built-in overlay.
#[derive(Debug)]
pub(super) struct Shipped {
    pub(super) name: &'static str,
    /// Its `overlay.yaml`; empty if it has none.
    pub(super) rules: &'static str,
    /// Paths below `rootfs`.
    pub(super) files: &'static [(&'static str, Content)],
}

/// What a path holds.
#[derive(Debug)]
pub(super) enum Content {
    Text(&'static str),
    Link(&'static str),
}

/// Includes a file of `assets/overlays`.
macro_rules! asset {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/overlays/", $path))
    };
}

/// Names of the built-in overlays.
pub fn shipped_names() -> impl Iterator<Item = &'static str> {
    OVERLAYS.iter().map(|overlay| overlay.name)
}

/// All of them, by name.
pub(super) const OVERLAYS: &[Shipped] = &[
    Shipped {
        name: "fstab",
        rules: "",
        files: &[("etc/fstab.j2", Content::Text(asset!("fstab/rootfs/etc/fstab.j2")))],
    },
    Shipped {
        name: "hostname",
        rules: "",
        files: &[("etc/hostname.j2", Content::Text(asset!("hostname/rootfs/etc/hostname.j2")))],
    },
    Shipped {
        name: "hosts",
        rules: "",
        files: &[("etc/hosts.j2", Content::Text(asset!("hosts/rootfs/etc/hosts.j2")))],
    },
    Shipped {
        name: "resolv",
        rules: "",
        files: &[("etc/resolv.conf.j2", Content::Text(asset!("resolv/rootfs/etc/resolv.conf.j2")))],
    },
    Shipped {
        name: "ssh.authorized_keys",
        rules: asset!("ssh.authorized_keys/overlay.yaml"),
        files: &[(
            "root/.ssh/authorized_keys.j2",
            Content::Text(asset!("ssh.authorized_keys/rootfs/root/.ssh/authorized_keys.j2")),
        )],
    },
    Shipped {
        name: "ssh.host_keys",
        rules: asset!("ssh.host_keys/overlay.yaml"),
        files: &[
            (
                "etc/ssh/ssh_host_ed25519_key.j2",
                Content::Text(asset!("ssh.host_keys/rootfs/etc/ssh/ssh_host_ed25519_key.j2")),
            ),
            (
                "etc/ssh/ssh_host_ed25519_key.pub.j2",
                Content::Text(asset!("ssh.host_keys/rootfs/etc/ssh/ssh_host_ed25519_key.pub.j2")),
            ),
        ],
    },
    Shipped {
        name: "systemd.networkd",
        rules: "",
        files: &[
            (
                "etc/systemd/network/10-wulf-@net@.link.j2",
                Content::Text(asset!("systemd.networkd/rootfs/etc/systemd/network/10-wulf-@net@.link.j2")),
            ),
            (
                "etc/systemd/network/10-wulf-@net@.network.j2",
                Content::Text(asset!("systemd.networkd/rootfs/etc/systemd/network/10-wulf-@net@.network.j2")),
            ),
            (
                "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
                Content::Link("/lib/systemd/system/systemd-networkd.service"),
            ),
            (
                "etc/systemd/system/network-online.target.wants/systemd-networkd-wait-online.service",
                Content::Link("/lib/systemd/system/systemd-networkd-wait-online.service"),
            ),
        ],
    },
    Shipped {
        name: "wulf-agent",
        rules: "",
        files: &[
            ("etc/systemd/system/multi-user.target.wants/wulf-agent.service", Content::Link("../wulf-agent.service")),
            (
                "etc/systemd/system/wulf-agent.service",
                Content::Text(asset!("wulf-agent/rootfs/etc/systemd/system/wulf-agent.service")),
            ),
        ],
    },
];
