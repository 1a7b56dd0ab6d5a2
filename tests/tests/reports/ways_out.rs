//! Ways out: TensorBoard, MLflow and DuckDB read what run-report writes for them, and have the values of the runs.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use testkit::evals::{SCRIPT, eval, save};
use testkit::python::asked;
use testkit::reports::by_python;
use testkit::{Lab, checkout};

/// Rows of a run: without a step in a metric, not finite, under names that other systems do not take.
const ROWS: &str = r#"{"step": 1, "loss": 0.5, "acc,none": 0.125, "train/kl": 1e-3, "note": "a"}
{"step": 2, "loss": NaN, "acc,none": 0.25, "train/kl": 0.1, "timestamp": 1700000000.5}
{"step": 3, "loss": -Infinity, "acc,none": 0.5, "train": {"kl": 7}}
{"step": 3, "loss/val": 2.5, "Schärfe": 3}
"#;

/// A run in two attempts; the second repeats steps 3 and 4.
const RESUMED: &str = r#"case $RUN_ATTEMPT in
1) for i in 1 2 3 4; do echo "{\"step\": $i, \"loss\": $i.5}" >> $RUN_METRICS; done; exit 3;;
*) for i in 3 4 5; do echo "{\"step\": $i, \"loss\": $i.25}" >> $RUN_METRICS; done;;
esac"#;

/// Makes runs of many kinds: one with an evaluation, one resumed, a batch, one that was never executed, and one whose
/// trainer keeps a table.
fn runs(lab: &Lab) {
    lab.write("rows.jsonl", ROWS);
    lab.write("base.yaml", "model: {width: 8}\nname: tiny\n");
    let new = |args: &[&str]| lab.cmd("run-new").args(args).run().code(0);
    new(&[
        "-n",
        "it's",
        "-s",
        "lr=1e-3",
        "--set-by-env",
        "--tag",
        "t",
        "--note",
        "first",
        "base.yaml",
        "--",
        "sh",
        "-c",
        "cat rows.jsonl >> $RUN_METRICS",
    ]);
    lab.cmd("run-exec").args(["-q", "it's"]).run().code(0);
    save(lab, "it's", 2);
    eval(lab, &["it's"], SCRIPT).code(0);
    new(&["-n", "resumed [a]", "--", "sh", "-c", RESUMED]);
    lab.cmd("run-exec").args(["-q", "resumed [a]"]).run().code(3);
    lab.cmd("run-exec").args(["-q", "--resume", "resumed [a]"]).run().code(0);
    new(&[
        "--batch=sweep",
        "--set-by-env",
        "--sweep",
        "lr=0.1,0.2",
        "--",
        "sh",
        "-c",
        "echo '{\"epoch\": 1, \"loss\": 1}' >> $RUN_METRICS; echo '{\"epoch\": 2, \"loss\": 0.75}' >> $RUN_METRICS",
    ]);
    lab.cmd("run-exec").args(["-q", "sweep"]).run().code(0);
    new(&["-n", "new", "--", "true"]);
    new(&[
        "-n",
        "table",
        "--",
        "sh",
        "-c",
        "printf 'step,loss\\n10,0.5\\n20,0.25\\n' > $RUN_DIR/progress.csv; exit 1",
    ]);
    lab.cmd("run-exec").args(["-q", "table"]).run().code(1);
}

/// Columns that are no metrics.
const BESIDE: [&str; 4] = ["run", "step", "epoch", "timestamp"];

/// Returns the values of each metric of each run, as `run-report --metrics` prints them: `[step, value]`.
fn expected(lab: &Lab) -> BTreeMap<String, BTreeMap<String, Vec<(i64, f64)>>> {
    let csv = lab.cmd("run-report").args(["--metrics"]).run().code(0).out();
    let mut all: BTreeMap<String, BTreeMap<String, Vec<(i64, f64)>>> = BTreeMap::new();
    for row in by_python(lab, &csv).as_array().unwrap() {
        let cell = |name: &str| row[name].as_str().unwrap();
        for name in row.as_object().unwrap().keys().filter(|name| !BESIDE.contains(&name.as_str())) {
            if let Ok(value) = cell(name).parse() {
                let run = all.entry(cell("run").to_owned()).or_default();
                run.entry(name.clone()).or_default().push((cell("step").parse().unwrap(), value));
            }
        }
    }
    let evaluated = all.get_mut("it's").unwrap();
    evaluated.insert("eval/acc".to_owned(), vec![(2, 0.2)]);
    evaluated.insert("eval/n".to_owned(), vec![(2, 1.0)]);
    all
}

