//! Looks at how far a run is, as all tools tell it.

use crate::Lab;
use serde_json::Value;

/// Python that waits for a file of the lab, so that what was written before can be looked at.
pub const AWAIT: &str = "
import os, sys, time, json, pickle
run = os.environ['RUN_DIR']
def reach(name):
    while not os.path.exists(name): time.sleep(0.01)
def append(name, text):
    path = os.path.join(run, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'a') as file: file.write(text)
def replace(name, text):
    path = os.path.join(run, name)
    with open(path + '.tmp', 'wb') as file: file.write(text if isinstance(text, bytes) else text.encode())
    os.rename(path + '.tmp', path)
";

/// Runs a trainer `r` that leaves these files, and ends.
pub fn leaves(files: &[(&str, &str)]) -> Lab {
    let lab = Lab::new();
    for (name, content) in files {
        lab.write(&format!("made/{name}"), content);
    }
    let run = lab.new_run("r", &["sh", "-c", "cp -r made/. $RUN_DIR"]);
    lab.cmd("run-exec").args(["-q", &run]).run().code(0).stderr("");
    lab
}

/// Returns what the details of a run say under a key.
pub fn fact(lab: &Lab, run: &str, key: &str) -> String {
    let details = lab.cmd("run-status").arg(run).run().code(0).out();
    let found = details.lines().find_map(|line| line.strip_prefix(&format!("{key}:")));
    found.unwrap_or_default().trim().to_owned()
}

/// Expects that run-report says the same step of the run `r` as run-status, and returns it.
#[track_caller]
pub fn step(lab: &Lab) -> Value {
    let status = lab.status("r");
    let report = lab.cmd("run-report").args(["--format", "json", "r"]).run().code(0).json_lines();
    assert_eq!(report[0]["step"], status["step"]);
    status["step"].clone()
}
