//! Several hosts on one runs directory, of a file system that shows each host only its own locks and keeps what it
//! knows of files for twenty seconds.

use serde_json::{Value, json};
use std::fs;
use testkit::hosts::Host;
use testkit::{Cmd, Lab, Running, wait_for};

/// A program that says who it is, ten times a second.
const TRAIN: &str = r#"trap 'echo told; exit 0' TERM; host=$(hostname)
while :; do step=$((step + 1)); echo "{\"step\": $step, \"host\": \"$host\"}" >>"$RUN_METRICS"; sleep 0.1; done"#;

fn exec(lab: &Lab, host: &Host, args: &[&str]) -> Cmd {
    host.cmd(lab, "run-exec").args(["-q", "--heartbeat", "200ms", "--linger", "200ms"]).args(args)
}

fn new_run(lab: &Lab, host: &Host, name: &str) {
    host.cmd(lab, "run-new").args(["-n", name, "--", "sh", "-c", TRAIN]).run().code(0);
}

fn statuses(lab: &Lab, host: &Host, args: &[&str]) -> Vec<Value> {
    let done = host.cmd(lab, "run-status").args(["-a", "--json"]).args(args).run();
    done.json_lines()
}

fn status(lab: &Lab, host: &Host, run: &str, args: &[&str]) -> (String, String) {
    let told = statuses(lab, host, &[args, &[run]].concat());
    let word = |key: &str| told[0][key].as_str().unwrap_or_default().to_owned();
    (word("status"), word("reason"))
}

/// Starts a run on a host, and waits until its program runs.
fn start(lab: &Lab, host: &Host, run: &str, args: &[&str]) -> Running {
    let running = exec(lab, host, args).arg(run).spawn();
    wait_for(&format!("{run} to take steps"), || {
        statuses(lab, host, &[run])
            .first()
            .is_some_and(|told| told["status"] == "running" && told["step"].is_number())
    });
    running
}

/// Returns the hosts whose programs have written rows, in order.
fn writers(lab: &Lab, run: &str) -> Vec<String> {
    let rows = lab.json_lines(&format!("disk/runs/{run}/metrics.jsonl"));
    let mut writers: Vec<String> = rows.iter().map(|row| row["host"].as_str().unwrap().to_owned()).collect();
    writers.dedup();
    writers
}

#[test]
fn runs_of_several_hosts_are_seen_and_stopped_from_each() {
    let lab = Lab::new();
    let (a, b) = (Host::boot(&lab, "a"), Host::boot(&lab, "b"));
    for run in ["on-a", "on-b"] {
        new_run(&lab, &a, run);
        assert_eq!(status(&lab, &b, run, &[]).0, "created"); // which b remembers from now on
    }
    let (on_a, on_b) = (start(&lab, &a, "on-a", &[]), start(&lab, &b, "on-b", &[]));
    for host in [&a, &b] {
        // A host may remember the list of a directory for a while.
        wait_for("both to be listed", || {
            let told = statuses(&lab, host, &[]);
            let is_there =
                |place: &str| told.iter().any(|run| run["status"] == "running" && run["host"] == place);
            told.len() == 2 && is_there("a") && is_there("b")
        });
    }
    for options in [&[][..], &["--resume"], &["--resume", "--take-over"]] {
        let refused = exec(&lab, &b, options).arg("on-a").run().code(125);
        refused.stderr_has("it is already running, as process ").stderr_has(" on a\n");
    }
    exec(&lab, &b, &["--unfinished"]).arg("on-a").run().code(0).stderr_has("skipping '");
    b.cmd(&lab, "run-stop").arg("on-a").run().code(0).stdout("runs/on-a: stopped\n");
    a.cmd(&lab, "run-stop").arg("on-b").run().code(0).stdout("runs/on-b: stopped\n");
    on_a.wait().code(0);
    on_b.wait().code(0);
    for (run, by) in [("on-a", "b"), ("on-b", "a")] {
        let (ended, reason) = status(&lab, &a, run, &[]);
        assert!(ended == "stopped" && reason.ends_with(&format!("@{by}")), "{reason}");
        assert!(lab.read(&format!("disk/runs/{run}/stdout.log")).ends_with("told\n"));
    }
    assert_eq!((writers(&lab, "on-a"), writers(&lab, "on-b")), (vec!["a".to_owned()], vec!["b".to_owned()]));
}

#[test]
fn a_run_of_a_host_that_is_gone_is_in_doubt_until_it_is_taken_over() {
    let lab = Lab::new();
    let (a, b) = (Host::boot(&lab, "a"), Host::boot(&lab, "b"));
    new_run(&lab, &a, "r");
    let lost = start(&lab, &a, "r", &[]);
    assert_eq!(status(&lab, &b, "r", &[]), ("running".to_owned(), String::new()));
    a.crash();
    drop(lost);
    let mut last = (String::new(), String::new());
    wait_for("doubt", || {
        last = status(&lab, &b, "r", &["--stale-after", "2s"]);
        last.0 == "stale"
    });
    assert!(last.1.starts_with("no heartbeat from a for "), "{last:?}");
    // The host comes back, and knows.
    let again = Host::boot(&lab, "a");
    assert_eq!(status(&lab, &again, "r", &[]), ("dead".to_owned(), "the host was restarted".to_owned()));
    let second = start(&lab, &again, "r", &["--resume"]);
    assert_eq!(status(&lab, &b, "r", &[]).0, "running");
    b.cmd(&lab, "run-stop").arg("r").run().code(0).stdout("runs/r: stopped\n");
    second.wait().code(0);
    let lines = lab.json_lines("disk/runs/r/.run/attempts.jsonl");
    let events: Vec<(u64, &str)> = lines
        .iter()
        .map(|line| (line["attempt"].as_u64().unwrap(), line["event"].as_str().unwrap()))
        .collect();
    assert_eq!(events, [(1, "start"), (1, "end"), (2, "start"), (2, "end")]);
}

