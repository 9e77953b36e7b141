//! Interfaces, ports, other servers, boot programs.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use super::examine::RunningHead;
use super::model::{Group, some_of};
use super::sockets::sockets;
use crate::boot::{Arch, BootChoice, BootFile, Client, Platform, SignedLoader};
use crate::config::{Config, DhcpMode};
use crate::dhcp::links;
use crate::image::head_loader;
use crate::serve::BootSettings;

/// Where the kernel says how large its table of neighbours may become (arp(7)).
const NEIGHBOURS: &str = "/proc/sys/net/ipv4/neigh/default/gc_thresh3";

/// Looks at everything that machines meet on their way.
pub(super) fn check(config: &Config, running: Option<&RunningHead>, nodes: usize) -> Group {
    let mut group = Group::new("network");
    interfaces(config, &mut group);
    ports(config, running, &mut group);
    if let Some(running) = running {
        services(config, running, &mut group);
    }
    programs(config, &mut group);
    neighbours(nodes, &mut group);
    group
}

fn interfaces(config: &Config, group: &mut Group) {
    if config.interfaces.is_empty() {
        return group.warning(
            "interfaces",
            "none is named: boot services are off, no node can boot",
            "name one below `interfaces:` in the configuration, then: systemctl restart wulfpack",
        );
    }
    for name in config.interfaces.keys() {
        let check = format!("interface {name}");
        let link = match links(std::slice::from_ref(name)) {
            Ok(found) => found.into_iter().next(),
            Err(error) => {
                group.bad(check, error.to_string(), "bring it up with an address, or name another below `interfaces:`");
                continue;
            }
        };
        let Some(link) = link else { continue };
        let own: Vec<IpAddr> = link.addresses.iter().map(|net| net.addr().into()).collect();
        let own: Vec<IpAddr> = own.into_iter().chain(link.addresses6.iter().map(|net| net.addr().into())).collect();
        let told = config.interface(name).unwrap_or_default().addresses;
        let missing: Vec<String> = told.iter().filter(|ip| !own.contains(ip)).map(ToString::to_string).collect();
        let carries = |ip: &IpAddr| ip.is_loopback() && own.iter().any(IpAddr::is_loopback);
        if !missing.is_empty() && !told.iter().all(carries) {
            let found = format!("it does not carry {}, which nodes are told", missing.join(", "));
            group.bad(
                check,
                found,
                format!("ip address add …, or correct `addresses:` of {name} in the configuration"),
            );
            continue;
        }
        let state = fs::read_to_string(format!("/sys/class/net/{name}/operstate")).unwrap_or_default();
        let addresses: Vec<String> = own.iter().map(ToString::to_string).collect();
        if matches!(state.trim(), "down" | "lowerlayerdown") {
            group.bad(check, format!("it has {} and no link", addresses.join(", ")), "look at cable and switch port");
        } else {
            group.ok(check, addresses.join(", "));
        }
    }
}

fn ports(config: &Config, running: Option<&RunningHead>, group: &mut Group) {
    let Ok(boot) = BootSettings::of(config) else { return };
    let proc = Path::new("/proc");
    let all = sockets(proc);
    let dhcp = !boot.dhcp.links.is_empty();
    let ports = config.ports;
    let own: Vec<IpAddr> = boot.addresses.iter().map(|(address, _)| *address).collect();
    // DHCP listens for broadcasts, whatever the address.
    let everywhere = [IpAddr::from(Ipv4Addr::UNSPECIFIED)];
    for (name, protocol, port, addresses) in [
        ("control", "tcp", ports.control, own.as_slice()),
        ("http", "tcp", ports.http, own.as_slice()),
        ("data", "udp", ports.data, own.as_slice()),
        ("tftp", "udp", ports.tftp, if dhcp { own.as_slice() } else { &[] }),
        ("dhcp", "udp", ports.dhcp, if dhcp { everywhere.as_slice() } else { &[] }),
    ] {
        let check = format!("port {port}/{protocol} ({name})");
        let clash = all.iter().find(|socket| addresses.iter().any(|ip| socket.clashes(protocol, *ip, port)));
        let holder = clash.map(|socket| socket.holder(proc));
        match (holder, running.is_some()) {
            _ if addresses.is_empty() => {}
            (None, false) => group.ok(check, "free"),
            (None, true) => group.bad(check, "the head runs and does not hold it", "systemctl restart wulfpack"),
            (Some(holder), running) => {
                let holder = holder.unwrap_or_else(|| "a process that this user may not look at".into());
                let ours = holder.starts_with("wulf ") || (running && !holder.contains('('));
                if ours {
                    group.ok(check, format!("held by {holder}"));
                } else {
                    let fix = format!("stop that service, or choose another port below `ports: {name}:`");
                    group.bad(check, format!("held by {holder}"), fix);
                }
            }
        }
    }
}

