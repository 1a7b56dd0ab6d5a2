//! The table of run-report: columns, groups, ranks.

use serde_json::{Value, json};
use testkit::Lab;
use testkit::reports::{by_python, objects, ran, report, sweep};

#[test]
fn the_table_has_what_varies_and_how_each_run_went() {
    let lab = Lab::new();
    sweep(&lab);
    let shown = report(&lab, &["--columns", "lr,seed,loss,status"]);
    let expected = "\
run            lr     seed  loss.last  loss.best  loss.mean  loss.std  status
lr=1e-3_seed=1  0.001  1     1.300      1.100      1.200      0.1000    completed
lr=1e-3_seed=2  0.001  2     2.300      2.100      2.200      0.1000    completed
lr=0.1_seed=1  0.1    1     1.300      1.100      1.200      0.1000    completed
lr=0.1_seed=2  0.1    2     2.300      2.100      2.200      0.1000    completed
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
    assert_eq!(lines[0], json!({"run": "lr=1e-3_seed=1", "host": host, "bs": 8}));
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
    lab.cmd("run-report").args(["--best", "los"]).run().code(2).stdout("").stderr(
        "run-report: no run has 'los'; did you mean 'loss'?\nrun-report: --format csv shows all columns\n",
    );
}

#[test]
fn the_best_value_has_its_step_and_the_other_metrics_stand_beside_it() {
    let lab = Lab::new();
    let rows = |pairs: &[(u32, &str)]| -> String {
        pairs
            .iter()
            .map(|(step, rest)| format!("echo '{{\"step\": {step}, {rest}}}' >> $RUN_METRICS; "))
            .collect()
    };
    let a = rows(&[
        (10, r#""loss": 0.5, "acc": 0.1, "api_usd": 0.5"#),
        (20, r#""loss": 0.2"#),
        (20, r#""acc": 0.4"#),
        (30, r#""loss": 0.2, "acc": 0.9"#),
        (40, r#""loss": NaN, "acc": 0.8"#),
    ]);
    ran(&lab, "a", &[], &a);
    ran(&lab, "b", &[], &rows(&[(5, r#""acc": 0.7, "loss": 0.1"#), (6, r#""loss": 0.3"#)]));
    ran(&lab, "none", &[], "true");
    let lines = objects(&lab, &["--best", "loss"]);
    let of = |line: &Value| {
        ["run", "loss.best", "loss.best_step", "acc.at_best", "api_usd.at_best"].map(|key| line[key].clone())
    };
    assert_eq!(of(&lines[0]), [json!("b"), json!(0.1), json!(5), json!(0.7), Value::Null]);
    assert_eq!(of(&lines[1]), [json!("a"), json!(0.2), json!(20), json!(0.4), json!(0.5)]);
    assert_eq!(of(&lines[2]), [json!("none"), Value::Null, Value::Null, Value::Null, Value::Null]);
    let worst = objects(&lab, &["--best", "acc:min"]);
    assert_eq!((&worst[0]["run"], &worst[0]["loss.at_best"]), (&json!("a"), &json!(0.5)));
    let shown = report(&lab, &["--best", "loss"]);
    let heads: Vec<&str> = shown.lines().next().unwrap().split_whitespace().collect();
    let expected = ["loss.last", "loss.best", "loss.best_step", "acc.at_best", "api_usd.at_best"];
    assert_eq!(heads[4..], expected, "{shown}");
    assert!(shown.lines().nth(2).unwrap().contains("  0.50"), "money as money: {shown}");
    assert!(objects(&lab, &[])[0].get("loss.best_step").is_none());
    assert_eq!(objects(&lab, &["--best", "loss", "--group-by", "status"]).len(), 1);
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
    assert_eq!(
        (&line["step"], &line["reason"], &line["loss.last"]),
        (&Value::Null, &Value::Null, &json!(0.5))
    );
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
            format!("run-report: not shown: {what}; choose with --columns; --format csv and json show all\n")
        }
    };
    for (words, expected) in [
        (&[][..], (said("2 more metrics, 2 more settings"), true, false, true, false)),
        (&["--best", "m4:max"], (said("2 more metrics, 2 more settings"), true, false, false, true)),
        (&["--group-by", "k1"], (said("2 more metrics"), false, false, true, false)),
        (&["--group-by", "k1", "--best", "m4:min"], (said("4 more metrics"), false, false, false, true)),
        (&["--format", "csv"], (said(""), true, true, true, true)),
    ] {
        assert_eq!(shown(words), expected, "{words:?}");
    }
}

#[test]
fn rows_have_the_settings_that_are_asked_for() {
    let lab = Lab::new();
    let script = r#"echo '{"step": 1, "loss": 0.5, "lr": 0.09}' >> $RUN_METRICS; echo '{"step": 2, "loss": 0.25}' >> $RUN_METRICS"#;
    ran(&lab, "a", &["lr=0.1", "optimizer=sgd, nesterov", "step=x"], script);
    ran(&lab, "b", &["lr=1e-3"], script);
    let csv = report(&lab, &["--metrics", "--columns", "lr,optimizer,status,run,config.step"]);
    let expected = "\
run,config.lr,optimizer,status,config.step,step,loss,lr
a,0.1,\"sgd, nesterov\",completed,x,1,0.5,0.09
a,0.1,\"sgd, nesterov\",completed,x,2,0.25,
b,0.001,,completed,,1,0.5,0.09
b,0.001,,completed,,2,0.25,
";
    assert_eq!(csv, expected);
    assert!(report(&lab, &["--metrics"]).starts_with("run,step,loss,lr\n"));
    for (column, why) in [("loss", "'loss' is a metric, and no setting"), ("lrr", "no run has 'lrr'")] {
        lab.cmd("run-report")
            .args(["--metrics", "--columns", column])
            .run()
            .code(2)
            .stdout("")
            .stderr_has(why);
    }
}