/// Returns whether two lists of `[step, value]` are the same, after `round`.
fn same(read: &Value, expected: &[(i64, f64)], round: fn(f64) -> f64) -> bool {
    let number = |value: &Value| match value {
        Value::String(text) => text.parse().unwrap(),
        value => value.as_f64().unwrap(),
    };
    let read = read.as_array().unwrap();
    read.len() == expected.len()
        && read.iter().zip(expected).all(|(read, (step, value))| {
            let found: f64 = number(&read[1]);
            read[0] == *step
                && (found.to_bits() == round(*value).to_bits() || found.is_nan() && value.is_nan())
        })
}

#[expect(clippy::cast_possible_truncation, reason = "as TensorBoard keeps values")]
fn single(value: f64) -> f64 {
    f64::from(value as f32)
}

const TENSORBOARD: &str = "
import json, sys
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import metadata
everything = {'scalars': 0, 'tensors': 0}
all = EventMultiplexer(size_guidance=everything).AddRunsFromDirectory(sys.argv[1]).Reload()
found = {}
for run in all.Runs():
    events = all.GetAccumulator(run)
    hparams = events.summary_metadata['_hparams_/session_start_info'].plugin_data.content
    start = metadata.parse_session_start_info_plugin_data(hparams)
    end = events.summary_metadata['_hparams_/session_end_info'].plugin_data.content
    end = metadata.parse_session_end_info_plugin_data(end)
    value = lambda it: getattr(it, it.WhichOneof('kind'))
    found[run] = {
        'scalars': {tag: [[one.step, str(one.value), one.wall_time] for one in events.Scalars(tag)]
                    for tag in events.Tags()['scalars']},
        'settings': {name: value(it) for name, it in start.hparams.items()},
        'start': start.start_time_secs,
        'end': [end.status, end.end_time_secs],
        'text': events.Tensors('run/text_summary')[0].tensor_proto.string_val[0].decode(),
    }
print(json.dumps(found, sort_keys=True))
";

#[test]
fn tensorboard_reads_the_values_of_the_runs() {
    let lab = Lab::new();
    runs(&lab);
    let export = || lab.cmd("run-report").args(["--export-tensorboard", "tb"]).run().code(0);
    let warned = export();
    assert_eq!(warned.err().lines().count(), 1, "{}", warned.err()); // of the rows that are superseded
    let found = asked(&lab, "trainers", TENSORBOARD, &["tb"]);
    let expected = expected(&lab);
    let names: Vec<&String> = found.as_object().unwrap().keys().collect();
    assert_eq!(names, ["it's", "new", "resumed [a]", "sweep/run_lr-0.1", "sweep/run_lr-0.2", "table"]);
    for (run, metrics) in &expected {
        let scalars = found[run]["scalars"].as_object().unwrap();
        assert_eq!(scalars.keys().collect::<Vec<_>>().len(), metrics.len(), "{run}: {scalars:?}");
        for (name, values) in metrics {
            assert!(same(&scalars[name], values, single), "{run} {name}: {} {values:?}", scalars[name]);
        }
    }
    assert_eq!(found["it's"]["settings"], json!({"lr": 0.001, "model.width": 8.0, "name": "tiny"}));
    assert_eq!(found["it's"]["scalars"]["loss"][1][2], 1_700_000_000.5);
    assert_eq!(
        ["it's", "table", "new"].map(|run| found[run]["end"][0].clone()),
        [json!(1), json!(2), json!(0)]
    );
    assert!(
        found["table"]["text"].as_str().unwrap().contains("| reason | exit 1"),
        "{}",
        found["table"]["text"]
    );
    // What the tools themselves read of it.
    lab.new_run("copy", &["true"]);
    fs::copy(
        lab.path("tb/resumed [a]/events.out.tfevents.0.run-report"),
        lab.path("runs/copy/events.out.tfevents.0.x"),
    )
    .unwrap();
    let rows = lab.cmd("run-report").args(["--metrics", "copy"]).run().code(0).out();
    assert_eq!(rows, "run,step,loss\ncopy,1,1.5\ncopy,2,2.5\ncopy,3,3.25\ncopy,4,4.25\ncopy,5,5.25\n");
    fs::remove_dir_all(lab.path("runs/copy")).unwrap();
    // Once more: the same bytes, and nothing beside them.
    let before = files(&lab, "tb");
    export();
    assert_eq!(files(&lab, "tb"), before);
}

