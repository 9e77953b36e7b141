//! What nodes and profiles have in common: a part of the registry that is exported, imported and edited as YAML.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Args;

use super::change::{ChangeFlags, Doing, confirm, open, save};
use super::{Context, note, write_out};
use crate::config::yaml;
use crate::exit::{Ended, Exit};
use crate::registry::{Entry, Map, NodesFile};

/// Largest text that is imported or edited. Bytes.
const TEXT_MAX: u64 = 256 * 1024 * 1024;
/// Stands for a password that is not shown; where it comes back, the password stays.
const HIDDEN: &str = "(secret)";

/// A part of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// `nodes:`
    Nodes,
    /// `nodeprofiles:`
    Profiles,
}

impl Section {
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Nodes => "node",
            Self::Profiles => "profile",
        }
    }

    /// As the file calls it.
    const fn key(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Profiles => "nodeprofiles",
        }
    }

    pub(super) const fn of(self, file: &NodesFile) -> &Map<Entry> {
        match self {
            Self::Nodes => &file.nodes,
            Self::Profiles => &file.nodeprofiles,
        }
    }

    pub(super) const fn of_mut(self, file: &mut NodesFile) -> &mut Map<Entry> {
        match self {
            Self::Nodes => &mut file.nodes,
            Self::Profiles => &mut file.nodeprofiles,
        }
    }

    const fn edit(self) -> Doing {
        Doing::drastically(match self {
            Self::Nodes => "node edit",
            Self::Profiles => "profile edit",
        })
    }

    const fn import(self) -> Doing {
        Doing::drastically(match self {
            Self::Nodes => "node import",
            Self::Profiles => "profile import",
        })
    }

    /// These entries as text, without passwords unless `secrets`.
    pub(super) fn export(self, file: &NodesFile, names: &[String], secrets: bool) -> anyhow::Result<String> {
        let entries: Map<Entry> = names
            .iter()
            .filter_map(|name| {
                let mut entry = self.of(file).get(name)?.clone();
                if let Some(password) = entry.ipmi.password.as_mut().filter(|_| !secrets) {
                    *password = HIDDEN.into();
                }
                Some((name.clone(), entry))
            })
            .collect();
        Ok(if entries.is_empty() { String::new() } else { serde_saphyr::to_string(&entries)? })
    }

    /// Entries from a text: a map by name, or a whole registry that has this part.
    fn read(self, text: &str) -> Result<Map<Entry>, String> {
        // Of both forms the errors of the one that it begins like are told.
        let whole = text.lines().any(|line| line.trim_end() == format!("{}:", self.key()));
        if whole { yaml::parse(text).map(|file: NodesFile| self.of(&file).clone()) } else { yaml::parse(text) }
    }

    /// Puts `entries` in the place of those with the same names. A hidden password is the one that stands.
    fn put(self, file: &mut NodesFile, entries: Map<Entry>) {
        let section = self.of_mut(file);
        for (name, mut entry) in entries {
            let hidden = entry.ipmi.password.as_ref().is_some_and(|password| password.as_str() == HIDDEN);
            if hidden {
                entry.ipmi.password = section.get(&name).and_then(|old| old.ipmi.password.clone());
            }
            section.insert(name, entry);
        }
    }
}

/// Arguments of `import`.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// File with a map by name, as `export` writes it; - reads standard input.
    file: std::path::PathBuf,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Imports entries: what is there already is replaced as a whole.
pub(super) fn import(context: &Context, section: Section, args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let text = read_file(&args.file)?;
    let entries =
        section.read(&text).map_err(|error| Ended::new(Exit::Usage, format!("{}: {error}", args.file.display())))?;
    let mut editor = open(context)?;
    section.put(&mut editor.file, entries);
    save(context, editor, &args.change, section.import())
}

fn read_file(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin().lock().take(TEXT_MAX).read_to_string(&mut text)?;
    } else {
        let file = fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        file.take(TEXT_MAX).read_to_string(&mut text)?;
    }
    Ok(text)
}

