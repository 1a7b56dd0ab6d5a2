//! The format of `status.json`: one flat object with all fields in every state.

use super::attempts::Resources;
use super::raw::{Metrics, Raw, Recent};
use super::recorded::{AttemptState, Ended, Queued, Recorded, Running, State};
use super::status::{Outcome, Status};
use crate::json::whole_if_it_is;
use crate::process::identity::ProcessId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The object as written, and as printed by a listing.
#[derive(Debug, Serialize)]
pub struct StatusOut<'a> {
    schema: u32,
    run_id: &'a str,
    run_name: &'a str,
    status: Status,
    reason: Option<&'a str>,
    attempt: u32,
    command: &'a Raw,
    created: Timestamp,
    start_time: Option<Timestamp>,
    end_time: Option<Timestamp>,
    last_heartbeat: Option<Timestamp>,
    last_output: Option<Timestamp>,
    host: Option<&'a str>,
    boot_id: Option<&'a str>,
    pid_ns: Option<&'a str>,
    inode: Option<u64>,
    pid: Option<i32>,
    pid_start: Option<u64>,
    child_pid: Option<i32>,
    child_start: Option<u64>,
    #[serde(serialize_with = "whole_if_it_is")]
    step: Option<f64>,
    #[serde(serialize_with = "whole_if_it_is")]
    start_step: Option<f64>,
    total_steps: Option<u64>,
    metrics_from: Option<&'a [String]>,
    step_key: Option<&'a str>,
    superseded_rows: Option<u64>,
    metrics: Cow<'a, Metrics>,
    recent: Cow<'a, Recent>,
    resources: Option<Resources>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    lost_bytes: u64,
    overrides: &'a Raw,
    tags: &'a Raw,
}

impl<'a> StatusOut<'a> {
    /// Creates the object of a record, with the recorded or the observed status and reason.
    pub(super) fn of(recorded: &'a Recorded, status: Status, reason: Option<&'a str>) -> Self {
        let attempt = recorded.attempt();
        let supervisor = attempt.and_then(|attempt| attempt.supervisor.as_ref());
        let known = |part: fn(&ProcessId) -> &str| supervisor.map(part).filter(|part| !part.is_empty());
        Self {
            schema: recorded.schema,
            run_id: &recorded.run_id,
            run_name: &recorded.run_name,
            status,
            reason,
            attempt: recorded.attempts(),
            command: &recorded.command,
            created: recorded.created,
            start_time: attempt.and_then(|attempt| attempt.start_time),
            end_time: recorded.ended().and_then(|ended| ended.time),
            last_heartbeat: attempt.and_then(|attempt| attempt.last_heartbeat),
            last_output: attempt.and_then(|attempt| attempt.last_output),
            host: known(|supervisor| &supervisor.host),
            boot_id: known(|supervisor| &supervisor.boot_id),
            pid_ns: known(|supervisor| &supervisor.pid_ns),
            inode: attempt.and_then(|attempt| attempt.inode),
            pid: supervisor.map(|supervisor| supervisor.pid),
            pid_start: supervisor.map(|supervisor| supervisor.start).filter(|&start| start > 0),
            child_pid: attempt.and_then(|attempt| attempt.child).map(|(pid, _)| pid),
            child_start: attempt.and_then(|attempt| attempt.child).map(|(_, start)| start),
            step: attempt.and_then(|attempt| attempt.step),
            start_step: attempt.and_then(|attempt| attempt.start_step),
            total_steps: recorded.total_steps,
            metrics_from: attempt.and_then(|attempt| attempt.metrics_from.as_deref()),
            step_key: attempt.and_then(|attempt| attempt.step_key.as_deref()),
            superseded_rows: attempt.and_then(|attempt| attempt.superseded_rows),
            metrics: attempt.map_or_else(Cow::default, |attempt| Cow::Borrowed(&attempt.metrics)),
            recent: attempt.map_or_else(Cow::default, |attempt| Cow::Borrowed(&attempt.recent)),
            resources: attempt.and_then(|attempt| attempt.resources),
            exit_code: recorded.exit_code(),
            signal: recorded.signal(),
            lost_bytes: attempt.map_or(0, |attempt| attempt.lost_bytes),
            overrides: &recorded.overrides,
            tags: &recorded.tags,
        }
    }
}

/// The object as read, of this or an older version.
#[derive(Debug, Deserialize)]
pub(super) struct StatusIn {
    schema: u32,
    run_id: String,
    run_name: String,
    status: Word,
    reason: Option<String>,
    attempt: u32,
    #[serde(default)]
    command: Raw,
    created: Timestamp,
    start_time: Option<Timestamp>,
    end_time: Option<Timestamp>,
    last_heartbeat: Option<Timestamp>,
    last_output: Option<Timestamp>,
    host: Option<String>,
    boot_id: Option<String>,
    pid_ns: Option<String>,
    inode: Option<u64>,
    pid: Option<i32>,
    pid_start: Option<u64>,
    child_pid: Option<i32>,
    child_start: Option<u64>,
    step: Option<f64>,
    start_step: Option<f64>,
    total_steps: Option<u64>,
    metrics_from: Option<Vec<String>>,
    step_key: Option<String>,
    superseded_rows: Option<u64>,
    metrics: Metrics,
    recent: Recent,
    resources: Option<Resources>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    lost_bytes: u64,
    overrides: Raw,
    tags: Raw,
}

