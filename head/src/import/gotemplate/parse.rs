//! From pieces to blocks, from words to pipelines.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::ast::{Block, Expr, Kind, Node, Statement, Trim};
use super::lex::{Piece, Word, Wrong, pieces, words};

/// Deepest nesting of blocks and parentheses.
const DEPTH_MAX: usize = 64;

/// Reads a template.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, Wrong> {
    let mut pieces = pieces(text)?.into_iter().peekable();
    let (nodes, end) = nodes(&mut pieces, 0)?;
    match end {
        None => Ok(nodes),
        Some((_, word, line)) => Err((line, format!("{word:?} without a beginning"))),
    }
}

/// What ended a list of nodes: `end`, or `else` with what follows it.
type End = Option<(Trim, String, usize)>;

fn nodes(pieces: &mut Peekable<IntoIter<Piece>>, depth: usize) -> Result<(Vec<Node>, End), Wrong> {
    let mut nodes = vec![];
    while let Some(piece) = pieces.next() {
        let (trim, text, line) = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Piece::Comment(trim, text) => {
                nodes.push(Node::Comment(trim, text));
                continue;
            }
            Piece::Action(trim, text, line) => (trim, text, line),
        };
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((&text, ""));
        match word {
            "end" | "else" => return Ok((nodes, Some((trim, text, line)))),
            "if" => nodes.push(block(Kind::If, trim, rest, line, pieces, depth)?),
            "range" => nodes.push(block(Kind::Range, trim, rest, line, pieces, depth)?),
            "with" => nodes.push(block(Kind::With, trim, rest, line, pieces, depth)?),
            "break" => nodes.push(Node::Jump(trim, "break")),
            "continue" => nodes.push(Node::Jump(trim, "continue")),
            "define" | "template" | "block" => {
                return Err((line, format!("{word:?}: named templates have no equivalent")));
            }
            _ => nodes.push(Node::Action(trim, statement(&text, line)?)),
        }
    }
    Ok((nodes, None))
}

fn block(
    kind: Kind,
    open: Trim,
    head: &str,
    line: usize,
    pieces: &mut Peekable<IntoIter<Piece>>,
    depth: usize,
) -> Result<Node, Wrong> {
    if depth > DEPTH_MAX {
        return Err((line, "blocks nest too deeply".into()));
    }
    let head = statement(head, line)?;
    let (body, end) = nodes(pieces, depth + 1)?;
    let unclosed = || (line, "a block without {{ end }}".to_owned());
    let (trim, text, else_line) = end.ok_or_else(unclosed)?;
    if text == "end" {
        return Ok(Node::Block(Box::new(Block { kind, open, head, body, other: None, end: trim })));
    }
    let condition = text.strip_prefix("else").unwrap_or_default().trim();
    let (other, end) = if condition.is_empty() {
        let (other, end) = nodes(pieces, depth + 1)?;
        (other, end.ok_or_else(unclosed)?.0)
    } else {
        let (inner, rest) = match condition.split_once(char::is_whitespace) {
            Some(("if", rest)) => (Kind::If, rest),
            Some(("with", rest)) => (Kind::With, rest),
            _ => return Err((else_line, format!("{text:?} has no equivalent"))),
        };
        // Both blocks have one end.
        let nested = block(inner, Trim::default(), rest, else_line, pieces, depth + 1)?;
        let end = if let Node::Block(block) = &nested { block.end } else { Trim::default() };
        (vec![nested], end)
    };
    Ok(Node::Block(Box::new(Block { kind, open, head, body, other: Some((trim, other)), end })))
}

fn statement(text: &str, line: usize) -> Result<Statement, Wrong> {
    let words = words(text).map_err(|what| (line, what))?;
    let sign = words.iter().position(|word| matches!(word, Word::Sign(":=" | "=")));
    let (vars, rest) = match sign {
        Some(at) => (words.get(..at).unwrap_or_default(), words.get(at + 1..).unwrap_or_default()),
        None => (&[][..], words.as_slice()),
    };
    let mut names = vec![];
    for word in vars {
        match word {
            Word::Path(name) if name.starts_with('$') && !name.contains('.') => names.push(name[1..].to_owned()),
            Word::Sign(",") => {}
            _ => return Err((line, "only variables can stand before '='".into())),
        }
    }
    let declares = sign.is_some_and(|at| words.get(at) == Some(&Word::Sign(":=")));
    let rest = rest.to_vec();
    let mut parser = Pipeline { words: rest.into_iter().peekable(), depth: 0 };
    let value = parser.pipeline().map_err(|what| (line, what))?;
    match parser.words.next() {
        None => Ok(Statement { line, vars: names, declares, value }),
        Some(word) => Err((line, format!("{word:?} stands where nothing can"))),
    }
}

struct Pipeline {
    words: Peekable<IntoIter<Word>>,
    depth: usize,
}

impl Pipeline {
    fn pipeline(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("parentheses nest too deeply".into());
        }
        let mut value = self.command(None)?;
        while self.words.next_if_eq(&Word::Sign("|")).is_some() {
            value = self.command(Some(value))?;
        }
        self.depth -= 1;
        Ok(value)
    }

    /// A value, or a function with its arguments; what is piped into it comes last.
    fn command(&mut self, piped: Option<Expr>) -> Result<Expr, String> {
        let first = self.words.next().ok_or("a value is missing")?;
        let name = match first {
            Word::Name(name) if is_function(&name) => name,
            Word::Path(path) if piped.is_some() || self.has_argument() => {
                return Err(format!("{path}: methods with arguments have no equivalent"));
            }
            word if piped.is_none() => return self.operand(word),
            word => return Err(format!("a value cannot be piped into {word:?}")),
        };
        let mut arguments = vec![];
        while self.has_argument() {
            let Some(word) = self.words.next() else { break };
            arguments.push(self.operand(word)?);
        }
        arguments.extend(piped);
        Ok(Expr::Call(name, arguments))
    }

    fn has_argument(&mut self) -> bool {
        self.words.peek().is_some_and(|word| !matches!(word, Word::Sign(")" | "|" | "," | ":=" | "=")))
    }

    fn operand(&mut self, word: Word) -> Result<Expr, String> {
        match word {
            Word::Text(text) => Ok(Expr::Text(text)),
            Word::Name(name) if is_function(&name) => Ok(Expr::Call(name, vec![])),
            Word::Name(name) => Ok(Expr::Plain(name)),
            Word::Path(path) => Ok(path_of(&path)),
            Word::Sign("(") => {
                let value = self.pipeline()?;
                if self.words.next() != Some(Word::Sign(")")) {
                    return Err("a '(' without ')'".into());
                }
                match self.words.peek() {
                    Some(Word::Path(path)) if path.len() > 1 && path.starts_with('.') => {
                        let fields = steps(path);
                        self.words.next();
                        Ok(Expr::Of(Box::new(value), fields))
                    }
                    _ => Ok(value),
                }
            }
            Word::Sign(sign) => Err(format!("{sign:?} stands where a value has to")),
        }
    }
}

fn is_function(name: &str) -> bool {
    name.starts_with(char::is_alphabetic) && !matches!(name, "true" | "false" | "nil")
}

fn steps(path: &str) -> Vec<String> {
    path.split('.').filter(|step| !step.is_empty()).map(str::to_owned).collect()
}

fn path_of(path: &str) -> Expr {
    match path.strip_prefix('$') {
        None => Expr::Path(None, steps(path)),
        Some(rest) => {
            let (name, fields) = rest.split_once('.').unwrap_or((rest, ""));
            Expr::Path(Some(name.to_owned()), steps(fields))
        }
    }
}
