use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

const GOOD: &str = "nodeprofiles: {default: {}}\nnodes: {n1: {}, n2: {}}\n";
/// Two mistakes that a Warewulf file may well have.
const STANDING: &str = "nodes:\n  n1: {network devices: {default: {hwaddr: 52:54:00:00:00:01}}}\n  n2: {profiles: [gone], network devices: {default: {hwaddr: 52:54:00:00:00:01}}}\n  n3: {}\n";

struct World {
    _dir: tempfile::TempDir,
    path: PathBuf,
    history: History,
}

impl World {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (path, history) = (dir.path().join("nodes.yaml"), History::new(dir.path().join("history")));
        fs::write(&path, text).unwrap();
        Self { _dir: dir, path, history }
    }

    fn editor(&self) -> Editor {
        Editor::open(&self.path).unwrap().with_history(self.history.clone()).unwrap()
    }

    /// Names an image for a node, as a command does.
    fn set(&self, node: &str, image: &str) -> Result<Registry, RegistryError> {
        let mut editor = self.editor();
        editor.file.nodes[node].image = Some(image.into());
        editor.save_as(&deed("node set"), false).map(|(registry, _)| registry)
    }

    fn write(&self, text: &str) {
        // Another file, as editors write it: no two of them look the same by size and time.
        let new = self.path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, &self.path).unwrap();
    }

    fn source(&self) -> Source {
        Source::new(&self.path, Defaults::default()).with_history(self.history.clone())
    }

    fn deeds(&self) -> Vec<String> {
        self.history.records().unwrap().into_iter().map(|record| record.what).collect()
    }
}

fn deed(what: &str) -> Deed {
    Deed { what: what.into(), subject: "node n1".into(), why: Some("because".into()) }
}

fn image(path: &Path, node: &str) -> Option<String> {
    let registry = Registry::load(path).unwrap();
    registry.resolve().node(&node.parse().unwrap()).unwrap().image.as_ref().map(ToString::to_string)
}

#[test]
fn what_already_stands_is_listed_and_what_is_new_is_refused() {
    let world = World::new(STANDING);
    let registry = Registry::load(&world.path).unwrap();
    assert_eq!(registry.errors().0.len(), 2, "{}", registry.errors());
    assert_eq!(registry.resolve().nodes().len(), 3, "the rest of it is used");
    let registry = world.set("n3", "debian").unwrap();
    assert_eq!(registry.errors().0.len(), 2, "they still stand");

    let mut editor = world.editor();
    editor.file.nodes["n3"].profiles = ["nosuch"].into_iter().collect();
    let error = editor.save_as(&deed("node set"), false).unwrap_err().to_string();
    assert!(error.contains("node n3: profiles: there is no profile \"nosuch\"") && !error.contains("gone"), "{error}");
    let mut editor = world.editor();
    editor.file.nodes["n3"].profiles = ["nosuch"].into_iter().collect();
    editor.save_as(&deed("node set"), true).unwrap();
}

#[test]
fn every_state_is_kept_with_who_when_and_why_and_nobody_else_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new(GOOD);
    world.set("n1", "a").unwrap();
    world.set("n1", "b").unwrap();
    assert_eq!(world.deeds(), ["found", "node set", "node set"]);
    let records = world.history.records().unwrap();
    assert_eq!((records[1].number, records[1].why.as_deref()), (2, Some("because")));
    assert!(!records[1].who.is_empty() && records[1].at.0 > 0);
    assert_eq!(world.history.text(1).unwrap(), GOOD);
    assert!(world.history.text(2).unwrap().contains("image name: a"));
    assert_eq!(world.history.text(3).unwrap(), fs::read_to_string(&world.path).unwrap());
    for entry in fs::read_dir(world.history.dir()).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o007, 0);
    }
}

#[test]
fn a_state_that_was_damaged_is_not_taken_for_a_good_one() {
    let world = World::new(GOOD);
    world.set("n1", "a").unwrap();
    let path = world.history.dir().join("00000001.registry.zst");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(world.history.text(1).is_err());
    assert!(world.history.text(2).is_ok());
}

