//! A head: the real `wulf`, with directories of its own, in the head's namespace.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;
use wulfpack_head::admin::{AdminClient, Status, TicketAnswer, TicketFor, TicketRequest};
use wulfpack_head::config::{Config, InterfaceConfig, Paths};
use wulfpack_head::fleet::{BootReport, EventRecord};

use super::kept::Kept;
use super::lab::{Lab, Port};
use super::paths::{agent_binary, head_binary};
use super::process::{Console, Process};
use super::ssh::KeyPair;
use super::tool::run;

/// How long `wulf serve` may take until it says that it is ready.
const START: Duration = Duration::from_secs(60);
/// How long it may take to end.
const STOP: Duration = Duration::from_secs(30);
/// The user that the head becomes: one that every system has.
pub const HEAD_USER: &str = "nobody";
/// How long a ticket is good for.
const TICKET_LIFE_S: u64 = 15 * 60;

/// A head that was set up, and serves after [`Head::serve`].
#[derive(Debug)]
pub struct Head {
    /// Its place in the network.
    pub port: Port,
    binary: PathBuf,
    config: PathBuf,
    paths: Paths,
    logs: PathBuf,
    sockets: PathBuf,
    service: Option<Process>,
}

impl Head {
    /// A head that was set up with `wulf init` and serves `archive` as image `name`. Root of every node accepts `key`.
    pub fn set_up(
        lab: &Lab,
        port: Port,
        key: &KeyPair,
        (archive, name): (&Path, &str),
        change: impl FnOnce(&mut Config),
    ) -> Result<Self> {
        let head = Self::prepare(lab, port, change)?;
        let kept = Kept::of(&head.binary, archive)?;
        let restored = kept.restore(head.paths())?;
        head.init(key)?;
        if !restored {
            head.add_image(archive, name)?;
            kept.keep(head.paths())?;
        }
        Ok(head)
    }

