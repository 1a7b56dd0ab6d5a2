//! What the time and the money of runs went to, by trainers whose schedule is known.

use serde_json::{Value, json};
use testkit::Lab;
use testkit::reports::{made, objects, ran, report};

/// A trainer that takes 20 ms a step, saves a checkpoint at some steps, and may be killed or fall silent at a step.
const TRAINER: &str = r#"
import json, os, signal, sys, time
run, attempt = os.environ["RUN_DIR"], int(os.environ["RUN_ATTEMPT"])
start, end, save, kill, silent = map(int, sys.argv[1:])
with open(os.environ["RUN_METRICS"], "a", buffering=1) as rows:
    for step in range(start if attempt > 1 else 1, end + 1):
        time.sleep(0.02)
        rows.write(json.dumps({"step": step, "loss": 1 / step}) + "\n")
        if step == save and attempt == 1:
            with open(f"{run}/model_{step}.pt", "wb") as file:
                file.write(b"\x80\x04N.")
        if step == kill and attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if step == silent and attempt == 1:
            time.sleep(1000)
"#;

const KINDS: [&str; 8] =
    ["queued", "starting", "training", "saving", "evaluating", "stalled", "lost", "idle"];

fn millis(row: &Value, key: &str) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "seconds of a test")]
    let millis = (row[key].as_f64().unwrap() * 1000.0).round() as i64;
    millis
}

fn of(row: &Value, kind: &str) -> i64 {
    millis(row, &format!("{kind}_s"))
}

/// Returns the receipt of a run, whose parts add up to the time of its attempts and between them.
fn receipt(lab: &Lab, run: &str) -> Value {
    let row = objects(lab, &["--goodput", "--rate", "3600", run]).remove(0);
    let parts: i64 = KINDS.iter().map(|kind| of(&row, kind)).sum();
    assert_eq!(parts, millis(&row, "wall_s"), "{row}");
    let lines = lab.json_lines(&format!("runs/{run}/.run/attempts.jsonl"));
    let program = "import sys, datetime as d; t = [round(d.datetime.fromisoformat(a).timestamp() * 1000) for a in sys.argv[1:]]; print(t[1] - t[0])";
    let times = [&lines[0]["start_time"], &lines[lines.len() - 1]["end_time"]];
    let wall = lab.cmd("python3").args(["-c", program]).args(times.map(|time| time.as_str().unwrap())).run();
    assert_eq!(parts.to_string(), wall.code(0).out().trim(), "{row}");
    // A dollar a second: money is time, to the millisecond.
    let spent = parts - of(&row, "idle") - of(&row, "queued");
    assert_eq!(millis(&row, "usd"), spent, "{row}");
    for kind in &KINDS[1..7] {
        assert!((millis(&row, &format!("{kind}_usd")) - of(&row, kind)).abs() <= 1, "{row}");
    }
    let spans = row["timeline"].as_array().unwrap();
    for pair in spans.windows(2) {
        assert_eq!(pair[0]["to"], pair[1]["from"], "{row}");
    }
    row
}

/// Creates a run of the trainer and executes it.
fn train(lab: &Lab, run: &str, schedule: [u32; 5], options: &[&str]) {
    lab.write("train.py", TRAINER);
    lab.cmd("run-new")
        .args(["-n", run, "--", "python3", "train.py"])
        .args(schedule.map(|number| number.to_string()))
        .run()
        .code(0);
    lab.cmd("run-exec").args(["-q", "--heartbeat", "100ms"]).args(options).arg(run).run();
}

#[test]
fn a_run_without_trouble_trains() {
    let lab = Lab::new();
    train(&lab, "good", [1, 60, 30, 0, 0], &[]);
    let row = receipt(&lab, "good");
    assert!(of(&row, "training") >= 59 * 20 - 200, "{row}");
    for kind in ["queued", "evaluating", "stalled", "lost", "idle"] {
        assert_eq!(of(&row, kind), 0, "{kind} {row}");
    }
    assert_eq!(row["lost_rows"], 0);
    let told = report(&lab, &["--goodput", "--rate", "3600"]);
    let last = told.lines().last().unwrap();
    assert!(last.contains(" % of $") && last.ends_with(" trained"), "{told}");
    assert!(told.starts_with("run") && !told.contains("lost_s"), "{told}");
    let told = report(&lab, &["--goodput"]);
    assert!(!told.contains('$') && told.trim_end().ends_with("s trained"), "{told}");
}

