//! Runs of the four systems that the suite takes over from are read as they are, in every deviation that these write.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use testkit::foreign::{
    age, connect4, connect4_status, experiments, iso, rl_evaluations, rl_practice, short_rows, slash_rows,
    stealthrl,
};
use testkit::process::getuid;
use testkit::reports::{by_python, objects, report};
use testkit::{Done, Lab};

/// Lists all runs below a directory; returns them by name, and what happened.
fn list(lab: &Lab, directory: &str) -> (HashMap<String, Value>, Done) {
    let listed = lab.cmd("run-status").args(["-d", directory, "-a", "--json"]).run();
    let name = |run: &Value| run["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let runs = listed.json_lines().into_iter().map(|run| (name(&run), run)).collect();
    (runs, listed)
}

#[test]
fn stealthrl_runs_have_status_duration_and_averages_with_both_styles_of_names() {
    let lab = Lab::new();
    let at = |name: &str| format!("outputs/runs/{name}");
    stealthrl(&lab, &at("short"), &json!({}), &short_rows(3));
    stealthrl(&lab, &at("slash"), &json!({"end_time": "2024-01-15 15:30:22"}), &slash_rows(3));
    stealthrl(&lab, &at("no_end"), &json!({"end_time": null}), &short_rows(2));
    stealthrl(
        &lab,
        &at("going"),
        &json!({"status": "running", "end_time": null}),
        &(short_rows(2) + "{\"step\": 2, \"rew"),
    );
    stealthrl(&lab, &at("left"), &json!({"status": "running", "end_time": null}), &short_rows(1));
    stealthrl(&lab, &at("größe"), &json!({"run_name": "größe", "status": "failed"}), "");
    age(&lab, &at("left"), 3600);
    let (runs, listed) = list(&lab, "outputs/runs");
    assert_eq!(listed.code(0).err(), "");
    for (name, status, duration) in [
        ("short", "completed", json!(888.25)),
        ("slash", "completed", json!(3600.0)),
        ("no_end", "completed", json!(38.5)), // up to its last row
        ("going", "running", Value::Null),
        ("left", "stale", Value::Null),
        ("größe", "failed", json!(888.25)),
    ] {
        let run = &runs[name];
        assert_eq!(run["status"], status, "{name}");
        assert!(duration.is_null() || run["duration_s"] == duration, "{name}: {}", run["duration_s"]);
        assert_eq!(run["layout"], "StealthRL");
    }
    let mean = |name: &str, metric: &str| runs[name]["metrics"][metric]["mean"].as_f64().unwrap();
    assert!(
        (mean("short", "reward") - 0.2).abs() < 1e-12
            && (mean("slash", "env/all/reward/total") - 0.2).abs() < 1e-12
    );
    assert_eq!(runs["slash"]["metrics"]["env/all/kl"]["nonfinite"], 3);
    assert_eq!((&runs["short"]["step"], &runs["going"]["step"]), (&json!(2), &json!(1)));
    assert!(
        runs["left"]["reason"].as_str().unwrap().starts_with("nothing was written for 1h"),
        "{}",
        runs["left"]
    );
    // Naive times are local.
    let there = lab
        .cmd("run-status")
        .args(["-d", "outputs/runs", "--json", "short"])
        .env("TZ", "XYZ-3")
        .run()
        .code(0);
    assert_eq!(there.json_lines()[0]["start_time"], "2024-01-15T11:30:22.000Z");
    let details = lab.cmd("run-status").args(["-d", "outputs/runs", "slash"]).run().code(0).out();
    assert!(details.contains("made by:") && details.contains("env/all/reward/total"), "{details}");
    let log = lab.cmd("run-status").args(["--log", "outputs/runs/short"]).run().code(0);
    assert_eq!(log.out(), "loading\nstep 1\n");
}

#[test]
fn what_is_damaged_is_said_in_a_line_and_hides_nothing() {
    let lab = Lab::new();
    for name in ["torn", "empty", "list", "latin", "rows", "fine"] {
        stealthrl(&lab, &format!("runs/{name}"), &json!({}), &short_rows(2));
    }
    lab.write("runs/torn/run_metadata.json", "{\"status\": \"comple");
    lab.write("runs/empty/run_metadata.json", "");
    lab.write("runs/list/run_metadata.json", "[]");
    lab.write(
        "runs/latin/run_metadata.json",
        b"{\"status\": \"completed\", \"data_path\": \"caf\xe9\", \"num_epochs\": NaN}",
    );
    lab.write("runs/rows/metrics.jsonl", format!("{}torn{{\n{}", short_rows(1), short_rows(2)));
    let (runs, listed) = list(&lab, "runs");
    assert_eq!(runs.len(), 6);
    let said = listed.code(3).err();
    assert_eq!(said.lines().count(), 5, "{said}");
    for name in ["torn", "empty", "list", "latin", "rows"] {
        assert_eq!(said.lines().filter(|line| line.contains(&format!("/{name}"))).count(), 1, "{said}");
    }
    assert_eq!(
        (&runs["latin"]["status"], &runs["fine"]["status"]),
        (&json!("completed"), &json!("completed"))
    );
    assert_eq!(runs["torn"]["status"], "running", "its files have just changed");
    assert_eq!(runs["torn"]["metrics"]["reward"]["count"], 2);
    assert_eq!(runs["rows"]["status"], "completed");
}

#[test]
fn experiments_have_their_results_and_the_metrics_that_they_printed() {
    let lab = Lab::new();
    let batch = "experiments/experiment_20240128_143022";
    experiments(&lab, batch);
    let (runs, listed) = list(&lab, "experiments");
    assert_eq!(listed.code(0).err(), "");
    for (name, status, reason) in [
        ("easy", "completed", Value::Null),
        ("moderate", "failed", json!("Training failed with return code 1")),
        ("hard", "failed", json!("invalid start byte")),
        ("last", "running", Value::Null),
    ] {
        let run = &runs[name];
        assert_eq!((&run["status"], &run["reason"]), (&json!(status), &reason), "{name}");
        assert_eq!((&run["step"], &run["total_steps"]), (&json!(500), &json!(1000)), "{name}");
        assert_eq!(run["metrics"]["loss"]["last"], 1.5, "{name}");
        assert_eq!(run["metrics"]["val loss"]["last"], 1.9, "{name}");
        assert_eq!(run["command"][1], "train_run.py");
    }
    assert_eq!((&runs["easy"]["duration_s"], &runs["easy"]["exit_code"]), (&json!(90.5), &json!(0)));
    // A batch is named as one of ours is.
    let named = lab.cmd("run-status").args(["--json", batch]).run().code(0);
    assert_eq!(named.json_lines().len(), 4);
    let table = lab.cmd("run-status").args(["-d", "experiments", "-a"]).run().code(0).out();
    assert!(table.contains("experiment_20240128_143022/  1 running, 1 completed, 2 failed"), "{table}");
    let details = lab.cmd("run-status").arg(format!("{batch}/moderate")).run().code(0).out();
    assert!(details.contains("RuntimeError: boom") && details.contains("ckpt_unmasking_500.pt"), "{details}");
    for (log, expected) in
        [("stdout", "n_layer = 2"), ("stderr", "warning"), ("combined", "[STDOUT] n_layer = 2")]
    {
        let shown =
            lab.cmd("run-status").args([&format!("--log={log}"), &format!("{batch}/easy")]).run().code(0);
        assert_eq!(shown.out().lines().next(), Some(expected));
    }
    // The summary counts for a run without a result; it may be of an older batch in the directory above.
    fs::remove_file(lab.path(format!("{batch}/hard/experiment_result.json"))).unwrap();
    lab.write(
        &format!("{batch}/experiment_summary.json"),
        json!({"results": {"hard": {"status": "error", "error": "x\ny"}}}).to_string(),
    );
    age(&lab, batch, 600);
    let (runs, _) = list(&lab, "experiments");
    assert_eq!((&runs["hard"]["status"], &runs["hard"]["reason"]), (&json!("failed"), &json!("x")));
    assert_eq!(runs["last"]["status"], "stale", "never dead: nothing tells its process");
}

#[test]
fn connect4_runs_are_what_their_document_says_without_its_errors() {
    let lab = Lab::new();
    let status = connect4_status;
    let mine = std::process::id().to_string();
    let gone = {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id().to_string()
    };
    let mut expected = Vec::new();
    let mut add = |name: &'static str, status: &Value, pid: Option<&str>, what: &'static str| {
        connect4(&lab, &format!("runs/{name}"), status, pid);
        expected.push((name, what));
    };
    add("works", &status("running", 5), Some(&mine), "running");
    add("hangs", &status("running", 300), Some(&mine), "stale");
    add("gone", &status("running", 5), Some(&gone), "dead");
    add("raised", &status("running", 5), None, "dead");
    add("done", &status("completed", 900), None, "completed");
    add("stopped", &status("stopped", 900), None, "stopped");
    for (name, pid) in [
        ("zero", "0"),
        ("minus", "-1"),
        ("one", "1"),
        ("empty", ""),
        ("word", "nobody"),
        ("huge", "99999999999"),
    ] {
        add(name, &status("running", 5), Some(pid), "dead");
    }
    add("begins", &Value::Null, Some(&mine), "running");
    add("fell", &Value::Null, Some(&gone), "dead");
    add("list", &json!([]), Some(&mine), "running");
    add("reused", &status("running", 5), Some(&mine), "dead");
    fs::File::open(lab.path("runs/reused/pid"))
        .unwrap()
        .set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(864_000))
        .unwrap();
    let (runs, listed) = list(&lab, "runs");
    assert_eq!(runs.len(), expected.len());
    for (name, what) in &expected {
        assert_eq!(runs[*name]["status"], *what, "{name}: {}", runs[*name]["reason"]);
    }
    let said = listed.code(3).err();
    assert_eq!(said, "run-status: cannot read 'runs/list/status.json': it is no JSON object\n");
    let run = &runs["works"];
    assert_eq!(
        (&run["step"], &run["total_steps"], &run["pid"]),
        (&json!(12345), &json!(50000), &json!(std::process::id()))
    );
    assert_eq!(run["start_time"], "2026-01-29T12:00:00.000Z");
    assert_eq!(
        (&run["metrics"]["reward"]["count"], &run["metrics"]["reward"]["nonfinite"]),
        (&json!(1), &json!(1))
    );
    // Of runs that are over, a plain list says nothing; the dead are shown.
    let table = lab.cmd("run-status").arg("--status=dead,stale").run().code(0).out();
    assert_eq!(
        table.lines().count(),
        1 + expected.iter().filter(|(_, what)| ["dead", "stale"].contains(what)).count()
    );
    let patient = lab.cmd("run-status").args(["--json", "--stale-after", "10m", "hangs"]).run().code(0);
    assert_eq!(patient.json_lines()[0]["status"], "running");
}

