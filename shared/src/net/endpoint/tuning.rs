//! Link and image to transport parameters.

use core::time::Duration;
use std::sync::Arc;

use quinn::congestion::CubicConfig;
use quinn::{AckFrequencyConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use crate::image::Units;
use crate::limits::{CHUNK_MAX, RUN_MAX};
use crate::manners::{Cap, Manners};

/// Bytes of IPv6 and UDP headers; IPv4 takes 20 bytes less, which we leave unused.
const HEADERS: u16 = 48;
/// QUIC's smallest datagram (RFC 9000, section 14).
const DATAGRAM_MIN: u16 = 1200;
/// Largest datagram we send. quinn hands the kernel up to ten at a time (generic segmentation offload), and Linux refuses more than
/// 65,507 bytes with an error that quinn swallows: beyond this, transfers crawl.
const DATAGRAM_MAX: u16 = 6500;
const GSO_SEGMENTS: u32 = 10;
const _: () = assert!(GSO_SEGMENTS * DATAGRAM_MAX as u32 <= 65_507);

/// Requests that a peer may have open on one connection, its message stream among them.
const STREAMS: u32 = 17;
/// A connection is dead after so long without a packet.
const IDLE: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// First guess of the round trip: quinn's 333 ms would make the first lost packet cost a second.
const INITIAL_RTT: Duration = Duration::from_millis(4);
/// Datagrams that are acknowledged together: a burst of one send. Each acknowledgement is a packet, and costs both ends.
const ACK_EVERY: u32 = GSO_SEGMENTS;
/// Least window of a connection with a cap: a few datagrams for each of its streams.
const CAPPED_LEAST: u64 = 64 * 1024;
/// The end of a run must not wait for the next burst; while bytes flow, a slow link brings a burst in this time too, and whoever
/// asks for the next run acknowledges with it. At 2 ms four flows of 100 Mbit/s were acknowledged at every fourth datagram.
const ACK_DELAY: Duration = Duration::from_millis(8);

/// What the parameters follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// MTU of the interface in bytes; 1500 where it is unknown.
    pub mtu: u16,
    /// Speed of the link in bits per second; 1 Gbit/s where it is unknown.
    pub link: u64,
    /// Length of a run in bytes.
    pub run: u64,
    /// What this member takes of its link at most, and how its packets are marked.
    pub manners: Manners,
    /// What was measured to be best; `scripts/bench pair --set` tries others.
    pub knobs: Knobs,
}

/// Parameters that do not follow from link and image, and ways around those that do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knobs {
    /// Bytes in flight on one connection, instead of what link and run say.
    pub window: Option<u32>,
    /// Bytes sent before the first acknowledgement, instead of what the link says.
    pub initial_window: Option<u64>,
    /// Bytes of a datagram, instead of what the MTU says.
    pub datagram: Option<u16>,
    /// First guess of the round trip.
    pub initial_rtt: Duration,
    /// Datagrams that are acknowledged together.
    pub ack_every: u32,
    /// Longest wait of an acknowledgement.
    pub ack_delay: Duration,
    /// Whether the kernel is handed several datagrams in one call (generic segmentation offload).
    pub gso: bool,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            window: None,
            initial_window: None,
            datagram: None,
            initial_rtt: INITIAL_RTT,
            ack_every: ACK_EVERY,
            ack_delay: ACK_DELAY,
            gso: true,
        }
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self { mtu: 1500, link: 1_000_000_000, run: RUN_MAX, manners: Manners::default(), knobs: Knobs::default() }
    }
}

impl Tuning {
    /// The tuning for an image of this layout over a link with this MTU (bytes) and speed (bits per second), where known.
    pub fn new(units: &Units, mtu: Option<u16>, link: Option<u64>) -> Self {
        let default = Self::default();
        let run = (units.blob_len / 1024).clamp(u64::from(CHUNK_MAX), RUN_MAX);
        Self { mtu: mtu.unwrap_or(default.mtu), link: link.unwrap_or(default.link), run, ..default }
    }

