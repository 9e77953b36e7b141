//! dnsmasq and nginx: the servers of a boot that has one server.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;

use anyhow::Result;

use super::archive::{Archive, overlay};
use crate::harness::{KeyPair, Lab, Port, Process, dnsmasq, require};

/// iPXE as an EFI program for firmware that is not iPXE itself (Debian's package ipxe).
const IPXE_EFI: &str = "/usr/lib/ipxe/snponly.efi";

/// Both servers, running in the head's namespace. Dropping it ends them.
#[derive(Debug)]
pub struct Server {
    /// dnsmasq; it answers DHCP and TFTP.
    pub dnsmasq: Process,
    /// nginx; it serves script, kernel and both archives.
    pub nginx: Process,
}

impl Server {
    /// Starts both for these machines. Root of each accepts `key`.
    pub fn start(lab: &Lab, head: &Port, nodes: &[Port], archive: &Archive, key: &KeyPair) -> Result<Self> {
        require(&["dnsmasq", "nginx", "cpio"])?;
        let dir = lab.work().join("baseline");
        let (site, tftp) = (dir.join("site"), dir.join("tftp"));
        for path in [&site, &tftp] {
            fs::create_dir_all(path)?;
        }
        symlink(&archive.kernel, site.join("vmlinuz"))?;
        symlink(&archive.root, site.join("root.cpio.gz"))?;
        fs::copy(IPXE_EFI, tftp.join("snponly.efi"))?;
        for node in nodes {
            overlay(node, key, &site.join(format!("{}.cpio", node.mac().replace(':', "-"))))?;
        }
        let url = format!("http://{}", head.address());
        fs::write(site.join("boot.ipxe"), script(&url))?;

        let config = dir.join("nginx.conf");
        fs::write(&config, nginx(&dir.to_string_lossy(), &site.to_string_lossy(), head))?;
        let mut command = head.namespace.command("nginx");
        command.arg("-c").arg(&config).arg("-p").arg(&dir);
        let nginx = Process::start("nginx", command, &lab.logs().join("nginx.log"))?;

        let dnsmasq = dnsmasq(lab, head, &boots(&tftp.to_string_lossy(), &url, nodes))?;
        Ok(Self { dnsmasq, nginx })
    }
}

fn script(url: &str) -> String {
    // Debian's iPXE names initrds itself under EFI only when the command line says them too.
    format!(
        "#!ipxe\n\
         kernel {url}/vmlinuz initrd=root initrd=node console=ttyS0 panic=30\n\
         initrd --name root {url}/root.cpio.gz\n\
         initrd --name node {url}/${{net0/mac:hexhyp}}.cpio\n\
         boot\n"
    )
}

fn nginx(dir: &str, site: &str, head: &Port) -> String {
    format!(
        "daemon off; user root; worker_processes 1; pid {dir}/nginx.pid; error_log stderr;\n\
         events {{ worker_connections 256; }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on;\n\
           server {{ listen {}:80; root {site}; }} }}\n",
        head.address()
    )
}

/// What dnsmasq has to say to these machines.
fn boots(tftp: &str, url: &str, nodes: &[Port]) -> String {
    let mut text = format!(
        "dhcp-range=10.42.0.0,static,255.255.0.0\nenable-tftp\ntftp-root={tftp}\n\
         dhcp-userclass=set:ipxe,iPXE\ndhcp-boot=tag:ipxe,{url}/boot.ipxe\ndhcp-boot=tag:!ipxe,snponly.efi\n"
    );
    for node in nodes {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "dhcp-host={},{},{}", node.mac(), node.address(), node.name);
    }
    text
}