/// A status in a record.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Created,
    Queued,
    Running,
    Completed,
    Failed,
    Stopped,
}

impl From<StatusIn> for Recorded {
    fn from(read: StatusIn) -> Self {
        let supervisor = read.pid.map(|pid| ProcessId {
            host: read.host.unwrap_or_default(),
            boot_id: read.boot_id.unwrap_or_default(),
            pid_ns: read.pid_ns.unwrap_or_default(),
            pid,
            start: read.pid_start.unwrap_or_default(),
        });
        let attempt = AttemptState {
            number: read.attempt,
            start_time: read.start_time,
            last_heartbeat: read.last_heartbeat,
            last_output: read.last_output,
            supervisor,
            inode: read.inode,
            child: read.child_pid.zip(read.child_start),
            step: read.step,
            start_step: read.start_step,
            metrics_from: read.metrics_from,
            step_key: read.step_key,
            superseded_rows: read.superseded_rows,
            metrics: read.metrics,
            recent: read.recent,
            resources: read.resources,
            lost_bytes: read.lost_bytes,
        };
        let ended = |attempt, outcome, reason| Ended {
            attempt,
            outcome,
            reason,
            time: read.end_time,
            exit_code: read.exit_code,
            signal: read.signal,
        };
        let has_ended = read.exit_code.is_some() || read.signal.is_some();
        let made = |attempt: AttemptState| Some(attempt).filter(|attempt| attempt.number > 0);
        let recorded = |outcome, attempt, reason| State::Ended(ended(made(attempt), outcome, reason));
        let state = match read.status {
            Word::Created => State::Created,
            Word::Queued => State::Queued(Queued { attempt: made(attempt), reason: read.reason }),
            Word::Running if has_ended => State::Waiting(ended(Some(attempt), Outcome::Failed, read.reason)),
            Word::Running => State::Running(Running { attempt, notice: read.reason }),
            Word::Completed => recorded(Outcome::Completed, attempt, read.reason),
            Word::Failed => recorded(Outcome::Failed, attempt, read.reason),
            Word::Stopped => recorded(Outcome::Stopped, attempt, read.reason),
        };
        Self {
            schema: read.schema,
            run_id: read.run_id,
            run_name: read.run_name,
            created: read.created,
            command: read.command,
            total_steps: read.total_steps,
            overrides: read.overrides,
            tags: read.tags,
            state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_is_handed_on_says_the_same_on_one_line() {
        let mut record = json!({
            "schema": 1, "run_id": "1", "run_name": "a", "status": "running", "attempt": 2,
            "command": ["echo", "a\nb"], "created": "2026-01-29T12:00:00.123Z",
            "start_time": "2026-01-29T12:00:01.000Z", "host": "gpu3", "boot_id": "b", "pid_ns": "1", "inode": 7,
            "pid": 12, "pid_start": 34, "child_pid": 56, "child_start": 78, "step": 40, "start_step": 0.5,
            "metrics": {"loss": {"last": 1.5}}, "recent": [{"step": 1, "loss": 1.5}],
            "lost_bytes": 3, "overrides": {"lr": "1e-4"}, "tags": ["sweep", "\u{8a9e}"],
        });
        for (status, exit_code) in [
            ("running", None),
            ("running", Some(1)),
            ("completed", Some(0)),
            ("failed", Some(7)),
            ("stopped", None),
        ] {
            record["status"] = status.into();
            record["exit_code"] = json!(exit_code);
            record["reason"] = "why".into();
            let read: Recorded =
                serde_json::from_str(&serde_json::to_string_pretty(&record).unwrap()).unwrap();
            let line = serde_json::to_string(&read).unwrap();
            assert!(!line.contains('\n'), "{line}");
            let written: Value = serde_json::from_str(&line).unwrap();
            for (key, value) in record.as_object().unwrap() {
                assert_eq!(written[key], *value, "{key} of {status}");
            }
            assert_eq!(json!(read.command.parse::<Option<Vec<String>>>()), record["command"]);
        }
        record.as_object_mut().unwrap().remove("command");
        let read: Recorded = serde_json::from_value(record).unwrap();
        assert_eq!(json!(read)["command"], Value::Null);
        assert_eq!(read.command.parse::<Option<Vec<String>>>(), None);
    }

    #[test]
    fn what_is_concluded_cannot_be_recorded() {
        for status in ["dead", "stale", "unknown"] {
            let record = json!({
                "schema": 1, "run_id": "1", "run_name": "a", "status": status, "attempt": 1,
                "created": "2026-01-29T12:00:00.123Z", "metrics": {}, "recent": [], "lost_bytes": 0,
                "overrides": {}, "tags": [],
            });
            assert!(serde_json::from_value::<Recorded>(record).is_err(), "{status}");
        }
    }
}
