//! What a server gave.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use serde::{Deserialize, Serialize};
use wulfpack_shared::bootargs::FixedAddress;

/// Shortest lease that is taken at its word. Seconds.
const SHORTEST: u32 = 10;
/// RFC 2131, section 3.3: never ends.
const INFINITE: u32 = u32::MAX;

/// A lease. Times count from the moment at which it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The node's address.
    pub ip: Ipv4Addr,
    /// Length of the network prefix in bits.
    pub prefix: u8,
    /// Default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// MTU of the interface in bytes.
    pub mtu: Option<u16>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Domain of the node.
    pub domain: Option<String>,
    /// Host name that the server gives the node.
    pub hostname: Option<String>,
    /// The server.
    pub server: Ipv4Addr,
    /// Seconds until the address is lost; `u32::MAX`: never.
    pub lease_s: u32,
    /// Seconds until the client asks its server for more (T1).
    pub renew_s: u32,
    /// Seconds until it asks every server (T2).
    pub rebind_s: u32,
}

impl Lease {
    /// The address in the form that the link takes.
    pub fn address(&self) -> FixedAddress {
        FixedAddress { ip: IpAddr::V4(self.ip), prefix: self.prefix, gateway: self.gateway.map(IpAddr::V4) }
    }

    /// Puts the times in order: 0 < T1 < T2 < end, where the server said nothing or nonsense (RFC 2131, section 4.4.5).
    pub(super) fn set_times(&mut self, lease_s: u32, renew_s: Option<u32>, rebind_s: Option<u32>) {
        let lease_s = lease_s.max(SHORTEST);
        let rebind_s = rebind_s.filter(|at| (2..lease_s).contains(at)).unwrap_or(lease_s / 8 * 7);
        let renew_s = renew_s.filter(|at| (1..rebind_s).contains(at)).unwrap_or((lease_s / 2).min(rebind_s - 1));
        (self.lease_s, self.renew_s, self.rebind_s) = (lease_s, renew_s, rebind_s);
    }

    /// T1, T2 and the end; `None` for a lease without end.
    pub(super) fn times(&self) -> Option<(Duration, Duration, Duration)> {
        let secs = |s| Duration::from_secs(u64::from(s));
        (self.lease_s != INFINITE).then(|| (secs(self.renew_s), secs(self.rebind_s), secs(self.lease_s)))
    }
}
