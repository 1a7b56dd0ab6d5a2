//! The contents of `status.json`, as the holder of a run's lock recorded them. The holder may have died since:
//! `observe` determines the actual state. `dead` and `stale` are results of observation, and cannot be
//! recorded.

use super::SCHEMA;
use super::attempts::{AttemptEnd, AttemptStart, Attempts, Resources};
use super::foreign::Account;
use super::layout::Layout;
use super::meta::Meta;
use super::open::{Document, read_document};
use super::raw::{Metrics, Raw, Recent};
use super::status::{Outcome, Status};
use super::status_json::{StatusIn, StatusOut};
use crate::error::Error;
use crate::fsio::lock;
use crate::process::identity::ProcessId;
use crate::provenance::redact::redact_text;
use crate::time::{Timestamp, human_seconds};
use serde::{Deserialize, Serialize, Serializer};
use std::fs;

/// The record of a run: its identity, and its last written state.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "StatusIn")]
pub struct Recorded {
    /// Version of the record.
    pub schema: u32,
    /// The run's id, as in meta.json.
    pub run_id: String,
    /// The run's name, as in meta.json.
    pub run_name: String,
    /// When the run was created.
    pub created: Timestamp,
    /// The command as executed, secrets redacted; before the first attempt, its template. A list of words, or
    /// null.
    pub command: Raw,
    /// Number of steps to train for.
    pub total_steps: Option<u64>,
    /// Overrides, as in meta.json.
    pub overrides: Raw,
    /// Tags, as in meta.json.
    pub tags: Raw,
    /// The last written state.
    pub state: State,
}

/// The state of a run, as known to its writer.
#[derive(Clone, Debug)]
pub enum State {
    /// Never started.
    Created,
    /// Handed over to a launcher, and not started yet.
    Queued(Queued),
    /// Started, and no end is recorded.
    Running(Running),
    /// The last attempt has ended, and another one follows. Recorded as running, because the lock is held.
    Waiting(Ended),
    /// Its end is recorded.
    Ended(Ended),
}

/// A run whose next attempt a launcher is to start.
#[derive(Clone, Debug, Default)]
pub struct Queued {
    /// The last attempt before, if there was one.
    pub attempt: Option<AttemptState>,
    /// The state of its job: why it waits, and when it may start.
    pub reason: Option<String>,
}

/// An attempt that was running.
#[derive(Clone, Debug)]
pub struct Running {
    /// The attempt.
    pub attempt: AttemptState,
    /// The cause for which the attempt is being ended; `None` while nobody ends it.
    pub notice: Option<String>,
}

/// The end of a run, until it is resumed.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The last attempt; `None` if the run was stopped, or could not be started, before its first attempt.
    pub attempt: Option<AttemptState>,
    /// How it ended.
    pub outcome: Outcome,
    /// The reason.
    pub reason: Option<String>,
    /// The time.
    pub time: Option<Timestamp>,
    /// Exit status of the command; `None` if a signal ended it, or if it never started.
    pub exit_code: Option<i32>,
    /// Signal that ended the command.
    pub signal: Option<i32>,
}

/// The last attempt: its supervisor and its progress.
#[derive(Clone, Debug)]
pub struct AttemptState {
    /// Its number, from 1.
    pub number: u32,
    /// When it started.
    pub start_time: Option<Timestamp>,
    /// Time of the last write by a living supervisor.
    pub last_heartbeat: Option<Timestamp>,
    /// Time of the last output, metric row or checkpoint of the command.
    pub last_output: Option<Timestamp>,
    /// The process that supervises it, or waits to make the next attempt.
    pub supervisor: Option<ProcessId>,
    /// Inode of the directory of the record; the inode of a copy differs.
    pub inode: Option<u64>,
    /// The command's pid, and its start in clock ticks since boot, on the supervisor's host.
    pub child: Option<(i32, u64)>,
    /// Step of the last metric row, or from another source.
    pub step: Option<f64>,
    /// Step at the start of the attempt.
    pub start_step: Option<f64>,
    /// Files below the run from which metrics are read, up to a limit; `None` if there are none.
    pub metrics_from: Option<Vec<String>>,
    /// The name of the step in these files, if given.
    pub step_key: Option<String>,
    /// Number of superseded rows; `None` if they were not counted.
    pub superseded_rows: Option<u64>,
    /// The figures of all metrics, in the order first logged.
    pub metrics: Metrics,
    /// The last five metric rows.
    pub recent: Recent,
    /// Resources that it has used.
    pub resources: Option<Resources>,
    /// Number of bytes of output that could not be written to a log.
    pub lost_bytes: u64,
}

