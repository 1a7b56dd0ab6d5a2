//! Containers, and other hosts: a run is judged, stopped and resumed from wherever its directory is seen. The name
//! spaces are real; where they are not permitted, these tests fail and say so.

use serde_json::{Value, json};
use std::fs;
use testkit::process::{Signal, getuid};
use testkit::{Cmd, Lab, Running, pid, wait_for};

/// Where a tool is executed.
#[derive(Clone, Copy, Debug)]
enum Where {
    /// Where the test is.
    Here,
    /// In a new pid name space on the same host, as in a container that was restarted.
    Container,
    /// In one that has a host name of its own, too.
    NamedContainer,
    /// On a host with another name, but in no container.
    Renamed,
}

use Where::*;

/// Prepares a tool that is executed somewhere.
fn cmd(lab: &Lab, place: Where, tool: &str) -> Cmd {
    let user: &[&str] = if getuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    let rename = "hostname in-a-box && exec \"$@\"";
    let (spaces, words): (&[&str], &[&str]) = match place {
        Here => return lab.cmd(tool),
        Container => (&["--pid", "--fork", "--kill-child", "--mount-proc"], &[]),
        NamedContainer => {
            (&["--uts", "--pid", "--fork", "--kill-child", "--mount-proc"], &["sh", "-c", rename, "sh"])
        }
        Renamed => (&["--uts"], &["sh", "-c", rename, "sh"]),
    };
    lab.cmd("unshare").args(user).args(spaces).args(words).arg(tool)
}

/// Reports why, if name spaces are not permitted here.
fn need_name_spaces(lab: &Lab) {
    let done = cmd(lab, NamedContainer, "true").run();
    assert_eq!(done.code, 0, "unshare(1) cannot make name spaces, which these tests need: {}", done.err());
}

/// Starts a run somewhere, and waits until its command runs.
fn start(lab: &Lab, place: Where, name: &str) -> Running {
    lab.new_run(name, &["sleep", "1000"]);
    let exec =
        cmd(lab, place, "run-exec").args(["-q", "--linger", "100ms", "--heartbeat", "100ms", name]).spawn();
    lab.await_child(name);
    exec
}

/// Ends a container: all of its processes at once.
fn end(lab: &Lab, container: Running) {
    container.signal(Signal::KILL);
    container.wait();
    lab.await_nothing_left();
}

