//! run-stop and runs of other systems: a trainer of the Connect4 pipeline is signalled where its files prove that
//! the process is it, else asked by its file; nobody else is ever signalled.

use serde_json::{Value, json};
use std::fs::File;
use std::time::{Duration, SystemTime};
use testkit::foreign::{connect4, connect4_status, experiments, iso, rl_practice, stealthrl};
use testkit::process::getuid;
use testkit::{Lab, Running, lives, wait_for};

/// A trainer in the manner of that pipeline: on SIGTERM, or when it finds `stop`, it ends well.
const TRAINER: &str = r#"
import json, os, signal, sys, time, pathlib
run = pathlib.Path(sys.argv[2])
stopping = False
def stop(*_):
    global stopping
    stopping = True
signal.signal(signal.SIGTERM, stop)
now = lambda: time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
run.mkdir(parents=True)
(run / "config.yaml").write_text("seed: 1\n")
start = now()
(run / "meta.json").write_text(json.dumps({"start_time_iso": start, "command": " ".join(sys.argv)}))
(run / "pid").write_text(str(os.getpid()))
def write(status):
    state = {"status": status, "step": 7, "total_steps": 10, "start_time": start, "last_heartbeat": now()}
    (run / "status.new").write_text(json.dumps(state))
    os.rename(run / "status.new", run / "status.json")
while not stopping and not (run / "stop").exists():
    write("running")
    time.sleep(0.05)
write("stopped")
os.remove(run / "pid")
"#;

fn trainer(lab: &Lab, run: &str) -> Running {
    lab.write("train.py", TRAINER);
    let trainer = lab.cmd("python3").args(["train.py", "--run_dir", run]).spawn();
    wait_for("it to run", || lab.path(format!("{run}/status.json")).exists());
    trainer
}

#[test]
fn a_trainer_is_signalled_and_says_how_it_ended() {
    let lab = Lab::new();
    let trainer = trainer(&lab, "runs/c4");
    lab.cmd("run-status").args(["--json", "c4"]).run().code(0);
    let stopped = lab.cmd("run-stop").arg("c4").run().code(0);
    assert_eq!((stopped.out(), stopped.err()), ("runs/c4: stopped\n".to_owned(), String::new()));
    trainer.wait().code(0);
    assert!(!lab.path("runs/c4/stop").exists(), "nothing was written");
    let again = lab.cmd("run-stop").arg("c4").run().code(0);
    assert_eq!(again.err(), "run-stop: 'runs/c4' has already ended: stopped\n");
}

#[test]
fn all_that_is_at_work_is_stopped_with_the_runs_of_ours() {
    let lab = Lab::new();
    let trainer = trainer(&lab, "runs/c4");
    let stopped = lab.cmd("run-stop").arg("--all").run().code(0);
    assert_eq!(stopped.out(), "runs/c4: stopped\n");
    trainer.wait().code(0);
}

#[test]
fn a_trainer_that_is_not_proven_is_asked_by_its_file() {
    let lab = Lab::new();
    let stranger = lab.cmd("sleep").arg("1000").spawn();
    let pid = stranger.pid();
    connect4(&lab, "runs/other", &connect4_status("running", 1), Some(&pid.to_string()));
    let asked = lab.cmd("run-stop").args(["--no-wait", "other"]).run().code(0);
    assert!(asked.err().contains("is not signalled (process"), "{}", asked.err());
    assert!(lab.path("runs/other/stop").exists() && lives(pid));
    // Its start and its command, each by itself, prove nothing.
    for (name, start, command, why) in [
        ("command", "2026-01-01T00:00:00+00:00", "sleep 1000", "did not start before the run"),
        ("start", &*iso(0), "sleep 999", "does not execute the command"),
    ] {
        let run = format!("runs/{name}");
        connect4(&lab, &run, &connect4_status("running", 1), Some(&pid.to_string()));
        lab.write(
            &format!("{run}/meta.json"),
            json!({"start_time_iso": start, "command": command}).to_string(),
        );
        let asked = lab.cmd("run-stop").args(["--no-wait", name]).run().code(0);
        assert!(asked.err().contains(why), "{}", asked.err());
        assert!(lab.path(format!("{run}/stop")).exists() && lives(pid), "{name}");
    }
    // Both prove that it is the trainer.
    connect4(&lab, "runs/both", &connect4_status("running", 1), Some(&pid.to_string()));
    lab.write("runs/both/meta.json", json!({"start_time_iso": iso(0), "command": "sleep 1000"}).to_string());
    lab.cmd("run-stop").arg("both").run().code(0);
    assert!(!lives(pid) && !lab.path("runs/both/stop").exists());
    stranger.wait();
}