/// Returns the files below a directory and their contents.
fn files(lab: &Lab, below: &str) -> BTreeMap<String, Vec<u8>> {
    let listed = lab.cmd("find").args([below, "-type", "f"]).run().code(0).out();
    listed.lines().map(|name| (name.to_owned(), lab.bytes(name))).collect()
}

const MLFLOW: &str = "
import json, os, sys
os.environ['MLFLOW_ALLOW_FILE_STORE'] = 'true'
from mlflow import MlflowClient
def read(uri):
    client = MlflowClient(tracking_uri=uri)
    found = {}
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            history = lambda key: client.get_metric_history(run.info.run_id, key)
            found[run.info.run_name] = {
                'experiment': experiment.name, 'status': run.info.status, 'id': run.info.run_id,
                'times': [run.info.start_time, run.info.end_time], 'artifacts': run.info.artifact_uri,
                'params': run.data.params, 'tags': run.data.tags,
                'metrics': {key: [[one.step, str(one.value), one.timestamp]
                                  for one in sorted(history(key), key=lambda one: (one.step, one.timestamp))]
                            for key in run.data.metrics}}
    return found
found = read(sys.argv[1])
from pathlib import Path
from mlflow.store.fs2db import migrate
database = 'sqlite:///' + os.path.abspath('mlflow.db')
sys.stdout = sys.stderr
migrate(Path(sys.argv[1]), database)
sys.stdout = sys.__stdout__
print(json.dumps([found, read(database)], sort_keys=True))
";

#[test]
fn mlflow_lists_the_runs_and_migrates_them() {
    let lab = Lab::new();
    runs(&lab);
    let export = || lab.cmd("run-report").args(["--export-mlflow", "ml runs"]).run().code(0);
    let told = export().err();
    assert!(
        told.contains(
            "run-report: 2 names of metrics are other ones in MLflow, such as 'acc_none' for 'acc,none'"
        ),
        "{told}"
    );
    let read = asked(&lab, "peers", MLFLOW, &["ml runs"]);
    let found = &read[0];
    let expected = expected(&lab);
    assert_eq!(found.as_object().unwrap().len(), 6, "{found}");
    for (run, metrics) in &expected {
        let listed = found[run]["metrics"].as_object().unwrap();
        assert_eq!(listed.len(), metrics.len(), "{run}: {listed:?}");
        for (name, values) in metrics {
            let name = name.replace("acc,none", "acc_none").replace("loss/val", "loss.val");
            assert!(
                same(&listed[&name], values, |value| value),
                "{run} {name}: {} {values:?}",
                listed[&name]
            );
        }
    }
    let first = &found["it's"];
    assert_eq!(first["params"], json!({"lr": "0.001", "model.width": "8", "name": "tiny"}));
    assert_eq!(first["metrics"]["loss"][1][2], 1_700_000_000_500_u64);
    let status = lab.status("it's");
    assert_eq!(first["tags"]["mlflow.note.content"], "first");
    assert_eq!(first["tags"]["run-tools.run_id"], status["run_id"]);
    assert_eq!(first["id"], status["run_id"].as_str().unwrap().replace('-', ""));
    let artifacts = first["artifacts"].as_str().unwrap();
    assert!(artifacts.starts_with("file:///") && artifacts.contains("/ml%20runs/0/"), "{artifacts}");
    let facts = |key: &str| {
        ["it's", "resumed [a]", "sweep/run_lr-0.1", "new", "table"].map(|run| found[run][key].clone())
    };
    assert_eq!(facts("status"), ["FINISHED", "FINISHED", "FINISHED", "SCHEDULED", "FAILED"]);
    assert_eq!(facts("experiment"), ["Default", "Default", "sweep", "Default", "Default"]);
    // The database has no values that are infinite.
    let migrated = read[1].to_string().replace("-1.7976931348623157e+308", "-inf");
    let without_artifacts = |found: &Value| {
        let mut found = found.clone();
        found.as_object_mut().unwrap().values_mut().for_each(|run| _ = run["artifacts"].take());
        found
    };
    assert_eq!(without_artifacts(&serde_json::from_str(&migrated).unwrap()), without_artifacts(found));
    let before = files(&lab, "ml runs");
    export();
    assert_eq!(files(&lab, "ml runs"), before);
}

