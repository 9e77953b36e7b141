//! Plans and scripts, against the scripts as they should be.

use std::net::SocketAddr;

use wulfpack_shared::id::{Hash, Mac, PublicKey, VersionId};
use wulfpack_shared::identity::HeadAddr;
use wulfpack_shared::image::{Compression, Header, KernelEntry, Part};
use wulfpack_shared::time::UnixTime;

mod build_ipxe;

use super::*;
use crate::registry::{Interface, Node};

const MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);

fn node(kernel_version: Option<&str>, kernel_args: &[&str]) -> Node {
    let interface = Interface {
        net: "default".into(),
        device: Some("eth0".into()),
        mac: Some(MAC),
        ip: Some("10.0.0.7".parse().unwrap()),
        prefix: Some(24),
        gateway: Some("10.0.0.254".parse().unwrap()),
        mtu: Some(9000),
        ..Interface::default()
    };
    Node {
        kernel_version: kernel_version.map(Into::into),
        kernel_args: kernel_args.iter().map(ToString::to_string).collect(),
        interfaces: vec![interface],
        primary: Some(0),
        ..Node::named("n1".parse().unwrap())
    }
}

fn header(releases: &[&str]) -> Header {
    let part = Part { hash: Hash::of(b"x"), len: 1 };
    let kernel = |release: &&str| KernelEntry {
        version: (*release).into(),
        kernel: part,
        modules: part,
        default_args: vec!["quiet".into(), "console=ttyS0".into()],
    };
    let kernels = releases.iter().map(kernel).collect();
    Header::new("debian".parse().unwrap(), part, Compression::Zstd, 1, 1, vec![Hash::of(b"p")], kernels, "test".into())
}

fn plan(node: &Node, header: &Header) -> Result<BootPlan, PlanError> {
    let head = HeadAddr { key: PublicKey([0xaa; 32]), control: "10.0.0.1:9870".parse().unwrap() };
    plan_by(vec![head], node, header)
}

fn plan_by(heads: Vec<HeadAddr>, node: &Node, header: &Header) -> Result<BootPlan, PlanError> {
    plan_near(heads, node, header, &[])
}

fn plan_near(
    heads: Vec<HeadAddr>,
    node: &Node,
    header: &Header,
    neighbours: &[SocketAddr],
) -> Result<BootPlan, PlanError> {
    let head = HeadSettings { heads, cluster: vec![PublicKey([0xcc; 32])], neighbour: None, debug: false };
    let visit = Visit {
        node,
        mac: MAC,
        version: VersionId([0x1d; 32]),
        header,
        format: InitramfsFormat::Zstd,
        base: "10.0.0.1:9872".parse().unwrap(),
        now: UnixTime::from_secs(1_700_000_000),
        neighbours,
        discover: false,
    };
    BootPlan::new(&head, &visit)
}

fn boot(plan: &BootPlan) -> Result<String, ScriptError> {
    Scripts::default().boot(Loader::Ipxe, DEFAULT_TEMPLATE, plan)
}

#[test]
fn the_boot_script_of_a_node_is_the_golden_one() {
    let plan = plan(&node(None, &[]), &header(&["6.1.0-28-cloud-amd64"])).unwrap();
    assert_eq!(boot(&plan).unwrap(), include_str!("boot.ipxe"));
}

#[test]
fn the_other_scripts_are_the_golden_ones() {
    let base = "10.0.0.1:9872".parse().unwrap();
    let reason = "node n1 has no image; \"wulf node set n1 --image NAME\" gives it one\nreboot ${x}";
    assert_eq!(Scripts::default().waiting(Loader::Ipxe, base, MAC, reason).unwrap(), include_str!("wait.ipxe"));
    assert_eq!(Scripts::default().autoexec(Loader::Ipxe, base).unwrap(), include_str!("autoexec.ipxe"));
}

#[test]
fn the_registrys_arguments_replace_those_of_the_image() {
    let header = header(&["6.1.0"]);
    let line = |args: &[&str]| plan(&node(None, args), &header).unwrap().command_line;
    assert!(line(&[]).ends_with(" quiet console=ttyS0 panic=30"));
    assert!(line(&["console=tty0", "a=1  b=2"]).ends_with(" console=tty0 a=1 b=2 panic=30"));
    assert!(line(&["panic=0"]).ends_with("wulf.time=1700000000 panic=0"));
    assert!(line(&[]).starts_with("initrd=token initrd=modules initrd=agent wulf.node=n1 "));
}

