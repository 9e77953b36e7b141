//! What is said of a machine. The names of fields and steps are stable: programs read them.

use serde::Serialize;
use wulfpack_shared::id::{Mac, NodeName};

use crate::registry::{Node, Origin};

/// All that would happen to a machine.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Explained {
    /// The node that it is; without one it is a machine that nobody knows, or a device.
    pub node: Option<NodeName>,
    /// The interface that it boots from.
    pub mac: Option<Mac>,
    /// What has to be known of the head first.
    pub notes: Vec<String>,
    /// The steps in their order.
    pub steps: Vec<Step>,
}

impl Explained {
    /// Whether some step says that the boot does not get past it.
    pub fn stops(&self) -> bool {
        self.steps.iter().any(|step| step.stops)
    }
}

/// One answer that the machine gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Step {
    /// `dhcp`, `nbp`, `script`, `kernel`, `initramfs`, `arguments`, `join`, `image`, `root`, `overlay`.
    pub step: &'static str,
    /// Of which firmware, archive, or overlay this is, where there are several.
    pub about: Option<String>,
    /// What it is told; nothing where it is told nothing.
    pub answer: Option<String>,
    /// Whether the boot does not get past this.
    pub stops: bool,
    /// Why it is told that, in sentences.
    pub why: Vec<String>,
    /// The values of the registry that decide it, and where they come from.
    pub values: Vec<Origin>,
    /// What is sent, where that is a text: the boot script.
    pub text: Option<String>,
}

impl Step {
    pub(super) fn new(step: &'static str) -> Self {
        Self { step, ..Self::default() }
    }

    #[must_use]
    pub(super) fn about(mut self, about: impl ToString) -> Self {
        self.about = Some(about.to_string());
        self
    }

    #[must_use]
    pub(super) fn answer(mut self, answer: impl ToString) -> Self {
        self.answer = Some(answer.to_string());
        self
    }

    #[must_use]
    pub(super) fn why(mut self, why: impl ToString) -> Self {
        self.why.push(why.to_string());
        self
    }

    #[must_use]
    pub(super) fn values(mut self, values: Vec<Origin>) -> Self {
        self.values = values;
        self
    }

    /// The boot ends here, and why.
    #[must_use]
    pub(super) fn stop(mut self, why: impl ToString) -> Self {
        self.stops = true;
        self.why(why)
    }
}

/// A node with the origins of its values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) node: &'a Node,
    pub(super) origins: &'a [Origin],
}

impl Known<'_> {
    /// Values of these fields, or below them.
    pub(super) fn values(&self, fields: &[&str]) -> Vec<Origin> {
        let wanted = |origin: &&Origin| {
            let below = |field: &&str| origin.field.strip_prefix(*field).is_some_and(|rest| rest.starts_with(": "));
            fields.iter().any(|field| origin.field == *field || below(field))
        };
        self.origins.iter().filter(wanted).cloned().collect()
    }
}
