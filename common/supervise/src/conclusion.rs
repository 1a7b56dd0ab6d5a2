//! The record of an attempt's end: what became of it, and what the reason says beside that.

use super::last_words::{LastWords, last_words};
use super::outcome::{Cause, End, judge, may_pass};
use super::supervisor::Supervisor;
use super::task::Output;
use super::tee::Seen;
use nix::libc::SIGKILL;
use run_common::process::stat::Stat;
use run_common::rundir::SCHEMA;
use run_common::rundir::attempts::{AttemptEnd, EndEvent};
use run_common::rundir::status::Outcome;
use run_common::rundir::stop::{StopRequest, killed_after};
use run_common::time::{Timestamp, human};
use std::time::Duration;

/// What is told where processes live that cannot be found.
const UNSEEN: &str = "processes that outlived it could not be found: /proc cannot be read";

/// What did not end by itself.
#[derive(Debug, Default)]
pub(super) struct Forced {
    /// All of it was killed when it had not ended after this grace.
    pub(super) grace: Option<Duration>,
    /// Processes that were asked to end after the main one had.
    pub(super) asked: usize,
    /// Processes that were killed after that.
    pub(super) killed: usize,
    /// Processes that could not be killed.
    pub(super) undying: Vec<Stat>,
}

impl Supervisor<'_> {
    /// Makes the record of the end of an attempt of which nothing lives any more, or what cannot be killed.
    pub(super) fn conclude(&mut self, seen: Seen) -> AttemptEnd {
        if self.cause.is_none() {
            // A program that watches the file itself may have ended before we looked.
            self.cause =
                StopRequest::read(&self.task.layout.stop()).map(|request| Cause::Asked(request.words()));
        }
        let end = self.main.end();
        let words = match end {
            End::Exited(0) => LastWords::default(),
            _ => self.last_words(),
        };
        let oom_kills = match &self.oom_kills {
            Some(kills) if end == End::Signaled(SIGKILL) => kills.since(),
            _ => 0,
        };
        let (mut status, mut reason) = judge(self.cause.as_ref(), end, &words, oom_kills);
        if status == Outcome::Completed
            && let Some(fault) = self.task.ending.fault()
        {
            (status, reason) = (Outcome::Failed, Some(fault));
        }
        if self.lives_on() {
            status = Outcome::Failed; // it has not ended
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
            && may_pass(self.cause.as_ref(), end, &retry.exit_codes)
        {
            record.retry_in_s = Some(retry.delay.as_secs_f64());
        }
        record
    }

    /// Says whether something of the run lives that could not be ended, or may.
    pub(super) fn lives_on(&self) -> bool {
        self.has_unseen || !self.forced.undying.is_empty()
    }

    /// Reads what the command wrote last.
    fn last_words(&self) -> LastWords {
        let log = match self.task.output {
            Output::Pipes => self.task.layout.stderr(),
            Output::Merged | Output::Terminal => self.task.layout.stdout(),
        };
        let name = log.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let offset = self.records.start().offsets.get(&name).copied().unwrap_or_default();
        last_words(&log, offset).unwrap_or_default()
    }

    /// Makes the record of the attempt's end, but for how the command ended.
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

impl Forced {
    /// Says that all was killed, if so.
    fn killed_words(&self, linger: Duration) -> Option<String> {
        self.grace.map(|grace| killed_after(grace, linger))
    }

    /// Says what outlived the main process, and was not simply part of a stop that was asked for.
    fn words(&self, was_asked: bool, linger: Duration) -> Vec<String> {
        let mut words = Vec::new();
        let ended = self.asked.saturating_sub(self.killed);
        if ended > 0 && !was_asked {
            words.push(format!("ended {} that outlived it", count_processes(ended)));
        }
        if self.killed > 0 {
            let killed = count_processes(self.killed);
            words.push(format!("killed {killed} that outlived it, after linger {}", human(linger)));
        }
        if let Some(first) = self.undying.first() {
            let undying = count_processes(self.undying.len());
            words.push(format!("{undying} could not be killed, such as {}", first.pid));
        }
        words
    }
}

fn lost_words(seen: Seen) -> Option<String> {
    let why = if seen.full { "disk full: " } else { "" };
    (seen.lost > 0).then(|| format!("{why}{} bytes of output could not be logged", seen.lost))
}

fn count_processes(count: usize) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_secs(5);

    #[test]
    fn what_had_to_be_ended_is_told() {
        let told = |forced: &Forced, was_asked| forced.words(was_asked, LINGER).join("; ");
        let forced = Forced { asked: 3, killed: 1, ..Forced::default() };
        let killed = "killed 1 process that outlived it, after linger 5s";
        assert_eq!(told(&forced, false), format!("ended 2 processes that outlived it; {killed}"));
        assert_eq!(told(&forced, true), killed);
        assert_eq!(told(&Forced { killed: 1, ..Forced::default() }, true), killed);
        assert_eq!(told(&Forced { asked: 1, killed: 1, ..Forced::default() }, false), killed);
        assert_eq!(told(&Forced::default(), false), "");
    }

    #[test]
    fn a_kill_says_after_what_times() {
        let forced = Forced { grace: Some(Duration::from_secs(3)), ..Forced::default() };
        assert_eq!(forced.killed_words(LINGER).unwrap(), "killed after grace 3s and linger 5s");
        assert_eq!(Forced::default().killed_words(LINGER), None);
    }

    #[test]
    fn bytes_that_were_lost_are_told() {
        let seen = |lost, full| Seen { last_output: None, lost, full };
        assert_eq!(lost_words(seen(0, false)), None);
        assert_eq!(lost_words(seen(7, true)).unwrap(), "disk full: 7 bytes of output could not be logged");
    }
}
