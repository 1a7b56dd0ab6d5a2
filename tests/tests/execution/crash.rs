//! Kills at random moments: whatever was killed, the record parses, the status is true, and what
//! is left is ended. `make soak` runs the campaigns in full; their moments are those of fixed seeds.

use serde_json::Value;
use std::fs;
use std::thread::sleep;
use std::time::Duration;
use testkit::process::Signal;
use testkit::{Lab, Random, Running, await_end, state, times, wait_for};

/// A short training with a helper that was forked twice into a session of its own.
const PROGRAM: &str = "(setsid sleep 1000 > /dev/null 2>&1 &); for i in 1 2 3 4 5 6 7 8; do echo line $i; \
                       echo \"{\\\"step\\\": $i}\" >> $RUN_METRICS; sleep 0.02; done; touch $RUN_DIR/finished";

/// Options that make its end as quick as its life.
const OPTIONS: [&str; 7] = ["-q", "--linger", "50ms", "--grace", "300ms", "--heartbeat", "15ms"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Monitor,
    Supervisor,
    Both,
}

/// Returns the supervisor that a monitor has forked, if it has.
fn supervisor(monitor: i32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Starts a run and returns it when a random time has passed.
fn start(lab: &Lab, name: &str, random: &mut Random) -> Running {
    let run = lab.new_run(name, &["sh", "-c", PROGRAM]);
    let exec = lab.cmd("run-exec").args(OPTIONS).arg(run).spawn();
    let within = if random.below(4) == 0 { 8_000 } else { 240_000 }; // its start is the busiest time
    sleep(Duration::from_micros(random.below(within))); // the moment that is tried, not a wait
    exec
}

/// Expects that every file of a record parses, and returns the status that it holds.
fn parse_record(lab: &Lab, name: &str) -> Value {
    let file = |file: &str| format!("runs/{name}/.run/{file}");
    lab.json(&file("meta.json"));
    if lab.path(file("result.json")).exists() {
        lab.json(&file("result.json"));
    }
    for lines in [file("attempts.jsonl"), file("resources.jsonl")] {
        let text = fs::read_to_string(lab.path(&lines)).unwrap_or_default();
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        for line in whole.lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "{lines}: {line}");
        }
    }
    let combined = fs::read_to_string(lab.path(format!("runs/{name}/combined.log"))).unwrap_or_default();
    for line in combined.lines() {
        assert!(line.contains("Z stdout F line ") && line.len() == 43, "{line}");
    }
    lab.json(&file("status.json"))
}

