//! `wulf node approve`: lets boots go on where the network demands an administrator's word.

use std::process::ExitCode;

use clap::Args;
use wulfpack_shared::id::NodeName;

use super::change::no_such;
use super::running::ask;
use super::{Cell, Context, Table, note, print};
use crate::admin::{ApproveAnswer, ApproveRequest};
use crate::exit::{Ended, Exit};
use crate::registry::expand;

/// Arguments of `wulf node approve`.
#[derive(Args, Debug)]
pub struct ApproveArgs {
    /// Nodes such as n1 or n[1-4].
    #[arg(required = true)]
    names: Vec<String>,
}

impl ApproveArgs {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let names = expand(&self.names).map_err(|error| Ended::new(Exit::Usage, error.to_string()))?;
        let nodes = names.iter().map(|name| name.parse()).collect::<Result<Vec<NodeName>, _>>();
        let request = ApproveRequest { nodes: nodes.map_err(|error| Ended::new(Exit::Usage, error.to_string()))? };
        let answer: ApproveAnswer = ask(context, async |client| Ok(client.post("/v1/approve", &request).await?))?;
        if answer.approved.is_empty() {
            let missing: Vec<_> = answer.not_waiting.iter().map(ToString::to_string).collect();
            return Err(no_such("boot that waits for approval of", &missing));
        }
        print(context, &answer, || table(&answer))?;
        for node in &answer.not_waiting {
            note(&format!("{node} has no boot that waits for approval"));
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
