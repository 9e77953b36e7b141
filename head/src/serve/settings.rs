//! What the boot services of a configuration go by, as they would start now: for `wulf explain` and `wulf doctor`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::places::Places;
use super::services::{dhcp_options, program_dirs};
use crate::boot::Programs;
use crate::config::{Config, TokenEvidence};
use crate::dhcp;

/// Everything that the boot services have from configuration, interfaces and files.
#[derive(Clone, Debug)]
pub struct BootSettings {
    /// The head's addresses, and what join tokens are given on there.
    pub addresses: Vec<(IpAddr, TokenEvidence)>,
    /// The DHCP server's.
    pub dhcp: dhcp::Settings,
    /// Network boot programs there are.
    pub programs: Programs,
    /// Where those are looked for, the preferred place first.
    pub program_dirs: Vec<PathBuf>,
}

impl BootSettings {
    /// Those of this configuration.
    ///
    /// # Errors
    /// An interface that it names is not there or has no address, or it names boot programs for no architecture.
    pub fn of(config: &Config) -> anyhow::Result<Self> {
        let places = Places::of(config)?;
        let program_dirs = program_dirs(config);
        let programs = Programs::find(&program_dirs, config.boot.programs.values().cloned());
        let links = dhcp::links(&places.dhcp)?;
        let dhcp = dhcp_options(config, &places, &programs)?.settings(links, 0);
        Ok(Self { addresses: places.addresses, dhcp, programs, program_dirs })
    }

    /// The head's addresses with a port.
    pub fn with_port(&self, port: u16) -> Vec<SocketAddr> {
        self.addresses.iter().map(|(address, _)| SocketAddr::new(*address, port)).collect()
    }
}
