//! dnsmasq (dnsmasq(8)). Of several `dhcp-boot` that fit, the last in the file wins.

use std::fmt::Write as _;

use super::outside::{Host, Network, Outside, Program, REMARK};

// Writing to a String cannot fail, here and below.
pub(super) fn render(outside: &Outside) -> String {
    let mut text = String::new();
    for line in REMARK {
        _ = writeln!(text, "# {line}");
    }
    _ = writeln!(
        text,
        "\n# iPXE, by its user class, by ours, or by its own option; it need not wait for a proxy\n\
         dhcp-userclass=set:wulf-ipxe,iPXE\ndhcp-userclass=set:wulf-ipxe,wulfpack\ndhcp-match=set:wulf-ipxe,175\n\
         dhcp-option=tag:wulf-ipxe,encap:175,176,1b"
    );
    _ = writeln!(text, "\n# Firmware");
    let mut archs: Vec<&Program> =
        outside.programs.iter().chain(outside.hosts.iter().flat_map(|host| &host.own)).collect();
    archs.sort_by_key(|program| program.arch);
    archs.dedup_by_key(|program| program.arch);
    for program in archs {
        let arch = program.arch.0;
        _ = writeln!(text, "dhcp-match=set:wulf-arch-{arch},option:client-arch,{arch} # {}", program.arch);
        if program.by_http {
            _ = writeln!(text, "dhcp-option-force=tag:wulf-arch-{arch},tag:!wulf-ipxe,60,HTTPClient");
        }
    }
    for (index, network) in outside.networks.iter().enumerate() {
        subnet(&mut text, outside, index, network);
    }
    _ = writeln!(text, "\n# Nodes and devices");
    for host in &outside.hosts {
        one(&mut text, outside, host);
    }
    text
}

fn subnet(text: &mut String, outside: &Outside, index: usize, network: &Network) {
    let Network { net, gateway, dns, domain, range, .. } = network;
    let (tag, lease) = (format!("wulf-net-{index}"), outside.lease);
    _ = writeln!(text, "\n# {net}");
    match range {
        Some((range, seconds)) => {
            _ = writeln!(text, "dhcp-range=set:{tag},{},{},{},{seconds}s", range.first, range.last, net.netmask());
        }
        None => _ = writeln!(text, "dhcp-range=set:{tag},{},static,{},{lease}s", net.network(), net.netmask()),
    }
    match gateway {
        Some(gateway) => _ = writeln!(text, "dhcp-option=tag:{tag},option:router,{gateway}"),
        // Without a word of it dnsmasq names itself.
        None => _ = writeln!(text, "dhcp-option=tag:{tag},option:router"),
    }
    if !dns.is_empty() {
        let dns: Vec<String> = dns.iter().map(ToString::to_string).collect();
        _ = writeln!(text, "dhcp-option=tag:{tag},option:dns-server,{}", dns.join(","));
    }
    if let Some(domain) = domain {
        _ = writeln!(text, "dhcp-option=tag:{tag},option:domain-name,{domain}");
    }
    for program in &outside.programs {
        boot(text, network, program, &tag);
    }
    _ = writeln!(text, "dhcp-boot=tag:{tag},tag:wulf-ipxe,{},,{}", network.script(), network.server);
}

fn boot(text: &mut String, network: &Network, program: &Program, tag: &str) {
    let file = if program.by_http { format!("{}{}", network.base, program.file) } else { program.file.clone() };
    let arch = program.arch.0;
    _ = writeln!(text, "dhcp-boot=tag:{tag},tag:wulf-arch-{arch},tag:!wulf-ipxe,{file},,{}", network.server);
}

fn one(text: &mut String, outside: &Outside, host: &Host) {
    let Host { name, label, mac, ip, gateway, own } = host;
    let lease = outside.lease;
    let tag = format!("wulf-{label}");
    let set = if own.is_empty() && gateway.is_none() { String::new() } else { format!("set:{tag},") };
    _ = writeln!(text, "dhcp-host={mac},{set}{ip},{name},{lease}s");
    if let Some(gateway) = gateway {
        _ = writeln!(text, "dhcp-option=tag:{tag},option:router,{gateway}");
    }
    let network = outside.networks.iter().find(|network| network.net.contains(ip)).or(outside.networks.first());
    for (network, program) in network.iter().flat_map(|network| own.iter().map(move |program| (network, program))) {
        boot(text, network, program, &tag);
    }
}
