//! What is known of an attempt that nobody saw end is recorded when another follows.

use serde_json::{Value, json};
use testkit::Lab;
use testkit::active::{edit, kill_all, start};

/// Prints its step, and waits for its end unless the attempt is a later one.
const PROGRAM: &str = "echo '{\"step\": 7, \"loss\": 0.5}' >> $RUN_METRICS; echo ready; [ $RUN_ATTEMPT != 1 ] || exec sleep 1000";

/// Starts the run `r` and kills all of it once its step is recorded; returns its record.
fn died(lab: &Lab) -> Value {
    let run = start(lab, "r", &[], &["sh", "-c", PROGRAM]);
    let status = lab.await_status("r", "at its step", |status| status["step"] == 7);
    kill_all(run);
    assert_eq!(lab.status("r")["status"], "dead");
    status
}

/// Returns the end lines of the run.
fn ends(lab: &Lab) -> Vec<Value> {
    let lines = lab.json_lines("runs/r/.run/attempts.jsonl");
    lines.into_iter().filter(|line| line["event"] == "end").collect()
}

/// Returns the row of the first attempt in the details of the run.
fn row(lab: &Lab) -> String {
    let details = lab.cmd("run-status").arg("r").run().code(0).out();
    let rows = details.lines().skip_while(|line| !line.starts_with("ATTEMPT"));
    rows.take(2).last().unwrap().split_whitespace().skip(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_end_of_an_attempt_that_died_is_recorded_when_another_follows() {
    let lab = Lab::new();
    for (boot, why) in
        [(None, "its supervisor is gone"), (Some("a boot before this"), "the host was restarted")]
    {
        died(&lab);
        edit(&lab, "r", |record| {
            if let Some(boot) = boot {
                record["boot_id"] = boot.into();
            }
            record["start_time"] = "2026-01-29T12:00:00.000Z".into();
            record["last_heartbeat"] = "2026-01-29T13:00:00.500Z".into();
        });
        lab.write("runs/r/.run/resources.jsonl", "");
        assert_eq!(ends(&lab), [Value::Null; 0], "nobody saw it end");
        lab.cmd("run-exec").args(["-q", "--resume", "r"]).run().code(0);
        let ends = ends(&lab);
        assert_eq!(ends.len(), 2);
        let end = &ends[0];
        let told =
            ["attempt", "status", "reason", "end_time", "duration_s", "exit_code", "signal", "final_step"];
        assert_eq!(
            told.map(|key| end[key].clone()),
            [
                json!(1),
                json!("failed"),
                json!(format!("died: {why}")),
                json!("2026-01-29T13:00:00.500Z"),
                json!(3600.5),
                Value::Null,
                Value::Null,
                json!(7)
            ]
        );
        assert_eq!(end["run_id"], ends[1]["run_id"]);
        assert_eq!(row(&lab), format!("1h failed died: {why}"));
        // Another attempt tells the same once.
        lab.cmd("run-exec").args(["-q", "--resume", "r"]).run().code(0);
        assert_eq!(self::ends(&lab).len(), 3);
        std::fs::remove_dir_all(lab.path("runs/r")).unwrap();
    }
    lab.nothing_left();
}

#[test]
fn what_a_sample_tells_is_later_than_a_record_that_a_power_cut_has_taken() {
    let lab = Lab::new();
    died(&lab);
    let begun = lab.json_lines("runs/r/.run/attempts.jsonl")[0]["start_time"].clone();
    let sampled = lab.json_lines("runs/r/.run/resources.jsonl").last().unwrap()["time"].clone();
    lab.write("runs/r/.run/status.json", "");
    lab.cmd("run-exec").args(["-q", "--resume", "r"]).run().code(0);
    let end = &ends(&lab)[0];
    assert_eq!((&end["attempt"], &end["end_time"]), (&json!(1), &sampled));
    assert!(sampled.as_str() > begun.as_str() && end["duration_s"].as_f64().unwrap() > 0.0, "{end}");
}

#[test]
fn the_end_of_an_attempt_that_was_taken_over_says_so() {
    let lab = Lab::new();
    died(&lab);
    edit(&lab, "r", |record| {
        (record["host"], record["boot_id"]) = ("node7".into(), "its boot".into());
        record["start_time"] = "2026-01-29T12:00:00.000Z".into();
        record["last_heartbeat"] = "2026-01-29T12:00:30.000Z".into();
    });
    lab.write("runs/r/.run/resources.jsonl", "");
    lab.cmd("run-exec").args(["-q", "--resume", "r"]).run().code(125).stderr_has("--take-over");
    lab.cmd("run-exec").args(["-q", "--resume", "--take-over", "r"]).run().code(0);
    let end = &ends(&lab)[0];
    assert_eq!((&end["status"], &end["duration_s"]), (&json!("failed"), &json!(30.0)));
    let reason = end["reason"].as_str().unwrap();
    assert!(reason.starts_with("taken over: no heartbeat from node7 for "), "{reason}");
}
