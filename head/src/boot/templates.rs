//! Templates of boot scripts: the shipped ones, and a site's own, which hide a shipped one of the same name and count as soon as
//! they are saved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};

use super::script::{Dialect, ScriptError};

/// How often a site's directory is looked at, at most.
const LOOK: Duration = Duration::from_secs(1);
/// Largest template of a site. Bytes.
const TEMPLATE_MAX: u64 = 256 * 1024;
/// Most templates of a site.
const TEMPLATES_MAX: usize = 256;
/// Longest name.
const NAME_MAX: usize = 64;

const IPXE: [(&str, &str); 6] = [
    ("default", include_str!("../../assets/ipxe/default.ipxe")),
    ("localdisk", include_str!("../../assets/ipxe/localdisk.ipxe")),
    ("shell", include_str!("../../assets/ipxe/shell.ipxe")),
    (DISCOVER_TEMPLATE, include_str!("../../assets/ipxe/discover.ipxe")),
    (WAIT, include_str!("../../assets/ipxe/wait.ipxe")),
    (AUTOEXEC, include_str!("../../assets/ipxe/autoexec.ipxe")),
];
const GRUB: [(&str, &str); 6] = [
    ("default", include_str!("../../assets/grub/default.cfg")),
    ("localdisk", include_str!("../../assets/grub/localdisk.cfg")),
    ("shell", include_str!("../../assets/grub/shell.cfg")),
    (DISCOVER_TEMPLATE, include_str!("../../assets/grub/discover.cfg")),
    (WAIT, include_str!("../../assets/grub/wait.cfg")),
    (AUTOEXEC, include_str!("../../assets/grub/autoexec.cfg")),
];
/// For machines that have nothing to boot yet.
pub(super) const WAIT: &str = "wait";
/// For loaders that look for a script of their own.
pub(super) const AUTOEXEC: &str = "autoexec";
/// For machines that no node is.
pub const DISCOVER_TEMPLATE: &str = "discover";
/// Where the registry names none.
pub const DEFAULT_TEMPLATE: &str = "default";

/// Whether this can be the name of a template: it becomes the name of a file.
pub fn is_template_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with(['.', '-'])
}

type Stamps = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

#[derive(Debug)]
struct Loaded {
    environment: Arc<Environment<'static>>,
    broken: Arc<BTreeMap<String, String>>,
    looked: Option<Instant>,
    stamps: Stamps,
}

/// The templates of one dialect.
#[derive(Debug)]
pub(super) struct Templates {
    dialect: Dialect,
    site: Option<PathBuf>,
    loaded: Mutex<Loaded>,
}

impl Templates {
    /// The shipped ones, and those in `site`.
    pub(super) fn new(dialect: Dialect, site: Option<PathBuf>) -> Self {
        let (environment, broken) = load(dialect, &Stamps::new());
        let loaded = Loaded { environment, broken, looked: None, stamps: Stamps::new() };
        Self { dialect, site, loaded: Mutex::new(loaded) }
    }

    fn current(&self) -> (Arc<Environment<'static>>, Arc<BTreeMap<String, String>>) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(site) = &self.site
            && loaded.looked.is_none_or(|at| at.elapsed() >= LOOK)
        {
            loaded.looked = Some(Instant::now());
            let stamps = stamps(site, self.dialect.suffix());
            if stamps != loaded.stamps {
                (loaded.environment, loaded.broken) = load(self.dialect, &stamps);
                loaded.stamps = stamps;
            }
        }
        (Arc::clone(&loaded.environment), Arc::clone(&loaded.broken))
    }

    /// The variables that a template asks for.
    pub(super) fn asks_for(&self, name: &str, variable: &str) -> bool {
        let (environment, _) = self.current();
        environment.get_template(name).is_ok_and(|template| template.undeclared_variables(false).contains(variable))
    }

    /// Whether there is such a template, sound or not.
    pub(super) fn has(&self, name: &str) -> bool {
        let (environment, broken) = self.current();
        broken.contains_key(name) || environment.get_template(name).is_ok()
    }

