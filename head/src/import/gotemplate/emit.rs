//! From Go's template to one of ours.

use std::collections::{BTreeMap, BTreeSet};

use super::ast::{Block, Expr, Kind, Node, Statement, Trim};
use super::fields::{Type, field};
use super::functions::{call, literal, printf};
use super::parse::parse;

/// A template of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translated {
    /// Its text.
    pub text: String,
    /// What it makes of a file's name, where it made one file for each network: text before the network's name, and behind it.
    pub per_network: Option<(String, String)>,
}

/// Translates a template, or says at which lines it cannot be, and why: all of them, not only the first.
pub fn translate(text: &str) -> Result<Translated, Vec<(usize, String)>> {
    let nodes = parse(text).map_err(|wrong| vec![wrong])?;
    let mut emitter = Emitter { set: assigned(&nodes), ..Emitter::default() };
    let root = Scope { dot: ("node".into(), Type::Root), vars: BTreeMap::new() };
    let mut per_network = None;
    match one_file_per_network(&nodes) {
        Some((block, before, behind, skip)) => {
            per_network = Some((before, behind));
            let mut scope = root;
            let interface = ("interface".to_owned(), Type::Net);
            if let [name, device] = block.head.vars.as_slice() {
                scope.vars.insert(name.clone(), ("interface.net".into(), Type::Text));
                scope.vars.insert(device.clone(), interface.clone());
            }
            scope.dot = interface;
            emitter.nodes(block.body.get(skip..).unwrap_or_default(), &mut scope);
            // White space beside what is gone would begin the file.
            emitter.out = emitter.out.trim_start_matches('\n').to_owned();
        }
        None => {
            let mut scope = root;
            emitter.nodes(&nodes, &mut scope);
        }
    }
    if emitter.wrong.is_empty() {
        Ok(Translated { text: emitter.out, per_network })
    } else {
        emitter.wrong.dedup();
        Err(emitter.wrong)
    }
}

/// `range $name, $dev := .NetDevs` around all of it, with a `file` that is named after `$name`: the block, the text around the name,
/// and how many nodes of its body say that.
fn one_file_per_network(nodes: &[Node]) -> Option<(&Block, String, String, usize)> {
    let blank = |node: &&Node| match node {
        Node::Text(text) => !text.trim().is_empty(),
        Node::Comment(..) => false,
        _ => true,
    };
    let mut solid = nodes.iter().filter(blank);
    let (Some(Node::Block(block)), None) = (solid.next(), solid.next()) else { return None };
    let of_networks = matches!(&block.head.value, Expr::Path(_, path) if *path == ["NetDevs"]);
    let [name, _] = block.head.vars.as_slice() else { return None };
    if block.kind != Kind::Range || !of_networks || block.other.is_some() {
        return None;
    }
    let mut named: BTreeMap<&str, &Expr> = BTreeMap::new();
    for (index, node) in block.body.iter().enumerate() {
        match node {
            Node::Text(text) if text.trim().is_empty() => {}
            Node::Comment(..) => {}
            Node::Action(_, Statement { vars, declares: true, value, .. }) if vars.len() == 1 => {
                named.insert(vars.first()?, value);
            }
            Node::Action(_, Statement { vars, value: Expr::Call(function, arguments), .. })
                if vars.is_empty() && function == "file" =>
            {
                let value = match arguments.first()? {
                    Expr::Path(Some(variable), path) if path.is_empty() => named.get(variable.as_str())?,
                    other => other,
                };
                let (before, behind) = around(value, name)?;
                return Some((block, before, behind, index + 1));
            }
            _ => return None,
        }
    }
    None
}

/// The texts around the one variable of a `print` or `printf`.
fn around(value: &Expr, name: &str) -> Option<(String, String)> {
    let Expr::Call(function, arguments) = value else { return None };
    let is_name = |expr: &Expr| matches!(expr, Expr::Path(Some(variable), path) if variable == name && path.is_empty());
    let text = |parts: &[Expr]| -> Option<String> {
        parts.iter().map(|part| if let Expr::Text(text) = part { Some(text.as_str()) } else { None }).collect()
    };
    match (function.as_str(), arguments.as_slice()) {
        ("print", parts) => {
            let at = parts.iter().position(is_name)?;
            Some((text(parts.get(..at)?)?, text(parts.get(at + 1..)?)?))
        }
        ("printf", [Expr::Text(format), only]) if is_name(only) => {
            let (before, behind) = format.split_once("%s")?;
            (!before.contains('%') && !behind.contains('%')).then(|| (before.to_owned(), behind.to_owned()))
        }
        _ => None,
    }
}

