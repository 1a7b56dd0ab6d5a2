//! What the page of run-report shows beside curves: pictures, and the use of GPUs.

use serde_json::json;
use testkit::Lab;
use testkit::browser::browse;
use testkit::reports::made;

/// A picture of one pixel.
const PIXEL: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x01\x00\xff\x00\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";

#[test]
fn pictures_that_rows_name_are_shown_by_step() {
    let lab = Lab::new();
    let row = |step: u32, image: &str| json!({"step": step, "loss": 1.5, "image": image}).to_string() + "\n";
    let rows = row(10, "samples/10.gif") + &row(40, "samples/40.gif") + &row(50, "../../secret.gif");
    made(
        &lab,
        "a",
        &[(
            "metrics.jsonl",
            &(rows
                + &row(60, "link.gif")
                + &row(70, "missing.gif")
                + &row(80, "x' onerror='window.hacked=1.gif")),
        )],
    );
    made(&lab, "b", &[("metrics.jsonl", &row(20, "samples/20.gif"))]);
    for file in [
        "runs/a/samples/10.gif",
        "runs/a/samples/40.gif",
        "runs/b/samples/20.gif",
        "secret.gif",
        "runs/a/x' onerror='window.hacked=1.gif",
    ] {
        lab.write(file, PIXEL);
    }
    std::os::unix::fs::symlink(lab.path("secret.gif"), lab.path("runs/a/link.gif")).unwrap();
    lab.cmd("run-report").args(["--html", "page.html"]).run().code(0);
    let shown = "[...document.querySelectorAll('.pictures figure')].map(one => one.textContent)";
    let values = browse(
        &lab,
        "page.html",
        (1300, 900),
        &json!([
            ["do", "$('media').scrollIntoView()"],
            ["wait", "[...document.querySelectorAll('.pictures img')].every(one => one.naturalWidth === 1)"],
            ["eval", "data.runs.map(run => run.media.map(one => one.step))"],
            ["eval", shown],
            [
                "do",
                "const s = document.querySelector('.media input'); s.value = 1; s.dispatchEvent(new Event('input'))"
            ],
            ["eval", shown],
            ["do", "s.value = 0; s.dispatchEvent(new Event('input'))"],
            ["eval", shown],
            ["eval", "window.hacked === undefined"],
        ]),
    );
    let expected = [
        json!([[10, 40, 80], [20]]),
        json!(["astep 80", "bstep 20"]),
        json!(["astep 10", "bstep 20"]),
        json!(["astep 10"]),
        json!(true),
    ];
    assert_eq!(values, expected);
}

#[test]
fn the_use_of_gpus_is_drawn_over_time() {
    let lab = Lab::new();
    made(&lab, "a", &[("metrics.jsonl", "{\"step\": 1, \"loss\": 2}\n")]);
    let sample = |second: u32, use_of: [u32; 2]| {
        let device = |index: usize| {
            json!({"uuid": format!("GPU-{index}"), "index": index, "utilization": use_of[index],
            "memory_bytes": 8_u64 << 30, "memory_total_bytes": 16_u64 << 30, "power_w": 100.5, "temperature_c": 60 + index})
        };
        json!({"time": format!("2026-01-29T12:00:{second:02}.000Z"), "processes": 2, "cpu_seconds": second * 3,
            "rss_bytes": 1 << 30, "gpus": 2, "gpu_mem_bytes": 4_u64 << 30, "devices": [device(0), device(1)]})
        .to_string()
            + "\n"
    };
    lab.write(
        "runs/a/.run/resources.jsonl",
        sample(0, [0, 100]) + &sample(10, [50, 100]) + "damaged\n" + &sample(20, [100, 100]),
    );
    lab.cmd("run-report").args(["--html", "page.html"]).run().code(0);
    let found = "charts.filter(chart => chart.metric.kind === 'resource').map(chart => \
                 [chart.metric.name, chart.metric.unit, chart.lines()[0].x, chart.lines()[0].y])";
    let values = browse(&lab, "page.html", (1300, 900), &json!([["eval", found]]));
    let expected = json!([
        ["CPU", "cores", [10, 20], [3, 3]],
        ["memory", "bytes", [0, 10, 20], [1 << 30, 1 << 30, 1 << 30]],
        ["GPU utilization", "%", [0, 10, 20], [50, 75, 100]],
        ["GPU memory", "bytes", [0, 10, 20], [4_u64 << 30, 4_u64 << 30, 4_u64 << 30]],
        ["GPU power", "W", [0, 10, 20], [201, 201, 201]],
        ["GPU temperature", "°C", [0, 10, 20], [61, 61, 61]],
    ]);
    assert_eq!(values[0], expected);
}