#[test]
fn an_export_is_brought_up_to_date_and_keeps_what_else_was_exported() {
    let lab = Lab::new();
    runs(&lab);
    for (option, directory) in [("--export-mlflow", "ml"), ("--export-tensorboard", "tb")] {
        lab.cmd("run-report").args([option, directory, "sweep"]).run().code(0);
        lab.cmd("run-report").args([option, directory, "new", "table"]).run().code(0).stderr("");
        let both = files(&lab, directory);
        lab.cmd("run-report")
            .args([option, directory, "--plot", "loss", "new", "sweep"])
            .run()
            .code(0)
            .stderr("");
        assert_eq!(files(&lab, directory), both);
    }
    let names = |found: Value| found.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let expected = ["new", "sweep/run_lr-0.1", "sweep/run_lr-0.2", "table"];
    assert_eq!(names(asked(&lab, "trainers", TENSORBOARD, &["tb"])), expected);
    assert_eq!(names(asked(&lab, "peers", MLFLOW, &["ml"])[0].take()), expected);
    lab.cmd("run-exec").args(["-q", "new"]).run().code(0);
    lab.cmd("run-report").args(["--export-mlflow", "ml", "new"]).run().code(0).stderr("");
    fs::remove_file(lab.path("mlflow.db")).unwrap();
    assert_eq!(asked(&lab, "peers", MLFLOW, &["ml"])[0]["new"]["status"], "FINISHED");
}

#[test]
fn what_is_no_export_is_left_alone() {
    let lab = Lab::new();
    lab.new_run("r", &["true"]);
    lab.write("mine/file", "mine");
    lab.write("file", "mine");
    fs::create_dir(lab.path("empty")).unwrap();
    for option in ["--export-mlflow", "--export-tensorboard"] {
        let refused = "run-report: cannot export to 'mine': it holds something else; name a new directory, or one of an earlier export\n";
        lab.cmd("run-report").args([option, "mine"]).run().code(5).stderr(refused);
        lab.cmd("run-report").args([option, "runs"]).run().code(5);
        lab.cmd("run-report").args([option, "file"]).run().code(5);
        lab.cmd("run-report").args([option, "missing/below"]).run().code(5);
        lab.cmd("run-report").args([option, &format!("new{option}"), "nobody"]).run().code(3);
    }
    lab.cmd("run-report").args(["--export-mlflow", "empty"]).run().code(0).stderr("");
    lab.cmd("run-report").args(["--export-tensorboard", "empty"]).run().code(5);
    assert_eq!(lab.read("mine/file"), "mine");
    let left = lab.cmd("find").args([".", "-name", ".run-report-*"]).run().code(0).out();
    assert_eq!(left, "");
}

const DUCKDB: &str = "
import duckdb, json, sys
duckdb.sql('SET enable_progress_bar = false')
duckdb.execute(open(sys.argv[1]).read())
answers = []
for query in sys.argv[2:]:
    rows = duckdb.execute(query).fetchall()
    answers.append([[cell if cell is None or isinstance(cell, (int, str)) else str(cell) for cell in row] for row in rows])
print(json.dumps(answers))
";

