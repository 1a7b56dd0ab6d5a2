//! The records that a supervisor writes about its attempt: status.json at every heartbeat, resources.jsonl, and
//! the end. If one of them cannot be written, the others are.

use super::task::Task;
use super::tee::Seen;
use super::watch::Watch;
use run_common::error::plain;
use run_common::fsio::append::append_line;
use run_common::message::warn;
use run_common::rundir::attempts::{AttemptEnd, AttemptStart, Resources};
use run_common::rundir::raw::{Metrics, Recent};
use run_common::rundir::record::{Loss, Record};
use run_common::rundir::recorded::{Recorded, Running, State};
use run_common::rundir::sample::{Life, Sample};
use run_common::time::Timestamp;
use run_metrics::aggregate::Aggregate;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// Time limit for reading metrics after the end of a program, which may have left a terabyte.
const LAST: Duration = Duration::from_secs(10);

/// The beginning of the reason that is recorded while an attempt is being ended; its cause follows.
const ENDING: &str = "ending: ";

/// The record of a running attempt, and its parts.
#[derive(Debug)]
pub(super) struct Records<'a> {
    task: &'a Task,
    record: Record,
    watch: Watch<'a>,
    /// Time of the last new metric row or checkpoint.
    grew: Instant,
    /// Whether the attempt no longer owns the record, which was reported.
    is_lost: bool,
    record_fails: Failing,
    resources_fail: Failing,
}

/// Whether a file could not be written, which was reported.
#[derive(Debug, Default)]
struct Failing(bool);

impl Failing {
    /// Reports a failure, once until the next success.
    fn note(&mut self, written: &io::Result<()>, what: impl FnOnce() -> String) {
        if let Err(error) = written
            && !self.0
        {
            warn(&format!("cannot write {}: {}", what(), plain(error)));
        }
        self.0 = written.is_err();
    }
}

impl<'a> Records<'a> {
    /// Creates the records of an attempt.
    pub(super) fn new(task: &'a Task, record: Record) -> Self {
        Self {
            task,
            watch: Watch::new(task, &record),
            record,
            grew: Instant::now(),
            is_lost: false,
            record_fails: Failing::default(),
            resources_fail: Failing::default(),
        }
    }

    /// Returns the record of the attempt's start.
    pub(super) fn start(&self) -> &AttemptStart {
        self.record.start()
    }

