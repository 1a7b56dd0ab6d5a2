//! Records name the launcher of a run, which is a program, and its job. Both can be forged: nothing of them is executed
//! that the user has not typed.

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::chown;
use testkit::process::getuid;
use testkit::slurm::Cluster;
use testkit::sshd::Sshd;
use testkit::{Cmd, Lab};

/// A launcher that prints its arguments and its directory, and answers that job 7 waits.
const LAUNCHER: &str = r#"#!/bin/sh
echo "$PWD $*" >>"$LAB_DIR/executed"
case $1 in
submit) [ "$2" = --check ] || jq -c '{run_id, job: "7"}' ;;
query) jq -c '{job, state: "pending", reason: "Resources"}' ;;
limits) echo '{}' ;;
cancel) cat >>"$LAB_DIR/cancelled" ;;
esac
"#;

/// Prepares a tool that finds launchers of some names.
fn cmd(lab: &Lab, program: &str) -> Cmd {
    let path = format!("{}:{}:/usr/bin:/bin", testkit::bin().display(), lab.path("bin").display());
    lab.cmd(program).env("PATH", path).env("LAB_DIR", lab.dir()).env("XDG_RUNTIME_DIR", lab.dir())
}

/// Creates a run that waits for a job of a launcher.
fn queued(lab: &Lab, run: &str, launch: &str) {
    for name in ["good", "mark"] {
        lab.write(&format!("bin/run-launch-{name}"), LAUNCHER);
        lab.set_mode(&format!("bin/run-launch-{name}"), 0o755);
    }
    lab.new_run(run, &["true"]);
    cmd(lab, "run-exec").args(["-q", "--launch", launch, run]).run().code(0).stderr("");
    fs::remove_file(lab.path("executed")).unwrap();
}

/// Changes what is recorded of a run's job.
fn forge(lab: &Lab, run: &str, change: impl FnOnce(&mut Value)) {
    let file = format!("runs/{run}/.run/launch.json");
    let mut launch = lab.json(&file);
    change(&mut launch);
    lab.write(&file, launch.to_string());
}

/// Has all tools look at a run and stop it. Returns what run-status said.
fn look(lab: &Lab, run: &str, tool: impl Fn(&str) -> Cmd) -> Value {
    tool("run-status").run();
    let shown = tool("run-status").args(["--json", run]).run().code(0);
    tool("run-status").args(["--wait", "--timeout", "10ms", run]).run().code(1);
    tool("run-exec").args(["--unfinished", run]).run();
    tool("run-exec").args(["--launch", "good", run]).run();
    tool("run-stop").args(["--no-wait", run]).run();
    assert_eq!(lab.json(&format!("runs/{run}/.run/status.json"))["status"], "stopped");
    shown.json_lines()[0].clone()
}

#[test]
fn a_launcher_that_the_user_has_not_used_is_not_executed() {
    for (name, args) in [
        ("mark", vec!["x"]),
        ("good", vec!["y"]),
        ("good", vec![]),
        ("good", vec!["x", "-o", "ProxyCommand=touch executed"]),
        ("x/evil", vec!["x"]),
        ("../run-launch-x/evil", vec!["x"]),
        ("", vec!["x"]),
        ("good\n", vec!["x"]),
    ] {
        let lab = Lab::new();
        queued(&lab, "r", "good=x");
        lab.write("run-launch-x/evil", LAUNCHER);
        lab.set_mode("run-launch-x/evil", 0o755);
        forge(&lab, "r", |launch| (launch["launcher"], launch["args"]) = (json!(name), json!(args)));
        if getuid().is_root() {
            chown(lab.path("runs/r/.run/launch.json"), Some(65534), None).unwrap();
        }
        let status = look(&lab, "r", |program| cmd(&lab, program));
        assert_eq!(
            (&status["status"], &status["reason"]),
            (&json!("queued"), &json!("job 7")),
            "{name} {args:?}"
        );
        let executed = fs::read_to_string(lab.path("executed")).unwrap_or_default();
        let asked = |line: &&str| line.contains(" query") || line.contains(" cancel");
        assert_eq!(executed.lines().find(asked), None, "{name} {args:?}");
        assert!(!lab.path("cancelled").exists());
    }
}

#[test]
fn it_is_said_once_and_run_stop_says_what_becomes_of_the_job() {
    let lab = Lab::new();
    queued(&lab, "r", "good=x");
    queued(&lab, "s", "good=x");
    for run in ["r", "s"] {
        forge(&lab, run, |launch| launch["args"] = json!([run]));
    }
    let why = "launchers that you have not used, with their arguments, are not executed";
    let done = cmd(&lab, "run-status").run().code(0);
    done.stderr(&format!("run-status: {why}; what is shown of queued runs is what is recorded\n"));
    let done = cmd(&lab, "run-stop").args(["--no-wait", "r"]).run().code(5);
    done.stderr_has(&format!("run-stop: cannot cancel job 7: {why}\n"))
        .stderr_has("run-stop: the runs are recorded as stopped: their jobs will find nothing to do\n");
}

#[test]
fn a_launcher_is_executed_as_it_was_typed_and_where() {
    let lab = Lab::new();
    queued(&lab, "r", "good='a b' ./c");
    fs::create_dir(lab.path("elsewhere")).unwrap();
    let tool = |program| cmd(&lab, program).cwd(lab.path("elsewhere")).env("RUNS_DIR", lab.path("runs"));
    let status = tool("run-status").args(["--json", "r"]).run().code(0).stderr("").json_lines();
    assert_eq!(status[0]["reason"], "job 7 is pending: Resources");
    tool("run-stop").arg("r").run().code(0);
    let here = lab.dir().display().to_string();
    assert_eq!(lab.read("executed"), format!("{here} query a b ./c\n{here} cancel a b ./c\n"));
    assert_eq!(lab.read("cancelled"), "{\"job\":\"7\"}\n");
}

