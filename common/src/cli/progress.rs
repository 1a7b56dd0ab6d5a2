//! A progress line on the terminal. Used by run-exec and run-eval.

use crate::time::human;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// Counts by outcome.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Completed.
    pub completed: usize,
    /// Failed.
    pub failed: usize,
    /// Stopped.
    pub stopped: usize,
    /// Completed before the tool was started.
    pub passed: usize,
}

impl Counts {
    /// Returns the number that have ended during this execution.
    fn made(self) -> usize {
        self.completed + self.failed + self.stopped
    }
}

/// The line, if there is a terminal for it.
#[derive(Debug)]
pub struct Progress {
    line: Option<ProgressBar>,
    started: Instant,
}

impl Progress {
    /// Starts the line, if stderr is a terminal that `is_free`, with this [template](ProgressStyle).
    pub fn new(is_free: bool, template: &str) -> Self {
        let line = (is_free && io::stderr().is_terminal()).then(|| {
            let line = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(template);
            line.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            line
        });
        Self { line, started: Instant::now() }
    }

    /// Returns whether there is a terminal for the line.
    pub fn is_shown(&self) -> bool {
        self.line.is_some()
    }

    /// Shows the progress in numbers and words. `left` is the number of active and remaining ones.
    pub fn show(&self, counts: Counts, left: Option<usize>, mut said: Vec<String>) {
        let Some(line) = &self.line else { return };
        let made = counts.made();
        let of_both = left.and_then(|left| Some((u32::try_from(made).ok()?, u32::try_from(left).ok()?)));
        if let Some((made @ 1.., left @ 1..)) = of_both {
            let eta = (self.started.elapsed() / made).saturating_mul(left).max(Duration::from_secs(1));
            said.push(format!("eta {}", human(eta)));
        }
        line.set_length((counts.passed + made + left.unwrap_or_default()) as u64);
        line.set_position((counts.passed + made) as u64);
        line.set_message(said.join(", "));
        line.tick();
    }

    /// Prints a message without disturbing the line.
    pub fn aside(&self, say: impl FnOnce()) {
        match &self.line {
            Some(line) => line.suspend(say),
            None => say(),
        }
    }

    /// Removes the line.
    pub fn clear(&self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }

    /// Forgets the line in a forked process.
    pub fn forget(&self) {
        if let Some(line) = &self.line {
            line.set_draw_target(ProgressDrawTarget::hidden());
        }
    }
}
