//! `--metrics` and `--step-key`, and which of the files of a program say how far it is.

use serde_json::json;
use testkit::Lab;
use testkit::progress::{AWAIT, fact, step};

#[test]
fn the_key_of_the_step_may_be_the_last_part_of_a_name_and_its_value_a_text() {
    for (file, key, content) in [
        (
            "metrics.jsonl",
            "tick",
            "{\"step\": 0, \"at\": {\"Tick\": 10}, \"loss\": 1}\n{\"at\": {\"Tick\": 20}, \"loss\": 1}\n",
        ),
        ("metrics.jsonl", "at/tick", "{\"at\": {\"tick\": 20}, \"loss\": 1}\n"),
        ("metrics.jsonl", "tick", "{\"tick\": \"10\", \"loss\": 1}\n{\"tick\": \"20\", \"loss\": 1}\n"),
        ("my.json", "tick", "{\"tick\": 20, \"loss\": 1}"),
        ("status.json", "tick", "{\"tick\": 20, \"loss\": 1}"),
    ] {
        let lab = Lab::new();
        lab.write("made/x", content);
        lab.new_run("r", &["sh", "-c", &format!("cp made/x $RUN_DIR/{file}")]);
        lab.cmd("run-exec").args(["-q", "--metrics", file, "--step-key", key, "r"]).run().code(0).stderr("");
        assert_eq!(step(&lab), json!(20), "{file} {key}");
        assert_eq!(fact(&lab, "r", "metrics"), file);
        assert_eq!(lab.status("r")["metrics"]["loss"]["last"], 1, "{file} {key}");
    }
}

#[test]
fn beside_a_file_that_was_named_no_other_counts_though_it_never_comes() {
    let lab = Lab::new();
    let program = "echo 'epoch 1: loss 2'; printf 'step,loss\\n7,1\\n' > $RUN_DIR/metrics.csv";
    lab.new_run("r", &["sh", "-c", program]);
    lab.cmd("run-exec").args(["-q", "--metrics", "mine.csv", "r"]).run().code(0).stderr("");
    assert_eq!(step(&lab), json!(null));
    assert_eq!(lab.cmd("run-report").arg("--metrics").run().code(0).out(), "run,step\n");
    for tool in ["run-exec", "run-new"] {
        for elsewhere in ["../other/metrics.csv", "a/../../x.csv", "/etc/passwd", ""] {
            let done = lab.cmd(tool).args(["--metrics", elsewhere, "x", "--", "true"]).run();
            assert!(done.err().contains("must be below the run"), "{elsewhere}: {}", done.err());
        }
    }
    // A record that names a file elsewhere shows nothing of it.
    let record = lab.read("runs/r/.run/attempts.jsonl").replace("mine.csv", "/etc/passwd");
    lab.write("runs/r/.run/attempts.jsonl", record);
    let shown = lab.cmd("run-report").arg("--metrics").run().out();
    assert!(!shown.contains("root"), "{shown}");
}

#[test]
fn a_status_whose_step_stays_is_no_sign_of_life() {
    let lab = Lab::new();
    let program = format!(
        "{AWAIT}
n = 0
while True:
    n += 1
    replace('status.json', json.dumps(dict(status='running', step=5, heartbeat=n)))
    time.sleep(0.02)
"
    );
    lab.new_run("r", &["python3", "-c", &program]);
    let options = ["-q", "--heartbeat", "100ms", "--stall-timeout", "1s", "--grace", "0s", "--linger", "1s"];
    lab.cmd("run-exec").args(options).arg("r").run().code(124);
    let status = lab.status("r");
    assert_eq!((&status["step"], &status["reason"]), (&json!(5), &json!("stall timeout 1s")));
}

#[test]
fn what_an_attempt_writes_counts_before_the_rows_of_another() {
    let lab = Lab::new();
    let first = "printf 'step,loss\\n1,1\\n2,2\\n' > $RUN_DIR/metrics.csv";
    let later = "printf '{\"step\": 4, \"total_steps\": 10}' > $RUN_DIR/status.json";
    lab.new_run("r", &["sh", "-c", &format!("if [ $RUN_ATTEMPT = 1 ]; then {first}; else {later}; fi")]);
    lab.cmd("run-exec").args(["-q", "r"]).run().code(0);
    assert_eq!(step(&lab), json!(2));
    lab.cmd("run-exec").args(["-q", "--resume", "r"]).run().code(0);
    assert_eq!((step(&lab), &lab.status("r")["total_steps"]), (json!(4), &json!(10)));
}