#[test]
fn no_two_runs_read_the_same_however_long_their_names() {
    let lab = Lab::new();
    let mut names = vec!["baseline".to_owned(), "few/lr-1".to_owned(), "few/lr-2".to_owned()];
    for lr in ["0.001", "0.0003"] {
        names.extend(
            (1..3).map(|seed| {
                format!("grid/base_model-cnn_with-all-of-the-layers_lr-{lr}_and-more_seed-{seed}")
            }),
        );
    }
    for (number, name) in names.iter().enumerate() {
        let (above, last) = name
            .rsplit_once('/')
            .map_or(("runs".into(), name.as_str()), |(batch, last)| (format!("runs/{batch}"), last));
        lab.cmd("run-new").args(["-d", &above, "-n", last, "--", "true"]).run().code(0);
        lab.write(&format!("runs/{name}/metrics.jsonl"), format!("{{\"step\": 1, \"loss\": {number}}}\n"));
        lab.cmd("run-exec").args(["-q", &format!("runs/{name}")]).run().code(0);
    }
    lab.cmd("run-report").args(["--html", "page.html"]).run().code(0);
    // All letters are seen: nothing is wider or taller than its box.
    let is_whole = |of: &str| {
        format!(
            "[...document.querySelectorAll('{of} .fit')].every(one => [one, ...one.children].every(part => part.clientWidth === 0 || part.scrollWidth <= part.clientWidth))"
        )
    };
    let texts = |of: &str| format!("[...document.querySelectorAll('{of} .fit')].map(one => one.textContent)");
    for width in [1300, 400] {
        let values = browse(
            &lab,
            "page.html",
            (width, 900),
            &json!([
                ["do", "$('toggles').open = true"],
                ["eval", texts("#runs")],
                ["eval", texts("#strips")],
                ["eval", is_whole("#runs")],
                ["eval", is_whole("#strips")],
                ["eval", "shortNames(['a', 'grid-of-many-long-runs/x_1', 'grid-of-many-long-runs/x_2', 'best-of-many-long-runs/x_1', 'best-of-many-long-runs/x_2'])
                    .size === 5 && new Set(shortNames(['a', 'grid-of-many-long-runs/x_1', 'grid-of-many-long-runs/x_2', 'best-of-many-long-runs/x_1', 'best-of-many-long-runs/x_2']).values()).size"],
                            ]),
        );
        let expected = json!([
            "baseline",
            "few/lr-1",
            "few/lr-2",
            "…lr-0.0003_and-more_seed-1",
            "…lr-0.0003_and-more_seed-2",
            "…lr-0.001_and-more_seed-1",
            "…lr-0.001_and-more_seed-2"
        ]);
        assert_eq!(values, [expected.clone(), expected, json!(true), json!(true), json!(5)]);
    }
}

#[test]
fn groups_tell_their_unsmoothed_best_and_nothing_of_what_is_unknown() {
    let lab = Lab::new();
    for (seed, count) in [(1, 40), (2, 9), (3, 9), (4, 9)] {
        let name = format!("r{seed}");
        let words = ["-n", &name, "-s", "lr=1", "-s", &format!("seed={seed}"), "--set-by-env", "--", "true"];
        lab.cmd("run-new").args(words).run().code(0);
        let row = |step: u32| {
            let loss = if step == 5 { 0.25 } else { f64::from(seed) };
            json!({"step": step, "loss": loss}).to_string() + "\n"
        };
        lab.write(&format!("runs/{name}/metrics.jsonl"), (0..count).map(row).collect::<String>());
    }
    lab.cmd("run-new")
        .args(["-n", "alone", "-s", "lr=2", "-s", "seed=1", "--set-by-env", "--", "true"])
        .run()
        .code(0);
    lab.write("runs/alone/metrics.jsonl", "{\"step\": 0, \"loss\": 2}\n{\"step\": 30, \"loss\": 3}\n");
    lab.cmd("run-report").args(["--html", "page.html"]).run().code(0);
    let set = |id: &str, value: &str| {
        format!(
            "$('{id}').value = '{value}'; for (const kind of ['input', 'change']) $('{id}').dispatchEvent(new Event(kind))"
        )
    };
    let tip = "(() => { const c = charts[0], box = c.area.getBoundingClientRect(), x = c.scale.x.there(30); \
        readOut(c, {clientX: box.left + x, clientY: box.top + 50}, x, null); \
        return [...$('tip').querySelectorAll('.value')].map(one => one.textContent).sort(); })()";
    let values = browse(
        &lab,
        "page.html",
        (1300, 900),
        &json!([
            ["do", set("group", "lr")],
            ["eval", "Number(charts[0].lines()[1].spread[0].toFixed(4))"],
            ["do", set("smooth", "0.9")],
            ["eval", "charts[0].note.textContent"],
            ["eval", "charts[0].lines()[1].y[5] > 1"],
            ["do", set("smooth", "0")],
            ["eval", tip],
        ]),
    );
    // The sample deviation of 1, 2, 3 and 4, as that of --group-by.
    let group =
        lab.cmd("run-report").args(["--group-by", "lr", "--format", "json"]).run().code(0).json_lines();
    let row = group.iter().find(|row| row["n"] != json!(1)).unwrap();
    let std = row["loss.last.std"].as_f64().unwrap();
    assert!((values[0].as_f64().unwrap() - std).abs() < 1e-4, "{values:?} {row}");
    assert!(values[1].as_str().unwrap().starts_with("min 0.25 · lr=1 · step 5"), "{values:?}");
    assert_eq!(values[2..], [json!(true), json!(["2.5 ± 1.291", "3 of one run"])]);
}

#[test]
fn labels_of_times_are_local_and_apart_and_axes_of_resources_fit() {
    let lab = Lab::new();
    made(&lab, "a", &[("metrics.jsonl", "{\"step\": 1, \"loss\": 2}\n{\"step\": 2, \"loss\": 1}\n")]);
    lab.cmd("run-exec").args(["-q", "a"]).run().code(0);
    lab.cmd("run-report").args(["--html", "page.html"]).run().code(0);
    let labels = "(() => { const found = [], pen = CanvasRenderingContext2D.prototype, fill = pen.fillText; \
        pen.fillText = function (text, x, y) { const half = this.measureText(text).width / 2; found.push([text, x - half, x + half]); fill.call(this, text, x, y); }; \
        for (let seconds = 1; seconds < 200000; seconds *= 1.1) { \
            data.runs[0].timeline = [['training', 1700000003, 1700000003 + seconds, 0]]; found.length = 0; fillTimeline(); drawTimeline(); \
            if (found.length < 2) return ['none', seconds]; \
            for (let i = 1; i < found.length; i++) if (found[i][1] < found[i - 1][2] + 5) return [seconds, ...found]; \
        } pen.fillText = fill; return 'apart'; })()";
    let chart = "(kind, unit, values) => { const run = data.runs[0]; \
        const curve = {run, number: 0, axis: 0, min: values, max: null, mean: null, nonfinite: [], rows: 3, rows_each: 1, places: {relative: [0, 1, 2]}}; \
        const chart = new Chart({name: 'x', kind, unit, more: null, curves: [curve]}); stamp += 1; return chart; }";
    let log = "new Axis([9e6, 70e6], {log: true, nice: true, kind: 'bytes', count: 7}).between(0, 100)";
    let values = browse(
        &lab,
        "page.html",
        (1300, 900),
        &json!([
            ["zone", "Asia/Kolkata"],
            // 22:13:20 UTC, half an hour past five later.
            ["eval", "new Date(1700000000000).getHours() * 60 + new Date(1700000000000).getMinutes()"],
            [
                "eval",
                "[localTime(1700000000, true), timeLabel(1700000000, 60, 600)].map(text => text.includes('3:43'))"
            ],
            ["click", "#local"],
            ["eval", labels],
            ["eval", format!("({chart})('resource', 'cores', [0, 0, 0]).range().y")],
            ["eval", format!("({chart})('resource', 'cores', [0, 0.5, 0]).range().y")],
            [
                "eval",
                format!(
                    "(() => {{ const axis = {log}; return axis.ticks.map(tick => axis.label(tick)); }})()"
                )
            ],
        ]),
    );
    let expected = [
        json!(3 * 60 + 43),
        json!([true, true]),
        json!("apart"),
        json!([0, 1]),
        json!([0, 0.5]),
        json!(["8 MiB", "16 MiB", "32 MiB", "64 MiB", "128 MiB"]),
    ];
    assert_eq!(values, expected);
}