#[test]
fn what_a_crash_had_repeated_is_lost() {
    let lab = Lab::new();
    // Killed 30 steps after its checkpoint, and resumed from the checkpoint.
    train(&lab, "killed", [31, 90, 30, 60, 0], &[]);
    lab.cmd("run-exec").args(["-q", "--resume", "--heartbeat", "100ms", "killed"]).run().code(0);
    let row = receipt(&lab, "killed");
    assert_eq!(row["lost_rows"], 30);
    // Each step takes 20 ms at least, and what is not sure lies within two heartbeats.
    assert!(of(&row, "lost") >= 30 * 20 - 200, "{row}");
    let lines = lab.json_lines("runs/killed/.run/attempts.jsonl");
    assert!(of(&row, "lost") < millis(&lines[1], "duration_s") * 3 / 4, "{row}");
    assert!(of(&row, "idle") > 0, "{row}");
    lab.cmd("run-report").args(["--goodput", "--format", "csv", "killed"]).run().code(0).stderr("");
}

#[test]
fn a_stall_lasts_from_the_last_sign_of_life() {
    let lab = Lab::new();
    train(&lab, "silent", [1, 90, 0, 0, 20], &["--stall-timeout", "1s"]);
    let row = receipt(&lab, "silent");
    assert!(of(&row, "stalled") >= 1000 - 200, "{row}");
    assert!(of(&row, "training") >= 19 * 20 - 200, "{row}");
    assert_eq!(of(&row, "lost"), 0, "{row}");
}

/// A trainer that writes a row each 100 ms, takes 1 s to save after five of them, and 3 s to evaluate after ten, twice.
/// It notes when it did so. Its rows have times and learning rates, or are lines like those of Hugging Face.
const EVALUATOR: &str = r#"
import datetime, json, os, sys, time
kind, run = sys.argv[1], os.environ["RUN_DIR"]
rows = open(os.environ["RUN_METRICS"], "a", buffering=1) if kind == "rows" else None
notes = open(f"{run}/notes.jsonl", "a", buffering=1)
def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
def tell(step, numbers):
    if rows:
        more = {"epoch": step / 10, "global_step": step, "_timestamp": time.time(), "lr": 1e-4}
        rows.write(json.dumps({"step": step, **more, **numbers}) + "\n")
    else:
        print({**numbers, "epoch": step / 10}, flush=True)
for step in range(1, 22):
    time.sleep(0.1)
    tell(step, {"loss": round(1 / step, 3), **({} if rows else {"learning_rate": 1e-4})})
    began = now()
    if step % 10 == 5:
        with open(f"{run}/model_{step}.pt", "wb", buffering=0) as file:
            file.write(b"\x80\x04")
            time.sleep(1)
            file.write(b"N.")
        notes.write(json.dumps({"kind": "saving", "from": began, "to": now()}) + "\n")
    if step % 10 == 0:
        time.sleep(3)
        tell(step, {"eval_loss": 0.5, **({} if rows else {"eval_runtime": 3.0, "eval_samples_per_second": 9.0})})
        notes.write(json.dumps({"kind": "evaluating", "from": began, "to": now()}) + "\n")
"#;

/// Returns the milliseconds since midnight of a time.
fn of_day(time: &Value) -> i64 {
    let number = |range: std::ops::Range<usize>| time.as_str().unwrap()[range].parse::<i64>().unwrap();
    ((number(11..13) * 60 + number(14..16)) * 60 + number(17..19)) * 1000 + number(20..23)
}

#[test]
fn evaluations_and_checkpoints_take_their_time_to_within_a_heartbeat() {
    let lab = Lab::new();
    lab.write("train.py", EVALUATOR);
    for kind in ["rows", "lines"] {
        lab.cmd("run-new").args(["-n", kind, "--", "python3", "train.py", kind]).run().code(0);
    }
    lab.cmd("run-exec").args(["-q", "-j", "2", "--heartbeat", "500ms", "rows", "lines"]).run().code(0);
    for kind in ["rows", "lines"] {
        let row = receipt(&lab, kind);
        for note in lab.json_lines(&format!("runs/{kind}/notes.jsonl")) {
            // A heartbeat, and what a busy machine adds to it.
            let near = |span: &Value, end: &str| {
                let away = (of_day(&span[end]) - of_day(&note[end])).rem_euclid(86_400_000);
                away.min(86_400_000 - away) <= 500 + 250
            };
            let mut spans =
                row["timeline"].as_array().unwrap().iter().filter(|span| span["kind"] == note["kind"]);
            assert!(spans.any(|span| near(span, "from") && near(span, "to")), "{note} {row}");
        }
        for (part, expected) in [("evaluating", 6000), ("saving", 2000)] {
            assert!((of(&row, part) - expected).abs() <= 2 * 500, "{part} {row}");
        }
        assert_eq!(
            row["timeline"].as_array().unwrap().iter().filter(|span| span["kind"] == "evaluating").count(),
            2
        );
    }
}

