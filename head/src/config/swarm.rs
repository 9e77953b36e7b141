//! What the swarm may take of links and processors, and how narrow the ways between racks are.

use std::collections::BTreeMap;

use regex_lite::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wulfpack_shared::id::RackName;
use wulfpack_shared::manners::{Cap, CpuList, Dscp, Manners, Nice};

use crate::tracker::RackCaps;

/// What nodes take of links and processors for the swarm, unless the registry says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SwarmConfig {
    /// Most that a node gives to others, headers included: `200mbit`, `1gbit` or `none`.
    #[schemars(with = "String")]
    pub upload: Cap,
    /// Most that a node takes from others.
    #[schemars(with = "String")]
    pub download: Cap,
    /// Most that this head gives.
    #[schemars(with = "String")]
    pub head_upload: Cap,
    /// Mark of the swarm's packets, the head's too: `default`, `le`, `cs1`, `af11`, or 0 to 63.
    #[schemars(with = "String")]
    pub dscp: Dscp,
    /// Niceness of the agent of a running node, 0 to 19.
    #[schemars(with = "u8")]
    pub nice: Nice,
    /// Processors that the agent of a running node may use: `all`, or such as `0-3,8`.
    #[schemars(with = "String")]
    pub cpus: CpuList,
}

impl SwarmConfig {
    /// As nodes have them.
    pub const fn manners(&self) -> Manners {
        let Self { upload, download, dscp, nice, cpus, .. } = *self;
        Manners { upload, download, dscp, nice, cpus }
    }

    /// This head's own.
    pub fn of_head(&self) -> Manners {
        Manners { upload: self.head_upload, dscp: self.dscp, ..Manners::default() }
    }
}

/// Racks: whatever shares an uplink. Where uplink and node link are known, only so many flows enter a rack at a time as its uplink carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RacksConfig {
    /// Tag of a node that names its rack, where its `rack` does not; empty: none.
    pub tag: String,
    /// Regular expression for names of nodes, whose first group is the rack; empty: none.
    pub pattern: String,
    /// Rate of the link between a rack and the others.
    #[schemars(with = "String")]
    pub uplink: Cap,
    /// Rate of a node's link.
    #[schemars(with = "String")]
    pub nic: Cap,
    /// Uplinks of racks that have another.
    #[schemars(with = "BTreeMap<String, String>")]
    pub uplinks: BTreeMap<String, Cap>,
}

impl RacksConfig {
    /// The pattern, if there is one.
    ///
    /// # Errors
    /// It is none, or has no group: the text says what is wrong.
    pub fn regex(&self) -> Result<Option<Regex>, String> {
        if self.pattern.is_empty() {
            return Ok(None);
        }
        let regex = Regex::new(&self.pattern).map_err(|error| format!("racks: pattern: {error}"))?;
        if regex.captures_len() < 2 {
            return Err(format!(
                "racks: pattern: {:?} has no group (in round brackets) that is the rack",
                self.pattern
            ));
        }
        Ok(Some(regex))
    }

    pub(super) fn check(&self) -> Result<(), String> {
        for name in self.uplinks.keys() {
            name.parse::<RackName>().map_err(|error| format!("racks: uplinks: {error}"))?;
        }
        if self.nic.get().is_none() && (self.uplink.get().is_some() || !self.uplinks.is_empty()) {
            return Err("racks: uplink counts only beside nic, the rate of a node's link".into());
        }
        self.regex().map(drop)
    }

    /// Inbound flows of each rack: four for each link of a node that its uplink is worth (SWARM.md, "Racks").
    pub fn caps(&self) -> RackCaps {
        let flows = |uplink: &Cap| {
            let (uplink, nic) = uplink.get().zip(self.nic.get())?;
            Some(u32::try_from((uplink.saturating_mul(4) / nic).max(1)).unwrap_or(u32::MAX))
        };
        let named = |(name, uplink): (&String, &Cap)| Some((name.parse().ok()?, flows(uplink).unwrap_or(0)));
        RackCaps { usual: flows(&self.uplink).unwrap_or(0), of: self.uplinks.iter().filter_map(named).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rack_may_have_four_flows_for_each_node_link_that_its_uplink_is_worth() {
        let parse = |text: &str| text.parse().unwrap();
        let mut config = RacksConfig { uplink: parse("100gbit"), nic: parse("25gbit"), ..RacksConfig::default() };
        config.uplinks.insert("slow".into(), parse("1gbit"));
        config.uplinks.insert("free".into(), Cap::NONE);
        let caps = config.caps();
        let of = |name: &str| caps.of_rack(name.parse().ok().as_ref());
        assert_eq!((of("r1"), of("slow"), of("free"), caps.of_rack(None)), (16, 1, 0, 0));
        assert!(RacksConfig::default().caps().is_empty());
    }

    #[test]
    fn what_cannot_count_is_refused() {
        let refused = |config: RacksConfig| config.check().unwrap_err();
        let (uplink, pattern) = ("1gbit".parse().unwrap(), |text: &str| text.to_owned());
        assert!(refused(RacksConfig { uplink, ..RacksConfig::default() }).contains("nic"));
        assert!(refused(RacksConfig { pattern: pattern("r[0-9]+"), ..RacksConfig::default() }).contains("group"));
        assert!(refused(RacksConfig { pattern: pattern("(r"), ..RacksConfig::default() }).contains("pattern"));
    }
}
