//! A run whose lock this process holds: which runs may be taken, and what is recorded if a run is not executed.

use crate::options::Options;
use run_common::error::{Error, Exit};
use run_common::process::identity::ProcessId;
use run_common::rundir::attempts::AttemptEnd;
use run_common::rundir::launch::Launch;
use run_common::rundir::layout::Layout;
use run_common::rundir::observe::{Observed, Observer, TAKE_OVER};
use run_common::rundir::open::RunDir;
use run_common::rundir::record::ActiveRun;
use run_common::rundir::recorded::Recorded;
use run_common::rundir::status::Status;
use run_common::rundir::stop::StopRequest;
use run_launch::settle::settle;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Age of the heartbeat of a supervisor on another host from which a job takes the run over that it has claimed.
pub(crate) const PREDECESSOR: Duration = Duration::from_secs(30);

/// Time between two looks of a job at a run that another process still has.
pub(crate) const LOOK: Duration = Duration::from_millis(200);

/// Longest time for which a job waits until another process has given the run up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// A run whose lock this process holds, and its record.
#[derive(Debug)]
pub(crate) struct HeldRun {
    pub(crate) active: ActiveRun,
    pub(crate) recorded: Recorded,
    /// Why the last attempt is over, if the run is recorded as running.
    pub(crate) died: Option<String>,
}

/// Returns the observer that judges a run before its attempt. A job takes over sooner: it has claimed the run.
pub(crate) fn observer(options: &Options) -> Observer {
    match options.owner {
        Some(_) => Observer::of_many(Some(PREDECESSOR)),
        None => Observer::default(),
    }
}

impl HeldRun {
    /// Takes a run, if it may be executed. In a job, waits for a predecessor that is about to exit.
    pub(crate) fn take(run: &RunDir, options: &Options) -> Result<Self, Error> {
        let started = Instant::now();
        loop {
            let taken = Self::take_now(run, options);
            let (Err(error), Some(owner)) = (&taken, &options.owner) else { return taken };
            if error.exit() != Exit::Busy || started.elapsed() > PATIENCE {
                return taken;
            }
            if let Some(successor) = owner.successor(run.layout()) {
                return Err(cannot_start(run, Exit::Busy).because(successor));
            }
            sleep(LOOK);
        }
    }

    fn take_now(run: &RunDir, options: &Options) -> Result<Self, Error> {
        let run = RunDir::at(&run.absolute())?;
        if let Some(foreign) = run.layout().foreign() {
            return Err(foreign.refuse("execute", &run));
        }
        let observer = observer(options);
        let mut before = observer.observe(&run)?;
        if options.owner.is_none() && options.launch.is_none() {
            settle(&observer, [&mut before]);
            refuse_queued(&before)?;
        }
        refuse(&before, options.resumes(), options.take_over)?;
        let mut active = run.activate()?;
        if let Some(owner) = &options.owner {
            let launch = Launch::read(active.layout())?;
            if launch.is_none_or(|launch| launch.submission != owner.submission) {
                return Err(cannot_start(active.run(), Exit::No).because("it was submitted again"));
            }
            active.owned_by(owner.clone());
        }
        let recorded = Recorded::read(active.layout())?;
        if recorded.attempts() != before.recorded.attempts() {
            return Err(
                cannot_start(active.run(), Exit::Busy).because("another run-exec has just executed it")
            );
        }
        Ok(Self { active, recorded, died: before.why_over() })
    }

    /// Returns the layout of the run.
    pub(crate) fn layout(&self) -> &Layout {
        self.active.layout()
    }

    /// Records that a run is not executed because a stop was requested; returns the refusal.
    pub(crate) fn refuse_stopped(&self) -> Error {
        let words = StopRequest::read(&self.layout().stop()).unwrap_or_default().words();
        match self.active.write_stopped(&self.recorded, words.clone()) {
            Ok(()) => cannot_start(self.active.run(), Exit::No)
                .because(format!("it was {words} before it started"))
                .hint("use --resume to execute it anyway"),
            Err(error) => error,
        }
    }

