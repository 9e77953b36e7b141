//! Every shipped overlay for several nodes, against files in `golden`. `WULFPACK_GOLDEN=write` writes them anew: look at the
//! difference before you commit it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use wulfpack_shared::identity::SecretKey;
use wulfpack_shared::overlay::{Bundle, Context, EntryKind};

use super::*;
use crate::config::Config;
use crate::registry::{Defaults, Registry};

/// A compute node with everything, one that asks by DHCP, and one of which nothing is known.
const NODES: &str = r#"
nodes:
  full:
    groups: [gpu, login]
    cluster name: hpc
    image name: rocky
    tags: {localtime: Europe/Berlin, ntp: "10.0.0.3, 10.0.0.4", gpuMigProfiles: "3g.20gb,3g.20gb;7g.40gb", PasswordlessRoot: "true"}
    ipmi: {ipaddr: 10.2.0.1, netmask: 255.255.0.0, gateway: 10.2.0.254, username: admin, password: "it's", write: true, tags: {vlan: "42", bit-rate: "115.2"}}
    network devices:
      default: {device: eth0, hwaddr: "52:54:00:00:00:01", ipaddr: 10.0.0.1, netmask: 255.255.255.0, gateway: 10.0.0.254, ipaddr6: "fd00::1", prefixlen6: 64, gateway6: "fd00::fe", mtu: 9000, tags: {DNS1: 10.0.0.2, DNS2: 10.0.0.9, DNSSEARCH: "a.example,b.example", route1: "192.168.0.0/16,10.0.0.253"}}
      bond: {type: bond, device: bond0, ipaddr: 10.3.0.1, netmask: 255.255.0.0, tags: {mode: active-backup, miimon: "100", updelay: "200", downdelay: "200", xmit_hash_policy: layer2}}
      slave1: {device: eth1, hwaddr: "52:54:00:00:00:11", tags: {master: bond0}}
      slave2: {device: eth2, hwaddr: "52:54:00:00:00:12", tags: {master: bond0}}
      vlan: {type: vlan, device: eth0.7, ipaddr: 10.7.0.1, netmask: 255.255.0.0, tags: {parent_device: eth0, vlan_id: "7"}}
      ib: {type: infiniband, device: ib0, ipaddr: 10.4.0.1, netmask: 255.255.0.0, onboot: "false"}
    disks: {/dev/nvme0n1: {wipe_table: "true", partitions: {scratch: {number: "1", size_mib: "1024", should_exist: "true"}, swap: {number: "2", should_exist: "true"}}}}
    filesystems:
      /dev/disk/by-partlabel/scratch: {format: ext4, path: /scratch data, wipe_filesystem: "true", label: scratch, options: ["-O", "^64bit"]}
      /dev/disk/by-partlabel/swap: {format: swap, path: swap}
    resources:
      fstab: [{spec: "head:/home", file: /home, vfstype: nfs}]
      localusers: [{name: ada, uid: 2000}]
      localgroups: [{name: lab, gid: 3000, members: [ada, bob]}]
  dynamic: {image name: rocky, network devices: {default: {device: eth0, hwaddr: "52:54:00:00:00:02"}}}
  bare: {image name: rocky}
  resources:
    image name: rocky
    tags: {ntp_servers: "10.0.0.5,10.0.0.6", gpuMigProfiles: "3g.20gb,3g.20gb"}
    network devices:
      default: {type: Ethernet, device: eth0, hwaddr: "52:54:00:00:00:03", ipaddr: 10.0.0.7, netmask: 255.255.255.0, tags: {DNSSEARCH: "a.example; b.example"}}
      idle: {device: eth1, hwaddr: "52:54:00:00:00:13"}
      bond: {type: Bond, device: bond0, mtu: 9000}
      ib: {type: InfiniBand, device: ib0}
    resources:
      sfdisk: [{device: /dev/sda, label: gpt, first-lba: "2048", partitions: [{name: scratch, size: 1GiB, type: linux}, {name: boot, bootable: true}]}, {device: /dev/sdb, wipe: always, partitions: [{size: 1GiB}]}]
      mkfs: [{device: /dev/sda1, type: xfs, label: scratch, options: "-m reflink=0 -q", overwrite: true}, {device: /dev/sda2, type: ext4, size: 100M}]
      mkswap: [{device: /dev/sda3, label: swap}]
