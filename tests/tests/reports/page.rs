//! The page of run-report, in a real browser.

use serde_json::{Value, json};
use testkit::Lab;
use testkit::browser::browse;
use testkit::reports::{drawn, made};

/// JavaScript that chooses a value of a control.
fn choose(id: &str, value: &str) -> String {
    format!(
        "$('{id}').value = '{value}'; for (const kind of ['input', 'change']) $('{id}').dispatchEvent(new Event(kind))"
    )
}

#[test]
fn the_page_opens_from_disk_and_can_be_used() {
    let lab = Lab::new();
    drawn(&lab);
    lab.cmd("run-report").args(["--html", "page.html"]).run().code(0).stdout("").stderr("");
    let place = "(() => { const b = charts[0].area.getBoundingClientRect(), c = charts[0].box; \
                 return [b.x + c.left, b.y, b.x + c.right]; })()";
    let at = browse(&lab, "page.html", (1280, 900), &json!([["eval", place]]));
    let number = |index: usize| at[0][index].as_f64().unwrap();
    let (left, top, right) = (number(0), number(1), number(2));
    let tip = "document.getElementById('tip').textContent";
    let heads = "[...document.querySelectorAll('#table tbody th')].map(cell => cell.textContent)";
    let values = browse(
        &lab,
        "page.html",
        (1280, 900),
        &json!([
            ["eval", "document.title"],
            ["eval", "document.documentElement.scrollWidth <= window.innerWidth"],
            ["eval", "[...document.querySelectorAll('figcaption b')].map(one => one.textContent)"],
            ["eval", "[...document.querySelectorAll('#runs .fit')].map(one => one.textContent)"],
            ["move", right + 5.0, top + 100.0],
            ["eval", tip],
            ["eval", "document.querySelectorAll('#tip .swatch').length"],
            ["eval", "charts[0].range()"],
            ["click", "#trim"],
            ["eval", "charts[0].range().y[1] < 0.1"],
            ["click", "#trim"],
            ["drag", left + 20.0, top + 100.0, f64::midpoint(left, right)],
            ["eval", "chosen.zoom[1] < 2000 && chosen.zoom[0] > 1"],
            ["eval", "charts[0].range().x[1] < 2000"],
            ["click", "#reset"],
            ["eval", "chosen.zoom"],
            ["click", "#logy"],
            ["eval", "charts[0].range().y[0] > 0"],
            ["click", "#logx"],
            ["eval", "[chosen.logx, chosen.logy]"],
            ["click", "#runs li:nth-child(1) input"],
            ["eval", "charts[0].lines().length"],
            ["eval", "[...document.querySelectorAll('#settings tbody th')].map(cell => cell.textContent)"],
            ["click", "#all"],
            ["eval", "[...document.querySelectorAll('#settings thead th')].map(cell => cell.textContent)"],
            ["eval", heads],
            ["click", "#table th:nth-child(1)"],
            ["click", "#table th:nth-child(1)"],
            ["eval", heads],
            ["eval", "[...document.querySelectorAll('#table td.bad')].map(cell => cell.textContent)"],
            [
                "eval",
                "[...document.querySelectorAll('#provenance-same dt')].some(cell => cell.textContent === 'tool_version')"
            ],
            ["click", "#dark"],
            ["eval", "getComputedStyle(document.body).backgroundColor"],
            ["do", "window.before = charts[0].canvas.width; $('toggles').style.width = '40vw'"], // as by its corner
            ["wait", "charts[0].canvas.width < window.before"],
            ["eval", "charts[0].canvas.width === charts[0].canvas.clientWidth"],
        ]),
    );
    let names = json!(["<_script><b>one", "empty", "two"]);
    assert_eq!(values[..4], [json!("3 runs"), json!(true), json!(["loss", "<i>"]), names.clone()]);
    let shown = values[4].as_str().unwrap();
    assert!(shown.contains("<_script><b>one3.33") && shown.contains("twoNaNstep 3001"), "{shown}");
    assert_eq!(values[5], json!(2), "a piece of its line for each run");
    assert_eq!((&values[6]["x"], &values[6]["y"][1]), (&json!([1, 3001]), &json!(9.5)), "a spike is kept");
    assert_eq!(values[7], json!(true), "without outliers");
    let rest = [
        json!(true),
        json!(true),
        Value::Null,
        json!(true),
        json!([true, true]),
        json!(1),
        json!(["empty", "two"]),
        json!(["run", "lr", "seed", "same"]), // a run without a config differs in everything
        names,
        json!(["two", "empty", "<_script><b>one"]),
        json!(["NaN"]),
        json!(true),
        json!("rgb(21, 23, 28)"),
        json!(true),
    ];
    assert_eq!(values[8..], rest);
    let phone = json!([
        ["eval", "document.documentElement.scrollWidth"],
        ["eval", "document.querySelector('canvas').clientWidth > 300"]
    ]);
    assert_eq!(browse(&lab, "page.html", (390, 844), &phone), [json!(390), json!(true)]);
    lab.nothing_left();
}

