//! Outcomes of the runs of a command line: counts for people, and the exit status.

use nix::sys::signal::Signal;
use run_common::cli::progress::Counts;
use run_common::cli::statuses::STATUSES;
use run_common::error::Exit;
use run_common::figures::counted;
use run_common::rundir::status::Status;
use run_common::time::human_seconds;

/// The outcomes so far.
#[derive(Debug)]
pub(crate) struct Tally {
    /// The single named run, whose status is the exit status.
    is_one: bool,
    counts: Counts,
    status: u8,
}

/// A run whose process has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    /// The status of the process.
    pub(crate) code: u8,
    /// The status of the run now.
    pub(crate) status: Status,
    /// Whether an attempt was made, or a stop was recorded.
    pub(crate) was_executed: bool,
}

impl Tally {
    /// Starts from zero; `is_one` if a single run was named.
    pub(crate) fn new(is_one: bool) -> Self {
        Self { is_one, counts: Counts::default(), status: 0 }
    }

    /// Returns the counts.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Counts a run that has already completed.
    pub(crate) fn pass(&mut self) {
        self.counts.passed += 1;
    }

    /// Counts a run that cannot be executed.
    pub(crate) fn fail(&mut self, exit: Exit) {
        self.status = if self.is_one { STATUSES.failed } else { self.status.max(exit as u8) };
    }

    /// Counts runs that are not executed because a stop was requested.
    pub(crate) fn leave_out(&mut self) {
        self.status = self.status.max(Exit::No as u8);
    }

    /// Counts a run that was removed during its execution, by the status of its process.
    pub(crate) fn removed(&mut self, code: u8) {
        self.counts.failed += 1;
        self.status = if self.is_one { code } else { self.status.max(Exit::BadRun as u8) };
    }

    /// Counts a run whose process has ended.
    pub(crate) fn add(&mut self, done: Done) {
        match done.status {
            _ if !done.was_executed => {}
            Status::Completed => self.counts.completed += 1,
            Status::Stopped => self.counts.stopped += 1,
            _ => self.counts.failed += 1,
        }
        self.status = match done {
            _ if self.is_one => done.code,
            Done { was_executed: true, status: Status::Completed, .. } => self.status,
            Done { was_executed: true, .. } | Done { code: 0, .. } => self.status.max(Exit::No as u8),
            Done { code, .. } => self.status.max(code),
        };
    }

    /// Returns the outcomes of all runs in words, after this time in seconds; `None` if none was executed.
    pub(crate) fn summary(&self, seconds: f64) -> Option<String> {
        let Counts { completed, failed, stopped, passed } = self.counts;
        let made = completed + failed + stopped;
        let counts = [(completed, "completed"), (failed, "failed"), (stopped, "stopped")];
        let mut words: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        words.extend((passed > 0).then(|| format!("{passed} had completed before")));
        let all = counted(made, "run");
        (made > 0).then(|| format!("{all} ended in {}: {}", human_seconds(seconds), words.join(", ")))
    }

    /// Returns the exit status; `ended_by` is the signal that ended run-exec, if any.
    pub(crate) fn status(&self, ended_by: Option<Signal>) -> u8 {
        match ended_by {
            Some(signal) if !self.is_one => 128 + signal as u8,
            _ => self.status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(code: u8, status: Status) -> Done {
        Done { code, status, was_executed: true }
    }

    #[test]
    fn a_summary_counts_what_was_executed() {
        let mut tally = Tally::new(false);
        assert_eq!(tally.summary(1.0), None);
        for one in [done(0, Status::Completed), refused(4), done(7, Status::Failed)] {
            tally.add(one);
        }
        assert_eq!(tally.summary(65.0).unwrap(), "2 runs ended in 1m05s: 1 completed, 1 failed");
        tally.pass();
        assert!(tally.summary(1.0).unwrap().ends_with(", 1 had completed before"));
    }

    fn refused(code: u8) -> Done {
        Done { code, status: Status::Created, was_executed: false }
    }

    fn status(is_one: bool, all: &[Done]) -> u8 {
        let mut tally = Tally::new(is_one);
        for one in all {
            tally.add(*one);
        }
        tally.status(None)
    }

    #[test]
    fn of_several_the_greatest_status_counts_and_of_one_its_own() {
        let (completed, failed) = (done(0, Status::Completed), done(7, Status::Failed));
        assert_eq!(status(false, &[completed, completed]), 0);
        assert_eq!(status(false, &[completed, failed, completed]), 1);
        assert_eq!(status(false, &[refused(4), failed]), 4);
        assert_eq!(status(false, &[refused(0)]), 1);
        assert_eq!(status(false, &[done(0, Status::Stopped)]), 1);
        assert_eq!((status(true, &[failed]), status(true, &[failed, completed])), (7, 0));
    }

    #[test]
    fn a_signal_that_ends_several_is_told_by_the_status() {
        for (is_one, expected) in [(false, 143), (true, 7)] {
            let mut tally = Tally::new(is_one);
            tally.add(done(7, Status::Failed));
            assert_eq!(tally.status(Some(Signal::SIGTERM)), expected);
        }
    }

    #[test]
    fn what_was_not_executed_is_not_counted() {
        let mut tally = Tally::new(false);
        tally.add(refused(4));
        tally.add(done(0, Status::Completed));
        tally.add(done(143, Status::Stopped));
        tally.add(done(1, Status::Failed));
        tally.removed(3);
        tally.pass();
        let Counts { completed, failed, stopped, passed } = tally.counts();
        assert_eq!((completed, failed, stopped, passed), (1, 2, 1, 1));
    }

    #[test]
    fn a_failure_of_its_own_is_told_as_of_one_run_or_of_several() {
        for (is_one, expected) in [(false, 3), (true, 125)] {
            let mut tally = Tally::new(is_one);
            tally.fail(Exit::BadRun);
            assert_eq!(tally.status(None), expected);
        }
    }
}
