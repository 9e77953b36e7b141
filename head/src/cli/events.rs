//! `wulf events`: what happened in the cluster.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::log::printable;
use super::render::colours;
use super::running::ask;
use super::{Context, OutputFormat, Style, Table, print, write_out};
use crate::admin::{AdminClient, Event};
use crate::exit::Exit;
use crate::fleet::Severity;

/// Show what happened in the cluster, the newest last.
#[derive(Args, Debug)]
pub struct EventsCommand {
    /// The last so many.
    #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u16).range(0..=1000), value_name = "N")]
    count: u16,
    /// Go on and show what happens; as JSON one event a line.
    #[arg(long, short)]
    follow: bool,
}

impl EventsCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        ask(context, async |client| {
            if self.follow {
                follow(context, &client, self.count).await
            } else {
                once(context, &client, self.count).await
            }
        })?;
        Ok(Exit::Ok.into())
    }
}

async fn last(client: &AdminClient, count: u16) -> anyhow::Result<Vec<Event>> {
    Ok(client.get(&format!("/v1/events?count={count}")).await?)
}

async fn once(context: &Context, client: &AdminClient, count: u16) -> anyhow::Result<()> {
    let events = last(client, count).await?;
    match context.output {
        OutputFormat::Table | OutputFormat::Name => write_out(&lines(&events, colours())),
        _ => print(context, &events, Table::pairs),
    }
}

async fn follow(context: &Context, client: &AdminClient, count: u16) -> anyhow::Result<()> {
    // At least one is asked for: it says from where on all others are new.
    let mut events = last(client, count.max(1)).await?;
    let mut next = after(&events).unwrap_or(0);
    events.drain(..events.len().saturating_sub(count.into()));
    loop {
        write_out(&stream(context.output, &events)?)?;
        events = client.get(&format!("/v1/events?from={next}")).await?;
        next = after(&events).unwrap_or(next);
    }
}

/// The number behind the last of them.
fn after(events: &[Event]) -> Option<u64> {
    events.last().map(|event| event.number.saturating_add(1))
}

/// A part of an output without end: whole lines that programs can read as they come.
fn stream(output: OutputFormat, events: &[Event]) -> anyhow::Result<String> {
    match output {
        OutputFormat::Table | OutputFormat::Name => Ok(lines(events, colours())),
        OutputFormat::Json => {
            let line = |event: &Event| Ok(serde_json::to_string(event)? + "\n");
            events.iter().map(line).collect()
        }
        OutputFormat::Yaml if events.is_empty() => Ok(String::new()),
        // Lists behind each other are one list.
        OutputFormat::Yaml => Ok(serde_saphyr::to_string(&events)?),
    }
}

fn lines(events: &[Event], colour: bool) -> String {
    let mut text = String::new();
    for Event { record, .. } in events {
        let (word, style) = match record.severity {
            Severity::Info => ("info   ", Style::Plain),
            Severity::Warning => ("warning", Style::Warn),
            Severity::Alarm => ("alarm  ", Style::Bad),
        };
        let node = record.node.as_ref().map_or_else(String::new, |node| format!("{node}: "));
        // Writing to a String cannot fail.
        _ = writeln!(text, "{} {} {node}{}", record.at, style.paint(word, colour), printable(&record.text));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::EventRecord;
    use wulfpack_shared::time::UnixTime;

    fn event(number: u64, severity: Severity, node: Option<&str>) -> Event {
        let (node, text) = (node.map(|node| node.parse().unwrap()), "it \x1b[2J happened".into());
        Event { number, record: EventRecord { at: UnixTime(0), severity, node, text } }
    }

    #[test]
    fn only_the_severity_is_coloured_and_only_where_colours_show() {
        let events = [event(4, Severity::Info, None), event(5, Severity::Alarm, Some("n1"))];
        let plain = "1970-01-01T00:00:00Z info    it \u{fffd}[2J happened\n\
                     1970-01-01T00:00:00Z alarm   n1: it \u{fffd}[2J happened\n";
        assert_eq!(lines(&events, false), plain);
        assert_eq!(lines(&events, true), plain.replace("alarm  ", "\x1b[31malarm  \x1b[0m"));
        assert_eq!((after(&events), after(&[])), (Some(6), None));
    }

    #[test]
    fn what_is_followed_can_be_read_as_it_comes() {
        let part = |output, number| stream(output, &[event(number, Severity::Warning, None)]).unwrap();
        let json = part(OutputFormat::Json, 1) + &part(OutputFormat::Json, 2);
        let read: Vec<Event> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read.iter().map(|event| event.number).collect::<Vec<_>>(), [1, 2]);
        let yaml = part(OutputFormat::Yaml, 1) + &part(OutputFormat::Yaml, 2);
        let read: Vec<Event> = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(stream(OutputFormat::Yaml, &[]).unwrap(), "");
    }
}
