//! The life of one choice. A choice of what needs no image is used up when its script was loaded; an image, when the agent was: the
//! last file before the kernel starts, so that a boot that fails before does not lose it. The image counts for the join of that boot.

use serde::{Deserialize, Serialize};
use wulfpack_shared::id::{BootId, Mac};
use wulfpack_shared::time::UnixTime;

use crate::boot::Once;
use crate::registry::ImageRef;

/// A choice for the next boot of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnceRecord {
    /// What.
    pub choice: Once,
    /// Who wanted it.
    pub who: String,
    /// When.
    pub at: UnixTime,
    /// The boot that has it; nothing while none came.
    pub taken: Option<Taken>,
}

/// The boot that a choice is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// When its agent was loaded.
    pub at: UnixTime,
    /// The interface that loaded it.
    pub mac: Mac,
    /// The life of the agent that joined with it, once it did.
    pub boot: Option<BootId>,
}

/// What a machine has loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Its boot script, of a template that boots an image or does not.
    Script {
        /// Whether it does.
        boots_image: bool,
    },
    /// The agent's archive.
    Agent,
}

impl OnceRecord {
    /// What a script that is made now has to follow.
    pub fn waiting(&self) -> Option<&Once> {
        self.taken.is_none().then_some(&self.choice)
    }

    /// What becomes of it when a machine of the node has loaded this: `None` when it is over.
    #[must_use]
    pub fn loaded(self, step: Step, mac: Mac, now: UnixTime) -> Option<Self> {
        match (step, &self.taken) {
            (Step::Script { boots_image: true }, _) => Some(self),
            // A script without an image: this was the choice, or the boot after it.
            (Step::Script { boots_image: false }, _) => None,
            (Step::Agent, None) if self.choice.image().is_some() => {
                Some(Self { taken: Some(Taken { at: now, mac, boot: None }), ..self })
            }
            // A template that boots the registry's image, or the boot after the one that was meant.
            (Step::Agent, _) => None,
        }
    }

    /// The image of the boot that joins with this agent; the record remembers it, so that a join whose answer was lost gets the same.
    pub fn joins(&mut self, boot: BootId) -> Option<ImageRef> {
        let taken = self.taken.as_mut()?;
        let own = *taken.boot.get_or_insert(boot) == boot;
        own.then(|| self.choice.image()).flatten()
    }
}