fn told(lab: &Lab, place: Where, name: &str) -> (String, String) {
    let done = cmd(lab, place, "run-status").args(["--json", name]).run().code(0);
    let status: Value = serde_json::from_str(&done.out()).unwrap();
    let word = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
    (word("status"), word("reason"))
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn a_run_in_a_container_is_running_and_can_be_stopped_from_anywhere() {
    let lab = Lab::new();
    need_name_spaces(&lab);
    for (number, (inside, outside)) in [
        (Container, Here),
        (Container, Container),
        (NamedContainer, Here),
        (NamedContainer, Container),
        (Here, Container),
        (Here, NamedContainer),
        (Renamed, Here),
        (Here, Renamed),
        (Renamed, NamedContainer),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("r{number}");
        let what = format!("from {outside:?} of one in {inside:?}");
        let exec = start(&lab, inside, &name);
        assert_eq!(told(&lab, outside, &name), is("running", ""), "{what}");
        let refused = cmd(&lab, outside, "run-exec").args(["--resume", &name]).run().code(125);
        refused.stderr_has("it is already running, as process ");
        let stopped = cmd(&lab, outside, "run-stop").arg(&name).run().code(0);
        stopped.stdout(format!("runs/{name}: stopped\n")).stderr("");
        exec.wait().code(143);
        assert_eq!(told(&lab, inside, &name).0, "stopped", "{what}");
    }
    lab.nothing_left();
}

#[test]
fn a_run_whose_container_is_gone_is_dead_and_can_be_resumed_from_anywhere() {
    let lab = Lab::new();
    need_name_spaces(&lab);
    let dead = is("dead", "its supervisor is gone, with the container it ran in");
    for (number, inside) in [Container, NamedContainer].into_iter().enumerate() {
        for (letter, outside) in [("a", Here), ("b", Container), ("c", NamedContainer)] {
            let name = format!("r{number}{letter}");
            let container = start(&lab, inside, &name);
            assert_eq!(told(&lab, outside, &name), is("running", ""));
            end(&lab, container);
            for place in [outside, Here, Container] {
                assert_eq!(told(&lab, place, &name), dead, "from {place:?} of one in {inside:?}");
                let stop = cmd(&lab, place, "run-stop").arg(&name).run().code(0);
                let said = format!("run-stop: 'runs/{name}' has already ended: dead\n");
                stop.stdout(format!("runs/{name}: dead\n")).stderr(&said);
            }
            let again = cmd(&lab, outside, "run-exec").args(["-q", "--resume", &name, "--", "true"]);
            again.run().code(0);
            assert_eq!(told(&lab, Here, &name), is("completed", ""));
            assert_eq!(lab.status(&name)["attempt"], 2);
        }
    }
}

#[test]
fn several_runs_whose_container_is_gone_go_on_unasked() {
    let lab = Lab::new();
    need_name_spaces(&lab);
    for name in ["a", "b"] {
        end(&lab, start(&lab, NamedContainer, name));
    }
    let exec = ["-q", "-j", "2", "--unfinished", "a", "b", "--", "true"];
    cmd(&lab, Container, "run-exec").args(exec).run().code(0);
    for name in ["a", "b"] {
        assert_eq!(told(&lab, Here, name), is("completed", ""));
    }
}

/// Without the lock nothing tells from outside whether the container still is there.
#[test]
fn a_run_in_a_container_without_its_lock_is_judged_by_its_heartbeat() {
    let lab = Lab::new();
    need_name_spaces(&lab);
    let container = start(&lab, NamedContainer, "r");
    fs::remove_file(lab.path("runs/r/.run/lock")).unwrap();
    assert_eq!(told(&lab, Here, "r"), is("running", ""));
    lab.cmd("run-stop").arg("r").run().code(0).stdout("runs/r: stopped\n");
    container.wait().code(143);
    let container = start(&lab, NamedContainer, "s");
    fs::remove_file(lab.path("runs/s/.run/lock")).unwrap();
    end(&lab, container);
    assert_eq!(told(&lab, Here, "s").0, "running", "nobody can know better for two minutes");
    let status = || {
        let done = lab.cmd("run-status").args(["--json", "--stale-after", "1ms", "s"]).run().code(0);
        serde_json::from_str::<Value>(&done.out()).unwrap()
    };
    wait_for("it to be stale", || status()["status"] == "stale");
    assert!(status()["reason"].as_str().unwrap().starts_with("no heartbeat from in-a-box for "));
}

#[test]
fn a_run_of_another_host_is_stale_and_taken_over_when_that_is_asked_for() {
    let lab = Lab::new();
    for name in ["r", "s"] {
        lab.new_run(name, &["true"]);
        lab.cmd("run-exec").args(["-q", name]).run().code(0);
        fs::remove_file(lab.path(format!("runs/{name}/.run/result.json"))).unwrap();
        let mut record = lab.json(&format!("runs/{name}/.run/status.json"));
        for (key, value) in [
            ("status", json!("running")),
            ("end_time", Value::Null),
            ("exit_code", Value::Null),
            ("host", json!("elsewhere")),
            ("boot_id", json!("its own")),
        ] {
            record[key] = value;
        }
        lab.write(&format!("runs/{name}/.run/status.json"), record.to_string());
    }
    // Nobody holds the lock here, which proves nothing: not every file system tells of the locks of others.
    assert_eq!(told(&lab, Here, "r"), is("running", ""));
    lab.cmd("run-exec")
        .args(["--resume", "--take-over", "r"])
        .run()
        .code(125)
        .stderr_has("it is already running");
    let beat = |name: &str| {
        let file = format!("runs/{name}/.run/status.json");
        let mut record = lab.json(&file);
        record["last_heartbeat"] = "2026-01-29T12:00:00.000Z".into();
        lab.write(&file, record.to_string());
    };
    beat("r");
    beat("s");
    let (status, reason) = told(&lab, Here, "r");
    assert_eq!(status, "stale");
    assert!(reason.starts_with("no heartbeat from elsewhere for "), "{reason}");
    let way_out =
        "run-exec: if you know that its host or container is gone, use run-exec --resume --take-over\n";
    lab.cmd("run-exec").args(["--resume", "r"]).run().code(125).stderr_has(way_out);
    lab.cmd("run-exec").args(["-q", "--unfinished", "r", "s"]).run().code(4).stderr_has(way_out);
    lab.cmd("run-exec").args(["-q", "--unfinished", "-j", "2", "r", "s"]).run().code(4).stderr_has(way_out);
    let stop = lab.cmd("run-stop").arg("r").run().code(1).stdout("runs/r: stale\n");
    stop.stderr_has("run-stop: cannot tell whether 'runs/r' has ended: no heartbeat from elsewhere for ");
    lab.cmd("run-exec").args(["-q", "--resume", "--take-over", "r"]).run().code(0);
    assert_eq!(told(&lab, Here, "r"), is("completed", ""));
    lab.cmd("run-exec").args(["-q", "--unfinished", "--take-over", "s"]).run().code(0);
    assert_eq!(told(&lab, Here, "s"), is("completed", ""));
}

#[test]
fn a_pid_of_a_container_means_no_process_outside() {
    let lab = Lab::new();
    need_name_spaces(&lab);
    let exec = start(&lab, Container, "r");
    let status = lab.status("r");
    assert!(pid(&status, "pid") < 10, "it is of the first in its name space: {status}");
    lab.cmd("run-stop").args(["--kill", "r"]).run().code(0).stdout("runs/r: stopped\n");
    exec.wait().code(137);
}
