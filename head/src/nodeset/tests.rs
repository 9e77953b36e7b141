use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Sources `rack` and, without a name, `default`.
struct Racks;

impl Groups for Racks {
    fn all(&self) -> Result<NodeSet, GroupError> {
        set_of("n[1-20],login1,r[1-2]n[1-2]")
    }
    fn members(&self, source: Option<&str>, group: &str) -> Result<NodeSet, GroupError> {
        match (source, group) {
            (Some("rack"), "r1") => set_of("n[1-4]"),
            (Some("rack"), "r2") => set_of("n[5-8]"),
            (None, "login") => set_of("login1"),
            (Some("rack"), _) => Err(GroupError::NoGroup(format!("no rack {group}"))),
            _ => Err(GroupError::NoSource(format!("no source {source:?}"))),
        }
    }
}

fn set_of(text: &str) -> Result<NodeSet, GroupError> {
    Resolver::new(&NoGroups).resolve(text).map_err(|error| GroupError::Unreadable(error.to_string()))
}

fn resolve(text: &str) -> Result<NodeSet, NodesetError> {
    Resolver::new(&Racks).resolve(text)
}

fn fold(text: &str) -> String {
    resolve(text).unwrap_or_else(|error| panic!("{error}")).to_string()
}

fn names(text: &str) -> Vec<String> {
    resolve(text).unwrap_or_else(|error| panic!("{error}")).iter().collect()
}

#[test]
fn ranges_have_padding_steps_and_places() {
    assert_eq!(names("n[1-3,7]"), ["n1", "n2", "n3", "n7"]);
    assert_eq!(names("n[08-11]"), ["n08", "n09", "n10", "n11"]);
    assert_eq!(names("n[001-010/4,120]"), ["n001", "n005", "n009", "n120"]);
    assert_eq!(names("r[1-2]n[1-2].x"), ["r1n1.x", "r1n2.x", "r2n1.x", "r2n2.x"]);
    assert_eq!(names("n[ 1 - 3 / 2 ] , a"), ["a", "n1", "n3"]);
    assert_eq!(names("n[9-10],n09"), ["n9", "n09", "n10"]);
    assert_eq!(names("n1[9-10],m[9-10]5"), ["m95", "m105", "n19", "n110"]);
    assert_eq!(names("n0[1-2]7-x"), ["n017-x", "n027-x"]);
    assert_eq!(resolve("n[1-10000]").unwrap().len(), 10_000);
    let long = "node123456789012345678901234567890";
    assert_eq!((names(long), fold(long)), (vec![long.to_owned()], long.to_owned()));
}

#[test]
fn operators_work_from_left_to_right() {
    assert_eq!(fold("n[1-9]!n5"), "n[1-4,6-9]");
    assert_eq!(fold("n[1-9]!n5,n5"), "n[1-9]");
    assert_eq!(fold("n[1-9]!n5!n[1-2]"), "n[3-4,6-9]");
    assert_eq!(fold("n[1-3]&n2,n9^n3"), "n[2-3,9]");
    assert_eq!(fold("n[1-5]^n[4-8]"), "n[1-3,6-8]");
    assert_eq!(fold("n1&m1"), "");
    assert_eq!(fold("a,b!a"), "b");
}

#[test]
fn texts_are_folded_as_nodeset_does() {
    assert_eq!(fold("n2,n1,n3,n10,n9,a"), "a,n[1-3,9-10]");
    assert_eq!(fold("n08,n09,n10,n9"), "n[9,08-10]");
    assert_eq!(fold("n[05,99,100]"), "n[05,99,100]");
    assert_eq!(fold("n[05-06,99,100]"), "n[05-06,99-100]");
    assert_eq!(fold("n[098-100],n1000"), "n[098-100,1000]");
    assert_eq!(fold("r[1-10]n[1-10]!r5n5"), "r[1-4,6-10]n[1-10],r5n[1-4,6-10]");
    assert_eq!(fold("r[1-2]n[1-2],r3n3"), "r[1-2]n[1-2],r3n3");
    assert_eq!(fold("n1-ib0,n2-ib0,n1"), "n1,n[1-2]-ib0");
}

#[test]
fn groups_and_wildcards_stand_for_nodes() {
    assert_eq!(fold("@rack:r1"), "n[1-4]");
    assert_eq!(fold("@rack:r[1-2]!n3"), "n[1-2,4-8]");
    assert_eq!(fold("@*!n*"), "login1,r[1-2]n[1-2]");
    assert_eq!(fold("n?&@rack:r2"), "n[5-8]");
    assert_eq!(fold("n1[1-2]*,r?n1"), "n[11-12],r[1-2]n1");
    assert_eq!(fold("@login"), "login1");
    assert_eq!(fold("x*"), "");
    let error = resolve("n1,@rack:r9").unwrap_err();
    assert_eq!(error.to_string(), "nodeset \"n1,@rack:r9\", character 5: no rack r9");
    assert!(matches!(error.kind, ErrorKind::Group(GroupError::NoGroup(_))));
}

