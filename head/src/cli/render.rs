//! What commands print: a table for people, JSON or YAML with stable names for programs. Colours only on a terminal.

use std::io::{self, IsTerminal, Write as _};

use serde::Serialize;

use super::{Context, OutputFormat};

/// How a cell stands out on a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// It does not.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Broken.
    Bad,
    /// Of little interest.
    Dim,
}

impl Style {
    /// SGR parameter (ECMA-48, section 8.3.117).
    const fn sgr(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31",
            Self::Dim => "2",
        }
    }

    /// The text in this style if `colour`, else as it is.
    pub(super) fn paint(self, text: &str, colour: bool) -> String {
        if colour && self != Self::Plain { format!("\x1b[{}m{text}\x1b[0m", self.sgr()) } else { text.to_owned() }
    }
}

/// One cell of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A cell with this text; control characters are replaced, because much of it comes from elsewhere.
    pub fn new(text: impl AsRef<str>) -> Self {
        let text = text.as_ref().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        Self { text, style: Style::Plain }
    }

    /// The text of a value, or `-`.
    pub fn or_dash<T: ToString>(value: Option<T>) -> Self {
        value.map_or_else(|| Self::new("-"), |value| Self::new(value.to_string()))
    }

    /// The same cell in another style.
    #[must_use]
    pub const fn style(mut self, style: Style) -> Self {
        self.style = style;
        self
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

/// A table for people: aligned columns, upper-case headings.
#[derive(Clone, Debug, Default)]
pub struct Table {
    head: Vec<Cell>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these column headings.
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { head: head.iter().map(|text| Cell::new(text.to_uppercase())).collect(), rows: vec![] }
    }

    /// Two columns without headings: names and values.
    pub fn pairs() -> Self {
        Self::default()
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// The first cell of each row, a line each; what several rows have in common once.
    fn names(&self) -> String {
        let mut names: Vec<&str> = self.rows.iter().filter_map(|row| Some(row.first()?.text.as_str())).collect();
        names.dedup();
        names.into_iter().flat_map(|name| [name, "\n"]).collect()
    }

    /// The table as text, with escape sequences for colours if `colour`.
    pub fn render(&self, colour: bool) -> String {
        let lines = || (!self.head.is_empty()).then_some(&self.head).into_iter().chain(&self.rows);
        let mut widths: Vec<usize> = vec![];
        for line in lines() {
            widths.resize(widths.len().max(line.len()), 0);
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        let mut out = String::new();
        for line in lines() {
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                if column > 0 {
                    out.push_str("  ");
                }
                let pad = if column + 1 == line.len() { 0 } else { width - cell.text.chars().count() };
                out.push_str(&cell.style.paint(&cell.text, colour));
                out.extend(std::iter::repeat_n(' ', pad));
            }
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
        }
        out
    }
}

/// Prints `value` in the format that was asked for; `table` makes the form for people.
pub fn print<T: Serialize + ?Sized>(context: &Context, value: &T, table: impl FnOnce() -> Table) -> anyhow::Result<()> {
    match context.output {
        OutputFormat::Table => print_table(&table()),
        OutputFormat::Json => write_out(&format!("{}\n", serde_json::to_string_pretty(value)?)),
        OutputFormat::Yaml => write_out(&serde_saphyr::to_string(&value)?),
        OutputFormat::Name => write_out(&table().names()),
    }
}

/// Prints a table, with colours if standard output is a terminal and `NO_COLOR` is not set.
pub fn print_table(table: &Table) -> anyhow::Result<()> {
    write_out(&table.render(colours()))
}

/// Whether standard output shows colours.
pub(super) fn colours() -> bool {
    colours_on(&io::stdout())
}

/// Whether this output shows colours: a terminal where nobody has set `NO_COLOR`.
pub(super) fn colours_on(output: &impl IsTerminal) -> bool {
    output.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes to standard output. A reader that has gone away (`wulf node list | head`) is no error.
pub fn write_out(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Tells a person on standard error what was done; programs read standard output.
pub fn note(text: &str) {
    // Nobody reads it: nothing can be done about that.
    writeln!(io::stderr().lock(), "{text}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["node", "state"]);
        table.row(["n1".into(), Cell::new("ready").style(Style::Good)]);
        table.row(["node-10".into(), Cell::or_dash(None::<u8>)]);
        table
    }

    #[test]
    fn columns_are_aligned_without_trailing_blanks() {
        assert_eq!(table().render(false), "NODE     STATE\nn1       ready\nnode-10  -\n");
    }

    #[test]
    fn colours_do_not_move_columns() {
        assert_eq!(table().render(true), "NODE     STATE\nn1       \x1b[32mready\x1b[0m\nnode-10  -\n");
    }

    #[test]
    fn a_file_shows_no_colours() {
        assert!(!colours_on(&tempfile::tempfile().unwrap()));
    }

    #[test]
    fn a_cell_cannot_speak_to_the_terminal() {
        let mut table = Table::pairs();
        table.row(["comment".into(), "\x1b[2Jgone\n".into()]);
        assert_eq!(table.render(true), "comment  \u{fffd}[2Jgone\u{fffd}\n");
    }
}
