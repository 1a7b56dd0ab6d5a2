//! Records that older versions wrote: every tool reads them, and says what the version said that wrote them.
//! tests/fixtures/0.1/make has made those of 0.1.0.

use serde_json::{Map, Value};
use std::fs;
use testkit::{Lab, checkout};

/// What is determined about a run that may be running, by the time and the place of the reader.
const CONCLUDED: [&str; 5] = ["status", "reason", "quiet_s", "duration_s", "eta_s"];

/// Makes a lab with the records of a version.
fn lab_of(version: &str) -> Lab {
    let lab = Lab::new();
    let records = checkout().join("tests/fixtures").join(version);
    for directory in ["runs", "eval_runs"] {
        lab.cmd("cp").arg("-a").arg(records.join(directory)).arg(lab.dir()).run().code(0);
    }
    // When the checkpoints were written, which git does not keep.
    let checkpoints = "find . -path '*/checkpoint-*' -exec touch -d 2020-01-29T09:00:00Z {} +";
    lab.cmd("sh").args(["-c", checkpoints]).run().code(0);
    lab
}

/// Returns what a version said.
fn said(lab: &Lab, version: &str, file: &str) -> String {
    let path = checkout().join("tests/fixtures").join(version).join("said").join(file);
    fs::read_to_string(path).unwrap().replace("LAB", lab.dir().to_str().unwrap())
}

fn objects(text: &str) -> Vec<Map<String, Value>> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Expects that all recorded facts are still shown, except determined ones; fields may have been added.
#[track_caller]
fn holds(before: &str, now: &str) {
    let (before, now) = (objects(before), objects(now));
    assert_eq!(before.len(), now.len());
    for (before, now) in before.iter().zip(&now) {
        let may_be_at_work = before["status"] == "stale";
        for (key, value) in
            before.iter().filter(|(key, _)| !(may_be_at_work && CONCLUDED.contains(&key.as_str())))
        {
            if key == "duration_s" && now.get("attempt").or(now.get("attempts")) == Some(&Value::from(2)) {
                // The time of the last attempt then, and of all attempts now.
                assert!(now[key].as_f64() > value.as_f64(), "{}", Value::from(now.clone()));
                continue;
            }
            assert_eq!(now.get(key), Some(value), "{key} of {}", Value::from(before.clone()));
        }
    }
}

#[test]
fn run_status_says_of_the_records_of_0_1_what_0_1_said() {
    let lab = lab_of("0.1");
    let listed = lab.cmd("run-status").args(["-a", "--json"]).run().code(0).stderr("");
    holds(&said(&lab, "0.1", "status.jsonl"), &listed.out());
    let full = lab.cmd("run-status").args(["-a", "--full"]).run().code(0).stderr("");
    holds(&said(&lab, "0.1", "full.jsonl"), &full.out());
    let at_work: Vec<_> =
        objects(&listed.out()).into_iter().filter(|line| line["status"] == "stale").collect();
    for line in &at_work {
        let reason = line["reason"].as_str().unwrap();
        assert!(reason.starts_with("no heartbeat from gpu3 for "), "{reason}");
    }
    assert_eq!(at_work.len(), 2, "those that were recorded as running");
    for log in ["combined", "stdout", "stderr"] {
        let printed = lab.cmd("run-status").args([format!("--log={log}").as_str(), "failed"]).run().code(0);
        printed.stdout(said(&lab, "0.1", &format!("{log}.log"))).stderr("");
    }
    let completed = lab.cmd("run-status").arg("completed").run().code(0).stderr("").out();
    for part in ["a note\n", "checkpoint-3", "accuracy=0.7500 n=4", "exit 4"] {
        assert!(completed.contains(part), "{part}: {completed}");
    }
    let failed = lab.cmd("run-status").arg("failed").run().code(0).stderr("").out();
    assert!(failed.contains("ValueError: no such layer\n"), "{failed}");
    for line in objects(&listed.out()) {
        let details = lab.cmd("run-status").arg(line["path"].as_str().unwrap()).run().code(0).stderr("");
        assert!(details.out().contains(line["run_name"].as_str().unwrap()));
    }
}

