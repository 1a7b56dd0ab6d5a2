//! Options that later attempts inherit.

use serde_json::{Value, json};
use testkit::Lab;

/// Returns the options that each attempt of a run had, as they are recorded.
fn options(lab: &Lab, run: &str) -> Vec<Value> {
    let lines = lab.json_lines(&format!("runs/{run}/.run/attempts.jsonl"));
    lines.into_iter().filter(|line| line["event"] == "start").map(|line| line["options"].clone()).collect()
}

fn exec(lab: &Lab, words: &[&str], code: i32) {
    lab.cmd("run-exec").arg("-q").args(words).run().code(code);
}

#[test]
fn an_attempt_inherits_what_the_last_one_was_given_unless_it_is_given_anew() {
    let lab = Lab::new();
    lab.new_run("r", &["sh", "-c", "echo 'E1 acc=0.5'; exit 1"]);
    let given =
        ["--scrape", r"^E(?<epoch>\d+) acc=(?<acc>\S+)$", "--scrape", "none", "--grace", "3s", "--linger"];
    let given =
        [&given[..], &["1s", "--heartbeat", "50ms", "--timeout", "1m", "--stall-timeout", "30s"]].concat();
    exec(&lab, &[&given[..], &["--on-end", "echo $RUN_ATTEMPT >>ends", "r"]].concat(), 1);
    exec(&lab, &["--resume", "r"], 1);
    exec(&lab, &["--resume", "--timeout", "none", "--scrape", "auto", "r"], 1);
    exec(&lab, &["--resume", "--on-end", "", "r"], 1);
    let first = json!({
        "scrape": [r"^E(?<epoch>\d+) acc=(?<acc>\S+)$", "none"], "grace_s": 3, "linger_s": 1, "heartbeat_s": 0.05,
        "timeout_s": 60, "stall_timeout_s": 30, "on_end": "echo $RUN_ATTEMPT >>ends"
    });
    let seconds = |value: &Value| value.as_f64();
    let all = options(&lab, "r");
    for key in ["grace_s", "linger_s", "heartbeat_s", "timeout_s", "stall_timeout_s"] {
        assert_eq!(seconds(&all[0][key]), seconds(&first[key]), "{key}");
    }
    assert_eq!((&all[0]["scrape"], &all[0]["on_end"]), (&first["scrape"], &first["on_end"]));
    assert_eq!(all[1], all[0]);
    assert_eq!((seconds(&all[2]["timeout_s"]), &all[2]["scrape"]), (Some(0.0), &json!(["auto"])));
    assert_eq!((seconds(&all[2]["grace_s"]), &all[2]["on_end"]), (Some(3.0), &first["on_end"]));
    assert_eq!((seconds(&all[3]["timeout_s"]), &all[3]["on_end"]), (Some(0.0), &json!("")));
    assert_eq!(lab.read("ends"), "1\n2\n3\n");
    // The first two attempts looked for what was given.
    let rows = lab.json_lines("runs/r/.run/scraped.jsonl");
    assert_eq!(rows, [json!({"epoch": 1, "acc": 0.5}), json!({"epoch": 1, "acc": 0.5})]);
    assert_eq!(lab.status("r")["attempt"], 4);
}

#[test]
fn an_inherited_limit_ends_the_next_attempt_too() {
    let lab = Lab::new();
    lab.new_run("r", &["sleep", "1000"]);
    exec(&lab, &["--stall-timeout", "200ms", "--grace", "10s", "r"], 124);
    exec(&lab, &["--resume", "r"], 124);
    assert_eq!(lab.json("runs/r/.run/result.json")["reason"], "stall timeout 0.2s");
    exec(&lab, &["--resume", "--stall-timeout", "none", "--timeout", "300ms", "r"], 124);
    assert_eq!(lab.json("runs/r/.run/result.json")["reason"], "timeout 0.3s");
    lab.nothing_left();
}

#[test]
fn retries_are_inherited_by_one_run_and_by_each_of_a_batch() {
    let lab = Lab::new();
    // Every attempt fails but the fourth.
    let command = ["sh", "-c", "test $RUN_ATTEMPT -gt 3 || exit 75"];
    lab.new_run("r", &command);
    exec(&lab, &["--retries", "1", "--retry-delay", "0s", "--retry-on", "75", "r"], 75);
    assert_eq!(lab.status("r")["attempt"], 2);
    exec(&lab, &["--resume", "r"], 0);
    assert_eq!(lab.status("r")["attempt"], 4);
    let recorded = options(&lab, "r").pop().unwrap();
    assert_eq!((&recorded["retries"], &recorded["retry_on"]), (&json!(1), &json!([75])));
    exec(&lab, &["--resume", "--retries", "0", "r"], 0);
    assert_eq!(options(&lab, "r").pop().unwrap()["retries"], 0);
    // Several at once.
    for config in ["x.yaml", "y.yaml"] {
        lab.write(config, "");
    }
    lab.cmd("run-new").args(["-b=b", "x.yaml", "y.yaml", "--"]).args(command).run().code(0);
    exec(&lab, &["--retries", "1", "--retry-delay", "0s", "--retry-on", "75", "b"], 1);
    exec(&lab, &["--unfinished", "b"], 0);
    for run in ["runs/b/x", "runs/b/y"] {
        assert_eq!(lab.status(run)["attempt"], 4);
    }
    // What reads stdin is not executed once more.
    lab.new_run("s", &["sh", "-c", "exit 75"]);
    exec(&lab, &["--retries", "1", "--retry-delay", "0s", "--retry-on", "75", "s"], 75);
    exec(&lab, &["--resume", "--stdin", "s"], 75);
    assert_eq!(lab.status("s")["attempt"], 3);
}

#[test]
fn a_pattern_of_the_creation_is_that_of_the_first_attempt() {
    let lab = Lab::new();
    let pattern = r"acc=(?<acc>\S+) at (?<step>\d+)";
    let new = ["-n", "r", "--scrape", pattern, "--", "echo", "acc=0.5 at 7"];
    lab.cmd("run-new").args(new).run().code(0);
    exec(&lab, &["r"], 0);
    assert_eq!(lab.status("r")["step"], 7);
    exec(&lab, &["--resume", "r"], 0);
    assert_eq!(lab.json_lines("runs/r/.run/scraped.jsonl").len(), 2);
    let done = lab.cmd("run-new").args(["--scrape", "loss (", "--", "true"]).run().code(2);
    assert!(done.err().contains("unclosed group"), "{}", done.err());
}

#[test]
fn a_secret_for_the_end_is_not_recorded_and_has_to_be_given_anew() {
    let lab = Lab::new();
    lab.new_run("r", &["true"]);
    let command = "echo token=sk-proj-abcdefghijklmnopqrstuvwxyz0123456789 >>ends";
    exec(&lab, &["--on-end", command, "r"], 0);
    assert!(!lab.read("runs/r/.run/attempts.jsonl").contains("abcdefghij"));
    lab.cmd("run-exec")
        .args(["-q", "--resume", "r"])
        .run()
        .code(0)
        .stderr_has("runs/r' contained a secret and was not recorded; give it again\n");
    assert_eq!(lab.read("ends").lines().count(), 1);
}
