//! Every setting of the head, its type and its default. `default.yaml` says the same to an administrator.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wulfpack_shared::limits;

use super::{DhcpConfig, DiscoverConfig, Paths, RacksConfig, Seed, SwarmConfig};

/// The head's configuration: what `wulfpack.yaml` says, with defaults for the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Name of the cluster, for people.
    pub cluster: String,
    /// Domain appended to node names; empty: none.
    pub domain: String,
    /// Name servers that nodes are told; empty: none.
    pub dns: Vec<IpAddr>,
    /// Interfaces of the head on which boot services answer, by name. DHCP runs on no other.
    pub interfaces: BTreeMap<String, Option<InterfaceConfig>>,
    /// Fixed ports.
    pub ports: Ports,
    /// Where everything lies.
    pub paths: Paths,
    /// The DHCP server.
    pub dhcp: DhcpConfig,
    /// Machines that are not in the registry.
    pub discover: DiscoverConfig,
    /// What firmware is given to boot.
    pub boot: BootConfig,
    /// How long nodes serve their image, unless the registry says otherwise: seconds, `10m`, `2h`, `always` or `never`.
    pub seed: Seed,
    /// What nodes take of links and processors for the swarm, unless the registry says otherwise.
    pub swarm: SwarmConfig,
    /// Racks, and how narrow the ways between them are.
    pub racks: RacksConfig,
    /// Directories of every node that become tmpfs of their own over the image's content.
    pub tmpfs_dirs: Vec<String>,
    /// When a node counts as ready.
    pub ready: ReadyConfig,
    /// Versions of images.
    pub image: ImageConfig,
    /// What image builds put into the initramfs in addition to what they find themselves.
    pub initramfs: InitramfsConfig,
    /// How often a running node looks whether it would get other runtime overlays, in seconds, give or take a quarter: 10 to 480.
    pub update_interval: u16,
    /// NFS exports of this host, for `wulf configure nfs`.
    pub nfs: NfsConfig,
    /// Commands that change more nodes than this ask first, or want `--max-nodes` or `--yes`.
    pub max_nodes: u32,
    /// User that `wulf serve` becomes once keys and state are open, before it hears the network; `wulf init` makes it. Where it does
    /// not exist, the service stays root.
    pub user: String,
}

impl Default for Config {
    fn default() -> Self {
        // Container engines and builds need an upper layer that is not itself an overlay (REAL-CLUSTERS, rule 21).
        let tmpfs_dirs = ["/tmp", "/var/tmp", "/var/lib/containers", "/var/lib/docker", "/var/lib/containerd"]
            .map(Into::into)
            .into();
        Self {
            cluster: "cluster".into(),
            domain: String::new(),
            dns: vec![],
            interfaces: BTreeMap::new(),
            ports: Ports::default(),
            paths: Paths::default(),
            dhcp: DhcpConfig::default(),
            discover: DiscoverConfig::default(),
            boot: BootConfig::default(),
            seed: Seed::default(),
            swarm: SwarmConfig::default(),
            racks: RacksConfig::default(),
            tmpfs_dirs,
            ready: ReadyConfig::default(),
            image: ImageConfig::default(),
            initramfs: InitramfsConfig::default(),
            update_interval: 300,
            nfs: NfsConfig::default(),
            max_nodes: 100,
            user: "wulfpack".into(),
        }
    }
}

impl Config {
    /// The settings of the interface with this name; `None` where boot services are off.
    pub fn interface(&self, name: &str) -> Option<InterfaceConfig> {
        self.interfaces.get(name).map(|settings| settings.clone().unwrap_or_default())
    }
}

/// One interface of the head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InterfaceConfig {
    /// Whether the DHCP server answers here.
    pub dhcp: bool,
    /// Whether boot programs are handed out here by TFTP; where nothing is said, where DHCP answers. With `dhcp: false` another
    /// server points here.
    pub tftp: Option<bool>,
    /// What a machine must show before its boot script carries a join token.
    pub token: TokenEvidence,
    /// Addresses of the head that nodes on this interface are told; empty: those that the interface has.
    pub addresses: Vec<IpAddr>,
}