"#;

fn show(text: &mut String, bundles: &[Bundle]) {
    for entry in bundles.iter().flat_map(|bundle| &bundle.entries) {
        let secret = if entry.secret { " secret" } else { "" };
        // Git keeps only whether a file can be executed.
        let mode = if matches!(entry.kind, EntryKind::Symlink(_)) { 0o777 } else { entry.mode & !0o022 };
        _ = write!(text, "--- /{} {mode:o}{secret}", entry.path);
        match &entry.kind {
            EntryKind::File(bytes) if entry.path.ends_with("_key") => _ = writeln!(text, " ({} bytes)", bytes.len()),
            EntryKind::File(bytes) => _ = write!(text, "\n{}", String::from_utf8_lossy(bytes)),
            EntryKind::Symlink(target) => _ = writeln!(text, " -> {target}"),
            EntryKind::Directory => text.push_str(" directory\n"),
            EntryKind::Absent | EntryKind::Known { .. } | EntryKind::Packed { .. } => text.push_str(" absent\n"),
        }
    }
}

#[test]
fn every_shipped_overlay_makes_what_it_made_before() {
    let dir = tempfile::tempdir().unwrap();
    let (image, files) = (dir.path().join("images/rocky/rootfs/etc"), dir.path().join("files"));
    fs::create_dir_all(&image).unwrap();
    fs::create_dir_all(&files).unwrap();
    fs::write(image.join("passwd"), "root:x:0:0:root:/root:/bin/bash\nbin:x:1:1:bin:/bin:/sbin/nologin\n").unwrap();
    fs::write(image.join("group"), "root:x:0:\nbin:x:1:\n").unwrap();
    fs::write(files.join("passwd"), "root:x:0:0:head:/root:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/bash\n").unwrap();
    let accounts = dir.path().join("accounts");
    fs::create_dir_all(&accounts).unwrap();
    fs::write(accounts.join("passwd"), "root:x:0:0:head:/root:/bin/sh\neve:x:1002:1002::/home/eve:/bin/bash\n")
        .unwrap();
    fs::write(accounts.join("group"), "root:x:0:\neve:x:1002:\n").unwrap();
    let registry = Registry::parse(NODES, Defaults::default()).unwrap_or_else(|problems| panic!("{problems}"));
    let snapshot = registry.resolve();
    let config = Config { domain: "example".into(), dns: vec!["10.0.0.253".parse().unwrap()], ..Config::default() };
    let facts = Facts::new(
        &config,
        &snapshot,
        &["10.0.0.250".parse().unwrap()],
        "ssh-ed25519 AAAA a\n",
        SecretKey::from_seed([1; 32]),
    );
    // The tree itself: that it is what is built in, another test shows.
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/overlays");
    let renderer = Renderer::new([assets], Readable { files, images: dir.path().join("images"), accounts });
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/overlay/golden");
    let write = std::env::var_os("WULFPACK_GOLDEN").is_some_and(|word| word == "write");
    let mut wrong = vec![];
    for overlay in shipped::OVERLAYS {
        let mut text = String::new();
        for name in ["bare", "dynamic", "full", "resources"] {
            let node = snapshot.node(&name.parse().unwrap()).unwrap();
            let name = overlay.name.parse().unwrap();
            let bundles = renderer.now().render_one(&name, Context::System, node, &facts);
            _ = writeln!(text, "=== {}", node.name);
            match bundles {
                Ok(bundles) => show(&mut text, &bundles),
                Err(error) => wrong.push(format!("{}: {error}", node.name)),
            }
        }
        let path = golden.join(format!("{}.txt", overlay.name));
        if write {
            fs::create_dir_all(&golden).unwrap();
            fs::write(&path, &text).unwrap();
        } else if fs::read_to_string(&path).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", overlay.name));
        }
    }
    assert!(wrong.is_empty(), "not as in {}:\n{}", golden.display(), wrong.join("\n"));
}
