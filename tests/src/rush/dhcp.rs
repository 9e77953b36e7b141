//! Whole exchanges per second on one core, 10,000 nodes known: perfdhcp against our server, dnsmasq and Kea, one after the other.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use super::servers::{Place, address, mac};
use crate::harness::{Port, Process, require};

const NODES: u32 = 10_000;
/// Where the server runs, and where perfdhcp does.
const SERVER_CORE: u32 = 0;
const CLIENT_CORE: u32 = 1;
/// At which rate the time to an OFFER is judged. Exchanges per second.
const JUDGED: u32 = 2000;
/// A rate is held while no more than so many exchanges are lost, and the next is not tried where so many are.
const HELD: f64 = 0.01;
const HOPELESS: f64 = 0.2;
const START: Duration = Duration::from_secs(60);

/// One server at one rate.
#[derive(Clone, Debug, Serialize)]
pub struct DhcpRow {
    /// The server.
    pub server: String,
    /// Exchanges that were begun in a second.
    pub asked: u32,
    /// Exchanges (DISCOVER, OFFER, REQUEST, ACK) that were complete, per second.
    pub complete_per_s: f64,
    /// Part of the packets without an answer.
    pub lost: f64,
    /// From DISCOVER to OFFER at the median, in milliseconds.
    pub median_ms: f64,
    /// At the 99th percentile.
    pub p99_ms: f64,
    /// Processor time of the server for one exchange, in microseconds.
    pub cpu_us: f64,
}

/// Measures at these rates, for `time` each.
pub fn dhcp(rates: &[u32], time: Duration) -> Result<Vec<DhcpRow>> {
    require(&["perfdhcp", "dnsmasq", "kea-dhcp4", "taskset"])?;
    let place = Place::prepare("dhcp", NODES, 0)?;
    let macs: String = (0..NODES).map(|number| mac(number) + "\n").collect();
    fs::write(place.lab.work().join("macs"), macs)?;
    let mut rows = vec![];
    place.head.process()?.pin(SERVER_CORE)?;
    series(&place, "wulf serve", place.head.port.address(), place.head.process()?, (rates, time), &mut rows)?;
    let port = place.lab.process_port("kea", None)?;
    let process = kea(&place, &port)?;
    process.pin(SERVER_CORE)?;
    series(&place, "kea", port.address(), &process, (rates, time), &mut rows)?;
    drop(process);
    let port = place.lab.process_port("other", None)?;
    let process = dnsmasq(&place, &port)?;
    process.pin(SERVER_CORE)?;
    series(&place, "dnsmasq", port.address(), &process, (rates, time), &mut rows)?;
    drop(process);
    place.succeeded();
    Ok(rows)
}

fn series(
    place: &Place,
    server: &str,
    at: Ipv4Addr,
    process: &Process,
    (rates, time): (&[u32], Duration),
    rows: &mut Vec<DhcpRow>,
) -> Result<()> {
    for rate in rates {
        let cpu = process.group_cpu_seconds()?;
        let text = perfdhcp(place, at, *rate, time)?;
        let cpu = process.group_cpu_seconds()? - cpu;
        let mut row = read(&text).with_context(|| format!("perfdhcp printed: {text:.2000}"))?;
        row.server = server.to_owned();
        row.asked = *rate;
        row.cpu_us = cpu * 1e6 / (row.complete_per_s * time.as_secs_f64());
        let lost = row.lost;
        rows.push(row);
        if lost > HOPELESS {
            break;
        }
    }
    Ok(())
}

