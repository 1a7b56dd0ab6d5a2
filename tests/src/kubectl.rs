//! A kubectl that only pretends: there is no cluster for tests. `kubectl.py` says what it does.

use crate::{Cmd, Lab, bin, checkout};
use serde_json::{Value, json};
use std::fs;

/// The text of the program.
const KUBECTL: &str = include_str!("kubectl.py");

/// Puts it into a lab, with a template of Jobs in `job.json`, and `full` for one of which no pod is ever scheduled.
pub fn set_up(lab: &Lab) {
    lab.write("bin/kubectl", KUBECTL);
    lab.set_mode("bin/kubectl", 0o755);
    fs::create_dir(lab.path("kube")).unwrap();
    let job = |node: Value| {
        let spec = json!({"nodeSelector": node, "containers": [{"name": "run", "image": "team/train", "args": ["x"]}]});
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "run"}, "spec": {"template": {"spec": spec}}})
    };
    lab.write("job.json", job(json!({})).to_string());
    lab.write("full.json", job(json!({"full": "true"})).to_string());
    lab.write("forbidden.json", job(json!({"forbidden": "true"})).to_string());
}

/// Lets a command find it, and the launchers among the examples.
pub fn reached_by(lab: &Lab, command: Cmd) -> Cmd {
    let dirs = [
        lab.path("bin"),
        bin(),
        checkout().join("examples"),
        "/usr/local/bin".into(),
        "/usr/bin".into(),
        "/bin".into(),
    ];
    let path = std::env::join_paths(dirs).unwrap();
    command.env("PATH", path).env("KUBE_STATE", lab.path("kube")).env("XDG_RUNTIME_DIR", lab.dir())
}
