use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use wulfpack_shared::identity::SecretKey;
use wulfpack_shared::limits::OVERLAYS_MAX;
use wulfpack_shared::overlay::{Bundle, Context, Entry, EntryKind};

use super::*;
use crate::config::Config;
use crate::registry::{Defaults, Node, Registry};

const NODES: &str = "\
nodeprofiles:
  default:
    system overlay: [hostname, hosts, resolv, fstab, systemd.networkd, ssh.host_keys]
    runtime overlay: [ssh.authorized_keys]
    network devices: {default: {netmask: 255.255.255.0, gateway: 10.0.0.254}}
nodes:
  n1:
    profiles: [default]
    network devices:
      default: {device: eth0, hwaddr: '52:54:00:00:00:01', ipaddr: 10.0.0.1, ipaddr6: 'fd00::1', prefixlen6: 64, mtu: 9000}
      ib: {type: infiniband, device: ib0, ipaddr: 10.1.0.1, netmask: 16}
    primary network: default
    resources:
      fstab:
        - {spec: 'warewulf:/home', file: /home, vfstype: nfs}
        - {spec: /dev/sda1, file: /scratch space, vfstype: ext4, mntops: noatime, passno: 2}
        - {spec: 'x:/y', file: /y, vfstype: nfs4, mntops: 'ro,_netdev,nofail'}
  n2:
    profiles: [default]
    network devices:
      default: {hwaddr: '52:54:00:00:00:02', onboot: no, tags: {DNS1: 9.9.9.9, DNSSEARCH: a.example}}
  n3: {}
";

fn registry(text: &str) -> Registry {
    Registry::parse(text, Defaults::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn facts(registry: &Registry, domain: &str) -> Facts {
    let config = Config { domain: domain.into(), dns: vec!["10.0.0.253".parse().unwrap()], ..Config::default() };
    let heads = ["10.0.0.250".parse().unwrap()];
    Facts::new(
        &config,
        &registry.resolve(),
        &heads,
        "ssh-ed25519 AAAA admin\nssh-rsa BBBB b\n",
        SecretKey::from_seed([1; 32]),
    )
}

fn node(registry: &Registry, name: &str) -> Node {
    registry.resolve().node(&name.parse().unwrap()).unwrap().as_ref().clone()
}

fn shipped(name: &str) -> Vec<Bundle> {
    let registry = registry(NODES);
    Renderer::new([], Readable::default()).render(&node(&registry, name), &facts(&registry, "example")).unwrap()
}

fn entries(bundles: &[Bundle]) -> impl Iterator<Item = &Entry> {
    bundles.iter().flat_map(|bundle| &bundle.entries)
}

fn find<'a>(bundles: &'a [Bundle], path: &str) -> &'a Entry {
    entries(bundles).find(|entry| entry.path == path).unwrap_or_else(|| panic!("no {path} in {bundles:?}"))
}

