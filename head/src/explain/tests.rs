//! What is told of a machine is what it would be told, with the values that decide it.

use std::fs;
use std::path::Path;

use wulfpack_shared::identity::SecretKey;
use wulfpack_shared::time::UnixTime;

use super::*;
use crate::boot::Arch;
use crate::config::{Config, InterfaceConfig, Paths, TokenEvidence};
use crate::dhcp::{self, Link, Policy};
use crate::image::Library;
use crate::image::fixture::built;
use crate::registry::{Defaults, Registry};
use crate::serve::BootSettings;

const NODES: &str = "\
nodeprofiles:
  default:
    image name: debian
    kernel: {args: [quiet]}
    runtime overlay: [hosts]
  disk: {ipxe template: localdisk}
nodes:
  n1:
    profiles: [default]
    kernel: {args: [console=ttyS0]}
    system overlay: [hostname]
    network devices:
      default: {hwaddr: '52:54:00:00:00:01', ipaddr: 10.0.0.7, netmask: 255.255.255.0}
  n2: {profiles: [default, disk], network devices: {default: {hwaddr: '52:54:00:00:00:02'}}}
  n3: {profiles: [disk]}
  n4: {image name: nosuch, network devices: {default: {hwaddr: '52:54:00:00:00:04', ipaddr: 10.0.0.4, netmask: 255.255.255.0}}}
";

struct Site {
    config: Config,
    boot: BootSettings,
    registry: Registry,
    library: Library,
    ssh: SecretKey,
    _dir: tempfile::TempDir,
}

fn site() -> Site {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config { paths: Paths::below(dir.path()), ..Config::default() };
    config.interfaces.insert("eth1".into(), Some(InterfaceConfig::default()));
    let library = built(&config.paths.images(), &"debian".parse().unwrap());
    let programs = dir.path().join("ipxe");
    put(&programs.join("snponly.efi"), "MZ");
    put(&config.paths.agent_binary(std::env::consts::ARCH), "agent");
    let link = Link {
        name: "eth1".into(),
        index: 2,
        mac: "52:54:00:00:00:ff".parse().unwrap(),
        addresses: vec!["10.0.0.1/24".parse().unwrap()],
        addresses6: vec![],
    };
    let options = dhcp::Options { policy: Policy::new(&config.dhcp), ..dhcp::Options::new(vec!["eth1".into()], 9872) };
    let boot = BootSettings {
        addresses: vec![("10.0.0.1".parse().unwrap(), TokenEvidence::Dhcp)],
        dhcp: options.settings(vec![link], 1),
        programs: crate::boot::Programs::find(std::slice::from_ref(&programs), []),
        program_dirs: vec![programs],
    };
    let registry = Registry::read(NODES, Defaults::default()).unwrap();
    Site { config, boot, registry, library, ssh: SecretKey::generate().unwrap(), _dir: dir }
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

impl Site {
    fn head(&self) -> Head<'_> {
        let Self { config, boot, registry, library, ssh, _dir } = self;
        let (ssh, now) = (Some(ssh), UnixTime::from_secs(1_800_000_000));
        Head { config, boot, registry, library, keys: None, ssh, state: None, once: None, now }
    }

    fn told(&self, name: &str) -> Explained {
        explain(&self.head(), &Machine::Node(name.parse().unwrap(), None), &Asks::default()).unwrap()
    }
}

fn step<'a>(explained: &'a Explained, name: &str, about: Option<&str>) -> &'a Step {
    explained.steps.iter().find(|step| step.step == name && step.about.as_deref() == about).unwrap()
}