    /// The same for a member with these caps.
    #[must_use]
    pub const fn with(self, manners: Manners) -> Self {
        Self { manners, ..self }
    }

    /// Bytes of a datagram's payload.
    pub(crate) fn datagram(&self) -> u16 {
        self.knobs.datagram.unwrap_or_else(|| self.mtu.saturating_sub(HEADERS).clamp(DATAGRAM_MIN, DATAGRAM_MAX))
    }

    /// The same for one way that has a cap: 20 ms of it, so that no more than that arrives before its turn.
    fn window_below(&self, cap: Cap) -> u32 {
        let of_cap = cap.get().map_or(u64::MAX, |bits| (bits / 8 / 50).max(CAPPED_LEAST));
        self.window().min(u32::try_from(of_cap).unwrap_or(u32::MAX))
    }

    /// Bytes in flight on one connection: two runs, or 10 ms of the link, whichever is more; bounded, as each costs memory.
    fn window(&self) -> u32 {
        let of_link = self.link / 8 / 100;
        let follows = u32::try_from((2 * self.run).max(of_link).min(64 << 20)).unwrap_or(64 << 20);
        self.knobs.window.unwrap_or(follows)
    }

    /// Bytes sent before the first acknowledgement: a quarter of what the link carries in 2 ms (four flows share it).
    fn initial_window(&self) -> u64 {
        let link = self.manners.upload.get().unwrap_or(self.link).min(self.link);
        let follows = (link / 8 / 500 / 4).clamp(10 * u64::from(DATAGRAM_MIN), 4 << 20);
        self.knobs.initial_window.unwrap_or(follows)
    }

    pub(super) fn transport(&self) -> TransportConfig {
        let datagram = self.datagram();
        let (received, sent) = (self.window_below(self.manners.download), self.window_below(self.manners.upload));
        let mut discovery = MtuDiscoveryConfig::default();
        discovery.upper_bound(datagram);
        let mut cubic = CubicConfig::default();
        cubic.initial_window(self.initial_window());
        let mut acks = AckFrequencyConfig::default();
        let Knobs { ack_every, ack_delay, initial_rtt, gso, .. } = self.knobs;
        acks.ack_eliciting_threshold(VarInt::from_u32(ack_every)).max_ack_delay(Some(ack_delay));
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None)
            .stream_receive_window(VarInt::from_u32(received))
            .receive_window(VarInt::from_u32(received))
            .send_window(u64::from(sent))
            .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
            .keep_alive_interval(Some(KEEP_ALIVE))
            .initial_rtt(initial_rtt)
            .enable_segmentation_offload(gso)
            .min_mtu(DATAGRAM_MIN)
            .initial_mtu(datagram)
            .mtu_discovery_config(Some(discovery))
            .ack_frequency_config(Some(acks))
            .congestion_controller_factory(Arc::new(cubic));
        transport
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_fits_the_interface_and_ten_fit_one_send() {
        for (mtu, datagram) in [(1500, 1452), (9000, 6500), (65_535, 6500), (1280, 1232), (0, 1200)] {
            let tuning = Tuning { mtu, ..Tuning::default() };
            assert_eq!(tuning.datagram(), datagram, "MTU {mtu}");
        }
    }

    #[test]
    fn windows_follow_link_and_run_within_bounds() {
        let small = Units { pages: 1, chunks: 4, table_len: 144, blob_len: 1 << 20 };
        let tuning = Tuning::new(&small, None, Some(100_000_000));
        assert_eq!(tuning.window(), 2 << 20);
        assert_eq!(tuning.initial_window(), 12_000);
        let capped = tuning.with(Manners { download: "80mbit".parse().unwrap(), ..Manners::default() });
        assert_eq!((capped.window_below(capped.manners.download), capped.window_below(Cap::NONE)), (200_000, 2 << 20));
        let fast = Tuning::new(&small, Some(9000), Some(100_000_000_000));
        assert_eq!(fast.window(), 64 << 20);
        assert_eq!(fast.initial_window(), 4 << 20);
    }
}
