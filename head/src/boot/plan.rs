//! What a node boots: a pure function of registry, image version, head and time.

use std::net::SocketAddr;

use wulfpack_shared::bootargs::{BootArgs, FixedAddress};
use wulfpack_shared::id::{Mac, NodeName, PublicKey, VersionId};
use wulfpack_shared::identity::HeadAddr;
use wulfpack_shared::image::{Header, KernelEntry};
use wulfpack_shared::time::UnixTime;

use super::InitramfsFormat;
use crate::registry::{Interface, Node};

/// Longest command line: `COMMAND_LINE_SIZE` of x86 less the final nul (Linux, Documentation/admin-guide/kernel-parameters.rst).
const COMMAND_LINE_MAX: usize = 2047;
/// Most head addresses that an agent reads from its command line.
const HEADS_MAX: usize = 8;
/// A kernel that panics says so for half a minute, then tries again: neither a silent hang nor a fast loop.
const PANIC: &str = "panic=30";

/// What the head says to every node.
#[derive(Clone, Debug, Default)]
pub struct HeadSettings {
    /// Control planes of the cluster's heads, the preferred one first.
    pub heads: Vec<HeadAddr>,
    /// The cluster's public keys.
    pub cluster: Vec<PublicKey>,
    /// Port on which nodes that are up give kernel and modules, where they do.
    pub neighbour: Option<u16>,
    /// Verbose consoles.
    pub debug: bool,
}

/// One machine that asks for its boot script.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// The node it is.
    pub node: &'a Node,
    /// The interface it asks from.
    pub mac: Mac,
    /// The version that its image resolves to.
    pub version: VersionId,
    /// The header of that version.
    pub header: &'a Header,
    /// How the version's initramfs archives are compressed.
    pub format: InitramfsFormat,
    /// Our HTTP address as the machine sees it.
    pub base: SocketAddr,
    /// The head's time.
    pub now: UnixTime,
    /// Nodes that are up and have this version, to be asked before the head.
    pub neighbours: &'a [SocketAddr],
    /// Its agent tells what it is.
    pub discover: bool,
}

/// One initramfs archive.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Initrd {
    /// Its name for the boot loader.
    pub name: &'static str,
    /// Where it is.
    pub url: String,
    /// Where else it may be, to be asked first.
    pub neighbours: Vec<String>,
}

/// All that the boot script says.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BootPlan {
    /// The node.
    pub node: NodeName,
    /// The interface it boots from.
    pub mac: Mac,
    /// `NAME@ID`, for the console.
    pub image: String,
    /// Release of the kernel.
    pub release: String,
    /// Where the kernel is.
    pub kernel: String,
    /// Where else it may be, to be asked first.
    pub kernel_neighbours: Vec<String>,
    /// Initramfs archives, in the order in which the kernel unpacks them: token, modules, agent.
    pub initrds: Vec<Initrd>,
    /// The kernel command line.
    pub command_line: String,
    /// Our HTTP address as the machine sees it.
    pub base: SocketAddr,
}

/// Why a node cannot boot as the registry wants it to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No such kernel in the image.
    #[error(
        "image {image} has no kernel {asked}, it has {known}: change the node's kernel version or build the image again"
    )]
    Kernel {
        /// The image.
        image: String,
        /// What the registry asks for.
        asked: String,
        /// The image's kernels.
        known: String,
    },
    /// The release cannot stand in a URL.
    #[error("kernel release {0:?} has a character that cannot stand in a URL: rename it in the image's /lib/modules")]
    Release(String),
    /// The command line is too long for the kernel.
    #[error(
        "the kernel command line of {len} bytes is longer than the limit of {COMMAND_LINE_MAX}: shorten the kernel arguments"
    )]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
}

impl BootPlan {
    /// Plans the boot of one node.
    pub fn new(head: &HeadSettings, visit: &Visit<'_>) -> Result<Self, PlanError> {
        let Visit { node, header, base, version, .. } = *visit;
        let kernel = choose_kernel(node, header)?;
        let release = &kernel.version;
        if release.is_empty() || !release.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+~".contains(&b)) {
            return Err(PlanError::Release(release.clone()));
        }
        let files = format!("http://{base}/files/{version}/{release}");
        // The token comes first. The EFI stub puts archives together without a gap (Linux 6.1, drivers/firmware/efi/libstub/file.c),
        // and a plain cpio archive behind a compressed one of odd length is not seen (init/initramfs.c).
        let elsewhere = |file: &str| -> Vec<String> {
            let url = |neighbour| format!("http://{neighbour}/files/{version}/{release}/{file}");
            visit.neighbours.iter().map(url).collect()
        };
        let initrd = |name, url, neighbours| Initrd { name, url, neighbours };
        let initrds = vec![
            initrd("token", format!("http://{base}/boot/{}/token", visit.mac.dashed()), vec![]),
            initrd("modules", format!("{files}/modules"), elsewhere("modules")),
            // The agent is the head's, current at each boot, and in nobody's manifest.
            initrd("agent", format!("http://{base}/agent/{}", visit.format), vec![]),
        ];
        let command_line = command_line(head, visit, kernel, &initrds)?;
        Ok(Self {
            node: node.name.clone(),
            mac: visit.mac,
            image: format!("{}@{version:.12}", header.name),
            release: release.clone(),
            kernel: format!("{files}/kernel"),
            kernel_neighbours: elsewhere("kernel"),
            initrds,
            command_line,
            base,
        })
    }
}

