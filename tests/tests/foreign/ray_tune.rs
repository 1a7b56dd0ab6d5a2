//! Experiments of Ray Tune 2.60, in the files that it writes itself: what run-tools says of each trial is what the
//! experiment's state says.

use serde_json::{Value, json};
use std::fs::{self, File};
use std::time::{Duration, SystemTime};
use testkit::Lab;
use testkit::foreign::age;
use testkit::trackers::listed;

/// A row of `result.json`. A trial that is a function never writes that it is done.
fn row(iteration: u32, timestamp: u32, total: f64) -> String {
    json!({
        "loss": 0.5 / f64::from(iteration), "timestamp": timestamp, "done": false, "training_iteration": iteration,
        "time_total_s": total, "pid": 18677, "hostname": "vm", "config": {"lr": 0.5}, "iterations_since_restore": iteration,
    })
    .to_string()
        + "\n"
}

/// A failure as Ray adds it to `error.txt`, with the local time, which is UTC here.
fn failure(number: u32, time: &str, words: &str) -> String {
    format!(
        "Failure # {number} (occurred at {time})\n\u{1b}[36mray::ImplicitFunc.train()\u{1b}[39m (pid=18677, ip=192.0.2.2)\n  \
         File \"tune.py\", line 10, in train\n    raise {words}\n{words}\n"
    )
}

/// Makes an experiment: of each trial its name, the status in the state of the experiment, and the failures.
fn experiment(lab: &Lab, trials: &[(&str, &str, String)]) {
    for (name, _, failures) in trials {
        let trial = format!("ray_results/exp/{name}");
        lab.write(&format!("{trial}/params.json"), "{\"lr\": 0.5, \"bound\": Infinity}");
        lab.write(&format!("{trial}/result.json"), row(1, 1_769_688_000, 1.5) + &row(2, 1_769_688_010, 11.5));
        lab.write(&format!("{trial}/checkpoint_000000/state.pkl"), "x");
        if !failures.is_empty() {
            lab.write(&format!("{trial}/error.txt"), failures);
        }
    }
    state(lab, "2026-01-29_12-00-00", trials);
}

/// Writes the state of the experiment, whose trials are JSON in strings, with what JSON does not have.
fn state(lab: &Lab, date: &str, trials: &[(&str, &str, String)]) {
    let trial = |(name, status, _): &(&str, &str, String)| {
        let what = format!(
            "{{\"trial_id\": \"{name}\", \"stopping_criterion\": {{\"loss\": -Infinity}}, \"status\": \"{status}\", \
             \"relative_logdir\": \"{name}\"}}"
        );
        json!([what, "{\"last_result\": {\"loss\": NaN}}"])
    };
    let trials: Vec<Value> = trials.iter().map(trial).collect();
    let text = json!({"trial_data": trials, "runner_data": {"_limit": "INF"}, "stats": {}}).to_string();
    lab.write(&format!("ray_results/exp/experiment_state-{date}.json"), text.replace("\"INF\"", "Infinity"));
}

/// Returns status, reason and duration of all trials.
fn trials(lab: &Lab) -> Value {
    let runs = listed(lab, "ray_results");
    let said = |run: &Value| json!([run["run_name"], run["status"], run["reason"], run["duration_s"]]);
    runs.values().map(said).collect()
}

#[test]
fn trials_are_as_their_experiment_says() {
    let lab = Lab::new();
    let first = failure(1, "2026-01-29_12-00-02", "ValueError: first");
    let both = first.clone() + &failure(2, "2026-01-29_12-00-11", "ValueError: second");
    experiment(
        &lab,
        &[
            ("ended", "TERMINATED", String::new()),
            ("failed", "ERROR", both),
            ("retried", "TERMINATED", first),
            ("running", "RUNNING", String::new()),
            ("waiting", "PENDING", String::new()),
        ],
    );
    age(&lab, "ray_results", 600);
    // Ray writes the state while trials run.
    let written = SystemTime::now() - Duration::from_secs(10);
    let state = lab.path("ray_results/exp/experiment_state-2026-01-29_12-00-00.json");
    File::open(&state).unwrap().set_modified(written).unwrap();
    let all = trials(&lab);
    assert_eq!(
        all.as_array().unwrap()[..3],
        [
            json!(["ended", "completed", null, 11.5]),
            json!(["failed", "failed", "ValueError: second", 12.5]),
            json!(["retried", "completed", null, 11.5]),
        ]
    );
    assert_eq!([&all[3][1], &all[4][1]], ["running", "stale"]);
    File::open(&state).unwrap().set_modified(SystemTime::now() - Duration::from_secs(600)).unwrap();
    assert_eq!([&trials(&lab)[3][1], &trials(&lab)[4][1]], ["stale", "stale"]);
}

#[test]
fn an_experiment_that_goes_on_has_another_state() {
    let lab = Lab::new();
    experiment(&lab, &[("a", "ERROR", failure(1, "2026-01-29_12-00-11", "ValueError: x"))]);
    age(&lab, "ray_results", 600);
    assert_eq!(trials(&lab)[0][1], "failed");
    state(&lab, "2026-01-30_12-00-00", &[("a", "TERMINATED", String::new())]);
    assert_eq!(trials(&lab)[0][1], "completed");
}

#[test]
fn without_the_state_rows_and_failures_tell() {
    let lab = Lab::new();
    experiment(
        &lab,
        &[
            ("failed", "", failure(1, "2026-01-29_12-00-11", "ValueError: x")),
            ("retried", "", failure(1, "2026-01-29_11-59-00", "ValueError: x")),
        ],
    );
    age(&lab, "ray_results", 600);
    for text in ["", "{\"trial_data\": [[]]}", "[", "{\"trial_data\": [[\"{\"]]}"] {
        lab.write("ray_results/exp/experiment_state-2026-01-29_12-00-00.json", text);
        let all = trials(&lab);
        assert_eq!(all[0], json!(["failed", "failed", "ValueError: x", 12.5]), "{text}");
        assert_eq!([&all[1][0], &all[1][1]], ["retried", "stale"], "{text}");
        assert!(all[1][2].as_str().unwrap().starts_with("nothing was written for 10m"), "{all}");
    }
    let state = lab.path("ray_results/exp/experiment_state-2026-01-29_12-00-00.json");
    fs::remove_file(&state).unwrap();
    lab.cmd("mkfifo").arg(&state).run().code(0);
    assert_eq!(trials(&lab)[0][1], "failed");
    fs::remove_file(&state).unwrap();
    File::create(&state).unwrap().set_len(10 << 30).unwrap();
    assert_eq!(trials(&lab)[0][1], "failed");
}