impl Default for InterfaceConfig {
    fn default() -> Self {
        Self { dhcp: true, tftp: None, token: TokenEvidence::default(), addresses: vec![] }
    }
}

/// Evidence for giving a join token (REAL-CLUSTERS, rule 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenEvidence {
    /// The request comes from the address that our DHCP exchange with this MAC address gave.
    #[default]
    Dhcp,
    /// The kernel's neighbour table has that MAC address at the requesting address.
    Neighbour,
    /// An administrator approves each boot.
    Approve,
}

/// Ports of the head. Below the ephemeral range, so that no outgoing connection can occupy one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ports {
    /// TCP: join, tracker, reports.
    pub control: u16,
    /// UDP: the swarm (QUIC).
    pub data: u16,
    /// TCP: boot script, kernel, initramfs.
    pub http: u16,
    /// UDP: the network boot program.
    pub tftp: u16,
    /// UDP: DHCP server.
    pub dhcp: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            control: limits::CONTROL_PORT,
            data: limits::DATA_PORT,
            http: limits::HTTP_PORT,
            tftp: limits::TFTP_PORT,
            dhcp: limits::DHCP_PORT,
        }
    }
}

/// What firmware is given to boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BootConfig {
    /// Shim and GRUB instead of iPXE for UEFI on x86-64, as Secure Boot wants it; a node's `grubboot` goes first.
    pub grub: bool,
    /// Boot programs by architecture (DHCP option 93, as `00:07`), before those that are found by their names; a node's
    /// `boot program` goes first. Warewulf has it below `tftp: ipxe:`.
    pub programs: BTreeMap<String, String>,
    /// Machines that load kernel and initramfs at a time, the others wait at their boot script; 0: no limit.
    pub wave: usize,
    /// Whether nodes that are up give kernel and modules to others of their rack.
    pub neighbours: NeighbourBoot,
}

/// Whether nodes that are up give kernel and modules to others of their rack that boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NeighbourBoot {
    /// All comes from the head.
    #[default]
    Off,
    /// They do, and whoever is root on one of them could give something else: no boot loader verifies it.
    Accept,
}

/// When a node counts as ready (REAL-CLUSTERS, rule 26).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReadyConfig {
    /// What the head does to see for itself, beside the node's own report.
    pub check: ReadyCheck,
    /// TCP port on the node for that.
    pub port: u16,
}

impl Default for ReadyConfig {
    fn default() -> Self {
        Self { check: ReadyCheck::default(), port: 22 }
    }
}

/// How the head sees for itself that a node is up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReadyCheck {
    /// It reads an SSH banner (RFC 4253, section 4.2).
    #[default]
    Ssh,
    /// It connects.
    Tcp,
    /// It believes the node's report.
    None,
}

/// Versions of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImageConfig {
    /// Versions of each image that are kept; one in use is never removed.
    pub keep: u32,
    /// Layers of container images that are kept between imports, in GiB; those used longest ago go first.
    pub cache_gib: u32,
    /// Whether builds compute SELinux labels where an image has a policy.
    pub selinux: bool,
}

impl Default for ImageConfig {
    fn default() -> Self {
        Self { keep: 3, cache_gib: 20, selinux: true }
    }
}

/// What image builds put into the initramfs (REAL-CLUSTERS, rule 12).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InitramfsConfig {
    /// More kernel modules, by name; `infiniband` stands for all InfiniBand adapters with IPoIB and their firmware.
    pub modules: Vec<String>,
    /// More firmware files, relative to the image's firmware directory.
    pub firmware: Vec<String>,
    /// Modules to leave out, by name.
    pub omit: Vec<String>,
}

/// NFS exports of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NfsConfig {
    /// Directories, and how they are exported.
    pub exports: BTreeMap<PathBuf, NfsExport>,
}

/// One export (exports(5)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NfsExport {
    /// Export options.
    pub options: String,
    /// To whom: networks, hosts, netgroups; empty: the networks of the head's interfaces.
    pub clients: Vec<String>,
}

impl Default for NfsExport {
    fn default() -> Self {
        Self { options: "rw,sync".into(), clients: vec![] }
    }
}
