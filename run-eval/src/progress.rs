//! A bar on the terminal that says how far the evaluations are.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use run_common::time::human;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// How many evaluations have ended how.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) completed: usize,
    pub(crate) failed: usize,
    /// They were made before.
    pub(crate) passed: usize,
}

/// The bar, if there is a terminal for it.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("[{bar:30}] {pos}/{len} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar
        });
        Self { bar, started: Instant::now() }
    }

    /// Says how far it is: `working` says what is being done, `left` how many follow.
    pub(crate) fn show(&self, counts: Counts, working: &[String], left: usize) {
        let Some(bar) = &self.bar else { return };
        let done = counts.completed + counts.failed;
        let all = counts.passed + done + working.len() + left;
        bar.set_length(all as u64);
        bar.set_position((counts.passed + done) as u64);
        let mut said = vec![working.join(", ")];
        if counts.failed > 0 {
            said.push(format!("{} failed", counts.failed));
        }
        if let (Ok(done @ 1..), Ok(left @ 1..)) = (u32::try_from(done), u32::try_from(left + working.len())) {
            let eta = (self.started.elapsed() / done).saturating_mul(left).max(Duration::from_secs(1));
            said.push(format!("eta {}", human(eta)));
        }
        bar.set_message(said.join(", "));
        bar.tick();
    }

    /// Takes the bar away, for messages.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.set_draw_target(ProgressDrawTarget::hidden());
            let _ = io::Write::write_all(&mut io::stderr(), b"\r\x1b[K"); // there is nobody else to tell
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Forgets the bar in a process that is not the front any more.
    pub(crate) fn forget(&self) {
        if let Some(bar) = &self.bar {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
    }
}