/// Four runs of two learning rates and two seeds, whose rows tell their epoch and their time.
fn sweep(lab: &Lab) {
    for (number, (lr, seed)) in [("0.1", 1), ("0.1", 2), ("0.2", 1), ("0.2", 2)].into_iter().enumerate() {
        let name = format!("sweep-of-mlp-lr={lr}-seed={seed}");
        let words = ["-n", &name, "-s", &format!("lr={lr}"), "-s", &format!("seed={seed}"), "-s", "width=8"];
        lab.cmd("run-new").args(words).args(["--set-by-env", "--", "true"]).run().code(0);
        let mut rows = String::new();
        for step in 0..100 {
            let loss = 1.0 / f64::from(step + 1) + f64::from(u32::try_from(number).unwrap());
            let time = 1_700_000_000 + step * 60;
            rows += &format!(
                "{{\"step\": {step}, \"epoch\": {}, \"time\": {time}, \"loss\": {loss}, \"lr\": {lr}, \"fps\": {}}}\n",
                f64::from(step) / 50.0,
                100 + step % 7,
            );
        }
        rows += &format!("{{\"step\": 99, \"test/accuracy\": 0.{number}}}\n");
        lab.write(&format!("runs/{name}/metrics.jsonl"), rows);
    }
}

#[test]
fn curves_can_be_smoothed_grouped_and_drawn_over_epochs_and_times() {
    let lab = Lab::new();
    sweep(&lab);
    lab.cmd("run-report").args(["--html", "page.html"]).run().code(0);
    let x = "charts[0].range().x";
    let one = "(() => { const c = charts[1], s = c.scale, p = c.lines()[3]; \
               const dots = c.canvas.getContext('2d').getImageData(s.x.there(p.x[0]) - 3, s.y.there(p.y[0]) - 3, 7, 7).data; \
               return [p.x.length, [...dots].filter((value, i) => i % 4 === 3 && value > 200).length > 20]; })()";
    let values = browse(
        &lab,
        "page.html",
        (1300, 900),
        &json!([
            ["eval", "charts.map(chart => chart.metric.name)"],
            ["eval", "[...document.querySelectorAll('#runs .fit')].map(one => one.textContent)"],
            ["eval", "[...$('way').options].map(one => one.value)"],
            ["eval", x],
            ["do", choose("way", "epoch")],
            ["eval", x],
            ["do", choose("way", "relative")],
            ["eval", x],
            ["do", choose("way", "time")],
            ["eval", x],
            ["do", choose("way", "step")],
            // A single point is seen, and what is best is marked and said.
            ["eval", one],
            ["eval", "charts[0].note.textContent"],
            ["eval", "charts[1].note.textContent"],
            ["eval", "[...document.querySelectorAll('#table td.best')].map(one => one.textContent)"],
            // Constants and bookkeeping are folded away.
            ["eval", "$('constants').open"],
            ["eval", "[...$('constants').querySelectorAll('dt, dd')].map(one => one.textContent)"],
            [
                "eval",
                "[...document.querySelectorAll('#charts details')].map(one => [one.querySelector('h2').textContent, one.open])"
            ],
            ["eval", "[...document.querySelectorAll('#settings thead th')].map(one => one.textContent)"],
            ["eval", "[...document.querySelectorAll('#settings-same dt')].map(one => one.textContent)"],
            // The mean of groups, with a band.
            ["eval", "[...$('group').options].map(one => one.value)"],
            ["do", choose("group", "lr")],
            [
                "eval",
                "charts[0].lines().map(one => [one.name, ...[one.y[0], one.low[0], one.high[0]].map(value => Number(value.toFixed(3)))])"
            ],
            ["eval", "charts[1].lines().map(one => one.y)"],
            ["eval", "document.querySelectorAll('#runs li').length"],
            ["do", choose("group", "")],
            ["do", choose("smooth", "0.5")],
            ["eval", "charts[0].lines()[0].y.slice(0, 3)"],
            ["eval", "charts[0].lines()[0].raw.slice(0, 2)"],
            // Pointing at a run draws it over the others in all charts.
            ["do", "$('runs').children[2].dispatchEvent(new PointerEvent('pointerenter'))"],
            [
                "eval",
                "[...charts[0].over.getContext('2d').getImageData(0, 0, 300, 200).data].some(value => value > 0)"
            ],
            ["do", choose("filter", "TEST")],
            ["wait", "charts[0].element.hidden && !charts[1].element.hidden"],
        ]),
    );
    let names = ["lr=0.1-seed=1", "lr=0.1-seed=2", "lr=0.2-seed=1", "lr=0.2-seed=2"];
    let expected = [
        json!(["loss", "test/accuracy"]),
        json!(names), // without the words that all begin with
        json!(["step", "epoch", "relative", "time"]),
        json!([0, 99]),
        json!([0, 1.98]),
        json!([0, 99 * 60]),
        json!([1_700_000_000, 1_700_000_000 + 99 * 60]),
        json!([1, true]),
        json!("min 0.01 · lr=0.1-seed=1 · step 99"),
        json!("max 0.3 · lr=0.2-seed=2 · step 99"),
        json!(["0.01", "0.01", "0.3", "0.3"]),
        json!(false),
        json!(["lr", "0.1, 0.2"]),
        json!([["Metrics", true], ["Bookkeeping", false]]),
        json!(["run", "lr", "seed"]),
        json!(["width"]),
        json!(["", "lr", "seed"]),
        json!([["lr=0.1", 1.5, 0.793, 2.207], ["lr=0.2", 3.5, 2.793, 4.207]]),
        json!([[0.05], [0.25]]),
        json!(6),
        json!([1, 2.0 / 3.0, 0.476_190_428_571_428_6]),
        json!([1, 0.5]),
        json!(true),
    ];
    assert_eq!(values.len(), expected.len());
    for (found, expected) in values.iter().zip(&expected) {
        let is_near = |one: &Value, other: &Value| match (one.as_f64(), other.as_f64()) {
            (Some(one), Some(other)) => (one - other).abs() < 1e-5,
            _ => one == other,
        };
        match (found.as_array(), expected.as_array()) {
            (Some(found), Some(expected)) if found.len() == expected.len() => {
                assert!(
                    found.iter().zip(expected).all(|(one, other)| is_near(one, other)),
                    "{found:?} {expected:?}"
                );
            }
            _ => assert_eq!(found, expected),
        }
    }
}

