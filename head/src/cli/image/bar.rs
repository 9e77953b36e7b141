//! Progress of what is done to an image.

use indicatif::{ProgressBar, ProgressStyle};

use crate::image::Progress;

/// A progress bar on standard error; invisible where that is no terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::no_length();
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        Self(bar)
    }

    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl Progress for Bar {
    fn stage(&self, what: &str, total: Option<u64>) {
        let template = match total {
            // Percent and small counts are no bytes.
            Some(..=100) => "{spinner} {msg} [{bar:30}] {percent}% {elapsed}",
            Some(_) => "{spinner} {msg} [{bar:30}] {bytes}/{total_bytes} {eta}",
            None => "{spinner} {msg} {elapsed}",
        };
        self.0.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.0.set_message(what.to_owned());
        self.0.set_position(0);
        match total {
            Some(total) => self.0.set_length(total),
            None => self.0.unset_length(),
        }
    }

    fn set(&self, done: u64) {
        self.0.set_position(done);
    }
}