    /// Records that no further attempt will be made: the outcome of the last attempt stands.
    pub(crate) fn give_up(&self, why: &str) -> Result<(), Error> {
        let mut recorded = Recorded::read(self.layout())?;
        if let Some(mut end) = AttemptEnd::read(self.layout(), &recorded.run_id, recorded.attempts()) {
            end.reason = Some(format!("{}; {why}", end.reason.unwrap_or_default()));
            recorded.end(&end);
        }
        self.active.write(&recorded)
    }

    /// Returns why this process no longer owns the run, or `None` while it does.
    pub(crate) fn loss(&self) -> Option<Error> {
        let loss = self.active.loss(&self.recorded)?;
        Some(Error::new(Exit::BadRun, "cannot make another attempt").because(loss.why))
    }
}

fn cannot_start(run: &RunDir, exit: Exit) -> Error {
    Error::new(exit, format!("cannot start '{}'", run.layout().root().display()))
}

/// Refuses a run that waits for a job, which alone may execute it.
fn refuse_queued(before: &Observed) -> Result<(), Error> {
    if before.status() != Status::Queued {
        return Ok(());
    }
    Err(cannot_start(&before.run, Exit::Busy)
        .because(format!("it is queued: {}", before.reason().unwrap_or("it waits for its job")))
        .hint("run-stop(1) takes it out of the queue"))
}

/// Refuses a run that is active, or that needs `--resume`.
pub(crate) fn refuse(before: &Observed, resumes: bool, take_over: bool) -> Result<(), Error> {
    let recorded = &before.recorded;
    let reason = before.reason().unwrap_or("its state is in doubt");
    match before.status() {
        Status::Created | Status::Queued => Ok(()),
        Status::Dead if recorded.attempts() == 0 => Ok(()), // its job was lost before it began
        Status::Running => Err(cannot_start(&before.run, Exit::Busy)
            .because(match recorded.attempt().and_then(|attempt| attempt.supervisor.as_ref()) {
                Some(ProcessId { pid, host, .. }) => {
                    format!("it is already running, as process {pid} on {host}")
                }
                None => "it is already running".to_owned(),
            })
            .hint("stop it with run-stop, or look at it with run-status")),
        Status::Stale if take_over && resumes && before.is_elsewhere() => Ok(()),
        Status::Stale => {
            Err(cannot_start(&before.run, Exit::Busy).because(reason.to_owned()).hint(way_out(before)))
        }
        Status::Dead | Status::Completed | Status::Failed | Status::Stopped if resumes => Ok(()),
        // As run-exec exits when it cannot start a command, and a shell.
        _ if matches!(recorded.exit_code(), Some(126 | 127)) => Err(cannot_start(&before.run, Exit::No)
            .because(format!("its command could not be executed: {reason}"))
            .hint("use --resume with another command after --, or create a new run with run-new")),
        status => Err(cannot_start(&before.run, Exit::No)
            .because(format!("it has already run and {}", past(status)))
            .hint("use --resume for another attempt, or create a new run with run-new")),
    }
}

/// Returns the end of a run's status in a sentence such as "it has already run and failed".
fn past(status: Status) -> String {
    match status {
        Status::Stopped => "was stopped".to_owned(),
        Status::Dead => "died".to_owned(),
        status => status.to_string(),
    }
}