/// A trainer that fails thirty rows after its checkpoint, and repeats them when it is resumed.
const TRAINER: &str = r#"
import json, os, sys, time
attempt = int(os.environ["RUN_ATTEMPT"])
print("starts")
with open(os.environ["RUN_METRICS"], "a", buffering=1) as rows:
    for step in range(31 if attempt > 1 else 1, 91):
        time.sleep(0.02)
        rows.write(json.dumps({"step": step, "loss": 1 / step}) + "\n")
        if step == 30:
            with open(os.environ["RUN_DIR"] + "/model_30.pt", "wb") as file:
                file.write(b"\x80\x04N.")
        if step == 60 and attempt == 1:
            sys.exit("diverged")
"#;

#[test]
fn what_is_chosen_is_in_the_address_and_still_there_when_the_page_is_loaded_again() {
    let lab = Lab::new();
    sweep(&lab);
    lab.cmd("run-report").args(["--html", "page.html"]).run().code(0).stderr("");
    let all = "[chosen.way, $('way').value, chosen.smooth, $('weight').value, chosen.logy, $('logy').checked, \
               chosen.logx, chosen.group, $('group').value, chosen.filter, chosen.zoom, data.runs.length - shown.size, \
               document.documentElement.classList.contains('dark')]";
    let hash = "location.hash";
    let hostile =
        "location.hash = '#x=__proto__&smooth=nan&zoom=2~1&zoom=&hide=<b>&show=&group=toString&logy=7&dark='";
    let values = browse(
        &lab,
        "page.html",
        (1280, 900),
        &json!([
            ["wait", "charts.length > 0"],
            ["eval", hash],
            ["eval", all],
            ["do", choose("way", "relative")],
            ["do", choose("smooth", "0.6")],
            ["do", choose("group", "lr")],
            ["do", "$('filter').value = 'loss'; $('filter').dispatchEvent(new Event('input'))"],
            ["do", "zoom([0.001, 1000])"],
            ["click", "#logy"],
            ["click", "#dark"],
            ["do", "shown.delete(1); listRuns(); redraw()"],
            ["wait", "location.hash.includes('hide=')"],
            ["eval", all],
            ["reload"],
            ["eval", all],
            ["eval", "$('reset').hidden"],
            ["do", hostile],
            ["reload"],
            ["eval", all],
            ["wait", "location.hash === '#dark=0'"],
        ]),
    );
    assert_eq!(values[0], json!(""));
    let usual = &values[1];
    assert_eq!([&usual[9], &usual[10], &usual[11]], [&json!(""), &Value::Null, &json!(0)]);
    let chosen = json!([
        "relative",
        "relative",
        0.6,
        "0.60",
        true,
        true,
        false,
        "lr",
        "lr",
        "loss",
        [0.001, 1000],
        1,
        true
    ]);
    assert_eq!((&values[2], &values[3]), (&chosen, &chosen));
    assert_eq!((&values[4], &values[5]), (&json!(false), usual));
}