#[test]
fn every_step_of_a_node_is_told_with_what_decides_it() {
    let site = site();
    let told = site.told("n1");
    let names: Vec<&str> = told.steps.iter().map(|step| step.step).collect();
    for name in ["dhcp", "nbp", "script", "kernel", "initramfs", "arguments", "join", "image", "root", "overlay"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let dhcp = step(&told, "dhcp", Some("UEFI x64"));
    assert_eq!(dhcp.answer.as_deref(), Some("10.0.0.7, boot file tftp://10.0.0.1/snponly.efi"));
    assert!(step(&told, "dhcp", None).values.iter().any(|value| value.value == "10.0.0.7" && value.sources == ["n1"]));
    assert!(step(&told, "nbp", Some("UEFI x64")).answer.as_ref().unwrap().starts_with("snponly.efi"));
    assert!(step(&told, "nbp", Some("BIOS")).stops, "there is no such file");
    let script = step(&told, "script", None);
    assert_eq!(script.answer.as_deref(), Some("http://10.0.0.1:9872/boot/52-54-00-00-00-01/script.ipxe"));
    assert!(script.text.as_ref().unwrap().contains("/agent/"), "{script:?}");
    let arguments = step(&told, "arguments", None);
    assert!(arguments.answer.as_ref().unwrap().contains("quiet console=ttyS0"), "{arguments:?}");
    assert_eq!(arguments.values[0].sources, ["default", "n1"]);
    let image = step(&told, "image", None);
    assert!(image.answer.as_ref().unwrap().starts_with("debian@") && image.values[0].sources == ["default"]);
    let overlay = step(&told, "overlay", Some("hostname"));
    assert!(overlay.answer.as_ref().unwrap().starts_with("system: 1 files"), "{overlay:?}");
    serde_json::to_string(&told).unwrap();
}

#[test]
fn what_boots_no_image_and_what_cannot_boot_says_so() {
    let site = site();
    let local = site.told("n2");
    let script = step(&local, "script", None);
    assert_eq!(script.values[0].sources, ["disk"]);
    assert!(script.text.as_ref().unwrap().contains("sanboot"), "{script:?}");
    assert!(!local.steps.iter().any(|step| step.step == "kernel"));
    let without = site.told("n3");
    assert!(without.stops() && without.mac.is_none() && without.steps[0].why[0].contains("--hwaddr"), "{without:?}");
    let nosuch = site.told("n4");
    let script = step(&nosuch, "script", None);
    assert!(script.stops && script.why.iter().any(|why| why.contains("nosuch")), "{script:?}");
    assert!(explain(&site.head(), &Machine::Node("n9".parse().unwrap(), None), &Asks::default()).is_err());
}

#[test]
fn a_machine_that_nobody_knows_gets_what_it_would_get() {
    let site = site();
    let asks = Asks { firmwares: vec![Firmware::Arch(Arch(7))], ..Asks::default() };
    let told = explain(&site.head(), &Machine::Mac("52:54:00:00:00:99".parse().unwrap()), &asks).unwrap();
    assert!(told.node.is_none() && told.stops());
    let dhcp = step(&told, "dhcp", None);
    assert!(dhcp.stops && dhcp.why.iter().any(|why| why.contains("no range for unknown machines")), "{dhcp:?}");
    assert!(step(&told, "dhcp", Some("UEFI x64")).answer.is_none());
    assert!(step(&told, "script", None).text.as_ref().unwrap().contains("52:54:00:00:00:99"));
}

#[test]
fn where_discovery_is_on_an_unknown_machine_boots_the_agent() {
    let mut site = site();
    let dhcp = "subnets: {10.0.0.0/24: {range: 10.0.0.100-10.0.0.103, discover: true}}";
    site.config.dhcp = crate::config::yaml::parse(dhcp).unwrap();
    site.boot.dhcp.policy = Policy::new(&site.config.dhcp);
    let told = explain(&site.head(), &Machine::Mac("52:54:00:00:00:99".parse().unwrap()), &Asks::default()).unwrap();
    let script = step(&told, "script", None);
    assert!(!script.stops && script.why[0].contains("discovery is on"), "{script:?}");
    assert!(script.why[1].contains("debian"), "{script:?}");
}

#[test]
fn a_choice_for_the_next_boot_takes_the_place_of_what_the_registry_says() {
    let site = site();
    let once = |text: &str| {
        let head = Head { once: Some(text.parse().unwrap()), ..site.head() };
        explain(&head, &Machine::Node("n2".parse().unwrap(), None), &Asks::default()).unwrap()
    };
    let default = once("default");
    assert!(default.steps.iter().any(|step| step.step == "kernel"), "{default:?}");
    assert!(step(&default, "script", None).why[0].contains("for the next boot only"));
    let image = once("nosuch");
    assert!(step(&image, "image", None).stops && step(&image, "image", None).why[0].contains("next boot only"));
}
