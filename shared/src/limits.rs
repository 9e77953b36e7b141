//! Every bound in one place. Whatever reads from the network or allocates for it names one of these.

use core::time::Duration;

/// Smallest chunk the chunker cuts, except for the last of a blob. Bytes.
pub const CHUNK_MIN: u32 = 64 * 1024;
/// Average chunk the chunker aims at. Bytes.
pub const CHUNK_AVG: u32 = 256 * 1024;
/// Largest chunk; bounds every receive buffer. Bytes.
pub const CHUNK_MAX: u32 = 1024 * 1024;
/// Most chunks of one image.
pub const CHUNKS_MAX: u32 = 262_144;
/// Size of a page of the chunk table; the last may be shorter. Bytes.
pub const PAGE_LEN: u32 = 256 * 1024;
/// Largest encoded manifest header. Bytes.
pub const HEADER_MAX: usize = 4 * 1024;
/// Most kernels of one image.
pub const KERNELS_MAX: usize = 8;
/// Longest run of units that one request may ask for. Bytes.
pub const RUN_MAX: u64 = 4 * 1024 * 1024;
/// Most units in one run (a run of smallest chunks).
pub const RUN_UNITS_MAX: u32 = (RUN_MAX / CHUNK_MIN as u64) as u32;

/// Largest manifest or index of a container image that is read. Bytes; registries refuse more (distribution-spec, "Pushing Manifests").
pub const OCI_DOCUMENT_MAX: usize = 4 * 1024 * 1024;
/// Most layers of a container image, and most images in an index.
pub const OCI_LAYERS_MAX: usize = 1024;

/// Largest frame on a peer connection's message stream. Bytes. A HAVE of 262,144 single-unit ranges is split below this.
pub const PEER_FRAME_MAX: usize = 64 * 1024;
/// Most ranges in one HAVE.
pub const HAVE_RANGES_MAX: usize = 4096;
/// Largest control request (agent to head). Bytes.
pub const CONTROL_REQUEST_MAX: usize = 256 * 1024;
/// Largest control response (head to agent); a join answer holds the node's overlays. Bytes.
pub const CONTROL_RESPONSE_MAX: usize = 20 * 1024 * 1024;
/// Most bytes of rendered overlays in a join answer.
pub const OVERLAYS_MAX: usize = 16 * 1024 * 1024;
/// Largest membership certificate. Bytes.
pub const CERTIFICATE_MAX: usize = 1024;
/// Most changes of the cluster's key that a certificate explains.
pub const ENDORSEMENTS_MAX: usize = 3;
/// Most peers in one tracker answer.
pub const PEERS_MAX: usize = 64;
/// Most addresses of one peer.
pub const PEER_ADDRS_MAX: usize = 4;
/// Most events in one report.
pub const REPORT_EVENTS_MAX: usize = 256;
/// Longest text in an event or a log line. Bytes.
pub const REPORT_TEXT_MAX: usize = 4096;

/// Most orders, and outcomes of orders, in one message.
pub const ORDERS_MAX: usize = 16;
/// Most contents that a node says it has when it asks for its overlays.
pub const KNOWN_MAX: usize = 4096;
/// Longest that a request of a running node waits for orders.
pub const LISTEN_MAX: Duration = Duration::from_secs(600);

/// Most network interfaces of a machine that is discovered.
pub const DISCOVER_NICS_MAX: usize = 32;
/// Most disks of such a machine.
pub const DISCOVER_DISKS_MAX: usize = 64;
/// Most GPUs of such a machine.
pub const DISCOVER_GPUS_MAX: usize = 32;
/// Longest text that such a machine says of itself. Bytes.
pub const DISCOVER_TEXT_MAX: usize = 128;
/// Largest LLDP frame that is read: a frame of Ethernet without its header and check sum. Bytes.
pub const LLDP_FRAME_MAX: usize = 1500;
/// Most machines that wait to be adopted at a time.
pub const PENDING_MAX: usize = 4096;

/// Active runs each way on a node.
pub const SLOTS: u8 = 4;
/// Neighbours a node keeps.
pub const NEIGHBOURS: u16 = 20;
/// Most connections a node accepts or opens at a time.
pub const NEIGHBOURS_MAX: u16 = 32;
/// Most nodes whose data connections the head keeps at a time.
pub const HEAD_NEIGHBOURS: u16 = 64;

/// How long a join token is good for.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(15 * 60);
/// How long before its issue a certificate is already valid: clocks differ.
pub const CERTIFICATE_BACKDATE: Duration = Duration::from_secs(24 * 3600);
/// How long a certificate is valid after its issue.
pub const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// How far cluster clocks may differ when a certificate is checked.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(10 * 60);

/// TCP port of the head's control plane (libp2p).
pub const CONTROL_PORT: u16 = 9870;
/// UDP port of the swarm's data plane (QUIC), on the head and on nodes.
pub const DATA_PORT: u16 = 9871;
/// TCP port of the head's HTTP boot service.
pub const HTTP_PORT: u16 = 9872;
/// UDP port of TFTP (RFC 1350, section 4).
pub const TFTP_PORT: u16 = 69;
/// Largest DHCPv6 packet: it fits in one frame with the headers of IPv6 and UDP. Bytes.
pub const DHCP6_PACKET_MAX: usize = 1452;
/// Largest TFTP request; a path and options fit in one datagram that no network cuts. Bytes.
pub const TFTP_REQUEST_MAX: usize = 1024;
/// UDP port of the DHCP server (RFC 2131, section 4.1).
pub const DHCP_PORT: u16 = 67;

const _: () = {
    assert!(CHUNK_MIN < CHUNK_AVG && CHUNK_AVG < CHUNK_MAX);
    assert!(CHUNK_MAX as u64 <= RUN_MAX);
    assert!(PAGE_LEN <= CHUNK_MAX);
    assert!(OVERLAYS_MAX < CONTROL_RESPONSE_MAX);
    assert!(KNOWN_MAX * 32 < CONTROL_REQUEST_MAX && ORDERS_MAX * REPORT_TEXT_MAX < CONTROL_REQUEST_MAX);
    // The hashes of all pages of the largest table leave room for the rest of the header.
    assert!((CHUNKS_MAX as usize * crate::image::ENTRY_LEN).div_ceil(PAGE_LEN as usize) * 32 <= HEADER_MAX / 2);
    assert!(CONTROL_PORT < 32_768 && DATA_PORT < 32_768 && HTTP_PORT < 32_768); // below the ephemeral range
};
