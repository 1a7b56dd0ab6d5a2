//! run-report: tables, consolidated metrics and evaluations, comparisons, curves, cost.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use testkit::{Lab, checkout};

/// Creates a run and executes a shell script in it, which may fail.
fn ran(lab: &Lab, name: &str, set: &[&str], script: &str) {
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
fn made(lab: &Lab, name: &str, files: &[(&str, &str)]) {
    lab.new_run(name, &["true"]);
    for (file, content) in files {
        lab.write(&format!("runs/{name}/{file}"), content);
    }
}

fn report(lab: &Lab, words: &[&str]) -> String {
    lab.cmd("run-report").args(words).run().code(0).out()
}

/// Returns the lines of a report in JSON.
fn objects(lab: &Lab, words: &[&str]) -> Vec<Value> {
    lab.cmd("run-report").args(words).args(["--format", "json"]).run().code(0).json_lines()
}

/// Returns what Python's csv module reads.
fn by_python(lab: &Lab, csv: &str) -> Value {
    lab.write("in.csv", csv);
    let program = "import csv, json; print(json.dumps(list(csv.DictReader(open('in.csv', newline='')))))";
    serde_json::from_str(&lab.cmd("python3").args(["-c", program]).run().code(0).out()).unwrap()
}

/// Returns what `DuckDB` reads, left to find out for itself how the file is written.
fn by_duckdb(lab: &Lab, csv: &str) -> Value {
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
fn by_miller(lab: &Lab, csv: &str) -> Value {
    let done = lab
        .cmd("mlr")
        .args(["--icsv", "--ojson", "--infer-none", "--no-auto-unflatten", "cat"])
        .stdin(csv)
        .run()
        .code(0);
    serde_json::from_str(&done.out()).unwrap()
}

const LOSSES: &str = r#"for i in 1 2 3; do echo "{\"step\": $i, \"loss\": $1.$i}" >> $RUN_METRICS; done"#;

/// Four runs of two learning rates and two seeds.
fn sweep(lab: &Lab) {
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

#[test]
fn the_table_has_what_varies_and_how_each_run_went() {
    let lab = Lab::new();
    sweep(&lab);
    let shown = report(&lab, &["--columns", "lr,seed,loss,status"]);
    let expected = "\
run            lr     seed  loss.last  loss.best  loss.mean  loss.std  status
lr=0.1_seed=1  0.1    1     1.300      1.100      1.200      0.1000    completed
lr=0.1_seed=2  0.1    2     2.300      2.100      2.200      0.1000    completed
lr=1e-3_seed=1  0.001  1     1.300      1.100      1.200      0.1000    completed
lr=1e-3_seed=2  0.001  2     2.300      2.100      2.200      0.1000    completed
";
    let words = |text: &str| -> Vec<Vec<String>> {
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    assert_eq!(words(&shown), words(expected));
    let lines = objects(&lab, &[]);
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|line| line.get("bs").is_none()), "what all runs share is no column");
    assert_eq!(lines[3]["loss.mean"], json!(2.2));
    let csv = by_python(&lab, &report(&lab, &["--format", "csv"]));
    for (row, line) in csv.as_array().unwrap().iter().zip(&lines) {
        for (key, value) in line.as_object().unwrap() {
            let text = row[key].as_str().unwrap();
            match value {
                Value::Null => assert_eq!(text, "", "{key}"),
                Value::Number(number) => assert_eq!(text.parse::<f64>().ok(), number.as_f64(), "{key}"),
                other => assert_eq!(text, other.as_str().unwrap(), "{key}"),
            }
        }
    }
}

#[test]
fn groups_have_mean_and_spread_over_their_runs() {
    let lab = Lab::new();
    sweep(&lab);
    ran(&lab, "nan", &["lr=0.1", "seed=3"], r#"echo '{"step": 1, "loss": NaN}' >> $RUN_METRICS"#);
    let lines = objects(&lab, &["--group-by", "lr"]);
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["lr"], &lines[0]["runs"]), (&json!(0.001), &json!(2)));
    assert_eq!(
        (&lines[1]["lr"], &lines[1]["runs"], &lines[1]["completed"]),
        (&json!(0.1), &json!(3), &json!(3))
    );
    for line in &lines {
        assert!((line["loss.last.mean"].as_f64().unwrap() - 1.8).abs() < 1e-12);
        assert!((line["loss.last.std"].as_f64().unwrap() - 0.5_f64.sqrt()).abs() < 1e-12);
        assert_eq!(line["loss.last.count"], json!(2));
    }
    let of = |words: &[&str]| objects(&lab, &[&["--group-by", "lr"], words].concat());
    let keys: Vec<String> =
        of(&["--columns", "loss.last,runs"])[0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["lr", "loss.last.mean", "loss.last.std", "runs"]);
    let both = objects(&lab, &["--group-by", "lr,seed", "--columns", "runs"]);
    assert_eq!(both[3], json!({"lr": 0.1, "seed": 2, "runs": 1}));
    for by in ["runs:desc", "loss:desc", "loss.last:desc", "loss.last.mean:desc"] {
        assert_eq!(of(&["--sort", by]).len(), 2, "{by}");
    }
    let by_status = objects(&lab, &["--group-by", "status,bs"]);
    assert_eq!(by_status.iter().map(|line| line["runs"].clone()).collect::<Vec<_>>(), [json!(4), json!(1)]);
}

#[test]
fn what_all_runs_share_is_a_column_when_it_is_asked_for() {
    let lab = Lab::new();
    sweep(&lab);
    let host = lab.json("runs/lr=0.1_seed=1/.run/meta.json")["host"].as_str().unwrap().to_owned();
    let lines = objects(&lab, &["--columns", "host,bs", "--sort", "bs"]);
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0], json!({"run": "lr=0.1_seed=1", "host": host, "bs": 8}));
    let groups = objects(&lab, &["--group-by", "host,bs"]);
    assert_eq!((groups.len(), &groups[0]["runs"], &groups[0]["bs"]), (1, &json!(4), &json!(8)));
    lab.cmd("run-report")
        .args(["--group-by", "hosts"])
        .run()
        .code(2)
        .stdout("")
        .stderr_has("no run has 'hosts'");
}

#[test]
fn a_name_means_a_metric_before_what_all_runs_share_and_never_a_part_of_one() {
    let lab = Lab::new();
    for (name, loss) in [("a", 2), ("b", 1)] {
        let script = format!("echo '{{\"loss\": {loss}, \"loss.ce\": 7, \"val.acc\": 0.5}}' >> $RUN_METRICS");
        ran(&lab, name, &["loss=mse", "lr=1"], &script);
    }
    let lines = objects(&lab, &["--sort", "loss", "--columns", "loss"]);
    let expected = json!({"run": "b", "loss.last": 1, "loss.best": 1, "loss.mean": 1, "loss.std": null});
    assert_eq!(lines[0], expected);
    assert_eq!(objects(&lab, &["--columns", "config.loss"])[0], json!({"run": "a", "config.loss": "mse"}));
    assert_eq!(objects(&lab, &["--group-by", "loss"])[0]["loss"], "mse");
    lab.cmd("run-report").args(["--columns", "val"]).run().code(2).stderr_has("no run has 'val'");
}

#[test]
fn a_loss_that_becomes_nan_is_seen_and_json_stays_strict() {
    let lab = Lab::new();
    let script = r#"for v in 0.9 0.2 0.4 NaN Infinity; do echo "{\"step\": 1, \"loss\": $v}" >> $RUN_METRICS; done; exit 1"#;
    ran(&lab, "diverged", &[], script);
    let line = &objects(&lab, &[])[0];
    assert_eq!((&line["loss.last"], &line["loss.best"]), (&Value::Null, &json!(0.2)));
    assert_eq!((&line["loss.nonfinite"], &line["loss.count"]), (&json!(2), &json!(3)));
    let csv = by_python(&lab, &report(&lab, &["--format", "csv"]));
    assert_eq!((&csv[0]["loss.last"], &csv[0]["loss.best"]), (&json!("NaN"), &json!("0.2")));
    let rows = report(&lab, &["--metrics"]);
    assert_eq!(rows.lines().skip(4).collect::<Vec<_>>(), ["diverged,1,NaN", "diverged,1,inf"]);
}

