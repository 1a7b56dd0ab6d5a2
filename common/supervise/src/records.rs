//! What a supervisor writes about its attempt: status.json at every heartbeat, resources.jsonl, and the end.
//! Each is written for itself, and when one cannot be, the others are.

use super::task::Task;
use super::tee::Seen;
use run_common::error::plain;
use run_common::fsio::append::append_line;
use run_common::message::warn;
use run_common::rundir::attempts::{AttemptEnd, AttemptStart, Resources};
use run_common::rundir::layout::Layout;
use run_common::rundir::raw::{Metrics, Recent};
use run_common::rundir::record::Record;
use run_common::time::Timestamp;
use run_metrics::follow::Follower;
use run_metrics::resumptions::Resumptions;
use serde_json::Value;
use std::io;
use std::time::Instant;

/// The record of an attempt at work, and what it is made of.
#[derive(Debug)]
pub(super) struct Records<'a> {
    task: &'a Task,
    record: Record,
    follower: Follower,
    /// When a metric row last came.
    grew: Instant,
    /// The record is not this attempt's any more, which was said.
    is_lost: bool,
    record_fails: Failing,
    resources_fail: Failing,
}

/// Whether a file could not be written, and that was said.
#[derive(Debug, Default)]
struct Failing(bool);

impl Failing {
    /// Says what failed, unless it was said since it last did not.
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
    /// Keeps the record of an attempt.
    pub(super) fn new(task: &'a Task, record: Record) -> Self {
        let [written, scraped] = boundaries(&record, &task.layout);
        let follower = Follower::new((task.layout.metrics(), written), (task.layout.scraped(), scraped));
        Self {
            task,
            record,
            follower,
            grew: Instant::now(),
            is_lost: false,
            record_fails: Failing::default(),
            resources_fail: Failing::default(),
        }
    }

    /// Returns how the attempt started.
    pub(super) fn start(&self) -> &AttemptStart {
        self.record.start()
    }

    /// Writes that the attempt runs, before its command is started.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        // A first attempt begins without rows, and soon.
        if self.start().attempt > 1 || self.start().offsets.get("metrics.jsonl") != Some(&0) {
            self.take_in_metrics();
        }
        let start_step = self.follower.figures().step();
        self.record.change(|running| running.attempt.start_step = start_step);
        self.record.begin()
    }

    /// Writes that this process supervises from now on, in place of one that was killed.
    pub(super) fn take_over(&mut self) {
        if self.record.look_for_loss().is_none() {
            let begun = self.record.begin();
            self.note_record(&begun);
            if begun.is_ok() {
                self.make_room();
            }
        }
    }

    /// Does what the start of the command need not wait for.
    pub(super) fn make_room(&mut self) {
        let made = self.record.make_room();
        self.note_record(&made);
    }

    /// Takes note of the command's process.
    pub(super) fn note_child(&mut self, pid: i32) {
        self.record.note_child(pid);
    }

    /// Takes note of why the attempt is being ended.
    pub(super) fn note_cause(&mut self, words: &str) {
        self.record.change(|running| running.notice = Some(format!("ending: {words}")));
    }

    /// Writes what the run does: a line of resources.jsonl, and status.json with what has been used and written
    /// so far.
    pub(super) fn beat(&mut self, sample: &Value, used: Resources, seen: Seen) {
        let appended = append_line(&self.task.layout.resources(), sample);
        self.record.change(|running| running.attempt.resources = Some(used));
        self.take_in_metrics();
        self.note_output(seen);
        let written = self.record.beat();
        if (appended.is_err() || written.is_err()) && self.record.look_for_loss().is_some() {
            return; // that is said at the next heartbeat
        }
        let resources = self.task.layout.resources();
        self.resources_fail.note(&appended, || format!("'{}'", resources.display()));
        self.note_record(&written);
    }

    fn note_record(&mut self, written: &io::Result<()>) {
        let root = self.task.layout.root();
        self.record_fails.note(written, || format!("the record of '{}'", root.display()));
    }

    /// Says why the record is not this attempt's any more: once.
    pub(super) fn find_loss(&mut self) -> Option<String> {
        let why = self.record.look_for_loss();
        let was_lost = std::mem::replace(&mut self.is_lost, why.is_some());
        why.filter(|_| !was_lost)
    }

    /// Says whether the record was found not to be this attempt's any more.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Takes note of what is known of the output.
    pub(super) fn note_output(&mut self, seen: Seen) {
        let last_output = seen.last_output.and_then(Timestamp::from_millis);
        self.record.change(|running| {
            running.attempt.last_output = running.attempt.last_output.max(last_output);
            running.attempt.lost_bytes = seen.lost;
        });
    }

    /// Reads the metric rows that were added, or a part of them; says whether there are more.
    pub(super) fn take_in_metrics(&mut self) -> bool {
        // Metrics that cannot be read are the program's affair.
        let growth = self.follower.poll().unwrap_or_default();
        if !growth.has_rows {
            return growth.is_behind;
        }
        self.grew = Instant::now();
        let figures = self.follower.figures();
        let of_each = figures.aggregates().map(|(name, figures)| (name.to_owned(), figures.to_json()));
        let metrics = Metrics::new(&of_each.collect());
        self.record.change(|running| {
            running.attempt.last_output = Some(Timestamp::now());
            running.attempt.step = figures.step();
            running.attempt.recent = Recent::new(&figures.recent());
            running.attempt.metrics = metrics;
        });
        growth.is_behind
    }

    /// Says how many lines of metrics could not be read.
    pub(super) fn say_skipped(&self) {
        let path = self.task.layout.metrics();
        let (count, are) = match self.follower.figures().skipped() {
            0 => return,
            1 => ("1 line".to_owned(), "is"),
            many => (format!("{many} lines"), "are"),
        };
        warn(&format!("{count} of '{}' cannot be read and {are} left out", path.display()));
    }

    /// Returns when a metric row last came, or else when this began.
    pub(super) fn grew(&self) -> Instant {
        self.grew
    }

    /// Returns the step of the last metric row.
    pub(super) fn step(&self) -> Option<f64> {
        self.record.recorded().step()
    }

    /// Returns how many bytes of output could not be written.
    pub(super) fn lost_bytes(&self) -> u64 {
        self.record.attempt().map_or(0, |attempt| attempt.lost_bytes)
    }

    /// Writes how the attempt ended.
    pub(super) fn write_end(&mut self, end: &AttemptEnd) {
        let written = self.record.end(end);
        if written.is_err() && self.record.look_for_loss().is_none() {
            self.record_fails = Failing::default(); // the end is worth saying again
            self.note_record(&written);
        }
    }

    /// Lets others have the run.
    pub(super) fn release(&mut self) {
        self.record.release();
    }
}

/// Returns where each attempt after the first began in metrics.jsonl and in scraped.jsonl.
fn boundaries(record: &Record, layout: &Layout) -> [Vec<u64>; 2] {
    if record.start().attempt == 1 {
        return [Vec::new(), Vec::new()];
    }
    let earlier = Resumptions::read(layout).unwrap_or_default();
    ["metrics.jsonl", "scraped.jsonl"].map(|name| {
        let present = record.start().offsets.get(name).copied().unwrap_or_default();
        // A monitor that takes over finds the present attempt among them: twice is as good as once.
        earlier.offsets(name).into_iter().chain([present]).collect()
    })
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
