//! nginx at the source, curl on every host.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::Contest;
use super::row::{Measured, Row};
use crate::harness::{CpuMeter, Lab, Process, bytes_sent, require};

const START: Duration = Duration::from_secs(20);

pub(super) fn run(contest: &Contest, file: &Path) -> Result<Row> {
    require(&["nginx", "curl"])?;
    let mut lab = Lab::new("web")?;
    let head = lab.head_port(Some(contest.rate))?;
    let ports = (1..=contest.nodes)
        .map(|number| lab.process_port(&format!("n{number}"), Some(contest.rate)))
        .collect::<Result<Vec<_>>>()?;
    let dir = lab.work().join("nginx");
    fs::create_dir_all(&dir)?;
    let image = dir.join("image");
    fs::copy(file, &image)?;
    let config = dir.join("nginx.conf");
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "daemon off; user root; worker_processes 1; pid {0}/nginx.pid; error_log stderr notice;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on; server {{ listen {1}:80; root {0}; }} }}\n",
        dir.display(),
        head.address()
    );
    fs::write(&config, text)?;
    let mut command = head.namespace.command("nginx");
    command.arg("-c").arg(&config).arg("-p").arg(&dir);
    let nginx = Process::start("nginx", command, &lab.logs().join("nginx.log"))?;
    nginx.console().wait_for("start worker process", START)?;
    let (cpu, sent) = (CpuMeter::start()?, bytes_sent(&head)?);
    let first = Instant::now();
    let mut running = vec![];
    for port in &ports {
        let mut command = port.namespace.command("curl");
        command.args(["--silent", "--show-error", "--fail", "--write-out", "%{time_total}\n", "--output"]);
        command.arg(lab.work().join(format!("{}.image", port.name))).arg(format!("http://{}/image", head.address()));
        let begun = first.elapsed().as_secs_f64();
        running.push((begun, Process::start(&port.name, command, &lab.logs().join(format!("{}.log", port.name)))?));
    }
    let mut complete_s = vec![];
    for (begun, process) in &running {
        process.wait_success(contest.patience())?;
        let took: f64 = process.console().text().trim().parse().context("what curl printed")?;
        complete_s.push(begun + took);
    }
    let (cpu, sent) = (cpu.read()?, bytes_sent(&head)? - sent);
    drop((running, nginx));
    lab.succeeded();
    let size = fs::metadata(file)?.len();
    Ok(Row::new("nginx + curl", contest.rate, size, Measured { complete_s, sent, cpu, peak_rss: 0 }))
}
