//! What a management controller is asked for.

use core::fmt;

use clap::ValueEnum;

/// What is wanted of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Switch on.
    On,
    /// Switch off at once.
    Off,
    /// Off and on again.
    Cycle,
    /// Reset without switching off.
    Reset,
    /// Ask the operating system to shut down.
    Soft,
    /// Whether it is on.
    Status,
    /// Sensors, in short.
    Sensors,
    /// Sensors with their limits.
    SensorsFull,
    /// The serial console.
    Console,
}

impl Action {
    /// Whether a running system suffers from it.
    pub const fn disturbs(self) -> bool {
        matches!(self, Self::Off | Self::Cycle | Self::Reset | Self::Soft)
    }

    /// Its name in templates.
    pub const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Cycle => "cycle",
            Self::Reset => "reset",
            Self::Soft => "soft",
            Self::Status => "status",
            Self::Sensors => "sensors",
            Self::SensorsFull => "sensors-full",
            Self::Console => "console",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
