//! What is written is what the real programs read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ipnet::Ipv4Net;

use super::*;
use crate::boot::Nbps;
use crate::cli::testing::{head, wulf};
use crate::config::Config;
use crate::registry::{Defaults, Registry};

const NODES: &str = "\
nodes:
  n1: {network devices: {default: {hwaddr: '52:54:00:00:00:01', ipaddr: 10.0.0.7, netmask: 255.255.255.0, gateway: 10.0.0.253}}}
  n2: {grubboot: true, network devices: {default: {hwaddr: '52:54:00:00:00:02', ipaddr: 10.0.0.8, netmask: 255.255.255.0}}}
  n3: {boot program: mine.efi, network devices: {default: {hwaddr: '52:54:00:00:00:03', ipaddr: 10.1.0.9, netmask: 255.255.255.0}, ib: {ipaddr: 10.2.0.1}}}
";

fn outside() -> Outside {
    let config: Config = crate::config::yaml::parse(
        "domain: cluster.example\ndns: [10.0.0.53]\ndhcp: {subnets: {10.1.0.0/24: {range: 10.1.0.100-10.1.0.120, gateway: 10.1.0.254}}, reservations: {pdu1: {hwaddr: '52:54:00:00:00:77', ipaddr: 10.0.0.99}}}",
    )
    .unwrap();
    let registry = Registry::read(NODES, Defaults::default()).unwrap();
    let own: Ipv4Net = "10.0.0.1/24".parse().unwrap();
    Outside::new(&config, &Nbps::default(), &[own], &registry.resolve())
}

/// Runs a server's own check on this text; `None` where the server is not installed.
fn checked(program: &str, arguments: &[&str], text: &str) -> Option<Result<(), String>> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("conf");
    fs::write(&file, text).unwrap();
    let place = ["/usr/sbin", "/usr/local/sbin"].map(|dir| Path::new(dir).join(program));
    let program = place.into_iter().find(|path| path.exists())?;
    let file = file.to_str().unwrap();
    let arguments = arguments.iter().map(|argument| argument.replace("FILE", file));
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some(if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) })
}

#[test]
fn what_is_written_for_other_dhcp_servers_passes_their_own_checks() {
    let outside = outside();
    for (dialect, program, arguments, word) in [
        (Dialect::Isc, "dhcpd", &["-t", "-4", "-cf", "FILE"][..], "fixed-address"),
        (Dialect::Kea, "kea-dhcp4", &["-t", "FILE"], "boot-file-name"),
        (Dialect::Dnsmasq, "dnsmasq", &["--test", "--conf-file=FILE"], "dhcp-range"),
    ] {
        let text = outside.render(dialect);
        match checked(program, arguments, &text) {
            Some(result) => result.unwrap_or_else(|said| panic!("{program}: {said}\n{text}")),
            None => eprintln!("SKIPPED: {program} is not installed"),
        }
        if let Some(broken) = checked(program, arguments, &text.replace(word, "no-such-word")) {
            assert!(broken.is_err(), "{program} checks nothing");
        }
    }
}

