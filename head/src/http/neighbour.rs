//! The kernel's neighbour table (proc(5), /proc/net/arp): which hardware address an IPv4 address of our own networks has.

use std::net::Ipv4Addr;

use wulfpack_shared::id::Mac;

/// Flag of an entry that is complete (Linux, include/uapi/linux/if_arp.h, `ATF_COM`).
const COMPLETE: u32 = 2;

/// The hardware address that the kernel has for `address`. May block for as long as reading a file under /proc takes.
pub(super) fn mac_of(address: Ipv4Addr) -> Option<Mac> {
    find(&std::fs::read_to_string("/proc/net/arp").ok()?, address)
}

fn find(table: &str, address: Ipv4Addr) -> Option<Mac> {
    table.lines().skip(1).find_map(|line| {
        // IP address, HW type, flags, HW address, mask, device
        let mut fields = line.split_ascii_whitespace();
        let found: Ipv4Addr = fields.next()?.parse().ok()?;
        let flags = u32::from_str_radix(fields.nth(1)?.strip_prefix("0x")?, 16).ok()?;
        let mac = fields.next()?.parse().ok()?;
        (found == address && flags & COMPLETE != 0).then_some(mac)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_entries_count() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     10.0.0.7         0x1         0x2         52:54:00:00:00:01     *        eth0\n\
                     10.0.0.8         0x1         0x0         00:00:00:00:00:00     *        eth0\n\
                     garbage\n";
        assert_eq!(find(table, Ipv4Addr::new(10, 0, 0, 7)), Some(Mac([0x52, 0x54, 0, 0, 0, 1])));
        assert_eq!(find(table, Ipv4Addr::new(10, 0, 0, 8)), None);
        assert_eq!(find(table, Ipv4Addr::new(10, 0, 0, 9)), None);
    }
}
