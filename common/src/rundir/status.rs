//! `status.json` and `result.json`: what the supervisor recorded. It may have died since; what is
//! so is for `observe` to say.

use super::SCHEMA;
use super::layout::Layout;
use super::meta::Meta;
use super::open::{Document, read_document};
use crate::error::Error;
use crate::fsio::append::read_lines;
use crate::json::json_number;
use crate::time::{Timestamp, human_seconds};
use memchr::memchr;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;

/// What a run does. The last two are concluded by readers and never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started.
    Created,
    /// Handed to a scheduler.
    Queued,
    /// Started, and not yet recorded to have ended.
    Running,
    /// Exit 0, and no stop was asked for.
    Completed,
    /// Any other end that was not asked for, time limits included.
    Failed,
    /// A stop was asked for and it ended, whatever its exit code.
    Stopped,
    /// Recorded as running or queued, and proven not to be.
    #[serde(skip_deserializing)]
    Dead,
    /// It cannot be proven from here and the heartbeat is old; or the supervisor is stopped, or
    /// gone while the program lives.
    #[serde(skip_deserializing)]
    Stale,
}

impl Status {
    /// Every status there is.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Queued,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Stopped,
        Self::Dead,
        Self::Stale,
    ];

    /// Returns the word of files, tables and options.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Dead => "dead",
            Self::Stale => "stale",
        }
    }

    /// Says whether the run is over: dead is, stale is not.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Stopped | Self::Dead)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What the run's processes have used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// CPU time of all processes that belonged to the run, user and system.
    pub cpu_seconds: f64,
    /// Most resident memory: of the whole process tree as sampled, and at least of its largest
    /// process.
    pub max_rss_bytes: u64,
    /// Seconds times graphics processors in use; null without any.
    pub gpu_seconds: Option<f64>,
    /// Most GPU memory in use at once; null without any.
    pub gpu_mem_max_bytes: Option<u64>,
}

/// `status.json`: all that a listing needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recorded {
    /// Version of the record.
    pub schema: u32,
    /// The run's id, as in meta.json.
    pub run_id: String,
    /// The run's name, as in meta.json.
    pub run_name: String,
    /// Status as written.
    pub status: Status,
    /// Why the attempt ended, or what it waits for.
    pub reason: Option<String>,
    /// Number of the attempt; 0 before the first.
    pub attempt: u32,
    /// The command as executed, secrets redacted; before the first attempt, the template: words or null.
    #[serde(default)]
    pub command: Raw,
    /// When the run was created.
    pub created: Timestamp,
    /// When the attempt started.
    pub start_time: Option<Timestamp>,
    /// When the attempt ended.
    pub end_time: Option<Timestamp>,
    /// When this was last written by a living supervisor.
    pub last_heartbeat: Option<Timestamp>,
    /// When the command last wrote output or a metric row.
    pub last_output: Option<Timestamp>,
    /// Host of the supervisor.
    pub host: Option<String>,
    /// Boot of that host.
    pub boot_id: Option<String>,
    /// Pid name space of the supervisor.
    pub pid_ns: Option<String>,
    /// Inode of the directory of the record: a copy has another.
    pub inode: Option<u64>,
    /// The supervisor's pid.
    pub pid: Option<i32>,
    /// Its start time in clock ticks since boot.
    pub pid_start: Option<u64>,
    /// Pid of the command.
    pub child_pid: Option<i32>,
    /// Its start time in clock ticks since boot.
    pub child_start: Option<u64>,
    /// Step of the last metric row.
    #[serde(serialize_with = "whole_if_it_is")]
    pub step: Option<f64>,
    /// Step at which this attempt began.
    #[serde(serialize_with = "whole_if_it_is")]
    pub start_step: Option<f64>,
    /// Number of steps to take.
    pub total_steps: Option<u64>,
    /// Every metric in figures, in the order first logged.
    pub metrics: Metrics,
    /// The last five metric rows.
    pub recent: Recent,
    /// What the attempt has used.
    pub resources: Option<Resources>,
    /// Exit status of the command.
    pub exit_code: Option<i32>,
    /// Signal that ended the command.
    pub signal: Option<i32>,
    /// Bytes of output that could not be written to a log.
    pub lost_bytes: u64,
    /// Overrides, as in meta.json.
    pub overrides: Raw,
    /// Tags, as in meta.json.
    pub tags: Raw,
}

/// A part of the record as it was read: a listing hands it on, and few need to know what it says.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Raw(Box<RawValue>);

impl Raw {
    /// Makes one of what it says.
    pub fn of(value: &impl Serialize) -> Self {
        Self(to_raw_value(value).unwrap_or_default())
    }

