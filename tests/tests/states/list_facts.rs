//! What a list tells of a run: the episode and epsilon beside the step, and the time of all attempts.

use serde_json::Value;
use testkit::Lab;
use testkit::reports::{made, objects};

/// Returns the words of the row of a run in a list.
fn row(lab: &Lab, name: &str) -> Vec<String> {
    let list = lab.cmd("run-status").arg("-a").run().code(0).out();
    let line = list.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap().to_owned();
    line.split_whitespace().map(str::to_owned).collect()
}

fn executed(lab: &Lab, name: &str, rows: &str, total: &str) {
    let script = format!("echo '{rows}' >> $RUN_METRICS");
    let command = ["run-new", "-n", name, "--total-steps", total, "--", "sh", "-c", &script];
    lab.cmd(command[0]).args(&command[1..]).run().code(0);
    lab.cmd("run-exec").args(["-q", name]).run().code(0);
}

#[test]
fn the_episode_and_epsilon_stand_beside_the_step() {
    let lab = Lab::new();
    executed(&lab, "a", r#"{"step": 12345, "episode": 678, "epsilon": 0.42, "reward": 1}"#, "50000");
    executed(&lab, "b", r#"{"step": 5, "train/Episode": 7, "rollout/epsilon": 0.05, "lr": 0.5}"#, "10");
    executed(&lab, "c", r#"{"episode": 7, "reward": 1}"#, "10");
    assert_eq!(row(&lab, "a")[2..7], ["12345/50000", "(24.7%)", "ep=678", "ε=0.4200", "reward=1"]);
    assert_eq!(row(&lab, "b")[2..7], ["5/10", "(50.0%)", "ep=7", "ε=0.0500", "lr=0.5000"]);
    assert_eq!(row(&lab, "c")[2..5], ["7/10", "(70.0%)", "reward=1"], "the episode is the step");
    let details = lab.cmd("run-status").arg("a").run().code(0).out();
    assert!(details.contains("12345/50000 (24.7%) ep=678 ε=0.4200\n"), "{details}");
    executed(&lab, "d", r#"{"step": 1, "api_usd": 0.5}"#, "2");
    assert_eq!(row(&lab, "d")[4], "api_usd=0.50", "money as money");
    let asked = lab.cmd("run-status").args(["-a", "--columns", "epsilon"]).run().code(0).out();
    assert!(asked.contains("  epsilon=0.4200  "), "{asked}");
}

#[test]
fn a_duration_is_that_of_all_attempts() {
    let lab = Lab::new();
    made(&lab, "r", &[]);
    lab.cmd("run-exec").args(["-q", "r"]).run().code(0);
    lab.cmd("run-exec").args(["-q", "--resume", "r"]).run().code(0);
    // The first attempt took an hour.
    let file = "runs/r/.run/attempts.jsonl";
    let lines: Vec<String> = lab
        .json_lines(file)
        .into_iter()
        .map(|mut line: Value| {
            if line["event"] == "end" && line["attempt"] == 1 {
                line["duration_s"] = 3600.into();
            }
            format!("{line}\n")
        })
        .collect();
    lab.write(file, lines.concat());
    // It started on the first of January, in the list, in the details and in reports.
    let moved = lab.read(file).replacen(
        lab.json_lines(file)[0]["start_time"].as_str().unwrap(),
        "2026-01-01T12:00:00.000Z",
        1,
    );
    lab.write(file, moved);
    assert!(row(&lab, "r").contains(&"2026-01-01".to_owned()), "{:?}", row(&lab, "r"));
    let details = lab.cmd("run-status").arg("r").run().code(0).out();
    let fact = |key: &str| {
        details.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim().to_owned()
    };
    assert!(fact("started:").starts_with("2026-01-01"), "{details}");
    assert!(!fact("restarted:").is_empty() && !fact("restarted:").contains("2026-01-01"), "{details}");
    let is_an_hour = |seconds: &Value| (3600.0..3660.0).contains(&seconds.as_f64().unwrap());
    let status = &lab.cmd("run-status").args(["--json", "r"]).run().code(0).json_lines()[0];
    assert!(is_an_hour(&status["duration_s"]), "{status}");
    let line = &objects(&lab, &["--columns", "started,ended,duration,attempts,cost"])[0];
    assert!(is_an_hour(&line["duration_s"]), "{line}");
    assert_eq!((&line["attempts"], &line["cost"]), (&Value::from(2), &Value::Null));
    let attempts = lab.json_lines(file);
    assert_eq!(line["started"], attempts[0]["start_time"]);
    assert_eq!(line["ended"], attempts[3]["end_time"]);
    assert!(row(&lab, "r").contains(&"1h".to_owned()), "{:?}", row(&lab, "r"));
    let rate =
        lab.cmd("run-report").args(["--columns", "cost,host"]).env("RUN_RATE", "2").run().code(0).out();
    assert!(rate.lines().nth(1).unwrap().contains("  2.00  "), "{rate}");
    let sorted = lab.cmd("run-report").args(["--sort", "duration:desc"]).run().code(0).out();
    assert!(sorted.starts_with("run  status     "), "{sorted}");
}
