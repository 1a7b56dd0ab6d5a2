//! Runs of experiment trackers, as the trackers themselves write them: status, duration, settings and metrics are
//! those that the system's own reader tells.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use testkit::Lab;
use testkit::trackers::{Series, assert_same, listed, series, tracker};

/// Returns settings of a run, as a report has them.
fn settings(lab: &Lab, run: &str, names: &str) -> Value {
    let report =
        lab.cmd("run-report").args(["--format", "json", "--columns", names, run]).run().code(0).stderr("");
    let mut settings = report.json_lines().remove(0);
    settings.as_object_mut().unwrap().remove("run");
    settings
}

/// Finds the run that has a name.
fn named<'a>(runs: &'a BTreeMap<String, Value>, name: &str) -> (&'a str, &'a Value) {
    let (path, status) = runs.iter().find(|(_, status)| status["run_name"] == name).unwrap();
    (path, status)
}

#[test]
fn runs_of_mlflow_are_as_mlflow_says() {
    let lab = Lab::new();
    tracker(&lab, "mlflow_store.py").arg("proj/mlruns").run().code(0);
    let runs = listed(&lab, "proj");
    let told = tracker(&lab, "mlflow_store.py").args(["proj/mlruns", "--read"]).run().code(0).json_lines();
    assert_eq!(runs.len(), told.len(), "{runs:#?}");
    for run in told {
        let (path, status) = named(&runs, run["name"].as_str().unwrap());
        assert!(path.ends_with(run["id"].as_str().unwrap()) && status["run_id"] == run["id"], "{path}");
        let expected = match run["status"].as_str().unwrap() {
            "FINISHED" => "completed",
            "FAILED" => "failed",
            "KILLED" => "stopped",
            "RUNNING" => "running",
            "SCHEDULED" => "queued",
            other => panic!("{other}"),
        };
        assert_eq!(status["status"], expected, "{run}");
        let duration = run["end"].as_f64().map(|end| (end - run["start"].as_f64().unwrap()) / 1000.0);
        if let Some(duration) = duration {
            assert_eq!(status["duration_s"], duration, "{run}");
        }
        let expected: BTreeMap<String, Series> = run["metrics"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, points)| {
                let point =
                    |point: &Value| (point[0].as_f64().unwrap(), point[1].as_str().unwrap().parse().unwrap());
                (name.clone(), points.as_array().unwrap().iter().map(point).collect())
            })
            .collect();
        assert_same(&series(&lab, &format!("proj/{path}")), &expected);
        for (name, latest) in run["latest"].as_object().unwrap() {
            let latest: f64 = latest.as_str().unwrap().parse().unwrap();
            let last = status["metrics"][name]["last"].as_f64();
            assert_eq!(last, Some(latest).filter(|latest| latest.is_finite()), "{name}: {run}");
        }
    }
    let (path, _) = named(&runs, "first");
    let report = settings(&lab, &format!("proj/{path}"), "lr,model/depth,seed");
    assert_eq!(report, json!({"lr": 0.1, "model/depth": 3, "seed": 7}));
    assert_eq!(named(&runs, "deleted").1["tags"], json!(["deleted"]));
}

#[test]
fn runs_of_wandb_are_as_it_says_without_an_account() {
    let lab = Lab::new();
    tracker(&lab, "wandb_offline.py").arg("proj").run().code(0);
    let runs = listed(&lab, "proj");
    assert_eq!(runs.len(), 2, "{runs:#?}");
    for (path, status) in &runs {
        let directory = lab.path(format!("proj/{path}"));
        let file = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
        let file = file.into_iter().find(|path| path.extension().is_some_and(|end| end == "wandb")).unwrap();
        let told =
            tracker(&lab, "wandb_offline.py").args(["-", "--read"]).arg(file).run().code(0).json_lines();
        let mut expected: BTreeMap<String, Series> = BTreeMap::new();
        let mut exit = None;
        for record in told {
            if let Some(code) = record.get("exit") {
                exit = Some(code.clone());
            }
            let Some(row) = record["history"].as_object() else { continue };
            let number = |name: &str| row.get(name)?.as_str()?.trim_matches('"').parse::<f64>().ok();
            let step = number("_step").unwrap();
            for name in row.keys().filter(|name| !name.starts_with('_') && !name.starts_with("page/")) {
                if let Some(value) = number(name) {
                    expected.entry(name.clone()).or_default().push((step, value));
                }
            }
        }
        assert_same(&series(&lab, &format!("proj/{path}")), &expected);
        let is_good = exit == Some(json!(0));
        let why = json!("exit 1: RuntimeError: on purpose");
        let expected = if is_good { ("completed", Value::Null) } else { ("failed", why) };
        assert_eq!((status["status"].as_str().unwrap(), status["reason"].clone()), expected, "{status}");
    }
    let (path, status) = named(&runs, "größe");
    assert_eq!((&status["step"], &status["total_steps"]), (&json!(40), &json!(40)), "{status}");
    assert_eq!(status["tags"], json!(["a", "b"]));
    let report = settings(&lab, &format!("proj/{path}"), "lr,model.depth,later");
    assert_eq!(report, json!({"lr": 0.1, "model.depth": 3, "later": 1}));
}

