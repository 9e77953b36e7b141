//! Text and actions of a template, and the words of an action.

use super::ast::Trim;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    /// What stands between the braces; its line.
    Action(Trim, String, usize),
    Comment(Trim, String),
}

/// A word of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Text(String),
    /// A number or a name.
    Name(String),
    /// `.`, `.A.B`; `$x`, `$x.A`.
    Path(String),
    /// `(`, `)`, `|`, `,`, `:=`, `=`.
    Sign(&'static str),
}

/// A mistake, at a line.
pub(super) type Wrong = (usize, String);

/// Takes a template apart.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, Wrong> {
    let (mut pieces, mut rest, mut line) = (vec![], text, 1);
    while let Some((before, inside)) = rest.split_once("{{") {
        line += before.matches('\n').count();
        pieces.push(Piece::Text(before.to_owned()));
        let (left, inside) = match inside.strip_prefix('-') {
            Some(trimmed) if trimmed.starts_with(char::is_whitespace) => (true, trimmed),
            _ => (false, inside),
        };
        let comment = inside.trim_start().strip_prefix("/*");
        let end = match comment {
            Some(comment) => {
                let skipped = inside.len() - comment.len();
                comment.find("*/").map(|end| skipped + end + 2).and_then(|end| find(inside, "}}", end))
            }
            None => end_of_action(inside),
        };
        let end = end.ok_or_else(|| (line, "an action without }}".to_owned()))?;
        let (body, after) = inside.split_at(end);
        let (right, body) = match body.strip_suffix('-') {
            Some(body) if body.ends_with(char::is_whitespace) || body.ends_with("*/") => (true, body),
            _ => (false, body),
        };
        let trim = Trim { left, right };
        pieces.push(match comment {
            Some(_) => {
                let body = body.trim().trim_start_matches("/*").trim_end_matches("*/").trim();
                Piece::Comment(trim, body.to_owned())
            }
            None => Piece::Action(trim, body.trim().to_owned(), line),
        });
        line += body.matches('\n').count();
        rest = after.get(2..).unwrap_or_default();
    }
    pieces.push(Piece::Text(rest.to_owned()));
    pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
    Ok(pieces)
}

fn find(text: &str, what: &str, from: usize) -> Option<usize> {
    Some(from + text.get(from..)?.find(what)?)
}

/// At the `}}` that is not within a text.
fn end_of_action(text: &str) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '`') => quote = Some(c),
            None if text.get(at..)?.starts_with("}}") => return Some(at),
            None => {}
        }
    }
    None
}

/// The words of an action.
pub(super) fn words(text: &str) -> Result<Vec<Word>, String> {
    let (mut words, mut rest) = (vec![], text.trim_start());
    while let Some(first) = rest.chars().next() {
        let (word, length) = match first {
            '"' | '`' | '\'' => quoted(rest, first)?,
            '(' => (Word::Sign("("), 1),
            ')' => (Word::Sign(")"), 1),
            '|' => (Word::Sign("|"), 1),
            ',' => (Word::Sign(","), 1),
            ':' if rest.starts_with(":=") => (Word::Sign(":="), 2),
            '=' => (Word::Sign("="), 1),
            '.' | '$' => {
                let length = length_while(rest, |c| c.is_alphanumeric() || matches!(c, '_' | '.' | '$'));
                (Word::Path(rest.get(..length).unwrap_or_default().to_owned()), length)
            }
            c if c.is_alphanumeric() || matches!(c, '_' | '-' | '+') => {
                let length = length_while(rest, |c| c.is_alphanumeric() || matches!(c, '_' | '-' | '+' | '.'));
                (Word::Name(rest.get(..length).unwrap_or_default().to_owned()), length)
            }
            other => return Err(format!("{other:?} cannot stand in an action")),
        };
        words.push(word);
        rest = rest.get(length..).unwrap_or_default();
        // A field of what stands in parentheses is written without a blank.
        rest = rest.trim_start();
    }
    Ok(words)
}

fn length_while(text: &str, stands: impl Fn(char) -> bool) -> usize {
    text.find(|c| !stands(c)).unwrap_or(text.len())
}

fn quoted(text: &str, quote: char) -> Result<(Word, usize), String> {
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => {
                escaped = false;
                value.push(match c {
                    'n' => '\n',
                    't' => '\t',
                    '"' | '\\' | '\'' => c,
                    other => return Err(format!("the escape \\{other} has no equivalent")),
                });
            }
            '\\' if quote != '`' => escaped = true,
            c if c == quote => return Ok((Word::Text(value), at + 1)),
            c => value.push(c),
        }
    }
    Err("a text without its end".into())
}
