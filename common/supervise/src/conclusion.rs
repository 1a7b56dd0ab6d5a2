//! The record of an attempt's end: its outcome, and further remarks in the reason.

use super::end::End;
use super::ending::Noticed;
use super::last_words::{LastWords, last_words};
use super::log::Unlogged;
use super::outcome::{Cause, has_own_status, judge, may_pass, was_killed, was_signalled};
use super::supervisor::Supervisor;
use super::tee::Seen;
use run_common::rundir::SCHEMA;
use run_common::rundir::attempts::{AttemptEnd, EndEvent};
use run_common::rundir::status::Outcome;
use run_common::rundir::stop::StopRequest;
use run_common::time::Timestamp;

/// The remark that processes could not be found.
const UNSEEN: &str = "processes that outlived it could not be found: /proc cannot be read";

impl Supervisor<'_> {
    /// Creates the record of the end of an attempt whose processes have all ended, or cannot be killed.
    pub(super) fn conclude(&mut self, seen: Seen, unlogged: &Unlogged) -> AttemptEnd {
        if self.cause.is_none() {
            // A program that watches the file itself may have ended before the supervisor read the file.
            self.cause =
                StopRequest::read(&self.task.layout.stop()).map(|request| Cause::Asked(request.words()));
        }
        let end = self.main.end();
        if self.cause.is_none() {
            // A scheduler signals all processes at once, and the program may end before the supervisor receives
            // the signal.
            let noticed = if was_signalled(end) { Noticed::Signal } else { Noticed::End };
            self.cause = self.task.ending.asked(noticed).map(|asked| Cause::Asked(asked.words));
        }
        let words = match end {
            End::Exited(0) => LastWords::default(),
            _ => {
                let task = self.task;
                last_words(&task.layout, self.records.start(), task.output, has_own_status(end), unlogged)
            }
        };
        // The status of srun is the greatest of its tasks, most of which srun itself has ended.
        let of_task = words.task.as_ref().filter(|task| end == End::Exited(task.step_status));
        let first = of_task.and_then(|task| task.end).unwrap_or(end);
        let oom_kills = match &self.oom_kills {
            Some(kills) if was_killed(first, &words) => kills.since(),
            _ => 0,
        };
        let (mut status, mut reason) = judge(self.cause.as_ref(), end, &words, oom_kills);
        if status == Outcome::Completed
            && let Some(fault) = self.task.ending.fault()
        {
            (status, reason) = (Outcome::Failed, Some(fault));
        }
        if self.lives_on() {
            status = Outcome::Failed; // some process has not ended
        }
        let linger = self.task.limits.linger;
        let mut notes: Vec<String> = reason.into_iter().collect();
        notes.extend(self.forced.killed_words(linger));
        notes.extend(lost_words(seen));
        notes.extend(self.forced.words(self.cause.is_some(), linger));
        notes.extend(self.has_unseen.then(|| UNSEEN.to_owned()));
        let mut record = self.end(status, Some(notes.join("; ")).filter(|reason| !reason.is_empty()));
        record.traceback = words.traceback.filter(|_| status == Outcome::Failed);
        match end {
            End::Exited(code) => record.exit_code = Some(code),
            End::Signaled(signal) => record.signal = Some(signal),
            End::Unseen => {}
        }
        if let Some(retry) = &self.task.retry
            && !self.lives_on()
            && may_pass(self.cause.as_ref(), first, &retry.exit_codes)
        {
            record.retry_in_s = Some(retry.delay.as_secs_f64());
        }
        record
    }

    /// Returns whether processes of the run may live that could not be ended.
    pub(super) fn lives_on(&self) -> bool {
        self.has_unseen || !self.forced.undying.is_empty()
    }

    /// Creates the record of the attempt's end, without the command's status or signal.
    pub(super) fn end(&mut self, status: Outcome, reason: Option<String>) -> AttemptEnd {
        let start = self.records.start();
        let end_time = Timestamp::now();
        let duration_s = end_time.seconds_since(start.start_time).max(0.0);
        let additions = self.task.ending.additions(start, duration_s);
        AttemptEnd {
            schema: SCHEMA,
            run_id: start.run_id.clone(),
            event: EndEvent::End,
            attempt: start.attempt,
            status,
            reason,
            end_time,
            duration_s,
            exit_code: None,
            signal: None,
            final_step: self.records.step(),
            final_checkpoint: additions.final_checkpoint,
            retry_in_s: None,
            traceback: None,
            resources: self.meter.total(),
            lost_bytes: self.records.lost_bytes(),
            cost_usd: additions.cost_usd,
        }
    }
}

fn lost_words(seen: Seen) -> Option<String> {
    let why = if seen.full { "disk full: " } else { "" };
    (seen.lost > 0).then(|| format!("{why}{} bytes of output could not be logged", seen.lost))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_were_lost_are_told() {
        let seen = |lost, full| Seen { last_output: None, lost, full };
        assert_eq!(lost_words(seen(0, false)), None);
        assert_eq!(lost_words(seen(7, true)).unwrap(), "disk full: 7 bytes of output could not be logged");
    }
}