#[test]
fn names_come_in_the_order_in_which_they_were_named() {
    let order = |texts: &[&str]| Resolver::new(&Racks).in_order(texts).unwrap();
    assert_eq!(order(&["b,a[9-10],a1", "a9,c"]), ["b", "a9", "a10", "a1", "c"]);
    assert_eq!(order(&["n[1-4]!n2^n9&n[3-9]"]), ["n3", "n4", "n9"]);
}

#[test]
fn a_mistake_is_named_with_its_place() {
    for (text, expected) in [
        ("", "character 1: it names no node; all nodes are @*"),
        (" ", "character 1: it names no node"),
        ("n[1", "character 2: a '[' without ']'"),
        ("n1]", "character 3: a ']' without '['"),
        ("n[1[2]]", "character 4: brackets within brackets"),
        ("n[1-2][3]", "character 7: two ranges make one number"),
        ("n[1]2[3]", "character 6: two ranges make one number"),
        ("n[1,]", "character 5: a number is missing"),
        ("n[1-]", "character 5: a number is missing"),
        ("n[]", "character 3: a number is missing"),
        ("n[-1]", "character 3: a number is missing"),
        ("n[1-3,a-b]", "character 7: \"a\" is not a number"),
        ("n[1,3-1]", "character 5: the range counts down; write 1-3"),
        ("n[01-100]", "character 3: both ends of a padded range have the same number of digits; write 001-100"),
        ("n[1-9/0]", "character 3: a step is a number from 1 on"),
        ("n[1/2]", "character 3: a step"),
        ("n[1-9/x]", "character 3: a step"),
        ("n[1234567890123456789]", "character 3: a number has at most 18 digits"),
        ("n1234567890[123456789]", "character 2: a number has at most 18 digits"),
        ("n1 n2", "character 3: ' ' cannot stand here; write a comma between names"),
        ("n1@a", "character 3: '@' cannot stand here; a group begins with it"),
        ("é1,n/2", "character 1: 'é' cannot stand here"),
        ("a,n/2", "character 4: '/' cannot stand here"),
        (",n1", "character 1: a nodeset is missing before ','"),
        ("n1,,n2", "character 4: a nodeset is missing before ','"),
        ("n1!", "character 3: a nodeset is missing behind '!'"),
        ("@", "character 2: a nodeset is missing behind '@'"),
    ] {
        let error = resolve(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
    let long = format!("{},x y,{}", "n".repeat(200), "m".repeat(200));
    let error = resolve(&long).unwrap_err();
    assert_eq!(error.character(), 203);
    assert!(error.to_string().contains("nn,x y,mm") && error.to_string().len() < 200, "{error}");
}

#[test]
fn a_text_cannot_fill_the_memory() {
    let many = "n[0-999999/2],".repeat(9) + "n[1-999999/2]";
    assert_eq!(resolve(&many).unwrap().len(), 1_000_000);
    for text in [
        "n[1-999999999]",
        "a[1-10000]b[1-10000]",
        "a[0-99]b[0-99]c[0-99]d[0-9]",
        "a[1-600000],b[1-600000]",
        "a[1-600000]^b[1-600000]",
        "n[0-99999999/2]5",
        "@x[1-2000000]",
        "*[1-2000000]",
    ] {
        let error = resolve(text).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::TooMany(NAMES_MAX)), "{text}: {error}");
    }
    for text in ["*[1-1000000]", "@rack:r[1-1000000]"] {
        let error = resolve(text).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::TooMuch), "{error}");
    }
    let small = Resolver::new(&Racks).with_limit(3);
    assert!(matches!(small.resolve("n[1-4]").unwrap_err().kind, ErrorKind::TooMany(3)));
    assert!(matches!(small.resolve_all(&["n1", "n[2-4]"]).unwrap_err().kind, ErrorKind::TooMany(3)));
    assert!(matches!(small.resolve("@*").unwrap_err().kind, ErrorKind::TooMany(3)));
    assert_eq!(small.resolve("n1,n1,n1,n1,n1,n1,n1,n1,n1,n2").unwrap().len(), 2);
    assert!(matches!(resolve(&"n,".repeat(TEXT_MAX)).unwrap_err().kind, ErrorKind::TooMuch));
}

