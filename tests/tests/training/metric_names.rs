//! The names of metrics: what they tell, and how they are written in options.

use serde_json::{Value, json};
use testkit::Lab;

/// Creates a run with rows of metrics.
fn made(lab: &Lab, name: &str, file: &str, rows: &str) {
    lab.new_run(name, &["true"]);
    lab.write(&format!("runs/{name}/{file}"), rows);
}

/// Creates two runs, the second with greater values, of a metric.
fn two(lab: &Lab, metric: &str) {
    for (run, values) in [("low", ["0.1", "0.3"]), ("high", ["0.2", "0.7"])] {
        let row = |(step, value): (usize, &str)| {
            format!("{}\n", json!({"step": step, metric: value.parse::<f64>().unwrap()}))
        };
        made(lab, run, "metrics.jsonl", &values.into_iter().enumerate().map(row).collect::<String>());
    }
}

fn report(lab: &Lab, words: &[&str]) -> String {
    lab.cmd("run-report").args(words).run().code(0).out()
}

/// Returns the words of each line.
fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn more_of_map50_is_better_and_its_star_says_so() {
    for metric in ["mAP50", "metrics/mAP50(B)", "rouge1", "box_AP", "hit_rate", "tokens_per_second"] {
        let lab = Lab::new();
        two(&lab, metric);
        let compared = report(&lab, &["--compare", "low", "high"]);
        let expected = format!(
            "what key low high result {metric}.last 0.3000 0.7000 * result {metric}.best 0.3000 0.7000 *"
        );
        assert_eq!(words(&compared).concat().join(" "), expected);
        let sorted = report(&lab, &["--best", metric, "--columns", "status"]);
        assert_eq!(words(&sorted)[1][0], "high", "{metric}");
        let groups = report(&lab, &["--group-by", "status", "--format", "json"]);
        let groups: Value = serde_json::from_str(&groups).unwrap();
        assert_eq!(groups[format!("{metric}.best.mean")], json!(0.5));
    }
}

#[test]
fn where_a_name_says_nothing_no_value_is_the_best() {
    let lab = Lab::new();
    two(&lab, "kl");
    let compared = report(&lab, &["--compare", "low", "high"]);
    assert_eq!(words(&compared).concat().join(" "), "what key low high result kl.last 0.3000 0.7000");
    let header = report(&lab, &["--format", "csv"]).lines().next().unwrap().to_owned();
    assert!(header.contains("kl.last,kl.mean,kl.std") && !header.contains("kl.best"), "{header}");
    let said = "run-report: the name of 'kl' does not tell whether higher or lower is better\n\
                run-report: use --best 'kl:min' or --best 'kl:max'\n";
    lab.cmd("run-report").args(["--best", "kl"]).run().code(2).stdout("").stderr(said);
    for (way, first, best) in [("min", "low", "0.1000"), ("max", "high", "0.7000")] {
        let sorted = report(&lab, &["--best", &format!("kl:{way}"), "--columns", "kl.best"]);
        assert_eq!(words(&sorted)[1], [first, best]);
    }
    let said = "run-report: 'kl' has no best value: its name does not tell whether higher or lower is better\n\
                run-report: use --best 'kl:min' or --best 'kl:max'\n";
    lab.cmd("run-report").args(["--sort", "kl.best"]).run().code(2).stdout("").stderr(said);
    let document: Value = serde_json::from_str(&report(&lab, &["--export", "-"])).unwrap();
    assert_eq!(document["runs"][0]["curves"][0]["more_is_better"], Value::Null);
}

#[test]
fn a_name_with_a_comma_is_taken_as_it_is_or_in_quotes() {
    let lab = Lab::new();
    two(&lab, "acc,none");
    let table = "run   acc,none.last  acc,none.best  acc,none.mean  acc,none.std\n\
                 high  0.7000         0.7000         0.4500         0.3536\n\
                 low   0.3000         0.3000         0.2000         0.1414\n";
    for columns in [
        &["acc,none"][..],
        &["\"acc,none\""],
        &["acc,none.last,acc,none.best", "acc,none.mean,\"acc,none.std\""],
    ] {
        let options = columns.iter().flat_map(|columns| ["--columns", columns]);
        let options: Vec<&str> = options.chain(["--sort", "acc,none:desc"]).collect();
        lab.cmd("run-report").args(options).run().code(0).stdout(table).stderr("");
    }
    let picture = report(&lab, &["--plot", "acc,none"]);
    assert!(picture.trim_start().starts_with("acc,none\n"), "{picture}");
    assert_eq!(report(&lab, &["--plot", "\"acc,none\""]), picture);
    for option in ["--svg", "--html", "--export"] {
        let drawn = report(&lab, &["--plot", "acc,none", option, "-"]);
        assert!(drawn.contains("acc,none"), "{option}");
    }
    lab.cmd("run-report")
        .args(["--plot", "acc,none,lost"])
        .run()
        .code(1)
        .stdout(&picture)
        .stderr("run-report: no run has 'lost'\nrun-report: --format csv shows all columns\n");
    made(&lab, "both", "metrics.jsonl", "{\"step\": 1, \"acc\": 1, \"acc,none\": 2, \"none\": 3}\n");
    let document: Value =
        serde_json::from_str(&report(&lab, &["--plot", "acc,none", "--export", "-", "both"])).unwrap();
    let curves: Vec<&Value> =
        document["runs"][0]["curves"].as_array().unwrap().iter().map(|curve| &curve["metric"]).collect();
    assert_eq!(curves, ["acc,none"]);
    let quoted = report(&lab, &["--columns", "\"acc\",\"none\"", "both"]);
    assert_eq!(
        words(&quoted)[0],
        ["run", "acc.last", "acc.best", "acc.mean", "acc.std", "none.last", "none.mean", "none.std"]
    );
}