#[test]
fn an_address_without_its_prefix_is_left_to_dhcp() {
    let mut node = node(None, &[]);
    node.interfaces[0].prefix = None;
    assert!(!plan(&node, &header(&["6.1.0"])).unwrap().command_line.contains("wulf.ip="));
}

#[test]
fn a_machine_is_first_told_the_head_address_that_it_has_reached() {
    let head = |address: &str| HeadAddr { key: PublicKey([0xaa; 32]), control: address.parse().unwrap() };
    let mut heads: Vec<_> = (0..9).map(|last| head(&format!("192.168.5.{last}:9870"))).collect();
    heads.push(head("10.0.0.1:9870"));
    let line = plan_by(heads, &node(None, &[]), &header(&["6.1.0"])).unwrap().command_line;
    let told = line.parse::<wulfpack_shared::bootargs::BootArgs>().unwrap().heads;
    assert_eq!((told.len(), told[0].control.to_string().as_str()), (8, "10.0.0.1:9870"));
}

#[test]
fn a_kernel_is_chosen_by_release_then_by_prefix_then_by_default() {
    let header = header(&["6.1.0-9", "6.1.0", "5.10.0-1"]);
    let release = |asked| plan(&node(asked, &[]), &header).map(|plan| plan.release);
    assert_eq!(release(None).unwrap(), "6.1.0-9");
    assert_eq!(release(Some("6.1.0")).unwrap(), "6.1.0");
    assert_eq!(release(Some("5.")).unwrap(), "5.10.0-1");
    let error = release(Some("7")).unwrap_err().to_string();
    assert!(error.contains('7') && error.contains("6.1.0-9, 6.1.0, 5.10.0-1"), "{error}");
    let none = plan(&node(None, &[]), &self::header(&[])).unwrap_err().to_string();
    assert!(none.contains("it has none"), "{none}");
}

#[test]
fn what_cannot_stand_in_a_url_or_on_a_command_line_is_refused() {
    for release in ["", "a b", "../x", "a\nreboot", "a?b"] {
        assert!(matches!(plan(&node(None, &[]), &header(&[release])), Err(PlanError::Release(_))), "{release:?}");
    }
    let long = "x".repeat(1900);
    assert!(matches!(plan(&node(None, &[&long]), &header(&["6.1.0"])), Err(PlanError::TooLong { .. })));
}

#[test]
fn archives_are_known_by_their_first_bytes() {
    let zstd = zstd::encode_all(&b"070701"[..], 1).unwrap();
    assert_eq!(InitramfsFormat::of(&zstd), Some(InitramfsFormat::Zstd));
    assert_eq!(InitramfsFormat::of(b"070701000"), Some(InitramfsFormat::Plain));
    assert_eq!(InitramfsFormat::of(&[0x1f, 0x8b, 8]), Some(InitramfsFormat::Gzip));
    assert_eq!(InitramfsFormat::of(b"\xfd7zXZ\0"), Some(InitramfsFormat::Xz));
    assert_eq!(InitramfsFormat::of(b"0707"), None);
    for format in InitramfsFormat::ALL {
        assert_eq!(format.name().parse(), Ok(format));
    }
}

#[test]
fn no_kernel_argument_becomes_a_command() {
    let header = header(&["6.1.0"]);
    for (args, refused) in [
        (vec!["quiet", "||", "reboot"], true),
        (vec!["a && poweroff"], true),
        (vec!["a ; sanboot x"], true),
        (vec!["x=${net0/mac}"], true),
        (vec!["#comment"], true),
        (vec!["a=ü"], true),
        (vec!["a\0b"], true),
        (vec!["a\\"], false), // not the last word of the line
        (vec!["a=||b", "c;d", "e#f", "dyndbg=\"file", "x", "+p\"", "$x", "{}"], false),
    ] {
        let plan = plan(&node(None, &args), &header).unwrap();
        assert_eq!(matches!(boot(&plan), Err(ScriptError::Value { .. })), refused, "{args:?}");
    }
}

