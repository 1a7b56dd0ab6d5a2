//! Comparisons, curves, pages and exports of run-report.

use serde_json::{Value, json};
use std::fs;
use testkit::reports::{made, objects, report};
use testkit::{Lab, checkout};

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
    assert!(values[3].as_str().unwrap().starts_with("min and max of up to "));
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