#[test]
fn a_change_by_hand_is_taken_over_and_recorded() {
    let world = World::new(GOOD);
    let mut source = world.source();
    assert_eq!(source.poll().unwrap().unwrap().resolve().nodes().len(), 2);
    world.write("nodes: {n1: {}, n2: {}, n3: {}}");
    assert_eq!(source.poll().unwrap().unwrap().resolve().nodes().len(), 3);
    assert_eq!(world.deeds(), ["found", "by hand"]);
    world.set("n3", "a").unwrap();
    assert_eq!(source.poll().unwrap().unwrap().resolve().nodes().len(), 3);
    assert_eq!(world.deeds(), ["found", "by hand", "node set"], "a command's change is recorded once");
}

#[test]
fn a_broken_change_by_hand_is_not_in_force_not_even_after_a_restart_until_it_is_mended() {
    let world = World::new(GOOD);
    let mut source = world.source();
    source.poll().unwrap().unwrap();
    let broken = "nodes: {n1: {profiles: [nosuch]}, n2: {}}";
    for text in [broken, "nodes: {n1"] {
        world.write(text);
        assert!(matches!(source.poll(), Some(Err(RegistryError::Invalid { .. }))), "{text}");
        let mut restarted = world.source();
        assert!(restarted.poll().unwrap().is_err());
        assert!(restarted.recorded().unwrap().file().nodeprofiles.contains_key("default"), "the last good state");
    }
    assert_eq!(world.deeds(), ["found"], "what was never in force is no state");

    world.write(broken);
    let error = world.set("n2", "a").unwrap_err();
    assert!(matches!(error, RegistryError::NotInForce { .. }), "{error}");
    let mut editor = world.editor();
    editor.file.nodes["n1"].profiles = List::default();
    editor.save_as(&deed("node edit"), false).unwrap();
    assert!(source.poll().unwrap().is_ok());
}

#[test]
fn what_a_command_was_told_to_save_all_the_same_is_in_force() {
    let world = World::new(GOOD);
    let mut source = world.source();
    source.poll().unwrap().unwrap();
    let mut editor = world.editor();
    editor.file.nodes["n1"].profiles = ["nosuch"].into_iter().collect();
    editor.save_as(&deed("node set"), true).unwrap();
    let registry = source.poll().unwrap().unwrap();
    assert_eq!(registry.errors().0.len(), 1);
    assert!(world.source().poll().unwrap().is_ok(), "after a restart too");
}

#[test]
fn a_killed_command_is_seen_by_the_next_one() {
    let world = World::new(GOOD);
    world.set("n1", "a").unwrap();
    // What a process that was killed between its two writes leaves: the record, and the file as it was.
    world.history.add(&deed("node set"), "nodes: {}").unwrap();
    assert_eq!(image(&world.path, "n1").as_deref(), Some("a"));
    world.set("n1", "b").unwrap();
    assert_eq!(world.deeds(), ["found", "node set", "node set", "by hand", "node set"]);
    assert_eq!(image(&world.path, "n1").as_deref(), Some("b"));
}

#[test]
fn many_writers_at_once_lose_nothing() {
    let nodes: String = (0..8).map(|n| format!("n{n}: {{}}, ")).collect();
    let world = World::new(&format!("nodes: {{{nodes}}}"));
    std::thread::scope(|scope| {
        for n in 0..8 {
            let world = &world;
            scope.spawn(move || (0..5).for_each(|_| drop(world.set(&format!("n{n}"), &format!("image{n}")).unwrap())));
        }
    });
    for n in 0..8 {
        assert_eq!(image(&world.path, &format!("n{n}")), Some(format!("image{n}")));
    }
    let numbers: Vec<u64> = world.history.records().unwrap().iter().map(|record| record.number).collect();
    assert_eq!(numbers, (1..=41).collect::<Vec<_>>());
}

#[test]
fn old_states_are_forgotten() {
    let world = World::new(GOOD);
    (0..510).for_each(|n| drop(world.history.add(&deed("x"), &n.to_string()).unwrap()));
    let records = world.history.records().unwrap();
    assert_eq!((records.len(), records[0].number, records[499].number), (500, 11, 510));
}