proptest::proptest! {
    #[test]
    fn whatever_the_arguments_the_script_has_the_same_commands(args in proptest::collection::vec(".{0,30}", 0..6), text in ".{0,400}") {
        let commands = |script: &str| -> Vec<String> {
            script.lines().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
        };
        let ends = |script: &str| script.split([' ', '\n']).filter(|word| matches!(*word, "||" | "&&" | ";")).count();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        if let Ok(plan) = plan(&node(None, &args), &header(&["6.1.0"])) && let Ok(script) = boot(&plan) {
            let golden = include_str!("boot.ipxe");
            proptest::prop_assert_eq!(commands(&script), commands(golden));
            proptest::prop_assert_eq!(ends(&script), ends(golden));
        }
        let base = "10.0.0.1:9872".parse().unwrap();
        let script = Scripts::default().waiting(Loader::Ipxe, base, MAC, &text).unwrap();
        let golden = include_str!("wait.ipxe");
        proptest::prop_assert_eq!(commands(&script), commands(golden));
        proptest::prop_assert_eq!(ends(&script), ends(golden));
    }
}

#[test]
fn the_grub_script_of_a_node_is_the_golden_one() {
    let plan = plan(&node(None, &[]), &header(&["6.1.0-28-cloud-amd64"])).unwrap();
    let script = Scripts::default().boot(Loader::Grub, DEFAULT_TEMPLATE, &plan).unwrap();
    assert_eq!(script, include_str!("grub.cfg"));
}

#[test]
fn nothing_in_a_grub_script_becomes_a_command() {
    for bad in ["a=' ; reboot", "a=\"x\"", "a=\\x", "a=\u{7f}"] {
        let plan = plan(&node(None, &[bad]), &header(&["6.1.0"])).unwrap();
        let error = Scripts::default().boot(Loader::Grub, DEFAULT_TEMPLATE, &plan).unwrap_err();
        assert!(matches!(error, ScriptError::Value { .. }), "{error}");
    }
    let harmless = plan(&node(None, &["a=$(reboot);{x}"]), &header(&["6.1.0"])).unwrap();
    let script = Scripts::default().boot(Loader::Grub, DEFAULT_TEMPLATE, &harmless).unwrap();
    assert!(script.contains("'a=$(reboot);{x}'"), "{script}");
}

#[test]
fn templates_without_an_image_are_rendered_for_both_loaders() {
    let scripts = Scripts::default();
    let place = ("10.0.0.1:9872".parse().unwrap(), MAC);
    for (loader, template, word) in [
        (Loader::Ipxe, "localdisk", "sanboot"),
        (Loader::Ipxe, "shell", "shell ||"),
        (Loader::Grub, "localdisk", "exit"),
        (Loader::Grub, "shell", "prompt"),
    ] {
        assert!(!scripts.boots_image(loader, template));
        let script = scripts.without_image(loader, template, place, "n1").unwrap();
        assert!(script.contains(word), "{script}");
    }
    assert!(scripts.boots_image(Loader::Ipxe, "default") && scripts.boots_image(Loader::Grub, "default"));
}

/// iPXE goes on to the next of a line until one succeeds; the head is the last, and the only one for token and agent.
#[test]
fn neighbours_are_asked_before_the_head() {
    let neighbours = ["10.0.0.8:9872", "10.0.0.9:9872"].map(|text| text.parse().unwrap());
    let plan = plan_near(vec![], &node(None, &[]), &header(&["6.1.0"]), &neighbours).unwrap();
    let script = boot(&plan).unwrap();
    let line = |begin: &str| script.lines().find(|line| line.starts_with(begin)).unwrap();
    for begin in ["kernel ", "initrd --name modules"] {
        let places = ["http://10.0.0.8:9872/files/", "http://10.0.0.9:9872/files/", "http://10.0.0.1:9872/files/"];
        let found: Vec<_> = places.iter().map(|place| line(begin).find(place).unwrap()).collect();
        assert!(found.is_sorted() && line(begin).matches(" || ").count() == 3, "{}", line(begin));
        assert!(line(begin).ends_with("|| goto failed"));
    }
    for begin in ["initrd --name token", "initrd --name agent"] {
        assert_eq!(line(begin).matches("http://").count(), 1, "{}", line(begin));
    }
}
