//! Where the agent keeps things on the node; all in memory, and all of it is moved along with `/run` at the pivot.

/// Everything of the agent.
pub const RUN: &str = "/run/wulfpack";
/// This binary, for the service of the running system.
pub const AGENT: &str = "/run/wulfpack/wulf-agent";
/// Mount point of the tmpfs that holds the image; its parent is 0700.
pub const IMAGE: &str = "/run/wulfpack/private/image";
/// 0700: keys, certificate, image.
pub const PRIVATE: &str = "/run/wulfpack/private";
/// The layers below the root.
pub const LAYERS: &str = "/run/wulfpack/private/layers";
/// What a process of this boot needs to go on as the same member (0600).
pub const STATE: &str = "/run/wulfpack/private/state";
/// What the overlays made of this node (0600).
pub const OVERLAYS: &str = "/run/wulfpack/private/overlays";
/// Where the child that booted the node waits for the service that takes over (0600).
pub const HANDOVER: &str = "/run/wulfpack/private/handover.sock";
/// Where `wulf-agent pause` and `resume` reach the service (0600).
pub const CONTROL: &str = "/run/wulfpack/private/control.sock";
/// While this file is there, the node gives nothing to the swarm.
pub const PAUSED: &str = "/run/wulfpack/private/paused";
/// The lease of the agent's DHCP client, for the node's network configuration.
pub const LEASE: &str = "/run/wulfpack/lease.json";
/// The assembled root before the pivot.
pub const NEW_ROOT: &str = "/newroot";
/// The kernel arguments of the node that this machine was made while it was up (0600).
pub const ADOPTED: &str = "/run/wulfpack/private/adopted";
/// The join token, from the per-node initrd.
pub const TOKEN: &str = "/wulf/token";
