//! The environment that templates run in: strict, without files, without environment variables, with bounded work.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value};
use wulfpack_shared::limits::OVERLAYS_MAX;

use super::functions::{self, Readable};

/// Steps and bytes of output that one template may use: enough for a list of ten thousand nodes, an end for a loop without one.
const FUEL: u64 = 5_000_000;

/// An environment whose templates can include these, by name, and nothing else.
pub(super) fn environment(
    templates: BTreeMap<String, String>,
    readable: &Arc<Readable>,
) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_debug(false);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_formatter(format);
    environment
        .set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?);
    environment.add_filter("fstab", fstab);
    functions::add(&mut environment, readable);
    let templates = Arc::new(templates);
    environment.set_loader(move |name| Ok(templates.get(name).cloned()));
    Ok(environment)
}

/// Prints a value: one line of text, a number or a boolean. Whatever else stands in a template is a mistake, or somebody's
/// attempt to add a line to a file. Text that the head made itself, or that passed the filter `safe`, may have many lines.
fn format(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let refuse = |what: &str| Err(Error::new(ErrorKind::InvalidOperation, what.to_owned()));
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "the value is undefined"));
    }
    if value.is_none() {
        return refuse("the value is not set for this node; test it with `if` first");
    }
    if let Some(text) = value.as_str() {
        if !value.is_safe() && text.contains(char::is_control) {
            return refuse("the value has a line break or another control character in it");
        }
        return out.write_str(text).map_err(Error::from);
    }
    match value.kind() {
        minijinja::value::ValueKind::Number | minijinja::value::ValueKind::Bool => {
            write!(out, "{value}").map_err(Error::from)
        }
        kind => refuse(&format!("a {kind} cannot be printed; print its parts")),
    }
}

/// A field of fstab(5): blanks and the like as octal escapes.
fn fstab(text: &str) -> Result<String, Error> {
    if text.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "a field of fstab cannot be empty"));
    }
    let mut field = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' ' | '\\' | '#' => {
                _ = write!(field, "\\{:03o}", u32::from(c));
            }
            c => field.push(c),
        }
    }
    Ok(field)
}

/// Variables of which a template's text differs from node to node.
const OF_NODE: [&str; 3] = ["node", "interface", "bmc"];
/// Functions that look at the node by themselves.
const LOOKS_AT_NODE: [&str; 4] = ["include_from_image", "readlink", "import_link", "ignition_json"];
/// Tags whose templates are not looked into.
const OTHERS: [&str; 4] = ["include", "import", "extends", "from"];

/// Whether a template makes the same for all nodes: nothing in it is of one node, as far as its source tells.
pub(super) fn is_shared(environment: &Environment<'_>, name: &str, source: &str) -> bool {
    if OTHERS.iter().any(|tag| source.contains(tag)) {
        return false;
    }
    let Ok(template) = environment.get_template(name) else { return false };
    template.undeclared_variables(true).iter().all(|variable| {
        let root = variable.split('.').next().unwrap_or_default();
        let of_node = OF_NODE.contains(&root) || LOOKS_AT_NODE.contains(&root);
        // Of what is under `ssh` only the keys that may log in are the same everywhere.
        !of_node && (root != "ssh" || variable == "ssh.authorized_keys")
    })
}

/// Takes text up to a limit.
struct Limited {
    text: Vec<u8>,
    left: usize,
}

impl std::io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let left = self.left.checked_sub(bytes.len());
        self.left =
            left.ok_or_else(|| std::io::Error::other("its text is larger than the overlays of a node may be"))?;
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The text that a template makes of these values.
pub(super) fn render(environment: &Environment<'_>, name: &str, values: Value) -> Result<String, Error> {
    let mut out = Limited { text: vec![], left: OVERLAYS_MAX };
    environment.get_template(name)?.render_captured_to(values, &mut out)?;
    String::from_utf8(out.text).map_err(|error| Error::new(ErrorKind::WriteFailure, error.to_string()))
}