#[test]
fn one_launcher_that_fails_does_not_keep_others_from_cancelling() {
    let lab = Lab::new();
    for (run, launch) in [("a", "good=a"), ("b", "good=b"), ("c", "good=c")] {
        queued(&lab, run, launch);
    }
    let script = format!("#!/bin/sh\n[ \"$1 $2\" = 'cancel b' ] && {{ echo no >&2; exit 3; }}\n{LAUNCHER}");
    lab.write("bin/run-launch-good", script);
    let done = cmd(&lab, "run-stop").args(["--no-wait", "a", "b", "c"]).run().code(5);
    done.stderr_has("run-stop: cannot cancel job 7: 'run-launch-good cancel' failed: no\n");
    assert_eq!(lab.read("cancelled"), "{\"job\":\"7\"}\n{\"job\":\"7\"}\n");
}

#[test]
fn the_id_of_a_job_is_executed_on_no_host() {
    let lab = Lab::new();
    let sshd = Sshd::start(&lab);
    let tool = |program: &str| Sshd::with_examples(lab.cmd(program)).env("XDG_RUNTIME_DIR", lab.dir());
    let stranger = lab.cmd("sleep").arg("1000").spawn();
    let stat = fs::read_to_string(format!("/proc/{}/stat", stranger.pid())).unwrap();
    let start = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().to_owned();
    let mark = lab.path("touched").display().to_string();
    let launch = format!("ssh=gpu1 gpu2 -F {}", sshd.config());
    for job in [
        format!("gpu1:1; touch {mark};:"),
        format!("gpu1:1:1; touch {mark}"),
        format!("gpu1:$(touch {mark}):1"),
        format!("gpu1:`touch {mark}`:1"),
        format!("gpu1:1:1\ntouch {mark}"),
        format!("gpu1:1:1\ngpu1:2;touch {mark};:3"),
        format!("gpu1:1:1 x; touch {mark}"),
        format!("-oProxyCommand=touch {mark}:1:1"),
        "gpu1:*:1".to_owned(),
        "gpu1:0:0".to_owned(),
        "gpu1:-1:0".to_owned(),
        "gpuX:1:1".to_owned(),
        String::new(),
        // A process of the user that no launcher has started.
        format!("gpu1:{}:{start}", stranger.pid()),
    ] {
        let _ = fs::remove_dir_all(lab.path("runs/r"));
        lab.new_run("r", &["sleep", "1000"]);
        tool("run-exec").args(["-q", "--launch", &launch, "r"]).run().code(0).stderr("");
        lab.await_child("r");
        tool("run-stop").arg("r").run().code(0);
        let file = "runs/r/.run/status.json";
        let mut record = lab.json(file);
        (record["status"], record["end_time"]) = (json!("queued"), Value::Null);
        lab.write(file, record.to_string());
        forge(&lab, "r", |launch| launch["job"] = json!(job));
        tool("run-status").args(["--json", "r"]).run().code(0);
        tool("run-stop").args(["--no-wait", "r"]).run();
        assert!(!lab.path("touched").exists(), "{job}");
        assert!(testkit::lives(stranger.pid()), "{job}");
        let _ = fs::remove_dir_all(lab.path("run-tools"));
    }
}

#[test]
fn a_forged_job_of_slurm_leads_to_no_other_job() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    for run in ["mine", "forged"] {
        lab.new_run(run, &["true"]);
        cluster.cmd(&lab, "run-exec").args(["-q", "--slurm=--hold", run]).run().code(0);
    }
    let id =
        |run: &str| lab.json(&format!("runs/{run}/.run/launch.json"))["job"].as_str().unwrap().to_owned();
    let (mine, original) = (id("mine"), id("forged"));
    let record = lab.read("runs/forged/.run/status.json");
    let state = || cluster.ask(&["squeue", "-h", "-t", "all", "-j", &mine, "-o", "%T"]);
    let mut tried =
        vec!["--me".to_owned(), "-uroot".to_owned(), "--state=PENDING".to_owned(), format!("-n mine {mine}")];
    if getuid().is_root() {
        tried.push(mine.clone()); // of another user
    }
    for job in tried {
        forge(&lab, "forged", |launch| launch["job"] = json!(job));
        lab.write("runs/forged/.run/status.json", &record);
        let _ = fs::remove_file(lab.path("runs/forged/stop"));
        if getuid().is_root() {
            chown(lab.path("runs/forged/.run/launch.json"), Some(65534), None).unwrap();
        }
        // The other run is shown as it is.
        let _ = fs::remove_dir_all(lab.path("run-tools"));
        let listed = cluster.cmd(&lab, "run-status").arg("--json").run().code(0).stderr("").json_lines();
        let shown = listed.iter().find(|run| run["run_name"] == "mine").unwrap();
        assert_eq!(shown["reason"], format!("job {mine} is pending: JobHeldUser"), "{job}");
        cluster.cmd(&lab, "run-stop").args(["--no-wait", "forged"]).run();
        assert_eq!(state(), "PENDING\n", "{job}");
    }
    cluster.ask(&["scancel", &original]);
    cluster.cmd(&lab, "run-stop").arg("mine").run().code(0);
    assert_eq!(state(), "CANCELLED\n");
}