fn text(bundles: &[Bundle], path: &str) -> String {
    match &find(bundles, path).kind {
        EntryKind::File(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("{path} is {other:?}"),
    }
}

#[test]
fn every_node_gets_its_name_and_the_names_of_all() {
    let bundles = shipped("n1");
    assert_eq!(text(&bundles, "etc/hostname"), "n1\n");
    assert_eq!(
        text(&bundles, "etc/hosts"),
        "127.0.0.1 localhost localhost.localdomain\n::1 localhost localhost.localdomain ip6-localhost ip6-loopback\n\
         10.0.0.250 wulf-head warewulf\n10.0.0.1 n1.example n1 n1-default n1-eth0\nfd00::1 n1.example n1 n1-default n1-eth0\n\
         10.1.0.1 n1-ib n1-ib0\n"
    );
    assert_eq!(text(&bundles, "etc/resolv.conf"), "nameserver 10.0.0.253\nsearch example\n");
    assert_eq!(text(&shipped("n2"), "etc/hostname"), "n2\n");
}

#[test]
fn network_mounts_do_not_stop_a_boot() {
    assert_eq!(
        text(&shipped("n1"), "etc/fstab"),
        "# The root is mounted by the agent. Further mounts come from `resources: fstab:` of the registry.\n\
         warewulf:/home /home nfs defaults,_netdev,nofail 0 0\n\
         /dev/sda1 /scratch\\040space ext4 noatime 0 2\n\
         x:/y /y nfs4 ro,_netdev,nofail 0 0\n"
    );
    assert_eq!(text(&shipped("n2"), "etc/fstab").lines().count(), 1, "the image's own mounts are gone");
}

#[test]
fn an_interface_with_an_address_keeps_the_one_that_the_agent_gave_it() {
    let bundles = shipped("n1");
    assert_eq!(
        text(&bundles, "etc/systemd/network/10-wulf-default.link"),
        "[Match]\nPermanentMACAddress=52:54:00:00:00:01\n\n[Link]\nName=eth0\n"
    );
    assert_eq!(
        text(&bundles, "etc/systemd/network/10-wulf-default.network"),
        "[Match]\nPermanentMACAddress=52:54:00:00:00:01\n\n[Link]\nRequiredForOnline=yes\nMTUBytes=9000\n\n[Network]\n\
         # The agent brought the interface up; its address stays while this service starts, stops and restarts.\n\
         KeepConfiguration=yes\nAddress=10.0.0.1/24\nGateway=10.0.0.254\nAddress=fd00::1/64\nDNS=10.0.0.253\nDomains=example\n"
    );
    let ib = text(&bundles, "etc/systemd/network/10-wulf-ib.network");
    assert!(ib.starts_with("[Match]\nName=ib0\n\n[Link]\nRequiredForOnline=no\n"), "{ib}");
    assert!(!entries(&bundles).any(|entry| entry.path.ends_with("ib.link")), "nothing to match it by");
}

#[test]
fn an_interface_without_an_address_asks_by_dhcp() {
    let bundles = shipped("n2");
    assert_eq!(
        text(&bundles, "etc/systemd/network/10-wulf-default.network"),
        "[Match]\nPermanentMACAddress=52:54:00:00:00:02\n\n[Link]\nRequiredForOnline=no\nActivationPolicy=manual\n\n[Network]\n\
         # The agent brought the interface up; its address stays while this service starts, stops and restarts.\n\
         KeepConfiguration=yes\nDHCP=ipv4\nDNS=10.0.0.253\nDomains=example\nDNS=9.9.9.9\nDomains=a.example\n\n[DHCPv4]\n\
         # The head knows the node by its MAC address, in the firmware, in the agent and here.\nClientIdentifier=mac\n"
    );
    let wants = find(&bundles, "etc/systemd/system/multi-user.target.wants/systemd-networkd.service");
    assert_eq!(wants.kind, EntryKind::Symlink("/lib/systemd/system/systemd-networkd.service".into()));
}

#[test]
fn host_keys_are_secret_stable_and_each_nodes_own() {
    let path = "etc/ssh/ssh_host_ed25519_key";
    let (n1, n2) = (shipped("n1"), shipped("n2"));
    let key = find(&n1, path);
    assert!(key.secret && key.mode == 0o600 && (key.uid, key.gid) == (0, 0));
    assert_ne!(text(&n1, path), text(&n2, path));
    assert_eq!(text(&n1, path), text(&shipped("n1"), path));
    let public = find(&n1, "etc/ssh/ssh_host_ed25519_key.pub");
    assert!(!public.secret && public.mode == 0o644);
    assert_eq!(find(&n1, "etc/ssh/ssh_host_rsa_key").kind, EntryKind::Absent);
}

/// `ssh-keygen -y` of OpenSSH 9.2 was given the private key of this hash, and printed this public key.
#[test]
fn a_host_key_has_the_form_of_openssh() {
    let key = HostKey::derive(&SecretKey::from_seed([1; 32]), &"n1".parse().unwrap());
    let (public, private) = (key.public(), key.private());
    assert_eq!(public, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKfmc7H0wvkYZBv25jBQyleYTR5McbmTlxk6ANYOKU1m n1");
    assert_eq!(
        blake3::hash(private.as_bytes()).to_string(),
        "3f52670b6088e16891e2a987879da46564be0fd213c1485705a6be835bafa1e7"
    );
    assert!(private.starts_with(
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n"
    ));
    assert!(private.ends_with("\n-----END OPENSSH PRIVATE KEY-----"));
    let body: String = private.lines().filter(|line| !line.starts_with('-')).collect();
    let blob = data_encoding::BASE64.decode(body.as_bytes()).unwrap();
    let section = u32::from_be_bytes(blob[94..98].try_into().unwrap()) as usize;
    assert_eq!((section % 8, 98 + section), (0, blob.len()));
}

#[test]
fn root_may_be_entered_with_the_keys_of_the_head() {
    let bundles = shipped("n1");
    assert_eq!(text(&bundles, "root/.ssh/authorized_keys"), "ssh-ed25519 AAAA admin\nssh-rsa BBBB b\n");
    assert_eq!(find(&bundles, "root/.ssh").kind, EntryKind::Directory);
    assert_eq!((find(&bundles, "root/.ssh").mode, find(&bundles, "root/.ssh/authorized_keys").mode), (0o700, 0o600));
    let order: Vec<_> =
        entries(&bundles).map(|entry| entry.path.as_str()).filter(|path| path.starts_with("root")).collect();
    assert_eq!(order, ["root/.ssh", "root/.ssh/authorized_keys"], "parents before children");
    let runtime: Vec<_> = bundles.iter().filter(|bundle| bundle.context == Context::Runtime).collect();
    assert_eq!(runtime.len(), 1);
}

#[test]
fn every_node_gets_the_agent_even_one_of_a_warewulf_file() {
    for overlays in ["", "system overlay: [wwinit, wwclient], runtime overlay: [syncuser]"] {
        let registry = registry(&format!("nodes: {{n1: {{{overlays}}}}}"));
        let bundles =
            Renderer::new([], Readable::default()).render(&node(&registry, "n1"), &facts(&registry, "")).unwrap();
        let unit = text(&bundles, "etc/systemd/system/wulf-agent.service");
        assert!(unit.contains("\nExecStart=/run/wulfpack/wulf-agent serve\n"), "{unit}");
        let wants = find(&bundles, "etc/systemd/system/multi-user.target.wants/wulf-agent.service");
        assert_eq!(wants.kind, EntryKind::Symlink("../wulf-agent.service".into()));
    }
}

/// Writes files of an overlay `site` and renders a node that has it.
fn site(files: &[(&str, &str)], nodes: &str) -> Result<Vec<Bundle>, RenderError> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("site/rootfs")).unwrap();
    for (path, content) in files {
        let path = dir.path().join("site").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    render_in(dir.path(), nodes)
}

fn render_in(dir: &Path, nodes: &str) -> Result<Vec<Bundle>, RenderError> {
    let registry = registry(nodes);
    Renderer::new([dir.to_path_buf()], Readable::default()).render(&node(&registry, "n1"), &facts(&registry, ""))
}

const SITE: &str = "nodes: {n1: {system overlay: [site], tags: {a: b}}}";

#[test]
fn a_sites_overlay_hides_the_shipped_one_and_keeps_modes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hostname/rootfs/etc/hostname");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "fixed\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    fs::create_dir(dir.path().join("hostname/rootfs/empty")).unwrap();
    let bundles = render_in(dir.path(), "nodes: {n1: {system overlay: [hostname]}}").unwrap();
    assert_eq!((text(&bundles, "etc/hostname").as_str(), find(&bundles, "etc/hostname").mode), ("fixed\n", 0o640));
    assert_eq!(find(&bundles, "empty").kind, EntryKind::Directory);
    assert!(!entries(&bundles).any(|entry| entry.path == "etc"), "the image's own directories keep their modes");
}

