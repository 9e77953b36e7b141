//! The command line of `wulf-agent fetch`. The ticket is a secret: it comes from a file or standard input, never from an
//! argument that every user of the host could read.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use wulfpack_shared::id::ImageName;
use wulfpack_shared::identity::Ticket;
use wulfpack_shared::limits::DATA_PORT;
use wulfpack_shared::manners::{Cap, Dscp, Manners};
use wulfpack_shared::wire::SeedPolicy;

use super::cache::Cache;
use crate::member::Conduct;

/// Longest ticket file in bytes.
const TICKET_MAX: u64 = 16 * 1024;

/// Fetch an image version to a file, from peers and heads, verified chunk by chunk.
#[derive(Args, Clone, Debug)]
pub struct FetchArgs {
    /// File with the ticket that `wulf ticket` printed; `-` for standard input.
    #[arg(long, env = "WULFPACK_TICKET_FILE", value_name = "FILE")]
    pub ticket: PathBuf,
    /// Image to fetch; without it, the image of the ticket.
    #[arg(long, value_name = "NAME")]
    pub image: Option<ImageName>,
    /// Where the image goes. It appears there when it is complete; an interrupted fetch goes on where it was.
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
    /// An older version of the image, or a similar one, as a file: what it shares with the new one is not fetched. May be repeated.
    #[arg(long, value_name = "OLDFILE")]
    pub have: Vec<PathBuf>,
    /// Directory of a cache: chunks in it are not fetched, and what is fetched is kept there for the next time.
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Most that the cache takes, in GiB; what was used longest ago goes first.
    #[arg(long, value_name = "GIB", default_value_t = 20, requires = "cache")]
    pub cache_gib: u32,
    /// Go on serving the image for so many seconds after it is complete.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub seed: u64,
    /// Most to give to others while it is fetched and seeded, headers included, such as 200mbit.
    #[arg(long, value_name = "RATE", default_value_t)]
    pub upload: Cap,
    /// Most to take from others, headers included.
    #[arg(long, value_name = "RATE", default_value_t)]
    pub download: Cap,
    /// Mark of the packets: `le` for traffic that gives way to all other, `cs1`, or a number up to 63.
    #[arg(long, value_name = "CODEPOINT", default_value_t)]
    pub dscp: Dscp,
    /// Address to serve peers at: `ADDRESS:PORT`. Without it, the address that leads to the head.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Give up if the image is not complete after so many seconds; the same command goes on later where this one stopped.
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

impl FetchArgs {
    /// Reads the ticket.
    pub(super) fn read_ticket(&self) -> Result<Ticket> {
        let text = if self.ticket.as_os_str() == "-" {
            read_bounded(std::io::stdin().lock()).context("failed to read the ticket from standard input")?
        } else {
            let name = self.ticket.display();
            let file =
                std::fs::File::open(&self.ticket).with_context(|| format!("failed to open the ticket {name}"))?;
            read_bounded(file).with_context(|| format!("failed to read the ticket {name}"))?
        };
        Ok(text.parse()?)
    }

    /// The cache, if there shall be one.
    pub(super) fn cache(&self) -> Result<Option<Cache>> {
        self.cache.as_ref().map(|dir| Cache::open(dir, u64::from(self.cache_gib) << 30)).transpose()
    }

    /// What it takes of its link.
    pub(super) fn conduct(&self) -> Conduct {
        let manners = Manners { upload: self.upload, download: self.download, dscp: self.dscp, ..Manners::default() };
        Conduct { seed: SeedPolicy::Always, manners }
    }

    /// Where the data plane listens: what the user said, or this host's address on the way to the first head.
    pub(super) fn listen(&self, ticket: &Ticket) -> Result<SocketAddr> {
        if let Some(listen) = self.listen {
            return Ok(listen);
        }
        let head = ticket.heads.first().context("the ticket names no head")?.control;
        // Connecting a UDP socket sends nothing; it asks the kernel for the route.
        let any: SocketAddr = if head.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = std::net::UdpSocket::bind(any).context("failed to make a UDP socket")?;
        socket.connect(head).with_context(|| format!("no route leads to the head {}", head.ip()))?;
        let own = socket.local_addr().context("failed to ask for the own address")?.ip();
        Ok(SocketAddr::new(own, DATA_PORT))
    }
}

fn read_bounded(source: impl std::io::Read) -> Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    source.take(TICKET_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > TICKET_MAX {
        bail!("it is longer than any ticket");
    }
    Ok(text)
}