#[test]
fn the_current_episode_and_epsilon_of_connect4_are_those_of_its_status() {
    let lab = Lab::new();
    for name in ["behind", "bare", "none", "level"] {
        connect4(&lab, &format!("runs/{name}"), &connect4_status("completed", 60), None);
    }
    lab.write("runs/bare/metrics.csv", "step,reward\n100,0.5\n");
    fs::remove_file(lab.path("runs/none/metrics.csv")).unwrap();
    lab.write("runs/level/metrics.csv", "step,episode,epsilon\n12345,679,0.4\n");
    let (runs, listed) = list(&lab, "runs");
    assert_eq!(listed.code(0).err(), "");
    for (name, figures) in [
        ("behind", json!([678, 5, 3, 0.42, 0.42])), // a table that is behind the status
        ("bare", json!([678, 678, 1, 0.42, 0.42])),
        ("none", json!([678, 678, 1, 0.42, 0.42])),
        ("level", json!([679, 679, 1, 0.4, 0.4])),
    ] {
        let [episode, epsilon] = ["episode", "epsilon"].map(|metric| &runs[name]["metrics"][metric]);
        let found =
            json!([episode["last"], episode["min"], episode["count"], epsilon["last"], epsilon["min"]]);
        assert_eq!(found, figures, "{name}");
        let details = lab.cmd("run-status").arg(format!("runs/{name}")).run().code(0).out();
        let expected = format!("12345/50000 (24.7%) ep={} ε={:.4}", figures[0], figures[3].as_f64().unwrap());
        assert!(details.contains(&expected), "{details}");
    }
    assert_eq!(runs["none"]["metrics_from"], json!(["status.json"]));
    let table = objects(&lab, &["-d", "runs"]);
    assert!(table.iter().all(|run| run["epsilon.last"].as_f64() <= Some(0.42)), "{table:?}");
}

