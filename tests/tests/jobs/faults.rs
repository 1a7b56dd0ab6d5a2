//! Nodes that are lost and come back, and a controller that is gone, while Slurm executes runs. Each test has a Slurm of
//! its own.

use serde_json::Value;
use std::collections::BTreeSet;
use testkit::slurm::Cluster;
use testkit::slurm::jobs::{await_steps, crash_first_node, end, hurry, is, submit, word};
use testkit::{Lab, wait_for};

/// Returns the processes that have written metric rows, in order, and expects that each step was counted once.
fn writers(lab: &Lab) -> Vec<Value> {
    let mut writers: Vec<Value> = Vec::new();
    for row in lab.json_lines("runs/r/metrics.jsonl") {
        if writers.last() != Some(&row["pid"]) {
            writers.push(row["pid"].clone());
        }
    }
    writers
}

#[test]
fn of_two_copies_of_a_job_one_trains_and_the_other_is_ended() {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab.path("slurm"), "");
    let id = submit(&lab, &cluster, "r", &["--slurm", "--requeue"]);
    let running = await_steps(&lab, &cluster, "r", 1);
    let first = running["child_pid"].as_i64().unwrap();
    let node = lab.json_lines("runs/r/.run/attempts.jsonl")[0]["job"]["node"].as_str().unwrap().to_owned();
    // The node is cut off: its job goes on unseen, and Slurm starts another.
    cluster.kill_daemon(&node);
    hurry(&cluster, &id);
    let again = await_steps(&lab, &cluster, "r", 2);
    assert!(again["start_step"].as_f64() > Some(0.0), "{again}");
    testkit::await_end(first.try_into().unwrap());
    cluster.start_daemon(&node);
    cluster.await_nodes();
    lab.write("enough", "");
    assert_eq!(end(&lab, &cluster, "r"), is("completed", ""));
    // The rows of one follow those of the other: nobody wrote in between.
    assert_eq!(writers(&lab).len(), 2, "{:?}", writers(&lab));
    let told = lab.read("runs/r/.run/job.log");
    assert!(
        told.contains(&format!("job {id}, restart 1 on ")) && told.contains("ending the program"),
        "{told}"
    );
    let attempts = lab.json_lines("runs/r/.run/attempts.jsonl");
    let events: Vec<(u64, &str)> =
        attempts.iter().map(|line| (line["attempt"].as_u64().unwrap(), word(line, "event"))).collect();
    assert_eq!(events, [(1, "start"), (1, "end"), (2, "start"), (2, "end")]);
    assert!(!lab.read("runs/r/stdout.log").contains("told"), "the first was not asked, but ended");
}

#[test]
fn a_run_whose_node_dies_goes_on_elsewhere() {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab.path("slurm"), "");
    let id = submit(&lab, &cluster, "r", &["--slurm", "--requeue"]);
    crash_first_node(&lab, &cluster);
    hurry(&cluster, &id);
    await_steps(&lab, &cluster, "r", 2);
    lab.write("enough", "");
    assert_eq!(end(&lab, &cluster, "r"), is("completed", ""));
    let ends = lab.json_lines("runs/r/.run/attempts.jsonl");
    let first = ends.iter().find(|line| line["event"] == "end" && line["attempt"] == 1).unwrap();
    assert_eq!((word(first, "status"), word(first, "reason")), ("failed", "died: its supervisor is gone"));
}

#[test]
fn a_run_does_not_notice_that_the_controller_is_gone() {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab.path("slurm"), "");
    submit(&lab, &cluster, "r", &["--slurm"]);
    await_steps(&lab, &cluster, "r", 1);
    cluster.kill_daemon("slurmctld");
    let seen = cluster.status(&lab, "r");
    wait_for("steps without a controller", || {
        let done = cluster.cmd(&lab, "run-status").args(["--json", "r"]).run().code(0).stderr("");
        done.json_lines()[0]["step"].as_f64() > seen["step"].as_f64()
    });
    lab.write("enough", "");
    assert_eq!(end(&lab, &cluster, "r"), is("completed", ""));
    cluster.start_daemon("slurmctld");
    cluster.await_nodes();
    let attempts: BTreeSet<u64> = lab
        .json_lines("runs/r/.run/attempts.jsonl")
        .iter()
        .map(|line| line["attempt"].as_u64().unwrap())
        .collect();
    assert_eq!(attempts.len(), 1);
}

#[test]
fn a_node_daemon_that_is_restarted_disturbs_no_run() {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab.path("slurm"), "");
    submit(&lab, &cluster, "r", &["--slurm"]);
    let before = await_steps(&lab, &cluster, "r", 1);
    let node = lab.json_lines("runs/r/.run/attempts.jsonl")[0]["job"]["node"].as_str().unwrap().to_owned();
    cluster.kill_daemon(&node);
    cluster.start_daemon(&node);
    cluster.await_nodes();
    wait_for("more steps", || cluster.status(&lab, "r")["step"].as_f64() > before["step"].as_f64());
    lab.write("enough", "");
    assert_eq!(end(&lab, &cluster, "r"), is("completed", ""));
    assert_eq!(lab.json_lines("runs/r/.run/attempts.jsonl").len(), 2);
}

#[test]
fn more_runs_than_an_array_takes_become_arrays_one_after_the_other() {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab.path("slurm"), "MaxArraySize=4\n");
    let program = "echo in >>tally; sleep 0.3; echo out >>tally";
    let made =
        lab.cmd("run-new").args(["-b=b", "--sweep", "x=1..7", "--", "sh", "-c", program, "sh", "{set}"]);
    let made = made.run().code(0);
    let exec = cluster.cmd(&lab, "run-exec").args(["-q", "--slurm", "-j", "3", "--wait", "-"]);
    exec.stdin(&made.stdout).run().code(0).stderr("");
    let job = |run: &str| lab.json(&format!("{run}/.run/launch.json"))["job"].as_str().unwrap().to_owned();
    let jobs: Vec<String> = made.out().lines().map(job).collect();
    let tasks: Vec<&str> = jobs.iter().map(|job| job.split_once('_').unwrap().1).collect();
    assert_eq!(tasks, ["0", "1", "2", "3", "0", "1", "2"]);
    let arrays: BTreeSet<&str> = jobs.iter().map(|job| job.split_once('_').unwrap().0).collect();
    assert_eq!(arrays.len(), 2);
    let mut at_once = 0;
    for line in lab.read("tally").lines() {
        at_once += if line == "in" { 1 } else { -1 };
        assert!(at_once <= 3);
    }
}
