//! Who holds a port: sockets of this host as the kernel lists them in `/proc/net` (proc_net(5)), and the processes that have them
//! open. Nothing is bound to find out.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// A socket that waits for what comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    /// `tcp` or `udp`.
    pub(super) protocol: &'static str,
    /// Where it listens; unspecified: everywhere.
    pub(super) address: IpAddr,
    /// Its port.
    pub(super) port: u16,
    inode: u64,
}

/// States in which a socket takes what comes in: TCP_LISTEN, and for UDP an unconnected one (include/net/tcp_states.h).
const LISTENS: [(&str, &str); 2] = [("tcp", "0A"), ("udp", "07")];

/// All of them; those of a kind that cannot be read are left out.
pub(super) fn sockets(proc: &Path) -> Vec<Socket> {
    let mut found = vec![];
    for (protocol, state) in LISTENS {
        for suffix in ["", "6"] {
            let text = fs::read_to_string(proc.join(format!("net/{protocol}{suffix}"))).unwrap_or_default();
            found.extend(text.lines().skip(1).filter_map(|line| parse(protocol, state, line)));
        }
    }
    found
}

fn parse(protocol: &'static str, state: &str, line: &str) -> Option<Socket> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (local, is, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    (*is == state).then_some(Socket { protocol, address: parse_address(address)?, port, inode: inode.parse().ok()? })
}

/// Words of 32 bits, each in the order of bytes of this host.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(Ipv4Addr::from(word(text)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_mut(4).enumerate() {
                chunk.copy_from_slice(&word(text.get(index * 8..index * 8 + 8)?)?);
            }
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

impl Socket {
    /// Whether it is in the way of one at this address.
    pub(super) fn clashes(&self, protocol: &str, address: IpAddr, port: u16) -> bool {
        // One for all addresses of IPv6 may take those of IPv4 as well.
        let everywhere = self.address.is_unspecified() && (self.address.is_ipv6() || address.is_ipv4());
        let wanted_everywhere = address.is_unspecified() && address.is_ipv4() == self.address.is_ipv4();
        self.protocol == protocol && self.port == port && (everywhere || wanted_everywhere || self.address == address)
    }

    /// The process that has it open, as `name (number)`; nothing where this user may not know, or it is in another container.
    pub(super) fn holder(&self, proc: &Path) -> Option<String> {
        let target = format!("socket:[{}]", self.inode);
        for entry in fs::read_dir(proc).ok()?.flatten() {
            let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let open = fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
            let mut links = open.filter_map(|fd| fs::read_link(fd.path()).ok());
            if links.any(|link| link.to_str() == Some(&target)) {
                let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                return Some(format!("{} ({number})", name.trim()));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn a_listener_of_this_process_is_found_with_its_holder() {
        let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("0.0.0.0:0").unwrap());
        let proc = Path::new("/proc");
        let all = sockets(proc);
        let local = IpAddr::from([127, 0, 0, 1]);
        for (protocol, port) in [("tcp", tcp.local_addr().unwrap().port()), ("udp", udp.local_addr().unwrap().port())] {
            let socket = all.iter().find(|socket| socket.clashes(protocol, local, port)).unwrap();
            let holder = socket.holder(proc).unwrap();
            assert!(holder.ends_with(&format!("({})", std::process::id())), "{holder}");
        }
    }

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them_and_only_listeners_count() {
        let line =
            "   0: 0100007F:2690 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0";
        let socket = parse("tcp", "0A", line).unwrap();
        if cfg!(target_endian = "little") {
            assert_eq!((socket.address, socket.port, socket.inode), ([127, 0, 0, 1].into(), 9872, 4711));
        }
        assert_eq!(parse("tcp", "0A", &line.replace(" 0A ", " 01 ")), None);
        assert_eq!(parse("tcp", "0A", "garbage"), None);
        let six = Socket { protocol: "tcp", address: Ipv6Addr::UNSPECIFIED.into(), port: 80, inode: 1 };
        assert!(six.clashes("tcp", [10, 0, 0, 1].into(), 80) && !six.clashes("udp", [10, 0, 0, 1].into(), 80));
        let other = Socket { address: [10, 0, 0, 2].into(), ..six };
        assert!(!other.clashes("tcp", [10, 0, 0, 1].into(), 80));
    }
}