fn perfdhcp(place: &Place, at: Ipv4Addr, rate: u32, time: Duration) -> Result<String> {
    let mut command = place.clients.namespace.command("taskset");
    command.args(["-c", &CLIENT_CORE.to_string(), "perfdhcp", "-4", "-M"]).arg(place.lab.work().join("macs"));
    command.args(["-r", &rate.to_string(), "-p", &time.as_secs().to_string(), "-W", "300000", "-x", "t"]);
    // It ends with 3 where something was lost.
    let output = command.args(["-l", &place.clients.address().to_string(), &at.to_string()]).output()?;
    ensure!(matches!(output.status.code(), Some(0 | 3)), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Reads perfdhcp's report.
fn read(text: &str) -> Result<DhcpRow> {
    let number = |text: &str, before: &str| -> Result<f64> {
        let rest = text.split_once(before).with_context(|| format!("no {before:?}"))?.1.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        rest[..end].parse().with_context(|| format!("{before:?} without a number"))
    };
    let part = |title: &str| text.split_once(title).map(|(_, rest)| rest).context("a part is missing");
    let mut sent_and_lost = (0.0, 0.0);
    for kind in ["DISCOVER-OFFER", "REQUEST-ACK"] {
        let statistics = part(&format!("***Statistics for: {kind}***"))?;
        sent_and_lost.0 += number(statistics, "sent packets:")?;
        sent_and_lost.1 += number(statistics, "drops:")?;
    }
    let times = part("***Timestamps for packets: DISCOVER-OFFER***")?;
    let times = times.lines().take_while(|line| !line.starts_with("***"));
    let delay = |line: &str| -> Option<f64> {
        let (sent, received) = line.strip_prefix("sent / received:")?.split_once('/')?;
        Some((received.trim().parse::<f64>().ok()? - sent.trim().parse::<f64>().ok()?) * 1e3)
    };
    let mut delays: Vec<f64> = times.filter_map(delay).collect();
    delays.sort_by(f64::total_cmp);
    let at = |part: usize| delays.get(delays.len() * part / 100).copied().unwrap_or(f64::INFINITY);
    Ok(DhcpRow {
        server: String::new(),
        asked: 0,
        complete_per_s: number(text, "Rate:")?,
        lost: sent_and_lost.1 / sent_and_lost.0.max(1.0),
        median_ms: at(50),
        p99_ms: at(99),
        cpu_us: 0.0,
    })
}

fn kea(place: &Place, port: &Port) -> Result<Process> {
    let dir = place.lab.work().join("kea");
    fs::create_dir_all(&dir)?;
    let reservation =
        |number: u32| serde_json::json!({ "hw-address": mac(number), "ip-address": address(number).to_string() });
    let quiet = |name: &str| serde_json::json!({ "name": name, "severity": "WARN", "output_options": [{ "output": "stdout" }] });
    let config = serde_json::json!({ "Dhcp4": {
        "interfaces-config": { "interfaces": ["eth0"], "dhcp-socket-type": "udp" },
        "lease-database": { "type": "memfile", "persist": true, "name": dir.join("leases.csv"), "lfc-interval": 0 },
        "valid-lifetime": 3600,
        "reservations-global": false, "reservations-in-subnet": true, "reservations-out-of-pool": true,
        "host-reservation-identifiers": ["hw-address"],
        "subnet4": [{ "id": 1, "subnet": "10.42.0.0/16", "reservations": (0..NODES).map(reservation).collect::<Vec<_>>() }],
        "loggers": [
            { "name": "kea-dhcp4", "severity": "INFO", "output_options": [{ "output": "stdout" }] },
            quiet("kea-dhcp4.leases"), quiet("kea-dhcp4.packets"), quiet("kea-dhcp4.alloc-engine"), quiet("kea-dhcp4.hosts"),
        ],
    }});
    let file = dir.join("kea.conf");
    fs::write(&file, config.to_string())?;
    let mut command = port.namespace.command("kea-dhcp4");
    command.arg("-c").arg(&file).env("KEA_PIDFILE_DIR", &dir).env("KEA_LOCKFILE_DIR", &dir);
    let process = Process::start("kea-dhcp4", command, &place.lab.logs().join("kea.log"))?;
    process.console().wait_for("DHCP4_STARTED", START)?;
    Ok(process)
}

/// Without a line of log for each packet, and without looking by ping whether an address is in use: the same that Kea does.
fn dnsmasq(place: &Place, port: &Port) -> Result<Process> {
    let dir = place.lab.work().join("other");
    fs::create_dir_all(&dir)?;
    let hosts: String = (0..NODES).map(|number| format!("{},{}\n", mac(number), address(number))).collect();
    fs::write(dir.join("hosts"), hosts)?;
    let lines = format!(
        "port=0\nuser=root\ninterface=eth0\nbind-interfaces\nlog-facility=-\nquiet-dhcp\npid-file\nno-ping\ndhcp-authoritative\n\
         dhcp-leasefile={0}/leases\ndhcp-hostsfile={0}/hosts\ndhcp-lease-max=20000\ndhcp-range=10.42.0.0,static,255.255.0.0,1h\n",
        dir.display()
    );
    fs::write(dir.join("dnsmasq.conf"), lines)?;
    let mut command = port.namespace.command("dnsmasq");
    command.arg("--keep-in-foreground").arg(format!("--conf-file={}", dir.join("dnsmasq.conf").display()));
    let process = Process::start("dnsmasq", command, &place.lab.logs().join("other.log"))?;
    process.console().wait_for("DHCP, sockets bound", START)?;
    Ok(process)
}

/// The most complete exchanges per second of this server, with no more than this part lost.
fn most(rows: &[DhcpRow], server: &str, lost: f64) -> f64 {
    let held = rows.iter().filter(|row| row.server == server && row.lost <= lost).map(|row| row.complete_per_s);
    held.fold(0.0, f64::max)
}

/// The rows for people, with ratios.
pub fn dhcp_table(rows: &[DhcpRow]) -> String {
    let mut text = String::from("server      asked/s  complete/s   lost %  median ms    p99 ms  CPU us each\n");
    for row in rows {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            text,
            "{:<11} {:>7} {:>11.0} {:>8.2} {:>10.3} {:>9.3} {:>12.1}",
            row.server,
            row.asked,
            row.complete_per_s,
            row.lost * 100.0,
            row.median_ms,
            row.p99_ms,
            row.cpu_us
        );
    }
    for (what, lost) in [("with at most 1 % lost", HELD), ("however many are lost", 1.0)] {
        let ours = most(rows, "wulf serve", lost);
        for other in ["dnsmasq", "kea"] {
            let theirs = most(rows, other, lost);
            let _ = writeln!(text, "{what}: {ours:.0}/s, {other} {theirs:.0}/s: ratio {:.2}", ours / theirs);
        }
    }
    if let Some(row) = rows.iter().find(|row| row.server == "wulf serve" && row.asked == JUDGED) {
        let _ =
            writeln!(text, "DISCOVER to OFFER at {JUDGED}/s, 99th percentile: {:.3} ms (goal: at most 5)", row.p99_ms);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_of_perfdhcp_is_read() {
        let text = "***Rate statistics***\nRate: 19.5 4-way exchanges/second, expected rate: 20\n\n\
            ***Statistics for: DISCOVER-OFFER***\nsent packets: 20\nreceived packets: 19\ndrops: 1\n\
            ***Statistics for: REQUEST-ACK***\nsent packets: 19\nreceived packets: 19\ndrops: 0\n\
            ***Timestamps for packets: DISCOVER-OFFER***\nsent / received: 000000.000075 / 000000.000275\n\
            sent / received: 000000.100000 / 000000.105000\n\n***Timestamps for packets: REQUEST-ACK***\n\
            sent / received: 000000.001059 / 000009.002054\n";
        let row = read(text).unwrap();
        assert!((row.complete_per_s - 19.5).abs() < 1e-9 && (row.lost - 1.0 / 39.0).abs() < 1e-9);
        assert!((row.p99_ms - 5.0).abs() < 1e-6, "{row:?}");
    }
}