#[test]
fn the_timeline_and_the_receipt_are_those_of_goodput() {
    let lab = Lab::new();
    lab.write("train.py", TRAINER);
    for (name, attempts) in [("fixed", 2), ("broken", 1)] {
        lab.cmd("run-new")
            .args(["-n", name, "--note", "a <b>note</b>", "--", "python3", "train.py"])
            .run()
            .code(0);
        lab.cmd("run-exec").args(["-q", "--heartbeat", "100ms", name]).run().code(1);
        if attempts > 1 {
            lab.cmd("run-exec").args(["-q", "--resume", "--heartbeat", "100ms", name]).run().code(0);
        }
    }
    let report = || lab.cmd("run-report").env("RUN_RATE", "3600");
    report().args(["--html", "page.html"]).run().code(0).stderr("");
    // The middle of the lost time is red, to the pixel.
    let red = "(() => { const run = data.runs[1], span = run.timeline.find(([kind]) => kind === 'lost'); \
        const canvas = $('strips').children[1].querySelector('canvas'), last = run.timeline[run.timeline.length - 1][2]; \
        const at = ((span[1] + span[2]) / 2 - run.timeline[0][1]) / (last - run.timeline[0][1]); \
        const dot = canvas.getContext('2d').getImageData(at * canvas.width, canvas.height / 2, 1, 1).data; \
        return '#' + [...dot].slice(0, 3).map((part) => part.toString(16).padStart(2, '0')).join('') === style('--lost'); })()";
    let values = browse(
        &lab,
        "page.html",
        (1300, 900),
        &json!([
            ["eval", "data.receipts"],
            ["eval", "data.sum.words"],
            ["eval", "$('trained').textContent"],
            [
                "eval",
                "data.runs.map(run => run.timeline.map(([kind, from, to]) => [kind, Math.round((to - from) * 1000)]))"
            ],
            ["eval", red],
            [
                "eval",
                "[...document.querySelectorAll('#receipt th, #receipt td.bad')].map(one => one.textContent).slice(0, 3)"
            ],
            ["do", "document.querySelectorAll('#charts details').forEach(one => one.open = true)"],
            ["wait", "charts.some(chart => chart.metric.kind === 'resource')"],
            [
                "eval",
                "charts.filter(chart => chart.metric.kind === 'resource').map(chart => [chart.metric.name, chart.lines().length])"
            ],
            // The run that failed comes first, with its reason, its note and the end of its log.
            [
                "eval",
                "(() => { const first = $('logs').firstChild; return [first.open, first.querySelector('summary').textContent, \
                first.querySelector('.note').textContent, first.querySelector('pre').textContent]; })()"
            ],
            // Without times in the rows, those of the samples count.
            ["eval", "[...$('way').options].map(one => one.value)"],
            [
                "eval",
                "Math.round(charts[0].metric.curves[1].run.axes[0].t[89] - data.runs[1].timeline[0][1] + data.runs[1].start) >= 2"
            ],
            ["eval", "data.runs.map(run => run.duration_s)"],
        ]),
    );
    let rows = report().args(["--goodput", "--format", "json"]).run().code(0).json_lines();
    for (row, receipt) in rows.iter().zip(values[0].as_array().unwrap()) {
        for kind in ["queued", "starting", "training", "saving", "evaluating", "stalled", "lost", "idle"] {
            assert_eq!(millis(&receipt[1]["s"][kind]), millis(&row[&format!("{kind}_s")]), "{kind} {row}");
        }
        assert_eq!(millis(&receipt[1]["wall"]), millis(&row["wall_s"]));
    }
    // The duration is that of all attempts.
    let table = lab.cmd("run-report").args(["--format", "json"]).run().code(0).json_lines();
    let document = lab.cmd("run-report").args(["--export", "-"]).run().code(0).out();
    let document: Value = serde_json::from_str(&document).unwrap();
    for (number, row) in table.iter().enumerate() {
        let all = [&values[10][number], &document["runs"][number]["duration_s"]].map(millis);
        assert_eq!(all, [millis(&row["duration_s"]); 2], "{row}");
    }
    let told = report().args(["--goodput"]).run().code(0).out();
    let words = told.lines().last().unwrap();
    assert_eq!((&values[1], &values[2]), (&json!(words), &json!(words)));
    assert!(words.contains(" % of $"), "{words}");
    let spans: Vec<(&str, i64)> = values[3][1]
        .as_array()
        .unwrap()
        .iter()
        .map(|span| (span[0].as_str().unwrap(), span[1].as_i64().unwrap()))
        .collect();
    assert_eq!(spans.iter().map(|span| span.1).sum::<i64>(), millis(&rows[1]["wall_s"]));
    assert!(spans.iter().any(|(kind, _)| *kind == "lost") && spans.iter().any(|(kind, _)| *kind == "idle"));
    assert_eq!(values[4], json!(true));
    assert_eq!(values[5], json!(["run", "wall", "starting"]));
    assert_eq!(values[6], json!([["CPU", 2], ["memory", 2]]));
    let first = values[7].as_array().unwrap();
    assert_eq!((&first[0], &first[2]), (&json!(true), &json!("a <b>note</b>")));
    assert!(
        first[1].as_str().unwrap().starts_with("brokenfailed") && first[3] == "starts\ndiverged",
        "{first:?}"
    );
    assert_eq!((&values[8], &values[9]), (&json!(["step", "relative", "time"]), &json!(true)));
    lab.nothing_left();
}

