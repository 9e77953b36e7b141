//! Hundreds of machines that load their boot program in the same moment.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::servers::{Place, address};

/// What EDK2 waits for a packet, and how often (MdeModulePkg/NetworkPkg, `PXEBC_MTFTP_TIMEOUT`, `PXEBC_MTFTP_RETRIES`).
const WAIT: Duration = Duration::from_secs(4);
const TRIES: u32 = 6;
const BLOCK: usize = 1468;
const NBP: &str = "snponly.efi";

/// One server under all clients.
#[derive(Clone, Debug, Serialize)]
pub struct TftpRow {
    /// The server.
    pub server: String,
    /// Clients that began in the same moment.
    pub clients: u32,
    /// Clients that have the whole file, and the right one.
    pub complete: u32,
    /// Seconds from the start until the median client was done.
    pub median_s: f64,
    /// Until the last was.
    pub slowest_s: f64,
    /// Packets that a client waited for in vain.
    pub waited: u32,
}

/// Loads the boot program with `clients` clients from our head, and from dnsmasq.
pub fn tftp(clients: u32) -> Result<Vec<TftpRow>> {
    let place = Place::prepare("tftp", clients, clients)?;
    let file = fs::read(format!("/usr/lib/ipxe/{NBP}")).context("Debian's package ipxe")?;
    let mut rows = vec![run(&place, "wulf serve", place.head.port.address().into(), clients, &file)?];
    let dir = place.lab.work().join("tftproot");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join(NBP), &file)?;
    let (port, process) = place.dnsmasq(&dir)?;
    rows.push(run(&place, "dnsmasq", port.address().into(), clients, &file)?);
    drop((process, port));
    place.succeeded();
    Ok(rows)
}

fn run(place: &Place, server: &str, at: IpAddr, clients: u32, file: &[u8]) -> Result<TftpRow> {
    let (server_addr, hash) = (SocketAddr::new(at, 69), blake3::hash(file));
    let results = place.clients.namespace.enter(move || -> Result<Vec<(Option<f64>, u32)>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async move {
            let (begun, mut tasks) = (Instant::now(), JoinSet::new());
            for number in 0..clients {
                tasks.spawn(async move {
                    let mut waited = 0;
                    let got = get(SocketAddr::new(address(number).into(), 0), server_addr, &mut waited).await;
                    let whole = got.is_ok_and(|bytes| blake3::hash(&bytes) == hash);
                    (whole.then(|| begun.elapsed().as_secs_f64()), waited)
                });
            }
            Ok(tasks.join_all().await)
        })
    })??;
    let mut done: Vec<f64> = results.iter().filter_map(|(done, _)| *done).collect();
    done.sort_by(f64::total_cmp);
    ensure!(!done.is_empty(), "no client got the file from {server}");
    Ok(TftpRow {
        server: server.to_owned(),
        clients,
        complete: u32::try_from(done.len())?,
        median_s: done.get(done.len() / 2).copied().unwrap_or_default(),
        slowest_s: done.last().copied().unwrap_or_default(),
        waited: results.iter().map(|(_, waited)| waited).sum(),
    })
}

/// Reads the boot program as EDK2 does, without its window.
async fn get(own: SocketAddr, server: SocketAddr, waited: &mut u32) -> Result<Vec<u8>> {
    let socket = UdpSocket::bind(own).await?;
    let mut last = [b"\0\x01", NBP.as_bytes(), b"\0octet\0blksize\x001468\0tsize\x000\0"].concat();
    let (mut to, mut file, mut expected, mut buffer) = (server, vec![], 1u16, [0; 2048]);
    socket.send_to(&last, to).await?;
    let mut tries = 0;
    loop {
        let Ok(received) = timeout(WAIT, socket.recv_from(&mut buffer)).await else {
            *waited += 1;
            tries += 1;
            ensure!(tries < TRIES, "no answer");
            socket.send_to(&last, to).await?;
            continue;
        };
        let (len, from) = received?;
        to = from;
        let packet = buffer.get(..len).unwrap_or_default();
        match *packet {
            [0, 6, ..] if file.is_empty() => last = vec![0, 4, 0, 0],
            [0, 3, high, low, ref data @ ..] => {
                if u16::from_be_bytes([high, low]) != expected {
                    continue;
                }
                file.extend_from_slice(data);
                expected = expected.wrapping_add(1);
                last = vec![0, 4, high, low];
                if data.len() < BLOCK {
                    socket.send_to(&last, to).await?;
                    return Ok(file);
                }
            }
            [0, 5, ..] => bail!("refused: {}", String::from_utf8_lossy(packet)),
            _ => continue,
        }
        tries = 0;
        socket.send_to(&last, to).await?;
    }
}

/// The rows for people.
pub fn tftp_table(rows: &[TftpRow]) -> String {
    let mut text = String::from("server      clients  complete  median s  slowest s  slowest/median  waited\n");
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<11} {:>7} {:>9} {:>9.2} {:>10.2} {:>15.2} {:>7}",
            row.server,
            row.clients,
            row.complete,
            row.median_s,
            row.slowest_s,
            row.slowest_s / row.median_s,
            row.waited
        );
    }
    text
}
