//! How long nothing came: pauses between the data packets of one sender, as the receiver's link sees them.

use std::fmt;
use std::io::{self, Read as _};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

use super::lab::Port;

/// Shorter packets are acknowledgements and the like, no data (RFC 9000, section 14: no full packet is shorter than 1,200 bytes).
const DATA_MIN: usize = 1000;
/// How often the meter looks whether it shall stop.
const LOOK: Duration = Duration::from_millis(100);
const UDP: u8 = 17;

/// Counts until it is read.
#[derive(Debug)]
pub struct PauseMeter {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<io::Result<Pauses>>,
}

/// What it saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pauses {
    /// Data packets.
    pub packets: u64,
    /// The longest time between two of them.
    pub longest: Duration,
}

impl fmt::Display for Pauses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} data packets, the longest pause between two of them {} ms",
            self.packets,
            self.longest.as_millis()
        )
    }
}

impl PauseMeter {
    /// Starts to look at UDP packets that come in at `at`'s port of the network, from `from`'s address.
    pub fn start(at: &Port, from: &Port) -> Result<Self> {
        let protocol = Protocol::from(i32::from((libc::ETH_P_IP as u16).to_be()));
        let socket = at.namespace.enter(|| Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol)))?;
        let socket = socket.context("open a packet socket (packet(7))")?;
        socket.set_read_timeout(Some(LOOK))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (told, from) = (Arc::clone(&stop), from.address());
        let worker = std::thread::spawn(move || watch(socket, from, &told));
        Ok(Self { stop, worker })
    }

    /// Stops; what was seen until now.
    pub fn read(self) -> Result<Pauses> {
        self.stop.store(true, Ordering::Relaxed);
        let pauses = self.worker.join().map_err(|_| anyhow!("the meter panicked"))??;
        ensure!(pauses.packets > 1, "no data packets were seen");
        Ok(pauses)
    }
}

fn watch(mut socket: Socket, from: Ipv4Addr, stop: &AtomicBool) -> io::Result<Pauses> {
    let mut pauses = Pauses::default();
    let mut last = None::<Instant>;
    let mut packet = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let len = match socket.read(&mut packet) {
            Ok(len) => len,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => continue,
            Err(error) => return Err(error),
        };
        if !is_data(&packet[..len], from) {
            continue;
        }
        let now = Instant::now();
        pauses.packets += 1;
        pauses.longest = last.map_or(pauses.longest, |last| pauses.longest.max(now - last));
        last = Some(now);
    }
    Ok(pauses)
}

/// Whether this IPv4 packet (RFC 791) carries a long UDP datagram of that sender.
fn is_data(packet: &[u8], from: Ipv4Addr) -> bool {
    packet.len() >= DATA_MIN && packet[9] == UDP && packet[12..16] == from.octets()
}
