//! Trials of Ray Tune, `ray_results/EXPERIMENT/TRIAL/`: `params.json`, `result.json` with a JSON object per
//! line, `progress.csv` with the same rows, and `error.txt` with all failures. The state of a trial is in
//! `experiment_state-DATE.json` of the experiment (ray, `tune/logger/json.py`,
//! `tune/execution/tune_controller.py`, `tune/experiment/trial.py`).

use super::cached::Cached;
use super::pid_file::SLACK;
use super::traces::{first_event, last_lines, lines_at_end, some_names, written};
use super::{Account, Claim, ForeignLayout, Listing, settings};
use crate::fsio::open_regular;
use crate::fsio::read::read_start;
use crate::json::with_quoted_constants;
use crate::rundir::status::Outcome;
use crate::time::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Number of bytes at the end of `result.json` to search for its last line: lines of `RLlib` contain the whole
/// config.
const END: u64 = 4 << 20;

/// Number of bytes at its beginning to search for its first line.
const START: u64 = 64 << 10;

/// Maximum size of an experiment's state, in bytes; each trial takes about 20 KB.
const STATE: u64 = 128 << 20;

/// Maximum number of entries of an experiment to examine.
const NAMES: usize = 200_000;

/// The layout.
#[derive(Debug)]
pub(super) struct RayTune;

impl ForeignLayout for RayTune {
    fn name(&self) -> &'static str {
        "Ray Tune"
    }

    fn is_run(&self, listing: &Listing) -> bool {
        listing.has_file("params.json")
            && ["result.json", "progress.csv", "error.txt"].iter().any(|name| listing.has_file(name))
    }

    fn account(&self, run: &Path) -> Account {
        let mut account = Account::default();
        settings::config_file(&mut account.meta, run, "params.json", &mut account.damage);
        let results = run.join("result.json");
        let last = last_row(&last_lines(&results)).or_else(|| last_row(&lines_at_end(&results, END)));
        let last = last.unwrap_or_default();
        account.last_heartbeat =
            last.get("timestamp").and_then(Value::as_f64).and_then(Timestamp::of_seconds);
        account.start_time = first_row(&results)
            .as_ref()
            .and_then(begun)
            .or_else(|| begun(&last))
            .or_else(|| first_event([run.to_owned()]))
            .or_else(|| written(&run.join("params.json")));
        let host = last.get("hostname").and_then(Value::as_str).unwrap_or_default();
        host.clone_into(&mut account.meta.host);
        let failure = Failure::last(&run.join("error.txt"));
        let is_done = last.get("done") == Some(&Value::Bool(true));
        let state = state_of(run);
        let has_failed = match state.as_ref().map(|(status, _)| &**status) {
            Some("ERROR") => true,
            Some("TERMINATED") => false,
            _ => !is_done && failure.as_ref().is_some_and(|failure| failure.is_last(&account, &results)),
        };
        let is_over = is_done || state.as_ref().is_some_and(|(status, _)| status == "TERMINATED");
        if has_failed {
            account.claim = Claim::Ended(Outcome::Failed);
            account.end_time = failure.as_ref().and_then(|failure| failure.time).or(account.last_heartbeat);
            account.reason = failure.and_then(|failure| failure.words);
        } else if is_over {
            account.claim = Claim::Ended(Outcome::Completed);
            account.end_time = account.last_heartbeat;
        } else {
            // Ray writes the state of an experiment while its trials run, even if they report seldom.
            let is_running = state.as_ref().is_some_and(|(status, _)| status == "RUNNING");
            let state = state.filter(|_| is_running).and_then(|(_, written)| written);
            account.claim = Claim::Running;
            account.last_heartbeat = written(&results).or(account.last_heartbeat).max(state);
        }
        account
    }
}

/// The last failure of a trial.
struct Failure {
    /// Its time, if Ray recorded it.
    said: Option<Timestamp>,
    /// Its time as recorded, or else the time at which the file was written.
    time: Option<Timestamp>,
    /// The exception.
    words: Option<String>,
}

