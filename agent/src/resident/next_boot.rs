//! A node that goes down to boot again tells a head so: where boots wait for an administrator's approval, its next one does not.

use std::time::Duration;

use wulfpack_shared::net::control::ControlClient;
use wulfpack_shared::wire::{ControlRequest, ControlResponse};

use super::ready::systemctl;
use crate::member::ask;

/// How long the head may take to answer: the node is on its way down.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tells a head, if this system is being rebooted. Whoever powers the node off, or restarts this service, announces nothing.
pub(super) async fn announce(client: &ControlClient) {
    // The queue is known from its jobs: the state "stopping" would not tell a reboot from a power-off.
    let asked = tokio::time::timeout(PATIENCE, systemctl(&["list-jobs", "--no-legend", "--plain"]));
    match asked.await {
        Ok(Ok(jobs)) if is_reboot(&jobs) => {}
        Ok(Ok(_)) => return,
        Ok(Err(error)) => return tracing::warn!(%error, "whether this node boots again is not known"),
        Err(_) => return tracing::warn!("systemctl does not say whether this node boots again"),
    }
    let expected = |answer| if let ControlResponse::Expected { until } = answer { Some(until) } else { None };
    match tokio::time::timeout(PATIENCE, ask(client, ControlRequest::NextBoot, expected)).await {
        Ok(Ok(until)) => tracing::info!(%until, "the head expects the next boot"),
        // Where boots wait for approval, the next one will.
        Ok(Err(error)) => tracing::warn!(%error, "the next boot is not announced"),
        Err(_) => tracing::warn!("no head was told of the next boot in time"),
    }
}

/// Whether systemd has a job to start `reboot.target`, by `systemctl list-jobs --no-legend --plain`: number, unit, type, state.
fn is_reboot(jobs: &str) -> bool {
    jobs.lines().any(|line| {
        let mut columns = line.split_whitespace().skip(1);
        columns.next() == Some("reboot.target") && columns.next() == Some("start")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reboot_is_told_from_a_power_off_and_from_a_restart_of_the_service() {
        let reboot = "  831 reboot.target               start waiting\n  901 wulf-agent.service  stop  running\n";
        assert!(is_reboot(reboot));
        for jobs in [
            "  831 poweroff.target  start waiting\n  901 wulf-agent.service stop running\n",
            "  901 wulf-agent.service restart running\n",
            "  831 reboot.target stop waiting\n",
            "",
        ] {
            assert!(!is_reboot(jobs), "{jobs}");
        }
    }
}