    /// Returns what it says, or nothing when it is something else.
    pub fn parse<T: DeserializeOwned + Default>(&self) -> T {
        serde_json::from_str(self.0.get()).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if memchr(b'\n', raw.get().as_bytes()).is_some() {
            return Ok(Self::of(&Self(raw).parse::<Value>())); // JSON lines have to stay lines
        }
        Ok(Self(raw))
    }
}

/// Figures by metric name, in the order in which the names first appeared.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metrics(Raw);

impl Metrics {
    /// Stores the figures of metrics.
    pub fn new(figures: &Map<String, Value>) -> Self {
        Self(Raw::of(figures))
    }

    /// Returns the figures of each metric: `last`, `min`, `max`, `mean`, `std`, `count`, `nonfinite`.
    pub fn figures(&self) -> Map<String, Value> {
        self.0.parse()
    }
}

/// The last metric rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Recent(Raw);

impl Recent {
    /// Stores rows.
    pub fn new(rows: &[Map<String, Value>]) -> Self {
        Self(Raw::of(&rows))
    }

    /// Returns the rows.
    pub fn rows(&self) -> Vec<Map<String, Value>> {
        self.0.parse()
    }
}

impl Document for Recorded {
    fn schema(&self) -> u32 {
        self.schema
    }
}

impl Document for AttemptEnd {
    fn schema(&self) -> u32 {
        self.schema
    }
}

impl Recorded {
    /// Makes the record of a run that was never started.
    pub fn created(meta: &Meta) -> Self {
        Self {
            schema: SCHEMA,
            run_id: meta.run_id.clone(),
            run_name: meta.run_name.clone(),
            status: Status::Created,
            reason: None,
            attempt: 0,
            command: Raw::of(&meta.command),
            created: meta.created,
            start_time: None,
            end_time: None,
            last_heartbeat: None,
            last_output: None,
            host: None,
            boot_id: None,
            pid_ns: None,
            inode: None,
            pid: None,
            pid_start: None,
            child_pid: None,
            child_start: None,
            step: None,
            start_step: None,
            total_steps: meta.total_steps,
            metrics: Metrics::new(&Map::new()),
            recent: Recent::new(&[]),
            resources: None,
            exit_code: None,
            signal: None,
            lost_bytes: 0,
            overrides: Raw::of(&meta.overrides),
            tags: Raw::of(&meta.tags),
        }
    }

    /// Reads the status.json of a run. It is not written durably, so that a power cut may leave an
    /// empty file: what it said before the first heartbeat follows from the rest of the record.
    pub fn read(layout: &Layout) -> Result<Self, Error> {
        let path = layout.status();
        read_document(&path).or_else(|error| match fs::metadata(&path) {
            Ok(file) if file.len() == 0 => Self::derive(layout),
            _ => Err(error),
        })
    }

    /// Derives it from meta.json and the start of the last attempt.
    fn derive(layout: &Layout) -> Result<Self, Error> {
        let mut state = Self::created(&Meta::read(layout)?);
        let lines = read_lines(&layout.attempts()).unwrap_or_default().records;
        let mut starts = lines.into_iter().rev().filter(|line| line["event"] == "start");
        if let Some(start) = starts.find_map(|line| serde_json::from_value::<AttemptStart>(line).ok()) {
            state.status = Status::Running;
            state.attempt = start.attempt;
            state.start_time = Some(start.start_time);
            state.last_heartbeat = Some(start.start_time);
            state.command = Raw::of(&start.command);
            state.host = Some(start.host);
            state.pid = Some(start.pid);
        }
        Ok(state)
    }

    /// Puts what a reader concluded in the place of what was written.
    pub(super) fn conclude(&mut self, status: Status, reason: String) {
        self.status = status;
        self.reason = Some(reason);
    }

    /// Says that another attempt follows after so many seconds.
    pub(super) fn await_retry(&mut self, delay: f64) {
        let why = self.reason.take().unwrap_or_default();
        self.status = Status::Running;
        self.reason = Some(format!("retry in {}: {why}", human_seconds(delay)));
        self.end_time = None;
    }

    /// Takes over how the attempt ended.
    pub fn end(&mut self, end: &AttemptEnd) {
        self.status = end.status;
        self.reason.clone_from(&end.reason);
        self.end_time = Some(end.end_time);
        self.exit_code = end.exit_code;
        self.signal = end.signal;
        self.resources = Some(end.resources);
        self.lost_bytes = end.lost_bytes;
        if end.final_step.is_some() {
            self.step = end.final_step;
        }
    }
}

