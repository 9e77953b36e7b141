//! What a running head may do, and who may talk to it: the real programs, the head as its own user. And what shells ask `wulf`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use nix::sys::socket::{UnixCredentials, getsockopt, sockopt::PeerCredentials};
use nix::unistd::User;
use wulfpack_head::admin::TicketFor;
use wulfpack_head::image::Library;
use wulfpack_tests::cluster::Hosts;
use wulfpack_tests::harness::{Fetch, HEAD_USER, Lab, Port, Process, head_binary, require, run, tiny_root};

const SOON: Duration = Duration::from_secs(120);
/// CAP_NET_BIND_SERVICE and CAP_NET_RAW (capabilities(7)).
const CAPABILITIES: u64 = 1 << 10 | 1 << 13;
/// Nobody's number.
const STRANGER: &str = "65533";
/// `wulf` could not reach the head.
const UNREACHABLE: i32 = 3;

/// Who listens at a head's socket: the kernel knows.
fn listener(socket: &Path) -> Result<UnixCredentials> {
    let stream = UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
    Ok(getsockopt(&stream, PeerCredentials)?)
}

/// One line of a `status` file under /proc.
fn line<'a>(status: &'a str, key: &str) -> Result<&'a str> {
    let found = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    found.map(str::trim).with_context(|| format!("there is no line {key} in {status}"))
}

/// Checks every thread of the process: it is this user for good, and may use low ports and raw sockets, no more.
fn check_process(pid: i32, user: &User) -> Result<()> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        for (key, id) in [("Uid", user.uid.as_raw()), ("Gid", user.gid.as_raw())] {
            let ids: BTreeSet<&str> = line(&status, key)?.split_ascii_whitespace().collect();
            assert_eq!(ids, BTreeSet::from([id.to_string().as_str()]), "{status}");
        }
        for (key, expected) in [("CapEff", CAPABILITIES), ("CapPrm", CAPABILITIES), ("CapInh", 0), ("CapAmb", 0)] {
            assert_eq!(u64::from_str_radix(line(&status, key)?, 16)?, expected, "{key} of {status}");
        }
        assert_eq!(line(&status, "NoNewPrivs")?, "1");
        assert!(!line(&status, "Groups")?.split_ascii_whitespace().any(|group| group == "0"), "{status}");
    }
    Ok(())
}

/// Owner, group and mode.
fn rights(path: &Path) -> Result<(u32, u32, u32)> {
    let data = fs::symlink_metadata(path).with_context(|| format!("look at {}", path.display()))?;
    Ok((data.uid(), data.gid(), data.permissions().mode() & 0o7777))
}

/// Runs a command as another user and group of this host, to its end.
fn as_user([user, group]: &[String; 2], program: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", group, "--clear-groups", "--"]).arg(program).args(arguments);
    command.output().with_context(|| format!("start {}", program.display()))
}

#[test]
fn a_serving_head_is_its_own_user_and_what_is_secret_stays_roots() -> Result<()> {
    let hosts = Hosts::prepare("dropped", 1, None)?;
    let paths = hosts.head.paths();
    let user = User::from_name(HEAD_USER)?.context("the head's user is missing")?;
    let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
    let head = listener(&paths.admin_socket())?;
    assert_eq!(head.uid(), uid);
    check_process(head.pid(), &user)?;
    for descriptor in fs::read_dir(format!("/proc/{}/fd", head.pid()))? {
        let open = fs::read_link(descriptor?.path())?;
        assert!(!open.starts_with(paths.keys()), "a key is still open: {}", open.display());
    }

    for key in [paths.cluster_key(), paths.head_key(), paths.ssh_key(), paths.store()] {
        assert_eq!(rights(&key)?, (0, 0, 0o600), "{}", key.display());
    }
    assert_eq!(rights(&paths.keys())?, (0, 0, 0o700));
    assert_eq!(rights(&paths.nodes_file())?, (0, gid, 0o640));
    assert_eq!(rights(&paths.images())?, (0, gid, 0o2750));
    assert_eq!(rights(&paths.run)?, (uid, gid, 0o750));
    assert_eq!(rights(&paths.admin_socket())?, (uid, gid, 0o600));
    // Its group, and that alone, lets it read the registry.
    let own = [uid.to_string(), gid.to_string()];
    let stranger = [STRANGER, STRANGER].map(String::from);
    for (path, readable) in [(paths.cluster_key(), false), (paths.store(), false), (paths.nodes_file(), true)] {
        for (who, expected) in [(&own, readable), (&stranger, false)] {
            let read = as_user(who, Path::new("cat"), &[&path.to_string_lossy()])?;
            assert_eq!(read.status.success(), expected, "{who:?} reads {}", path.display());
        }
    }

    let config = paths.etc.join("wulfpack.yaml");
    let ask = ["--config", &config.to_string_lossy(), "node", "status"];
    let refused = as_user(&stranger, &head_binary()?, &ask)?;
    let words = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(UNREACHABLE), "{words}");
    assert!(words.contains("only root and its own user may ask it"), "{words}");
    assert!(hosts.head.wulf(&["node", "status"])?.contains("n1"));
    hosts.fetch(0, Duration::ZERO)?.report(SOON)?;
    hosts.succeeded();
    Ok(())
}