#[test]
fn rules_set_owner_mode_secrecy_and_context() {
    let rules =
        "paths: {etc/x: {mode: \"0400\", uid: 7, gid: 8, secret: true, context: runtime}}\nabsent: [etc/gone]\n";
    let bundles =
        site(&[("overlay.yaml", rules), ("rootfs/etc/x.j2", "{{ node.name }}"), ("rootfs/y", "y")], SITE).unwrap();
    let x = find(&bundles, "etc/x");
    assert_eq!((x.mode, x.uid, x.gid, x.secret), (0o400, 7, 8, true));
    assert_eq!(find(&bundles, "etc/gone").kind, EntryKind::Absent);
    let of_site: Vec<_> =
        bundles.iter().filter(|b| b.name.as_str() == "site").map(|b| (b.context, b.entries.len())).collect();
    assert_eq!(of_site, [(Context::System, 2), (Context::Runtime, 1)]);
}

#[test]
fn errors_name_overlay_file_and_line() {
    for (files, expected) in [
        (&[("rootfs/a.j2", "x\n{{ node.nmae }}\n")][..], "overlay site: a.j2, line 2: undefined value"),
        (&[("rootfs/a.j2", "{{ node.comment }}")], "not set for this node"),
        (&[("rootfs/a.j2", "{{ node }}")], "cannot be printed"),
        (&[("rootfs/a.j2", "{% if %}")], "overlay site: a.j2, line 1: syntax error"),
        (
            &[("rootfs/a.j2", "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}")],
            "ran out of fuel",
        ),
        (&[("rootfs/a.j2", "{% include '../../../etc/passwd' %}")], "template not found"),
        (&[("rootfs/a.j2", "{% include '/etc/passwd' %}")], "template not found"),
        (&[("overlay.yaml", "paths: {etc/nothing: {secret: true}}")], "there is no such path below rootfs"),
        (&[("overlay.yaml", "paths: {x: {mdoe: 1}}")], "did you mean \"mode\"?"),
        (&[("overlay.yaml", "paths: {x: {mode: rw}}")], "octal"),
        (&[("overlay.yaml", "absent: [../x]")], "relative to the root"),
        (&[("rootfs/a", "1"), ("rootfs/a.j2", "2")], "is made twice"),
    ] {
        let error = site(files, SITE).unwrap_err().to_string();
        assert!(error.contains(expected), "{files:?}\n{error}\nexpected: {expected}");
    }
    let error =
        render_in(Path::new("/nonexistent"), "nodes: {n1: {system overlay: [hostnam]}}").unwrap_err().to_string();
    assert!(error.contains("did you mean \"hostname\"?"), "{error}");
}