impl Document for Recorded {
    fn schema(&self) -> u32 {
        self.schema
    }
}

impl Serialize for Recorded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        StatusOut::of(self, self.status(), self.reason()).serialize(serializer)
    }
}

impl AttemptState {
    /// Creates the state of an attempt of which only the number is known.
    pub fn new(number: u32) -> Self {
        Self {
            number,
            start_time: None,
            last_heartbeat: None,
            last_output: None,
            supervisor: None,
            inode: None,
            child: None,
            step: None,
            start_step: None,
            metrics_from: None,
            step_key: None,
            superseded_rows: None,
            metrics: Metrics::default(),
            recent: Recent::default(),
            resources: None,
            lost_bytes: 0,
        }
    }

    /// Returns the command's process.
    pub fn command(&self) -> Option<ProcessId> {
        let (pid, start) = self.child?;
        Some(ProcessId { pid, start, ..self.supervisor.clone()? })
    }
}

impl Recorded {
    /// Creates the record of a run that was never started.
    pub fn created(meta: &Meta) -> Self {
        let mut created = Self {
            schema: SCHEMA,
            run_id: meta.run_id.clone(),
            run_name: meta.run_name.clone(),
            created: meta.created,
            command: Raw::of(&meta.command),
            total_steps: meta.total_steps,
            overrides: Raw::of(&meta.overrides),
            tags: Raw::of(&meta.tags),
            state: State::Created,
        };
        created.redact();
        created
    }

    /// Reads the status.json of a run. The file is not written durably, so a power cut may leave it empty; its
    /// contents are then derived from the rest of the record.
    pub fn read(layout: &Layout) -> Result<Self, Error> {
        if let Some(foreign) = layout.foreign() {
            return Ok(Account::of(foreign, layout.root()).recorded());
        }
        let path = layout.status();
        read_document(&path).or_else(|error| match fs::symlink_metadata(&path) {
            Ok(file) if file.len() == 0 && file.is_file() => Self::derive(layout),
            _ => Err(error),
        })
    }

    /// Derives the record from meta.json, the last attempt, and the signer of its lock.
    fn derive(layout: &Layout) -> Result<Self, Error> {
        let recorded = Self::created(&Meta::read(layout)?);
        let attempts =
            Attempts::read(layout).map_err(|error| Error::io("read", &layout.attempts(), error))?;
        let Some(last) = attempts.last() else { return Ok(recorded) };
        let AttemptStart { attempt, start_time, host, pid, .. } = &last.start;
        let signed = lock::holder(&layout.lock());
        let unknown = ProcessId::of_unknown_boot(host.clone(), *pid);
        let attempt = AttemptState {
            start_time: Some(*start_time),
            last_heartbeat: Some(*start_time),
            // The lock is signed by the process that starts the supervisor, on the same boot.
            supervisor: Some(match signed.filter(|signed| signed.host == *host) {
                Some(signed) => ProcessId { boot_id: signed.boot_id, pid_ns: signed.pid_ns, ..unknown },
                None => unknown,
            }),
            ..AttemptState::new(*attempt)
        };
        let command = Raw::of(&last.start.command);
        let mut recorded =
            Self { command, state: State::Running(Running { attempt, notice: None }), ..recorded };
        if let Some(end) = &last.end {
            recorded.end(end);
        }
        Ok(recorded)
    }

    /// Redacts secrets that an older version recorded.
    pub(super) fn redact(&mut self) {
        self.command.redact("command");
        self.overrides.redact("");
        self.tags.redact("");
        let reason = match &mut self.state {
            State::Created => None,
            State::Queued(queued) => queued.reason.as_mut(),
            State::Running(running) => running.notice.as_mut(),
            State::Waiting(ended) | State::Ended(ended) => ended.reason.as_mut(),
        };
        if let Some(reason) = reason {
            *reason = redact_text(reason).into_owned();
        }
    }