#[test]
fn a_process_that_may_not_be_signalled_is_alive() {
    if !getuid().is_root() {
        return;
    }
    let lab = Lab::new();
    let other = lab.cmd("sleep").arg("1000").spawn();
    connect4(&lab, "runs/theirs", &connect4_status("running", 5), Some(&other.pid().to_string()));
    lab.set_mode("", 0o755);
    let looked = lab.cmd_by_somebody("run-status").args(["--json", "theirs"]).run().code(0);
    assert_eq!(looked.json_lines()[0]["status"], "running");
}

#[test]
fn rl_practice_runs_are_told_by_their_files() {
    let lab = Lab::new();
    rl_practice(&lab, "fs", "run_2025-08-19_12-34-56", &["10", "20"], 9);
    rl_practice(&lab, "fs", "run_2025-08-20_00-00-00", &["10", "final"], 3);
    lab.write("fs/rl_runs/run_2025-07-01_10-00-00/config.yaml", "total_steps: 5\n");
    lab.write("fs/rl_runs/run_2025-07-01_10-00-00/train_log.jsonl", "{\"step\": 4, \"loss\": 0.5}\n");
    age(&lab, "fs/rl_runs", 7200);
    rl_evaluations(&lab, "fs", "run_2025-08-19_12-34-56", "gsm8k", true);
    rl_evaluations(&lab, "fs", "run_2025-08-19_12-34-56", "math", false);
    let (runs, listed) = list(&lab, "fs");
    assert_eq!(listed.code(0).err(), "");
    assert_eq!(runs.len(), 3, "evaluations are no runs");
    let run = &runs["run_2025-08-19_12-34-56"];
    assert_eq!(
        (&run["status"], &run["step"], &run["total_steps"]),
        (&json!("running"), &json!(9), &json!(40))
    );
    assert_eq!(run["start_time"], "2025-08-19T12:34:56.000Z");
    assert_eq!(
        (&run["metrics"]["r_mean"]["count"], &run["metrics"]["r_mean"]["nonfinite"]),
        (&json!(8), &json!(1))
    );
    assert_eq!(run["metrics"]["ratio_max"]["last"], 1.25);
    assert_eq!(run["metrics"]["reward"], Value::Null, "rollouts are data");
    assert_eq!(runs["run_2025-08-20_00-00-00"]["status"], "completed");
    let old = &runs["run_2025-07-01_10-00-00"];
    assert_eq!((&old["status"], &old["metrics"]["loss"]["last"]), (&json!("stale"), &json!(0.5)));
    let details = lab.cmd("run-status").args(["-d", "fs", "run_2025-08-19_12-34-56"]).run().code(0).out();
    let shown = |words: &[&str]| {
        details.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().starts_with(words))
    };
    assert!(shown(&["training_state/step_20", "20"]), "{details}");
    assert!(shown(&["gsm8k", "20", "3"]) && shown(&["math", "10", "3"]), "{details}");
    let rows = by_python(&lab, &report(&lab, &["-d", "fs", "--evals"]));
    assert_eq!(rows.as_array().unwrap().len(), 12);
    assert_eq!(
        rows[1],
        json!({"run": "training_runs/run_2025-08-19_12-34-56", "label": "gsm8k", "step": "10", "q_idx": "1", "pass_rate": "0.25", "pass@1": ""})
    );
    let table = objects(&lab, &["-d", "fs"]);
    let of_run = table.iter().find(|row| row["run"].as_str().unwrap().ends_with("12-34-56")).unwrap();
    assert_eq!(of_run["math/pass_rate.last"], 0.75, "{of_run}");
}

