use std::fs;

use wulfpack_shared::wire::{OnFail, RootMode, SeedPolicy};

use super::*;

/// As `wwctl` 4.7 writes it.
const WAREWULF: &str = r#"nodeprofiles:
  default:
    comment: This profile is automatically included for each node
    ipxe template: default
    runtime overlay:
    - hosts
    - ssh.authorized_keys
    - syncuser
    system overlay:
    - wwinit
    - wwclient
    - fstab
    - hostname
    kernel:
      version: "5.14"
      args:
      - quiet
      - crashkernel=no
      - net.ifnames=1
    init: /sbin/init
    root: initramfs
    ipmi:
      username: admin
      password: secret
      write: "true"
      escapechar: "~"
      tags:
        vlan: "12"
    network devices:
      default:
        netmask: 255.255.255.0
        gateway: 10.0.0.254
        mtu: "9000"
    resources:
      fstab:
      - spec: warewulf:/home
        file: /home
        vfstype: nfs
        freq: 0
  gpu:
    profiles:
    - default
    image name: rocky-gpu
    tags:
      gpuMigProfiles: 9,14
    primary network: default
nodes:
  n2:
    comment: rack 7
    discoverable: "UNDEF"
    asset key: "0755"
    profiles:
    - gpu
    kernel:
      args:
      - ~quiet
      - console=ttyS0,115200
    network devices:
      default:
        type: ethernet
        onboot: "true"
        device: eth0
        hwaddr: 52:54:00:12:34:02
        ipaddr: 10.0.0.2
        ipaddr6: fd00::2
        prefixlen6: "64"
        tags:
          DNS1: 10.0.0.1
      ib:
        type: infiniband
        hwaddr: 80:00:02:08:fe:80:00:00:00:00:00:00:e4:1d:2d:03:00:5a:1b:c1
    disks:
      /dev/vda:
        wipe_table: "true"
        partitions:
          rootfs:
            number: "1"
            should_exist: "true"
    filesystems:
      /dev/disk/by-partlabel/rootfs:
        format: ext4
        path: /
        mount_options:
        - noatime
  n1:
    profiles: [default]
    image name: rocky
"#;

