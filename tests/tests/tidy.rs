//! House rules that no lint knows, as a test over the text of the tree.

#![expect(clippy::unwrap_used, reason = "a tree that cannot be read fails the test")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use wulfpack_tests::harness::repo_dir;

/// Most lines of a source file.
const LINES_MAX: usize = 400;
/// Files that are longer, each with its reason.
const LONG_FILES: [(&str, &str); 0] = [];
/// Files that decide and never act: see ARCHITECTURE.md, invariant 1.
const PURE_FILES: [&str; 2] = ["machine.rs", "picker.rs"];
/// What a pure file must not name.
const IMPURE: [&str; 16] = [
    "tokio",
    "std::net::Tcp",
    "std::net::Udp",
    "std::fs",
    "std::process",
    "std::thread",
    "std::env",
    "Instant",
    "SystemTime",
    "HashMap",
    "HashSet",
    "quinn",
    "libp2p",
    "socket2",
    "async fn",
    ".await",
];

fn sources(extensions: &[&str], folders: &[&str]) -> Vec<(String, String)> {
    let mut found = vec![];
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| repo_dir().join(folder)).collect();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted)) {
            let name = path.strip_prefix(repo_dir()).unwrap().to_string_lossy().into_owned();
            if let Ok(text) = fs::read_to_string(&path) {
                found.push((name, text));
            }
        }
    }
    found.sort();
    found
}

fn rust() -> Vec<(String, String)> {
    sources(&["rs"], &["shared", "head", "agent", "tests"])
}

fn check(rule: &str, broken: &[String]) {
    let mut text = String::new();
    for line in broken {
        writeln!(text, "  {line}").unwrap();
    }
    assert!(broken.is_empty(), "{rule}:\n{text}");
}

/// The lines of a file in front of its unit tests, without comments; line numbers from 1.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .take_while(|line| line.trim() != "#[cfg(test)]")
        .enumerate()
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
}

#[test]
fn files_stay_short() {
    let mut broken = vec![];
    for (name, text) in rust() {
        let lines = text.lines().count();
        let excused = LONG_FILES.iter().any(|(file, _)| *file == name);
        if lines > LINES_MAX && !excused {
            broken.push(format!("{name} has {lines} lines, {LINES_MAX} are allowed"));
        } else if lines <= LINES_MAX && excused {
            broken.push(format!("{name} is short enough: take it off the list of exceptions"));
        }
    }
    for (file, _) in LONG_FILES {
        if !repo_dir().join(file).exists() {
            broken.push(format!("{file} does not exist: take it off the list of exceptions"));
        }
    }
    check("split long files by job", &broken);
}

#[test]
fn pure_files_name_nothing_impure() {
    let mut broken = vec![];
    for (name, text) in rust() {
        let path = Path::new(&name);
        let in_machine = path.components().any(|part| part.as_os_str() == "machine");
        let tests = name.ends_with("tests.rs");
        if tests || !(in_machine || PURE_FILES.iter().any(|pure| path.ends_with(pure))) {
            continue;
        }
        for (number, line) in code(&text) {
            for word in IMPURE.into_iter().filter(|word| line.contains(word)) {
                broken.push(format!("{name}:{number} names {word}"));
            }
        }
    }
    check("a machine decides, a shell acts: move IO out of the machine", &broken);
}

#[test]
fn module_roots_hold_docs_and_re_exports_only() {
    let mut broken = vec![];
    for (name, text) in rust() {
        // What unit tests share may stand in their own mod.rs.
        if !(name.ends_with("/mod.rs") || name.ends_with("/lib.rs")) || name.ends_with("/tests/mod.rs") {
            continue;
        }
        if !text.starts_with("//!") {
            broken.push(format!("{name} does not begin with a sentence on what it is for"));
        }
        let mut in_use = false;
        for (number, line) in code(&text) {
            let line = line.trim();
            let starts_use =
                ["use ", "pub use ", "pub(crate) use ", "pub(super) use "].iter().any(|word| line.starts_with(word));
            let module = line.ends_with(';') && (line.contains("mod ") || line.starts_with("extern crate"));
            let quiet = line.is_empty() || line.starts_with('#') || line.starts_with("reason =") || line == ")]";
            if !(in_use || starts_use || module || quiet) {
                broken.push(format!("{name}:{number} {line}"));
            }
            in_use = (in_use || starts_use) && !line.ends_with(';');
        }
    }
    check("mod.rs and lib.rs hold docs and re-exports: move code into a file named after its job", &broken);
}

#[test]
fn nothing_is_left_for_later() {
    // Written in halves, so that this file does not find itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("unimplemented", "!"),
        concat!("todo", "!"),
    ];
    let mut broken = vec![];
    let others =
        sources(&["md", "sh", "toml", "yaml", "yml", "j2"], &["head", "agent", "shared", "tests", "scripts", ".ci"]);
    for (name, text) in rust().into_iter().chain(others) {
        for (index, line) in text.lines().enumerate() {
            for word in words.iter().filter(|word| {
                line.split(|letter: char| !letter.is_alphanumeric() && letter != '!').any(|part| part == **word)
            }) {
                broken.push(format!("{name}:{} says {word}", index + 1));
            }
        }
    }
    check("open ends belong into issues, not into the code", &broken);
}

#[test]
fn no_path_of_one_machine() {
    let homes = [concat!("/ho", "me/"), concat!("/Use", "rs/"), concat!("/tmp/", "wt/"), concat!("/wo", "rk/")];
    let mut broken = vec![];
    let others = sources(
        &["md", "toml", "yaml", "yml", "j2", ""],
        &["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "scripts", "head/assets"],
    );
    // The entries of a passwd(5) that overlays write are of the machines of a cluster.
    let users = |name: &str| name.starts_with("head/assets/overlays/") || name == "head/src/overlay/golden_tests.rs";
    for (name, text) in rust().into_iter().chain(others) {
        let homes = if users(&name) { &homes[1..] } else { &homes[..] };
        for (index, line) in text.lines().enumerate() {
            for home in homes.iter().filter(|home| line.contains(*home)) {
                broken.push(format!("{name}:{} says {home}", index + 1));
            }
        }
    }
    check("a path of somebody's machine works nowhere else", &broken);
}

#[test]
fn every_source_file_is_part_of_a_crate() {
    let files = rust();
    let mut broken = vec![];
    for (name, _) in &files {
        let path = Path::new(name);
        let (Some(folder), Some(stem)) = (path.parent(), path.file_stem()) else { continue };
        let stem = stem.to_string_lossy();
        let root = ["lib", "main", "mod", "build"].contains(&&*stem);
        // Cargo finds these itself.
        let target = ["tests/tests", "tests/src/bin", "tests/benches"].iter().any(|auto| folder == Path::new(auto))
            || name.contains("/fuzz_targets/");
        if root || target {
            continue;
        }
        let parents =
            [folder.join("mod.rs"), folder.join("lib.rs"), folder.join("main.rs"), folder.with_extension("rs")];
        let declared = parents.iter().any(|parent| {
            let parent = parent.to_string_lossy();
            files.iter().any(|(other, text)| *other == parent && text.contains(&format!("mod {stem};")))
        }) || files
            .iter()
            .any(|(other, text)| Path::new(other).parent() == Some(folder) && text.contains(&format!("mod {stem};")));
        if !declared {
            broken.push(format!("{name} is declared by nobody"));
        }
    }
    check("dead files", &broken);
}