#[test]
fn images_overlays_and_addresses_are_checked_before_a_change_is_saved() {
    let world = World::new(
        "nodes:\n  n1: {image name: old, network devices: {default: {hwaddr: 52:54:00:00:00:01, ipaddr: 10.9.0.1, netmask: 24}}}\n  n2: {}\n",
    );
    let surroundings = Surroundings {
        images: Some(BTreeSet::from(["debian".into()])),
        overlays: Some(BTreeSet::from(["hosts".into()])),
        networks: vec!["10.0.0.1/16".parse().unwrap()],
    };
    let check = |change: &str| {
        let mut editor = Editor::open(&world.path).unwrap().with_surroundings(surroundings.clone());
        editor.file.nodes["n2"] = crate::config::yaml::parse(change).unwrap();
        editor.check(false).map(drop).map_err(|error| error.to_string())
    };
    let net = |rest: &str| format!("{{network devices: {{default: {{hwaddr: 52:54:00:00:00:02, {rest}}}}}}}");
    for (change, expected) in [
        (
            "{image name: debain}".to_owned(),
            "node n2: image name: there is no image \"debain\"; did you mean \"debian\"?",
        ),
        ("{system overlay: [host]}".into(), "system overlay: there is no overlay \"host\"; did you mean \"hosts\"?"),
        (net("ipaddr: 10.9.0.2, netmask: 24"), "10.9.0.2 lies in no network that this head serves (10.0.0.0/16)"),
        (net("ipaddr: 10.0.0.1, netmask: 16"), "10.0.0.1 is this head's own address"),
        (net("ipaddr: 10.0.255.255, netmask: 16"), "is no address of a machine"),
        (net("ipaddr: 10.0.0.2, netmask: 24"), "netmask /24 differs from that of the head's network 10.0.0.0/16"),
        (net("ipaddr: 10.0.0.2, netmask: 16, gateway: 10.9.0.1"), "its gateway 10.9.0.1 does not lie in its network"),
    ] {
        let error = check(&change).unwrap_err();
        assert!(error.contains(expected) && !error.contains("n1"), "{change}\n{error}\nexpected: {expected}");
    }
    check("{image name: debian, runtime overlay: [hosts]}").unwrap();
    check(&net("ipaddr: 10.0.0.2, netmask: 16, gateway: 10.0.0.1")).unwrap();
    // A network that the head does not know, and that the node does not boot from.
    check("{primary network: z, network devices: {z: {}, ib: {ipaddr: 192.168.0.1, netmask: 24}}}").unwrap();
}

#[test]
fn each_value_is_told_with_its_source() {
    let text = "\
nodeprofiles:
  base: {comment: not inherited, kernel: {args: [quiet, a=1]}, image name: old, tags: {x: 1}, ipmi: {password: hush}}
  gpu: {profiles: [base], image name: cuda, kernel: {args: [b=2]}, init: UNDEF}
nodes:
  n1: {comment: mine, profiles: [gpu], kernel: {args: [~quiet]}, tags: {y: 2}, groups: [login]}
";
    let registry = Registry::parse(text, Defaults::default()).unwrap();
    let file = registry.file();
    let origins = origins(file, "n1", &file.nodes["n1"]);
    let told: Vec<String> = origins
        .iter()
        .map(|Origin { field, value, sources, superseded }| {
            format!("{field}={value} {} {superseded:?}", sources.join("+"))
        })
        .collect();
    assert_eq!(
        told,
        [
            "comment=mine n1 []",
            "groups=login n1 []",
            "image name=cuda gpu [(\"base\", \"old\")]",
            "ipmi: password=(secret) base []",
            "kernel: args=a=1,b=2 base+gpu+n1 []",
            "profiles=gpu n1 []",
            "tags: x=1 base []",
            "tags: y=2 n1 []",
        ]
    );
}

