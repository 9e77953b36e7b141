//! What a shell completes: names of nodes, groups, profiles, images, overlays and boot script templates, as they are at that moment.
//! The shell calls this program for each (`COMPLETE=bash wulf -- …`, which `wulf completion` prints the glue for).

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Arg, Command, CommandFactory as _};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, EnvCompleter, Shells};
use wulfpack_shared::id::{ImageName, NodeName, OverlayName};

use super::Wulf;
use crate::config::{Config, Paths, yaml};
use crate::registry::NodesFile;

/// The variable by which a shell says that it completes.
const VARIABLE: &str = "COMPLETE";
/// Most candidates: nobody reads more of them, and a shell takes its time with ten thousand.
const CANDIDATES_MAX: usize = 1000;
/// Sources of groups in nodesets that say something of attributes.
const SOURCES: [&str; 11] =
    ["image", "rack", "tag", "profile", "cluster", "group", "overlay", "kernel", "root", "net", "ipxe"];

/// What an argument names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nodeset,
    Node,
    Profile,
    Image,
    Overlay,
    Template,
    Once,
}

/// Answers a shell that completes, and ends; does nothing otherwise.
pub(super) fn answer_shell() {
    CompleteEnv::with_factory(|| dressed(Wulf::command(), places())).var(VARIABLE).bin("wulf").complete();
}

/// The glue for a shell.
pub(super) fn script(shell: &str) -> anyhow::Result<String> {
    let shells = Shells::builtins();
    let completer: &dyn EnvCompleter = shells.completer(shell).with_context(|| format!("no completion for {shell}"))?;
    let mut script = vec![];
    completer.write_registration(VARIABLE, "wulf", "wulf", "wulf", &mut script)?;
    Ok(String::from_utf8_lossy(&script).into_owned())
}

/// Where names are looked up. The shell does not say what stands behind `--config`.
fn places() -> Paths {
    let file = std::env::var_os("WULFPACK_CONFIG").map_or_else(|| "/etc/wulfpack/wulfpack.yaml".into(), PathBuf::from);
    Config::load(&file).map(|config| config.paths).unwrap_or_default()
}

/// The command line with completers at all arguments that name something.
pub(super) fn dressed(command: Command, paths: Paths) -> Command {
    dress(command, &[], &paths)
}

fn dress(command: Command, path: &[&str], paths: &Paths) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let command = command.mut_args(|arg| match kind(path, &arg) {
        Some(kind) => {
            let paths = paths.clone();
            arg.add(ArgValueCompleter::new(move |current: &OsStr| candidates(kind, current, &paths)))
        }
        None => arg,
    });
    names.into_iter().fold(command, |command, name| {
        let below: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
        command.mut_subcommand(&name, |sub| dress(sub, &below, paths))
    })
}

fn kind(path: &[&str], arg: &Arg) -> Option<Kind> {
    let parser = arg.get_value_parser().type_id();
    let value = arg.get_value_names().and_then(|names| names.first()).map(|name| name.as_str());
    match (value, arg.get_long()) {
        (Some("NODESET" | "[MAC] NODESET"), _) => Some(Kind::Nodeset),
        (Some("NODE" | "NODE|MAC" | "MAC|NODE"), _) => Some(Kind::Node),
        (_, Some("profile")) => Some(Kind::Profile),
        (_, Some("image")) => Some(Kind::Image),
        (_, Some("runtime-overlays" | "system-overlays")) => Some(Kind::Overlay),
        (_, Some("ipxe")) => Some(Kind::Template),
        (_, Some("once")) => Some(Kind::Once),
        (_, None) if path.first() == Some(&"profile") && arg.get_id() == "names" => Some(Kind::Profile),
        _ if parser == std::any::TypeId::of::<NodeName>() => Some(Kind::Node),
        _ if parser == std::any::TypeId::of::<ImageName>() => Some(Kind::Image),
        _ if parser == std::any::TypeId::of::<OverlayName>() => Some(Kind::Overlay),
        _ => None,
    }
}

fn candidates(kind: Kind, current: &OsStr, paths: &Paths) -> Vec<CompletionCandidate> {
    let Some(text) = current.to_str() else { return vec![] };
    // Only the last of several names is completed; those before it stay.
    let lists = matches!(kind, Kind::Nodeset | Kind::Profile | Kind::Overlay);
    let operators: &[char] = if kind == Kind::Nodeset { &[',', '!', '&', '^'] } else { &[','] };
    let at = if lists { text.rfind(operators).map_or(0, |at| at + 1) } else { 0 };
    let (before, last) = text.split_at(at);
    let all = names(kind, last, paths);
    let fitting = all.into_iter().filter(|name| name.starts_with(last)).take(CANDIDATES_MAX);
    fitting.map(|name| CompletionCandidate::new(format!("{before}{name}"))).collect()
}

fn names(kind: Kind, last: &str, paths: &Paths) -> BTreeSet<String> {
    match kind {
        Kind::Node => registry(paths).nodes.into_iter().map(|(name, _)| name).collect(),
        Kind::Nodeset if last.starts_with('@') => groups(&registry(paths), paths),
        Kind::Nodeset => registry(paths).nodes.into_iter().map(|(name, _)| name).collect(),
        Kind::Profile => {
            let names: Vec<String> = registry(paths).nodeprofiles.into_iter().map(|(name, _)| name).collect();
            // Taking one out is written with this before it.
            if last.starts_with('~') {
                names.into_iter().map(|name| format!("~{name}")).collect()
            } else {
                names.into_iter().collect()
            }
        }
        Kind::Image => images(last, paths),
        Kind::Overlay => {
            let shipped = crate::overlay::shipped_names().map(str::to_owned);
            let found =
                [paths.overlays.clone(), paths.shipped_overlays()].into_iter().flat_map(|dir| directories(&dir));
            shipped.chain(found).collect()
        }
        Kind::Template => templates(paths),
        Kind::Once => templates(paths).into_iter().chain(images(last, paths)).collect(),
    }
}

