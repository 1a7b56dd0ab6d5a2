//! The attempts of a run: `attempts.jsonl` has a line for the start and one for the end of each attempt,
//! `result.json` repeats the last end.

use super::SCHEMA;
use super::foreign::Account;
use super::layout::Layout;
use super::meta::{Checkpoint, Meta};
use super::open::{Document, read_document};
use super::options::AttemptOptions;
use super::status::Outcome;
use crate::fsio::append::{append_line, read_lines};
use crate::fsio::read::read_small;
use crate::json::whole_if_it_is;
use crate::provenance::redact::{redact_command, redact_text};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;

/// The start of an attempt: what was executed, which may differ from what run-new recorded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttemptStart {
    /// Version of the record.
    pub schema: u32,
    /// The run's id.
    pub run_id: String,
    /// `start`, which distinguishes the line from an end line.
    pub event: StartEvent,
    /// Number of the attempt.
    pub attempt: u32,
    /// Time of the start.
    pub start_time: Timestamp,
    /// The command as executed, secrets redacted.
    pub command: Vec<String>,
    /// The command with its placeholders.
    pub template: Vec<String>,
    /// Path of the program.
    pub executable: Option<String>,
    /// Directory in which the command is executed.
    pub cwd: String,
    /// Host on which the command is executed.
    pub host: String,
    /// The supervisor's pid.
    pub pid: i32,
    /// Commit that was checked out in `cwd`.
    pub git_commit: Option<String>,
    /// Whether tracked files differed from the commit.
    pub git_dirty: Option<bool>,
    /// Version of the interpreter.
    pub python_version: Option<String>,
    /// Device of the run.
    pub device: Option<String>,
    /// Models of the GPUs of the host.
    pub gpus: Vec<String>,
    /// Value of the variable, if it is set.
    #[serde(rename = "CUDA_VISIBLE_DEVICES")]
    pub cuda_visible_devices: Option<String>,
    /// The checkpoint to resume from, an absolute path.
    #[serde(default)]
    pub resume_from: Option<String>,
    /// The step of this checkpoint.
    #[serde(default)]
    pub resume_step: Option<u64>,
    /// Number of steps to train for, in total.
    #[serde(default)]
    pub total_steps: Option<u64>,
    /// The pattern of checkpoints given to this attempt or an earlier one, instead of that in meta.json.
    #[serde(default)]
    pub checkpoint_pattern: Option<String>,
    /// The cluster job that executes the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobStart>,
    /// Options that were given or inherited.
    #[serde(default)]
    pub options: AttemptOptions,
    /// Length of each log and of each file with metrics at the start of the attempt, in bytes.
    pub offsets: BTreeMap<String, u64>,
    /// SHA-256 of the beginnings of these files with metrics ([`super::fingerprint`]).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fingerprints: BTreeMap<String, String>,
}

/// A cluster job, as seen by an attempt in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStart {
    /// The launcher that started it, such as `slurm`.
    pub launcher: String,
    /// Its id; `JOB_TASK` for a task of an array.
    pub id: String,
    /// Number of earlier starts of the job.
    pub restart: u32,
    /// The cluster's name of the node.
    pub node: Option<String>,
    /// The GPUs of the node that the job may use, as numbered by the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<String>,
}

/// Distinguishes a start line from an end line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartEvent {
    /// The only value.
    #[default]
    Start,
}

/// The end of an attempt: `result.json`, and the end line of `attempts.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttemptEnd {
    /// Version of the record.
    pub schema: u32,
    /// The run's id.
    pub run_id: String,
    /// `end`, which distinguishes the line from a start line.
    pub event: EndEvent,
    /// Number of the attempt.
    pub attempt: u32,
    /// `completed`, `failed` or `stopped`.
    pub status: Outcome,
    /// The reason of the end, in one line.
    pub reason: Option<String>,
    /// Time of the end.
    pub end_time: Timestamp,
    /// Duration in seconds.
    pub duration_s: f64,
    /// Exit status of the command; null if a signal ended it, or if it never started.
    pub exit_code: Option<i32>,
    /// Signal that ended the command.
    pub signal: Option<i32>,
    /// Step of the last metric row.
    #[serde(serialize_with = "whole_if_it_is")]
    pub final_step: Option<f64>,
    /// The last complete checkpoint, below the run.
    #[serde(default)]
    pub final_checkpoint: Option<String>,
    /// Seconds until the next attempt that `--retries` of run-exec makes; null if there is none.
    #[serde(default)]
    pub retry_in_s: Option<f64>,
    /// Last lines of a Python traceback.
    pub traceback: Option<Vec<String>>,
    /// Resources that the attempt used.
    pub resources: Resources,
    /// Number of bytes of output that could not be written to a log.
    pub lost_bytes: u64,
    /// Cost of the attempt in US dollars, if the price of its devices was known.
    #[serde(default)]
    pub cost_usd: Option<f64>,
}