#[test]
fn other_servers_are_told_of_every_firmware_of_ipxe_and_of_each_node() {
    for dialect in [Dialect::Isc, Dialect::Kea, Dialect::Dnsmasq] {
        let text = outside().render(dialect);
        for word in [
            "undionly.kpxe",
            "snponly.efi",
            "http://10.0.0.1:9872/nbp/snponly.efi",
            "HTTPClient",
            "http://10.0.0.1:9872/boot/${mac:hexhyp}/script.ipxe",
            "no-pxedhcp",
            "52:54:00:00:00:01",
            "10.0.0.7",
            "10.0.0.253",
            "grub/52-54-00-00-00-02/shimx64.efi",
            "mine.efi",
            "10.1.0.100",
            "10.0.0.99",
            "cluster.example",
            "tftp: true",
        ] {
            let word = if dialect == Dialect::Dnsmasq && word == "no-pxedhcp" { "encap:175,176,1b" } else { word };
            assert!(text.contains(word), "{dialect:?}: {word}\n{text}");
        }
        // Only its own machine loads through a machine's shim.
        let shims = text.matches("shimx64.efi").count();
        assert!(shims >= 1 && text.matches("grub/52-54-00-00-00-02").count() == shims, "{dialect:?}\n{text}");
    }
    let kea: String = outside().render(Dialect::Kea).lines().filter(|line| !line.starts_with("//")).collect();
    let kea: serde_json::Value = serde_json::from_str(&kea).unwrap();
    let names: BTreeSet<&str> = kea["Dhcp4"]["client-classes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|class| class["name"].as_str().unwrap())
        .collect();
    for subnet in kea["Dhcp4"]["subnet4"].as_array().unwrap() {
        for class in subnet["require-client-classes"].as_array().unwrap() {
            assert!(names.contains(class.as_str().unwrap()), "{class}");
        }
    }
}

/// A root directory with the files that an administrator has.
fn root(dir: &Path) -> PathBuf {
    let root = dir.join("root");
    for sub in ["etc/ssh", "root/.ssh"] {
        fs::create_dir_all(root.join(sub)).unwrap();
    }
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
    root
}

#[test]
fn the_hosts_file_keeps_what_is_not_ours_and_follows_the_registry() {
    let (dir, _paths) = head();
    let root = root(dir.path());
    let hosts = root.join("etc/hosts");
    let below = root.to_str().unwrap();
    wulf(dir.path(), &["node", "add", "n[1-2]", "-I", "10.0.0.1", "-M", "255.255.255.0"]).unwrap();
    wulf(dir.path(), &["configure", "hosts", "--root", below, "--dry-run"]).unwrap();
    assert_eq!(fs::read_to_string(&hosts).unwrap(), "127.0.0.1 localhost\n");
    wulf(dir.path(), &["configure", "hosts", "--root", below]).unwrap();
    let once = fs::read_to_string(&hosts).unwrap();
    assert!(once.starts_with("127.0.0.1 localhost\n# BEGIN wulfpack") && once.contains("\n10.0.0.2 n2"), "{once}");
    fs::write(&hosts, once.replace("localhost", "localhost me")).unwrap();
    wulf(dir.path(), &["node", "delete", "n2"]).unwrap();
    wulf(dir.path(), &["configure", "hosts", "--root", below]).unwrap();
    let twice = fs::read_to_string(&hosts).unwrap();
    assert!(twice.starts_with("127.0.0.1 localhost me\n") && !twice.contains(" n2"), "{twice}");
    let ino = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let before = ino(&hosts);
    wulf(dir.path(), &["configure", "hosts", "--root", below]).unwrap();
    assert_eq!(ino(&hosts), before, "what is as it should be is not written");
}

#[test]
fn exports_and_ssh_are_set_up_once_and_stay() {
    let (dir, paths) = head();
    let root = root(dir.path());
    let below = root.to_str().unwrap();
    let config = dir.path().join("wulfpack.yaml");
    let text = fs::read_to_string(&config).unwrap();
    let exports = "  exports:\n    /opt: {options: \"ro,sync\", clients: [10.0.0.0/24, \"@gpu\"]}\n    /srv/my data: {clients: [n1]}\n";
    fs::write(&config, text.replace("  exports: {}\n", exports)).unwrap();
    wulf(dir.path(), &["node", "add", "n1", "-I", "10.0.0.1", "-M", "255.255.255.0"]).unwrap();
    for output in ["json", "yaml", "name"] {
        wulf(dir.path(), &["configure", "all", "--root", below, "--dry-run", "--output", output]).unwrap();
    }
    wulf(dir.path(), &["configure", "all", "--root", below]).unwrap();
    let written = fs::read_to_string(root.join("etc/exports.d/wulfpack.exports")).unwrap();
    assert!(written.contains("/opt 10.0.0.0/24(ro,sync) @gpu(ro,sync)\n\"/srv/my data\" n1(rw,sync)\n"), "{written}");
    let public = fs::read_to_string(root.join("root/.ssh/id_ed25519.pub")).unwrap();
    let authorized = fs::read_to_string(paths.authorized_keys()).unwrap();
    assert_eq!(authorized.matches(public.trim()).count(), 1, "{authorized}");
    let known = fs::read_to_string(root.join("etc/ssh/ssh_known_hosts")).unwrap();
    assert!(known.contains("\nn1,10.0.0.1 ssh-ed25519 AAAA"), "{known}");
    // Is it the key that ssh would look for?
    let found =
        Command::new("ssh-keygen").args(["-F", "n1", "-f"]).arg(root.join("etc/ssh/ssh_known_hosts")).output().unwrap();
    assert!(found.status.success());
    wulf(dir.path(), &["configure", "all", "--root", below]).unwrap();
    assert_eq!(fs::read_to_string(paths.authorized_keys()).unwrap(), authorized);
    assert!(wulf(dir.path(), &["configure", "ssh", "--root", below, "-t", "dsa"]).is_err());
}

#[test]
fn dhcp_needs_nothing_of_its_own_and_a_head_without_interfaces_has_nothing_to_say() {
    let (dir, _paths) = head();
    wulf(dir.path(), &["configure", "dhcp"]).unwrap();
    let error = wulf(dir.path(), &["configure", "dhcp", "--external", "kea"]).unwrap_err().to_string();
    assert!(error.contains("interfaces:"), "{error}");
    let config = dir.path().join("wulfpack.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("interfaces: {}", "interfaces: {lo: {dhcp: false, tftp: true}}")).unwrap();
    let out = dir.path().join("dnsmasq.conf");
    let line = ["configure", "dhcp", "--external", "dnsmasq", "--out", out.to_str().unwrap()];
    wulf(dir.path(), &[&line[..], &["--dry-run"]].concat()).unwrap();
    assert!(!out.exists());
    wulf(dir.path(), &line).unwrap();
    assert!(fs::read_to_string(&out).unwrap().contains("dhcp-range=set:wulf-net-0,127.0.0.0,static"));
}
