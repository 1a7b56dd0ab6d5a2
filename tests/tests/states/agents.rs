//! What polls runs: coding agents, by the page for them.

use std::fs;
use testkit::{Lab, checkout, wait_for};

#[test]
fn the_commands_of_the_page_for_agents_work() {
    let lab = Lab::new();
    lab.write("base.yaml", "seed: 7\ntotal_steps: 40\n");
    lab.write("train.py", fs::read(checkout().join("tests/fixtures/train.py")).unwrap());
    let page = fs::read_to_string(checkout().join("examples/AGENTS.md")).unwrap();
    let commands: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("    $ ")).collect();
    assert!(commands.len() > 10, "{commands:?}");
    let mut told = Vec::new();
    for command in commands {
        let done = lab.cmd("sh").args(["-c", command]).run().code(0);
        told.push(done.out());
        if command.starts_with("run-exec") {
            wait_for("the runs to start", || lab.status("second")["status"] != "created");
        }
    }
    let all = told.concat();
    assert!(all.contains("\"first\",\"running\"") || all.contains("\"first\",\"completed\""), "{all}");
    assert!(told.last().unwrap().trim().ends_with("/runs/second"), "{all}");
    lab.cmd("run-status").args(["--wait", "second"]).run().code(0);
    lab.await_nothing_left();
}

#[test]
fn runs_that_do_not_change_cost_nothing_to_poll() {
    let lab = Lab::new();
    let names: Vec<String> = (0..10).map(|number| format!("r{number}")).collect();
    for name in &names {
        lab.new_run(name, &["sh", "-c", "while :; do sleep 0.1; done"]);
        lab.cmd("run-exec").args(["--detach", "--heartbeat", "100ms", name]).run().code(0);
    }
    for name in &names {
        lab.await_child(name);
    }
    let now = || lab.cmd("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.%3NZ"]).run().out().trim().to_owned();
    let poll =
        |since: &str| lab.cmd("run-status").args(["--json", "--since", since]).run().code(0).stderr("").out();
    assert_eq!(poll("1h").lines().count(), 10);
    // Heartbeats are no change.
    let since = now();
    let beat = lab.status("r0")["last_heartbeat"].clone();
    wait_for("a heartbeat", || lab.status("r0")["last_heartbeat"] != beat);
    assert_eq!(poll(&since), "");
    lab.cmd("run-stop").arg("r3").run().code(0);
    let told = poll(&since);
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("\"r3\"") && told.contains("\"stopped\""), "{told}");
    assert_eq!(lab.cmd("run-status").args(["--since", &since]).run().code(0).out().lines().count(), 2);
    lab.cmd("run-status").args(["--json", "--since", &since, "r1"]).run().code(0).stdout("");
    for wrong in ["yesterday", "-5m", ""] {
        lab.cmd("run-status").args([&format!("--since={wrong}")]).run().code(2);
    }
    lab.cmd("run-stop").args(names.iter().filter(|name| *name != "r3")).run().code(0);
    lab.await_nothing_left();
}
