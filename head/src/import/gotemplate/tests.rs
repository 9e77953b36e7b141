use std::collections::BTreeMap;

use super::*;
use crate::registry::{Defaults, Registry};

const NODES: &str = "\
nodes:
  n1:
    cluster name: blue
    tags: {role: login, DNS1: 10.0.0.1}
    kernel: {args: [quiet, a=1]}
    network devices:
      default: {device: eth0, hwaddr: 52:54:00:00:00:01, ipaddr: 10.0.0.2, netmask: 24, gateway: 10.0.0.1, tags: {DNS1: 10.0.0.1}}
      ib: {type: infiniband, device: ib0, ipaddr: 10.1.0.2, netmask: 16, mtu: 4092}
    filesystems: {/dev/sda1: {format: ext4, path: /data, mount_options: [noatime, nofail]}}
    resources: {list: [{name: a}, {name: b}]}
  n2: {}
";

/// What a template of Warewulf makes for n1 here: translated, then rendered by the engine and with the strictness of overlays.
fn rendered(template: &str) -> String {
    let translated = translate(template).unwrap_or_else(|wrong| panic!("{wrong:?}\n{template}"));
    let registry = Registry::parse(NODES, Defaults::default()).unwrap();
    let snapshot = registry.resolve();
    let nodes: Vec<_> = snapshot.nodes().map(|node| view(node)).collect();
    let mut environment = minijinja::Environment::new();
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    environment.set_syntax(
        minijinja::syntax::SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .keep_trailing_newline(true)
            .build()
            .unwrap(),
    );
    let facts = serde_json::json!({
        "node": nodes[0], "nodes": nodes, "cluster": {"heads": ["10.0.0.1"]},
        "interface": nodes[0]["interfaces"][1], "overlay": "site",
    });
    let facts: BTreeMap<String, serde_json::Value> = serde_json::from_value(facts).unwrap();
    let result =
        environment.render_str(&translated.text, minijinja::value::Value::from(minijinja::value::Serde(facts)));
    result.unwrap_or_else(|error| panic!("{error:#}\n{}", translated.text))
}

fn view(node: &crate::registry::Node) -> serde_json::Value {
    let mut view = serde_json::to_value(node).unwrap();
    let primary = node.primary;
    for (index, interface) in view["interfaces"].as_array_mut().unwrap().iter_mut().enumerate() {
        interface["primary"] = (primary == Some(index)).into();
    }
    view
}

#[test]
fn blocks_variables_and_white_space_are_go_s() {
    for (template, expected) in [
        ("a {{ .Id }} b\n", "a n1 b\n"),
        ("{{ if .ClusterName }}c={{ .ClusterName }}{{ else }}none{{ end }}\n", "c=blue\n"),
        ("{{ if .Comment }}x{{ else if eq .Id \"n1\" }}y{{ else }}z{{ end }}", "y"),
        ("x\n{{- if .Id }}\ny\n{{- end }}\n", "x\ny\n"),
        ("x\n{{ if .Id }}\ny\n{{ end }}\n", "x\n\ny\n\n"),
        ("{{ range $i, $n := .AllNodes }}{{ $i }}:{{ $n.Id }};{{ end }}", "0:n1;1:n2;"),
        ("{{ range .AllNodes }}{{ .Id }} {{ $.Id }};{{ end }}", "n1 n1;n2 n1;"),
        (
            "{{ range $name, $dev := .NetDevs }}{{ $name }}={{ $dev.Device }},{{ $dev.IpCIDR }} {{ end }}",
            "default=eth0,10.0.0.2/24 ib=ib0,10.1.0.2/16 ",
        ),
        ("{{ range $k, $v := .Tags }}{{ $k }}={{ $v }} {{ end }}", "DNS1=10.0.0.1 role=login "),
        ("{{ .Tags.role }}{{ .Tags.nosuch }}{{ index .Tags \"role\" }}", "loginlogin"),
        ("{{ .NetDevs.ib.MTU }} {{ (index .NetDevs \"default\").Hwaddr }}", "4092 52:54:00:00:00:01"),
        ("{{ $x := \"\" }}{{ range .AllNodes }}{{ $x = print $x .Id \",\" }}{{ end }}{{ $x }}", "n1,n2,"),
        ("{{ with .ClusterName }}<{{ . }}>{{ end }}{{ with .Comment }}x{{ end }}", "<blue>"),
        (
            "{{ range $d, $fs := .FileSystems }}{{ $d }} {{ $fs.Path }} {{ $fs.MountOptions }}{{ end }}",
            "/dev/sda1 /data noatime,nofail",
        ),
        ("{{ range .Resources.list }}{{ .name }}{{ end }}", "ab"),
        ("{{ range .Kernel.Args }}{{ . }} {{ end }}", "quiet a=1 "),
        ("{{/* a comment */}}${#array[@]} {% x", "${#array[@]} {% x"),
        ("{{ .Ipaddr }} {{ .NetDevs.default.Primary }}", "10.0.0.1 true"),
    ] {
        assert_eq!(rendered(template), expected, "{template}\n{:?}", translate(template));
    }
}