fn parse(text: &str) -> Registry {
    Registry::parse(text, Defaults::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(text: &str) -> String {
    Registry::parse(text, Defaults::default()).unwrap_err().to_string()
}

fn node(registry: &Registry, name: &str) -> Node {
    registry.resolve().node(&name.parse().unwrap()).unwrap().as_ref().clone()
}

#[test]
fn a_warewulf_file_loads_unchanged() {
    let registry = parse(WAREWULF);
    let n2 = node(&registry, "n2");
    assert_eq!(n2.image.as_ref().unwrap().to_string(), "rocky-gpu");
    assert_eq!(n2.profiles, ["default", "gpu"]);
    assert_eq!(n2.comment.as_deref(), Some("rack 7"), "comments are not inherited");
    assert_eq!(n2.kernel_args, ["crashkernel=no", "net.ifnames=1", "console=ttyS0,115200"]);
    assert_eq!(n2.kernel_version.as_deref(), Some("5.14"));
    assert_eq!((n2.root, n2.on_fail, n2.seed), (RootMode::Overlay, OnFail::Retry, SeedPolicy::Seconds(600)));
    let default = n2.primary().unwrap();
    assert_eq!((default.net.as_str(), default.device.as_deref()), ("default", Some("eth0")));
    assert_eq!((default.ip, default.prefix), (Some([10, 0, 0, 2].into()), Some(24)));
    assert_eq!((default.mtu, default.prefix6, default.on_boot), (Some(9000), Some(64), true));
    assert_eq!(default.gateway, Some([10, 0, 0, 254].into()));
    assert_eq!(default.tags["DNS1"], "10.0.0.1");
    assert_eq!(n2.interfaces[1].mac, None, "an InfiniBand address has no place in an Ethernet frame");
    assert_eq!(n2.resources["fstab"][0]["file"], "/home");
    assert_eq!(node(&registry, "n1").comment, None);
    let snapshot = registry.resolve();
    assert_eq!(snapshot.by_mac("52:54:00:12:34:02".parse().unwrap()).unwrap().name.as_str(), "n2");
    assert_eq!(snapshot.by_ip("10.0.0.2".parse().unwrap()).unwrap().name.as_str(), "n2");
}

#[test]
fn writing_loses_nothing_and_keeps_the_order_of_keys() {
    let registry = parse(WAREWULF);
    let text = io::render(registry.file()).unwrap();
    assert_eq!(parse(&text).file(), registry.file());
    assert!(text.find("  n2:").unwrap() < text.find("  n1:").unwrap(), "{text}");
    assert!(text.find("spec:").unwrap() < text.find("file:").unwrap(), "{text}");
    for part in ["0755", "UNDEF", "~quiet", "wipe_table", "gpuMigProfiles"] {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn nested_profiles_come_first_negations_take_out_and_cycles_end() {
    let registry = parse(
        "nodeprofiles:
  a: {profiles: [b], tags: {x: a, only: a}, system overlay: [one]}
  b: {profiles: [a], tags: {x: b}, system overlay: [two, three]}
  c: {tags: {x: c}}
nodes:
  n1: {profiles: [a, c], system overlay: [~two, four]}
  n2: {profiles: [a, c, ~c]}
  n3: {profiles: [c, a, ~b]}
",
    );
    let n1 = node(&registry, "n1");
    assert_eq!(n1.profiles, ["b", "a", "c"]);
    assert_eq!((n1.tags["x"].as_str(), n1.tags["only"].as_str()), ("c", "a"));
    let overlays: Vec<_> = n1.system_overlays.iter().map(ToString::to_string).collect();
    assert_eq!(overlays, ["three", "one", "four"]);
    assert_eq!(node(&registry, "n2").profiles, ["b", "a"]);
    assert_eq!(node(&registry, "n3").profiles, ["c", "a"]);
}

#[test]
fn resources_merge_deeply_and_their_lists_append() {
    let registry = parse(
        "nodeprofiles: {p: {resources: {fstab: [{file: /a}], conf: {x: 1, deep: {y: 2}}}}}
nodes: {n1: {profiles: [p], resources: {fstab: [{file: /b}], conf: {x: 3, deep: {z: 4}}}}}",
    );
    let n1 = node(&registry, "n1");
    assert_eq!(serde_json::to_string(&n1.resources["fstab"]).unwrap(), r#"[{"file":"/a"},{"file":"/b"}]"#);
    assert_eq!(serde_json::to_string(&n1.resources["conf"]).unwrap(), r#"{"x":3,"deep":{"y":2,"z":4}}"#);
}

#[test]
fn booleans_have_all_forms_of_yaml_and_warewulf() {
    for (text, expected) in [("true", true), ("'yes'", true), ("False", false), ("'no'", false), ("UNDEF", false)] {
        let registry = parse(&format!(
            "nodeprofiles: {{p: {{network devices: {{default: {{onboot: no}}}}}}}}
nodes: {{n1: {{profiles: [p], network devices: {{default: {{onboot: {text}}}}}}}}}"
        ));
        assert_eq!(node(&registry, "n1").interfaces[0].on_boot, expected, "{text}");
    }
}

#[test]
fn our_own_fields_are_read() {
    let registry = parse(
        "nodes: {n1: {rack: r1, seed: 2h, on fail: reboot, root size: 40%, root: tmpfs, image name: deb, profiles: }}",
    );
    let n1 = node(&registry, "n1");
    assert_eq!((n1.rack.unwrap().as_str(), n1.seed), ("r1", SeedPolicy::Seconds(7200)));
    assert_eq!((n1.on_fail, n1.root_percent, n1.root), (OnFail::Reboot, 40, RootMode::Tmpfs));
}

#[test]
fn each_mistake_is_told_with_line_place_and_fix() {
    for (text, expected) in [
        ("nodes:\n  n1:\n    imgae name: x\n", "line 3: unknown key \"imgae name\"; did you mean \"image name\"?"),
        (
            "nodes:\n  n1:\n    profiles:\n      - defualt\nnodeprofiles:\n  default:\n",
            "line 4: node n1: profiles: there is no profile \"defualt\"; did you mean \"default\"?",
        ),
        (
            "nodes:\n  n1:\n    network devices:\n      default:\n        hwaddr: 52:54:00:12:34\n",
            "line 5: node n1: network devices: default: hwaddr: \"52:54:00:12:34\": \"52:54:00:12:34\" is not a MAC",
        ),
        ("nodes:\n  n_1: {}\n", "node n_1: name: \"n_1\" is not a node name"),
        ("nodes: {n1: {}, n1: {}}", "line 1"),
        ("nodes:\n  n1: {init: sbin}", "line 2: node n1: init: \"sbin\" is not an absolute path"),
        ("nodes:\n  n1: {root: disk}", "line 2: node n1: root: \"disk\" is not one of overlay, tmpfs"),
        ("nodes: {n1: {network devices: {default: {netmask: 255.0.255.0}}}}", "is not a netmask"),
        ("nodes: {n1: {network devices: {default: {device: a/b}}}}", "is not a name that the kernel gives"),
        ("nodes: {n1: {network devices: {../x: {}}}}", "a network name has letters"),
        ("nodes: {n1: {primary network: defalt, network devices: {default: }}}", "did you mean \"default\"?"),
        ("nodeprofiles: {p: {asset key: x}}", "only a node can have this"),
        ("nodes: {n1: {kernel: {args: [\"a\\nimgfetch x\"]}}}", "control character"),
        ("nodes: {n1: {image name: ../x}}", "image name"),
    ] {
        let problems = problems(text);
        assert!(problems.contains(expected), "{text}\n{problems}\nexpected: {expected}");
    }
}

#[test]
fn an_address_has_one_owner() {
    let device =
        |mac: &str, ip: &str| format!("{{network devices: {{default: {{hwaddr: {mac}, ipaddr: {ip}, netmask: 24}}}}}}");
    let text = format!(
        "nodes:\n  n1: {}\n  n2: {}\n",
        device("52:54:00:00:00:01", "10.0.0.1"),
        device("52-54-00-00-00-01", "10.0.0.1")
    );
    let problems = problems(&text);
    assert!(problems.starts_with("2 problems"), "{problems}");
    assert!(problems.contains("line 3: node n2: network devices: default: hwaddr: 52:54:00:00:00:01 already belongs to n1 (default); each address has one owner (line 2)"), "{problems}");
    assert!(problems.contains("10.0.0.1 already belongs to n1"), "{problems}");
}

#[test]
fn a_mistake_of_a_profile_is_told_once() {
    let nodes: String = (0..100).map(|i| format!("  n{i}: {{profiles: [p]}}\n")).collect();
    let problems = problems(&format!("nodeprofiles:\n  p: {{root size: 200%}}\nnodes:\n{nodes}"));
    assert_eq!(problems, "line 2: profile p: root size: \"200%\" is not a share of the memory from 1% to 90%");
}

#[test]
fn what_works_otherwise_than_it_says_is_a_warning() {
    let registry = parse("nodes: {n1: {root: /dev/sda1, network devices: {default: {ipaddr: 10.0.0.1}}}}");
    let warnings: Vec<_> = registry.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
}

#[test]
fn ten_thousand_nodes_are_a_normal_size() {
    let nodes: String = (0..10_000)
        .map(|i| {
            format!(
                "  n{i}:\n    profiles: [default]\n    network devices:\n      default:\n        hwaddr: 52:54:00:00:{:02x}:{:02x}\n        ipaddr: 10.0.{}.{}\n",
                i / 256, i % 256, i / 250, i % 250 + 1
            )
        })
        .collect();
    let registry =
        parse(&format!("nodeprofiles:\n  default: {{network devices: {{default: {{netmask: 16}}}}}}\nnodes:\n{nodes}"));
    assert_eq!(registry.resolve().nodes().len(), 10_000);
}

#[test]
fn the_initial_registry_is_valid() {
    let registry = parse(INITIAL_YAML);
    assert_eq!(registry.resolve().nodes().len(), 0);
    assert!(registry.file().nodeprofiles.contains_key("default"));
    assert!(registry.warnings().is_empty());
}

#[test]
fn a_change_is_shown_and_saved_or_the_file_stays_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nodes.yaml");
    fs::write(&path, WAREWULF).unwrap();
    let mut editor = Editor::open(&path).unwrap();
    editor.file.nodes["n1"].image = Some("debian".into());
    editor.file.nodes["n1"].ipmi.password = Some("hush".into());
    let changes: Vec<_> = editor.changes().iter().map(ToString::to_string).collect();
    assert_eq!(changes, ["~ nodes: n1: image name: rocky -> debian", "+ nodes: n1: ipmi: password: (secret)"]);
    editor.save().unwrap();
    assert_eq!(Registry::load(&path).unwrap().file().nodes["n1"].image, Some("debian".into()));

    let before = fs::read(&path).unwrap();
    let mut editor = Editor::open(&path).unwrap();
    editor.file.nodes["n1"].init = Some("relative".into());
    assert!(matches!(editor.save(), Err(RegistryError::Invalid { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_wrong_registry_can_be_opened_to_be_mended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nodes.yaml");
    fs::write(&path, "nodes: {n1: {init: relative}}").unwrap();
    assert!(!Registry::load(&path).unwrap().errors().is_empty());
    let mut editor = Editor::open(&path).unwrap();
    editor.file.nodes["n1"].init = None;
    editor.save().unwrap();
    assert!(Registry::load(&path).unwrap().errors().is_empty());
}

#[test]
fn a_source_tells_each_change_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nodes.yaml");
    let mut source = Source::new(&path, Defaults::default());
    assert!(matches!(source.poll(), Some(Err(RegistryError::Read { .. }))));
    assert!(source.poll().is_none(), "a missing file is told once");
    fs::write(&path, "nodes: {n1: {}}").unwrap();
    assert_eq!(source.poll().unwrap().unwrap().resolve().nodes().len(), 1);
    assert!(source.poll().is_none());
    fs::write(&path, "nodes: {n1: {}, n_2: {}}").unwrap();
    assert!(matches!(source.poll(), Some(Err(RegistryError::Invalid { .. }))));
    assert!(source.poll().is_none(), "a broken file is told once");
    fs::write(&path, "nodes: {n1: {}, n2: {}}").unwrap();
    assert_eq!(source.poll().unwrap().unwrap().resolve().nodes().len(), 2);
    let same = dir.path().join("same");
    fs::write(&same, "nodes: {n1: {}, n2: {}}").unwrap();
    fs::rename(&same, &path).unwrap();
    assert!(source.poll().is_none(), "another file with the same text is no change");
}

proptest::proptest! {
    #[test]
    fn any_text_that_is_written_reads_back(value in "\\PC{0,20}", key in "[a-zA-Z0-9~:# -]{1,12}") {
        let mut file = NodesFile::default();
        let mut entry = Entry { comment: Some(value.as_str().into()), ..Entry::default() };
        entry.tags.insert(key, value.as_str().into());
        entry.kernel.args = [value.as_str()].into_iter().collect();
        file.nodes.insert("n1".into(), entry);
        let text = io::render(&file).unwrap();
        let again: NodesFile = crate::config::yaml::parse(&text).unwrap();
        proptest::prop_assert_eq!(again, file, "{}", text);
    }

    #[test]
    fn any_file_is_read_or_refused(text in "(nodes|profiles|n1|[:{}\\[\\]~,&* \n-]|[a-z]){0,60}") {
        match Registry::parse(&text, Defaults::default()) {
            Ok(registry) => drop(registry.resolve()),
            Err(problems) => drop(problems.to_string()),
        }
    }
}
