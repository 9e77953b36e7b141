//! `wulf node approve`: lets boots go on where the network demands an administrator's word.

use std::process::ExitCode;

use clap::Args;

use super::nodes::{Guard, chosen_names, folded, no_such_nodes};
use super::running::ask;
use super::{Cell, Context, Table, note, print};
use crate::admin::{ApproveAnswer, ApproveRequest};
use crate::exit::Exit;

/// Arguments of `wulf node approve`.
#[derive(Args, Debug)]
pub struct ApproveArgs {
    /// Nodes.
    #[arg(required = true, value_name = "NODESET")]
    names: Vec<String>,
    #[command(flatten)]
    guard: Guard,
}

impl ApproveArgs {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let request = ApproveRequest { nodes: chosen_names(context, &self.names)? };
        self.guard.check(context, &request.nodes)?;
        let answer: ApproveAnswer = ask(context, async |client| Ok(client.post("/v1/approve", &request).await?))?;
        if answer.approved.is_empty() {
            return Err(no_such_nodes("boot that waits for approval of", &answer.not_waiting));
        }
        print(context, &answer, || table(&answer))?;
        if !answer.not_waiting.is_empty() {
            note(&format!("no boot waits for approval of {}", folded(&answer.not_waiting)));
        }
        Ok(if answer.not_waiting.is_empty() { Exit::Ok } else { Exit::Failed }.into())
    }
}

fn table(answer: &ApproveAnswer) -> Table {
    let mut table = Table::new(["approved", "mac", "address", "until"]);
    for boot in &answer.approved {
        let (mac, addr, until) = (boot.mac.to_string(), boot.addr.to_string(), boot.until.to_string());
        table.row([boot.node.as_str().into(), Cell::new(mac), Cell::new(addr), Cell::new(until)]);
    }
    table
}
