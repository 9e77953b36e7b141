//! Management controllers in the firmware's tables (DMTF DSP0134 3.7, types 38 and 42; DSP0270 for Redfish). Pure.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Types of structures.
const IPMI_DEVICE: u8 = 38;
const HOST_INTERFACE: u8 = 42;
const END: u8 = 127;
/// Protocol of a host interface record: Redfish over IP (DSP0270, table 3).
const REDFISH: u8 = 4;
/// Most structures that are looked at.
const STRUCTURES_MAX: usize = 4096;

/// What firmware says of the management controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Management {
    /// Version of IPMI: major, minor.
    pub ipmi: Option<(u8, u8)>,
    /// Address at which this machine reaches Redfish.
    pub redfish: Option<IpAddr>,
}

/// Reads the table as the kernel has it in `/sys/firmware/dmi/tables/DMI`.
pub fn management(table: &[u8]) -> Management {
    let mut found = Management::default();
    let mut rest = table;
    for _ in 0..STRUCTURES_MAX {
        let Some((kind, structure, more)) = structure(rest) else { break };
        match kind {
            END => break,
            // Behind header and interface type; one byte with a digit in each half.
            IPMI_DEVICE => {
                found.ipmi = found.ipmi.or_else(|| structure.get(5).map(|version| (version >> 4, version & 15)));
            }
            HOST_INTERFACE => found.redfish = found.redfish.or_else(|| redfish(structure)),
            _ => {}
        }
        rest = more;
    }
    found
}

/// Type, the formatted part with its header, and what follows the texts behind it.
fn structure(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, len) = (*bytes.first()?, usize::from(*bytes.get(1)?));
    if len < 4 {
        return None;
    }
    let (formatted, texts) = bytes.split_at_checked(len)?;
    let end = texts.windows(2).position(|pair| pair == [0, 0])?;
    Some((kind, formatted, texts.get(end + 2..)?))
}

/// Address of the Redfish service in the protocol records of a host interface.
fn redfish(structure: &[u8]) -> Option<IpAddr> {
    let specific = usize::from(*structure.get(5)?);
    let rest = structure.get(6 + specific..)?;
    let (count, mut rest) = rest.split_first()?;
    for _ in 0..*count {
        let (header, more) = rest.split_first_chunk::<2>()?;
        let (record, more) = more.split_at_checked(usize::from(header[1]))?;
        if header[0] == REDFISH {
            // Service UUID, host address (assignment, format, address, mask), service address (discovery, format, address, …).
            let format = record.get(16 + 2 + 32 + 1)?;
            let address = record.get(16 + 2 + 32 + 2..)?;
            return match format {
                1 => Some(Ipv4Addr::from(*address.first_chunk::<4>()?).into()),
                2 => Some(Ipv6Addr::from(*address.first_chunk::<16>()?).into()),
                _ => None,
            }
            .filter(|ip: &IpAddr| !ip.is_unspecified());
        }
        rest = more;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind, u8::try_from(body.len() + 4).unwrap(), 0, 0][..], body, b"text\0\0"].concat()
    }

    fn host_interface() -> Vec<u8> {
        let mut redfish = vec![0; 91];
        redfish[51] = 1;
        redfish[52..56].copy_from_slice(&[169, 254, 0, 17]);
        let mut body = vec![0x40, 3, 2, 0, 0, 1, REDFISH, u8::try_from(redfish.len()).unwrap()];
        body.extend(redfish);
        record(HOST_INTERFACE, &body)
    }

    #[test]
    fn the_controller_is_found_among_others() {
        let ipmi = record(IPMI_DEVICE, &[1, 0x20, 0x20, 0xff, 0, 0, 0, 0, 0, 0]);
        let table = [record(1, &[0; 20]), ipmi, host_interface(), record(END, &[])].concat();
        let found = management(&table);
        assert_eq!(found.ipmi, Some((2, 0)));
        assert_eq!(found.redfish, Some(IpAddr::from([169, 254, 0, 17])));
        assert_eq!(management(&record(END, &[])), Management::default());
        for len in 0..table.len() {
            management(&table[..len]);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_table_is_read(bytes: Vec<u8>) {
            management(&bytes);
        }
    }
}