#[test]
fn run_status_shows_a_metric_with_a_comma() {
    let lab = Lab::new();
    let script = r#"echo '{"step": 1, "acc,none": 0.5, "acc": 1, "b": 2}' >> $RUN_METRICS"#;
    lab.new_run("r", &["sh", "-c", script]);
    lab.cmd("run-exec").args(["-q", "r"]).run().code(0);
    for columns in ["acc,none", "\"acc,none\"", "lost,acc,none"] {
        let shown = lab.cmd("run-status").args(["-a", "--columns", columns]).run().code(0).out();
        assert!(
            shown.contains(" acc,none=0.5000 ") && !shown.contains("b=2") && !shown.contains(" acc="),
            "{shown}"
        );
    }
    let shown = lab.cmd("run-status").args(["-a", "--columns", "acc,b"]).run().code(0).out();
    assert!(shown.contains(" acc=1 b=2 "), "{shown}");
}

#[test]
fn objects_in_a_row_are_metrics_with_the_names_above_them() {
    let lab = Lab::new();
    let rows = "{\"step\": 1, \"train\": {\"loss\": 0.5, \"by\": {\"a\": 1, \"b\": [2]}}, \"val\": {\"loss\": 0.6}}\n\
                {\"step\": 2, \"train\": {\"loss\": 0.25}, \"note\": {}}\n";
    let script = format!("cat >> $RUN_METRICS <<'EOF'\n{rows}EOF\n");
    lab.new_run("r", &["sh", "-c", &script]);
    lab.cmd("run-exec").args(["-q", "r"]).run().code(0);
    let status = lab.status("r");
    let names: Vec<&String> = status["metrics"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["train/loss", "train/by/a", "val/loss"]);
    assert_eq!(status["metrics"]["train/loss"]["last"], json!(0.25));
    assert_eq!(status["recent"][1], json!({"step": 2, "train/loss": 0.25}));
    let expected = "run,step,train/loss,train/by/a,train/by/b,val/loss\nr,1,0.5,1,[2],0.6\nr,2,0.25,,,\n";
    lab.cmd("run-report").arg("--metrics").run().code(0).stdout(expected).stderr("");
    let drawn = report(&lab, &["--plot", "train/loss", "--export", "-"]);
    let document: Value = serde_json::from_str(&drawn).unwrap();
    assert_eq!(document["runs"][0]["curves"][0]["min"], json!([0.5, 0.25]));
}

#[test]
fn two_columns_of_one_name_both_survive() {
    let lab = Lab::new();
    made(&lab, "r", "metrics.csv", "epoch,loss,loss,,,loss.1,loss\n1,0.5,0.6,,,0.7,0.8\n");
    let expected = "run,step,epoch,loss,loss.1,loss.1.1,loss.2\nr,1,1,0.5,0.6,0.7,0.8\n"; // as run-eval
    lab.cmd("run-report").arg("--metrics").run().code(0).stderr("").stdout(expected);
}

#[test]
fn what_keeps_the_books_is_shown_when_asked_for() {
    let lab = Lab::new();
    let script = r#"echo '{"iter": 1, "train_runtime": 9, "mfu": -100, "grad_norm": 2, "loss": 0.5, "val": {"acc": 1}}' >> $RUN_METRICS"#;
    lab.new_run("r", &["sh", "-c", script]);
    lab.cmd("run-exec").args(["-q", "r"]).run().code(0);
    let shown = lab.cmd("run-status").arg("-a").run().code(0).out();
    assert!(shown.contains(" grad_norm=2 loss=0.5000 val/acc=1 "), "{shown}");
    let header = report(&lab, &["--format", "md"]).lines().next().unwrap().to_owned();
    assert!(
        header.contains("loss.last") && !header.contains("mfu") && !header.contains("runtime"),
        "{header}"
    );
    // Of several runs, what most have comes first.
    for run in ["a", "b"] {
        made(&lab, run, "metrics.jsonl", "{\"step\": 1, \"x_loss\": 1, \"y_loss\": 1, \"reward\": 1}\n");
    }
    let header = report(&lab, &["--format", "md"]).lines().next().unwrap().to_owned();
    let has = |name: &str| header.contains(&format!("| {name}.last |"));
    assert!(has("x_loss") && has("y_loss") && has("reward") && !has("loss"), "{header}");
}
