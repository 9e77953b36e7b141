//! Waiting for what the head knows: a look each time something changed, until it is as wanted or the patience is over.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use wulfpack_head::fleet::{EventRecord, NodeStatus};

use super::head::Head;

impl Head {
    /// Waits until the view of all nodes is as `done` wants it, and returns it.
    pub fn wait_for(&self, timeout: Duration, mut done: impl FnMut(&[NodeStatus]) -> bool) -> Result<Vec<NodeStatus>> {
        self.watch(timeout, |nodes| {
            if done(&nodes) {
                return Ok(ControlFlow::Break(nodes));
            }
            Ok(ControlFlow::Continue(nodes.iter().map(describe).collect::<Vec<_>>().join("; ")))
        })
    }

    /// Waits until an event was recorded that contains `text`.
    pub fn wait_event(&self, text: &str, timeout: Duration) -> Result<EventRecord> {
        self.watch(timeout, |_| {
            let events = self.events()?;
            if let Some(found) = events.iter().find(|event| event.text.contains(text)) {
                return Ok(ControlFlow::Break(found.clone()));
            }
            let all: Vec<_> = events.into_iter().map(|event| event.text).collect();
            Ok(ControlFlow::Continue(format!("no event says {text:?}; there are: {}", all.join("; "))))
        })
    }

    /// `look` breaks with what was waited for, or continues with what to say should the patience be over.
    fn watch<T>(
        &self,
        timeout: Duration,
        mut look: impl FnMut(Vec<NodeStatus>) -> Result<ControlFlow<T, String>>,
    ) -> Result<T> {
        let deadline = Instant::now() + timeout;
        let mut version = 0;
        loop {
            let status = self.status(version)?;
            version = status.version;
            match look(status.nodes)? {
                ControlFlow::Break(found) => return Ok(found),
                ControlFlow::Continue(stands) if Instant::now() > deadline => {
                    bail!("not there after {} s: {stands}", timeout.as_secs())
                }
                ControlFlow::Continue(_) => {}
            }
        }
    }
}

fn describe(node: &NodeStatus) -> String {
    let phase = node.phase.map_or_else(|| "no boot".into(), |phase| phase.to_string());
    let message = node.message.as_deref().unwrap_or_default();
    format!("{}: {phase}, {} of {} units {message}", node.name, node.held, node.total)
}
