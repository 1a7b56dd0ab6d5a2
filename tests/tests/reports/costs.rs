//! Evaluations and costs in the reports, and what is refused.

use serde_json::{Value, json};
use std::fs;
use testkit::Lab;
use testkit::reports::{by_duckdb, by_miller, by_python, made, objects, ran, report};

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
    // A label under which nothing was evaluated yet is skipped.
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
        .stderr("run-report: these runs have no evaluations\n");
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
    // Elsewhere it does not appear.
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
        .stderr("run-report: no price for 'NVIDIA H100': its time is not in the sums\n");
    lab.write("rates", "A100\n");
    lab.cmd("run-report")
        .args(["--cost", "--rates", "rates"])
        .run()
        .code(2)
        .stderr_has("line 1 is not a device and its price");
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
        ("echo nonsense", "not JSON"),
        ("echo '{}'", "no number \"usd\""),
        ("sleep 1000 & sleep 1000", "longer than 2s"),
        ("exec >&-; sleep 1000", "longer than 2s"),
    ] {
        let (line, said) = cost(command, 1);
        assert_eq!((&line["command_usd"], &line["usd"]), (&Value::Null, &json!(1)), "{command}");
        assert!(
            said.contains("no cost from --cost-command for 'a'") && said.contains(why),
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
    assert!(shown.contains("cost:") && shown.contains(" of it wasted"), "{shown}");
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
