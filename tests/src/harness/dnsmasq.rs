//! dnsmasq: somebody else's DHCP server.

use std::fs;
use std::time::Duration;

use anyhow::Result;

use super::lab::{Lab, Port};
use super::process::Process;
use super::tool::require;

const START: Duration = Duration::from_secs(20);

/// Starts dnsmasq at `port` as a DHCP server on `eth0`, with these further lines of configuration, and waits until it serves.
pub fn dnsmasq(lab: &Lab, port: &Port, lines: &str) -> Result<Process> {
    require(&["dnsmasq"])?;
    let dir = lab.work().join(format!("{}.dnsmasq", port.name));
    fs::create_dir_all(&dir)?;
    let config = dir.join("dnsmasq.conf");
    let leases = dir.join("leases");
    let own = format!(
        "port=0\nuser=root\ninterface=eth0\nbind-interfaces\nlog-facility=-\nlog-dhcp\npid-file\ndhcp-leasefile={}\n",
        leases.display()
    );
    fs::write(&config, own + lines)?;
    let mut command = port.namespace.command("dnsmasq");
    command.arg("--keep-in-foreground").arg(format!("--conf-file={}", config.display()));
    let process = Process::start("dnsmasq", command, &lab.logs().join(format!("{}.dnsmasq.log", port.name)))?;
    process.console().wait_for("DHCP, sockets bound", START)?;
    Ok(process)
}