/// Prints entries as YAML.
pub(super) fn export(section: Section, file: &NodesFile, names: &[String], secrets: bool) -> anyhow::Result<ExitCode> {
    write_out(&section.export(file, names, secrets)?)?;
    Ok(Exit::Ok.into())
}

const EDIT_HEADER: &str = "\
# Change, add and remove entries; save and leave the editor. What would change is shown before it is saved.
# An empty file changes nothing. (secret) stands for a password that stays as it is.
";

/// Opens these entries in the editor, and saves what comes back. The registry is not locked meanwhile: whoever changes the same
/// entries is noticed.
pub(super) fn edit(
    context: &Context,
    section: Section,
    names: &[String],
    header: bool,
    change: &ChangeFlags,
) -> anyhow::Result<ExitCode> {
    let before = open(context)?.file;
    let text = section.export(&before, names, false)?;
    let mut file = tempfile::Builder::new().prefix("wulf-edit-").suffix(".yaml").tempfile()?;
    write!(file, "{}{text}", if header { EDIT_HEADER } else { "" })?;
    file.flush()?;
    let kept = |file: tempfile::NamedTempFile| -> anyhow::Result<String> { Ok(file.keep()?.1.display().to_string()) };
    loop {
        run_editor(file.path())?;
        let edited = fs::read_to_string(file.path())?;
        if edited.lines().all(|line| line.trim().is_empty() || line.starts_with('#')) {
            note("The file is empty: nothing changes.");
            return Ok(Exit::Ok.into());
        }
        let result = section.read(&edited).map_err(anyhow::Error::msg).and_then(|entries| {
            let mut editor = open(context)?;
            for name in names {
                if section.of(&editor.file).get(name) != section.of(&before).get(name) {
                    let kind = section.kind();
                    anyhow::bail!(
                        "{kind} {name} was changed by somebody else meanwhile; begin again from how it is now"
                    );
                }
            }
            let gone: BTreeSet<&String> = names.iter().filter(|name| !entries.contains_key(*name)).collect();
            section.of_mut(&mut editor.file).retain(|name, _| !gone.contains(name));
            section.put(&mut editor.file, entries);
            editor.check(false)?;
            Ok(editor)
        });
        match result {
            Ok(editor) => return save(context, editor, change, section.edit()).with_context(|| "the edit"),
            Err(error) if io::stdin().is_terminal() && io::stdout().is_terminal() => {
                note(&format!("wulf: {error:#}"));
                if confirm("Edit again? [y/N]").is_err() {
                    let path = kept(file)?;
                    return Err(
                        Ended::new(Exit::Failed, format!("nothing was changed; the edit is kept in {path}")).into()
                    );
                }
            }
            Err(error) => {
                let path = kept(file)?;
                return Err(error.context(format!("nothing was changed; the edit is kept in {path}")));
            }
        }
    }
}

#[cfg(test)]
thread_local! {
    /// The editor of tests, which run beside each other in one process.
    static EDITOR: std::cell::RefCell<Option<String>> = const { std::cell::RefCell::new(None) };
}

/// Runs `work` with this editor.
#[cfg(test)]
pub(super) fn with_editor<T>(editor: &str, work: impl FnOnce() -> T) -> T {
    EDITOR.set(Some(editor.to_owned()));
    let result = work();
    EDITOR.set(None);
    result
}

/// `$VISUAL`, `$EDITOR` or vi, which may have arguments.
fn editor() -> String {
    #[cfg(test)]
    if let Some(editor) = EDITOR.with_borrow(Clone::clone) {
        return editor;
    }
    let set = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".into())
}

fn run_editor(path: &Path) -> anyhow::Result<()> {
    let editor = editor();
    let status = Command::new("/bin/sh").args(["-c", "exec $0 \"$1\"", &editor]).arg(path).status();
    let status = status.with_context(|| format!("cannot start the editor {editor:?}"))?;
    if status.success() {
        return Ok(());
    }
    Err(Ended::new(Exit::Failed, format!("the editor {editor:?} failed ({status}); nothing was changed")).into())
}