/// Distinguishes an end line from a start line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndEvent {
    /// The only value.
    #[default]
    End,
}

/// Resources that the run's processes have used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// CPU time of all processes of the run, user and system, in seconds.
    pub cpu_seconds: f64,
    /// Maximum resident memory in bytes: of the whole process tree as sampled, and at least that of its largest
    /// process.
    pub max_rss_bytes: u64,
    /// Seconds multiplied by the number of GPUs in use; null without GPUs.
    pub gpu_seconds: Option<f64>,
    /// Maximum GPU memory in use at one time, in bytes; null without GPUs.
    pub gpu_mem_max_bytes: Option<u64>,
}

impl Document for AttemptEnd {
    fn schema(&self) -> u32 {
        self.schema
    }
}

impl AttemptEnd {
    /// Creates the end of an attempt of which only the outcome and the times are known.
    pub fn of(
        run_id: &str,
        attempt: u32,
        status: Outcome,
        start_time: Timestamp,
        end_time: Timestamp,
    ) -> Self {
        Self {
            schema: SCHEMA,
            run_id: run_id.to_owned(),
            event: EndEvent::End,
            attempt,
            status,
            reason: None,
            end_time,
            duration_s: end_time.seconds_since(start_time).max(0.0),
            exit_code: None,
            signal: None,
            final_step: None,
            final_checkpoint: None,
            retry_in_s: None,
            traceback: None,
            resources: Resources::default(),
            lost_bytes: 0,
            cost_usd: None,
        }
    }

    /// Reads result.json, the end of a run's last attempt; `None` if there is none, or if it belongs to another
    /// attempt or run.
    pub fn read(layout: &Layout, run_id: &str, attempt: u32) -> Option<Self> {
        let mut end: Self = read_document(&layout.result()).ok()?;
        end.redact();
        (end.attempt == attempt && end.run_id == run_id).then_some(end)
    }

    /// Finds the end of an attempt: in result.json, or if that could not be written, in attempts.jsonl.
    pub fn find(layout: &Layout, run_id: &str, attempt: u32) -> Option<Self> {
        Self::read(layout, run_id, attempt).or_else(|| {
            let attempts = Attempts::shown(layout).ok()?;
            attempts.get(attempt)?.end.clone().filter(|end| end.run_id == run_id)
        })
    }

    /// Redacts secrets that an older version recorded.
    fn redact(&mut self) {
        for line in self.reason.iter_mut().chain(self.traceback.iter_mut().flatten()) {
            *line = redact_text(line).into_owned();
        }
    }
}

/// Returns how to recognise checkpoints of a run: as given to the last attempt, else as recorded at the
/// creation of the run.
pub fn checkpoint_of(meta: &Meta, layout: &Layout) -> Option<Checkpoint> {
    if layout.foreign().is_some() {
        return meta.checkpoint.clone(); // its attempt has no options
    }
    let attempts = Attempts::read(layout).unwrap_or_default();
    match attempts.last().and_then(|last| last.start.checkpoint_pattern.as_ref()) {
        Some(pattern) => Some(Checkpoint::with_pattern(meta.checkpoint.clone(), pattern)),
        None => meta.checkpoint.clone(),
    }
}

/// An attempt in attempts.jsonl.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its start.
    pub start: AttemptStart,
    /// Its end; `None` while it runs, or if nobody recorded its end.
    pub end: Option<AttemptEnd>,
}

/// The attempts of a run, in the order of their numbers.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    all: Vec<Attempt>,
    skipped: usize,
}

impl Attempts {
    /// Reads attempts.jsonl; a missing file means no attempts. Other lines are skipped and counted. If an
    /// attempt has two starts, the last counts; if it has two ends, the first counts. Both happen if a
    /// supervisor is killed while it writes, and its successor writes the line again.
    pub fn read(layout: &Layout) -> io::Result<Self> {
        if let Some(foreign) = layout.foreign() {
            return Ok(Self::of(&Account::of(foreign, layout.root())));
        }
        let lines = read_lines(&layout.attempts())?;
        let mut attempts = Self { all: Vec::new(), skipped: lines.skipped };
        for line in lines.records {
            attempts.add(line);
        }
        Ok(attempts)
    }

    /// Reads attempts.jsonl for display, without secrets that an older version recorded.
    pub fn shown(layout: &Layout) -> io::Result<Self> {
        Ok(Self::read(layout)?.redacted())
    }

    /// Returns the only attempt of a run of another system.
    pub(super) fn of(account: &Account) -> Self {
        Self { all: account.attempt().into_iter().collect(), skipped: 0 }
    }

    /// Redacts secrets that an older version, or another system, recorded.
    pub(super) fn redacted(mut self) -> Self {
        for Attempt { start, end } in &mut self.all {
            start.command = redact_command(&start.command);
            start.template = redact_command(&start.template);
            end.iter_mut().for_each(AttemptEnd::redact);
        }
        self
    }

