//! The progress line on a terminal: bytes moved, speed, and remaining time.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The progress line, if standard error is a terminal.
#[derive(Debug)]
pub(crate) struct Bar {
    line: Option<ProgressBar>,
    gauge: Gauge,
}

impl Bar {
    /// Starts the line, with the number of bytes to move.
    pub(crate) fn new(name: &str, bytes: u64) -> Self {
        Self::with(name, bytes, &Gauge::default())
    }

    /// Starts the line, which also shows bytes of requests in progress.
    pub(crate) fn with(name: &str, bytes: u64, gauge: &Gauge) -> Self {
        let line = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
            let template = "{prefix} [{bar:20}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, eta {eta}";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("=> "));
            bar.set_prefix(run_common::text::printable(name).into_owned());
            bar
        });
        *gauge.state() = State { line: line.clone(), ..State::default() };
        Self { line, gauge: gauge.clone() }
    }

    /// Counts bytes as done, and does not count again those that requests have shown.
    pub(crate) fn add(&self, bytes: u64) {
        if let Some(line) = &self.line {
            let mut state = self.gauge.state();
            let shown = state.ahead.min(bytes);
            state.ahead -= shown;
            line.inc(bytes - shown);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            *self.gauge.state() = State::default();
            line.finish_and_clear();
        }
    }
}

/// Counts the bytes of requests in progress: a part takes long on a slow link.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauge(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    line: Option<ProgressBar>,
    /// Bytes that are shown, but not done.
    ahead: u64,
    /// Shown bytes whose requests have failed: they are sent again, but not shown again.
    wasted: u64,
}

/// A request in progress. Unless it succeeds, its bytes will be sent again.
#[derive(Debug)]
pub(crate) struct Moving {
    gauge: Gauge,
    bytes: u64,
}

impl Gauge {
    /// Returns a counter for a request, if there is a line.
    pub(crate) fn moving(&self) -> Option<Moving> {
        let is_shown = self.state().line.is_some();
        is_shown.then(|| Moving { gauge: self.clone(), bytes: 0 })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Moving {
    /// Counts bytes that the request has sent.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        let mut state = self.gauge.state();
        let shown = state.wasted.min(bytes);
        state.wasted -= shown;
        state.ahead += bytes - shown;
        if let Some(line) = &state.line {
            line.inc(bytes - shown);
        }
    }

    /// Records that the request has succeeded.
    pub(crate) fn succeed(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.gauge.state().wasted += self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_again_is_shown_once() {
        let gauge = Gauge::default();
        assert!(gauge.moving().is_none(), "nothing is shown");
        let line = ProgressBar::hidden();
        gauge.state().line = Some(line.clone());
        let bar = Bar { line: Some(line.clone()), gauge: gauge.clone() };
        let mut first = gauge.moving().unwrap();
        first.add(30);
        assert_eq!(line.position(), 30);
        drop(first); // the request has failed
        let mut again = gauge.moving().unwrap();
        let mut other = gauge.moving().unwrap();
        again.add(20);
        other.add(5);
        assert_eq!(line.position(), 30);
        again.add(30);
        assert_eq!(line.position(), 55);
        again.succeed();
        other.succeed();
        bar.add(50);
        bar.add(5);
        assert_eq!(line.position(), 55);
        bar.add(7); // these needed no request
        assert_eq!(line.position(), 62);
        drop(bar);
        assert!(gauge.moving().is_none());
    }
}
