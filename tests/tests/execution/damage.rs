//! Damaged records: every tool reports damage in the same words, hides no other run, and keeps no run from
//! being stopped.

use serde_json::{Value, json};
use std::fs;
use testkit::active::{Active, is, kill_all, orphan, start, told};
use testkit::{Done, Lab};

/// Ways to damage a file, each given what it holds.
fn damages(text: &[u8]) -> Vec<(String, Option<Vec<u8>>)> {
    let newer: Value = serde_json::from_slice(text).unwrap();
    let with_schema = |schema: Value| {
        let mut newer = newer.clone();
        newer["schema"] = schema;
        Some(newer.to_string().into_bytes())
    };
    let mut latin = text.to_vec();
    let at = text.windows(9).position(|part| part == b"\"run_name").unwrap();
    latin[at + 3] = 0xfc;
    let mut damages: Vec<(String, Option<Vec<u8>>)> = [1, 9, text.len() / 2, text.len() - 2]
        .map(|length| (format!("cut to {length} bytes"), Some(text[..length].to_vec())))
        .into();
    damages.extend([
        ("empty".to_owned(), Some(Vec::new())),
        ("missing".to_owned(), None),
        ("of a newer schema".to_owned(), with_schema(7.into())),
        ("of no schema".to_owned(), with_schema(Value::Null)),
        ("not UTF-8".to_owned(), Some(latin)),
        ("another document".to_owned(), Some(b"[]\n".to_vec())),
        ("zeros".to_owned(), Some(vec![0; text.len()])),
    ]);
    damages
}

/// Replaces a file by something else; a directory where there is nothing to write.
fn put(lab: &Lab, file: &str, content: Option<&[u8]>) {
    let path = lab.path(file);
    if path.is_dir() {
        fs::remove_dir(&path).unwrap();
    }
    let _ = fs::remove_file(&path); // it may be gone
    if let Some(content) = content {
        lab.write(file, content);
    }
}

/// Returns what a tool says of a meta.json, without the path.
#[track_caller]
fn said(done: &Done, what: &str) -> String {
    let err = done.err();
    let lines: Vec<&str> = err.lines().filter(|line| line.contains("/.run/meta.json'")).collect();
    assert_eq!(lines.len(), 1, "{what}: {err}");
    let (before, why) = lines[0].split_once("/.run/meta.json'").unwrap();
    assert!(before.contains(": cannot read '"), "{what}: {err}");
    why.to_owned()
}

#[test]
fn a_damaged_meta_json_is_one_rule_for_all_tools() {
    let lab = Lab::new();
    for name in ["good", "idle", "live"] {
        lab.new_run(name, &["sleep", "1000"]);
    }
    let whole = ["idle", "live"].map(|name| lab.bytes(&format!("runs/{name}/.run/meta.json")));
    let ways = damages(&whole[0]).into_iter().map(|(what, content)| (what, content, false));
    for (what, content, is_directory) in ways.chain([("a directory".to_owned(), None, true)]) {
        let exec = lab.cmd("run-exec").args(["-q", "--linger", "100ms", "--resume", "live"]).spawn();
        lab.await_status("live", "running", |status| {
            status["status"] == "running" && !status["child_pid"].is_null()
        });
        for name in ["idle", "live"] {
            let file = format!("runs/{name}/.run/meta.json");
            put(&lab, &file, content.as_deref());
            if is_directory {
                fs::create_dir(lab.path(file)).unwrap();
            }
        }
        // The facts of status.json are listed, and damage of the rest is reported.
        let listed = lab.cmd("run-status").args(["--json"]).run().code(3);
        let statuses: Vec<(Value, Value)> = listed
            .json_lines()
            .iter()
            .map(|line| (line["run_name"].clone(), line["status"].clone()))
            .collect();
        let expected = [("good", "created"), ("idle", "created"), ("live", "running")];
        assert_eq!(statuses, expected.map(|(name, status)| (json!(name), json!(status))), "{what}");
        assert_eq!(listed.err().lines().filter(|line| line.contains("cannot read")).count(), 2, "{what}");
        let table = lab.cmd("run-status").arg("-a").run().code(3);
        assert_eq!((table.out().lines().count(), table.err()), (4, listed.err()), "{what}");
        let words = said(&lab.cmd("run-status").args(["--json", "idle"]).run().code(3), &what);
        let details = lab.cmd("run-status").arg("idle").run().code(3);
        assert!(details.out().contains("status:   created\ncommand:  sleep 1000\n"), "{}", details.out());
        let full = lab.cmd("run-status").args(["--full", "idle"]).run().code(3);
        assert_eq!(full.json_lines()[0]["status"], "created", "{what}");
        // All that needs meta.json refuses the run in the same words, and does nothing.
        for done in [
            details,
            full,
            lab.cmd("run-exec").arg("idle").run().code(125),
            lab.cmd("run-exec").args(["idle", "--", "touch", "done"]).run().code(125),
            lab.cmd("run-report").args(["good", "idle"]).run().code(3),
            lab.cmd("run-report").args(["--metrics", "good", "idle"]).run().code(3),
            lab.cmd("run-eval").args(["idle", "--", "touch", "done"]).run().code(3),
        ] {
            assert_eq!(said(&done, &what), words, "{what}");
        }
        assert!(!lab.path("done").exists() && !lab.path("runs/idle/.run/attempts.jsonl").exists(), "{what}");
        let report = lab.cmd("run-report").run().code(3);
        assert_eq!(report.err().lines().filter(|line| line.contains("cannot read")).count(), 2, "{what}");
        assert!(report.out().contains("good"), "{what}");
        // A stop needs status.json and the lock alone.
        lab.cmd("run-stop").arg("--all").run().code(0).stdout("runs/live: stopped\n").stderr("");
        exec.wait().code(143);
        let waited = lab.cmd("run-status").args(["--wait", "live"]).run().code(1);
        waited.stdout("runs/live: stopped\n").stderr("");
        assert_eq!(said(&lab.cmd("run-exec").args(["--resume", "live"]).run().code(125), &what), words);
        // Ended runs are listed from status.json; the details of one report the damage.
        let over = lab.cmd("run-status").args(["--status", "stopped", "--json"]).run().code(0).stderr("");
        assert_eq!(over.json_lines().len(), 1, "{what}");
        assert_eq!(said(&lab.cmd("run-status").args(["--json", "live"]).run().code(3), &what), words);
        lab.nothing_left();
        for (name, whole) in ["idle", "live"].into_iter().zip(&whole) {
            put(&lab, &format!("runs/{name}/.run/meta.json"), Some(whole));
        }
    }
}