    /// Records the end of the attempt.
    pub fn end(&mut self, end: &AttemptEnd) {
        let attempt = self.take_attempt().map(|attempt| AttemptState {
            step: end.final_step.or(attempt.step),
            resources: Some(end.resources),
            lost_bytes: end.lost_bytes,
            ..attempt
        });
        self.state = State::Ended(Ended {
            attempt,
            outcome: end.status,
            reason: end.reason.clone(),
            time: Some(end.end_time),
            exit_code: end.exit_code,
            signal: end.signal,
        });
    }

    /// Records that another attempt follows the one that has just ended, after `delay` seconds.
    pub(super) fn await_retry(&mut self, end: &AttemptEnd, delay: f64) {
        self.end(end);
        if let State::Ended(ended) = std::mem::replace(&mut self.state, State::Created) {
            let why = ended.reason.unwrap_or_default();
            let reason = Some(format!("retry in {}: {why}", human_seconds(delay)));
            self.state = State::Waiting(Ended { reason, time: None, ..ended });
        }
    }

    fn take_attempt(&mut self) -> Option<AttemptState> {
        match std::mem::replace(&mut self.state, State::Created) {
            State::Created => None,
            State::Queued(queued) => queued.attempt,
            State::Running(running) => Some(running.attempt),
            State::Waiting(ended) | State::Ended(ended) => ended.attempt,
        }
    }

    /// Returns the recorded status.
    pub fn status(&self) -> Status {
        match &self.state {
            State::Created => Status::Created,
            State::Queued(_) => Status::Queued,
            State::Running(_) | State::Waiting(_) => Status::Running,
            State::Ended(ended) => ended.outcome.into(),
        }
    }

    /// Returns why the run ended, or is being ended.
    pub fn reason(&self) -> Option<&str> {
        match &self.state {
            State::Created => None,
            State::Queued(queued) => queued.reason.as_deref(),
            State::Running(running) => running.notice.as_deref(),
            State::Waiting(ended) | State::Ended(ended) => ended.reason.as_deref(),
        }
    }

    /// Returns the last attempt.
    pub fn attempt(&self) -> Option<&AttemptState> {
        match &self.state {
            State::Created => None,
            State::Queued(queued) => queued.attempt.as_ref(),
            State::Running(running) => Some(&running.attempt),
            State::Waiting(ended) | State::Ended(ended) => ended.attempt.as_ref(),
        }
    }

    /// Returns the last attempt, mutable.
    pub fn attempt_mut(&mut self) -> Option<&mut AttemptState> {
        match &mut self.state {
            State::Created => None,
            State::Queued(queued) => queued.attempt.as_mut(),
            State::Running(running) => Some(&mut running.attempt),
            State::Waiting(ended) | State::Ended(ended) => ended.attempt.as_mut(),
        }
    }

    /// Returns the number of the last attempt; 0 before the first.
    pub fn attempts(&self) -> u32 {
        self.attempt().map_or(0, |attempt| attempt.number)
    }

    /// Returns the recorded end; `None` if there is none.
    pub fn ended(&self) -> Option<&Ended> {
        match &self.state {
            State::Ended(ended) => Some(ended),
            State::Created | State::Queued(_) | State::Running(_) | State::Waiting(_) => None,
        }
    }

    /// Returns the exit status of the command of the last attempt, even if another attempt follows.
    pub fn exit_code(&self) -> Option<i32> {
        self.end_of_command()?.exit_code
    }

    /// Returns the signal that ended the command of the last attempt, even if another attempt follows.
    pub fn signal(&self) -> Option<i32> {
        self.end_of_command()?.signal
    }

    fn end_of_command(&self) -> Option<&Ended> {
        match &self.state {
            State::Waiting(ended) | State::Ended(ended) => Some(ended),
            State::Created | State::Queued(_) | State::Running(_) => None,
        }
    }

    /// Returns the host of the last attempt.
    pub fn host(&self) -> Option<&str> {
        let supervisor = self.attempt()?.supervisor.as_ref()?;
        Some(supervisor.host.as_str()).filter(|host| !host.is_empty())
    }

    /// Returns the step of the last attempt.
    pub fn step(&self) -> Option<f64> {
        self.attempt()?.step
    }

    /// Returns the last metric rows.
    pub fn recent(&self) -> Recent {
        self.attempt().map(|attempt| attempt.recent.clone()).unwrap_or_default()
    }

    /// Returns the figures of all metrics.
    pub fn metrics(&self) -> Metrics {
        self.attempt().map(|attempt| attempt.metrics.clone()).unwrap_or_default()
    }
}
