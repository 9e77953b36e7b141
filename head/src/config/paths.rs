//! Where everything lies on the head.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wulfpack_shared::id::ImageName;

/// Base directories, configurable, and what lies below them, fixed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Paths {
    /// Configuration that people write: `nodes.yaml`.
    pub etc: PathBuf,
    /// State that outlives the process.
    pub state: PathBuf,
    /// Sockets and other things of the running system.
    pub run: PathBuf,
    /// What the package ships.
    pub data: PathBuf,
    /// Overlays of this site.
    pub overlays: PathBuf,
    /// `<arch>/wulf-agent`.
    pub agent: PathBuf,
    /// Network boot programs.
    pub ipxe: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            etc: "/etc/wulfpack".into(),
            state: "/var/lib/wulfpack".into(),
            run: "/run/wulfpack".into(),
            data: "/usr/share/wulfpack".into(),
            overlays: "/var/lib/wulfpack/overlays".into(),
            agent: "/usr/lib/wulfpack".into(),
            ipxe: "/usr/lib/ipxe".into(),
        }
    }
}

impl Paths {
    /// Everything below one directory, as tests and the lab want it: `ROOT/etc/wulfpack`, `ROOT/var/lib/wulfpack`, ….
    pub fn below(root: &Path) -> Self {
        let moved = |path: PathBuf| root.join(path.strip_prefix("/").unwrap_or(&path));
        let Self { etc, state, run, data, overlays, agent, ipxe } = Self::default();
        Self {
            etc: moved(etc),
            state: moved(state),
            run: moved(run),
            data: moved(data),
            overlays: moved(overlays),
            agent: moved(agent),
            ipxe: moved(ipxe),
        }
    }

    /// The registry.
    pub fn nodes_file(&self) -> PathBuf {
        self.etc.join("nodes.yaml")
    }

    /// Public keys that may log in to nodes as root.
    pub fn authorized_keys(&self) -> PathBuf {
        self.etc.join("authorized_keys")
    }

    /// All images, one directory each.
    pub fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    /// One image.
    pub fn image(&self, name: &ImageName) -> PathBuf {
        self.images().join(name.as_str())
    }

    /// Layers of container images, by digest; may be deleted at any time.
    pub fn layers(&self) -> PathBuf {
        self.state.join("layers")
    }

    /// Every state that the registry was in.
    pub fn history(&self) -> PathBuf {
        self.state.join("history")
    }

    /// Secret keys; mode 0700.
    pub fn keys(&self) -> PathBuf {
        self.state.join("keys")
    }

    /// The key that signs for the cluster.
    pub fn cluster_key(&self) -> PathBuf {
        self.keys().join("cluster.key")
    }

    /// The public keys that signed for the cluster before.
    pub fn former_keys(&self) -> PathBuf {
        self.keys().join("cluster.former.json")
    }

    /// The key of this head.
    pub fn head_key(&self) -> PathBuf {
        self.keys().join("head.key")
    }

    /// The secret from which the SSH host keys of all nodes are derived.
    pub fn ssh_key(&self) -> PathBuf {
        self.keys().join("ssh.key")
    }

    /// The embedded database of leases, tokens, boots and events.
    pub fn store(&self) -> PathBuf {
        self.state.join("state.redb")
    }

    /// Agents as they are sent to nodes; may be deleted at any time.
    pub fn packed_agents(&self) -> PathBuf {
        self.state.join("agent")
    }

    /// The socket on which the running head takes the command line's questions.
    pub fn admin_socket(&self) -> PathBuf {
        self.run.join("admin.sock")
    }

    /// The agent for machines of this architecture (as `uname -m` names it).
    pub fn agent_binary(&self, arch: &str) -> PathBuf {
        self.agent.join(arch).join("wulf-agent")
    }

    /// Overlays that the package ships.
    pub fn shipped_overlays(&self) -> PathBuf {
        self.data.join("overlays")
    }
}