#[test]
fn a_datastore_of_wandb_that_is_cut_anywhere_has_all_rows_before_the_cut() {
    let lab = Lab::new();
    tracker(&lab, "wandb_offline.py").arg("proj").run().code(0);
    let runs = listed(&lab, "proj");
    let (path, _) = named(&runs, "größe");
    let name = std::fs::read_dir(lab.path(format!("proj/{path}"))).unwrap();
    let file = name
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "wandb"));
    let whole = std::fs::read(file.unwrap()).unwrap();
    let (mut starts, mut at) = (Vec::new(), 7);
    while at < whole.len() {
        starts.push(at);
        at += 7 + usize::from(u16::from_le_bytes([whole[at + 4], whole[at + 5]]));
        assert!(at < 32 << 10, "all is in the first block");
    }
    let has = |from: usize, to: usize, text: &[u8]| {
        whole[from..to].windows(text.len()).any(|window| window == text)
    };
    let ends = starts[1..].iter().copied().chain([whole.len()]);
    let rows: Vec<(usize, usize)> = starts
        .iter()
        .copied()
        .zip(ends)
        .filter(|&(from, to)| {
            whole[from + 9] == 0x12 && has(from, to, b"loss") // the second field of a record is its history
        })
        .collect();
    assert_eq!(rows.len(), 40);
    let two_rows = rows[38].0..rows[39].1 + 1;
    let two_records = starts[starts.len() - 2]..whole.len();
    let mut counts = Vec::new();
    for cut in two_rows.chain(two_records) {
        lab.write("cut/run-a/run-a.wandb", &whole[..cut]);
        let done = lab.cmd("run-status").args(["-a", "--json", "--runs-dir", "cut"]).run().code(0).stderr("");
        let status = &done.json_lines()[0];
        assert_eq!(status["status"], "running", "{cut}");
        counts.push(status["metrics"]["loss"]["count"].as_u64().unwrap());
    }
    counts.dedup();
    assert_eq!(counts, [38, 39, 40]);
    // A damaged record is reported once, and the records after it are read.
    let mut damaged = whole.clone();
    damaged[rows[20].0 + 20] ^= 1;
    lab.write("cut/run-a/run-a.wandb", &damaged);
    let done = lab.cmd("run-status").args(["-a", "--json", "--runs-dir", "cut"]).run().code(0);
    assert_eq!(done.err().lines().count(), 1, "{}", done.err());
    assert_eq!(done.json_lines()[0]["metrics"]["loss"]["count"], 39);
}

/// Returns how runs ended: their paths, status and reason.
fn ends(runs: &BTreeMap<String, Value>) -> Vec<(&str, Value, Value)> {
    runs.iter().map(|(path, run)| (path.as_str(), run["status"].clone(), run["reason"].clone())).collect()
}

