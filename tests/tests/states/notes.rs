//! Notes and tags that runs are given after their creation.

use serde_json::{Value, json};
use std::fs;
use testkit::Lab;
use testkit::reports::{objects, report};

fn names(done: &str) -> Vec<String> {
    let name =
        |line: &str| serde_json::from_str::<Value>(line).unwrap()["run_name"].as_str().unwrap().to_owned();
    done.lines().map(name).collect()
}

fn lab() -> Lab {
    let lab = Lab::new();
    for (name, tag) in [("a", "old"), ("b", "new"), ("c", "old")] {
        lab.cmd("run-new").args(["-n", name, "--tag", tag, "--", "true"]).run().code(0);
        lab.cmd("run-exec").args(["-q", name]).run().code(0);
    }
    lab
}

#[test]
fn tags_select_and_can_be_changed() {
    let lab = lab();
    let status = |words: &[&str]| lab.cmd("run-status").args(words).run();
    assert_eq!(names(&status(&["--json", "--tag", "old"]).code(0).out()), ["a", "c"]);
    status(&["--add-tag", "best", "--add-tag", "paper", "--remove-tag", "old", "c"])
        .code(0)
        .stdout("")
        .stderr("");
    status(&["--add-tag", "best", "a"]).code(0);
    assert_eq!(names(&status(&["--json", "--tag", "best"]).code(0).out()), ["a", "c"]);
    assert_eq!(names(&status(&["--json", "--tag", "best", "--tag", "paper"]).code(0).out()), ["c"]);
    assert_eq!(names(&status(&["--json", "--tag", "old", "b", "c", "a"]).code(0).out()), ["a"]);
    assert_eq!(names(&status(&["--json", "--tag", "old", "--status", "completed"]).code(0).out()), ["a"]);
    status(&["--tag", "none"]).code(1).stdout("").stderr("");
    status(&["--tag", "old", "c"]).code(1).stdout("");
    assert!(status(&["--tag", "best"]).code(0).out().lines().count() == 3);
    assert_eq!(status(&["--json", "c"]).json_lines()[0]["tags"], json!(["best", "paper"]));
    assert!(status(&["c"]).out().contains("best paper"));
    // The reports have the same.
    let rows = objects(&lab, &["--tag", "best"]);
    assert_eq!(rows.iter().map(|row| &row["run"]).collect::<Vec<_>>(), ["a", "c"]);
    assert!(report(&lab, &["--compare", "a", "c"]).contains("best, paper"));
    lab.cmd("run-report").args(["--tag", "none"]).run().code(0).stderr_has("none has the tag 'none'");
    // What was recorded at the creation stays.
    assert_eq!(lab.json("runs/c/.run/meta.json")["tags"], json!(["old"]));
    let lines = lab.json_lines("runs/c/.run/notes.jsonl");
    let events: Vec<_> = lines.iter().map(|line| (&line["event"], &line["tag"])).collect();
    let expected =
        [("tag", "best"), ("tag", "paper"), ("untag", "old")].map(|(event, tag)| (json!(event), json!(tag)));
    assert_eq!(events, expected.iter().map(|(event, tag)| (event, tag)).collect::<Vec<_>>());
    assert!(lines[0]["time"].is_string() && lines[0]["user"].is_string());
}

#[test]
fn a_note_is_replaced_and_holds_no_secret() {
    let lab = lab();
    let note = |text: &str| lab.cmd("run-status").args(["--note", text, "a"]).run().code(0).stderr("");
    let full = || lab.cmd("run-status").args(["--full", "a"]).run().code(0).json_lines()[0]["note"].clone();
    assert_eq!(full(), Value::Null);
    note("diverges after 400");
    note("it was the data\nreally \u{1b}[31m");
    assert_eq!(full(), "it was the data\nreally \u{1b}[31m");
    let told = lab.cmd("run-status").arg("a").run().code(0).out();
    assert!(
        told.contains("it was the data") && !told.contains('\u{1b}') && !told.contains("diverges"),
        "{told}"
    );
    note("seen with HF_TOKEN=hf_abcdefghijklmnopqrstuvwxyzABCDEFGH");
    assert!(!lab.read("runs/a/.run/notes.jsonl").contains("hf_abc"));
    assert_eq!(full(), "seen with HF_TOKEN=[redacted]");
    note("");
    assert_eq!(full(), Value::Null);
    assert_eq!(lab.json_lines("runs/a/.run/notes.jsonl").len(), 4);
}

#[test]
fn nothing_is_written_where_no_run_of_ours_is() {
    let lab = lab();
    let tag = |run: &str| lab.cmd("run-status").args(["--add-tag", "x", run]).run();
    // A run of another system.
    lab.write("runs/other/trainer_state.json", r#"{"global_step": 1, "log_history": []}"#);
    lab.write("runs/other/training_args.bin", "");
    lab.write("runs/other/checkpoint-1/trainer_state.json", r#"{"global_step": 1, "log_history": []}"#);
    tag("other").code(3).stderr_has("which run-tools only reads");
    assert!(!lab.path("runs/other/.run").exists());
    // A link, a pipe, a directory in place of the file, and a record that is a link.
    let path = lab.path("runs/a/.run/notes.jsonl");
    lab.write("target", "");
    std::os::unix::fs::symlink(lab.path("target"), &path).unwrap();
    tag("a").code(3);
    assert_eq!(lab.read("target"), "");
    fs::remove_file(&path).unwrap();
    lab.cmd("mkfifo").arg(&path).run().code(0);
    tag("a").code(3);
    assert_eq!(
        lab.cmd("run-status").args(["--json", "--tag", "old", "a"]).run().code(0).json_lines().len(),
        1
    );
    fs::remove_file(&path).unwrap();
    // Damaged lines are skipped.
    lab.write(
        "runs/a/.run/notes.jsonl",
        "no json\n{\"event\":\"tag\",\"tag\":7}\n{\"event\":\"tag\",\"tag\":\"y\"}\n{\"event\":\"ta",
    );
    tag("a").code(0);
    let tags = lab.cmd("run-status").args(["--json", "a"]).run().json_lines()[0]["tags"].clone();
    assert_eq!(tags, json!(["old", "y", "x"]));
    // One that is not there, and none.
    tag("absent").code(3);
    lab.cmd("run-status").args(["--note", "x"]).run().code(2);
    lab.cmd("run-status").args(["--add-tag", "", "a"]).run().code(2);
    lab.cmd("run-status").args(["--add-tag", "x", "--json", "a"]).run().code(2);
}

#[test]
fn a_running_run_keeps_the_tags_it_is_given() {
    let lab = Lab::new();
    lab.new_run("live", &["sh", "-c", "while [ ! -e go ]; do sleep 0.02; done"]);
    let exec = lab.cmd("run-exec").args(["-q", "--heartbeat", "100ms", "live"]).spawn();
    lab.await_child("live");
    lab.cmd("run-status").args(["--add-tag", "x", "--note", "n", "live"]).run().code(0);
    lab.write("go", "");
    exec.wait().code(0);
    let line = lab.cmd("run-status").args(["--full", "live"]).run().json_lines().remove(0);
    assert_eq!(
        (&line["tags"], &line["note"], &line["status"]),
        (&json!(["x"]), &json!("n"), &json!("completed"))
    );
    lab.nothing_left();
}
