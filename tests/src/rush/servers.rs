//! A head that knows thousands of nodes, clients with an address each, and nginx and dnsmasq beside it.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::cluster::IMAGE;
use crate::harness::{Flavour, Head, KeyPair, Lab, Port, Process, debian_tar, dnsmasq, require};

const START: Duration = Duration::from_secs(20);

/// A head that serves, and one place from which many clients speak.
pub(super) struct Place {
    pub(super) head: Head,
    pub(super) clients: Port,
    pub(super) lab: Lab,
}

/// MAC address of node `number`.
pub(super) fn mac(number: u32) -> String {
    let [_, a, b, c] = number.to_be_bytes();
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}

/// Address of node `number`, from 0.
pub(super) fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 42, 64, 0)) + number)
}

impl Place {
    /// A head with an image and `nodes` nodes; the first `addresses` of them have theirs at the clients' place.
    pub(super) fn prepare(name: &str, nodes: u32, addresses: u32) -> Result<Self> {
        let mut lab = Lab::new(name)?;
        let port = lab.head_port(None)?;
        let clients = lab.process_port("clients", None)?;
        let mut batch = String::new();
        for number in 0..addresses {
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(batch, "address add {}/16 dev eth0", address(number));
        }
        let file = lab.work().join("addresses");
        fs::write(&file, batch)?;
        clients.namespace.run("ip", &["-batch", &file.to_string_lossy()])?;
        let key = KeyPair::generate(lab.work(), "id")?;
        let mut head = Head::set_up(&lab, port, &key, (&debian_tar(Flavour::Cloud)?, IMAGE), |_| ())?;
        let mut registry = format!(
            "nodeprofiles:\n  default: {{image name: {IMAGE}, network devices: {{default: {{device: eth0, netmask: 255.255.0.0}}}}}}\nnodes:\n"
        );
        for number in 0..nodes {
            let _ = writeln!(
                registry,
                "  n{number}: {{profiles: [default], network devices: {{default: {{hwaddr: \"{}\", ipaddr: {}}}}}}}",
                mac(number),
                address(number)
            );
        }
        fs::write(head.paths().nodes_file(), registry)?;
        head.serve()?;
        Ok(Self { head, clients, lab })
    }

    /// nginx on port 80 of the head's address, with the files of `site`.
    pub(super) fn nginx(&self, site: &Path) -> Result<Process> {
        require(&["nginx"])?;
        let dir = self.lab.work().join("nginx");
        fs::create_dir_all(&dir)?;
        let config = dir.join("nginx.conf");
        fs::write(
            &config,
            format!(
                "daemon off; user root; worker_processes auto; pid {0}/nginx.pid; error_log stderr notice;\n\
                 events {{ worker_connections 4096; }}\n\
                 http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;\n\
                   server {{ listen {1}:80 backlog=4096; root {2}; }} }}\n",
                dir.display(),
                self.head.port.address(),
                site.display()
            ),
        )?;
        let mut command = self.head.port.namespace.command("nginx");
        command.arg("-c").arg(&config).arg("-p").arg(&dir);
        let process = Process::start("nginx", command, &self.lab.logs().join("nginx.log"))?;
        process.console().wait_for("start worker process", START)?;
        Ok(process)
    }

    /// dnsmasq as TFTP server of `dir`, at a place of its own.
    pub(super) fn dnsmasq(&self, dir: &Path) -> Result<(Port, Process)> {
        let port = self.lab.process_port("dnsmasq", None)?;
        let lines = format!(
            "dhcp-range=10.42.0.0,static,255.255.0.0\nenable-tftp\ntftp-root={}\ntftp-max=1000\ntftp-no-fail\n",
            dir.display()
        );
        let process = dnsmasq(&self.lab, &port, &lines)?;
        Ok((port, process))
    }

    /// Takes everything down.
    pub(super) fn succeeded(self) {
        let Self { head, clients, lab } = self;
        drop((head, clients));
        lab.succeeded();
    }
}
