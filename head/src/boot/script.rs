//! Scripts of boot loaders from templates. What is put into one is checked, not trusted: a name or kernel argument never becomes a command.

use std::net::SocketAddr;
use std::path::Path;

use minijinja::context;
use minijinja::value::{Serde, Value};
use wulfpack_shared::id::Mac;

use super::BootPlan;
use super::loader::Loader;
use super::templates::{AUTOEXEC, Templates, WAIT};

/// How long iPXE waits for a download that makes no progress. Milliseconds.
const TIMEOUT_MS: u32 = 60_000;
/// How long it waits so for a neighbour, which may be gone: the next one or the head has the same. Milliseconds.
const NEIGHBOUR_MS: u32 = 5_000;
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
    /// There is no such template.
    #[error("there is no boot script template {name:?}, only {known}: \"wulf node set NODE --ipxe NAME\" chooses one")]
    NoTemplate {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The template is wrong.
    #[error("boot script template: {0}")]
    Template(String),
}

/// Whose words a script is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// iPXE.
    Ipxe,
    /// GRUB.
    Grub,
}

impl Dialect {
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Ipxe => "ipxe",
            Self::Grub => "cfg",
        }
    }

    /// Whether a value can stand in a script.
    pub(super) fn check(self, text: &str) -> Result<(), ScriptError> {
        match self {
            Self::Ipxe => check(text),
            Self::Grub => check_grub(text),
        }
    }
}

/// What makes boot scripts.
#[derive(Debug)]
pub struct Scripts {
    ipxe: Templates,
    grub: Templates,
}

impl Default for Scripts {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Scripts {
    /// Shipped templates, and those of a site in `ipxe/*.ipxe` and `grub/*.cfg` below `etc`.
    pub fn new(etc: Option<&Path>) -> Self {
        let site = |dialect: Dialect, dir| Templates::new(dialect, etc.map(|etc| etc.join(dir)));
        Self { ipxe: site(Dialect::Ipxe, "ipxe"), grub: site(Dialect::Grub, "grub") }
    }

    fn of(&self, loader: Loader) -> &Templates {
        match loader {
            Loader::Ipxe => &self.ipxe,
            Loader::Grub => &self.grub,
        }
    }

    /// Whether a template boots an image: without a kernel to name it cannot be rendered.
    pub fn boots_image(&self, loader: Loader, template: &str) -> bool {
        ["kernel", "paths", "command_line"].iter().any(|word| self.of(loader).asks_for(template, word))
    }

    /// Whether there is a template of this name.
    pub fn has(&self, loader: Loader, template: &str) -> bool {
        self.of(loader).has(template)
    }

    /// The script that boots a node from its image.
    pub fn boot(&self, loader: Loader, template: &str, plan: &BootPlan) -> Result<String, ScriptError> {
        // Those words are for iPXE under UEFI; the EFI stub of a kernel that GRUB starts would look for such files.
        let words = plan.command_line.split(' ').filter(|word| !word.starts_with("initrd=")).map(str::to_owned);
        let values = context! {
            ..context! { words => words.collect::<Vec<_>>(), paths => Value::from(Serde(plan.paths())) },
            ..Value::from(Serde(plan)),
            ..common(loader, plan.base, plan.mac)
        };
        self.of(loader).render(template, values)
    }

    /// A script that needs no image, such as that for the local disk.
    pub fn without_image(
        &self,
        loader: Loader,
        template: &str,
        (base, mac): (SocketAddr, Mac),
        node: &str,
    ) -> Result<String, ScriptError> {
        self.of(loader).render(template, context! { node => node, ..common(loader, base, mac) })
    }

    /// The script for a machine that has nothing to boot: it says why, waits, and asks again.
    pub fn waiting(&self, loader: Loader, base: SocketAddr, mac: Mac, reason: &str) -> Result<String, ScriptError> {
        // What is only for reading may lose a character.
        let plain = |c: char| if c.is_ascii_alphanumeric() || " .,:/@_()=+%-?<>[]".contains(c) { c } else { '.' };
        let ipxe = |c: char| if "\"'".contains(c) { c } else { plain(c) };
        let reason: String = match loader {
            Loader::Ipxe => reason.chars().take(300).map(ipxe).collect(),
            Loader::Grub => reason.chars().take(300).map(plain).collect(),
        };
        self.of(loader).render(WAIT, context! { reason => reason, ..common(loader, base, mac) })
    }

    /// The script for a loader that looks for one beside itself: leads any machine to its boot script.
    pub fn autoexec(&self, loader: Loader, base: SocketAddr) -> Result<String, ScriptError> {
        let values = context! { base => base.to_string(), timeout_ms => TIMEOUT_MS, pause_s => PAUSE_S };
        self.of(loader).render(AUTOEXEC, values)
    }
}

fn common(loader: Loader, base: SocketAddr, mac: Mac) -> Value {
    let script = match loader {
        Loader::Ipxe => format!("http://{base}/boot/{}/script.ipxe", mac.dashed()),
        Loader::Grub => format!("/grub/{}/grub.cfg", mac.dashed()),
    };
    context! {
        mac => mac.to_string(),
        base => base.to_string(),
        script => script,
        timeout_ms => TIMEOUT_MS,
        neighbour_ms => NEIGHBOUR_MS,
        pause_s => pause(mac),
    }
}

fn pause(mac: Mac) -> u32 {
    let [.., last] = mac.0;
    PAUSE_S + u32::from(last) % PAUSE_SPREAD_S
}

/// A value stands between single quotes in GRUB's scripts, where nothing but the next quote has a meaning (GRUB manual, "Quoting");
/// its `linux` command puts a backslash before quotes and backslashes, so that the kernel would see more than was meant.
fn check_grub(text: &str) -> Result<(), ScriptError> {
    let bad = |c: char| !(' '..='~').contains(&c) || matches!(c, '\'' | '"' | '\\');
    match text.find(bad) {
        None => Ok(()),
        Some(position) => Err(ScriptError::Value {
            value: text.get(position..).unwrap_or_default().chars().take(80).collect(),
            why: "GRUB takes only printable ASCII without quotes and backslashes",
        }),
    }
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