fn millis(seconds: &Value) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "seconds of a test")]
    let millis = (seconds.as_f64().unwrap() * 1000.0).round() as i64;
    millis
}

#[test]
fn nothing_of_a_run_is_executed_in_the_page() {
    let lab = Lab::new();
    let bad = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1><!--<script>";
    let name = bad.replace('/', "_");
    lab.write("c.json", json!({ bad: bad, "b": {bad: [bad]} }).to_string());
    lab.write("fail.sh", format!("cat <<'E'\n{bad}\nE\necho '{bad}' >&2; exit 3\n"));
    lab.cmd("run-new")
        .args(["-n", &name, "--note", bad, "--tag", "<b>tag", "c.json", "--", "sh", "fail.sh"])
        .run()
        .code(0);
    lab.cmd("run-exec").args(["-q", &name]).run().code(3);
    let row = |step: u32| {
        json!({"step": step, bad: step, "__proto__": step, "constructor": 1.5}).to_string() + "\n"
    };
    lab.write(&format!("runs/{name}/metrics.jsonl"), row(1) + &row(2));
    made(&lab, "other", &[("metrics.jsonl", &row(3))]);
    lab.cmd("run-report").args(["--html", "page.html"]).run().code(0);
    let values = browse(
        &lab,
        "page.html",
        (1300, 900),
        &json!([
            ["do", "document.querySelectorAll('details').forEach(one => one.open = true)"],
            ["do", choose("group", bad)],
            ["move", 450.0, 250.0],
            ["do", "$('wide').click()"],
            [
                "eval",
                "[window.hacked === undefined, document.querySelectorAll('img').length, document.scripts.length]"
            ],
            ["eval", "document.body.innerText.split('onerror=window.hacked').length > 10"],
            ["eval", "charts.map(chart => chart.metric.name).includes('__proto__')"],
        ]),
    );
    assert_eq!(values, [json!([true, 0, 2]), json!(true), json!(true)]);
    let policy = lab.read("page.html");
    assert!(policy.contains("default-src 'none'; script-src 'nonce-") && !policy.contains("'unsafe-eval'"));
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
    let size = lab.bytes("page.html").len();
    assert!(size < 3_000_000, "{size}");
    let steps = json!([
        ["eval", "charts.length"],
        ["eval", "charts[0].lines().length"],
        ["eval", "charts[0].range().x"],
        ["eval", "charts[0].note.title"],
        // Halfway up a spike of one row in one of fifty runs, there is ink.
        [
            "eval",
            "(() => { const c = charts[0], x = c.scale.x.there(11111), y = c.scale.y.there(25); \
              const dots = c.canvas.getContext('2d').getImageData(x - 3, y, 7, 1).data; \
              return [...dots].some((value, i) => i % 4 === 3 && value > 100); })()"
        ]
    ]);
    let values = browse(&lab, "page.html", (1280, 900), &steps);
    assert_eq!(values[..2], [json!(3), json!(50)]);
    let range: Vec<f64> = values[2].as_array().unwrap().iter().map(|end| end.as_f64().unwrap()).collect();
    assert!(range[0] < 64.0 && range[1] > 19_900.0, "{range:?}");
    assert!(values[3].as_str().unwrap().contains("mean, min and max of up to "));
    assert_eq!(values[4], json!(true));
}