/// Names with up to three numbers, padded and not, close enough to each other to meet.
fn name() -> impl Strategy<Value = String> {
    let number = prop_oneof![(0..12_u32).prop_map(|n| n.to_string()), (0..120_u32).prop_map(|n| format!("{n:02}"))];
    let place = ("[ab]", number).prop_map(|(text, number)| format!("{text}{number}"));
    prop_oneof![
        place.clone(),
        (place.clone(), "[12]?").prop_map(|(a, b)| format!("{a}n{b}")),
        (place.clone(), place).prop_map(|(a, b)| a + &b),
        Just("login".to_owned()),
    ]
}

fn some_names() -> impl Strategy<Value = BTreeSet<String>> {
    prop::collection::btree_set(name(), 0..40)
}

fn model(set: &NodeSet) -> BTreeSet<String> {
    set.iter().collect()
}

proptest! {
    #[test]
    fn operations_are_those_of_sets_of_texts(a in some_names(), b in some_names()) {
        let (left, right): (NodeSet, NodeSet) = (a.iter().collect(), b.iter().collect());
        let with = |operation: fn(&mut NodeSet, &NodeSet)| {
            let mut set = left.clone();
            operation(&mut set, &right);
            (model(&set), set.len())
        };
        let counted = |names: BTreeSet<String>| (names.clone(), names.len());
        prop_assert_eq!(with(NodeSet::union), counted(&a | &b));
        prop_assert_eq!(with(NodeSet::subtract), counted(&a - &b));
        prop_assert_eq!(with(NodeSet::intersect), counted(&a & &b));
        prop_assert_eq!(with(NodeSet::toggle), counted(&a ^ &b));
        prop_assert!(a.iter().all(|name| left.contains(name)));
        prop_assert!(b.iter().all(|name| left.contains(name) == a.contains(name)));
    }

    #[test]
    fn the_laws_of_algebra_hold(a in some_names(), b in some_names(), c in some_names()) {
        let [a, b, c]: [NodeSet; 3] = [&a, &b, &c].map(|names| names.iter().collect());
        let do_ = |x: &NodeSet, operation: fn(&mut NodeSet, &NodeSet), y: &NodeSet| {
            let mut x = x.clone();
            operation(&mut x, y);
            x
        };
        let or = |x: &NodeSet, y: &NodeSet| do_(x, NodeSet::union, y);
        let and = |x: &NodeSet, y: &NodeSet| do_(x, NodeSet::intersect, y);
        let not = |x: &NodeSet, y: &NodeSet| do_(x, NodeSet::subtract, y);
        let xor = |x: &NodeSet, y: &NodeSet| do_(x, NodeSet::toggle, y);
        prop_assert_eq!(or(&a, &b), or(&b, &a));
        prop_assert_eq!(and(&a, &b), and(&b, &a));
        prop_assert_eq!(xor(&a, &b), xor(&b, &a));
        prop_assert_eq!(or(&or(&a, &b), &c), or(&a, &or(&b, &c)));
        prop_assert_eq!(and(&and(&a, &b), &c), and(&a, &and(&b, &c)));
        prop_assert_eq!(xor(&xor(&a, &b), &c), xor(&a, &xor(&b, &c)));
        prop_assert_eq!(and(&a, &or(&b, &c)), or(&and(&a, &b), &and(&a, &c)));
        prop_assert_eq!(or(&a, &and(&b, &c)), and(&or(&a, &b), &or(&a, &c)));
        prop_assert_eq!(not(&a, &or(&b, &c)), and(&not(&a, &b), &not(&a, &c)));
        prop_assert_eq!(not(&a, &and(&b, &c)), or(&not(&a, &b), &not(&a, &c)));
        prop_assert_eq!(xor(&a, &b), or(&not(&a, &b), &not(&b, &a)));
        prop_assert_eq!(or(&a, &b).len() + and(&a, &b).len(), a.len() + b.len());
        prop_assert!(not(&a, &a).is_empty() && or(&a, &a) == a && and(&a, &a) == a);
    }

    #[test]
    fn a_folded_text_is_the_same_set(names in some_names()) {
        let set: NodeSet = names.iter().collect();
        prop_assert_eq!(&model(&set), &names);
        if !names.is_empty() {
            prop_assert_eq!(resolve(&set.to_string()).unwrap(), set);
        }
    }

    #[test]
    fn any_text_is_a_bounded_set_or_a_mistake(text in "[a-c0-3n\\[\\],/@*?!&^ :-]{0,24}") {
        if let Ok(set) = Resolver::new(&Racks).with_limit(1000).resolve(&text) {
            prop_assert!(set.len() <= 1000);
            prop_assert_eq!(set.is_empty(), set.to_string().is_empty());
        }
    }

    #[test]
    fn no_text_at_all_breaks_it(text in any::<String>()) {
        let set = Resolver::new(&Racks).with_limit(1000).resolve(&text);
        prop_assert!(set.map_or(0, |set| set.len()) <= 1000);
    }
}