#[test]
fn run_report_says_of_the_records_of_0_1_what_0_1_said() {
    let lab = lab_of("0.1");
    let report = lab.cmd("run-report").args(["--format", "json"]).run().code(0).stderr("");
    holds(&said(&lab, "0.1", "report.jsonl"), &report.out());
    for (option, file) in [("--metrics", "metrics.csv"), ("--evals", "evals.csv")] {
        lab.cmd("run-report").arg(option).run().code(0).stdout(said(&lab, "0.1", file)).stderr("");
    }
}

#[test]
fn run_stop_finds_nothing_to_stop_in_the_records_of_0_1() {
    let lab = lab_of("0.1");
    for (run, status) in [("completed", "completed"), ("failed", "failed"), ("stopped", "stopped")] {
        let done = lab.cmd("run-stop").arg(run).run().code(0).stdout(format!("runs/{run}: {status}\n"));
        done.stderr_has("has already ended");
    }
    let done = lab.cmd("run-stop").args(["--no-wait", "--all"]).run().code(0);
    done.stdout("runs/dead: stale\nruns/running: stale\n").stderr("");
    lab.cmd("run-stop").args(["--no-wait", "batch"]).run().code(0).stderr_has("have already ended");
}

#[test]
fn run_exec_goes_on_with_the_records_of_0_1() {
    let lab = lab_of("0.1");
    let here = lab.dir().to_str().unwrap().to_owned();
    let exec = |words: &[&str]| lab.cmd("run-exec").arg("-q").args(words).cwd(&here).run();
    exec(&["created", "--", "true"]).code(0);
    exec(&["completed", "--", "true"]).code(125).stderr_has("it has already run and completed");
    for name in ["failed", "signalled", "stopped", "stopped_before", "resumed", "retried"] {
        let before = lab.status(name)["attempt"].as_u64().unwrap();
        exec(&["--resume", name, "--", "sh", "-c", "echo $RUN_ATTEMPT"]).code(0);
        let now = lab.status(name);
        assert_eq!((now["status"].as_str(), now["attempt"].as_u64()), (Some("completed"), Some(before + 1)));
    }
    let resume = ["--resume", "dead", "--", "true"];
    exec(&resume).code(125).stderr_has("use run-exec --resume --take-over");
    exec(&[&["--take-over"], &resume[..]].concat()).code(0);
    exec(&["--unfinished", "--take-over", "running", "batch", "--", "true"]).code(0);
    let batch = lab.cmd("run-status").args(["--json", "batch"]).run().code(0);
    assert!(objects(&batch.out()).iter().all(|run| run["status"] == "completed"), "{}", batch.out());
    // What was written of earlier attempts stays as it is.
    for name in ["resumed", "retried"] {
        let file = format!("runs/{name}/.run/attempts.jsonl");
        let before = fs::read_to_string(checkout().join("tests/fixtures/0.1").join(&file)).unwrap();
        assert!(lab.read(&file).starts_with(&before), "{name}");
    }
}

#[test]
fn run_eval_goes_on_with_the_records_of_0_1() {
    let lab = lab_of("0.1");
    let record = "eval_runs/completed_score/step_3_score/.eval";
    let meta = lab.json(&format!("{record}/meta.json"));
    let command: Vec<&str> =
        meta["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    let before = lab.read(&format!("{record}/attempts.jsonl"));
    let eval = |options: &[&str], command: &[&str]| {
        lab.cmd("run-eval").arg("--label").args(options).args(["completed", "--"]).args(command).run().code(0)
    };
    eval(&["score"], &command);
    assert_eq!(
        lab.read(&format!("{record}/attempts.jsonl")),
        before,
        "it was evaluated by this command already"
    );
    eval(&["score", "--force"], &["sh", "-c", "echo '{\"accuracy\": 0.25}' >{out}/summary.json"]);
    eval(&["other"], &["sh", "-c", "echo '{\"accuracy\": 0.5}' >{out}/summary.json"]);
    let table = lab.cmd("run-status").arg("completed").run().code(0).out();
    for part in ["accuracy=0.2500", "accuracy=0.5000", "exit 4"] {
        assert!(table.contains(part), "{part}: {table}");
    }
}
