//! Runs of Guild AI 0.9, in the files that it writes itself: what run-tools says of each is what `guild runs` says, or
//! more than that where Guild is wrong.

use serde_json::{Value, json};
use std::fs::{self, File};
use std::time::{Duration, SystemTime};
use testkit::foreign::age;
use testkit::trackers::listed;
use testkit::{Lab, checkout};

/// What Guild records of each run; the times are microseconds since 1970.
const ATTRIBUTES: [(&str, &str); 9] = [
    ("cmd", "- /usr/bin/python3\n- -um\n- guild.op_main\n- train\n- --lr\n- '0.2'\n"),
    ("flags", "lr: 0.2\nname: base\nsteps: 5\n"),
    ("host", "''"),
    ("initialized", "1795928229000000"),
    ("label", "lr=0.2 name=base"),
    ("random_seed", "2168453080"),
    ("started", "1795928229221935"),
    ("user", "''"),
    ("vcs_commit", "git:0123456789abcdef0123456789abcdef01234567"),
];

/// Makes a run with an exit status, and further files below its `.guild`.
fn guild(lab: &Lab, id: &str, exit_status: Option<i32>, files: &[(&str, &str)]) {
    let home = format!("proj/.guild/runs/{id}/.guild");
    let attribute = |name: &str, value: &str| {
        lab.write(&format!("{home}/attrs/{name}"), format!("{value}\n"));
    };
    for (name, value) in ATTRIBUTES {
        attribute(name, value);
    }
    attribute("id", id);
    if let Some(status) = exit_status {
        attribute("exit_status", &status.to_string());
        attribute("stopped", "1795928230221935");
    }
    for (name, text) in files {
        lab.write(&format!("{home}/{name}"), text);
    }
    lab.write(&format!("proj/.guild/runs/{id}/train.py"), "lr = 0.1\n");
}

/// Adds the scalars that Guild found in the output of a run.
fn scalars(lab: &Lab, id: &str) {
    let program = checkout().join("tests/fixtures/events.py");
    let file = format!("proj/.guild/runs/{id}/.guild/events.out.tfevents.1795928229.vm.17784.0");
    lab.cmd("python3").arg(program).arg(file).args(["1:loss=1", "2:loss=0.5", "3:loss=0.25"]).run().code(0);
}

#[test]
fn runs_are_as_guild_says() {
    let lab = Lab::new();
    for (id, exit_status, files) in [
        ("completed", Some(0), &[][..]),
        ("error", Some(3), &[]),
        ("killed", Some(-9), &[]),
        ("terminated", Some(-15), &[]),
        ("interrupted", Some(-16), &[]), // by ctrl-c, as Guild has it
        ("staged", None, &[("STAGED", "")]),
        ("pending", None, &[("PENDING", "")]),
        ("remote", None, &[("LOCK.remote", "gpubox")]),
        ("gone", None, &[("LOCK", "999999999")]),
    ] {
        guild(&lab, id, exit_status, files);
    }
    // What Guild keeps beside its runs is not reported as unknown.
    for beside in ["cache/runs/index", "locks/a", "trash/runs/old/.guild/attrs/started"] {
        lab.write(&format!("proj/.guild/{beside}"), "1");
    }
    scalars(&lab, "completed");
    let done = lab.cmd("run-status").args(["-a", "--json", "-d", "proj"]).run().code(0).stderr("");
    let said: Vec<Value> = done
        .json_lines()
        .into_iter()
        .map(|run| json!([run["path"].as_str().unwrap().rsplit('/').next(), run["status"], run["reason"]]))
        .collect();
    assert_eq!(
        json!(said),
        json!([
            ["completed", "completed", null],
            ["error", "failed", "exit 3"],
            ["gone", "dead", "its process 999999999 is gone"],
            ["interrupted", "stopped", "interrupted"],
            ["killed", "failed", "signal 9"],
            ["pending", "queued", null],
            ["remote", "running", null],
            ["staged", "created", null],
            ["terminated", "stopped", "stopped by signal 15"],
        ])
    );
    let run = &listed(&lab, "proj")[".guild/runs/completed"];
    assert_eq!(
        [&run["run_name"], &run["run_id"], &run["step"], &run["duration_s"], &run["metrics"]["loss"]["last"]],
        [&json!("lr=0.2 name=base"), &json!("completed"), &json!(3), &json!(1.0), &json!(0.25)]
    );
}

