//! The command by which a node's controller is asked, with the password where nobody else sees it.

use std::fs;
use std::io;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use wulfpack_shared::id::{NodeName, ProfileName};

use super::action::Action;
use super::template::Template;
use crate::registry::{Node, Secret};

const IPMITOOL: &str = "ipmitool";
const SHIPPED: [(&str, &str); 2] = [
    (IPMITOOL, include_str!("../../assets/bmc/ipmitool.yaml")),
    ("nobmc", include_str!("../../assets/bmc/nobmc.yaml")),
];
/// What asks for a file with the password.
const PASSWORD_FILE: &str = "password_file";

/// Why a controller cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum PowerError {
    /// Nobody knows where it is.
    #[error("node {0} has no controller: \"wulf node set {0} --ipmiaddr ADDRESS\" names it")]
    NoAddress(NodeName),
    /// There is no such template.
    #[error("there is no template {name:?} for controllers, only {known}; a site's own lie in {dir}", dir = .dir.display())]
    NoTemplate {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
        /// Where a site's own lie.
        dir: PathBuf,
    },
    /// A template is wrong.
    #[error("template {name} for controllers: {what}")]
    Template {
        /// Its name.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A program to run.
#[derive(Debug)]
pub struct Call {
    /// Program and arguments; no secret among them.
    pub command: Vec<String>,
    /// The environment variable with the password.
    pub secret: Option<(String, Secret)>,
    /// Holds the password for programs that read a file; gone with this.
    pub file: Option<NamedTempFile>,
}

/// The shipped templates, and a site's own.
#[derive(Clone, Debug)]
pub struct Templates {
    dir: PathBuf,
}

impl Templates {
    /// Those of a site lie in `bmc/*.yaml` below `etc`.
    pub fn new(etc: &Path) -> Self {
        Self { dir: etc.join("bmc") }
    }

    fn find(&self, name: &str) -> Result<Template, PowerError> {
        // Warewulf names its files.
        let name = name.trim_end_matches(".tmpl").trim_end_matches(".yaml");
        let known = || SHIPPED.map(|(name, _)| name).join(", ");
        let none = || PowerError::NoTemplate { name: name.into(), known: known(), dir: self.dir.clone() };
        // It becomes part of a path.
        name.parse::<ProfileName>().map_err(|_| none())?;
        let path = self.dir.join(format!("{name}.yaml"));
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                SHIPPED.iter().find(|(shipped, _)| *shipped == name).ok_or_else(none)?.1.to_owned()
            }
            Err(source) => return Err(PowerError::Io { path, source }),
        };
        Template::parse(&text).map_err(|what| PowerError::Template { name: name.into(), what })
    }

    /// The call by which the controller of `node` is asked.
    ///
    /// # Errors
    /// It has no address, or its template is missing or wrong.
    pub fn call(&self, node: &Node, action: Action) -> Result<Call, PowerError> {
        let name = node.ipmi.template.as_deref().unwrap_or(IPMITOOL);
        let template = self.find(name)?;
        if node.ipmi.ip.is_none() && name.trim_end_matches(".tmpl") != "nobmc" {
            return Err(PowerError::NoAddress(node.name.clone()));
        }
        let wrong = |what| PowerError::Template { name: name.into(), what };
        let secret = node.ipmi.password.clone().unwrap_or_else(|| Secret::new(""));
        // Rendered twice where a file is wanted: it is made only then.
        let without = template.command(node, action, Some(PASSWORD_FILE)).map_err(wrong)?;
        if !without.iter().any(|word| word.contains(PASSWORD_FILE)) {
            let secret = template.password.map(|variable| (variable, secret));
            return Ok(Call { command: without, secret, file: None });
        }
        let failed = |source| PowerError::Io { path: std::env::temp_dir(), source };
        // Mode 0600 from its first moment on.
        let mut file = NamedTempFile::new().map_err(failed)?;
        file.write_all(secret.expose().as_bytes()).map_err(failed)?;
        let path = file.path().display().to_string();
        let command = template.command(node, action, Some(&path)).map_err(wrong)?;
        Ok(Call { command, secret: template.password.map(|variable| (variable, secret)), file: Some(file) })
    }
}
