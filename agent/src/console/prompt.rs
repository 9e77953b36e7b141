//! What a person types at a console, byte by byte, as a pure line editor: nothing happens before Enter, so that noise on a
//! serial line reboots nothing.

/// Longest line that is kept; more is dropped.
const LINE_MAX: usize = 32;

/// A command of the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Phases and what the swarm does.
    Status,
    /// Interfaces, carriers, addresses.
    Links,
    /// The last lines of the log.
    Log,
    /// The failed step again, now.
    Retry,
    /// From power-on.
    Reboot,
    /// Off.
    Poweroff,
}

/// What a byte led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// Show this on the console it came from.
    Echo(&'static str),
    /// Show this character.
    EchoChar(char),
    /// A whole command.
    Command(Command),
    /// Enter without a known word: explain.
    Help,
    /// Nothing to do.
    Nothing,
}

/// The commands in one line.
pub const HELP: &str = "status, links, log, retry, reboot or poweroff, then Enter";

/// One console's line.
#[derive(Debug, Default)]
pub struct Prompt {
    line: String,
}

impl Prompt {
    /// Takes one byte from the terminal (in raw mode: Enter is CR or LF, erase is BS or DEL).
    pub fn type_byte(&mut self, byte: u8) -> Typed {
        match byte {
            b'\r' | b'\n' => match std::mem::take(&mut self.line).as_str() {
                "s" | "status" => Typed::Command(Command::Status),
                "l" | "links" => Typed::Command(Command::Links),
                "log" => Typed::Command(Command::Log),
                "r" | "retry" => Typed::Command(Command::Retry),
                "reboot" => Typed::Command(Command::Reboot),
                "poweroff" => Typed::Command(Command::Poweroff),
                _ => Typed::Help,
            },
            0x08 | 0x7f => {
                if self.line.pop().is_some() {
                    Typed::Echo("\x08 \x08")
                } else {
                    Typed::Nothing
                }
            }
            b'a'..=b'z' | b'A'..=b'Z' if self.line.len() < LINE_MAX => {
                self.line.push(byte.to_ascii_lowercase().into());
                Typed::EchoChar(byte.into())
            }
            _ => Typed::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(bytes: &[u8]) -> Typed {
        let mut prompt = Prompt::default();
        bytes.iter().map(|byte| prompt.type_byte(*byte)).last().unwrap()
    }

    #[test]
    fn words_count_after_enter_only() {
        assert_eq!(last(b"reboo"), Typed::EchoChar('o'));
        assert_eq!(last(b"reboot\r"), Typed::Command(Command::Reboot));
        assert_eq!(last(b"Rx\x7f\n"), Typed::Command(Command::Retry));
        assert_eq!(last(b"b\n"), Typed::Help, "one letter reboots nothing");
    }

    proptest::proptest! {
        #[test]
        fn noise_is_bounded_and_powers_nothing_off(bytes in proptest::collection::vec(0u8..=255, 0..500)) {
            let mut prompt = Prompt::default();
            for byte in &bytes {
                let typed = prompt.type_byte(*byte);
                proptest::prop_assert!(prompt.line.len() <= LINE_MAX);
                proptest::prop_assert!(typed != Typed::Command(Command::Poweroff) || bytes.windows(8).any(|w| w.eq_ignore_ascii_case(b"poweroff")));
            }
        }
    }
}