#[test]
fn functions_have_their_equivalents() {
    for (template, expected) in [
        (
            "{{ default \"ethernet\" (lower .NetDevs.default.Type) }} {{ .NetDevs.ib.Type | upper }}",
            "ethernet INFINIBAND",
        ),
        ("{{ if and .Id (not .Comment) (ne .Id \"n2\") }}x{{ end }}", "x"),
        ("{{ if or .Comment (eq .Id \"n3\" \"n1\") }}x{{ end }}", "x"),
        ("{{ substr 0 3 \"DNS1\" }} {{ replace \"n\" \"m\" .Id }} {{ .Id | quote }}", "DNS m1 \"n1\""),
        ("{{ printf \"%s-%s\" .Id .ClusterName }}", "n1-blue"),
        ("{{ join \",\" .Kernel.Args }} {{ len .AllNodes }}", "quiet,a=1 2"),
        ("{{ if hasPrefix \"n\" .Id }}y{{ end }}{{ if contains \"1\" .Id }}z{{ end }}", "yz"),
        ("{{ add 1 2 }} {{ ternary \"a\" \"b\" true }}", "3 a"),
        ("{{ nobackup }}x", "x"),
    ] {
        assert_eq!(rendered(template), expected, "{template}\n{:?}", translate(template));
    }
}

#[test]
fn one_file_per_network_becomes_a_name_with_the_network_in_it() {
    let template = "\
{{- /* one each */}}
{{range $devname, $netdev := .NetDevs -}}
{{- $filename := print \"ifcfg-\" $devname \".conf\" }}
{{- file $filename }}
DEVICE={{ $netdev.Device }}
{{ if $netdev.MTU -}}
MTU={{ $netdev.MTU }}
{{ end -}}
{{ end -}}
";
    let translated = translate(template).unwrap();
    assert_eq!(translated.per_network, Some(("ifcfg-".into(), ".conf".into())));
    assert_eq!(rendered(template).trim(), "DEVICE=ib0\nMTU=4092");
}

#[test]
fn what_has_no_equivalent_is_told_with_its_line_and_nothing_is_guessed() {
    let told = |template: &str| -> Vec<String> {
        translate(template).unwrap_err().into_iter().map(|(line, what)| format!("{line}: {what}")).collect()
    };
    let all = told(
        "{{ .Id }}\n{{ Include \"/etc/passwd\" }}\n{{ env \"HOME\" }}\n{{ .Nfs.Enabled }}\n{{ .NoSuch }}\n{{ regexMatch \"a\" .Id }}\n",
    );
    assert_eq!(all.len(), 5, "{all:?}");
    for (line, expected) in
        [(2, "Include is Warewulf's"), (3, "environment"), (4, "warewulf.conf"), (5, "no .NoSuch"), (6, "regexMatch")]
    {
        assert!(all.iter().any(|told| told.starts_with(&format!("{line}: ")) && told.contains(expected)), "{all:?}");
    }
    for (template, expected) in [
        ("a\n{{ if .Id }}", "2: a block without"),
        ("{{ end }}", "1: "),
        ("{{ .Id", "1: an action without"),
        ("{{ define \"x\" }}{{ end }}", "named templates"),
        ("{{ $x }}", "not declared"),
        ("{{ .Ipmi.Password }}", "secret"),
        ("{{ printf \"%03d\" 1 }}", "printf"),
    ] {
        let all = told(template).join("\n");
        assert!(all.contains(expected), "{template}: {all}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_translated_or_refused(text in "(\\{\\{-? ?|-? ?\\}\\}|if|range|end|else|\\.Id|\\$x|:=|\"a\"|\\(|\\)|\\||print|\n| |[a-z]){0,40}") {
        drop(translate(&text));
    }
}
