//! Comparisons, curves, the size of pages, and exports of run-report.

use serde_json::{Value, json};
use std::fs;
use testkit::Lab;
use testkit::reports::{drawn, made, objects, report};

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
    // What one run alone has is not better than nothing.
    made(&lab, "e", &[("metrics.jsonl", "{\"step\": 1, \"loss\": 3, \"acc\": 0.5}\n")]);
    let table = report(&lab, &["--compare", "a", "b", "e"]);
    let words = |key: &str| {
        let line = table.lines().find(|line| line.contains(key)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(words("acc.best"), ["result", "acc.best", "0.5000"]);
    assert_eq!(words("loss.best"), ["result", "loss.best", "2", "1", "*", "3"]);
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
    assert!(shown.contains("two (3001 rows, min and max of every 4, 1 not finite (x))"), "{shown}");
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
        .stderr("run-report: no run has 'los'\nrun-report: --format csv shows all columns\n");
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
    assert!(svg.contains("two (3001 rows, min and max of every 4, 1 not finite (x))"), "{svg}");
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
    // A name that no run has is reported, and the rest is drawn.
    for option in ["--svg", "--html", "--export"] {
        let done = lab.cmd("run-report").args([option, "-", "--plot", "loss,los"]).run().code(1);
        assert_eq!(
            done.err(),
            "run-report: no run has 'los'\nrun-report: --format csv shows all columns\n",
            "{option}"
        );
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