    pub(super) fn render(&self, name: &str, values: Value) -> Result<String, ScriptError> {
        let (environment, broken) = self.current();
        if let Some(why) = broken.get(name) {
            return Err(ScriptError::Template(why.clone()));
        }
        let template = environment.get_template(name).map_err(|_| {
            let known: Vec<_> = environment.templates().map(|(name, _)| name).filter(|name| *name != WAIT).collect();
            ScriptError::NoTemplate { name: name.to_owned(), known: known.join(", ") }
        })?;
        template.render(values).map_err(|error| {
            let refused = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<ScriptError>());
            refused.cloned().unwrap_or_else(|| ScriptError::Template(error.to_string()))
        })
    }
}

/// What lies in a site's directory; nothing if there is none.
fn stamps(site: &Path, suffix: &str) -> Stamps {
    let Ok(entries) = std::fs::read_dir(site) else { return Stamps::new() };
    let stamp = |path: PathBuf| {
        let meta = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some((path, (meta.modified().ok(), meta.len())))
    };
    let named = |path: &PathBuf| path.extension().is_some_and(|extension| extension == suffix);
    entries.flatten().map(|entry| entry.path()).filter(named).filter_map(stamp).take(TEMPLATES_MAX).collect()
}

fn load(dialect: Dialect, site: &Stamps) -> (Arc<Environment<'static>>, Arc<BTreeMap<String, String>>) {
    let mut environment = Environment::new();
    let mut broken = BTreeMap::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).trim_blocks(true).build();
    environment.set_syntax(syntax.unwrap_or_default());
    // Every value, wherever it stands in whatever template, passes here.
    environment.set_formatter(move |output, _, value| {
        let text = value.to_string();
        dialect.check(&text).map_err(|error| minijinja::Error::new(ErrorKind::BadEscape, "").with_source(error))?;
        output.write_str(&text).map_err(minijinja::Error::from)
    });
    environment.set_fuel(Some(1_000_000));
    let shipped: &[(&str, &str)] = match dialect {
        Dialect::Ipxe => &IPXE,
        Dialect::Grub => &GRUB,
    };
    for (name, text) in shipped {
        if let Err(error) = environment.add_template(name, text) {
            broken.insert((*name).to_owned(), format!("shipped template {name}: {error}"));
        }
    }
    for (path, (_, len)) in site {
        let Some(name) = path.file_stem().and_then(|name| name.to_str()).filter(|name| is_template_name(name)) else {
            continue;
        };
        let text = if *len > TEMPLATE_MAX {
            Err(format!("it is larger than {TEMPLATE_MAX} bytes"))
        } else {
            std::fs::read_to_string(path).map_err(|error| error.to_string())
        };
        let added = text.and_then(|text| {
            environment.add_template_owned(name.to_owned(), text).map_err(|error| format!("{error:#}"))
        });
        if let Err(why) = added {
            tracing::error!(path = %path.display(), %why, "boot script template");
            broken.insert(name.to_owned(), format!("{}: {why}", path.display()));
        }
    }
    (Arc::new(environment), Arc::new(broken))
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;

    #[test]
    fn a_sites_template_hides_the_shipped_one_and_a_broken_one_says_where() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("shell.ipxe"), "#!ipxe\necho {{ mac }}\n").unwrap();
        std::fs::write(dir.path().join("bad.ipxe"), "{% if %}").unwrap();
        std::fs::write(dir.path().join("notes.txt"), "{{").unwrap();
        let templates = Templates::new(Dialect::Ipxe, Some(dir.path().into()));
        assert_eq!(templates.render("shell", context! { mac => "x" }).unwrap(), "#!ipxe\necho x\n");
        let error = templates.render("bad", context! {}).unwrap_err().to_string();
        assert!(error.contains("bad.ipxe"), "{error}");
        let error = templates.render("nothing", context! {}).unwrap_err().to_string();
        assert!(error.contains("localdisk") && error.contains("nothing"), "{error}");
        let error = templates.render("shell", context! { mac => "a\nreboot" }).unwrap_err().to_string();
        assert!(error.contains("printable"), "{error}");
        assert!(templates.asks_for("default", "kernel") && !templates.asks_for("localdisk", "kernel"));
    }

    #[test]
    fn names_stay_in_their_directory() {
        assert!(is_template_name("localdisk") && is_template_name("gpu-2.0_x"));
        for bad in ["", "../x", "a/b", ".x", "-x", "x y", &"a".repeat(65)] {
            assert!(!is_template_name(bad), "{bad}");
        }
    }
}
