use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::config::TokenEvidence;

#[test]
fn the_shipped_file_says_what_the_defaults_are() {
    assert_eq!(Config::parse(DEFAULT_YAML).unwrap(), Config::default());
    assert_eq!(Config::parse("").unwrap(), Config::default());
    assert_eq!(Config::parse("# nothing\n\n").unwrap(), Config::default());
}

/// Paths of all keys below `value`.
fn keys(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = format!("{prefix}/{key}");
        keys(value, &path, found);
        found.insert(path);
    }
}

#[test]
fn the_shipped_file_documents_every_key() {
    let (mut ours, mut shipped) = (BTreeSet::new(), BTreeSet::new());
    keys(&serde_json::to_value(Config::default()).unwrap(), "", &mut ours);
    keys(&serde_saphyr::from_str(DEFAULT_YAML).unwrap(), "", &mut shipped);
    assert_eq!(ours, shipped);
    for key in ["dhcp:", "token:", "addresses:"] {
        assert!(DEFAULT_YAML.lines().any(|line| line.starts_with("#       ") && line.contains(key)), "{key}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_line_and_suggestion() {
    let error = Config::parse("cluster: c\nintrfaces:\n  eth1:\n").unwrap_err();
    assert_eq!(error, "line 2: unknown key \"intrfaces\"; did you mean \"interfaces\"?");
    let error = Config::parse("interfaces:\n  eth1:\n    token: aprove\n").unwrap_err();
    assert_eq!(error, "line 3: \"aprove\" is not possible here; did you mean \"approve\"?");
    let error = Config::parse("ports: {http: many}").unwrap_err();
    assert!(error.starts_with("line 1: "), "{error}");
}

#[test]
fn an_interface_without_settings_has_the_defaults() {
    let config = Config::parse("interfaces:\n  eth1:\n  eth2: {dhcp: false, token: neighbour}\n").unwrap();
    let eth1 = config.interface("eth1").unwrap();
    assert!(eth1.dhcp && eth1.token == TokenEvidence::Dhcp);
    let eth2 = config.interface("eth2").unwrap();
    assert!(!eth2.dhcp && eth2.token == TokenEvidence::Neighbour);
    assert!(config.interface("eth3").is_none());
}

#[test]
fn what_cannot_work_is_refused() {
    for (text, part) in [
        ("ports: {http: 9870}", "both use tcp port 9870"),
        ("ports: {data: 0}", "not a fixed port"),
        ("interfaces: {eth/1: }", "not a name of a network interface"),
        ("tmpfs_dirs: [/var/../etc]", "tmpfs_dirs"),
        ("tmpfs_dirs: [tmp]", "tmpfs_dirs"),
        ("domain: a_b", "domain name"),
        ("image: {keep: 0}", "at least one version"),
        ("dhcp: {lease_seconds: 5}", "120 s"),
        ("seed: soon", "how long to serve"),
    ] {
        let error = Config::parse(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn a_missing_file_names_the_command_that_writes_one() {
    let error = Config::load(Path::new("/nonexistent/wulfpack.yaml")).unwrap_err();
    assert!(error.to_string().contains("wulf init"), "{error}");
}

#[test]
fn the_schema_knows_every_key() {
    let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
    for key in serde_json::to_value(Config::default()).unwrap().as_object().unwrap().keys() {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
}