    /// Returns the total recorded duration of the attempts before a number, in seconds. Parses nothing else, to
    /// keep listings fast.
    pub(super) fn seconds_before(layout: &Layout, number: u32) -> f64 {
        #[derive(Deserialize)]
        struct Took {
            #[serde(rename = "event")]
            _event: EndEvent,
            attempt: u32,
            duration_s: f64,
        }
        let bytes = read_small(&layout.attempts()).unwrap_or_default();
        let mut ends: BTreeMap<u32, f64> = BTreeMap::new();
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Ok(Took { attempt, duration_s, .. }) = serde_json::from_slice(line) {
                ends.entry(attempt).or_insert(duration_s);
            }
        }
        ends.range(..number).map(|(_, seconds)| seconds).sum()
    }

    fn add(&mut self, line: Value) {
        match line["event"].as_str() {
            Some("start") => match serde_json::from_value::<AttemptStart>(line) {
                Ok(start) => match self.all.iter_mut().find(|one| one.start.attempt == start.attempt) {
                    Some(known) => known.start = start,
                    None => self.all.push(Attempt { start, end: None }),
                },
                Err(_) => self.skipped += 1,
            },
            Some("end") => match serde_json::from_value::<AttemptEnd>(line) {
                Ok(end) => match self.all.iter_mut().find(|one| one.start.attempt == end.attempt) {
                    Some(known) => known.end = known.end.take().or(Some(end)),
                    None => self.skipped += 1,
                },
                Err(_) => self.skipped += 1,
            },
            _ => self.skipped += 1,
        }
    }

    /// Returns the attempts.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Attempt> + ExactSizeIterator {
        self.all.iter()
    }

    /// Returns the last attempt.
    pub fn last(&self) -> Option<&Attempt> {
        self.all.last()
    }

    /// Returns the attempt with this number.
    pub fn get(&self, number: u32) -> Option<&Attempt> {
        self.all.iter().rev().find(|one| one.start.attempt == number)
    }

    /// Returns the number of lines that could not be read.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Appends the end of the last attempt if it is missing: the end in result.json, if a power cut or a full
    /// disk kept it out of attempts.jsonl, else `unseen`, the known facts about an attempt that died. Called by
    /// the holder of the run's lock before the next attempt.
    pub(super) fn complete(&self, layout: &Layout, unseen: Option<&AttemptEnd>) -> io::Result<()> {
        let Some(last) = self.last().filter(|last| last.end.is_none()) else { return Ok(()) };
        let AttemptStart { run_id, attempt, .. } = &last.start;
        let recorded = AttemptEnd::read(layout, run_id, *attempt);
        let unseen = unseen.filter(|end| end.run_id == *run_id && end.attempt == *attempt);
        match recorded.as_ref().or(unseen) {
            Some(end) => append_line(&layout.attempts(), end),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rundir::SCHEMA;
    use serde_json::json;

    fn start(attempt: u32) -> Value {
        json!({"schema": SCHEMA, "run_id": "r", "event": "start", "attempt": attempt,
               "start_time": "2026-01-29T12:00:00.000Z", "command": ["true"], "template": ["true"],
               "executable": null, "cwd": "/", "host": "h", "pid": 1, "git_commit": null, "git_dirty": null,
               "python_version": null, "device": null, "gpus": [], "CUDA_VISIBLE_DEVICES": null, "offsets": {}})
    }

    fn end(attempt: u32, status: &str) -> Value {
        json!({"schema": SCHEMA, "run_id": "r", "event": "end", "attempt": attempt, "status": status,
               "reason": null, "end_time": "2026-01-29T12:00:01.000Z", "duration_s": 1.0, "exit_code": 0,
               "signal": null, "final_step": 3, "traceback": null, "lost_bytes": 0,
               "resources": {"cpu_seconds": 0.0, "max_rss_bytes": 0, "gpu_seconds": null, "gpu_mem_max_bytes": null}})
    }

    #[test]
    fn starts_and_ends_are_put_together_and_all_else_is_counted() {
        let mut attempts = Attempts::default();
        for line in [
            start(1),
            start(1),
            end(1, "failed"),
            end(1, "completed"),
            start(2),
            end(7, "failed"),
            end(2, "dead"),
            json!({"event": "start"}),
            json!({}),
        ] {
            attempts.add(line);
        }
        let seen: Vec<_> =
            attempts.iter().map(|one| (one.start.attempt, one.end.as_ref().map(|end| end.status))).collect();
        assert_eq!(seen, [(1, Some(Outcome::Failed)), (2, None)]);
        assert_eq!(attempts.skipped(), 4);
        assert_eq!(attempts.last().map(|last| last.start.attempt), Some(2));
        assert!(attempts.get(3).is_none());
    }
}