impl Failure {
    fn last(path: &Path) -> Option<Self> {
        let time = written(path)?;
        let lines = last_lines(path);
        let said = lines.iter().find_map(|line| {
            let (_, date) = line.strip_prefix("Failure # ")?.split_once("(occurred at ")?;
            Timestamp::of_name(date.strip_suffix(')')?, "%Y-%m-%d_%H-%M-%S")
        });
        Some(Self { said, time: said.or(Some(time)), words: lines.into_iter().next() })
    }

    /// Returns whether no results follow the failure: a trial that is retried keeps the errors of earlier
    /// failures.
    fn is_last(&self, account: &Account, results: &Path) -> bool {
        // Recorded times can be compared only with each other, because the files may be copies.
        let row = if self.said.is_some() { account.last_heartbeat } else { written(results) };
        row.zip(self.time).is_none_or(|(row, time)| row.seconds_since(time) <= SLACK)
    }
}

/// Returns the first JSON object among the lines, which may contain NaN or infinities.
fn last_row(lines: &[String]) -> Option<Map<String, Value>> {
    lines.iter().find_map(|line| parse(line.as_bytes()))
}

fn first_row(results: &Path) -> Option<Map<String, Value>> {
    let start = read_start(results, START).ok()?;
    parse(start.split(|&byte| byte == b'\n').next()?)
}

fn parse(line: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(with_quoted_constants(line).as_deref().unwrap_or(line)).ok()
}

/// Returns the start of a trial, derived from a row.
fn begun(row: &Map<String, Value>) -> Option<Timestamp> {
    let number = |key: &str| row.get(key).and_then(Value::as_f64);
    Timestamp::of_seconds(number("timestamp")? - number("time_total_s")?)
}

/// Returns the state of a trial in the experiment's state file, and the time at which this file was written.
fn state_of(run: &Path) -> Option<(String, Option<Timestamp>)> {
    static NEWEST: Cached<Option<PathBuf>> = Cached::new();
    static STATES: Cached<HashMap<String, String>> = Cached::new();
    let run = std::path::absolute(run).ok()?;
    let newest = NEWEST.get(run.parent()?, newest_state)?;
    let path = Option::as_ref(&newest)?;
    let states: Arc<HashMap<String, String>> = STATES.get(path, |path| states(path).unwrap_or_default())?;
    Some((states.get(run.file_name()?.to_str()?)?.clone(), written(path)))
}

/// Returns the newest state file of an experiment: each continuation starts a new one.
fn newest_state(experiment: &Path) -> Option<PathBuf> {
    let is_state =
        |name: &String| name.strip_suffix(".json").is_some_and(|name| name.starts_with("experiment_state-"));
    some_names(experiment, NAMES).into_iter().rfind(is_state).map(|name| experiment.join(name))
}

/// The state of an experiment.
#[derive(Deserialize)]
struct Experiment<'a> {
    /// For each trial its description and its progress, both as JSON in a string.
    #[serde(borrow, default)]
    trial_data: Vec<Vec<&'a RawValue>>,
    /// For each trial its description, before version 2.7.
    #[serde(borrow, default)]
    checkpoints: Vec<&'a RawValue>,
}

/// The description of a trial.
#[derive(Deserialize)]
struct Trial {
    status: String,
    /// The name of its directory.
    relative_logdir: Option<String>,
}

/// Returns the states of all trials, by the names of their directories.
fn states(path: &Path) -> Option<HashMap<String, String>> {
    let mut text = Vec::new();
    let file = open_regular(path).ok()??;
    if file.metadata().ok()?.len() > STATE {
        return None;
    }
    file.take(STATE).read_to_end(&mut text).ok()?;
    let quoted = with_quoted_constants(&text);
    let experiment: Experiment = serde_json::from_slice(quoted.as_deref().unwrap_or(&text)).ok()?;
    let trial = |text: &RawValue| -> Option<(String, String)> {
        let text: String = serde_json::from_str(text.get()).ok()?;
        let quoted = with_quoted_constants(text.as_bytes());
        let trial: Trial = serde_json::from_slice(quoted.as_deref().unwrap_or(text.as_bytes())).ok()?;
        Some((trial.relative_logdir?, trial.status))
    };
    let all = experiment.trial_data.iter().filter_map(|parts| parts.first()).chain(&experiment.checkpoints);
    Some(all.filter_map(|text| trial(text)).collect())
}
