//! Which interface is the boot interface.

use wulfpack_shared::id::Mac;

/// A network interface as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's index; it survives a new name.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The address it sends from.
    pub mac: Option<Mac>,
    /// The address that is burnt in (`IFLA_PERM_ADDRESS`; kernels from 5.6 on, real hardware only).
    pub permanent: Option<Mac>,
    /// Bytes of the largest packet.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// The other end is there (`IFF_LOWER_UP`).
    pub carrier: bool,
    /// It is of type Ethernet.
    pub ethernet: bool,
    /// It is the loopback interface.
    pub loopback: bool,
}

/// The interface with this MAC address, by permanent address before current address (a bond or a VLAN wears its
/// member's). Without an address to look for: the Ethernet interface that appeared first.
pub(super) fn choose(interfaces: &[Interface], mac: Option<Mac>) -> Option<&Interface> {
    let first =
        |fits: &dyn Fn(&Interface) -> bool| interfaces.iter().filter(|one| fits(one)).min_by_key(|one| one.index);
    match mac {
        Some(mac) => first(&|one| one.permanent == Some(mac)).or_else(|| first(&|one| one.mac == Some(mac))),
        None => first(&|one| one.ethernet && !one.loopback && one.permanent.is_some())
            .or_else(|| first(&|one| one.ethernet && !one.loopback)),
    }
}

/// What the console shows while the wanted interface is missing.
pub(super) fn describe(interfaces: &[Interface]) -> Vec<String> {
    let real = interfaces.iter().filter(|one| !one.loopback);
    real.map(|one| match one.permanent.or(one.mac) {
        Some(mac) => format!("{} ({mac})", one.name),
        None => one.name.clone(),
    })
    .collect()
}

/// A name for an interface that has to give its own away; nobody has it.
pub(super) fn spare_name(interfaces: &[Interface]) -> String {
    let mut number = 0u32;
    loop {
        let name = format!("wulfother{number}");
        if !interfaces.iter().any(|one| one.name == name) {
            return name;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, mac: u8, permanent: Option<u8>) -> Interface {
        let address = |last| Mac([2, 0, 0, 0, 0, last]);
        Interface {
            index,
            name: format!("eth{index}"),
            mac: Some(address(mac)),
            permanent: permanent.map(address),
            mtu: 1500,
            up: false,
            carrier: false,
            ethernet: true,
            loopback: false,
        }
    }

    #[test]
    fn the_permanent_address_counts_before_the_current_one() {
        let bond = interface(2, 7, None);
        let member = interface(3, 9, Some(7));
        let all = [Interface { loopback: true, ..interface(1, 0, None) }, bond, member];
        assert_eq!(choose(&all, Some(Mac([2, 0, 0, 0, 0, 7]))).unwrap().index, 3);
        assert_eq!(choose(&all[..2], Some(Mac([2, 0, 0, 0, 0, 7]))).unwrap().index, 2);
        assert!(choose(&all, Some(Mac([2, 0, 0, 0, 0, 1]))).is_none());
        assert_eq!(choose(&all, None).unwrap().index, 3);
        assert_eq!(choose(&all[..2], None).unwrap().index, 2);
        assert!(choose(&all[..1], None).is_none());
    }

    #[test]
    fn the_spare_name_is_free() {
        let taken = Interface { name: "wulfother0".into(), ..interface(1, 1, None) };
        assert_eq!(spare_name(&[taken]), "wulfother1");
    }
}
