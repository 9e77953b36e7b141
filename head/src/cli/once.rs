//! `wulf node boot`: what nodes boot once.

use std::process::ExitCode;

use clap::Args;

use super::nodes::{Guard, chosen_names};
use super::running::ask;
use super::{Cell, Context, Style, Table, note, print};
use crate::admin::{OnceAnswer, OnceRequest};
use crate::boot::{Loader, Once, Scripts};
use crate::exit::{Ended, Exit};

/// Arguments of `wulf node boot`.
#[derive(Args, Debug)]
pub struct BootArgs {
    /// Nodes; all if none are named, to list what is chosen.
    #[arg(value_name = "NODESET", required_unless_present_any = ["list"])]
    names: Vec<String>,
    /// For the next boot only: a boot script template (localdisk, shell, discover, default, or template:NAME for one of this site), or an
    /// image, as NAME or NAME@VERSION. What is used is recorded and gone; it waits as long as it takes, also if the head restarts.
    #[arg(long, value_name = "WHAT", required_unless_present_any = ["clear", "list"], conflicts_with_all = ["clear", "list"])]
    once: Option<Once>,
    /// Take back what was chosen.
    #[arg(long, conflicts_with = "list")]
    clear: bool,
    /// Show what is chosen and not used yet.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    guard: Guard,
}

impl BootArgs {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let nodes = if self.names.is_empty() { None } else { Some(chosen_names(context, &self.names)?) };
        if self.list {
            let mut all: Vec<OnceAnswer> = ask(context, async |client| Ok(client.get("/v1/once").await?))?;
            all.retain(|answer| nodes.as_ref().is_none_or(|nodes| nodes.contains(&answer.node)));
            print(context, &all, || table(&all))?;
            return Ok(Exit::Ok.into());
        }
        let nodes = nodes.unwrap_or_default();
        self.guard.check(context, &nodes)?;
        if let Some(Once::Template(name)) = &self.once {
            let scripts = Scripts::new(Some(&context.load_config()?.paths.etc));
            if !scripts.has(Loader::Ipxe, name) {
                let text = format!("there is no boot script template {name:?}; an image is written image:NAME");
                return Err(Ended::new(Exit::NothingMatched, text).into());
            }
        }
        let request = OnceRequest { nodes, choice: self.once };
        let answer: Vec<OnceAnswer> = ask(context, async |client| Ok(client.post("/v1/once", &request).await?))?;
        print(context, &answer, || table(&answer))?;
        if self.clear {
            note("the next boots are those of the registry again");
        }
        Ok(Exit::Ok.into())
    }
}

fn table(answers: &[OnceAnswer]) -> Table {
    let mut table = Table::new(["node", "boots once", "chosen by", "at", "state"]);
    for OnceAnswer { node, record } in answers {
        let state = match &record.taken {
            None => Cell::new("waits for the next boot"),
            Some(taken) => Cell::new(format!("used by {} at {}", taken.mac, taken.at)).style(Style::Dim),
        };
        let choice = record.choice.to_string();
        // A version's id is long, and its beginning says enough.
        let choice = choice.split_once('@').map_or(choice.clone(), |(name, id)| format!("{name}@{id:.12}"));
        let at = record.at.to_string();
        table.row([node.as_str().into(), choice.into(), (&record.who).into(), at.into(), state]);
    }
    table
}
