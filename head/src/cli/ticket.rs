//! `wulf ticket`: what a host needs to join the swarm without a network boot.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{ArgGroup, Args};
use wulfpack_shared::id::{ImageName, NodeName};

use super::running::ask;
use super::{Context, note, write_out};
use crate::admin::{TicketAnswer, TicketFor, TicketRequest};
use crate::config::create_new;
use crate::exit::Exit;

/// Give a running host the right to join: for a node of the registry, or anonymously for one image. It is as secret as a password.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("subject").required(true).args(["node", "anonymous"])))]
pub struct TicketCommand {
    /// The node that the host is, or whose image it fetches.
    node: Option<NodeName>,
    /// For hosts that are no nodes: they may fetch and serve one image and get no settings.
    #[arg(long, requires = "image")]
    anonymous: bool,
    /// The image, with --anonymous.
    #[arg(long, requires = "anonymous")]
    image: Option<ImageName>,
    /// How many hosts may use it, with --anonymous.
    #[arg(long, default_value_t = 1, requires = "anonymous", value_name = "N")]
    count: u32,
    /// How long it is good for, such as 90s, 30m, 1h or 7d.
    #[arg(long, default_value = "1h", value_parser = duration, value_name = "TIME")]
    expires: Duration,
    /// Write it to a new file that only you can read, instead of to standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl TicketCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let subject = match (self.node, self.image) {
            (Some(node), _) => TicketFor::Node(node),
            (None, Some(image)) => TicketFor::Anonymous { image, count: self.count },
            // clap has asked for one of them.
            (None, None) => anyhow::bail!("name a node, or --anonymous with --image"),
        };
        let request = TicketRequest { subject, life_s: self.expires.as_secs() };
        let answer: TicketAnswer = ask(context, async |client| Ok(client.post("/v1/ticket", &request).await?))?;
        let line = format!("{}\n", answer.ticket);
        match self.out {
            None => write_out(&line)?,
            Some(path) => {
                create_new(&path, line.as_bytes(), 0o600)
                    .with_context(|| format!("cannot create {}", path.display()))?;
                note(&format!("wrote {}; it is good until {}", path.display(), answer.expires));
            }
        }
        Ok(Exit::Ok.into())
    }
}

/// A number with one of the units s, m, h and d.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time such as 90s, 30m, 1h or 7d");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(number.checked_mul(seconds).ok_or_else(wrong)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for bad in ["", "1", "h", "-1h", "1.5h", "1w", "99999999999999999999d", "9999999999999999999d", "1é"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
