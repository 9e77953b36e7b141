//! How a kind of controller is told: words of a program, rendered for a node. No shell ever sees them. Pure.

use std::collections::BTreeMap;

use minijinja::{Environment, UndefinedBehavior, context};
use serde::Deserialize;

use super::action::Action;
use crate::config::yaml;
use crate::registry::Node;

/// A template as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Template {
    /// Environment variable from which the program reads the password.
    pub(super) password: Option<String>,
    /// What every call begins with.
    program: Vec<String>,
    on: Option<Vec<String>>,
    off: Option<Vec<String>>,
    cycle: Option<Vec<String>>,
    reset: Option<Vec<String>>,
    soft: Option<Vec<String>>,
    status: Option<Vec<String>>,
    sensors: Option<Vec<String>>,
    #[serde(rename = "sensors-full")]
    sensors_full: Option<Vec<String>>,
    console: Option<Vec<String>>,
}

impl Template {
    /// Reads one. The error names the line.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let template: Self = yaml::parse(text)?;
        if template.program.is_empty() {
            return Err("it names no program".into());
        }
        Ok(template)
    }

    fn words(&self, action: Action) -> Option<&[String]> {
        let words = match action {
            Action::On => &self.on,
            Action::Off => &self.off,
            Action::Cycle => &self.cycle,
            Action::Reset => &self.reset,
            Action::Soft => &self.soft,
            Action::Status => &self.status,
            Action::Sensors => &self.sensors,
            Action::SensorsFull => &self.sensors_full,
            Action::Console => &self.console,
        };
        words.as_deref()
    }

    /// The command for this node. `password_file` is where a program may read the password that takes it from no variable.
    pub(super) fn command(
        &self,
        node: &Node,
        action: Action,
        password_file: Option<&str>,
    ) -> Result<Vec<String>, String> {
        let wanted = self.words(action).ok_or_else(|| format!("it has no words for {action}"))?;
        let ipmi = &node.ipmi;
        let tags: &BTreeMap<String, String> = &ipmi.tags;
        let values = context! {
            node => node.name.as_str(),
            ip => ipmi.ip.map(|ip| ip.to_string()).unwrap_or_default(),
            port => ipmi.port,
            username => ipmi.username.as_deref().unwrap_or_default(),
            interface => ipmi.interface.as_deref(),
            escapechar => ipmi.escapechar.as_deref(),
            tags => tags,
            password_file => password_file.unwrap_or_default(),
        };
        let mut environment = Environment::empty();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let mut words: Vec<String> = vec![];
        for word in self.program.iter().chain(wanted) {
            let word = environment.render_str(word, &values).map_err(|error| format!("{word:?}: {error}"))?;
            if !word.is_empty() {
                words.push(word);
            } else if words.len() > 1 && words.last().is_some_and(|option| option.starts_with('-')) {
                words.pop();
            }
        }
        Ok(words)
    }
}
