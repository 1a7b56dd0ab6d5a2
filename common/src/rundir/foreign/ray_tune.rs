//! Trials of Ray Tune, `ray_results/EXPERIMENT/TRIAL/`: `params.json`, `result.json` with a JSON object a line,
//! `progress.csv` with the same, and `error.txt` when the trial failed (ray, `tune/logger/json.py`).

use super::traces::{last_lines, written};
use super::{Account, Claim, ForeignLayout, Listing, settings};
use crate::rundir::status::Outcome;
use crate::time::Timestamp;
use serde_json::{Map, Value};
use std::path::Path;

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
        let lines = last_lines(&run.join("result.json"));
        let last = lines.iter().find_map(|line| serde_json::from_str::<Map<String, Value>>(line).ok());
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
        if error.exists() {
            account.claim = Claim::Ended(Outcome::Failed);
            account.reason = last_lines(&error).into_iter().next();
            account.end_time = written(&error);
        } else if last.get("done") == Some(&Value::Bool(true)) {
            account.claim = Claim::Ended(Outcome::Completed);
            account.end_time = account.last_heartbeat;
        } else {
            account.claim = Claim::Running;
            account.last_heartbeat = written(&run.join("result.json")).or(account.last_heartbeat);
        }
        account
    }
}