#[test]
fn root_builds_images_and_changes_registry_and_keys_while_the_head_serves_as_its_user() -> Result<()> {
    let hosts = Hosts::prepare("root-works", 2, None)?;
    let (head, paths) = (&hosts.head, hosts.head.paths());
    let tree = hosts.lab.work().join("tiny");
    tiny_root(&tree, 3 << 20, 1)?;
    head.add_image(&tree, "tiny")?;
    let tiny = Library::open(paths.images())?.active(&"tiny".parse()?)?;
    head.log()?.wait_for(&format!("version={:.12}", tiny.id()), SOON)?;
    let ticket = head.ticket(TicketFor::Anonymous { image: "tiny".parse()?, count: 1 })?;
    let fetch = Fetch::start(&hosts.lab, hosts.port(0)?, &ticket, Duration::ZERO)?;
    fetch.report(SOON)?;
    fetch.process.wait_success(SOON)?;
    assert!(fs::read(&fetch.file)? == fs::read(tiny.blob())?, "the host has another image than the head");
    // What belongs to the image's own users was not given to the head's group.
    let inside = rights(&paths.images().join("tiny/rootfs/etc/content"))?;
    assert_eq!(inside, rights(&tree.join("etc/content"))?);

    head.wulf(&["node", "add", "n9", "--yes", "--image", "tiny"])?;
    hosts.head.wait_for(SOON, |nodes| nodes.iter().any(|node| node.name.as_str() == "n9"))?;
    assert_eq!(rights(&paths.nodes_file())?.2, 0o640);
    head.wulf(&["key", "rotate", "--yes"])?;
    assert_eq!(rights(&paths.cluster_key())?, (0, 0, 0o600));
    let backup = hosts.lab.work().join("keys");
    head.wulf(&["key", "backup", &backup.to_string_lossy()])?;
    assert_eq!(rights(&backup)?, (0, 0, 0o600));
    // With the new key, and after a death without goodbye.
    let mut hosts = hosts;
    hosts.head.kill()?;
    hosts.head.serve()?;
    hosts.fetch(1, Duration::ZERO)?.report(SOON)?;
    hosts.succeeded();
    Ok(())
}

#[test]
fn a_head_that_cannot_read_what_it_serves_says_so_before_it_serves() -> Result<()> {
    let mut hosts = Hosts::prepare("unreadable", 1, None)?;
    hosts.head.kill()?;
    // As an administrator's copy of a backup would be.
    let nodes = hosts.head.paths().nodes_file();
    std::os::unix::fs::chown(&nodes, Some(0), Some(0))?;
    let error = format!("{:#}", hosts.head.serve().err().context("it serves")?);
    assert!(error.contains("nodes.yaml") && error.contains("`wulf init` lets it"), "{error}");
    hosts.head.wulf(&["init", "--yes"])?;
    hosts.head.serve()?;
    hosts.succeeded();
    Ok(())
}

/// A system of its own: /etc is a copy, /var/lib, /run and /usr/local/bin are empty but for `wulf`.
struct System {
    dir: PathBuf,
}

impl System {
    const PLACES: [&str; 4] = ["etc", "var/lib", "run", "usr/local/bin"];

    fn new(lab: &Lab) -> Result<Self> {
        let dir = lab.work().join("system");
        for place in Self::PLACES.iter().skip(1) {
            fs::create_dir_all(dir.join(place))?;
        }
        run(Command::new("cp").args(["-a", "/etc"]).arg(dir.join("etc")))?;
        fs::copy(head_binary()?, dir.join("usr/local/bin/wulf"))?;
        Ok(Self { dir })
    }

    /// A command in it, in the namespace of `port`.
    fn command(&self, port: &Port, arguments: &[&str]) -> Command {
        let binds: Vec<String> =
            Self::PLACES.iter().map(|place| format!("mount --bind \"$0/{place}\" /{place}")).collect();
        let mut command = port.namespace.command("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec"]);
        command.arg(format!("{}\nexec \"$@\"", binds.join("\n"))).arg(&self.dir).args(arguments);
        command
    }

    fn user(&self, name: &str) -> Result<User> {
        let passwd = fs::read_to_string(self.dir.join("etc/passwd"))?;
        let entry =
            passwd.lines().find(|line| line.starts_with(&format!("{name}:"))).context("there is no such user")?;
        let number = |field| entry.split(':').nth(field).and_then(|id| id.parse::<u32>().ok()).context("no number");
        let mut user = User::from_name("root")?.context("there is no root")?;
        (user.name, user.uid, user.gid) = (name.into(), number(2)?.into(), number(3)?.into());
        Ok(user)
    }
}

