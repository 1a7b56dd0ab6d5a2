//! The line on a terminal that says how many bytes have moved, how fast, and when it will be over.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};

/// The line, if there is a terminal for it.
#[derive(Debug)]
pub(crate) struct Bar(Option<ProgressBar>);

impl Bar {
    /// Starts the bar, if stderr is a terminal, with the number of bytes to move.
    pub(crate) fn new(name: &str, bytes: u64) -> Self {
        Self(io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
            let template = "{prefix} [{bar:20}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, eta {eta}";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("=> "));
            bar.set_prefix(run_common::text::printable(name).into_owned());
            bar
        }))
    }

    /// Counts bytes that have moved.
    pub(crate) fn add(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