#[test]
fn duckdb_queries_runs_in_place() {
    let lab = Lab::new();
    runs(&lab);
    lab.cmd("run-report").args(["--sql", "runs.sql"]).run().code(0);
    let ask = |queries: &[&str]| asked(&lab, "peers", DUCKDB, &[&["runs.sql"], queries].concat());
    let expected = expected(&lab);
    let mut queries = Vec::new();
    let mut values = Vec::new();
    for (run, metrics) in &expected {
        for (name, found) in metrics.iter().filter(|(name, _)| !name.starts_with("eval/")) {
            let (run, column) = (run.replace('\'', "''"), name.replace('"', "\"\""));
            queries.push(format!("SELECT step::BIGINT, \"{column}\" FROM metrics WHERE run = '{run}' AND \"{column}\" IS NOT NULL ORDER BY ALL"));
            let mut found = found.clone();
            found.sort_by_key(|(step, _)| *step);
            values.push(found);
        }
    }
    let answers = ask(&queries.iter().map(String::as_str).collect::<Vec<_>>());
    for ((answer, values), query) in answers.as_array().unwrap().iter().zip(values).zip(&queries) {
        assert!(same(answer, &values, |value| value), "{query}: {answer} {values:?}");
    }
    let answers = ask(&[
        "SELECT run, status, attempt, step::BIGINT FROM runs ORDER BY run",
        "SELECT run, settings->>'lr' FROM runs WHERE settings->>'lr' IS NOT NULL ORDER BY run",
        "SELECT run, attempt, status, exit_code FROM attempts WHERE run LIKE 'resumed%' ORDER BY attempt",
        "SELECT run, label, step, acc FROM evaluations ORDER BY acc",
        "SELECT run, note FROM metrics WHERE note IS NOT NULL",
        "SELECT count(*) FROM runs WHERE end_time >= start_time",
    ]);
    assert_eq!(
        answers[0],
        json!([
            ["it's", "completed", 1, 3],
            ["new", "created", 0, null],
            ["resumed [a]", "completed", 2, 5],
            ["sweep/run_lr-0.1", "completed", 1, 2],
            ["sweep/run_lr-0.2", "completed", 1, 2],
            ["table", "failed", 1, 20]
        ])
    );
    assert_eq!(
        answers[1],
        json!([["it's", "0.001"], ["sweep/run_lr-0.1", "0.1"], ["sweep/run_lr-0.2", "0.2"]])
    );
    assert_eq!(answers[2], json!([["resumed [a]", 1, "failed", 3], ["resumed [a]", 2, "completed", 0]]));
    assert_eq!(answers[3], json!([["it's", "eval", 2, "0.2"], ["it's", "eval", 2, "nan"]]));
    assert_eq!(answers[4], json!([["it's", "a"]]));
    assert_eq!(answers[5], json!([[5]]));
    // In place: what is logged later is seen without a new script.
    lab.write("runs/it's/metrics.jsonl", format!("{ROWS}{{\"step\": 4, \"loss\": 9}}\n"));
    let later = "SELECT max(step)::BIGINT, max_by(loss, step) FROM metrics WHERE run = 'it''s'";
    assert_eq!(ask(&[later])[0], json!([[4, "9.0"]]));
    let columns = "DESCRIBE metrics";
    let names: Vec<Value> =
        ask(&[columns])[0].as_array().unwrap().iter().map(|column| column[0].clone()).collect();
    assert_eq!(names[..3], ["run", "step", "loss"]);
}

#[test]
fn views_of_nothing_have_their_columns() {
    let lab = Lab::new();
    fs::create_dir(lab.path("runs")).unwrap();
    let script = lab.cmd("run-report").args(["--sql", "-"]).run().code(0).out();
    lab.write("none.sql", script);
    let queries =
        ["runs", "metrics", "attempts", "evaluations"].map(|view| format!("SELECT run FROM {view}"));
    let found =
        asked(&lab, "peers", DUCKDB, &["none.sql", &queries[0], &queries[1], &queries[2], &queries[3]]);
    assert_eq!(found, json!([[], [], [], []]));
    lab.new_run("r", &["true"]);
    lab.cmd("run-report").args(["--sql", "none.sql"]).run().code(0).stderr("");
    let found =
        asked(&lab, "peers", DUCKDB, &["none.sql", &queries[0], &queries[1], &queries[2], &queries[3]]);
    assert_eq!(found, json!([[["r"]], [], [], []]));
}