#[test]
fn three_retries_repeat_three_times_what_no_checkpoint_saved() {
    let lab = Lab::new();
    let script = "for step in 1 2 3; do sleep 0.05; echo '{\"step\": '$step', \"loss\": 1}' >>$RUN_METRICS; done; \
        [ $RUN_ATTEMPT = 4 ] || kill -9 $$";
    lab.new_run("again", &["sh", "-c", script]);
    lab.cmd("run-exec")
        .args(["-q", "--heartbeat", "100ms", "--retries", "3", "--retry-delay", "50ms", "again"])
        .run()
        .code(0);
    let row = receipt(&lab, "again");
    assert_eq!(row["lost_rows"], 9);
    assert!(of(&row, "idle") >= 3 * 50, "{row}");
    assert!(of(&row, "lost") > 0 && of(&row, "training") > 0, "{row}");
}

#[test]
fn a_batch_is_summed_up_and_a_program_without_metrics_trains() {
    let lab = Lab::new();
    for name in ["a", "b"] {
        ran(&lab, name, &[], "true");
    }
    made(&lab, "new", &[]);
    let rows = objects(&lab, &["--goodput"]);
    assert_eq!(of(&rows[0], "training"), millis(&rows[0], "wall_s"));
    assert_eq!((&rows[2]["wall_s"], &rows[2]["timeline"]), (&json!(0), &json!([])));
    assert_eq!(rows[2]["trained_percent"], Value::Null);
    let told = report(&lab, &["--goodput"]);
    assert!(told.lines().any(|line| line.starts_with("all ")) && told.contains("100 % of "), "{told}");
}

#[test]
fn a_job_is_queued_from_its_submission_to_its_start() {
    let lab = Lab::new();
    ran(&lab, "job", &[], "true");
    let mut lines = lab.json_lines("runs/job/.run/attempts.jsonl");
    lines[0]["start_time"] = json!("2026-01-29T12:00:10.250Z");
    lines[1]["end_time"] = json!("2026-01-29T12:00:13.000Z");
    lab.write("runs/job/.run/attempts.jsonl", format!("{}\n{}\n", lines[0], lines[1]));
    let launch = json!({"schema": 1, "run_id": lines[0]["run_id"], "submission": "s", "launcher": "x", "args": [],
        "job": "7", "time": "2026-01-29T12:00:00.000Z", "attempts": 0,
        "submitter": {"host": "h", "boot_id": "b", "pid_ns": "1", "pid": 1, "pid_start": 1}});
    lab.write("runs/job/.run/launch.json", launch.to_string());
    let row = &objects(&lab, &["--goodput", "job"])[0];
    assert_eq!((of(row, "queued"), of(row, "training"), millis(row, "wall_s")), (10_250, 2750, 13_000));
    let spans = json!([
        {"kind": "queued", "from": "2026-01-29T12:00:00.000Z", "to": "2026-01-29T12:00:10.250Z", "attempt": null},
        {"kind": "training", "from": "2026-01-29T12:00:10.250Z", "to": "2026-01-29T12:00:13.000Z", "attempt": 1},
    ]);
    assert_eq!(row["timeline"], spans);
    assert_eq!(row["trained_percent"], 100);
    // A job that waits.
    made(&lab, "waits", &[]);
    let mut status = lab.json("runs/waits/.run/status.json");
    status["status"] = json!("queued");
    lab.write("runs/waits/.run/status.json", status.to_string());
    lab.write("runs/waits/.run/launch.json", launch.to_string());
    let row = &objects(&lab, &["--goodput", "waits"])[0];
    assert!(of(row, "queued") > 0 && of(row, "queued") == millis(row, "wall_s"), "{row}");
    assert_eq!((&row["status"], &row["trained_percent"]), (&json!("queued"), &Value::Null));
}

#[test]
fn hostile_records_give_a_receipt_all_the_same() {
    let lab = Lab::new();
    ran(&lab, "odd", &[], "echo '{\"step\": 1, \"loss\": 1}' >>$RUN_METRICS");
    lab.write(
        "runs/odd/.run/resources.jsonl",
        "no sample\n{\"time\":\"2999-01-01T00:00:00.000Z\",\"rows\":18446744073709551615}\n{\"time\": 7}\n",
    );
    lab.write("runs/odd/.run/launch.json", "[]");
    receipt(&lab, "odd");
    std::fs::remove_file(lab.path("runs/odd/.run/resources.jsonl")).unwrap();
    lab.cmd("mkfifo").arg("runs/odd/.run/resources.jsonl").run().code(0);
    receipt(&lab, "odd");
    lab.cmd("run-report").args(["--goodput", "--cost"]).run().code(2);
    lab.cmd("run-report").args(["--goodput", "--columns", "x"]).run().code(2);
}
