//! The head's words to the agent on the kernel command line. Nothing here is secret: any user of the node can read it.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use crate::id::{Mac, NodeName, PublicKey};
use crate::identity::HeadAddr;
use crate::time::UnixTime;
use crate::wire::OnFail;

/// Most heads or keys that are read.
const LIST_MAX: usize = 8;

/// Header of an HTTP request of a node that fetches a file for its neighbours: the node itself does not boot.
pub const NEIGHBOUR_HEADER: &str = "x-wulfpack-neighbour";

/// A fixed address from the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedAddress {
    /// The address.
    pub ip: IpAddr,
    /// Length of the network prefix in bits.
    pub prefix: u8,
    /// Default gateway.
    pub gateway: Option<IpAddr>,
}

/// All `wulf.` kernel arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootArgs {
    /// `wulf.node=`: the name, for the console; the join answer decides.
    pub node: Option<NodeName>,
    /// `wulf.head=KEY@ADDR:PORT[,…]`: heads, the preferred one first.
    pub heads: Vec<HeadAddr>,
    /// `wulf.cluster=KEY[,…]`: the cluster's public keys; more than one while keys are rotated.
    pub cluster: Vec<PublicKey>,
    /// `wulf.mac=`: permanent MAC address of the boot interface.
    pub mac: Option<Mac>,
    /// `wulf.device=`: the name that the registry gives the boot interface.
    pub device: Option<String>,
    /// `wulf.mtu=`: its MTU.
    pub mtu: Option<u16>,
    /// `wulf.ip=ADDR/PREFIX[,GATEWAY]`; absent: the agent runs a DHCP client.
    pub address: Option<FixedAddress>,
    /// `wulf.time=`: the head's time in seconds since the epoch when the script was rendered.
    pub time: Option<UnixTime>,
    /// `wulf.onfail=retry|reboot|poweroff`.
    pub on_fail: OnFail,
    /// `wulf.neighbour=PORT`: once up, the node gives kernel and modules over HTTP on this port, the one that the heads have too.
    pub neighbour: Option<u16>,
    /// `wulf.discover`: no node has this machine's MAC address; it tells what it is, and waits to become one.
    pub discover: bool,
    /// `wulf.debug`: verbose console.
    pub debug: bool,
}

/// Why a command line does not tell an agent what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kernel argument {argument:?}: {why}")]
pub struct BootArgsError {
    argument: String,
    why: String,
}

fn wrong(argument: &str, why: impl fmt::Display) -> BootArgsError {
    BootArgsError { argument: argument.chars().take(120).collect(), why: why.to_string() }
}

fn list<T: FromStr<Err: fmt::Display>>(argument: &str, text: &str) -> Result<Vec<T>, BootArgsError> {
    if text.split(',').count() > LIST_MAX {
        return Err(wrong(argument, format!("it has more than {LIST_MAX} entries")));
    }
    text.split(',').map(|item| item.parse().map_err(|error| wrong(argument, error))).collect()
}

fn address(argument: &str, text: &str) -> Result<FixedAddress, BootArgsError> {
    let (own, gateway) = text.split_once(',').map_or((text, None), |(own, gateway)| (own, Some(gateway)));
    let (ip, prefix) = own.split_once('/').ok_or_else(|| wrong(argument, "it is written ADDRESS/PREFIX[,GATEWAY]"))?;
    let ip: IpAddr = ip.parse().map_err(|error| wrong(argument, error))?;
    let prefix: u8 = prefix.parse().map_err(|error| wrong(argument, error))?;
    if prefix > if ip.is_ipv4() { 32 } else { 128 } {
        return Err(wrong(argument, "the prefix is longer than the address"));
    }
    let gateway = gateway.map(|text| text.parse().map_err(|error| wrong(argument, error))).transpose()?;
    Ok(FixedAddress { ip, prefix, gateway })
}

fn device(argument: &str, name: &str) -> Result<String, BootArgsError> {
    // What the kernel accepts as an interface name (net/core/dev.c, dev_valid_name).
    if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(['/', ':', ' ']) {
        return Err(wrong(argument, "it is not a name that the kernel gives a network interface"));
    }
    Ok(name.to_owned())
}

impl FromStr for BootArgs {
    type Err = BootArgsError;