/// Variables that are set again after they were declared: these live in a namespace, because a block of ours cannot set what is
/// around it.
fn assigned(nodes: &[Node]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for node in nodes {
        match node {
            Node::Action(_, statement) if !statement.declares => names.extend(statement.vars.iter().cloned()),
            Node::Block(block) => {
                names.extend(assigned(&block.body));
                names.extend(block.other.iter().flat_map(|(_, other)| assigned(other)));
            }
            _ => {}
        }
    }
    names
}

type Value = (String, Type);

#[derive(Clone)]
struct Scope {
    dot: Value,
    vars: BTreeMap<String, Value>,
}

#[derive(Default)]
struct Emitter {
    out: String,
    wrong: Vec<(usize, String)>,
    set: BTreeSet<String>,
    loops: usize,
}

const fn sign(trim: bool) -> char {
    // Without a sign, ours would take away a line's end behind a block.
    if trim { '-' } else { '+' }
}

impl Emitter {
    fn tag(&mut self, trim: Trim, what: &str) {
        self.out.push_str(&format!("{{%{} {what} {}%}}", sign(trim.left), sign(trim.right)));
    }

    fn refuse(&mut self, line: usize, what: String) {
        self.wrong.push((line, what));
    }

    fn nodes(&mut self, nodes: &[Node], scope: &mut Scope) {
        for node in nodes {
            match node {
                Node::Text(text) => {
                    let safe = text.replace("{%", "{{ \"{%\" }}").replace("{#", "{{ \"{#\" }}");
                    self.out.push_str(&safe);
                }
                Node::Comment(trim, text) => {
                    let text = text.replace("#}", "# }");
                    self.out.push_str(&format!("{{#{} {text} {}#}}", sign(trim.left), sign(trim.right)));
                }
                Node::Jump(trim, word) => self.tag(*trim, word),
                Node::Action(trim, statement) => self.action(*trim, statement, scope),
                Node::Block(block) => self.block(block, scope, true),
            }
        }
    }

    fn action(&mut self, trim: Trim, statement: &Statement, scope: &mut Scope) {
        if matches!(&statement.value, Expr::Call(name, _) if name == "nobackup") {
            // Files are replaced as a whole here; there is no backup to leave out.
            return self.out.push_str(&format!("{{#{} nobackup {}#}}", sign(trim.left), sign(trim.right)));
        }
        let (value, kind) = match self.expr(&statement.value, scope) {
            Ok(value) => value,
            Err(what) => return self.refuse(statement.line, what),
        };
        let Some(name) = statement.vars.first() else {
            let printed = match kind {
                Type::Text => format!("{value} or \"\""),
                Type::List(_) => format!("{value} | join(\" \")"),
                Type::Bool => format!("\"true\" if {value} else \"false\""),
                Type::Value => value,
                _ => return self.refuse(statement.line, "a whole structure cannot be printed".into()),
            };
            let (left, right) = (if trim.left { "-" } else { "" }, if trim.right { "-" } else { "" });
            self.out.push_str(&format!("{{{{{left} {printed} {right}}}}}"));
            return;
        };
        let ours = format!("v_{name}");
        if !self.set.contains(name) {
            self.tag(trim, &format!("set {ours} = {value}"));
            scope.vars.insert(name.clone(), (ours, kind));
        } else if statement.declares {
            self.tag(trim, &format!("set {ours} = namespace(value={value})"));
            scope.vars.insert(name.clone(), (format!("{ours}.value"), kind));
        } else {
            self.tag(trim, &format!("set {ours}.value = {value}"));
        }
    }

    fn block(&mut self, block: &Block, scope: &Scope, closes: bool) {
        let mut inner = scope.clone();
        let head = self.expr(&block.head.value, scope);
        let (value, kind) = head.unwrap_or_else(|what| {
            self.refuse(block.head.line, what);
            ("none".into(), Type::Value)
        });
        let end = match block.kind {
            Kind::If => {
                self.tag(block.open, &format!("if {value}"));
                "endif"
            }
            Kind::With => {
                self.tag(block.open, &format!("if {value}"));
                inner.dot = (value.clone(), kind.clone());
                if let Some(name) = block.head.vars.first() {
                    inner.vars.insert(name.clone(), (value, kind));
                }
                "endif"
            }
            Kind::Range => {
                self.range(block, (value, kind), &mut inner);
                "endfor"
            }
        };
        self.nodes(&block.body, &mut inner);
        if let Some((trim, other)) = &block.other {
            self.tag(*trim, "else");
            self.nodes(other, &mut scope.clone());
        }
        if closes {
            self.tag(block.end, end);
        }
    }