/// Empties the status.json of a run, as a power cut may, and returns what is concluded then.
fn emptied(lab: &Lab, name: &str) -> (String, String) {
    lab.write(&format!("runs/{name}/.run/status.json"), "");
    told(lab, name)
}

/// Starts a run whose record is not written again for long.
fn start_quietly(lab: &Lab, name: &str) -> Active {
    start(lab, name, &["--heartbeat", "1000s"], &["sleep", "1000"])
}

#[test]
fn an_empty_status_of_a_run_at_work_hides_nothing_and_keeps_it_from_nothing() {
    let lab = Lab::new();
    let run = start_quietly(&lab, "r");
    assert_eq!(emptied(&lab, "r"), is("running", ""));
    lab.cmd("run-exec")
        .args(["--resume", "r"])
        .run()
        .code(125)
        .stderr_has("it is already running, as process ");
    lab.cmd("run-stop").arg("r").run().code(0).stdout("runs/r: stopped\n").stderr("");
    run.exec.wait().code(143);
    assert_eq!(told(&lab, "r").0, "stopped");
    // How it ended stands in result.json, too.
    assert_eq!(emptied(&lab, "r").0, "stopped");
}

#[test]
fn an_empty_status_of_a_run_whose_program_was_left_behind_leads_to_it() {
    let lab = Lab::new();
    let child = orphan(start_quietly(&lab, "r"));
    let stale = format!("supervisor gone, process {child} lives");
    assert_eq!(emptied(&lab, "r"), is("stale", &stale));
    lab.cmd("run-stop")
        .arg("r")
        .run()
        .code(0)
        .stdout("runs/r: dead\n")
        .stderr_has("ended 1 process of 'runs/r'");
    assert_eq!(told(&lab, "r"), is("dead", "its supervisor is gone"));
}