    /// Writes the record of a running attempt, before its command is started.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.watch.begin();
        // A first attempt usually begins without rows: skipping them saves time.
        if self.start().attempt > 1 || self.start().offsets.get("metrics.jsonl") != Some(&0) {
            while self.take_in_metrics() {}
        }
        self.watch.note_start();
        let start_step = self.watch.progress().step;
        let step_key = self.task.sources.step_key.clone();
        self.record.change(|running| {
            (running.attempt.start_step, running.attempt.step_key) = (start_step, step_key);
            running.attempt.last_output = None; // that was the output of an earlier attempt
        });
        self.record.begin()
    }

    /// Records that this process supervises from now on, instead of a supervisor that was killed.
    pub(super) fn take_over(&mut self) {
        if self.record.look_for_loss().is_none() {
            let begun = self.record.begin();
            self.note_record(&begun);
            if begun.is_ok() {
                self.make_room();
            }
        }
    }

    /// Reserves space for later records, which need not delay the start of the command.
    pub(super) fn make_room(&mut self) {
        let made = self.record.make_room();
        self.note_record(&made);
    }

    /// Records the command's process.
    pub(super) fn note_child(&mut self, pid: i32) {
        self.record.note_child(pid);
    }

    /// Records why the attempt is being ended.
    pub(super) fn note_cause(&mut self, words: &str) {
        self.record.change(|running| running.notice = Some(format!("{ENDING}{words}")));
    }

    /// Returns the recorded cause for which the attempt is being ended, if it is, whichever process wrote it.
    pub(super) fn noted_cause(&self) -> Option<String> {
        let State::Running(Running { notice, .. }) = Recorded::read(&self.task.layout).ok()?.state else {
            return None;
        };
        Some(notice?.strip_prefix(ENDING)?.to_owned())
    }

    /// Records the resources used and the output written so far, and reads new metrics.
    pub(super) fn note_use(&mut self, used: Resources, seen: Seen) {
        self.record.change(|running| running.attempt.resources = Some(used));
        self.take_in_metrics();
        self.note_output(seen);
    }

    /// Returns the numbers of rows and the time of the last output, as of the last look.
    pub(super) fn life(&self) -> Life {
        let figures = self.watch.follower.figures();
        Life {
            rows: Some(figures.rows() + figures.superseded()),
            last_output: self.record.attempt().and_then(|attempt| attempt.last_output),
        }
    }

    /// Writes status.json between heartbeats.
    pub(super) fn show(&mut self) {
        let written = self.record.beat();
        if written.is_ok() || self.record.look_for_loss().is_none() {
            self.note_record(&written);
        }
    }

    /// Writes the heartbeat: a line of resources.jsonl, and status.json.
    pub(super) fn beat(&mut self, sample: &Sample) {
        let appended = append_line(&self.task.layout.resources(), sample);
        let written = self.record.beat();
        if (appended.is_err() || written.is_err()) && self.record.look_for_loss().is_some() {
            return; // reported at the next heartbeat
        }
        self.watch.write_overwritten();
        let resources = self.task.layout.resources();
        self.resources_fail.note(&appended, || format!("'{}'", resources.display()));
        self.note_record(&written);
    }

    fn note_record(&mut self, written: &io::Result<()>) {
        let root = self.task.layout.root();
        self.record_fails.note(written, || format!("the record of '{}'", root.display()));
    }

    /// Returns once why the attempt no longer owns the record.
    pub(super) fn find_loss(&mut self) -> Option<Loss> {
        let loss = self.record.look_for_loss();
        let was_lost = std::mem::replace(&mut self.is_lost, loss.is_some());
        loss.filter(|_| !was_lost)
    }

    /// Returns whether the attempt no longer owns the record, as of the last check.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Records the state of the output.
    pub(super) fn note_output(&mut self, seen: Seen) {
        let last_output = seen.last_output.and_then(Timestamp::from_millis);
        self.record.change(|running| {
            running.attempt.last_output = running.attempt.last_output.max(last_output);
            running.attempt.lost_bytes = seen.lost;
        });
    }

    /// Reads some or all new metric rows, and records the progress; returns whether there are more rows.
    pub(super) fn take_in_metrics(&mut self) -> bool {
        let growth = self.watch.poll();
        let lives = self.watch.has_signs_of_life() || growth.has_rows;
        if lives {
            self.grew = Instant::now();
        }
        let progress = self.watch.progress();
        let follower = &self.watch.follower;
        let figures = growth.is_changed.then(|| follower.figures());
        let of_each = |(name, figures): (&str, Aggregate)| (name.to_owned(), figures.to_json());
        let metrics = figures.map(|figures| Metrics::new(&figures.aggregates().map(of_each).collect()));
        self.record.change(|running| {
            let attempt = &mut running.attempt;
            if lives {
                attempt.last_output = Some(Timestamp::now());
            }
            attempt.step = progress.step.or(attempt.step);
            if let (Some(figures), Some(metrics)) = (figures, metrics) {
                attempt.metrics_from = Some(follower.names());
                attempt.superseded_rows = Some(figures.superseded());
                attempt.recent = Recent::new(&figures.recent());
                attempt.metrics = metrics;
            }
        });
        self.record.note_total(progress.total);
        growth.is_behind
    }

    /// Returns a descriptor that becomes readable when checkpoints may have changed.
    pub(super) fn awaited(&self) -> Option<BorrowedFd<'_>> {
        self.watch.awaited()
    }

    /// Returns the time until changed checkpoints are looked at.
    pub(super) fn rest(&self) -> Option<Duration> {
        self.watch.rest()
    }

    /// Looks at checkpoints that have changed.
    pub(super) fn look_at_checkpoints(&mut self) {
        if !self.is_lost && self.watch.look_at_changes() {
            self.grew = Instant::now();
            self.record.change(|running| running.attempt.last_output = Some(Timestamp::now()));
            if self.record.look_for_loss().is_none() {
                self.watch.write_overwritten();
            }
        }
    }

    /// Searches for all signs of life, even those that are otherwise searched for at intervals.
    pub(super) fn look_for_life(&mut self) {
        self.watch.look_everywhere();
        self.take_in_metrics();
    }

    /// Reads everything that the program has written, after it has ended.
    pub(super) fn take_in_all(&mut self) {
        self.watch.end();
        let started = Instant::now();
        while self.take_in_metrics() {
            if started.elapsed() > LAST {
                warn("the metrics were not read completely; the recorded values are not the last");
                break;
            }
        }
        self.watch.look_at_last_checkpoints();
        self.take_in_metrics();
    }

    /// Reports the number of metric lines that could not be read.
    pub(super) fn say_skipped(&self) {
        let (count, are) = match self.watch.follower.figures().skipped() {
            0 => return,
            1 => ("1 line".to_owned(), "is"),
            many => (format!("{many} lines"), "are"),
        };
        let name = self.watch.follower.names().into_iter().next().unwrap_or_default();
        let path = self.task.layout.root().join(name);
        warn(&format!("{count} of '{}' cannot be read and {are} left out", path.display()));
    }

    /// Returns the time of the last new metric row or checkpoint, or else of the start.
    pub(super) fn grew(&self) -> Instant {
        self.grew
    }

    /// Returns the current step of the training.
    pub(super) fn step(&self) -> Option<f64> {
        self.record.recorded().step()
    }

    /// Returns the number of bytes of output that could not be written.
    pub(super) fn lost_bytes(&self) -> u64 {
        self.record.attempt().map_or(0, |attempt| attempt.lost_bytes)
    }

    /// Writes the record of the attempt's end.
    pub(super) fn write_end(&mut self, end: &AttemptEnd) {
        let written = self.record.end(end);
        if written.is_ok() {
            self.watch.write_overwritten();
        }
        if written.is_err() && self.record.look_for_loss().is_none() {
            self.record_fails = Failing::default(); // report a failure to write the end in any case
            self.note_record(&written);
        }
    }

    /// Releases the run for other processes.
    pub(super) fn release(&mut self) {
        self.record.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_said_once_until_it_is_over() {
        let (mut failing, mut said) = (Failing::default(), 0);
        let refused = || Err(io::ErrorKind::PermissionDenied.into());
        for written in [Ok(()), refused(), refused(), Ok(()), refused()] {
            failing.note(&written, || {
                said += 1;
                "it".to_owned()
            });
        }
        assert_eq!(said, 2);
    }
}