/// Where a boot's files are on whatever server the loader itself came from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Paths {
    kernel: String,
    initrds: Vec<String>,
}

impl BootPlan {
    /// The paths of kernel and archives without the server.
    pub(super) fn paths(&self) -> Paths {
        let server = format!("http://{}", self.base);
        let path = |url: &String| url.strip_prefix(&server).unwrap_or(url).to_owned();
        Paths { kernel: path(&self.kernel), initrds: self.initrds.iter().map(|initrd| path(&initrd.url)).collect() }
    }
}

/// The kernel with the release that the registry names, else the first that begins with it, else the image's default.
pub fn choose_kernel<'a>(node: &Node, header: &'a Header) -> Result<&'a KernelEntry, PlanError> {
    let asked = node.kernel_version.as_deref();
    let by_prefix =
        || header.kernels.iter().find(|kernel| asked.is_some_and(|asked| kernel.version.starts_with(asked)));
    header.kernel(asked).or_else(by_prefix).ok_or_else(|| PlanError::Kernel {
        image: header.name.to_string(),
        asked: asked.unwrap_or("at all").to_owned(),
        known: match header.kernels.as_slice() {
            [] => "none".into(),
            kernels => kernels.iter().map(|kernel| kernel.version.as_str()).collect::<Vec<_>>().join(", "),
        },
    })
}

/// What the agent of a node is told that boots from this interface, and reaches us at `base`.
pub fn boot_args(head: &HeadSettings, node: &Node, mac: Mac, base: SocketAddr, now: UnixTime) -> BootArgs {
    let interface = node.interface(mac);
    // First the address at which this machine reaches us; the sort is stable. Of the other family it has no address yet.
    let of_family = |addr: &&HeadAddr| addr.control.is_ipv4() == base.is_ipv4();
    let mut heads: Vec<_> = head.heads.iter().filter(of_family).cloned().collect();
    heads.sort_by_key(|addr| addr.control.ip() != base.ip());
    heads.truncate(HEADS_MAX);
    BootArgs {
        node: Some(node.name.clone()),
        heads,
        cluster: head.cluster.clone(),
        mac: Some(mac),
        device: interface.and_then(|interface| interface.device.clone()),
        mtu: interface.and_then(|interface| interface.mtu),
        address: interface.and_then(|interface| address(interface, base.is_ipv6())),
        time: Some(now),
        on_fail: node.on_fail,
        neighbour: head.neighbour,
        discover: false,
        debug: head.debug,
    }
}

fn command_line(
    head: &HeadSettings,
    visit: &Visit<'_>,
    kernel: &KernelEntry,
    initrds: &[Initrd],
) -> Result<String, PlanError> {
    let node = visit.node;
    let boot_args = BootArgs {
        // Who has no interface is no node.
        node: (!visit.discover || node.interface(visit.mac).is_some()).then(|| node.name.clone()),
        discover: visit.discover,
        ..boot_args(head, node, visit.mac, visit.base, visit.now)
    };
    // Under UEFI the kernel finds only those archives that its command line names; elsewhere these words do nothing.
    let mut words: Vec<String> = initrds.iter().map(|initrd| format!("initrd={}", initrd.name)).collect();
    words.push(boot_args.to_string());
    let own = if node.kernel_args.is_empty() { &kernel.default_args } else { &node.kernel_args };
    words.extend(own.iter().flat_map(|argument| argument.split_ascii_whitespace()).map(str::to_owned));
    if !words.iter().any(|word| word.starts_with("panic=")) {
        words.push(PANIC.into());
    }
    let line = words.join(" ");
    if line.len() > COMMAND_LINE_MAX {
        return Err(PlanError::TooLong { len: line.len() });
    }
    Ok(line)
}

/// Only a whole address: without its prefix the agent asks by DHCP.
fn address(interface: &Interface, six: bool) -> Option<FixedAddress> {
    if six {
        return Some(FixedAddress { ip: interface.ip6?, prefix: interface.prefix6?, gateway: interface.gateway6 });
    }
    Some(FixedAddress { ip: interface.ip?, prefix: interface.prefix?, gateway: interface.gateway })
}