#[test]
fn runs_are_ranked_by_the_best_value_of_a_metric() {
    let lab = Lab::new();
    for (name, values) in [("a", "0.5 0.9"), ("b", "0.7 0.6"), ("c", "0.8 0.1")] {
        ran(
            &lab,
            name,
            &[],
            &format!(r#"for v in {values}; do echo "{{\"acc\": $v, \"loss\": $v}}" >> $RUN_METRICS; done"#),
        );
    }
    ran(&lab, "none", &[], "true");
    let order = |best: &str| -> Vec<String> {
        let lines = objects(&lab, &["--best", best]);
        lines.iter().map(|line| line["run"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(order("acc"), ["a", "c", "b", "none"]);
    assert_eq!(order("loss"), ["c", "a", "b", "none"]);
    assert_eq!(order("loss:max"), ["a", "c", "b", "none"]);
    let sorted = |by: &str| objects(&lab, &["--sort", by])[0]["run"].clone();
    assert_eq!((sorted("loss.last"), sorted("loss.last:desc")), (json!("c"), json!("a")));
    assert_eq!((sorted("loss"), sorted("loss:desc")), (json!("c"), json!("a")));
    lab.cmd("run-report")
        .args(["--best", "los"])
        .run()
        .code(2)
        .stdout("")
        .stderr("run-report: no run has 'los'\nrun-report: --format csv shows all columns there are\n");
}

#[test]
fn every_column_has_a_name_of_its_own() {
    let lab = Lab::new();
    for name in ["a", "b"] {
        let set = ["note", "path", "reason", "step", "loss.last"].map(|key| format!("{key}={name}{key}"));
        let set = set.iter().flat_map(|pair| ["-s", pair]);
        lab.cmd("run-new")
            .args(["-n", name, "--note", name])
            .args(set)
            .args(["--", "true", "{set}"])
            .run()
            .code(0);
        lab.write(&format!("runs/{name}/metrics.jsonl"), "{\"loss\": 0.5}\n");
    }
    let line = &objects(&lab, &[])[1];
    let of = ["note", "run.note", "config.path", "config.reason", "config.step", "config.loss.last"]
        .map(|key| line[key].clone());
    assert_eq!(of, ["bnote", "b", "bpath", "breason", "bstep", "bloss.last"]);
    assert_eq!((&line["step"], &line["reason"], &line["loss.last"]), (&json!(1), &Value::Null, &json!(0.5)));
    assert!(line["path"].as_str().unwrap().ends_with("/runs/b"), "{line}");
    let csv = report(&lab, &["--format", "csv"]);
    let head: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    assert!(head.iter().all(|name| head.iter().filter(|other| *other == name).count() == 1), "{head:?}");
}

#[test]
fn a_table_counts_what_it_does_not_show() {
    let lab = Lab::new();
    for name in ["a", "b"] {
        let set: Vec<String> = (0..10).map(|key| format!("k{key}={name}")).collect();
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        ran(
            &lab,
            name,
            &set,
            "echo '{\"m1\": 1, \"m2\": 1, \"m3\": 1, \"m4\": 1, \"m5\": 1}' >> $RUN_METRICS",
        );
    }
    let shown = |words: &[&str]| {
        let done = lab.cmd("run-report").args(words).run().code(0);
        let head = done.out().lines().next().unwrap().to_owned();
        (
            done.err(),
            head.contains("k7"),
            head.contains("k8"),
            head.contains("m3.last"),
            head.contains("m4.last"),
        )
    };
    let said = |what: &str| {
        if what.is_empty() {
            String::new()
        } else {
            format!("run-report: not shown: {what}; --columns chooses, csv and json have all of them\n")
        }
    };
    for (words, expected) in [
        (&[][..], (said("2 more metrics, 2 more settings"), true, false, true, false)),
        (&["--best", "m4:max"], (said("4 more metrics, 2 more settings"), true, false, false, true)),
        (&["--group-by", "k1"], (said("2 more metrics"), false, false, true, false)),
        (&["--group-by", "k1", "--best", "m4:min"], (said("4 more metrics"), false, false, false, true)),
        (&["--format", "csv"], (said(""), true, true, true, true)),
    ] {
        assert_eq!(shown(words), expected, "{words:?}");
    }
}

#[test]
fn six_trainers_do_not_mix() {
    let lab = Lab::new();
    made(&lab, "own", &[("metrics.jsonl", "{\"step\": 1, \"loss\": 1.5}\n{\"step\": 2, \"loss\": 1}\n")]);
    made(&lab, "sb3", &[("progress.csv", "time/total_timesteps,rollout/ep_rew_mean\n64,10.5\n128,\n")]);
    made(
        &lab,
        "lightning",
        &[("lightning_logs/version_0/metrics.csv", "epoch,step,train_loss,val_loss\n0,9,0.5,\n0,9,,0.25\n")],
    );
    made(
        &lab,
        "hf",
        &[(
            "checkpoint-2/trainer_state.json",
            "{\"global_step\": 2, \"log_history\": [{\"step\": 1, \"loss\": 3.5}, {\"step\": 2, \"eval_loss\": 4}]}",
        )],
    );
    made(&lab, "stealth", &[("metrics.jsonl", "{\"step\": 0, \"env/all/reward/total\": 0.5}\n")]);
    made(&lab, "tensorboard", &[]);
    let events = checkout().join("tests/fixtures/tensorboard");
    lab.cmd("cp").arg("-r").arg(events).arg("runs/tensorboard/logs").run().code(0);
    ran(&lab, "failed", &[], "exit 3");
    made(&lab, "created", &[]);
    let lines = objects(&lab, &[]);
    assert_eq!(lines.len(), 8);
    let of = |name: &str| lines.iter().find(|line| line["run"] == name).unwrap();
    assert_eq!((&of("own")["loss.last"], &of("hf")["loss.last"]), (&json!(1), &json!(3.5)));
    assert_eq!((&of("sb3")["rollout/ep_rew_mean.count"], &of("sb3")["step"]), (&json!(1), &json!(128)));
    assert_eq!(
        (&of("lightning")["val_loss.last"], &of("lightning")["loss.last"]),
        (&json!(0.25), &Value::Null)
    );
    assert_eq!(of("stealth")["env/all/reward/total.best"], json!(0.5));
    assert_eq!((&of("failed")["status"], &of("failed")["reason"]), (&json!("failed"), &json!("exit 3")));
    let columns: Vec<&String> = lines[0]
        .as_object()
        .unwrap()
        .keys()
        .filter(|key| key.rsplit_once('.').is_some_and(|(_, of)| of == "last"))
        .collect();
    for name in ["failed", "created"] {
        assert!(columns.iter().all(|column| of(name)[column.as_str()].is_null()), "{name}");
    }
    assert!(columns.iter().any(|column| !of("tensorboard")[column.as_str()].is_null()), "{lines:?}");
    let table =
        by_python(&lab, &report(&lab, &["--metrics", "own", "sb3", "lightning", "hf", "stealth", "created"]));
    let expected = json!([
        {"run": "own", "step": "1", "loss": "1.5"}, {"run": "own", "step": "2", "loss": "1"},
        {"run": "sb3", "step": "64", "time/total_timesteps": "64", "rollout/ep_rew_mean": "10.5"},
        {"run": "sb3", "step": "128", "time/total_timesteps": "128"},
        {"run": "lightning", "step": "9", "epoch": "0", "train_loss": "0.5"},
        {"run": "lightning", "step": "9", "epoch": "0", "val_loss": "0.25"},
        {"run": "hf", "step": "1", "loss": "3.5"}, {"run": "hf", "step": "2", "eval_loss": "4"},
        {"run": "stealth", "step": "0", "env/all/reward/total": "0.5"},
    ]);
    let filled = |row: &Value| -> Value {
        row.as_object()
            .unwrap()
            .iter()
            .filter(|(_, cell)| *cell != "")
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    };
    assert_eq!(Value::Array(table.as_array().unwrap().iter().map(filled).collect()), expected);
}

#[test]
fn a_resumed_run_is_one_series_without_zigzag() {
    let lab = Lab::new();
    let program = r#"a=1; b=5; [ $RUN_ATTEMPT = 2 ] && a=4 && b=8
        i=$a; while [ $i -le $b ]; do echo "{\"step\": $i, \"loss\": $RUN_ATTEMPT}" >> $RUN_METRICS; i=$((i + 1)); done
        [ $b = 8 ]"#;
    ran(&lab, "resumed", &[], program);
    lab.cmd("run-exec").args(["-q", "--resume", "resumed"]).run().code(0);
    let rows = report(&lab, &["--metrics"]);
    let steps: Vec<&str> = rows.lines().skip(1).collect();
    let expected: Vec<String> =
        (1..=8).map(|step| format!("resumed,{step},{}", if step < 4 { 1 } else { 2 })).collect();
    assert_eq!(steps, expected);
    // The curve is the same; the file has the rows of both attempts.
    let document: Value = serde_json::from_str(&report(&lab, &["--export", "-"])).unwrap();
    let curve = &document["runs"][0]["curves"][0];
    assert_eq!(curve["step"], json!([1, 2, 3, 4, 5, 6, 7, 8]));
    assert_eq!(curve["min"], json!([1, 1, 1, 2, 2, 2, 2, 2]));
    let written: Vec<Value> =
        lab.json_lines("runs/resumed/metrics.jsonl").iter().map(|row| row["step"].clone()).collect();
    assert_eq!(Value::from(written), json!([1, 2, 3, 4, 5, 4, 5, 6, 7, 8]));
}

#[test]
fn every_row_comes_back_from_the_csv() {
    let lab = Lab::new();
    let lines = r#"{"step": 1, "note": "a,b", "run": "x"}
{"step": 2, "note": "say \"hi\"\nthere", "loss": 0.1}
{"step": 3, "note": "=1+2", "loss": 12345678901234567890}
{"step": 4, "note": "", "tags": [1, "x"]}
{"loss": 1e-3, "ünï": -0.0}
{"step": 6, "loss": 1.0E+2, "ok": true, "none": null}
garbage
{"step": 7, "loss": "NaN"}
{"epoch": 2, "loss": -Infinity}
{"step": 8, "loss": 1"#;
    made(&lab, "odd, \"name\"", &[("metrics.jsonl", lines)]);
    let done = lab.cmd("run-report").arg("--metrics").run().code(0);
    assert!(
        done.err().contains("1 line of 'runs/odd, \"name\"' cannot be read and is left out"),
        "{}",
        done.err()
    );
    let rows = by_python(&lab, &done.out());
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 8);
    assert!(rows.iter().all(|row| row["run"] == "odd, \"name\""));
    let column = |name: &str| -> Vec<&str> { rows.iter().map(|row| row[name].as_str().unwrap()).collect() };
    assert_eq!(column("step"), ["1", "2", "3", "4", "5", "6", "7", "2"]);
    assert_eq!(column("note"), ["a,b", "say \"hi\"\nthere", "=1+2", "", "", "", "", ""]);
    assert_eq!(column("loss"), ["", "0.1", "12345678901234567890", "", "1e-3", "1.0E+2", "NaN", "-inf"]);
    assert_eq!(column("metric.run")[0], "x");
    assert_eq!(column("tags")[3], "[1,\"x\"]");
    assert_eq!(
        (column("ünï")[4], column("ok")[5], column("none")[5], column("epoch")[7]),
        ("-0.0", "true", "", "2")
    );
}

#[test]
fn two_columns_with_one_name_are_two_metrics() {
    let lab = Lab::new();
    made(
        &lab,
        "lines",
        &[(
            "metrics.jsonl",
            "{\"run\": \"x\\n\", \"metric.run\": 1, \"loss\": 2}\n{\"run\": 3, \"metric.run\": 4, \"loss\": 5}\n",
        )],
    );
    made(&lab, "table", &[("metrics.csv", "step,loss,loss\n1,2,3\n")]);
    let expected = "run,step,metric.run,loss,loss.1\nlines,1,1,2,\nlines,2,4,5,\ntable,1,,2,3\n";
    lab.cmd("run-report").arg("--metrics").run().code(0).stdout(expected).stderr("");
}

#[test]
fn a_header_may_grow_over_a_thousand_runs() {
    let lab = Lab::new();
    let model = lab.new_run("model", &["true"]);
    for number in 0..1000 {
        let run = format!("runs/r{number:04}");
        let copied = lab.path(&run).join(".run");
        fs::create_dir_all(&copied).unwrap();
        for file in ["meta.json", "status.json"] {
            fs::copy(lab.path(&model).join(".run").join(file), copied.join(file)).unwrap();
        }
        lab.write(
            &format!("{run}/metrics.jsonl"),
            format!("{{\"step\":1,\"loss\":{number}}}\n{{\"step\":2,\"k{number}\":{number}}}\n"),
        );
    }
    let csv = report(&lab, &["--metrics"]);
    assert_eq!(csv.lines().next().unwrap().split(',').count(), 2 + 1 + 1000);
    let rows = by_python(&lab, &csv);
    assert!(by_duckdb(&lab, &csv) == rows, "read otherwise");
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 2000);
    for (number, pair) in rows.chunks(2).enumerate() {
        let filled = |row: &Value| row.as_object().unwrap().values().filter(|cell| *cell != "").count();
        assert_eq!((filled(&pair[0]), filled(&pair[1])), (3, 3));
        assert_eq!(pair[0]["loss"], json!(number.to_string()));
        assert_eq!(pair[1][format!("k{number}")], json!(number.to_string()));
    }
}

#[test]
fn long_files_are_the_same_in_pieces() {
    let lab = Lab::new();
    let mut expected = String::from("run,step,loss,note\n");
    let mut lines = String::new();
    for step in 0..40_000 {
        // Lines of all lengths, so that pieces end everywhere in them.
        let note = "x".repeat(step % 97);
        if step % 3 == 0 {
            lines += &format!("{{\"step\": {step}, \"loss\": {step}.5, \"note\": \"{note}\"}}\n");
            expected += &format!("long,{step},{step}.5,{}\n", if note.is_empty() { "\"\"" } else { &note });
        } else {
            lines += &format!("{{\"step\": {step}, \"loss\": {step}}}\n");
            expected += &format!("long,{step},{step},\n");
        }
    }
    let huge = "y".repeat(700_000);
    lines += &format!("{{\"step\": 40000, \"note\": \"{huge}\"}}\n{{\"step\": 40001, \"loss\": 7}}\n");
    expected += &format!("long,40000,,{huge}\nlong,40001,7,\n");
    made(&lab, "long", &[("metrics.jsonl", &lines)]);
    made(&lab, "short", &[("metrics.jsonl", "{\"loss\": 1}\n{\"loss\": 2}\n")]);
    expected += "short,1,1,\nshort,2,2,\n";
    assert!(report(&lab, &["--metrics"]) == expected);
}

/// Prints all rows to a file that holds a line and cannot shrink; returns what comes after the line.
fn metrics_in_a_file(lab: &Lab) -> String {
    let file = memfd_create("out", MemfdFlags::ALLOW_SEALING).unwrap();
    fcntl_add_seals(&file, SealFlags::SHRINK).unwrap();
    let mut file = File::from(file);
    file.write_all(b"before\n").unwrap();
    lab.cmd("run-report").arg("--metrics").stdout_to(file.try_clone().unwrap()).run().code(0).stderr("");
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text.strip_prefix("before\n").unwrap().to_owned()
}

#[test]
fn a_file_gets_what_a_pipe_gets_and_nothing_is_taken_back_from_it() {
    let lab = Lab::new();
    let rows = |middle: &str| {
        let row = |step: usize| format!("{{\"step\": {step}, \"loss\": 0.5}}\n");
        (0..10_000).map(|step| if step == 7_000 { middle.to_owned() } else { row(step) }).collect::<String>()
    };
    made(&lab, "first", &[]);
    made(&lab, "second", &[("metrics.jsonl", "{\"step\": 1, \"loss\": 2}\n{\"step\": 2, \"other\": 3}\n")]);
    // In the middle of a file: a column that is nowhere else; one that is elsewhere, but later; a row whose
    // number is its step.
    for (middle, header, row) in [
        ("{\"step\": 7000, \"rare\": 1}\n", "run,step,loss,rare,other", "first,7000,,1,"),
        ("{\"step\": 7000, \"b\": 1, \"other\": 2}\n", "run,step,loss,b,other", "first,7000,,1,2"),
        ("{\"step\": 7000, \"other\": 2, \"loss\": [1]}\n", "run,step,loss,other", "first,7000,[1],2"),
        ("{\"loss\": 1}\n", "run,step,loss,other", "first,7001,1,"),
    ] {
        lab.write("runs/first/metrics.jsonl", rows(middle));
        let printed = report(&lab, &["--metrics"]);
        let mut lines = printed.lines();
        assert_eq!((lines.next(), lines.nth(7_000)), (Some(header), Some(row)));
        assert!(metrics_in_a_file(&lab) == printed, "{header}");
    }
}

#[test]
fn one_bad_run_does_not_hide_the_others() {
    let lab = Lab::new();
    made(&lab, "good", &[("metrics.jsonl", "{\"step\": 1, \"loss\": 2}\n")]);
    made(&lab, "bad", &[(".run/status.json", "{")]);
    let done = lab.cmd("run-report").arg("--metrics").run().code(3).stdout("run,step,loss\ngood,1,2\n");
    assert!(done.err().contains("status.json"), "{}", done.err());
    lab.cmd("run-report")
        .args(["missing", "good", "--columns", "status"])
        .run()
        .code(3)
        .stdout("run   status\ngood  created\n");
    let names = "{\"path\":\"runs/good\"}\n";
    lab.cmd("run-report")
        .args(["-", "--columns", "loss.last"])
        .stdin(names)
        .run()
        .code(0)
        .stdout("run   loss.last\ngood  2\n");
    lab.cmd("run-report")
        .args(["-d", "nowhere"])
        .run()
        .code(0)
        .stderr("run-report: no runs: there is no directory 'nowhere'\n");
}

#[test]
fn metrics_that_cannot_be_read_are_said_in_every_mode() {
    let lab = Lab::new();
    made(&lab, "good", &[("metrics.jsonl", "{\"step\": 1, \"loss\": 2}\n{\"step\": 2, \"loss\": 1}\n")]);
    made(&lab, "secret", &[("metrics.jsonl", "{\"step\": 1, \"loss\": 2}\n")]);
    lab.set_mode("runs/secret/metrics.jsonl", 0);
    for words in [
        &[][..],
        &["--format", "csv"],
        &["--group-by", "status"],
        &["--compare", "good", "secret"],
        &["--metrics"],
        &["--plot", "loss"],
        &["--svg", "-"],
        &["--html", "-"],
        &["--export", "-"],
        &["--cost", "--rate", "1"],
    ] {
        let done = lab.cmd_by_somebody("run-report").args(words).run().code(3);
        let expected = "run-report: cannot read the metrics of 'runs/secret': Permission denied\n";
        assert_eq!(
            (done.err().as_str(), done.out().contains("good") || words[0] == "--group-by"),
            (expected, true),
            "{words:?}"
        );
    }
}

#[test]
fn damaged_lines_are_counted_in_every_mode() {
    let lab = Lab::new();
    let lines = "{\"step\": 1, \"loss\": 2}\n{\"step\": 2, \"lo\n{\"step\": 3, \"loss\": 1}\n\0\u{ff}\n";
    made(&lab, "a", &[("metrics.jsonl", lines)]);
    made(&lab, "b", &[("metrics.jsonl", "{\"step\": 1, \"loss\": 2}\n{\"step\": 1, \"lo")]);
    for words in [
        &[][..],
        &["--compare"],
        &["--metrics"],
        &["--plot", "loss"],
        &["--html", "-"],
        &["--export", "-"],
        &["--cost", "--rate", "1"],
    ] {
        let done = lab.cmd("run-report").args(words).run().code(0);
        assert_eq!(
            done.err(),
            "run-report: 2 lines of 'runs/a' cannot be read and are left out\n",
            "{words:?}"
        );
    }
}

#[test]
fn runs_are_called_the_same_and_count_once_however_they_are_named() {
    let lab = Lab::new();
    lab.write("base.yaml", "lr: 0\n");
    let sweep = ["-b=sweep", "--sweep", "lr=1,2", "base.yaml", "--", "true", "{set}"];
    lab.cmd("run-new").args(sweep).run().code(0);
    lab.new_run("one", &["true"]);
    let here = lab.dir().to_str().unwrap();
    let batch = "run\nsweep/base_lr-1\nsweep/base_lr-2\n";
    let lines = lab.cmd("run-status").args(["-a", "--json", "sweep"]).run().code(0).out();
    for (operands, stdin) in [
        (vec!["sweep"], ""),
        (vec!["runs/sweep"], ""),
        (vec!["./runs/sweep/"], ""),
        (vec![&format!("{here}/runs/sweep")], ""),
        (vec!["sweep", "base_lr-1", "runs/sweep/base_lr-2", "runs/../runs/sweep"], ""),
        (vec!["-"], "sweep\nruns/sweep/base_lr-2\n"),
        (vec!["-"], lines.as_str()),
        (vec!["-0", "-"], "base_lr-1\0base_lr-2\0"),
    ] {
        let words = operands.iter().chain(&["--format", "csv", "--columns", "run"]);
        lab.cmd("run-report").args(words).stdin(stdin).run().code(0).stdout(batch).stderr("");
    }
    // Elsewhere, too.
    let named = |cwd: &str, words: &[&str]| -> String {
        let words = [words, &["--format", "csv", "--columns", "run"]].concat();
        lab.cmd("run-report").args(words).cwd(lab.path(cwd)).run().code(0).out()
    };
    assert_eq!(named("runs/sweep/base_lr-1", &["."]), "run\nsweep/base_lr-1\n");
    assert_eq!(named("runs/one", &["./"]), "run\none\n");
    assert_eq!(named("runs", &["./sweep"]), batch);
    assert_eq!(named("runs", &["-d", "."]), format!("run\none\n{}", &batch[4..]));
    // Where nothing is named, that is said.
    for mode in [&[][..], &["--metrics"], &["--cost"], &["--group-by", "status"]] {
        let done = lab.cmd("run-report").args(mode).arg("-").stdin("").run().code(0);
        assert_eq!(done.err(), "run-report: no runs: the operands name none\n", "{mode:?}");
    }
}

#[test]
fn a_comparison_shows_what_differs_alone() {
    let lab = Lab::new();
    lab.write("a.yaml", "seed: 1\ntrain:\n  lr: 0.1\n  steps: 5\n");
    lab.write("b.yaml", "seed: 1\ntrain:\n  lr: 0.2\n  steps: 5\n");
    for name in ["a", "b"] {
        let script =
            format!("echo '{{\"step\": 1, \"loss\": {}}}' >> $RUN_METRICS", if name == "a" { 2 } else { 1 });
        let config = format!("{name}.yaml");
        lab.cmd("run-new").args(["-n", name, &config, "--", "sh", "-c", &script]).run().code(0);
        lab.cmd("run-exec").args(["-q", name]).run().code(0);
    }
    let lines = objects(&lab, &["--compare", "a", "b"]);
    let row = |key: &str| lines.iter().find(|line| line["key"] == key);
    assert_eq!(row("train.lr").unwrap(), &json!({"what": "config", "key": "train.lr", "a": 0.1, "b": 0.2}));
    assert_eq!(row("loss.best").unwrap(), &json!({"what": "result", "key": "loss.best", "a": 2, "b": 1}));
    assert!(row("train.steps").is_none() && row("seed").is_none() && row("status").is_none());
    let table = report(&lab, &["--compare", "a", "b"]);
    let best = table.lines().find(|line| line.contains("loss.best")).unwrap();
    assert_eq!(best.split_whitespace().collect::<Vec<_>>(), ["result", "loss.best", "2", "1", "*"]);
    // NaN is no difference from NaN.
    for name in ["c", "d"] {
        made(&lab, name, &[("metrics.jsonl", "{\"loss\": NaN}\n")]);
    }
    assert_eq!(report(&lab, &["--compare", "c", "d", "--format", "json"]), "");
    lab.cmd("run-report")
        .args(["--compare", "a"])
        .run()
        .code(2)
        .stderr("run-report: --compare takes two runs or more\n");
    lab.cmd("run-report")
        .args(["--compare", "a", "missing"])
        .run()
        .code(3)
        .stdout("")
        .stderr_has("--compare takes two runs or more");
}

/// Opens a page in Chromium, takes steps in it, and returns the value of each `eval` of them.
fn browse(lab: &Lab, page: &str, size: (u32, u32), steps: &Value) -> Vec<Value> {
    let driver = checkout().join("tests/fixtures/page.py");
    let (width, height) = (size.0.to_string(), size.1.to_string());
    let words = [driver.to_str().unwrap(), page, &width, &height, "page.png"];
    let done = lab.cmd("python3").args(words).stdin(steps.to_string()).run().code(0);
    let found: Value = serde_json::from_str(&done.out()).unwrap();
    assert_eq!((&found["network"], &found["errors"]), (&json!([]), &json!([])));
    assert!(lab.bytes("page.png").len() > 10_000);
    found["values"].as_array().unwrap().clone()
}

/// Two runs with a spike, a NaN and names that would be HTML.
fn drawn(lab: &Lab) {
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

#[test]
fn the_page_opens_from_disk_and_can_be_used() {
    let lab = Lab::new();
    drawn(&lab);
    lab.cmd("run-report").args(["--html", "page.html"]).run().code(0).stdout("").stderr("");
    let box_of = "(() => { const b = document.querySelector('canvas').getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })()";
    let at = browse(&lab, "page.html", (1280, 900), &json!([["eval", box_of]]));
    let number = |index: usize| at[0][index].as_f64().unwrap();
    let (left, top, width) = (number(0), number(1), number(2));
    let (from, to, y) = (left + 56.0 + 20.0, left + width / 2.0, top + 100.0);
    let tip = "document.getElementById('tip').textContent";
    let heads = "[...document.querySelectorAll('#table tbody th')].map(cell => cell.textContent)";
    let values = browse(
        &lab,
        "page.html",
        (1280, 900),
        &json!([
            ["eval", "document.title"],
            ["eval", "document.documentElement.scrollWidth <= window.innerWidth"],
            [
                "eval",
                "[...document.querySelectorAll('figcaption')].map(one => one.firstChild.textContent.trim())"
            ],
            ["eval", "[...document.querySelectorAll('#runs span')].map(one => one.textContent)"],
            ["move", left + width - 3.0, y],
            ["eval", tip],
            ["eval", "document.querySelectorAll('#tip i').length"],
            ["eval", "charts[0].range()"],
            ["click", "#trim"],
            ["eval", "charts[0].range().y[1] < 0.1"],
            ["click", "#trim"],
            ["drag", from, y, to],
            ["eval", "chosen.zoom[1] < 2000 && chosen.zoom[0] > 1"],
            ["eval", "charts[0].range().x[1] < 2000"],
            ["click", "#reset"],
            ["eval", "chosen.zoom"],
            ["click", "#logy"],
            ["eval", "charts[0].range().y[0] > 0"],
            ["click", "#logx"],
            ["eval", "[chosen.logx, chosen.logy]"],
            ["click", "#runs li:nth-child(1) input"],
            ["eval", "charts[0].visible().length"],
            ["eval", "[...document.querySelectorAll('#settings thead th')].map(cell => cell.textContent)"],
            ["click", "#all"],
            ["eval", "[...document.querySelectorAll('#settings tbody th')].map(cell => cell.textContent)"],
            ["eval", heads],
            ["click", "#table th:nth-child(1)"],
            ["click", "#table th:nth-child(1)"],
            ["eval", heads],
            ["eval", "[...document.querySelectorAll('#table td.bad')].map(cell => cell.textContent)"],
            [
                "eval",
                "[...document.querySelectorAll('#provenance tbody th')].some(cell => cell.textContent === 'host')"
            ],
            ["click", "#dark"],
            ["eval", "getComputedStyle(document.body).backgroundColor"],
        ]),
    );
    let expected =
        [json!("3 runs"), json!(true), json!(["loss", "<i>"]), json!(["<_script><b>one", "empty", "two"])];
    assert_eq!(values[..4], expected);
    let shown = values[4].as_str().unwrap();
    assert!(shown.contains("<_script><b>one") && shown.contains("two  NaN  at 3001"), "{shown}");
    assert_eq!(values[5], json!(2), "a mark of its colour for each run");
    assert_eq!((&values[6]["x"], &values[6]["y"][1]), (&json!([1, 3001]), &json!(9.5)), "a spike is kept");
    assert_eq!(values[7], json!(true), "without outliers");
    let rest = [
        json!(true),
        json!(true),
        Value::Null,
        json!(true),
        json!([true, true]),
        json!(1),
        json!(["", "empty", "two"]),
        json!(["lr"]),
        json!(["<_script><b>one", "empty", "two"]),
        json!(["two", "empty", "<_script><b>one"]),
        json!(["NaN"]),
        json!(true),
        json!("rgb(21, 23, 28)"),
    ];
    // Settings of a run without a config differ in everything.
    assert_eq!(values[8..15], rest[..7]);
    assert_eq!(values[15], json!(["lr", "seed", "same"]));
    assert_eq!(values[16..], rest[8..]);
    let phone = json!([
        ["eval", "document.documentElement.scrollWidth"],
        ["eval", "document.querySelector('canvas').clientWidth > 300"]
    ]);
    assert_eq!(browse(&lab, "page.html", (390, 844), &phone), [json!(390), json!(true)]);
    lab.nothing_left();
}

#[test]
fn a_page_of_fifty_runs_and_a_million_rows_stays_small_and_opens() {
    let lab = Lab::new();
    let rows: String = (0..20_000)
        .map(|step| {
            format!(
                "{{\"step\": {step}, \"loss\": {}, \"lr\": 0.{step}, \"acc\": 0.{}}}\n",
                1.0 / f64::from(step + 1),
                step * 7
            )
        })
        .collect();
    for number in 0..50 {
        made(&lab, &format!("run{number}"), &[("metrics.jsonl", &rows)]);
    }
    let spike = rows.replace("\"step\": 11111, \"loss\": ", "\"step\": 11111, \"loss\": 5");
    lab.write("runs/run7/metrics.jsonl", spike);
    lab.cmd("run-report").args(["--html", "page.html"]).run().code(0);
    assert!(lab.bytes("page.html").len() < 5_000_000);
    let steps = json!([
        ["eval", "charts.length"],
        ["eval", "charts[0].visible().length"],
        ["eval", "charts[0].range().x"],
        ["eval", "document.querySelectorAll('figcaption small')[0].textContent"],
        // Halfway up a spike of one row in one of fifty runs, there is ink.
        [
            "eval",
            "(() => { const c = charts[0], x = c.scale.x.there(11111), y = c.scale.y.there(25); \
              const dots = c.canvas.getContext('2d').getImageData(x - 3, y, 7, 1).data; \
              return [...dots].some((value, i) => i % 4 === 3 && value > 100); })()"
        ]
    ]);
    let values = browse(&lab, "page.html", (1280, 900), &steps);
    assert_eq!(values[..3], [json!(3), json!(50), json!([0, 19_999])]);
    assert!(values[3].as_str().unwrap().starts_with("least and greatest of up to "));
    assert_eq!(values[4], json!(true));
}

#[test]
fn a_page_of_many_metrics_stays_small() {
    let lab = Lab::new();
    let cells = |text: &dyn Fn(u32) -> String| (0..200).map(text).collect::<Vec<_>>().join(",");
    let head = cells(&|metric| format!("layer{metric}/norm"));
    let rows: String = (0..300)
        .map(|step| format!("{step},{}\n", cells(&|metric| format!("0.{}", step * 7 + metric))))
        .collect();
    for number in 0..8 {
        made(&lab, &format!("r{number}"), &[("metrics.csv", &format!("step,{head}\n{rows}"))]);
    }
    lab.cmd("run-report").args(["--html", "page.html"]).run().code(0);
    let size = lab.bytes("page.html").len();
    assert!(size < 8_000_000, "{size}");
    let one = report(&lab, &["--html", "-", "--plot", "layer7/norm"]);
    assert!(one.contains("\"rows_each\":1,") && one.len() < 2_000_000, "{}", one.len());
}

#[test]
fn curves_are_drawn_in_characters_and_say_what_was_done_to_them() {
    let lab = Lab::new();
    drawn(&lab);
    let done =
        lab.cmd("run-report").args(["--plot", "loss", "--log", "--smooth", "0.9", "two"]).run().code(0);
    let shown = done.out();
    assert!(shown.contains("loss (log scale, smoothed, weight 0.9)"), "{shown}");
    assert!(shown.contains("two (3001 rows, least and greatest of every 4, 1 not finite (x))"), "{shown}");
    assert!(shown.lines().nth(1).unwrap().ends_with('x') && shown.contains('⣀'), "{shown}");
    let several = report(&lab, &["--plot", "loss,<i>"]);
    assert!(
        several.contains("a <_script><b>one") && several.contains("c two") && !several.contains('\u{1b}'),
        "{several}"
    );
    lab.cmd("run-report")
        .args(["--plot", "los"])
        .run()
        .code(1)
        .stdout("")
        .stderr("run-report: no run has 'los'\n");
}

#[test]
fn svg_and_export_are_whole_documents() {
    let lab = Lab::new();
    drawn(&lab);
    lab.cmd("run-report").args(["--svg", "curves.svg"]).run().code(0).stdout("");
    let program = "import xml.dom.minidom as x; d = x.parse('curves.svg'); print([t.firstChild.data for t in d.getElementsByTagName('title')])";
    let titles = lab.cmd("python3").args(["-c", program]).run().code(0).out();
    assert_eq!(titles, "['<_script><b>one', 'two', '<_script><b>one', 'two']\n");
    let svg = lab.read("curves.svg");
    assert!(svg.contains("two (3001 rows, least and greatest of every 4, 1 not finite (x))"), "{svg}");
    // A run looks the same in every panel, also where others lack the metric.
    made(&lab, "above", &[("metrics.jsonl", "{\"step\": 1, \"<i>\": 1}\n")]);
    let pens = |metric: &str| -> Vec<String> {
        let svg = report(&lab, &["--svg", "-", "--plot", metric]);
        let lines = svg.lines().filter(|line| line.ends_with("<title>two</title>"));
        lines.map(|line| line.split('"').nth(1).unwrap().to_owned()).collect()
    };
    assert_eq!((pens("loss"), pens("loss").len()), (pens("<i>"), 1));
    let document: Value = serde_json::from_str(&report(&lab, &["--export", "-", "two"])).unwrap();
    let curve = &document["runs"][0]["curves"][0];
    assert_eq!(
        (&curve["metric"], &curve["rows"], &curve["rows_each"]),
        (&json!("loss"), &json!(3001), &json!(1))
    );
    assert_eq!(
        (&curve["nonfinite"], &curve["min"][3000], &curve["min"][1233]),
        (&json!([3001]), &Value::Null, &json!(9.5))
    );
    assert_eq!(document["runs"][0]["settings"], json!({"lr": 0.2, "seed": 1, "same": 5}));
    lab.cmd("run-report").args(["--html", "none/x.html"]).run().code(5).stdout("");
    // A name that no run knows is said, and the rest is drawn.
    for option in ["--svg", "--html", "--export"] {
        let done = lab.cmd("run-report").args([option, "-", "--plot", "loss,los"]).run().code(1);
        assert_eq!(done.err(), "run-report: no run has 'los'\n", "{option}");
        assert!(done.out().contains("loss"), "{option}");
    }
    // So is one that has nothing to draw.
    made(&lab, "below", &[("metrics.jsonl", "{\"step\": 1, \"kl\": -1}\n")]);
    for words in [&["--plot", "kl", "--log"][..], &["--plot", "kl", "--log", "--svg", "-"]] {
        let done = lab.cmd("run-report").args(words).run().code(1);
        assert_eq!(done.err(), "run-report: 'kl' has no value that can be drawn\n", "{words:?}");
    }
}

#[test]
fn a_file_is_replaced_whole_a_link_stays_and_a_pipe_is_written_to() {
    let lab = Lab::new();
    made(&lab, "a", &[("metrics.jsonl", "{\"step\": 1, \"loss\": 2}\n{\"step\": 2, \"loss\": 1}\n")]);
    lab.write("there/page", "old");
    std::os::unix::fs::symlink("there/page", lab.path("page.html")).unwrap();
    lab.cmd("mkfifo").arg("pipe").run().code(0);
    for (option, begin) in [("--html", "<!DOCTYPE html>"), ("--svg", "<svg "), ("--export", "{")] {
        lab.cmd("run-report").args([option, "page.html"]).run().code(0).stdout("").stderr("");
        assert!(lab.read("there/page").starts_with(begin));
        assert!(lab.path("page.html").is_symlink());
        let reader = lab.cmd("cat").arg("pipe").spawn();
        lab.cmd("run-report").args([option, "pipe"]).run().code(0);
        assert!(reader.wait().out().starts_with(begin));
        for out in ["-", "/dev/stdout", "/dev/fd/1"] {
            assert!(report(&lab, &[option, out]).starts_with(begin), "{out}");
        }
        lab.cmd("run-report").args([option, "there"]).run().code(5).stderr_has("cannot write 'there'");
    }
    let left = fs::read_dir(lab.path("there")).unwrap().count();
    assert_eq!(left, 1, "nothing beside the file");
}

#[test]
fn evaluations_of_all_runs_are_one_table() {
    let lab = Lab::new();
    for name in ["a", "b"] {
        made(&lab, name, &[]);
        let id = lab.json(&format!("runs/{name}/.run/meta.json"))["run_id"].as_str().unwrap().to_owned();
        lab.write(&format!("eval_runs/{name}_math/eval_config.yaml"), format!("run_id: {id}\nlabel: math\n"));
    }
    lab.write(
        "eval_runs/a_math/consolidated_metrics.csv",
        "step,pass@1,note\n5,0.5,\"x,\n\"\"y\"\"\"\n10,,\n",
    );
    lab.write("eval_runs/b_math/consolidated_metrics.csv", "step,label,bleu\n5,=1,0.25\n7,1\n");
    // A label under which nothing was evaluated yet is passed over.
    lab.cmd("cp").args(["-r", "eval_runs/a_math", "eval_runs/a_new"]).run().code(0);
    fs::remove_file(lab.path("eval_runs/a_new/consolidated_metrics.csv")).unwrap();
    lab.write("eval_runs/a_other/eval_config.yaml", "run_id: another\n");
    lab.write("eval_runs/a_other/consolidated_metrics.csv", "step,x\n1,1\n");
    let done = lab.cmd("run-report").arg("--evals").run().code(0);
    assert_eq!(done.err(), "run-report: 1 row of the evaluation 'math' of 'b' is damaged and left out\n");
    let expected = json!([
        {"run": "a", "label": "math", "step": "5", "pass@1": "0.5", "note": "x,\n\"y\"", "eval.label": "", "bleu": ""},
        {"run": "a", "label": "math", "step": "10", "pass@1": "", "note": "", "eval.label": "", "bleu": ""},
        {"run": "b", "label": "math", "step": "5", "pass@1": "", "note": "", "eval.label": "=1", "bleu": "0.25"},
    ]);
    assert_eq!(by_python(&lab, &done.out()), expected);
    lab.cmd("run-report")
        .args(["--evals", "--eval-dir", "x"])
        .run()
        .code(0)
        .stdout("run,label,step\n")
        .stderr("run-report: there are no evaluations of these runs\n");
}

#[test]
fn what_was_evaluated_is_a_metric_of_the_run() {
    let lab = Lab::new();
    for name in ["a", "b"] {
        let script = "echo '{\"step\": 1, \"loss\": 3, \"math/n\": 7}' >> $RUN_METRICS; \
            for step in 5 10 15; do printf '\\200\\004N.' > $RUN_DIR/model_$step.pt; done";
        ran(&lab, name, &[], script);
    }
    // Two questions of each step; of the last of `b`, nothing was finite.
    let script = "case $RUN_NAME-$EVAL_STEP in a-*) x=$EVAL_STEP;; b-15) x=NaN;; b-*) x=1;; esac; \
        printf \"acc,n,text\\n$x,1,p\\n$x,1,q\\n\" > $EVAL_OUT/metrics.csv";
    lab.cmd("run-eval")
        .args(["--label", "math", "a", "b", "--", "sh", "-c", script])
        .run()
        .code(0)
        .stderr("");
    let rows = objects(&lab, &["--best", "math/acc"]);
    let brief = |row: &Value| {
        ["run", "math/acc.best", "math/acc.last", "math/acc.mean", "math/acc.count"]
            .map(|key| row[key].clone())
    };
    assert_eq!(brief(&rows[0]), [json!("a"), json!(15), json!(15), json!(10), json!(3)]);
    assert_eq!(brief(&rows[1]), [json!("b"), json!(1), Value::Null, json!(1), json!(2)]);
    // A metric that the run has itself is not mixed with it.
    assert_eq!((&rows[0]["math/n.last"], &rows[0]["math/n.count"]), (&json!(7), &json!(1)));
    let document: Value = serde_json::from_str(&report(&lab, &["--export", "-", "b"])).unwrap();
    let curves = document["runs"][0]["curves"].as_array().unwrap();
    let names: Vec<&str> = curves.iter().map(|curve| curve["metric"].as_str().unwrap()).collect();
    assert_eq!(names, ["loss", "math/n", "math/acc"]);
    assert_eq!((&curves[1]["rows"], &curves[1]["step"]), (&json!(1), &json!([1])));
    assert_eq!((&curves[2]["step"], &curves[2]["nonfinite"]), (&json!([5, 10, 15]), &json!([15])));
    assert!(report(&lab, &["--plot", "math/acc", "a"]).contains("a (3 rows)"));
    assert!(report(&lab, &["--compare", "a", "b"]).contains("math/acc"));
    // Elsewhere there is nothing of it.
    for words in [&[][..], &["--format", "csv"], &["--export", "-"], &["--compare", "a", "b"]] {
        assert!(!report(&lab, &[words, &["--eval-dir", "x"]].concat()).contains("math/acc"), "{words:?}");
    }
}

#[test]
fn other_programs_read_the_same_csv() {
    let lab = Lab::new();
    let lines = r#"{"step": 1, "note": "a,b", "loss": 0.25}
{"step": 2, "note": "say \"hi\"\nthere\n", "acc": NaN, "loss": 12345678901234567890}
{"step": 3, "note": "=1+2", "loss": 1e-3}
{"step": 4, "note": " #x;y|z\t", "tags": [1, "x"], "ünï": -0.0}
{"step": 5, "note": "", "acc": -Infinity, "ok": true}
{"step": 6, "note": "it's \\ `so` \u00a0", "acc": 1.0E+2}
"#;
    made(&lab, "odd, \"name\"", &[("metrics.jsonl", lines)]);
    made(&lab, "=plain", &[("metrics.jsonl", "{\"step\": 1, \"loss\": 0.5, \"other\": 7}\n")]);
    for words in [&["--metrics"][..], &["--format", "csv"]] {
        let csv = report(&lab, words);
        let expected = by_python(&lab, &csv);
        assert!(expected.as_array().unwrap().iter().any(|row| row["run"] == "=plain"), "{csv}");
        assert_eq!(by_miller(&lab, &csv), expected, "{csv}");
        assert_eq!(by_duckdb(&lab, &csv), expected, "{csv}");
    }
}

/// Gives a run attempts of these lengths in hours and ends, the last one now, and files of checkpoints.
fn spent(lab: &Lab, name: &str, attempts: &[(u32, &str)], start: &Value) {
    made(lab, name, &[]);
    let id = lab.json(&format!("runs/{name}/.run/meta.json"))["run_id"].clone();
    let mut lines = String::new();
    for (number, (hours, status)) in attempts.iter().enumerate() {
        let mut line = json!({"schema": 1, "run_id": id, "event": "start", "attempt": number + 1,
            "start_time": format!("2026-01-{:02}T00:00:00.000Z", number + 1), "command": [], "template": [], "executable": null,
            "cwd": "/", "host": "h", "pid": 1, "git_commit": null, "git_dirty": null, "python_version": null,
            "device": null, "gpus": [], "CUDA_VISIBLE_DEVICES": null, "offsets": {}});
        line.as_object_mut().unwrap().extend(start.as_object().unwrap().clone());
        lines += &format!("{line}\n");
        if *status != "dead" {
            lines += &format!(
                "{}\n",
                json!({"schema": 1, "run_id": id, "event": "end", "attempt": number + 1, "status": status, "reason": null,
                "end_time": "2026-02-01T00:00:00.000Z", "duration_s": hours * 3600, "exit_code": 0, "signal": null, "final_step": null,
                "traceback": null, "resources": {"cpu_seconds": 1.0, "max_rss_bytes": 1, "gpu_seconds": 1800.0, "gpu_mem_max_bytes": 1}, "lost_bytes": 0})
            );
        }
    }
    lab.write(&format!("runs/{name}/.run/attempts.jsonl"), lines);
}

#[test]
fn cost_is_time_by_devices_by_price_over_all_attempts() {
    let lab = Lab::new();
    let gpus = json!({"device": "cuda", "gpus": ["NVIDIA H100", "NVIDIA H100", "NVIDIA A100"], "CUDA_VISIBLE_DEVICES": "0,1"});
    spent(&lab, "big", &[(2, "failed"), (1, "completed")], &gpus);
    spent(&lab, "small", &[(4, "completed")], &json!({"device": "cpu"}));
    spent(&lab, "lost", &[(1, "dead"), (3, "stopped")], &json!({"device": "cpu"}));
    made(&lab, "none", &[]);
    // A checkpoint half an hour after the start of the first attempt.
    lab.write("runs/big/step_5/model.bin", "x");
    lab.cmd("touch")
        .args(["-d", "2026-01-01T00:30:00Z", "runs/big/step_5/model.bin", "runs/big/step_5"])
        .run()
        .code(0);
    lab.write(
        "runs/small/metrics.jsonl",
        "{\"step\": 1, \"api_usd\": 0.25}\n{\"step\": 1, \"api_usd\": 0.5, \"total_judge_usd\": 2, \"judge_usd\": 1}\n",
    );
    lab.write("rates", "H100  3   # each\ncpu = $0.5\n");
    let of = |lines: &[Value], name: &str| lines.iter().find(|line| line["run"] == name).unwrap().clone();
    let lines = objects(&lab, &["--cost", "--rates", "rates"]);
    let big = of(&lines, "big");
    assert_eq!(
        (&big["devices"], &big["device_hours"], &big["gpu_hours"]),
        (&json!("2 × NVIDIA H100"), &json!(6), &json!(1))
    );
    assert_eq!((&big["compute_usd"], &big["usd"], &big["attempts"]), (&json!(18), &json!(18), &json!(2)));
    assert_eq!((&big["wasted_s"], &big["wasted_usd"]), (&json!(5400), &json!(9)));
    let small = of(&lines, "small");
    assert_eq!(
        (&small["compute_usd"], &small["logged_usd"], &small["usd"]),
        (&json!(2), &json!(2.75), &json!(4.75))
    );
    let lost = of(&lines, "lost");
    assert_eq!(
        (&lost["compute_usd"], &lost["unknown_attempts"], &lost["wasted_s"]),
        (&json!(1.5), &json!(1), &json!(0))
    );
    assert_eq!(of(&lines, "none")["usd"], Value::Null);
    let one = |words: &[&str], rate: &str| {
        let done = lab
            .cmd("run-report")
            .args(["--cost", "--format", "json", "big"])
            .args(words)
            .env("RUN_RATE", rate)
            .run()
            .code(0);
        done.json_lines()[0]["usd"].clone()
    };
    assert_eq!((one(&[], "2"), one(&["--rate", "1"], "2")), (json!(12), json!(6)));
    lab.cmd("run-report")
        .arg("--cost")
        .env("RUN_RATE", "dear")
        .run()
        .code(2)
        .stdout("")
        .stderr_has("RUN_RATE is 'dear'");
    let table = report(
        &lab,
        &["--cost", "--rates", "rates", "--sort", "usd:desc", "--columns", "usd,unknown_attempts"],
    );
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows[1..4],
        [vec!["big", "18.00", "0"], vec!["small", "4.75", "0"], vec!["lost", "1.50", "1"]]
    );
    assert_eq!(rows[5], ["all", "24.25", "1"]);
    lab.cmd("run-report")
        .args(["--cost", "--columns", "loss"])
        .run()
        .code(2)
        .stdout("")
        .stderr_has("--cost has no column 'loss'");
    let table = report(&lab, &["--cost", "--rates", "rates"]);
    assert!(table.lines().next().unwrap().contains("unknown_attempts"), "{table}");
    assert!(!report(&lab, &["--cost", "--rates", "rates", "big"]).contains("unknown_attempts"));
    let sum: Vec<&str> = table.lines().last().unwrap().split_whitespace().collect();
    assert_eq!((sum[0], sum[1]), ("all", "5"));
    lab.write("rates", "A100 2\n");
    lab.cmd("run-report")
        .args(["--cost", "--rates", "rates", "big"])
        .run()
        .code(0)
        .stderr("run-report: no price of 'NVIDIA H100': its time is not in the sums\n");
    lab.write("rates", "A100\n");
    lab.cmd("run-report")
        .args(["--cost", "--rates", "rates"])
        .run()
        .code(2)
        .stderr_has("line 1 is no device and its price");
}

#[test]
fn an_option_that_would_do_nothing_is_refused() {
    let lab = Lab::new();
    for words in [
        "--rate 2",
        "--rates file",
        "--cost-command true",
        "--cost --cost-timeout 1s",
        "--metrics --rate 2",
        "--html page.html --rates file",
        "--compare --cost-command true",
        "--plot loss --cost-timeout 1s",
        "--log",
        "--log-x --cost",
        "--smooth 0.5 --metrics",
        "--metrics --eval-dir x",
        "--cost --eval-dir x",
        "--metrics --sort loss",
        "--html page.html --columns loss",
        "--compare --sort loss",
        "--plot loss --best loss",
        "--cost --best loss",
        "--cost --group-by lr",
        "--evals --format json",
        "--svg x.svg --html x.html",
    ] {
        lab.cmd("run-report").args(words.split(' ')).run().code(2).stdout("");
    }
}

#[test]
fn a_command_may_say_what_an_interface_cost() {
    let lab = Lab::new();
    spent(&lab, "a", &[(1, "completed")], &json!({}));
    let cost = |command: &str, code: i32| {
        let words =
            ["--cost", "--rate", "1", "--format", "json", "--cost-timeout", "2s", "--cost-command", command];
        let done = lab.cmd("run-report").args(words).run().code(code);
        (done.json_lines()[0].clone(), done.err())
    };
    let (line, _) =
        cost("jq -c '{usd: (.duration_s / 7200), balance: 12.5, calls: (.attempts | length), run}'", 0);
    assert_eq!(
        (&line["command_usd"], &line["balance"], &line["calls"], &line["usd"]),
        (&json!(0.5), &json!(12.5), &json!(2), &json!(1.5))
    );
    for (command, why) in [
        ("exit 3", "exit status: 3"),
        ("echo nonsense", "no JSON"),
        ("echo '{}'", "no \"usd\""),
        ("sleep 1000 & sleep 1000", "longer than 2s"),
        ("exec >&-; sleep 1000", "longer than 2s"),
    ] {
        let (line, said) = cost(command, 1);
        assert_eq!((&line["command_usd"], &line["usd"]), (&Value::Null, &json!(1)), "{command}");
        assert!(
            said.contains("what 'a' cost beside is not known") && said.contains(why),
            "{command}: {said}"
        );
    }
    lab.nothing_left();
}

#[test]
fn a_price_that_is_known_is_in_the_record_and_in_the_details() {
    let lab = Lab::new();
    lab.new_run("dear", &["sh", "-c", "sleep 0.2; exit 1"]);
    lab.cmd("run-exec").args(["-q", "dear"]).env("RUN_RATE", "3600000").run().code(1);
    let end = lab.json("runs/dear/.run/result.json");
    let (usd, seconds) = (end["cost_usd"].as_f64().unwrap(), end["duration_s"].as_f64().unwrap());
    assert!((usd - seconds * 1000.0).abs() < 1e-6, "{end}");
    let shown = lab.cmd("run-status").arg("dear").run().code(0).out();
    assert!(shown.contains("cost:") && shown.contains(" of it lost"), "{shown}");
    let line = objects(&lab, &["--cost"])[0].clone();
    assert_eq!((line["usd"].as_f64(), line["wasted_usd"].as_f64()), (Some(usd), Some(usd)));
    assert_eq!(line["unknown_attempts"], json!(0));
    // An attempt of which no price was known is not in the sum, and that is to be seen.
    lab.cmd("run-exec").args(["-q", "--resume", "dear"]).run().code(1);
    let line = objects(&lab, &["--cost"])[0].clone();
    assert_eq!((line["usd"].as_f64(), &line["unknown_attempts"]), (Some(usd), &json!(1)));
    let script = r#"for i in 1 2 3; do echo "{\"step\": $i, \"api_usd\": 0.5}" >> $RUN_METRICS; done"#;
    ran(&lab, "credits", &[], script);
    let shown = lab.cmd("run-status").arg("credits").run().code(0).out();
    let cost = shown.lines().find_map(|line| line.strip_prefix("cost:")).map(str::trim);
    assert_eq!(cost, Some("$1.50 logged"), "{shown}");
    ran(&lab, "crumbs", &[], &script.replace("0.5", "0.001"));
    let shown = lab.cmd("run-status").arg("crumbs").run().code(0).out();
    assert!(shown.contains(" $0.0030 logged\n"), "{shown}");
    lab.new_run("free", &["true"]);
    lab.cmd("run-exec").args(["-q", "free"]).run().code(0);
    assert_eq!(lab.json("runs/free/.run/result.json")["cost_usd"], Value::Null);
    assert!(!lab.cmd("run-status").arg("free").run().code(0).out().contains("cost:"));
}
