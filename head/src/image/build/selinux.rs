//! SELinux labels, computed from the image's own policy: those of the head never enter an image (REAL-CLUSTERS, rule 23).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::run::RUNTIME;
use crate::image::error::Doing as _;
use crate::image::library::forbid_mounts;
use crate::image::tree::Tree;
use crate::image::{ImageError, Progress};

/// Longest complaint of setfiles that is repeated. Bytes.
const WORDS_MAX: usize = 500;

/// Whether nodes can enforce SELinux with a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Selinux {
    /// It was built before this was looked at.
    #[default]
    Unknown,
    /// It has no policy.
    NoPolicy,
    /// It has a policy, but its files have no labels.
    Unlabelled {
        /// Name of the policy.
        policy: String,
        /// Why not.
        why: String,
    },
    /// Its files have the labels of its policy.
    Labelled {
        /// Name of the policy.
        policy: String,
    },
}

impl Selinux {
    /// What a build warns of.
    pub(super) fn warning(&self) -> Option<String> {
        match self {
            Self::Unlabelled { policy, why } => {
                Some(format!("nodes cannot enforce SELinux with this version: its policy is {policy}, but {why}"))
            }
            _ => None,
        }
    }

    /// In a few words, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Unknown => "not known; build the image again".into(),
            Self::NoPolicy => "no: it has no policy".into(),
            Self::Unlabelled { policy, why } => format!("no: it has policy {policy}, but {why}"),
            Self::Labelled { policy } => format!("yes, with policy {policy}"),
        }
    }
}

/// The policy of a tree, and the file that says which label belongs where.
fn policy(tree: &Tree) -> Option<(String, PathBuf)> {
    let config = tree.text("etc/selinux/config").ok()?;
    let name = config.lines().find_map(|line| line.trim().strip_prefix("SELINUXTYPE="))?.trim().to_owned();
    if name.is_empty() || name.contains('/') {
        return None;
    }
    let contexts = tree.resolve(format!("etc/selinux/{name}/contexts/files/file_contexts")).ok()?;
    contexts.is_file().then_some((name, contexts))
}

/// What the tree has, where nothing is to be computed.
pub(super) fn look(tree: &Tree) -> Selinux {
    match policy(tree) {
        None => Selinux::NoPolicy,
        Some((policy, _)) => Selinux::Unlabelled { policy, why: "labels are switched off in the configuration".into() },
    }
}

/// Gives every file of the tree the label that the image's policy has for it.
pub(super) fn label(tree: &Tree, progress: &dyn Progress) -> Result<Selinux, ImageError> {
    let Some((policy, contexts)) = policy(tree) else { return Ok(Selinux::NoPolicy) };
    progress.stage("Computing SELinux labels", None);
    let Some(program) = setfiles() else {
        let why = "setfiles, which computes labels, is not on this head (package policycoreutils)".into();
        return Ok(Selinux::Unlabelled { policy, why });
    };
    let mut command = Command::new(&program);
    command.args(["-F", "-r"]).arg(tree.root());
    if forbid_mounts(tree.root(), &[]).is_err() {
        // What is mounted there is the head's.
        command.args(RUNTIME.iter().flat_map(|dir| ["-e".into(), tree.root().join(dir)]));
    }
    command.arg(contexts).arg(tree.root()).env("LC_ALL", "C").stdin(Stdio::null());
    let output = command.output().doing("start", &program)?;
    if output.status.success() {
        return Ok(Selinux::Labelled { policy });
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words: String = words.trim().lines().last().unwrap_or_default().chars().take(WORDS_MAX).collect();
    Ok(Selinux::Unlabelled { policy, why: format!("setfiles failed: {words}") })
}

/// Not in everybody's search path.
fn setfiles() -> Option<PathBuf> {
    ["/usr/sbin/setfiles", "/sbin/setfiles"].into_iter().map(Path::new).find(|path| path.is_file()).map(Into::into)
}