    /// Makes directories and configuration.
    pub fn prepare(lab: &Lab, port: Port, change: impl FnOnce(&mut Config)) -> Result<Self> {
        let root = lab.work().join("head");
        let mut paths = Paths::below(&root);
        paths.run = lab.sockets().join("head");
        paths.ipxe = Paths::default().ipxe;
        let agent = paths.agent_binary("x86_64");
        for path in [&paths.etc, &paths.run, agent.parent().unwrap_or(&root)] {
            fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))?;
        }
        // Not a link: the head gives up root, and the clone may be out of its reach then.
        fs::copy(agent_binary()?, &agent).with_context(|| format!("install {}", agent.display()))?;
        let mut config = Config { paths, user: HEAD_USER.into(), ..Config::default() };
        config.interfaces.insert("eth0".into(), Some(InterfaceConfig::default()));
        change(&mut config);
        let file = config.paths.etc.join("wulfpack.yaml");
        // JSON is YAML too.
        fs::write(&file, serde_json::to_string_pretty(&config)?)?;
        Ok(Self {
            port,
            binary: head_binary()?,
            config: file,
            paths: config.paths,
            logs: lab.logs().to_owned(),
            sockets: lab.sockets().to_owned(),
            service: None,
        })
    }

    /// Runs `wulf init`. Root of every node accepts `key`.
    pub fn init(&self, key: &KeyPair) -> Result<()> {
        self.wulf(&["init", "--yes"])?;
        Ok(fs::write(self.paths.authorized_keys(), format!("{}\n", key.public))?)
    }

    fn command(&self) -> Command {
        let mut command = self.port.namespace.command(&self.binary);
        command.arg("--config").arg(&self.config);
        command
    }

    /// Runs a command of `wulf` to its end and returns what it printed.
    pub fn wulf(&self, arguments: &[&str]) -> Result<String> {
        run(self.command().args(arguments))
    }

    /// Runs a command of `wulf` that may fail: its exit code, and what it printed and complained of.
    pub fn attempt(&self, arguments: &[&str]) -> Result<(Option<i32>, String)> {
        let output = self.command().args(arguments).stdin(Stdio::null()).output().context("start wulf")?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
    }

    /// Changes the configuration; it counts from the next [`Head::serve`] on.
    pub fn reconfigure(&self, change: impl FnOnce(&mut Config)) -> Result<()> {
        let mut config = Config::load(&self.config)?;
        change(&mut config);
        Ok(fs::write(&self.config, serde_json::to_string_pretty(&config)?)?)
    }

    /// Runs a command of `wulf` that prints JSON.
    pub fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let text = self.wulf(&[arguments, &["--output", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("read what wulf {} printed: {text}", arguments.join(" ")))
    }

    /// What the running head says of all nodes: at once if something changed since version `since`, else a little later.
    pub fn status(&self, since: u64) -> Result<Status> {
        self.ask(&format!("/v1/status?since={since}"))
    }

    /// Its report of the last boot of every node.
    pub fn report(&self) -> Result<BootReport> {
        self.ask("/v1/report")
    }

    /// The last events of the cluster, the newest first.
    pub fn events(&self) -> Result<Vec<EventRecord>> {
        self.ask("/v1/events?count=500")
    }

    /// A ticket for somebody who wants to join.
    pub fn ticket(&self, subject: TicketFor) -> Result<String> {
        let request = TicketRequest { subject, life_s: TICKET_LIFE_S };
        let answer: TicketAnswer = runtime()?.block_on(self.admin().post("/v1/ticket", &request))?;
        Ok(answer.ticket)
    }

    fn ask<T: DeserializeOwned>(&self, what: &str) -> Result<T> {
        runtime()?.block_on(self.admin().get(what)).with_context(|| format!("ask the head for {what}"))
    }

    fn admin(&self) -> AdminClient {
        AdminClient::new(&self.paths.admin_socket())
    }

    /// Where everything lies.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Imports a root file system as image `name` and builds it.
    pub fn add_image(&self, source: &Path, name: &str) -> Result<()> {
        self.wulf(&["image", "import", &source.to_string_lossy(), name])?;
        self.wulf(&["image", "build", name]).map(drop)
    }

    /// Puts what is on these ports into the registry, as an administrator would: the profile `default` has what they share.
    pub fn add_nodes(&self, ports: &[Port], image: &str) -> Result<()> {
        let Some(first) = ports.first() else { return Ok(()) };
        let [mask_a, mask_b, mask_c, mask_d] = (!0u32 << (32 - u32::from(first.prefix()))).to_be_bytes();
        let mask = format!("{mask_a}.{mask_b}.{mask_c}.{mask_d}");
        let shared = ["--image", image, "--netdev", "eth0", "--netmask", &mask, "--kernelargs", "quiet console=ttyS0"];
        self.wulf(&[&["profile", "set", "default", "--yes"][..], &shared].concat())?;
        for port in ports {
            let address = port.address().to_string();
            self.wulf(&["node", "add", &port.name, "--yes", "--hwaddr", &port.mac(), "--ipaddr", &address])?;
        }
        Ok(())
    }

    /// The same where there is no IPv4.
    pub fn add_nodes6(&self, ports: &[Port], image: &str) -> Result<()> {
        let shared =
            ["--image", image, "--netdev", "eth0", "--prefixlen6", "64", "--kernelargs", "quiet console=ttyS0"];
        self.wulf(&[&["profile", "set", "default", "--yes"][..], &shared].concat())?;
        for port in ports {
            let address = port.address6().to_string();
            self.wulf(&["node", "add", &port.name, "--yes", "--hwaddr", &port.mac(), "--ipaddr6", &address])?;
        }
        Ok(())
    }

    /// Starts `wulf serve` and waits until it says that it is ready, sd_notify(3).
    pub fn serve(&mut self) -> Result<()> {
        let path = self.sockets.join("notify");
        drop(fs::remove_file(&path));
        let notify = UnixDatagram::bind(&path).with_context(|| format!("bind {}", path.display()))?;
        // As systemd's own: every user of the system may write to it.
        fs::set_permissions(&path, Permissions::from_mode(0o777))?;
        let mut command = self.command();
        command.arg("serve").env("NOTIFY_SOCKET", &path).env("WULFPACK_LOG", "info,wulfpack_head=debug");
        let service = Process::start("wulf serve", command, &self.logs.join("head.log"))?;
        let deadline = Instant::now() + START;
        notify.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut message = [0; 4096];
        loop {
            if let Ok(length) = notify.recv(&mut message)
                && message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
            {
                self.service = Some(service);
                return Ok(());
            }
            if service.status().is_some() || Instant::now() > deadline {
                bail!("wulf serve did not get ready: {}", service.console().tail(15));
            }
        }
    }

    /// SIGTERM, as a package upgrade or an administrator would: it says goodbye and ends well.
    pub fn stop(&mut self) -> Result<()> {
        let service = self.service.take().context("the head does not serve")?;
        service.signal(Signal::SIGTERM);
        service.wait_success(STOP)
    }

    /// SIGKILL: no goodbye to anybody.
    pub fn kill(&mut self) -> Result<()> {
        self.service.take().map_or(Ok(()), |service| service.kill())
    }

    /// The running service.
    pub fn process(&self) -> Result<&Process> {
        self.service.as_ref().context("the head does not serve")
    }

    /// The resident set of the service, in bytes.
    pub fn memory(&self) -> Result<u64> {
        self.service.as_ref().context("the head does not serve")?.rss()
    }

    /// What the service logs.
    pub fn log(&self) -> Result<&Console> {
        self.service.as_ref().map(Process::console).context("the head does not serve")
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