/// Expects that the listing has each run once.
fn each_once(lab: &Lab, count: usize) {
    let listed = lab.cmd("run-status").args(["-a", "--json"]).run().code(0).stderr("").out();
    let mut names: Vec<String> = listed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["run_name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names.dedup();
    assert_eq!((names.len(), listed.lines().count()), (count, count));
}

fn campaign(victim: Victim, seed: u64) {
    let lab = Lab::new();
    let mut random = Random::new(seed);
    let count = times(12, 200);
    let mut seen = std::collections::BTreeMap::new();
    for number in 0..count {
        let name = format!("r{number}");
        let exec = start(&lab, &name, &mut random);
        if victim == Victim::Both {
            exec.signal(Signal::STOP); // so that neither sees the other's end
            wait_for("it to stop", || state(exec.pid()).is_none_or(|state| matches!(state, 'T' | 'Z')));
        }
        let supervisor = supervisor(exec.pid());
        if let (Victim::Supervisor | Victim::Both, Some(pid)) = (victim, supervisor) {
            testkit::signal(pid, Signal::KILL);
        }
        if victim != Victim::Supervisor {
            exec.signal(Signal::KILL);
        }
        let code = exec.wait().code;
        match victim {
            Victim::Both => {
                if let Some(pid) = supervisor {
                    await_end(pid);
                }
            }
            // The process that is left ends the run; the monitor returns only when it has.
            Victim::Supervisor => lab.nothing_left(),
            Victim::Monitor => lab.await_nothing_left(),
        }
        let alive = lab.alive();
        let status = lab.status(&name);
        let what =
            (status["status"].as_str().unwrap(), status["reason"].as_str().unwrap_or_default().to_owned());
        let finished = lab.path(format!("runs/{name}/finished")).exists();
        match (victim, what.0, what.1.as_str()) {
            (_, "created", "") => assert!(alive.is_empty() && !finished, "{name}: {alive:?}"),
            (_, "completed", _) => assert!(alive.is_empty() && finished, "{name}: {alive:?}"),
            (Victim::Monitor, "failed", "run-exec was killed")
            | (Victim::Both, "dead", "its supervisor is gone") => {
                assert!(alive.is_empty(), "{name}: {alive:?}");
            }
            (Victim::Supervisor, "failed", "supervisor was killed") => assert_eq!(code, 125),
            (Victim::Both, "stale", reason) => {
                assert!(
                    reason.starts_with("supervisor gone, process ") && !alive.is_empty(),
                    "{name}: {reason} {alive:?}"
                );
            }
            wrong => panic!("{name}: {wrong:?}, alive: {alive:?}"),
        }
        *seen.entry(what.0.to_owned()).or_insert(0) += 1;
        if !alive.is_empty() {
            lab.cmd("run-exec").arg("--resume").arg(&name).run().code(125).stderr_has("supervisor gone");
            let done = lab.cmd("run-stop").args(["--grace", "200ms", &name]).run().code(0);
            done.stdout(format!("runs/{name}: dead\n")).stderr_has("whose supervisor was gone");
            lab.nothing_left();
        }
        parse_record(&lab, &name);
    }
    each_once(&lab, count);
    println!("{victim:?}: {count} kills: {seen:?}");
    // Whatever became of them, each can be executed again.
    for name in ["r0", "r1"] {
        lab.cmd("run-exec").args(OPTIONS).args(["--resume", name]).run().code(0);
        assert_eq!(lab.status(name)["status"], "completed");
        parse_record(&lab, name);
    }
}

#[test]
fn the_monitor_is_killed_at_any_moment() {
    campaign(Victim::Monitor, 1);
}

#[test]
fn the_supervisor_is_killed_at_any_moment() {
    campaign(Victim::Supervisor, 2);
}

#[test]
fn both_are_killed_at_any_moment() {
    campaign(Victim::Both, 3);
}

#[test]
fn the_supervisor_is_stopped_and_continued_at_any_moment() {
    let lab = Lab::new();
    let mut random = Random::new(4);
    let count = times(8, 200);
    let mut seen = std::collections::BTreeMap::new();
    for number in 0..count {
        let name = format!("r{number}");
        let exec = start(&lab, &name, &mut random);
        if let Some(pid) = supervisor(exec.pid()) {
            testkit::signal(pid, Signal::STOP);
            wait_for("it to stop", || state(pid).is_none_or(|state| matches!(state, 'T' | 'Z')));
            let status = lab.status(&name);
            let stopped = state(pid) == Some('T');
            match status["status"].as_str().unwrap() {
                "stale" => assert_eq!(status["reason"], format!("its supervisor, process {pid}, is stopped")),
                "created" | "completed" => {}
                wrong => panic!("{name}: {wrong}, stopped: {stopped}"),
            }
            *seen.entry(status["status"].as_str().unwrap().to_owned()).or_insert(0) += 1;
            if stopped && number % 2 == 1 && status["status"] == "stale" {
                // run-stop continues it, since it could not end the run otherwise.
                lab.cmd("run-stop").arg(&name).run().code(0);
            } else {
                testkit::signal(pid, Signal::CONT);
            }
        }
        exec.wait();
        lab.nothing_left();
        let status = lab.status(&name);
        assert!(matches!(status["status"].as_str(), Some("completed" | "stopped")), "{status}");
        parse_record(&lab, &name);
    }
    each_once(&lab, count);
    println!("stopped and continued {count} times: {seen:?}");
}

#[test]
fn a_pid_file_that_says_something_else_leads_to_no_stranger() {
    let lab = Lab::new();
    let mut stranger = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = stranger.id().to_string();
    for (number, content) in [pid.as_str(), "0", "1", "-1", "", "12", "nonsense\n"].into_iter().enumerate() {
        let run = lab.new_run(&format!("r{number}"), &["sleep", "1000"]);
        let exec = lab.cmd("run-exec").args(["-q", &run]).spawn();
        lab.await_child(&run);
        assert!(lab.path(format!("{run}/.run/pid")).exists());
        lab.write(&format!("{run}/.run/pid"), content);
        lab.cmd("run-stop").arg(&run).run().code(0).stdout(format!("{run}: stopped\n")).stderr("");
        exec.wait().code(143);
        lab.nothing_left();
    }
    assert!(stranger.try_wait().unwrap().is_none(), "a stranger was signalled");
    // A record that names a stranger, of a run that nobody holds.
    let start = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let start: u64 = start.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap();
    for start in [start, start + 1] {
        let run = lab.new_run(&format!("dead{start}"), &["sleep", "1000"]);
        let exec = lab.cmd("run-exec").args(["-q", &run]).spawn();
        let status = lab.await_child(&run);
        let supervisor = supervisor(exec.pid()).unwrap();
        testkit::signal(supervisor, Signal::STOP); // it would end the run before it is killed itself
        exec.signal(Signal::KILL);
        testkit::signal(supervisor, Signal::KILL);
        exec.wait();
        await_end(supervisor);
        let mut record = lab.json(&format!("{run}/.run/status.json"));
        record["pid"] = pid.parse::<i64>().unwrap().into();
        record["pid_start"] = start.into();
        lab.write(&format!("{run}/.run/status.json"), record.to_string());
        assert!(testkit::state(testkit::pid(&status, "child_pid")).is_some());
        assert_eq!(lab.status(&run)["status"], "stale");
        lab.cmd("run-stop").args(["--grace", "1s", &run]).run().code(0).stdout(format!("{run}: dead\n"));
        lab.nothing_left();
    }
    assert!(stranger.try_wait().unwrap().is_none(), "a stranger was signalled");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}