#[test]
fn the_reason_is_the_exception_on_standard_error() {
    let lab = Lab::new();
    // The lines of both streams are mixed, as pipes are read.
    let lines = [
        ("step: 1", 0),
        ("Traceback (most recent call last):", 1),
        ("  File \"train.py\", line 14, in <module>", 1),
        ("ValueError: boom at step 3", 1),
        ("acc: 0.2", 0),
    ];
    let output: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
    let index: Vec<u8> =
        lines.iter().flat_map(|(_, stream)| [0, 0, 1, 162, 37, 170, 10, 57, *stream]).collect();
    guild(&lab, "a", Some(1), &[("output", &output)]);
    fs::write(lab.path("proj/.guild/runs/a/.guild/output.index"), &index).unwrap();
    guild(&lab, "b", Some(1), &[("output", &output), ("output.index", "")]);
    let runs = listed(&lab, "proj");
    assert_eq!(runs[".guild/runs/a"]["reason"], "exit 1: ValueError: boom at step 3");
    assert_eq!(runs[".guild/runs/b"]["reason"], "exit 1");
}

#[test]
fn a_run_that_is_started_again_is_not_what_it_was() {
    let lab = Lab::new();
    let running = lab.cmd("sleep").arg("1000").spawn();
    let pids = [("lives", running.pid().to_string()), ("died", "999999999".to_owned())];
    for (id, _) in &pids {
        guild(&lab, id, Some(0), &[]);
    }
    age(&lab, "proj", 60);
    for (id, pid) in &pids {
        lab.write(&format!("proj/.guild/runs/{id}/.guild/LOCK"), pid);
    }
    let runs = listed(&lab, "proj");
    assert_eq!(runs[".guild/runs/lives"]["status"], "running");
    assert_eq!(runs[".guild/runs/died"]["status"], "dead");
    // Guild was killed after the end of the program, before it removed the lock.
    let lock = File::open(lab.path("proj/.guild/runs/died/.guild/LOCK")).unwrap();
    lock.set_modified(SystemTime::now() - Duration::from_secs(120)).unwrap();
    assert_eq!(listed(&lab, "proj")[".guild/runs/died"]["status"], "completed");
}

#[test]
fn what_has_not_started_is_adopted_as_such_or_refused() {
    let lab = Lab::new();
    guild(&lab, "staged", None, &[("STAGED", "")]);
    guild(&lab, "pending", None, &[("PENDING", "")]);
    guild(&lab, "error", Some(3), &[]);
    let refused = lab.cmd("run-new").args(["--adopt", "proj/.guild/runs/pending"]).run().code(4).err();
    assert_eq!(
        refused,
        "run-new: cannot adopt 'proj/.guild/runs/pending': it is queued\nrun-new: adopt it after it has ended\n"
    );
    for id in ["staged", "error"] {
        lab.cmd("run-new").args(["--adopt", &format!("proj/.guild/runs/{id}")]).run().code(0);
    }
    let runs = listed(&lab, "proj");
    let (staged, error) = (&runs[".guild/runs/staged"], &runs[".guild/runs/error"]);
    assert_eq!((&staged["status"], &staged["attempt"]), (&json!("created"), &json!(0)));
    assert_eq!((&error["status"], &error["reason"]), (&json!("failed"), &json!("exit 3")));
    assert_eq!(
        (&staged["run_name"], &error["run_name"]),
        (&json!("lr=0.2 name=base"), &json!("lr=0.2 name=base"))
    );
    assert!(!lab.path("proj/.guild/runs/staged/.run/result.json").exists());
}
