use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;
use crate::cli::testing::{code, head, wulf};
use crate::registry::{Controller, Node, Secret};

fn node(controller: Controller) -> Node {
    Node { ipmi: controller, ..Node::named("n1".parse().unwrap()) }
}

fn controller() -> Controller {
    let (username, password) = (Some("admin".into()), Some(Secret::new("s3cret")));
    Controller { username, password, ip: Some("10.1.0.1".parse().unwrap()), ..Controller::default() }
}

#[test]
fn ipmitool_is_called_as_its_manual_says_and_the_password_is_in_no_word() {
    let templates = Templates::new(Path::new("/nonexistent"));
    let call = templates.call(&node(controller()), Action::Cycle).unwrap();
    let expected = "ipmitool -I lanplus -H 10.1.0.1 -p 623 -U admin -E -e ~ chassis power cycle";
    assert_eq!(call.command.join(" "), expected);
    let (variable, secret) = call.secret.unwrap();
    assert_eq!((variable.as_str(), secret.expose()), ("IPMI_PASSWORD", "s3cret"));
    let own = Controller {
        username: None,
        port: Some(6230),
        interface: Some("lan".into()),
        escapechar: Some("&".into()),
        template: Some("ipmitool.tmpl".into()),
        ..controller()
    };
    let call = templates.call(&node(own), Action::Console).unwrap();
    assert_eq!(call.command.join(" "), "ipmitool -I lan -H 10.1.0.1 -p 6230 -E -e & sol activate");
    let call =
        templates.call(&node(Controller { template: Some("nobmc".into()), ..Controller::default() }), Action::Status);
    assert_eq!(call.unwrap().command, ["echo", "n1 has no management controller"]);
}

#[test]
fn a_node_that_cannot_be_asked_says_why() {
    let templates = Templates::new(Path::new("/nonexistent"));
    let told = |controller: Controller, action| templates.call(&node(controller), action).unwrap_err().to_string();
    assert!(told(Controller::default(), Action::On).contains("--ipmiaddr"));
    let named = |name: &str| Controller { template: Some(name.into()), ..controller() };
    assert!(told(named("redfish"), Action::On).contains("only ipmitool, nobmc"));
    assert!(told(named("../../etc/shadow"), Action::On).contains("there is no template"));
    assert!(told(named("nobmc"), Action::On).contains("no words for on"));
}

/// A site's template whose program says what it was called with, and what it knows of the password.
fn site(dir: &Path, etc: &Path) {
    let script = dir.join("bmc");
    let text = "#!/bin/sh\nif [ -n \"$BMC_PW\" ]; then echo \"variable ${#BMC_PW}\"; fi\n[ \"$1\" = file ] && echo \"file $(wc -c <\"$2\") $(stat -c %a \"$2\")\" && shift 2\necho \"$@\"\n[ \"$2\" != 10.1.0.2 ]\n";
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(etc.join("bmc")).unwrap();
    let script = script.display();
    fs::write(etc.join("bmc/own.yaml"), format!("password: BMC_PW\nprogram: [{script}, \"{{{{ node }}}}\", \"{{{{ ip }}}}\"]\non: [up]\nstatus: [is, it, on]\nconsole: [talk]\n")).unwrap();
    fs::write(etc.join("bmc/file.yaml"), format!("program: [{script}, file, \"{{{{ password_file }}}}\"]\non: [up]\n"))
        .unwrap();
}

#[test]
fn controllers_are_asked_many_at_a_time_and_no_password_is_shown() {
    let (dir, paths) = head();
    site(dir.path(), &paths.etc);
    let pass = dir.path().join("pass");
    fs::write(&pass, "s3cret").unwrap();
    let pass = format!("@{}", pass.display());
    wulf(
        dir.path(),
        &["node", "add", "n[1-3]", "--ipmiaddr", "10.1.0.1", "--ipmipass", &pass, "--ipmitemplate", "own"],
    )
    .unwrap();
    let run = |args: &[&str]| code(dir.path(), args);
    assert_eq!(run(&["power", "on", "n[1,3]"]), 0);
    assert_eq!(run(&["power", "on", "n[1-3]", "--fanout", "2", "--output", "json"]), 1, "the controller of n2 fails");
    assert_eq!(run(&["power", "status", "n1"]), 0);
    assert_eq!(run(&["power", "off", "n1"]), 1, "this template cannot do that");
    assert_eq!(run(&["power", "on", "n1", "--dry-run"]), 0);
    assert_eq!(run(&["power", "on", "n9"]), 4);
    assert_eq!(run(&["node", "console", "n1"]), 0);
    let node = |name: &str| {
        let registry = crate::registry::Registry::load(&paths.nodes_file()).unwrap();
        registry.resolve().node(&name.parse().unwrap()).unwrap().as_ref().clone()
    };
    let templates = Templates::new(&paths.etc);
    let outcome = |call: Call| {
        let (program, words) = call.command.split_first().unwrap();
        let mut command = std::process::Command::new(program);
        command.args(words).envs(call.secret.iter().map(|(variable, secret)| (variable, secret.expose())));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert_eq!(outcome(templates.call(&node("n1"), Action::On).unwrap()), "variable 6\nn1 10.1.0.1 up\n");
    wulf(dir.path(), &["node", "set", "n1", "--ipmitemplate", "file"]).unwrap();
    let call = templates.call(&node("n1"), Action::On).unwrap();
    let file = call.file.as_ref().unwrap().path().to_owned();
    assert_eq!(outcome(call), "file 6 600\nup\n");
    assert!(!file.exists(), "it is gone with the call");
}