/// Returns a hint for a run whose state is in doubt.
fn way_out(observed: &Observed) -> &'static str {
    if observed.is_elsewhere() { TAKE_OVER } else { "end its remaining processes with run-stop" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use run_common::process::identity::Place;
    use run_common::rundir::observe::Verdict;
    use run_common::rundir::recorded::{AttemptState, Ended, Running, State};
    use run_common::rundir::status::Outcome;
    use serde_json::json;

    /// Makes a run that is recorded to run on a host, or else to have ended, and judged so.
    fn observed(host: Option<&str>, verdict: Verdict) -> Observed {
        let status = json!({
            "schema": 1, "run_id": "i", "run_name": "r", "status": "created", "attempt": 0,
            "created": "2026-01-29T12:00:00.000Z", "command": ["true"], "metrics": {}, "recent": [],
            "lost_bytes": 0, "overrides": {}, "tags": []
        });
        let mut recorded: Recorded = serde_json::from_value(status).unwrap();
        let mut attempt = AttemptState::new(1);
        recorded.state = match host {
            Some(host) => {
                attempt.supervisor = Some(ProcessId { host: host.to_owned(), ..ProcessId::myself() });
                State::Running(Running { attempt, notice: None })
            }
            None => State::Ended(Ended {
                attempt: Some(attempt),
                outcome: Outcome::Failed,
                reason: None,
                time: None,
                exit_code: Some(1),
                signal: None,
            }),
        };
        Observed {
            run: RunDir::seen("runs/r"),
            recorded,
            verdict,
            leftovers: Vec::new(),
            unproven: None,
            of_documents: None,
            of_metrics: None,
            account: None,
        }
    }

    fn refused(before: &Observed, resumes: bool, take_over: bool) -> Option<(Exit, String)> {
        let error = refuse(before, resumes, take_over).err()?;
        Some((error.exit(), format!("{error}; {}", error.advice().unwrap_or_default())))
    }

    #[test]
    fn a_run_is_executed_once_unless_it_is_resumed() {
        let ended = observed(None, Verdict::Holds);
        let (exit, words) = refused(&ended, false, false).unwrap();
        assert_eq!(exit, Exit::No);
        assert!(words.contains("it has already run and failed") && words.contains("--resume"), "{words}");
        assert_eq!(refused(&ended, true, false), None);
        let mut absent = ended;
        if let State::Ended(end) = &mut absent.recorded.state {
            (end.exit_code, end.reason) = (Some(127), Some("command not found: pyhton".to_owned()));
        }
        let (exit, words) = refused(&absent, false, false).unwrap();
        assert_eq!(exit, Exit::No);
        assert!(words.ends_with(
            "its command could not be executed: command not found: pyhton; use --resume with another command after \
             --, or create a new run with run-new"
        ), "{words}");
        let dead = observed(Some(&Place::here().host), Verdict::Dead("gone".to_owned()));
        assert!(refused(&dead, false, false).is_some_and(|(exit, _)| exit == Exit::No));
        assert_eq!(refused(&dead, true, false), None);
    }

    #[test]
    fn a_run_at_work_is_refused_with_who_has_it() {
        let running = observed(Some("node7"), Verdict::Holds);
        for (resumes, take_over) in [(false, false), (true, false), (true, true)] {
            let (exit, words) = refused(&running, resumes, take_over).unwrap();
            assert_eq!(exit, Exit::Busy);
            let who = format!("as process {} on node7; stop it with run-stop", std::process::id());
            assert!(words.contains(&who), "{words}");
        }
    }

    #[test]
    fn a_run_in_doubt_is_taken_over_only_from_where_this_host_cannot_see() {
        let doubt = || Verdict::Stale("no heartbeat".to_owned());
        let mut elsewhere = observed(Some("node7"), doubt());
        if let Some(supervisor) =
            elsewhere.recorded.attempt_mut().and_then(|attempt| attempt.supervisor.as_mut())
        {
            supervisor.boot_id = "another".to_owned();
        }
        assert_eq!(refused(&elsewhere, true, true), None);
        assert!(refused(&elsewhere, false, true).is_some(), "it has to be resumed");
        let (exit, words) = refused(&elsewhere, true, false).unwrap();
        assert!(exit == Exit::Busy && words.contains("--resume --take-over"), "{words}");
        let here = observed(Some(&Place::here().host), doubt());
        let (exit, words) = refused(&here, true, true).unwrap();
        assert!(exit == Exit::Busy && words.contains("end its remaining processes with run-stop"), "{words}");
    }
}