/// Changes what is recorded of a run, as another host might have written it.
fn edit(lab: &Lab, run: &str, change: impl FnOnce(&mut Value)) {
    let path = format!("disk/runs/{run}/.run/status.json");
    let mut status = lab.json(&path);
    change(&mut status);
    lab.write(&path, format!("{status}\n"));
}

#[test]
fn a_supervisor_that_was_out_of_reach_ends_its_program_when_it_finds_another() {
    let lab = Lab::new();
    let (a, b) = (Host::boot(&lab, "a"), Host::boot(&lab, "b"));
    new_run(&lab, &a, "r");
    let frozen = start(&lab, &a, "r", &[]);
    a.freeze(&lab);
    exec(&lab, &b, &["--resume", "--take-over"]).arg("r").run().code(125).stderr_has("it is already running");
    edit(&lab, "r", |status| status["last_heartbeat"] = "2026-01-29T12:00:00.000Z".into());
    let refused = exec(&lab, &b, &["--resume"]).arg("r").run().code(125);
    refused.stderr_has("no heartbeat from a for ").stderr_has("use run-exec --resume --take-over");
    let second = exec(&lab, &b, &["--resume", "--take-over"]).arg("r").spawn();
    wait_for("b to write", || writers(&lab, "r") == ["a", "b"]);
    a.thaw(&lab);
    let done = frozen.wait();
    assert_ne!(done.code, 0);
    done.stderr_has("another run-exec has taken the run over");
    let count =
        |host: &str| lab.read("disk/runs/r/metrics.jsonl").matches(&format!("\"host\": \"{host}\"")).count();
    let (of_a, of_b) = (count("a"), count("b"));
    wait_for("more of b", || count("b") > of_b + 5);
    assert_eq!(count("a"), of_a);
    for host in [&a, &b] {
        let told = &statuses(&lab, host, &["r"])[0];
        assert_eq!(
            (&told["status"], &told["host"], &told["attempt"]),
            (&"running".into(), &"b".into(), &2.into())
        );
    }
    a.cmd(&lab, "run-stop").arg("r").run().code(0).stdout("runs/r: stopped\n");
    second.wait().code(0);
    let lines = lab.json_lines("disk/runs/r/.run/attempts.jsonl");
    assert_eq!(lines.iter().filter(|line| line["attempt"] == 1 && line["event"] == "end").count(), 1);
}

#[test]
fn of_two_that_start_a_run_at_once_on_different_hosts_one_goes_on() {
    let lab = Lab::new();
    let (a, b) = (Host::boot(&lab, "a"), Host::boot(&lab, "b"));
    // Neither sees the lock of the other. If one is earlier, the other refuses.
    new_run(&lab, &a, "r");
    let (mut on_a, mut on_b) = (exec(&lab, &a, &[]).arg("r").spawn(), exec(&lab, &b, &[]).arg("r").spawn());
    wait_for("one to end", || {
        on_a.child.try_wait().unwrap().is_some() || on_b.child.try_wait().unwrap().is_some()
    });
    wait_for("the other to go on", || {
        let goes_on = on_a.child.try_wait().unwrap().is_none() || on_b.child.try_wait().unwrap().is_none();
        assert!(goes_on, "both have ended");
        let name = "disk/runs/r/metrics.jsonl";
        let rows = if lab.path(name).exists() { lab.json_lines(name) } else { Vec::new() };
        let (last, others): (Vec<&Value>, Vec<&Value>) =
            (rows.iter().rev().take(5).collect(), rows.iter().collect());
        others.len() > 5 && last.iter().all(|row| row["host"] == last[0]["host"])
    });
    a.cmd(&lab, "run-stop").arg("r").run().code(0).stdout("runs/r: stopped\n");
    drop((on_a, on_b));
    // What the later of them finds.
    new_run(&lab, &a, "s");
    let first = start(&lab, &a, "s", &[]);
    a.freeze(&lab);
    edit(&lab, "s", |status| {
        status["host"] = "b".into();
        status["boot_id"] = lab.read("b.boot").trim().into();
    });
    a.thaw(&lab);
    let done = first.wait();
    assert_ne!(done.code, 0);
    done.stderr_has("a run-exec on b, which does not see its lock, has started it, too");
}

#[test]
fn an_empty_record_that_two_left_is_written_by_the_one_that_its_attempts_name() {
    let lab = Lab::new();
    let (a, b) = (Host::boot(&lab, "a"), Host::boot(&lab, "b"));
    new_run(&lab, &a, "r");
    let running = start(&lab, &a, "r", &[]);
    a.freeze(&lab);
    // b has signed the lock last, which a does not see, and has emptied the file of the state.
    let boot = lab.read("b.boot");
    let signed = json!({"host": "b", "boot_id": boot.trim(), "pid_ns": "1", "pid": 12, "pid_start": 1});
    fs::write(lab.path("disk/runs/r/.run/lock"), format!("process 12 on b\n{signed}\n")).unwrap();
    fs::write(lab.path("disk/runs/r/.run/status.json"), "").unwrap();
    a.thaw(&lab);
    let path = lab.path("disk/runs/r/.run/status.json");
    wait_for("the state to be written again", || fs::metadata(&path).is_ok_and(|file| file.len() > 0));
    assert_eq!(status(&lab, &b, "r", &[]).0, "running");
    b.cmd(&lab, "run-stop").arg("r").run().code(0).stdout("runs/r: stopped\n");
    running.wait().code(0).stderr("");
}