/// As it stands, without merging it: that would take a second for ten thousand nodes. Who may not read it completes nothing.
fn registry(paths: &Paths) -> NodesFile {
    let text = fs::read_to_string(paths.nodes_file()).unwrap_or_default();
    yaml::parse(&text).unwrap_or_default()
}

/// `@group`, `@SOURCE:` and, for sources whose values are names, these.
fn groups(file: &NodesFile, paths: &Paths) -> BTreeSet<String> {
    let entries = || file.nodes.values().chain(file.nodeprofiles.values());
    let groups = entries().flat_map(|entry| entry.groups.0.iter().map(|group| format!("@{}", group.as_str())));
    let racks = entries().filter_map(|entry| entry.rack.as_ref().map(|rack| format!("@rack:{}", rack.as_str())));
    let sources = SOURCES.iter().map(|source| format!("@{source}:"));
    let profiles = file.nodeprofiles.iter().map(|(name, _)| format!("@profile:{name}"));
    let images = directories(&paths.images()).into_iter().map(|name| format!("@image:{name}"));
    groups.chain(racks).chain(sources).chain(profiles).chain(images).chain(["@*".to_owned()]).collect()
}

/// Names of images; after an `@` their versions.
fn images(last: &str, paths: &Paths) -> BTreeSet<String> {
    match last.split_once('@') {
        None => directories(&paths.images()).into_iter().collect(),
        Some((name, _)) if name.parse::<ImageName>().is_ok() => {
            let versions = directories(&paths.images().join(name).join("versions"));
            versions.into_iter().map(|id| format!("{name}@{id}")).collect()
        }
        Some(_) => BTreeSet::new(),
    }
}

fn templates(paths: &Paths) -> BTreeSet<String> {
    let shipped = ["default", "localdisk", "discover", "shell"].map(str::to_owned);
    let site = fs::read_dir(paths.etc.join("ipxe")).into_iter().flatten().flatten();
    let site = site.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".ipxe").map(str::to_owned));
    shipped.into_iter().chain(site).collect()
}

fn directories(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter(|entry| entry.path().is_dir()).filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !name.starts_with('.')).collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::testing::{head, wulf};

    /// What the engine answers a shell whose cursor stands behind the last word.
    fn completed(paths: &Paths, words: &[&str]) -> Vec<String> {
        let mut command = dressed(Wulf::command(), paths.clone());
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let index = words.len() - 1;
        let found = clap_complete::engine::complete(&mut command, words, index, None).unwrap();
        let mut found: Vec<String> = found.iter().map(|one| one.get_value().to_string_lossy().into_owned()).collect();
        found.retain(|one| !one.starts_with('-'));
        found
    }

    #[test]
    fn names_are_completed_wherever_something_is_named() {
        let (dir, paths) = head();
        wulf(dir.path(), &["profile", "add", "gpu"]).unwrap();
        wulf(dir.path(), &["node", "add", "n[1-2],login", "--rack", "r7", "--groups", "big"]).unwrap();
        fs::create_dir_all(paths.images().join("debian/versions/4f3c")).unwrap();
        fs::create_dir_all(paths.overlays.join("site")).unwrap();
        let check = |words: &[&str], expected: &[&str]| {
            let words: Vec<&str> = ["wulf"].iter().chain(words).copied().collect();
            assert_eq!(completed(&paths, &words), expected, "{words:?}");
        };
        check(&["node", "show", "n"], &["n1", "n2"]);
        check(&["node", "show", "login,n"], &["login,n1", "login,n2"]);
        check(&["node", "set", "n1!n"], &["n1!n1", "n1!n2"]);
        check(&["node", "status", "@rack:r"], &["@rack:r7"]);
        check(&["ssh", "@b"], &["@big"]);
        check(&["explain", "l"], &["login"]);
        check(&["overlay", "render", "l"], &["login"]);
        check(&["profile", "show", "g"], &["gpu"]);
        check(&["node", "set", "n1", "--profile", "default,g"], &["default,gpu"]);
        check(&["node", "set", "n1", "--image", "deb"], &["debian"]);
        check(&["image", "build", "cu"], &["cuda"]);
        check(&["node", "set", "n1", "--image", "debian@4"], &["debian@4f3c"]);
        check(&["overlay", "show", "sit"], &["site"]);
        check(&["node", "set", "n1", "--system-overlays", "hostname,sit"], &["hostname,site"]);
        check(&["node", "set", "n1", "--ipxe", "loc"], &["localdisk"]);
        check(&["node", "boot", "n1", "--once", "loc"], &["localdisk"]);
        check(&["nod"], &["node"]);
        check(&["node", "show", "zzz"], &[]);
    }

    #[test]
    fn every_argument_that_takes_nodes_completes_them() {
        fn walk(command: &Command, path: &str, missing: &mut Vec<String>) {
            for arg in command.get_positionals() {
                let value = arg.get_value_names().and_then(|names| names.first()).map(|name| name.as_str());
                if value.is_some_and(|value| value.starts_with("NODE")) && arg.get::<ArgValueCompleter>().is_none() {
                    missing.push(format!("{path} {arg}"));
                }
            }
            command.get_subcommands().for_each(|sub| walk(sub, &format!("{path} {}", sub.get_name()), missing));
        }
        let mut missing = vec![];
        walk(&dressed(Wulf::command(), Paths::default()), "wulf", &mut missing);
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn each_shell_has_its_glue() {
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            assert!(script(shell).unwrap().contains("COMPLETE"), "{shell}");
        }
    }
}