#[test]
fn an_empty_status_is_judged_by_who_signed_the_lock() {
    let lab = Lab::new();
    lab.new_run("new", &["true"]);
    assert_eq!(emptied(&lab, "new"), is("created", ""));
    lab.cmd("run-exec").args(["-q", "new"]).run().code(0);
    kill_all(start_quietly(&lab, "r"));
    let signed = lab.read("runs/r/.run/lock");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let host = lab.json("runs/r/.run/meta.json")["host"].as_str().unwrap().to_owned();
    let rebooted = signed.replace(boot.trim(), "another");
    let elsewhere = rebooted.replace(&host, "elsewhere");
    let is_gone = is("dead", "its supervisor is gone");
    for (lock, expected) in [
        (signed.as_str(), &is_gone),
        (&rebooted, &is("dead", "the host was restarted")),
        (signed.lines().next().unwrap(), &is_gone), // of version 0.1.0
        ("", &is_gone),                             // the power cut took the signature, too
        ("nonsense\n\0", &is_gone),
    ] {
        lab.write("runs/r/.run/lock", lock);
        assert_eq!(emptied(&lab, "r"), *expected, "{lock}");
    }
    // Of another host nothing is known but when it began.
    let attempts = lab.read("runs/r/.run/attempts.jsonl");
    let host_was = |host: &str| format!("\"host\":\"{host}\"");
    lab.write("runs/r/.run/attempts.jsonl", attempts.replace(&host_was(&host), &host_was("elsewhere")));
    lab.write("runs/r/.run/lock", &elsewhere);
    assert_eq!(emptied(&lab, "r"), is("running", ""));
    let stale = lab.cmd("run-status").args(["--json", "--stale-after", "1ms", "r"]).run().code(0);
    let reason = stale.json_lines()[0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("no heartbeat from elsewhere for "), "{reason}");
    // Without lock, too, of this one.
    lab.write("runs/r/.run/attempts.jsonl", attempts);
    fs::remove_file(lab.path("runs/r/.run/lock")).unwrap();
    let stale = lab.cmd("run-status").args(["--json", "--stale-after", "1ms", "r"]).run().code(0);
    let reason = stale.json_lines()[0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with(&format!("no heartbeat from {host} for ")), "{reason}");
    lab.write("runs/r/.run/lock", &signed);
    lab.cmd("run-exec").args(["-q", "--resume", "r", "--", "true"]).run().code(0);
    assert_eq!(lab.status("r")["attempt"], 2);
}

#[test]
fn damaged_records_of_evaluations_are_said() {
    let lab = Lab::new();
    let program = "for i in 1 2; do mkdir -p $RUN_DIR/checkpoints/step_$i; echo {} >$RUN_DIR/checkpoints/step_$i/state.json; done";
    lab.new_run("r", &["sh", "-c", program]);
    lab.cmd("run-exec").args(["-q", "r"]).run().code(0);
    let evaluate = ["r", "--", "echo", "{\"score\": 1}"];
    lab.cmd("run-eval").args(evaluate).run().code(0);
    let table = "eval_runs/r_eval/consolidated_metrics.csv";
    let both = "step,score\n1,1\n2,1\n";
    assert_eq!(lab.read(table), both);
    for file in ["meta.json", "status.json", "metrics.json"] {
        let path = format!("eval_runs/r_eval/step_1_eval/.eval/{file}");
        let whole = lab.bytes(&path);
        lab.write(&path, &whole[..whole.len() / 2]);
        let said = format!("cannot read '{}'", lab.path(&path).display());
        let reader = if file == "metrics.json" { "run-report" } else { "run-status" };
        let err = lab.cmd(reader).arg("r").run().err();
        assert!(err.contains(&said), "{reader} says nothing of {file}: {err}");
        // An evaluation whose result is unknown is repeated, or left out, which is reported.
        let err = lab.cmd("run-eval").args(evaluate).run().err();
        assert!(
            lab.read(table) == both || err.contains("is not in consolidated_metrics.csv"),
            "{file}: {err}"
        );
        lab.write(&path, &whole);
    }
}

#[test]
fn a_batch_and_a_directory_that_cannot_be_read_are_not_taken_for_empty() {
    let lab = Lab::new();
    lab.cmd("run-new").args(["-b=b", "--sweep", "k=1..2", "--", "true", "{set}"]).run().code(0);
    lab.cmd("chown").args(["-R", "65534", "runs"]).run();
    lab.set_mode("runs/b", 0o111);
    for tool in ["run-exec", "run-stop", "run-status"] {
        let done = lab.cmd_by_somebody(tool).arg("b").run().code(3);
        assert!(done.err().ends_with("cannot read 'runs/b': Permission denied\n"), "{tool}: {}", done.err());
    }
    let done = lab.cmd_by_somebody("run-stop").arg("--all").run().code(3);
    assert_eq!(done.err(), "run-stop: cannot read 'runs/b': Permission denied\n");
    lab.set_mode("runs", 0);
    let done = lab.cmd_by_somebody("run-stop").arg("--all").run().code(5);
    assert_eq!(done.err(), "run-stop: cannot read 'runs': Permission denied\n");
    lab.set_mode("runs", 0o755);
    lab.set_mode("runs/b", 0o755);
}