#[test]
fn groups_come_from_profiles_too_and_secrets_do_not_show() {
    let text = "nodeprofiles: {p: {groups: [a, b]}}\nnodes: {n1: {profiles: [p], groups: [c, ~b, a], ipmi: {password: hush, port: 623}}}";
    let registry = Registry::parse(text, Defaults::default()).unwrap();
    let snapshot = registry.resolve();
    let n1 = snapshot.node(&"n1".parse().unwrap()).unwrap();
    assert_eq!(n1.groups, ["a", "c"]);
    assert_eq!(n1.ipmi.password.as_ref().map(Secret::expose), Some("hush"));
    let shown = format!("{n1:?}{}", serde_json::to_string(n1.as_ref()).unwrap());
    assert!(shown.contains("(secret)") && !shown.contains("hush"), "{shown}");
}

proptest::proptest! {
    /// Profiles may be merged in any grouping, as long as their order stays: `(a b) c` is `a (b c)`.
    #[test]
    fn merging_is_associative(a in entry(), b in entry(), c in entry()) {
        use super::merge::Field as _;
        let merged = |first: &Entry, second: &Entry| {
            let mut result = first.clone();
            result.merge(second);
            result
        };
        proptest::prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
    }

    /// An entry that says nothing changes nothing, on either side.
    #[test]
    fn an_empty_entry_is_neutral(a in entry()) {
        use super::merge::Field as _;
        let mut left = Entry::default();
        left.merge(&a);
        let mut right = a.clone();
        right.merge(&Entry::default());
        proptest::prop_assert_eq!(&right, &a);
        // A text that says nothing is as good as none.
        let mut twice = Entry::default();
        twice.merge(&left);
        proptest::prop_assert_eq!(twice, left);
    }

    #[test]
    fn what_is_loaded_and_saved_loads_as_the_same(entries in proptest::collection::vec(entry(), 0..6)) {
        let mut file = NodesFile::default();
        for (index, entry) in entries.into_iter().enumerate() {
            file.nodes.insert(format!("n{index}"), entry.clone());
            file.nodeprofiles.insert(format!("p{index}"), entry);
        }
        let text = io::render(&file).unwrap();
        let again = io::parse(&text).unwrap();
        proptest::prop_assert_eq!(io::render(&again).unwrap(), text);
        proptest::prop_assert_eq!(again, file);
    }
}

fn entry() -> impl proptest::strategy::Strategy<Value = Entry> {
    use proptest::prelude::*;
    let word =
        || proptest::option::of(proptest::sample::select(vec!["a", "b", "UNDEF", "true", "~x", "1e3", "0755", ""]));
    let list = || proptest::collection::vec(proptest::sample::select(vec!["a", "b", "~a", "~b", "#c"]), 0..4);
    // What has one name has one form: where forms differ, the last one replaces all before it.
    let resources = || {
        let list = proptest::collection::vec(0..3, 1..3).prop_map(|list| serde_json::json!(list));
        let map = proptest::collection::btree_map("[kl]", 0..3, 1..3).prop_map(|map| serde_json::json!(map));
        let one = (0..3).prop_map(|one| serde_json::json!(one));
        (proptest::option::of(list), proptest::option::of(map), proptest::option::of(one)).prop_map(
            |(list, map, one)| {
                let named = [("list", list), ("map", map), ("one", one)];
                named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Vec<_>>()
            },
        )
    };
    let tags = || proptest::collection::btree_map("[ab]", "[a-c~#:]{0,3}", 0..3);
    (word(), word(), list(), list(), tags(), word(), resources()).prop_map(
        |(image, init, profiles, args, tags, device, resources)| {
            let text = |value: Option<&str>| value.map(Text::from);
            let mut entry = Entry { image: text(image), init: text(init), ..Entry::default() };
            entry.profiles = profiles.into_iter().collect();
            entry.kernel.args = args.into_iter().collect();
            entry.tags = tags.into_iter().map(|(key, value)| (key, value.into())).collect();
            if device.is_some() {
                let device = NetDev { device: text(device), ..NetDev::default() };
                entry.network_devices.insert("default".into(), device);
            }
            entry.resources = resources.into_iter().collect();
            entry
        },
    )
}