#[test]
fn runs_of_sacred_tell_how_they_ended() {
    let lab = Lab::new();
    tracker(&lab, "sacred_files.py").arg("sacred").run().code(0);
    let runs = listed(&lab, "sacred");
    let found = ends(&runs);
    assert_eq!(
        found,
        [
            ("1", json!("completed"), Value::Null),
            ("2", json!("failed"), json!("RuntimeError: on purpose")),
            ("3", json!("stopped"), Value::Null)
        ]
    );
    let found = series(&lab, "sacred/1");
    let expected: Series = (0..5).map(|step| (f64::from(step), 1.0 / (f64::from(step) + 1.0))).collect();
    assert_eq!((&found["loss"], found["val.acc"].len()), (&expected, 5));
    let log = lab.cmd("run-status").args(["--log", "sacred/1"]).run().code(0).out();
    assert!(log.contains("printed\n"), "{log}");
    assert_eq!(settings(&lab, "sacred/1", "lr,seed"), json!({"lr": 0.1, "seed": 7}));
}

#[test]
fn folders_of_submitit_tell_what_became_of_their_jobs() {
    let lab = Lab::new();
    tracker(&lab, "submitit_jobs.py").arg("jobs").run().code(0);
    let runs = listed(&lab, "jobs");
    let found = ends(&runs);
    assert_eq!(
        found,
        [
            ("bad", json!("failed"), json!("RuntimeError: on purpose")),
            (
                "both",
                json!("failed"),
                json!("2 jobs, of which 2 have ended, 1 by an error: RuntimeError: on purpose")
            ),
            ("good", json!("completed"), Value::Null),
        ]
    );
    assert_eq!(series(&lab, "jobs/good")["loss"], [(0.0, 1.0), (10.0, 0.0909), (20.0, 0.0476)]);
}

#[test]
fn working_directories_of_hydra_are_runs_at_whatever_depth() {
    let lab = Lab::new();
    tracker(&lab, "hydra_app.py").cwd(lab.path("")).args(["lr=0.2"]).run().code(0);
    tracker(&lab, "hydra_app.py")
        .args(["-m", "lr=0.1,0.2", "hydra.sweep.dir=multirun/2026-01-29/12-00-00"])
        .run()
        .code(0);
    let runs = listed(&lab, ".");
    let names: Vec<&str> = runs.keys().map(String::as_str).collect();
    assert_eq!(names[..2], ["multirun/2026-01-29/12-00-00/0", "multirun/2026-01-29/12-00-00/1"]);
    assert!(names[2].starts_with("outputs/20") && names.len() == 3, "{names:?}");
    let run = &runs[names[1]];
    assert_eq!(
        (&run["step"], &run["total_steps"], &run["status"]),
        (&json!(4), &json!(4), &json!("running"))
    );
    assert_eq!(run["overrides"], json!({"lr": "0.2"}));
    assert_eq!(series(&lab, names[1])["loss"][0], (0.0, 0.2));
}

#[test]
fn what_a_program_logs_to_wandb_offline_is_seen_live() {
    let lab = Lab::new();
    let program = "import os, sys, time
os.environ.update(WANDB_MODE='offline', WANDB_SILENT='true')
import wandb
with wandb.init(project='p', dir=os.environ['RUN_DIR']) as run:
    for step in range(int(sys.argv[1]), int(sys.argv[1]) + 10):
        run.log({'loss': 1 / (step + 1)}, step=step)
    if sys.argv[1] == '0':
        while not os.path.exists('go'):
            run.log({'loss': 0.5}, step=9 + time.monotonic_ns() // 10**8)
            time.sleep(0.1)
";
    lab.write("train.py", program);
    let python = testkit::checkout().join("target/trackers/bin/python3");
    let new = lab.cmd("run-new").args(["-n", "r", "--"]).arg(python).args(["train.py", "0"]);
    new.run().code(0);
    let exec = lab.cmd("run-exec").args(["-q", "--heartbeat", "200ms", "r"]).spawn();
    let status = lab.await_status("r", "some rows", |status| {
        status["metrics"]["loss"]["count"].as_u64().is_some_and(|count| count >= 12)
    });
    let from = status["metrics_from"][0].as_str().unwrap();
    assert!(from.starts_with("wandb/offline-run-") && run_common::wandb::is_datastore(from), "{from}");
    lab.write("go", "");
    exec.wait().code(0);
    let details = lab.cmd("run-status").args(["-a", "--json"]).run().code(0).json_lines();
    assert_eq!(details.len(), 1, "the directory of W&B in a run is no run: {details:?}");
    let rows = series(&lab, "runs/r");
    assert_eq!(rows["loss"].len() as u64, lab.status("r")["metrics"]["loss"]["count"].as_u64().unwrap());
}