#[test]
fn no_field_of_the_registry_can_add_a_line() {
    for value in ["x\\nroot::0:0", "x\\ry", "x\\u0000", "x\\u001b[2J", "x\\u0085y"] {
        let nodes = format!("nodes: {{n1: {{system overlay: [site], tags: {{evil: \"{value}\"}}}}}}");
        let error = site(&[("rootfs/a.j2", "{{ node.tags.evil }}")], &nodes).unwrap_err();
        assert!(error.message.contains("control character"), "{error}");
        // Filters that build texts do not launder it.
        for filter in ["upper", "replace('x', 'y')", "trim", "default('z')"] {
            let template = format!("{{{{ node.tags.evil | {filter} }}}}");
            assert!(site(&[("rootfs/a.j2", &template)], &nodes).is_err(), "{filter}");
        }
    }
    let mounts = "nodes: {n1: {system overlay: [fstab], resources: {fstab: [{spec: \"a\\nb\", file: /x}]}}}";
    assert!(render_in(Path::new("/nonexistent"), mounts).is_err());
    // A value is a value, not a template.
    let nodes = "nodes: {n1: {system overlay: [site], tags: {evil: '{{ ssh.host_key }}'}}}";
    let bundles = site(&[("rootfs/a.j2", "{{ node.tags.evil }}")], nodes).unwrap();
    assert_eq!(text(&bundles, "a"), "{{ ssh.host_key }}");
}

#[test]
fn nothing_outside_an_overlay_is_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    let root = dir.path().join("site/rootfs");
    fs::create_dir_all(&root).unwrap();
    symlink("../../secret", root.join("link.j2")).unwrap();
    symlink("/", root.join("all")).unwrap();
    let bundles = render_in(dir.path(), SITE).unwrap();
    assert_eq!(find(&bundles, "link.j2").kind, EntryKind::Symlink("../../secret".into()));
    assert_eq!(find(&bundles, "all").kind, EntryKind::Symlink("/".into()));
    assert_eq!(entries(&bundles).count(), 4, "no link was followed: {bundles:?}");

    symlink("../secret", dir.path().join("site/overlay.yaml")).unwrap();
    assert!(render_in(dir.path(), SITE).is_err());
}

#[test]
fn what_is_too_large_or_no_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("site/rootfs");
    fs::create_dir_all(&root).unwrap();
    fs::File::create(root.join("big")).unwrap().set_len(OVERLAYS_MAX as u64 + 1).unwrap();
    let error = render_in(dir.path(), SITE).unwrap_err();
    assert!(error.message.contains("bytes together"), "{error}");
    fs::remove_file(root.join("big")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap());
    let error = render_in(dir.path(), SITE).unwrap_err();
    assert!(error.message.contains("only files"), "{error}");
}

#[test]
fn what_is_built_in_is_what_is_shipped() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/overlays");
    let registry = registry(NODES);
    let facts = facts(&registry, "example");
    for name in ["n1", "n2", "n3"] {
        let node = node(&registry, name);
        let sort = |mut bundles: Vec<Bundle>| {
            bundles.iter_mut().flat_map(|bundle| &mut bundle.entries).for_each(|entry| {
                // The group's write permission depends on who checked the sources out.
                entry.mode &= !0o022;
            });
            bundles
        };
        let built_in = sort(Renderer::new([], Readable::default()).render(&node, &facts).unwrap());
        assert_eq!(built_in, sort(Renderer::new([dir.clone()], Readable::default()).render(&node, &facts).unwrap()));
    }
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, shipped::OVERLAYS.iter().map(|overlay| overlay.name).collect::<Vec<_>>());
}
