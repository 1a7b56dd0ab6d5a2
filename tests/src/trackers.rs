//! Experiment trackers, which tests/setup installs, and what is read of the runs that they write.

use crate::{Cmd, Lab, checkout};
use serde_json::Value;
use std::collections::BTreeMap;

/// The values of a metric: steps, and what was logged at each.
pub type Series = Vec<(f64, f64)>;

/// Prepares to execute one of the programs in `tests/fixtures/trackers` by the interpreter that has the trackers.
pub fn tracker(lab: &Lab, program: &str) -> Cmd {
    let python = checkout().join("target/trackers/bin/python3");
    assert!(python.exists(), "the trackers are not installed: tests/setup installs them");
    lab.cmd(python).arg(checkout().join("tests/fixtures/trackers").join(program))
}

/// Returns what run-status says of all runs below a directory, by their paths below it. Nothing is wrong with any;
/// there may be directories that are no runs.
pub fn listed(lab: &Lab, directory: &str) -> BTreeMap<String, Value> {
    let done = lab.cmd("run-status").args(["-a", "--json", "--runs-dir", directory]).run().code(0);
    let is_other = |line: &str| line.contains("is not recognised as a run") || line.contains(": no runs: ");
    assert!(done.err().lines().all(is_other), "{}", done.err());
    let root = lab.path(directory);
    let below = |status: &Value| {
        let path = std::path::Path::new(status["path"].as_str().unwrap());
        path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned()
    };
    done.json_lines().into_iter().map(|status| (below(&status), status)).collect()
}

/// Returns all that a run has logged, by metric, as run-report consolidates it.
pub fn series(lab: &Lab, run: &str) -> BTreeMap<String, Series> {
    let csv = lab.cmd("run-report").args(["--metrics", run]).run().code(0).stderr("").out();
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().unwrap_or_default();
    let mut series: BTreeMap<String, Series> = BTreeMap::new();
    for cells in lines {
        let step = cells[1].parse().unwrap();
        for (name, cell) in head.iter().zip(&cells).skip(2).filter(|(_, cell)| !cell.is_empty()) {
            if let Ok(number) = cell.parse() {
                series.entry((*name).to_owned()).or_default().push((step, number));
            }
        }
    }
    series
}

/// Asserts that two sets of series are the same, also where a value is not finite.
pub fn assert_same(found: &BTreeMap<String, Series>, expected: &BTreeMap<String, Series>) {
    assert_eq!(format!("{found:?}"), format!("{expected:?}"));
}