#[test]
fn metrics_become_parquet_by_one_line() {
    let lab = Lab::new();
    runs(&lab);
    lab.cmd("run-report").args(["--sql", "runs.sql"]).run().code(0);
    let duckdb = checkout().join("target/peers/bin/duckdb");
    let copy = "COPY metrics TO 'metrics.parquet'";
    lab.cmd(duckdb).args(["-init", "runs.sql", "-c", copy]).run().code(0);
    let query = "SELECT count(*), count(DISTINCT run) FROM 'metrics.parquet'";
    let rows = lab.cmd("run-report").arg("--metrics").run().code(0).out().lines().count() - 1;
    assert_eq!(asked(&lab, "peers", DUCKDB, &["runs.sql", query])[0], json!([[rows, 5]]));
}

/// Names of metrics, and what they are called in SQL and in MLflow; each has its number for a value.
const NAMES: [[&str; 3]; 12] = [
    ["Loss", "Loss", "Loss"],
    ["loss", "loss_2", "loss"],
    ["", "metric.", "_"],
    ["*", "*", "__2"],
    ["a\"b", "a\"b", "a_b"],
    ["b\\c", "b\\c", "b_c"],
    ["/lead", "/lead", "lead"],
    ["$.x", "$.x", "_.x"],
    ["a~b", "a~b", "a_b_2"],
    ["run", "metric.run", "run"],
    ["../up", "../up", "up"],
    ["deep/er", "deep/er", "deep/er"],
];

#[test]
fn names_of_every_kind_reach_every_system() {
    let lab = Lab::new();
    let runs = ["a=1", "st*r?", "[z]", "q'\"uote"];
    for (number, run) in runs.iter().enumerate() {
        lab.new_run(run, &["true"]);
        let row: serde_json::Map<String, Value> =
            NAMES.iter().enumerate().map(|(at, [name, ..])| ((*name).to_owned(), at.into())).collect();
        let row = Value::Object(row);
        lab.write(
            &format!("runs/{run}/metrics.jsonl"),
            format!("{row}\nnot JSON\n\n[1]\n{{\"loss\": {number}}}\n"),
        );
    }
    for option in [["--export-tensorboard", "tb"], ["--export-mlflow", "ml"], ["--sql", "runs.sql"]] {
        lab.cmd("run-report").args(option).run().code(0);
    }
    let board = asked(&lab, "trainers", TENSORBOARD, &["tb"]);
    let store = asked(&lab, "peers", MLFLOW, &["ml"])[0].take();
    let values = |found: &Value, of: &str| -> Vec<f64> {
        let found = found.as_array().unwrap_or_else(|| panic!("{of}: nothing"));
        found.iter().map(|row| row[1].as_str().unwrap().parse().unwrap()).collect()
    };
    let (mut queries, mut answers) = (Vec::new(), Vec::new());
    for (number, run) in (0_i32..).zip(runs) {
        for (at, [name, column, key]) in (0_i32..).zip(NAMES) {
            let expected: Vec<f64> =
                [at, number].into_iter().take(1 + usize::from(name == "loss")).map(f64::from).collect();
            assert_eq!(values(&board[run]["scalars"][name], name), expected, "{run} {name}");
            assert_eq!(values(&store[run]["metrics"][key], key), expected, "{run} {name}");
            let (run, column) = (run.replace('\'', "''"), column.replace('"', "\"\""));
            queries.push(format!("SELECT step, \"{column}\"::DOUBLE FROM metrics WHERE run = '{run}' AND \"{column}\" IS NOT NULL ORDER BY step"));
            answers.push(expected);
        }
    }
    let words: Vec<&str> = std::iter::once("runs.sql").chain(queries.iter().map(String::as_str)).collect();
    for ((found, expected), query) in
        asked(&lab, "peers", DUCKDB, &words).as_array().unwrap().iter().zip(answers).zip(&queries)
    {
        assert_eq!(values(found, query), expected, "{query}");
    }
}