    /// Reads a kernel command line; arguments that do not begin with `wulf.` are other people's. The last of equal ones wins.
    fn from_str(line: &str) -> Result<Self, BootArgsError> {
        let mut args = Self::default();
        for argument in line.split_ascii_whitespace() {
            let Some(own) = argument.strip_prefix("wulf.") else { continue };
            let (name, value) = own.split_once('=').unwrap_or((own, ""));
            match name {
                "node" => args.node = Some(value.parse().map_err(|error| wrong(argument, error))?),
                "head" => args.heads = list(argument, value)?,
                "cluster" => args.cluster = list(argument, value)?,
                "mac" => args.mac = Some(value.parse().map_err(|error| wrong(argument, error))?),
                "device" => args.device = Some(device(argument, value)?),
                "mtu" => args.mtu = Some(value.parse().map_err(|error| wrong(argument, error))?),
                "ip" => args.address = Some(address(argument, value)?),
                "time" => {
                    args.time = Some(UnixTime::from_secs(value.parse().map_err(|error| wrong(argument, error))?));
                }
                "onfail" => {
                    args.on_fail = match value {
                        "retry" => OnFail::Retry,
                        "reboot" => OnFail::Reboot,
                        "poweroff" => OnFail::Poweroff,
                        _ => return Err(wrong(argument, "it is retry, reboot or poweroff")),
                    }
                }
                "neighbour" => args.neighbour = Some(value.parse().map_err(|error| wrong(argument, error))?),
                "discover" => args.discover = true,
                "debug" => args.debug = true,
                // A newer head may say more than this agent knows.
                _ => {}
            }
        }
        Ok(args)
    }
}

impl fmt::Display for BootArgs {
    /// The arguments as they stand on the command line, one blank between two.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |items: Vec<String>| items.join(",");
        let mut words = vec![];
        words.extend(self.node.as_ref().map(|node| format!("wulf.node={node}")));
        if !self.heads.is_empty() {
            words.push(format!("wulf.head={}", join(self.heads.iter().map(ToString::to_string).collect())));
        }
        if !self.cluster.is_empty() {
            words.push(format!("wulf.cluster={}", join(self.cluster.iter().map(ToString::to_string).collect())));
        }
        words.extend(self.mac.map(|mac| format!("wulf.mac={mac}")));
        words.extend(self.device.as_ref().map(|device| format!("wulf.device={device}")));
        words.extend(self.mtu.map(|mtu| format!("wulf.mtu={mtu}")));
        words.extend(self.address.map(|FixedAddress { ip, prefix, gateway }| match gateway {
            Some(gateway) => format!("wulf.ip={ip}/{prefix},{gateway}"),
            None => format!("wulf.ip={ip}/{prefix}"),
        }));
        words.extend(self.time.map(|time| format!("wulf.time={}", time.as_secs())));
        match self.on_fail {
            OnFail::Retry => {}
            OnFail::Reboot => words.push("wulf.onfail=reboot".into()),
            OnFail::Poweroff => words.push("wulf.onfail=poweroff".into()),
        }
        words.extend(self.neighbour.map(|port| format!("wulf.neighbour={port}")));
        if self.discover {
            words.push("wulf.discover".into());
        }
        if self.debug {
            words.push("wulf.debug".into());
        }
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> BootArgs {
        let key = PublicKey([0xab; 32]);
        BootArgs {
            node: Some("n1".parse().unwrap()),
            heads: vec![
                HeadAddr { key, control: "10.0.0.1:9870".parse().unwrap() },
                HeadAddr { key, control: "[fd00::1]:9870".parse().unwrap() },
            ],
            cluster: vec![key, PublicKey([1; 32])],
            mac: Some(Mac([2, 0, 0, 0, 0, 1])),
            device: Some("eth0".into()),
            mtu: Some(9000),
            address: Some(FixedAddress {
                ip: "10.0.0.7".parse().unwrap(),
                prefix: 24,
                gateway: Some("10.0.0.254".parse().unwrap()),
            }),
            time: Some(UnixTime::from_secs(1_700_000_000)),
            on_fail: OnFail::Reboot,
            neighbour: Some(9872),
            discover: true,
            debug: true,
        }
    }

    #[test]
    fn arguments_round_trip_among_others() {
        let line = format!("quiet root=/dev/sda {} panic=30", full());
        assert_eq!(line.parse::<BootArgs>().unwrap(), full());
        assert_eq!("".parse::<BootArgs>().unwrap(), BootArgs::default());
        assert_eq!("wulf.of_the_future=1".parse::<BootArgs>().unwrap(), BootArgs::default());
    }

    #[test]
    fn errors_name_the_argument() {
        for bad in [
            "wulf.ip=10.0.0.1",
            "wulf.ip=10.0.0.1/33",
            "wulf.mac=zz",
            "wulf.onfail=panic",
            "wulf.device=a/b",
            "wulf.head=x",
        ] {
            let error = bad.parse::<BootArgs>().unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
        let many = format!("wulf.cluster={}", vec!["00".repeat(32); 9].join(","));
        assert!(many.parse::<BootArgs>().is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read_or_refused(line in ".{0,300}") {
            if let Ok(args) = line.parse::<BootArgs>() {
                proptest::prop_assert_eq!(args.to_string().parse::<BootArgs>().unwrap(), args);
            }
        }
    }
}
