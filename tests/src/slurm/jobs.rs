//! Runs that jobs execute, and how far they are.

use super::Cluster;
use crate::{Lab, wait_for, wait_to_see};
use serde_json::Value;
use std::fs;

/// A program that resumes where it stopped, takes and saves a step each 0.1 s, and says when it is asked to end.
pub const TRAINER: &str = r#"
trap 'echo told; exit 0' TERM
step=${2:-0}
echo "from $step"
while [ $step -lt 1000000 ] && [ ! -e enough ]; do
    step=$((step + 1))
    mkdir -p "$RUN_DIR/checkpoints/step_$step.tmp" && echo $step >"$RUN_DIR/checkpoints/step_$step.tmp/state"
    mv "$RUN_DIR/checkpoints/step_$step.tmp" "$RUN_DIR/checkpoints/step_$step"
    rm -rf "$RUN_DIR/checkpoints/step_$((step - 3))"
    echo "{\"step\": $step, \"pid\": $$}" >>"$RUN_METRICS"
    sleep 0.1
done
"#;

/// Returns a text of what run-status says.
pub fn word<'a>(status: &'a Value, key: &str) -> &'a str {
    status[key].as_str().unwrap_or_default()
}

/// Creates a run of [`TRAINER`].
pub fn create(lab: &Lab, run: &str) {
    let made = lab.cmd("run-new").args(["-n", run, "--resume-args", "from", "{step}", "--"]);
    made.args(["sh", "-c", TRAINER, "sh", "{resume}"]).run().code(0);
}

/// Creates a run of [`TRAINER`] and has Slurm execute it.
pub fn submit(lab: &Lab, cluster: &Cluster, run: &str, options: &[&str]) -> String {
    create(lab, run);
    let exec = cluster.cmd(lab, "run-exec").args(["-q", "--linger", "500ms", "--heartbeat", "1s"]);
    exec.args(options).arg(run).run().code(0).stderr("");
    lab.json(&format!("runs/{run}/.run/launch.json"))["job"].as_str().unwrap().to_owned()
}

/// Waits until the run has taken some steps in an attempt.
pub fn await_steps(lab: &Lab, cluster: &Cluster, run: &str, attempt: u64) -> Value {
    let mut last = Value::Null;
    wait_for(&format!("attempt {attempt} of {run}"), || {
        last = cluster.status(lab, run);
        last["attempt"] == attempt
            && last["status"] == "running"
            && last["step"].as_f64() > last["start_step"].as_f64()
    });
    last
}

/// Returns status and reason of a run that has ended, and that nothing of it lives.
pub fn end(lab: &Lab, cluster: &Cluster, run: &str) -> (String, String) {
    let mut last = Value::Null;
    wait_for(&format!("{run} to end"), || {
        last = cluster.status(lab, run);
        ["completed", "failed", "stopped", "dead"].contains(&word(&last, "status"))
    });
    (word(&last, "status").to_owned(), word(&last, "reason").to_owned())
}

/// Makes what [`end`] returns.
pub fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

/// Lets Slurm start a job that it would let wait for two minutes, but not within the second in which it was ended:
/// a node does not tell its two starts apart then, and refuses ("already killed, do not launch batch job").
pub fn hurry(cluster: &Cluster, id: &str) {
    wait_to_see(
        "the job to be requeued",
        || cluster.ask(&["squeue", "-h", "-t", "all", "-j", id, "-o", "%T %r"]),
        |told| told.starts_with("PENDING "),
    );
    cluster.ask(&["scontrol", "update", &format!("jobid={id}"), "starttime=now+2"]);
}

/// Kills the node of the first attempt of `r`, as soon as that has made a step.
pub fn crash_first_node(lab: &Lab, cluster: &Cluster) {
    await_steps(lab, cluster, "r", 1);
    let start = &lab.json_lines("runs/r/.run/attempts.jsonl")[0];
    cluster.crash(word(&start["job"], "node"));
}

/// Makes what is known of jobs older, as if this time had passed.
pub fn age_answers(lab: &Lab, seconds: i64) {
    for entry in fs::read_dir(lab.path("run-tools")).unwrap().flatten() {
        if entry.path().extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read_to_string(entry.path()).unwrap();
        let mut answers: Value = serde_json::from_str(&text).unwrap();
        let before = |time: &Value| {
            let time = chrono::DateTime::parse_from_rfc3339(time.as_str().unwrap()).unwrap();
            let before = time.to_utc() - chrono::TimeDelta::seconds(seconds);
            Value::from(before.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
        };
        answers["asked"] = before(&answers["asked"]);
        for (_, entry) in answers["jobs"].as_object_mut().unwrap() {
            entry["wanted"] = before(&entry["wanted"]);
            if !entry["gone_since"].is_null() {
                entry["gone_since"] = before(&entry["gone_since"]);
            }
        }
        fs::write(entry.path(), answers.to_string() + "\n").unwrap();
    }
}