#[test]
fn a_pid_that_names_nobody_or_another_is_not_signalled() {
    let lab = Lab::new();
    for pid in ["0", "-1", "1", "", "x"] {
        let run = format!("runs/p{pid}");
        connect4(&lab, &run, &connect4_status("running", 1), Some(pid));
        let asked = lab.cmd("run-stop").arg(&run).run().code(0);
        assert_eq!(asked.err(), format!("run-stop: '{run}' has already ended: dead\n"));
    }
    let mine = std::process::id().to_string();
    connect4(&lab, "runs/reused", &connect4_status("running", 1), Some(&mine));
    let long_ago = SystemTime::now() - Duration::from_secs(864_000);
    File::open(lab.path("runs/reused/pid")).unwrap().set_modified(long_ago).unwrap();
    lab.cmd("run-stop").arg("reused").run().code(0);
}

/// A trainer that looks at its run and stops it, as another process of its container would.
const FIRST: &str = r#"
import json, os, pathlib, signal, subprocess, sys, time
run = pathlib.Path(sys.argv[2])
run.mkdir(parents=True)
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
(run / "config.yaml").write_text("seed: 1\n")
(run / "meta.json").write_text(json.dumps({"start_time_iso": now, "command": "python serve.py" if sys.argv[3:] else " ".join(sys.argv)}))
(run / "pid").write_text(str(os.getpid()))
(run / "status.json").write_text(json.dumps({"status": "running", "step": 7, "last_heartbeat": now}))
seen = json.loads(subprocess.run(["run-status", "--json", run], stdout=subprocess.PIPE).stdout)
subprocess.run(["run-stop", "--no-wait", run], stdout=subprocess.PIPE)
print(os.getpid(), seen["status"], len(stopped), flush=True)
"#;

#[test]
fn a_trainer_may_be_the_first_process_of_a_container() {
    let lab = Lab::new();
    lab.write("first.py", FIRST);
    let user: &[&str] = if getuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    let first = |run: &str, command: &[&str]| {
        let spaces = ["--pid", "--fork", "--kill-child", "--mount-proc"];
        let words = ["python3", "first.py", "--run_dir", run];
        lab.cmd("unshare").args(user).args(spaces).args(words).args(command).run().code(0).out()
    };
    assert_eq!(first("runs/its", &[]), "1 running 1\n");
    assert_eq!(first("runs/other", &["other"]), "1 dead 0\n");
}

#[test]
fn runs_of_other_layouts_are_never_signalled() {
    let lab = Lab::new();
    stealthrl(
        &lab,
        "all/s",
        &json!({"status": "running", "end_time": Value::Null}),
        "{\"step\": 1, \"reward\": 1}\n",
    );
    experiments(&lab, "all/e");
    rl_practice(&lab, "all", "run_2025-08-19_12-34-56", &[], 1);
    for (run, system) in [
        ("all/s", "StealthRL"),
        ("all/e/last", "the experiment runner"),
        ("all/training_runs/run_2025-08-19_12-34-56", "RL practice"),
    ] {
        let refused = lab.cmd("run-stop").arg(run).run().code(3);
        assert!(refused.err().contains(&format!("run-stop stops no runs of {system}")), "{}", refused.err());
        assert!(!lab.path(format!("{run}/stop")).exists());
    }
}
