//! Reads a trace that `wulf plan --trace` wrote, and audits it.

use std::io::BufRead;

use anyhow::{Context as _, Result, bail, ensure};
use wulfpack_head::plan::{TRACE_FORMAT, TraceHeader};
use wulfpack_shared::sim::Transfer;
use wulfpack_shared::time::Mono;

use super::{Audit, Plant};

/// What a trace came to.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Pieces that were carried.
    pub transfers: u64,
    /// Units that were verified.
    pub verified: u64,
    /// What cannot have been.
    pub findings: Vec<String>,
}

fn numbers<const N: usize>(words: &mut std::str::SplitAsciiWhitespace<'_>) -> Result<[u64; N]> {
    let mut all = [0; N];
    for number in &mut all {
        *number = words.next().context("the line is too short")?.parse()?;
    }
    ensure!(words.next().is_none(), "the line is too long");
    Ok(all)
}

/// Checks that no link carried more than its rate and that nobody sent a unit before having verified it.
pub fn check_trace(mut input: impl BufRead) -> Result<Checked> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let header: TraceHeader = serde_json::from_str(&line).context("the first line is no header of a trace")?;
    ensure!(header.format == TRACE_FORMAT, "the format is {:?}, not {TRACE_FORMAT:?}", header.format);
    let TraceHeader { rates, racks, rack_rates, heads, .. } = header;
    let members = rates.len() as u64;
    let mut audit = Audit::new(Plant { rates, racks, rack_rates, heads });
    let mut checked = Checked { transfers: 0, verified: 0, findings: vec![] };
    for (nth, line) in (2u64..).zip(input.lines()) {
        let line = line?;
        let mut words = line.split_ascii_whitespace();
        let read = match words.next() {
            Some("V") => numbers(&mut words).map(|[at, member, unit]| {
                checked.verified += 1;
                audit.verified(Mono(at), member as u32, unit as u32);
                member
            }),
            Some("T") => numbers(&mut words).map(|[from, to, unit, bytes, times @ ..]: [u64; 9]| {
                checked.transfers += 1;
                let (from, to, unit, bytes) = (from as u32, to as u32, unit as u32, bytes as u32);
                let [begun, sent, left_rack, entered_rack, received] = times.map(Mono);
                audit.transfer(&Transfer { from, to, unit, bytes, begun, sent, left_rack, entered_rack, received });
                u64::from(from.max(to))
            }),
            _ => bail!("line {nth} is neither a transfer nor a verification"),
        };
        let member = read.with_context(|| format!("line {nth}"))?;
        ensure!(member < members, "line {nth}: there is no member {member}");
    }
    checked.findings = audit.findings();
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = r#"{"format":"wulfpack-trace-1","rates":[1000000000,1000000000,1000000000],"racks":[0,0,0],"rack_rates":[],"heads":1}"#;

    fn findings(lines: &str) -> Vec<String> {
        check_trace(format!("{HEADER}\n{lines}").as_bytes()).unwrap().findings
    }

    #[test]
    fn an_honest_trace_passes_and_a_doctored_one_does_not() {
        let sent = "T 0 1 5 100 0 100 0 0 100\nV 100 1 5\n";
        assert_eq!(findings(&format!("{sent}T 1 2 5 100 100 200 100 100 200\n")), Vec::<String>::new());
        assert_eq!(findings(&format!("{sent}T 1 2 5 100 99 200 99 99 200\n")).len(), 1, "sent a nanosecond too early");
        assert_eq!(
            findings(&format!("{sent}T 1 2 5 110 100 200 100 100 200\n")).len(),
            2,
            "ten bytes too many for both links"
        );
        assert_eq!(findings(&format!("{sent}T 2 1 5 1 500 600 500 500 600\n")).len(), 1, "never verified");
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        for wrong in [
            "",
            "{}",
            HEADER.replace("trace-1", "trace-9").as_str(),
            &format!("{HEADER}\nX 1"),
            &format!("{HEADER}\nV 1 2"),
        ] {
            assert!(check_trace(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
