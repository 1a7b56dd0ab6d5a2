//! A line on the terminal that says how far several runs are.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use run_common::time::human;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// How many runs have ended how.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) completed: usize,
    pub(crate) failed: usize,
    pub(crate) stopped: usize,
    /// Runs that were passed over because they had completed before.
    pub(crate) passed: usize,
}

impl Counts {
    /// Returns how many runs have been dealt with.
    fn done(self) -> usize {
        self.completed + self.failed + self.stopped
    }
}

/// The line, if there is a terminal for it.
#[derive(Debug)]
pub(crate) struct Progress {
    line: Option<ProgressBar>,
    started: Instant,
}

impl Progress {
    /// Begins, unless the output of the runs goes to the terminal.
    pub(crate) fn new(is_quiet: bool) -> Self {
        let has_place = io::stderr().is_terminal() && (is_quiet || !io::stdout().is_terminal());
        let line = has_place.then(|| {
            let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            line.set_style(
                ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            line
        });
        Self { line, started: Instant::now() }
    }

    /// Says how far it is; `left` are the runs that are known to follow.
    pub(crate) fn show(&self, counts: Counts, running: usize, left: Option<usize>) {
        let Some(line) = &self.line else { return };
        let mut said = vec![format!("{} done", counts.completed)];
        for (count, word) in [(counts.failed, "failed"), (counts.stopped, "stopped"), (running, "running")] {
            if count > 0 {
                said.push(format!("{count} {word}"));
            }
        }
        if let Some(left) = left {
            said.push(format!("{left} to do"));
            let (done, left) = (u32::try_from(counts.done()), u32::try_from(left + running));
            if let (Ok(done @ 1..), Ok(left @ 1..)) = (done, left) {
                let each = self.started.elapsed() / done;
                let eta = human(each.saturating_mul(left).max(Duration::from_secs(1)));
                said.push(format!("eta {eta}"));
            }
        }
        line.set_message(said.join(", "));
        line.tick();
    }

    /// Says something else meanwhile.
    pub(crate) fn aside(&self, say: impl FnOnce()) {
        match &self.line {
            Some(line) => line.suspend(say),
            None => say(),
        }
    }

    /// Takes the line away.
    pub(crate) fn clear(&self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }

    /// Forgets the line in a process that is not the front any more.
    pub(crate) fn forget(&self) {
        if let Some(line) = &self.line {
            line.set_draw_target(ProgressDrawTarget::hidden());
        }
    }
}
