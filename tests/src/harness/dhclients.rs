//! DHCP clients and a relay as systems have them: busybox's udhcpc, ISC's dhclient and dhcrelay.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use super::lab::{Lab, Port};
use super::process::{Console, Process};
use super::tool::require;

/// How long a client may take for one exchange.
const SOON: Duration = Duration::from_secs(60);
/// What udhcpc runs: it uses the address, and says what it was told.
const UDHCPC: &str = r#"#!/bin/sh
case $1 in
deconfig) ip -4 address flush dev "$interface" ;;
bound | renew)
    ip -4 address flush dev "$interface"
    ip address add "$ip/$mask" dev "$interface"
    [ -n "$router" ] && ip route replace default via "$router" ;;
esac
line="event=$1"
for name in ip mask router dns domain hostname lease serverid siaddr boot_file bootfile ntpsrv message; do
    eval "value=\$$name"
    line="$line|$name=$value"
done
echo "|$line|"
"#;
/// What dhclient runs.
const DHCLIENT: &str = r#"#!/bin/sh
case $reason in
PREINIT | EXPIRE | STOP) ip -4 address flush dev "$interface" ;;
BOUND | REBOOT) ip -4 address flush dev "$interface"; ip address add "$new_ip_address/16" dev "$interface" ;;
esac
echo "|event=$reason|ip=$new_ip_address|hostname=$new_host_name|serverid=$new_dhcp_server_identifier|lease=$new_dhcp_lease_time|"
"#;

/// What a client was told, by its own names: `ip`, `mask`, `router`, `lease`, `serverid`, `message`, …
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told(BTreeMap<String, String>);

impl Told {
    /// A value; empty if it was not told.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

/// A client that runs until it is dropped.
#[derive(Debug)]
pub struct DhcpClient {
    process: Process,
    seen: usize,
}

impl DhcpClient {
    /// Starts busybox's udhcpc on `eth0` of `port` with these further arguments.
    pub fn udhcpc(lab: &Lab, port: &Port, arguments: &[&str]) -> Result<Self> {
        require(&["udhcpc"])?;
        let script = script(lab, port, "udhcpc", UDHCPC)?;
        let mut command = port.namespace.command("udhcpc");
        command.args(["-f", "-i", "eth0", "-t", "8", "-T", "2", "-s"]).arg(script).args(arguments);
        Self::start(lab, port, "udhcpc", command)
    }

    /// Starts ISC's dhclient on `eth0` of `port` with this configuration. What it was lent before, it asks for again.
    pub fn dhclient(lab: &Lab, port: &Port, configuration: &str) -> Result<Self> {
        require(&["dhclient"])?;
        let script = script(lab, port, "dhclient", DHCLIENT)?;
        let file = |end: &str| lab.work().join(format!("{}.dhclient.{end}", port.name));
        fs::write(file("conf"), configuration)?;
        let mut command = port.namespace.command("dhclient");
        command.args(["-4", "-d", "-1", "-sf"]).arg(script).arg("-cf").arg(file("conf"));
        command.arg("-lf").arg(file("leases")).arg("-pf").arg(file("pid")).arg("eth0");
        Self::start(lab, port, "dhclient", command)
    }

    fn start(lab: &Lab, port: &Port, name: &str, command: std::process::Command) -> Result<Self> {
        let process = Process::start(name, command, &lab.logs().join(format!("{}.{name}.log", port.name)))?;
        Ok(Self { process, seen: 0 })
    }

    /// Waits for the next event of this name, such as `bound`, and returns what came with it.
    pub fn wait(&mut self, event: &str) -> Result<Told> {
        let console = self.process.console();
        let begun = console.wait_for_after(self.seen, &format!("|event={event}|"), SOON)?;
        self.seen = console.wait_for_after(begun, "\n", SOON)?;
        let text = console.text();
        let line = text.get(begun..self.seen).context("the console was cut")?;
        let pairs = line.trim_end().split('|').filter_map(|pair| pair.split_once('='));
        Ok(Told(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }

    /// Asks udhcpc to renew its lease.
    pub fn renew(&self) {
        self.process.signal(Signal::SIGUSR1);
    }

    /// Has udhcpc give its lease back.
    pub fn release(&self) {
        self.process.signal(Signal::SIGUSR2);
    }

    /// What it printed.
    pub fn console(&self) -> &Console {
        self.process.console()
    }

    /// Waits until it gave up.
    pub fn gives_up(&self) -> Result<()> {
        if self.process.wait(SOON)?.success() {
            bail!("it got an address: {}", self.process.console().tail(5));
        }
        Ok(())
    }

    /// Ends it without a word to the server.
    pub fn kill(self) -> Result<()> {
        self.process.kill()
    }
}

fn script(lab: &Lab, port: &Port, name: &str, text: &str) -> Result<PathBuf> {
    let path = lab.work().join(format!("{}.{name}.sh", port.name));
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok(path)
}

/// Starts ISC's relay on a router: requests from `far0` go to `server` with option 82, and answers that do not bring it back are
/// dropped.
pub fn dhcrelay(lab: &Lab, router: &Port, server: &Port, arguments: &[&str]) -> Result<Process> {
    require(&["dhcrelay"])?;
    let mut command = router.namespace.command("dhcrelay");
    command.args(["-4", "-d", "--no-pid", "-a", "-D", "-id", "far0", "-iu", "eth0"]).args(arguments);
    command.arg(server.address().to_string());
    let process = Process::start("dhcrelay", command, &lab.logs().join(format!("{}.dhcrelay.log", router.name)))?;
    process.console().wait_for("Sending on   Socket", SOON)?;
    Ok(process)
}
