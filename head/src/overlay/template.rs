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
/// Variables that are of all nodes together.
const OF_ALL: [&str; 3] = ["nodes", "hosts", "groups"];
/// Functions that look at the node by themselves.
const LOOKS_AT_NODE: [&str; 4] = ["include_from_image", "readlink", "import_link", "ignition_json"];
/// Functions that read files outside the overlay.
const READS: [&str; 7] = [
    "include_file",
    "include_optional",
    "include_block",
    "include_from_image",
    "readlink",
    "import_link",
    "head_accounts",
];
/// Tags whose templates are not looked into.
const OTHERS: [&str; 4] = ["include", "import", "extends", "from"];

/// On what a template's text depends beside its source and the head's configuration, as far as its source tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Looks {
    /// The node.
    pub(super) at_node: bool,
    /// What changes with the registry as a whole, or with the keys that may log in.
    pub(super) at_all: bool,
    /// Files outside the overlay, which may change at any time.
    pub(super) at_files: bool,
}

impl Looks {
    const EVERYWHERE: Self = Self { at_node: true, at_all: true, at_files: true };

    /// Of both.
    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            at_node: self.at_node || other.at_node,
            at_all: self.at_all || other.at_all,
            at_files: self.at_files || other.at_files,
        }
    }

    /// Whether it is the same for all nodes, as long as the facts are.
    pub(super) const fn is_shared(self) -> bool {
        !self.at_node && !self.at_files
    }

    /// At what a template looks.
    pub(super) fn of(environment: &Environment<'_>, name: &str, source: &str) -> Self {
        let Ok(template) = environment.get_template(name) else { return Self::EVERYWHERE };
        if OTHERS.iter().any(|tag| has_tag(source, tag)) {
            return Self::EVERYWHERE;
        }
        let look = |variable: &String| {
            let root = variable.split('.').next().unwrap_or_default();
            // Of what is under `ssh` only the keys that may log in are the same everywhere.
            let keys = variable == "ssh.authorized_keys";
            Self {
                at_node: OF_NODE.contains(&root) || LOOKS_AT_NODE.contains(&root) || (root == "ssh" && !keys),
                at_all: OF_ALL.contains(&root) || root == "ssh",
                at_files: READS.contains(&root),
            }
        };
        template.undeclared_variables(true).iter().map(look).fold(Self::default(), Self::and)
    }
}

/// Whether the source has this word at the beginning of a tag, or anywhere in one that begins otherwise.
fn has_tag(source: &str, word: &str) -> bool {
    source
        .split("{%")
        .skip(1)
        .filter_map(|rest| rest.split("%}").next())
        .any(|tag| tag.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|part| part == word))
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