/// Writes step 40 as `40`, not as `40.0`.
#[expect(clippy::ref_option, reason = "serde asks for a reference to the field")]
fn whole_if_it_is<S: Serializer>(step: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    step.map(json_number).serialize(serializer)
}

/// How an attempt ended: `result.json`, and the end line of `attempts.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttemptEnd {
    /// Version of the record.
    pub schema: u32,
    /// The run's id.
    pub run_id: String,
    /// `end`, which tells the line from a start line.
    pub event: String,
    /// Number of the attempt.
    pub attempt: u32,
    /// `completed`, `failed` or `stopped`.
    pub status: Status,
    /// Why it ended, in one line.
    pub reason: Option<String>,
    /// When it ended.
    pub end_time: Timestamp,
    /// How long it took.
    pub duration_s: f64,
    /// Exit status of the command; null when a signal ended it or it never started.
    pub exit_code: Option<i32>,
    /// Signal that ended the command.
    pub signal: Option<i32>,
    /// Step of the last metric row.
    #[serde(serialize_with = "whole_if_it_is")]
    pub final_step: Option<f64>,
    /// The last complete checkpoint, below the run.
    #[serde(default)]
    pub final_checkpoint: Option<String>,
    /// Seconds after which another attempt follows, as `--retries` of run-exec has it; null when
    /// none does.
    #[serde(default)]
    pub retry_in_s: Option<f64>,
    /// Last lines of a Python traceback.
    pub traceback: Option<Vec<String>>,
    /// What the attempt used.
    pub resources: Resources,
    /// Bytes of output that could not be written to a log.
    pub lost_bytes: u64,
    /// What the attempt cost in US dollars, where the price of its devices was known.
    #[serde(default)]
    pub cost_usd: Option<f64>,
}

/// The start of an attempt: what ran, as opposed to what was created.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttemptStart {
    /// Version of the record.
    pub schema: u32,
    /// The run's id.
    pub run_id: String,
    /// `start`, which tells the line from an end line.
    pub event: String,
    /// Number of the attempt.
    pub attempt: u32,
    /// When it started.
    pub start_time: Timestamp,
    /// The command as executed, secrets redacted.
    pub command: Vec<String>,
    /// The command with its placeholders.
    pub template: Vec<String>,
    /// Where the program was found.
    pub executable: Option<String>,
    /// Directory it is executed in.
    pub cwd: String,
    /// Host it is executed on.
    pub host: String,
    /// The supervisor's pid.
    pub pid: i32,
    /// Commit that was checked out in `cwd`.
    pub git_commit: Option<String>,
    /// Whether tracked files differed from it.
    pub git_dirty: Option<bool>,
    /// Version of the interpreter.
    pub python_version: Option<String>,
    /// Device of the run.
    pub device: Option<String>,
    /// Graphics processors of the host.
    pub gpus: Vec<String>,
    /// The variable, when it is set.
    #[serde(rename = "CUDA_VISIBLE_DEVICES")]
    pub cuda_visible_devices: Option<String>,
    /// The checkpoint that it goes on from, an absolute path.
    #[serde(default)]
    pub resume_from: Option<String>,
    /// The step of it.
    #[serde(default)]
    pub resume_step: Option<u64>,
    /// Number of steps that the training is to take in all.
    #[serde(default)]
    pub total_steps: Option<u64>,
    /// Length of each log, and of metrics.jsonl, when the attempt started.
    pub offsets: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_handed_on_says_the_same_on_one_line() {
        let mut record = json!({
            "schema": 1, "run_id": "1", "run_name": "a", "status": "created", "attempt": 0,
            "command": ["echo", "a\nb"], "created": "2026-01-29T12:00:00.123Z",
            "metrics": {"loss": {"last": 1.5}}, "recent": [{"step": 1, "loss": 1.5}],
            "lost_bytes": 0, "overrides": {"lr": "1e-4"}, "tags": ["sweep", "\u{8a9e}"],
        });
        let read: Recorded = serde_json::from_str(&serde_json::to_string_pretty(&record).unwrap()).unwrap();
        let line = serde_json::to_string(&read).unwrap();
        assert!(!line.contains('\n'), "{line}");
        let written: Value = serde_json::from_str(&line).unwrap();
        for (key, value) in record.as_object().unwrap() {
            assert_eq!(written[key], *value);
        }
        assert_eq!(json!(read.command.parse::<Option<Vec<String>>>()), record["command"]);

        record.as_object_mut().unwrap().remove("command");
        let read: Recorded = serde_json::from_value(record).unwrap();
        assert_eq!(json!(read)["command"], Value::Null);
        assert_eq!(read.command.parse::<Option<Vec<String>>>(), None);
    }
}
