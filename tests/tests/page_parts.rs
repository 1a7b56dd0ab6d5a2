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
