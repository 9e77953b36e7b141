//! `wulf dhcp`: which boot services answer, and whether DHCP does beside another DHCP server.

use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};

use super::running::ask;
use super::{Cell, Context, OutputFormat, Style, Table, note, print};
use crate::admin::{DhcpOverride, DhcpStatus};
use crate::dhcp::{LeaseRecord, LeaseState};
use crate::exit::Exit;

/// Whether DHCP answers, and whether it does beside another DHCP server.
#[derive(Debug, Subcommand)]
pub enum DhcpCommand {
    /// Which services answer, and which other DHCP server keeps DHCP from it.
    Status,
    /// Addresses of ranges that unknown machines have now. Nodes have those that nodes.yaml gives them.
    Leases,
    /// Answer although another DHCP server is on the same segment, or stand back for it. Holds until the head starts again.
    Override {
        /// `on`: answer beside it. `off`: stand back, as without this.
        switch: Switch,
    },
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

impl DhcpCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self {
            Self::Status => {
                let status: DhcpStatus = ask(context, async |client| Ok(client.get("/v1/dhcp").await?))?;
                print(context, &status, || table(&status))?;
            }
            Self::Leases => {
                let leases: Vec<LeaseRecord> = ask(context, async |client| Ok(client.get("/v1/dhcp/leases").await?))?;
                print(context, &leases, || leases_table(&leases))?;
            }
            Self::Override { switch } => {
                let wish = DhcpOverride { on: switch == Switch::On };
                let answer: DhcpOverride =
                    ask(context, async |client| Ok(client.post("/v1/dhcp/override", &wish).await?))?;
                match context.output {
                    OutputFormat::Table => note(said(answer)),
                    _ => print(context, &answer, Table::pairs)?,
                }
            }
        }
        Ok(Exit::Ok.into())
    }
}

const fn said(answer: DhcpOverride) -> &'static str {
    if answer.on {
        "DHCP answers beside other servers until the head starts again; `ignore_other_servers: true` below `dhcp:` in its configuration makes that last"
    } else {
        "DHCP stands back where another server answers"
    }
}

fn leases_table(leases: &[LeaseRecord]) -> Table {
    let mut table = Table::new(["address", "mac", "state", "until", "port", "name"]);
    for lease in leases {
        let state = match lease.state {
            LeaseState::Conflict => Cell::new("in use by a stranger").style(Style::Bad),
            LeaseState::Bound => Cell::new("lent"),
            LeaseState::Offered => Cell::new("offered"),
            LeaseState::Released => Cell::new("given back").style(Style::Dim),
        };
        table.row([
            Cell::new(lease.address.to_string()),
            Cell::new(lease.mac.to_string()),
            state,
            Cell::new(lease.expires.to_string()),
            Cell::new(lease.port.as_deref().unwrap_or("-")),
            Cell::new(lease.hostname.as_deref().unwrap_or("-")),
        ]);
    }
    table
}

fn table(status: &DhcpStatus) -> Table {
    let mut table = Table::new(["service", "answers", "detail"]);
    for (name, service) in &status.services {
        let answers = match (service.answers, name == "dhcp" && status.other_server.is_some()) {
            (true, false) => Cell::new("yes").style(Style::Good),
            (true, true) => Cell::new("yes").style(Style::Warn),
            (false, true) => Cell::new("no").style(Style::Bad),
            // What is off is off because the configuration says so.
            (false, false) => Cell::new("no").style(Style::Dim),
        };
        table.row([name.into(), answers, Cell::new(&service.detail)]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::ServiceStatus;

    #[test]
    fn what_withholds_dhcp_is_shown_with_its_address_and_withholds_nothing_else() {
        let state = crate::dhcp::State::OtherServer { address: [10, 0, 0, 254].into(), withheld: true };
        let service = |answers, detail: String| ServiceStatus { answers, detail };
        let services = [
            ("dhcp".into(), service(false, format!("on eth1: {state}"))),
            ("http".into(), service(true, "10.0.0.1:9872".into())),
        ];
        let other_server = Some([10, 0, 0, 254].into());
        let status = DhcpStatus { services: services.into(), other_server, ..DhcpStatus::default() };
        let text = table(&status).render(true);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].contains("\x1b[31mno") && lines[1].contains("at 10.0.0.254"), "{text}");
        assert!(lines[1].contains("wulf dhcp override on"), "{text}");
        assert!(lines[2].contains("\x1b[32myes"), "{text}");
    }
}