/// What the running head says of its services.
fn services(config: &Config, running: &RunningHead, group: &mut Group) {
    if let Some(other) = running.dhcp.other_server {
        let found = format!("the DHCP server {other} answers on our networks too");
        if running.dhcp.overridden || config.dhcp.mode != DhcpMode::Full {
            group.ok("other DHCP servers", format!("{found}; mode {}", config.dhcp.mode));
        } else {
            group.bad(
                "other DHCP servers",
                format!("{found}: ours is withheld, and no node gets an address from this head"),
                "switch that one off, or `dhcp: mode: proxy` (it gives addresses), or: wulf dhcp override on",
            );
        }
    } else if running.dhcp.services.get("dhcp").is_some_and(|dhcp| dhcp.answers) {
        group.ok("other DHCP servers", "none was seen");
    }
}

/// Boot programs for the architectures that clusters are made of.
fn programs(config: &Config, group: &mut Group) {
    let Ok(boot) = BootSettings::of(config) else { return };
    let mac = wulfpack_shared::id::Mac([2, 0, 0, 0, 0, 1]);
    let choice = BootChoice { grub: Some(false), program: None };
    let (mut there, mut missing) = (vec![], vec![]);
    for arch in [Arch::BIOS, Arch(7), Arch(0x0b)] {
        match boot.dhcp.nbps.boot_file(Client::Pxe(arch.0), mac, &choice, false) {
            BootFile::Nbp(name) if boot.programs.get(&name).is_some() => there.push(format!("{arch}: {name}")),
            BootFile::Nbp(name) => missing.push(format!("{arch} ({name}, which the configuration names)")),
            _ => missing.push(arch.to_string()),
        }
    }
    let dirs: BTreeSet<String> = boot.program_dirs.iter().map(|dir| dir.display().to_string()).collect();
    if there.is_empty() {
        let dirs: Vec<String> = dirs.into_iter().collect();
        group.bad(
            "boot programs",
            format!("there is none in {}: only machines with iPXE in their firmware can boot", dirs.join(", ")),
            "install iPXE (Debian: apt install ipxe), or scripts/build-ipxe.sh",
        );
    } else {
        group.ok("boot programs", there.join(", "));
        if !missing.is_empty() {
            let fix = "needed only if you have such machines: scripts/build-ipxe.sh makes them";
            group.warning("boot programs", format!("none for {}", missing.join(", ")), fix);
        }
    }
    for (arch, name) in &config.boot.programs {
        let known = arch.parse::<Arch>().ok().and_then(Arch::platform).map(Platform::is_efi);
        if boot.programs.get(name).is_none() {
            let of = if known.is_some() { "" } else { ", an architecture that nobody makes iPXE for" };
            group.bad(
                "boot programs",
                format!("{name} of {arch}{of} is in none of the directories"),
                "correct `boot: programs:`",
            );
        }
    }
    if config.boot.grub && head_loader(Path::new("/"), SignedLoader::Shim).is_err() {
        group.warning(
            "Secure Boot",
            "`boot: grub: true`, and this host has no shim and signed GRUB: images must bring their own",
            "apt install shim-signed grub-efi-amd64-signed, here or in the images",
        );
    }
}

/// The kernel forgets neighbours where there are more than its table holds (Warewulf's users met that first).
fn neighbours(nodes: usize, group: &mut Group) {
    let Some(max) = fs::read_to_string(NEIGHBOURS).ok().and_then(|text| text.trim().parse::<usize>().ok()) else {
        return;
    };
    // Each node has a controller, and there are other machines.
    let wanted = nodes.saturating_mul(2);
    if max < wanted {
        let fix =
            format!("sysctl -w net.ipv4.neigh.default.gc_thresh3={}, and in /etc/sysctl.d", wanted.next_power_of_two());
        group.warning("neighbour table", format!("it holds {max} machines, there may be {wanted}"), fix);
    } else {
        group.ok("neighbour table", some_of(&[format!("holds {max} machines")]));
    }
}
