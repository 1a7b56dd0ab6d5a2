//! Runs to report on, and readers of the reports.

use crate::{Lab, checkout};
use serde_json::Value;

/// Creates a run and executes a shell script in it, which may fail.
pub fn ran(lab: &Lab, name: &str, set: &[&str], script: &str) {
    let words = set.iter().flat_map(|pair| ["-s", pair]);
    lab.cmd("run-new")
        .args(["-n", name, "--set-by-env"])
        .args(words)
        .args(["--", "sh", "-c", script])
        .run()
        .code(0);
    lab.cmd("run-exec").args(["-q", name]).run();
}

/// Creates a run that is not executed, with files in it.
pub fn made(lab: &Lab, name: &str, files: &[(&str, &str)]) {
    lab.new_run(name, &["true"]);
    for (file, content) in files {
        lab.write(&format!("runs/{name}/{file}"), content);
    }
}

/// Returns what run-report prints.
pub fn report(lab: &Lab, words: &[&str]) -> String {
    lab.cmd("run-report").args(words).run().code(0).out()
}

/// Returns the lines of a report in JSON.
pub fn objects(lab: &Lab, words: &[&str]) -> Vec<Value> {
    lab.cmd("run-report").args(words).args(["--format", "json"]).run().code(0).json_lines()
}

/// Returns what Python's csv module reads.
pub fn by_python(lab: &Lab, csv: &str) -> Value {
    lab.write("in.csv", csv);
    let program = "import csv, json; print(json.dumps(list(csv.DictReader(open('in.csv', newline='')))))";
    serde_json::from_str(&lab.cmd("python3").args(["-c", program]).run().code(0).out()).unwrap()
}

/// Returns what DuckDB reads, left to find out for itself how the file is written.
pub fn by_duckdb(lab: &Lab, csv: &str) -> Value {
    lab.write("in.csv", csv);
    let program = "import duckdb, json
duckdb.sql('SET enable_progress_bar = false') # it would be in the output when the machine is busy
table = duckdb.read_csv('in.csv', all_varchar=True)
print(json.dumps([dict(zip(table.columns, [cell or '' for cell in row])) for row in table.fetchall()]))";
    let python = checkout().join("target/peers/bin/python3");
    assert!(python.exists(), "'make setup' installs DuckDB below target/");
    serde_json::from_str(&lab.cmd(python).args(["-c", program]).run().code(0).out()).unwrap()
}

/// Returns what Miller reads.
pub fn by_miller(lab: &Lab, csv: &str) -> Value {
    let done = lab
        .cmd("mlr")
        .args(["--icsv", "--ojson", "--infer-none", "--no-auto-unflatten", "cat"])
        .stdin(csv)
        .run()
        .code(0);
    serde_json::from_str(&done.out()).unwrap()
}

/// Writes three rows.
pub const LOSSES: &str = r#"for i in 1 2 3; do echo "{\"step\": $i, \"loss\": $1.$i}" >> $RUN_METRICS; done"#;

/// Four runs of two learning rates and two seeds.
pub fn sweep(lab: &Lab) {
    for (lr, seed) in [("0.1", "1"), ("0.1", "2"), ("1e-3", "1"), ("1e-3", "2")] {
        let script = format!("set -- {seed}; {LOSSES}");
        ran(
            lab,
            &format!("lr={lr}_seed={seed}"),
            &[&format!("lr={lr}"), &format!("seed={seed}"), "bs=8"],
            &script,
        );
    }
}

/// Two runs with a spike, a NaN and names that would be HTML.
pub fn drawn(lab: &Lab) {
    lab.write("a.yaml", "lr: 0.1\nseed: 1\nsame: 5\n");
    lab.write("b.yaml", "lr: 0.2\nseed: 1\nsame: 5\n");
    for (name, config) in [("</script><b>one", "a.yaml"), ("two", "b.yaml")] {
        lab.cmd("run-new").args(["-n", &name.replace('/', "_"), config, "--", "true"]).run().code(0);
        let mut lines = String::new();
        for step in 1..=3000 {
            let loss = if step == 1234 { 9.5 } else { 1.0 / f64::from(step) };
            lines += &format!("{{\"step\": {step}, \"loss\": {loss}, \"<i>\": {step}}}\n");
        }
        if name == "two" {
            lines += "{\"step\": 3001, \"loss\": NaN}\n";
        }
        lab.write(&format!("runs/{}/metrics.jsonl", name.replace('/', "_")), lines);
    }
    lab.new_run("empty", &["true"]);
}
