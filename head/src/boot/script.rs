//! iPXE scripts from templates. What is put into one is checked, not trusted: a name or kernel argument never becomes a command.

use std::net::SocketAddr;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, ErrorKind, UndefinedBehavior, context};
use wulfpack_shared::id::Mac;

use super::BootPlan;

/// How long iPXE waits for a download that makes no progress. Milliseconds.
const TIMEOUT_MS: u32 = 60_000;
/// Pause between two tries in seconds, and how much longer it may be: machines that failed together do not come back together.
const PAUSE_S: u32 = 10;
const PAUSE_SPREAD_S: u32 = 10;

/// Why there is no script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// A value that iPXE would read as something else.
    #[error("{value:?} cannot stand in a boot script: {why}; change the node's kernel arguments")]
    Value {
        /// The value, or the word in it.
        value: String,
        /// Why not.
        why: &'static str,
    },
    /// The template is wrong.
    #[error("boot script template: {0}")]
    Template(String),
}

/// The script that boots a node.
pub fn boot_script(plan: &BootPlan) -> Result<String, ScriptError> {
    let values = context! {
        script => script_url(plan.base, plan.mac),
        timeout_ms => TIMEOUT_MS,
        pause_s => pause(plan.mac),
        ..Value::from(Serde(plan))
    };
    render("default.ipxe", include_str!("../../assets/ipxe/default.ipxe"), values)
}

/// The script for a machine that has nothing to boot: it says why, waits, and asks again.
pub fn waiting_script(base: SocketAddr, mac: Mac, reason: &str) -> Result<String, ScriptError> {
    // What is only for reading may lose a character.
    let plain = |c: char| if c.is_ascii_alphanumeric() || " .,:/@_()'=+%-?<>[]\"".contains(c) { c } else { '.' };
    let values = context! {
        mac => mac.to_string(),
        base => base.to_string(),
        reason => reason.chars().take(300).map(plain).collect::<String>(),
        script => script_url(base, mac),
        timeout_ms => TIMEOUT_MS,
        pause_s => pause(mac),
    };
    render("wait.ipxe", include_str!("../../assets/ipxe/wait.ipxe"), values)
}

/// The script for an iPXE that looks for one beside itself on the TFTP server: leads any machine to its boot script.
pub fn autoexec_script(base: SocketAddr) -> Result<String, ScriptError> {
    let values = context! { base => base.to_string(), timeout_ms => TIMEOUT_MS, pause_s => PAUSE_S };
    render("autoexec.ipxe", include_str!("../../assets/ipxe/autoexec.ipxe"), values)
}

fn script_url(base: SocketAddr, mac: Mac) -> String {
    format!("http://{base}/boot/{}/script.ipxe", mac.dashed())
}

fn pause(mac: Mac) -> u32 {
    let [.., last] = mac.0;
    PAUSE_S + u32::from(last) % PAUSE_SPREAD_S
}

fn render(name: &str, template: &str, values: Value) -> Result<String, ScriptError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let template_error = |error: minijinja::Error| ScriptError::Template(error.to_string());
    environment.set_syntax(
        SyntaxConfig::builder().keep_trailing_newline(true).trim_blocks(true).build().map_err(template_error)?,
    );
    // Every value, wherever it stands in whatever template, passes here.
    environment.set_formatter(|output, _, value| {
        let text = value.to_string();
        check(&text).map_err(|error| minijinja::Error::new(ErrorKind::BadEscape, "").with_source(error))?;
        output.write_str(&text).map_err(minijinja::Error::from)
    });
    environment.add_template(name, template).map_err(template_error)?;
    let rendered = environment.get_template(name).and_then(|template| template.render(values));
    rendered.map_err(|error| {
        let refused = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<ScriptError>());
        refused.cloned().unwrap_or_else(|| template_error(error))
    })
}

/// iPXE ends a command at a line's end and at the words `||`, `&&` and `;`, takes `#` at the beginning of a word for a comment, and
/// puts settings in place of `${…}` (ipxe/src/core/exec.c). It has no way to quote these.
fn check(text: &str) -> Result<(), ScriptError> {
    let refuse = |value: &str, why| Err(ScriptError::Value { value: value.chars().take(80).collect(), why });
    if let Some(position) = text.find(|c: char| !(' '..='~').contains(&c)) {
        let word = text.get(position..).unwrap_or_default();
        return refuse(word, "only printable ASCII may stand in it");
    }
    if text.contains("${") {
        return refuse(text, "\"${\" begins an iPXE setting");
    }
    if text.ends_with('\\') {
        return refuse(text, "a backslash at the end joins two lines");
    }
    for word in text.split(' ') {
        if matches!(word, "||" | "&&" | ";") {
            return refuse(word, "it ends an iPXE command");
        }
        if word.starts_with('#') {
            return refuse(word, "'#' begins a comment");
        }
    }
    Ok(())
}
