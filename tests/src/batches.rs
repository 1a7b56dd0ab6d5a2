//! Batches, and their reports.

use crate::Lab;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

/// Makes a batch of runs, each of a shell command.
pub fn batch(lab: &Lab, name: &str, runs: &[(&str, &str)]) {
    fs::create_dir_all(lab.path(format!("runs/{name}/.batch"))).unwrap();
    lab.write(&format!("runs/{name}/.batch/batch.json"), "{}\n");
    for (run, command) in runs {
        let dir = format!("runs/{name}");
        lab.cmd("run-new").args(["-d", &dir, "-n", run, "--", "sh", "-c", command]).run().code(0);
    }
}

/// Returns what the summary of a batch says.
pub fn summary(lab: &Lab, name: &str) -> Value {
    lab.json(&format!("runs/{name}/experiment_summary.json"))
}

/// Returns the events of a batch without their times.
pub fn events(lab: &Lab, name: &str) -> Vec<String> {
    let log = lab.read(&format!("runs/{name}/master_log.txt"));
    log.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

/// Returns the statuses of the runs of a batch by name.
pub fn statuses(lab: &Lab, name: &str) -> BTreeMap<String, String> {
    let lines = lab.cmd("run-status").args(["--json", name]).run().code(0).json_lines();
    let word = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    lines.into_iter().map(|line| (word(&line, "run_name"), word(&line, "status"))).collect()
}