#[test]
fn all_of_them_and_a_batch_of_ours_are_one_list() {
    let lab = Lab::new();
    stealthrl(&lab, "all/stealth/run_20240115_143022", &json!({}), &slash_rows(2));
    experiments(&lab, "all/experiments/experiment_20240128_143022");
    connect4(&lab, "all/connect4/my_run", &connect4_status("completed", 60), None);
    rl_practice(&lab, "all/localfs", "run_2025-08-19_12-34-56", &["10"], 4);
    rl_evaluations(&lab, "all/localfs", "run_2025-08-19_12-34-56", "gsm8k", false);
    lab.cmd("run-new")
        .args(["-d", "all", "--batch=ours", "--sweep", "lr=1,2", "--", "true", "{set:lr}"])
        .run()
        .code(0);
    lab.cmd("run-exec").args(["-q", "-d", "all", "ours"]).run().code(0);
    for number in 0..50 {
        lab.write(&format!("all/data/class_{number}/images/0.jpg"), "");
        lab.write(&format!("all/data/class_{number}/labels.csv"), "step,label\n1,2\n");
    }
    lab.write("all/notes/todo.txt", "");
    let (runs, listed) = list(&lab, "all");
    assert_eq!(runs.len(), 1 + 4 + 1 + 1 + 2, "{:?}", runs.keys());
    assert_eq!(
        listed.code(0).err(),
        "run-status: 'all/data' and 1 more are not recognised as runs, and hold none\n"
    );
    let rows = objects(&lab, &["-d", "all"]);
    assert_eq!(rows.len(), 9);
    for words in [
        &["--metrics"][..],
        &["--compare", "--format", "csv"],
        &["--plot", "loss"],
        &["--html", "page.html"],
        &["--export", "all.json"],
        &["--svg", "a.svg", "--plot", "loss"],
        &["--cost", "--rate", "1", "--format", "csv"],
    ] {
        lab.cmd("run-report").args(["-d", "all"]).args(words).run().code(0);
    }
    let metrics = by_python(&lab, &report(&lab, &["-d", "all", "--metrics"]));
    assert_eq!(metrics.as_array().unwrap().len(), 2 + 4 * 3 + 2 + 5);
    let exported = lab.json("all.json");
    assert_eq!(exported["runs"].as_array().unwrap().len(), 9);
    // By name, from the runs directory.
    let one = lab.cmd("run-status").args(["-d", "all", "--json", "my_run"]).run().code(0).json_lines();
    assert_eq!(one[0]["step"], 12345);
}

#[test]
fn the_trainer_of_a_run_of_ours_may_keep_such_files() {
    let lab = Lab::new();
    let script = r#"printf 77 > pid; printf '{"status": "running", "step": 30, "total_steps": 60}' > status.json
printf '{"start_time_iso": "2026-01-29T12:00:00+00:00"}' > meta.json; printf 'a: 1' > config.yaml"#;
    let run = lab.new_run("ours", &["sh", "-c", &format!("cd \"$RUN_DIR\"; {script}")]);
    lab.cmd("run-exec").args(["-q", &run]).run().code(0);
    let status = lab.status(&run);
    assert_eq!(
        (&status["status"], &status["step"], &status["layout"]),
        (&json!("completed"), &json!(30), &Value::Null)
    );
}

#[test]
fn times_are_told_from_the_present() {
    assert!(iso(0).ends_with("+00:00") && iso(0) > iso(5), "{}", iso(0));
}