#[test]
fn a_new_head_is_set_up_by_init_alone_and_serves_within_the_bounds_of_its_unit() -> Result<()> {
    require(&["useradd", "systemd-analyze"])?;
    let mut lab = Lab::new("new-head")?;
    let (port, system) = (lab.head_port(None)?, System::new(&lab)?);
    let wulf = "/usr/local/bin/wulf";
    let init = || {
        Process::start(
            "init",
            system.command(&port, &[wulf, "init", "-I", "eth0", "--systemd"]),
            &lab.logs().join("init.log"),
        )
    };
    let first = init()?;
    first.wait_success(SOON)?;
    let said = first.console().text();
    assert!(said.contains("made the system user wulfpack"), "{said}");
    ensure!(
        User::from_name("wulfpack")?.is_none(),
        "this host's own users were changed, or it has a user wulfpack already"
    );
    let user = system.user("wulfpack")?;
    assert!(user.uid.as_raw() < 1000 && !user.uid.is_root());
    let again = init()?;
    again.wait_success(SOON)?;
    assert!(
        !again.console().text().contains("created") && !again.console().text().contains("made"),
        "{}",
        again.console().text()
    );

    let unit = "/etc/systemd/system/wulfpack.service";
    run(&mut system.command(&port, &["systemd-analyze", "verify", "--man=no", unit]))?;
    run(&mut system.command(&port, &["systemd-analyze", "security", "--offline=true", "--threshold=26", unit]))?;
    let text = fs::read_to_string(system.dir.join(unit.trim_start_matches('/')))?;
    let bounds = text.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).context("no bounds")?;
    let bounds: Vec<String> = bounds.split(' ').map(|name| name.replace("CAP_", "+").to_lowercase()).collect();
    let bounds = format!("-all,{}", bounds.join(","));
    let serve = ["setpriv", "--bounding-set", &bounds, "--no-new-privs", "--", wulf, "serve"];
    let head = Process::start("wulf serve", system.command(&port, &serve), &lab.logs().join("head.log"))?;
    head.console().wait_for("the head serves as its own user", SOON)?;
    head.console().wait_for("INFO the head serves\n", SOON)?;
    let serving = listener(&system.dir.join("run/wulfpack/admin.sock"))?;
    assert_eq!(serving.uid(), user.uid.as_raw());
    check_process(serving.pid(), &user)?;
    let status = run(&mut system.command(&port, &[wulf, "dhcp", "status", "--output", "json"]))?;
    assert!(status.contains("10.42.0.1"), "{status}");
    head.signal(Signal::SIGTERM);
    head.wait_success(SOON)?;
    lab.succeeded();
    Ok(())
}

/// What a shell offers behind these words, asked in its own way: bash by the function that it calls, the others by the call that
/// their function makes.
fn offered(shell: &str, config: &Path, words: &[&str]) -> Result<BTreeSet<String>> {
    let program = head_binary()?;
    let path = format!("{}:/usr/bin:/bin", program.parent().context("the program lies nowhere")?.display());
    let mut command = if shell == "bash" {
        let glue = "source <(wulf completion bash); COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9; f=$(complete -p wulf | \
                    sed 's/.*-F \\([^ ]*\\).*/\\1/'); $f wulf \"${@: -1}\" x; printf '%s\\n' \"${COMPREPLY[@]}\"";
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", glue, "bash"]);
        bash
    } else {
        let mut other = Command::new(program);
        other.env("COMPLETE", shell).env("_CLAP_IFS", "\n").env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string());
        other.arg("--");
        other
    };
    let printed = run(command.args(words).env("PATH", path).env("WULFPACK_CONFIG", config))?;
    // Some shells show what a word means behind it.
    let word = |line: &str| line.split([':', '\t']).next().unwrap_or_default().to_owned();
    Ok(printed.lines().map(word).filter(|word| !word.is_empty() && !word.starts_with('-')).collect())
}

#[test]
fn shells_complete_the_names_of_this_moment() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("wulfpack.yaml");
    let wulf = |arguments: &[&str]| run(Command::new(head_binary()?).arg("--config").arg(&config).args(arguments));
    wulf(&["init", "--below", &dir.path().to_string_lossy()])?;
    wulf(&["node", "add", "n[1-2],login", "--groups", "big"])?;
    for shell in ["bash", "zsh", "fish"] {
        for (words, expected) in [
            (&["wulf", "node", "show", "n"][..], &["n1", "n2"][..]),
            (&["wulf", "node", "set", "login,n"], &["login,n1", "login,n2"]),
            (&["wulf", "ssh", "@b"], &["@big"]),
            (&["wulf", "explai"], &["explain"]),
        ] {
            let expected: BTreeSet<String> = expected.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(offered(shell, &config, words)?, expected, "{shell}: {words:?}");
        }
        wulf(&["node", "add", &format!("late-{shell}")])?;
        let late = offered(shell, &config, &["wulf", "node", "show", &format!("late-{shell}")])?;
        assert_eq!(late.len(), 1, "{shell}: {late:?}");
    }
    Ok(())
}
