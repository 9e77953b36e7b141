//! Each mistake is found, with its fix; a good head has none.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;
use crate::admin::DhcpStatus;
use crate::cli::testing::{head, wulf};
use crate::config::{Config, Paths};
use crate::image::fixture;

struct Clinic {
    dir: tempfile::TempDir,
    paths: Paths,
}

fn clinic() -> Clinic {
    let (dir, paths) = head();
    // The names of images that other tests want have nothing in them.
    fs::remove_dir_all(paths.images()).unwrap();
    fixture::built(&paths.images(), &"debian".parse().unwrap());
    fs::set_permissions(paths.images(), Permissions::from_mode(0o2750)).unwrap();
    wulf(dir.path(), &["profile", "set", "default", "--image", "debian"]).unwrap();
    wulf(dir.path(), &["node", "add", "n1", "-H", "52:54:00:00:00:01", "--rack", "r1"]).unwrap();
    Clinic { dir, paths }
}

impl Clinic {
    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("wulfpack.yaml")
    }

    fn look(&self, running: Option<RunningHead>) -> Vec<Check> {
        let config = Config::load(&self.path());
        let config = config.as_ref().map_err(ToString::to_string);
        examine(&Patient { path: &self.path(), config, running })
    }

    fn find(&self, state: State, text: &str) -> Option<Check> {
        let checks = self.look(None);
        checks.into_iter().find(|check| check.state == state && (check.found.contains(text) || check.check == text))
    }
}

fn put(path: &Path, text: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn a_head_as_it_was_made_is_broken_only_in_what_it_has_not() {
    let clinic = clinic();
    put(&clinic.paths.agent_binary(std::env::consts::ARCH), &fs::read("/proc/self/exe").unwrap());
    let bad: Vec<Check> = clinic.look(None).into_iter().filter(|check| check.state == State::Bad).collect();
    // This test itself is linked dynamically; the images of the fixture are signed by another key.
    let expected = |check: &Check| {
        check.check == "agent"
            || check.found.contains("no key of this cluster")
            || check.check == "boot programs"
            || check.check == "service user"
    };
    assert!(bad.iter().all(expected), "{bad:#?}");
    assert!(bad.iter().any(|check| check.found.contains("linked statically")), "{bad:#?}");
    assert!(clinic.find(State::Ok, "those of all 1 nodes can be rendered").is_some());
    assert!(clinic.find(State::Ok, "built as its tree is").is_some());
    assert!(bad.iter().all(|check| check.fix.is_some()));
}

#[test]
fn what_was_broken_by_hand_is_found_with_its_fix() {
    let clinic = clinic();
    let paths = &clinic.paths;
    fs::set_permissions(paths.cluster_key(), Permissions::from_mode(0o644)).unwrap();
    let key = clinic.find(State::Bad, "key of the cluster").unwrap();
    assert!(key.fix.unwrap().contains("chmod 600"));
    fs::set_permissions(paths.cluster_key(), Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(paths.head_key()).unwrap();
    assert!(clinic.find(State::Bad, "key of this head").unwrap().found.contains("missing"));
    fs::set_permissions(paths.keys(), Permissions::from_mode(0o755)).unwrap();
    assert!(clinic.find(State::Bad, "secret keys").unwrap().fix.unwrap().contains("chmod 700"));
    fs::set_permissions(paths.nodes_file(), Permissions::from_mode(0o644)).unwrap();
    assert!(clinic.find(State::Bad, "open to everybody").is_some());
    let rootfs = paths.images().join("debian/rootfs");
    put(&rootfs.join("etc/motd"), b"new");
    assert!(
        clinic.find(State::Warning, "files of its tree differ").unwrap().fix.unwrap().contains("image build debian")
    );
    let version = fs::read_dir(paths.images().join("debian/versions")).unwrap().next().unwrap().unwrap().path();
    fs::write(version.join("blob.squashfs"), "short").unwrap();
    assert!(clinic.find(State::Bad, "another length").is_some());
    assert!(clinic.find(State::Bad, "no node can boot").is_some(), "the agent is not there");
}

#[test]
fn mistakes_of_the_registry_are_listed() {
    let clinic = clinic();
    let text = fs::read_to_string(clinic.paths.nodes_file()).unwrap();
    let more = "  n2:\n    image name: nosuch\n    system overlay: [nosuchoverlay]\n    network devices:\n      default: {hwaddr: '52:54:00:00:00:01'}\n";
    fs::write(clinic.paths.nodes_file(), format!("{text}{more}")).unwrap();
    for found in ["already belongs to n1", "there is no image \"nosuch\"", "there is no overlay \"nosuchoverlay\""] {
        assert!(clinic.find(State::Bad, found).is_some(), "{found}: {:#?}", clinic.look(None));
    }
    fs::write(clinic.path(), "interfaces: {lo: {adresses: []}}").unwrap();
    let checks = clinic.look(None);
    assert_eq!((checks.len(), checks[0].state), (1, State::Bad));
    assert!(checks[0].found.contains("addresses"), "{checks:?}");
}

#[test]
fn what_the_running_head_says_counts() {
    let clinic = clinic();
    let dhcp = DhcpStatus { other_server: Some([10, 0, 0, 254].into()), ..DhcpStatus::default() };
    let running = RunningHead { version: "0.0.1".into(), dhcp, registry_error: Some("line 3".into()) };
    let checks = clinic.look(Some(running));
    let find = |name: &str| checks.iter().find(|check| check.check == name).unwrap();
    assert_eq!((find("other DHCP servers").state, find("in force").state), (State::Bad, State::Bad));
    assert_eq!(find("head").state, State::Warning, "another version runs");
}

#[test]
fn the_exit_code_tells_whether_something_is_broken() {
    use crate::cli::testing::code;
    let clinic = clinic();
    let run = |args: &[&str]| code(clinic.dir.path(), args);
    assert_eq!(run(&["doctor", "--output", "json"]), 1);
    fs::remove_file(clinic.path()).unwrap();
    assert_eq!(run(&["doctor", "--quiet"]), 1);
}
