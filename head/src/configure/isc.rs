//! ISC dhcpd (dhcpd.conf(5), dhcp-eval(5)).

use std::fmt::Write as _;

use super::outside::{Host, Network, Outside, Program, REMARK};

/// What iPXE says of itself: its user class, ours, or its own option.
const IPXE: &str = "exists wulfpack-ipxe-encapsulated or (exists user-class and (option user-class = \"iPXE\" or option user-class = \"wulfpack\"))";

// Writing to a String cannot fail, here and below.
pub(super) fn render(outside: &Outside) -> String {
    let mut text = String::new();
    for line in REMARK {
        _ = writeln!(text, "# {line}");
    }
    _ = writeln!(
        text,
        "\noption wulfpack-arch code 93 = unsigned integer 16;\noption space wulfpack-ipxe;\n\
         option wulfpack-ipxe.no-pxedhcp code 176 = unsigned integer 8;\n\
         option wulfpack-ipxe-encapsulated code 175 = encapsulate wulfpack-ipxe;"
    );
    for network in &outside.networks {
        subnet(&mut text, outside, network);
    }
    for host in &outside.hosts {
        one(&mut text, outside, host);
    }
    text
}

fn subnet(text: &mut String, outside: &Outside, network: &Network) {
    let Network { net, server, gateway, dns, domain, range, .. } = network;
    _ = writeln!(text, "\nsubnet {} netmask {} {{", net.network(), net.netmask());
    if let Some(gateway) = gateway {
        _ = writeln!(text, "  option routers {gateway};");
    }
    if !dns.is_empty() {
        let dns: Vec<String> = dns.iter().map(ToString::to_string).collect();
        _ = writeln!(text, "  option domain-name-servers {};", dns.join(", "));
    }
    if let Some(domain) = domain {
        _ = writeln!(text, "  option domain-name \"{domain}\";");
    }
    let lease = outside.lease;
    _ = writeln!(text, "  default-lease-time {lease};\n  max-lease-time {lease};\n  next-server {server};");
    if let Some((range, seconds)) = range {
        _ = writeln!(text, "  pool {{\n    range {} {};", range.first, range.last);
        _ = writeln!(text, "    default-lease-time {seconds};\n    max-lease-time {seconds};\n  }}");
    }
    _ = writeln!(text, "  if {IPXE} {{\n    filename \"{}\";", network.script());
    _ = writeln!(text, "    option wulfpack-ipxe.no-pxedhcp 1;");
    for program in &outside.programs {
        branch(text, network, program, "  } elsif");
    }
    _ = writeln!(text, "  }}\n}}");
}

fn branch(text: &mut String, network: &Network, program: &Program, word: &str) {
    let [high, low] = program.arch.0.to_be_bytes();
    // A number of 16 bits is compared as its bytes.
    _ = writeln!(text, "{word} option wulfpack-arch = {high:02x}:{low:02x} {{ # {}", program.arch);
    if program.by_http {
        _ = writeln!(text, "    option vendor-class-identifier \"HTTPClient\";");
        _ = writeln!(text, "    filename \"{}{}\";", network.base, program.file);
    } else {
        _ = writeln!(text, "    filename \"{}\";", program.file);
    }
}

fn one(text: &mut String, outside: &Outside, host: &Host) {
    let Host { name, label, mac, ip, gateway, own } = host;
    _ = writeln!(text, "\nhost {label} {{\n  hardware ethernet {mac};\n  fixed-address {ip};");
    _ = writeln!(text, "  option host-name \"{name}\";");
    if let Some(gateway) = gateway {
        _ = writeln!(text, "  option routers {gateway};");
    }
    let network = outside.networks.iter().find(|network| network.net.contains(ip)).or(outside.networks.first());
    if let (Some(network), false) = (network, own.is_empty()) {
        _ = writeln!(text, "  if {IPXE} {{\n    filename \"{}\";", network.script());
        own.iter().for_each(|program| branch(text, network, program, "  } elsif"));
        _ = writeln!(text, "  }}");
    }
    _ = writeln!(text, "}}");
}