    fn range(&mut self, block: &Block, (value, kind): Value, inner: &mut Scope) {
        self.loops += 1;
        let item = format!("item{}", self.loops);
        let (text, of) = match kind {
            Type::Nets => {
                // A list here, a map by name there.
                if let [name, _] = block.head.vars.as_slice() {
                    inner.vars.insert(name.clone(), (format!("{item}.net"), Type::Text));
                }
                (format!("for {item} in {value}"), Type::Net)
            }
            Type::Map(of) => {
                let key = format!("key{}", self.loops);
                if let [name, _] = block.head.vars.as_slice() {
                    inner.vars.insert(name.clone(), (key.clone(), Type::Text));
                }
                (format!("for {key}, {item} in {value} | items"), *of)
            }
            other => {
                if let [name, _] = block.head.vars.as_slice() {
                    inner.vars.insert(name.clone(), ("loop.index0".into(), Type::Value));
                }
                (format!("for {item} in {value}"), if let Type::List(of) = other { *of } else { Type::Value })
            }
        };
        self.tag(block.open, &text);
        inner.dot = (item.clone(), of.clone());
        if let Some(name) = block.head.vars.last() {
            inner.vars.insert(name.clone(), (item, of));
        }
    }

    fn expr(&self, expr: &Expr, scope: &Scope) -> Result<Value, String> {
        match expr {
            Expr::Text(text) => Ok((literal(text), Type::Text)),
            Expr::Plain(word) => Ok((if word == "nil" { "none".into() } else { word.clone() }, Type::Value)),
            Expr::Path(None, steps) => walk(scope.dot.clone(), steps),
            Expr::Path(Some(name), steps) if name.is_empty() => walk(("node".into(), Type::Root), steps),
            Expr::Path(Some(name), steps) => {
                let value = scope.vars.get(name).ok_or_else(|| format!("${name} is not declared before"))?;
                walk(value.clone(), steps)
            }
            Expr::Of(of, steps) => walk(self.expr(of, scope)?, steps),
            Expr::Call(name, arguments) if name == "index" => self.index(arguments, scope),
            Expr::Call(name, arguments) => {
                if let ("printf", Some((Expr::Text(format), rest))) = (name.as_str(), arguments.split_first()) {
                    let rest: Result<Vec<_>, _> = rest.iter().map(|argument| self.argument(argument, scope)).collect();
                    return printf(format, &rest?)
                        .map(|text| (text, Type::Text))
                        .ok_or_else(|| format!("printf {format:?} has no equivalent; join the parts with ~"));
                }
                let arguments: Result<Vec<_>, _> =
                    arguments.iter().map(|argument| self.argument(argument, scope)).collect();
                let kind = match name.as_str() {
                    "split" | "splitList" | "list" | "sortAlpha" | "uniq" => Type::List(Box::new(Type::Text)),
                    "eq" | "ne" | "lt" | "le" | "gt" | "ge" | "not" | "empty" | "contains" | "has" | "hasKey"
                    | "hasPrefix" | "hasSuffix" => Type::Bool,
                    "len" | "and" | "int" | "atoi" | "add" | "sub" | "inc" | "dec" => Type::Value,
                    _ => Type::Text,
                };
                Ok((call(name, &arguments?)?, kind))
            }
        }
    }

    /// A text that is missing is an empty one, as in Go.
    fn argument(&self, argument: &Expr, scope: &Scope) -> Result<String, String> {
        let (value, kind) = self.expr(argument, scope)?;
        let plain = matches!(argument, Expr::Text(_));
        Ok(if kind == Type::Text && !plain { format!("({value} or \"\")") } else { value })
    }

    fn index(&self, arguments: &[Expr], scope: &Scope) -> Result<Value, String> {
        let (first, keys) = arguments.split_first().ok_or("index: too few arguments")?;
        let mut value = self.expr(first, scope)?;
        for key in keys {
            value = match key {
                Expr::Text(name) => walk(value, std::slice::from_ref(name))?,
                other => (format!("{}[{}]", value.0, self.expr(other, scope)?.0), item(&value.1)),
            };
        }
        Ok(value)
    }
}

fn item(of: &Type) -> Type {
    match of {
        Type::Map(of) | Type::List(of) => (**of).clone(),
        _ => Type::Value,
    }
}

/// The value at the end of a path.
fn walk(mut value: Value, steps: &[String]) -> Result<Value, String> {
    for step in steps {
        let (of, kind) = value;
        value = match kind {
            Type::Nets => {
                let name = literal(step);
                (format!("({of} | selectattr(\"net\", \"equalto\", {name}) | first)"), Type::Net)
            }
            Type::Map(inner) if *inner == Type::Text => {
                (format!("({of}[{}] | default(\"\"))", literal(step)), Type::Text)
            }
            Type::Map(inner) => (format!("{of}[{}]", literal(step)), *inner),
            Type::Value if !step.starts_with("Bool") => (format!("{of}[{}]", literal(step)), Type::Value),
            kind => {
                let (template, kind) = field(&kind, step)?;
                (template.replace("{}", &of), kind)
            }
        };
    }
    Ok(value)
}
