//! Trials of Ray Tune, `ray_results/EXPERIMENT/TRIAL/`: `params.json`, `result.json` with a JSON object a line,
//! `progress.csv` with the same, and `error.txt` when the trial failed (ray, `tune/logger/json.py`).

use super::pid_file::SLACK;
use super::traces::{last_lines, lines_at_end, written};
use super::{Account, Claim, ForeignLayout, Listing, settings};
use crate::json::with_quoted_constants;
use crate::rundir::status::Outcome;
use crate::time::Timestamp;
use serde_json::{Map, Value};
use std::path::Path;

/// Bytes at the end of `result.json` in which its last line is looked for: lines of `RLlib` hold the whole config.
const END: u64 = 4 << 20;

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
        let number = |key: &str| last.get(key).and_then(Value::as_f64);
        let time = number("timestamp");
        account.last_heartbeat = time.and_then(Timestamp::of_seconds);
        account.start_time = time
            .zip(number("time_total_s"))
            .and_then(|(time, total)| Timestamp::of_seconds(time - total))
            .or_else(|| written(&run.join("params.json")));
        let host = last.get("hostname").and_then(Value::as_str).unwrap_or_default();
        host.clone_into(&mut account.meta.host);
        let error = run.join("error.txt");
        let is_done = last.get("done") == Some(&Value::Bool(true));
        // A trial that is tried again keeps the errors of its failures before.
        let goes_on = || {
            let results = written(&results).zip(written(&error));
            results.is_some_and(|(row, error)| row.seconds_since(error) > SLACK)
        };
        if error.exists() && !is_done && !goes_on() {
            account.claim = Claim::Ended(Outcome::Failed);
            account.reason = last_lines(&error).into_iter().next();
            account.end_time = written(&error);
        } else if is_done {
            account.claim = Claim::Ended(Outcome::Completed);
            account.end_time = account.last_heartbeat;
        } else {
            account.claim = Claim::Running;
            account.last_heartbeat = written(&results).or(account.last_heartbeat);
        }
        account
    }
}

/// Returns the first of some lines that is a JSON object, also with NaN or infinities in it.
fn last_row(lines: &[String]) -> Option<Map<String, Value>> {
    lines.iter().find_map(|line| {
        let quoted = with_quoted_constants(line.as_bytes());
        serde_json::from_slice(quoted.as_deref().unwrap_or(line.as_bytes())).ok()
    })
}
