//! What `scripts/bench pair --set` can change.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use wulfpack_shared::net::endpoint::Tuning;

/// One setting, `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting(String, String);

impl FromStr for Setting {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, value) = text.split_once('=').context("a setting is NAME=VALUE")?;
        let setting = Self(name.to_owned(), value.to_owned());
        setting.apply(&mut Tuning::default())?;
        Ok(setting)
    }
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.0, self.1)
    }
}

impl Setting {
    fn apply(&self, tuning: &mut Tuning) -> Result<()> {
        let Self(name, value) = self;
        let number = || value.parse::<u64>().with_context(|| format!("{name}={value}: a number is needed"));
        let small = || anyhow::Ok(u32::try_from(number()?)?);
        match name.as_str() {
            "mtu" => tuning.mtu = u16::try_from(number()?)?,
            "link" => tuning.link = number()?,
            "run" => tuning.run = number()?,
            "window" => tuning.knobs.window = Some(small()?),
            "initial-window" => tuning.knobs.initial_window = Some(number()?),
            "datagram" => tuning.knobs.datagram = Some(u16::try_from(number()?)?),
            "initial-rtt-us" => tuning.knobs.initial_rtt = Duration::from_micros(number()?),
            "ack-every" => tuning.knobs.ack_every = small()?,
            "ack-delay-us" => tuning.knobs.ack_delay = Duration::from_micros(number()?),
            "gso" => tuning.knobs.gso = number()? != 0,
            _ => bail!(
                "{name}: the settings are mtu, link, run, window, initial-window, datagram, initial-rtt-us, ack-every, ack-delay-us, gso"
            ),
        }
        Ok(())
    }

    /// The tuning with all of these.
    pub(super) fn all(settings: &[Self], mut tuning: Tuning) -> Result<Tuning> {
        settings.iter().try_for_each(|setting| setting.apply(&mut tuning))?;
        Ok(tuning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_changes_what_it_names_and_nonsense_is_refused() {
        let settings = ["mtu=9000", "gso=0"].map(|text| text.parse::<Setting>().unwrap());
        let tuning = Setting::all(&settings, Tuning::default()).unwrap();
        assert_eq!((tuning.mtu, tuning.knobs.gso), (9000, false));
        for bad in ["mtu", "mtu=x", "colour=1", "datagram=70000"] {
            assert!(bad.parse::<Setting>().is_err(), "{bad}");
        }
    }
}
