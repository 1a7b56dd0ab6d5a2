//! Runs that Slurm executes: how they are submitted, shown, and stopped. The Slurm is a
//! real one.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use testkit::process::getuid;
use testkit::slurm::jobs::age_answers;
use testkit::slurm::{Cluster, NODES};
use testkit::{Lab, times, wait_for};

/// A program that waits until a file is there.
const UNTIL_GO: &str = "until [ -e go ]; do sleep 0.05; done; echo done";

fn word<'a>(status: &'a Value, key: &str) -> &'a str {
    status[key].as_str().unwrap_or_default()
}

/// Returns the id of the job of a run.
fn job(lab: &Lab, run: &str) -> String {
    lab.json(&format!("runs/{run}/.run/launch.json"))["job"].as_str().unwrap().to_owned()
}

#[test]
fn a_run_is_queued_then_executed_on_a_node_and_its_record_tells_of_the_job() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    lab.new_run("a trial", &["sh", "-c", UNTIL_GO]);
    let done = cluster.cmd(&lab, "run-exec").args(["--slurm=--hold", "a trial"]).run().code(0).stdout("");
    let id = job(&lab, "a trial");
    done.stderr(&format!("run-exec: queued 1 run: job {id}\n"));
    let queued = cluster.status(&lab, "a trial");
    let reason = format!("job {id} is pending: JobHeldUser");
    assert_eq!((word(&queued, "status"), word(&queued, "reason")), ("queued", reason.as_str()));
    let shown = cluster.ask(&["squeue", "-h", "-j", &id, "-o", "%j|%k"]);
    let launch = lab.json("runs/a trial/.run/launch.json");
    assert_eq!(shown, format!("a trial|{}\n", word(&launch, "run_id")));

    cluster.ask(&["scontrol", "release", &id]);
    let running = cluster.await_status(&lab, "a trial", "running");
    assert_eq!(running["attempt"], 1);
    lab.write("go", "");
    cluster.await_status(&lab, "a trial", "completed");
    assert_eq!(lab.read("runs/a trial/stdout.log"), "done\n");
    let start = &lab.json_lines("runs/a trial/.run/attempts.jsonl")[0];
    assert_eq!((&start["job"]["launcher"], &start["job"]["id"]), (&"slurm".into(), &id.as_str().into()));
    assert_eq!(start["job"]["restart"], 0);
    assert!(NODES.contains(&word(&start["job"], "node")), "{start}");
    assert_eq!(lab.read("runs/a trial/.run/job.log"), "");
    lab.await_nothing_left();
}

#[test]
fn a_sweep_is_one_array_of_which_no_more_run_at_once_than_are_allowed() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    let (count, most) = (times(6, 64), times(2, 4));
    let program = "echo in >>tally; sleep 0.3; echo out >>tally";
    let sweep = format!("x=1..{count}");
    let made =
        lab.cmd("run-new").args(["-b=sweep", "--sweep", &sweep, "--", "sh", "-c", program, "sh", "{set}"]);
    let made = made.run().code(0);
    let exec = cluster.cmd(&lab, "run-exec").args(["--slurm", "-j", &most.to_string(), "--wait", "-"]);
    let mut exec = exec.stdin(&made.stdout).spawn();
    // All is true whenever it is looked at: a run that is dead or stale would be wrong.
    let mut statuses = BTreeSet::new();
    while exec.child.try_wait().unwrap().is_none() {
        let listed = cluster.cmd(&lab, "run-status").args(["-a", "--json"]).run().code(0).json_lines();
        assert_eq!(listed.len(), count);
        assert!(listed.iter().filter(|run| word(run, "status") == "running").count() <= most, "{listed:?}");
        statuses.extend(listed.iter().map(|run| word(run, "status").to_owned()));
    }
    let done = exec.wait().code(0);
    let known = ["created", "queued", "running", "completed"];
    assert!(statuses.iter().all(|status| known.contains(&status.as_str())), "{statuses:?}");
    let runs: Vec<String> = made.out().lines().map(str::to_owned).collect();
    let id = |run: &String| word(&lab.json(&format!("{run}/.run/launch.json")), "job").to_owned();
    let ids: Vec<String> = runs.iter().map(id).collect();
    let array = ids[0].split('_').next().unwrap();
    let expected: Vec<String> = (0..count).map(|task| format!("{array}_{task}")).collect();
    assert_eq!(ids, expected);
    done.stderr(&format!("run-exec: queued {count} runs: jobs {array}_0 to {array}_{}\n", count - 1));
    let mut at_once = 0;
    for line in lab.read("tally").lines() {
        at_once = if line == "in" { at_once + 1 } else { at_once - 1 };
        assert!(at_once <= most);
    }
    let name = cluster.ask(&["squeue", "-h", "-t", "all", "-j", array, "-o", "%j"]);
    assert_eq!(name.lines().next(), Some("sweep"));
    wait_for("the summary to tell of all", || {
        lab.json("runs/sweep/experiment_summary.json")["completed"] == count
    });
    // Each had its own settings.
    let commands: Vec<Value> = runs.iter().map(|run| lab.status(run)["command"][4].clone()).collect();
    let expected: Vec<String> = (1..=count).map(|x| format!("--x={x}")).collect();
    assert_eq!(commands, expected);
}

#[test]
fn gpus_that_slurm_gives_are_recorded_and_left_to_the_program() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    let new = lab.cmd("run-new").env("CUDA_VISIBLE_DEVICES", "7").args(["-b=b", "--sweep", "x=1,2", "--"]);
    let program = "echo \"$CUDA_VISIBLE_DEVICES\"; until [ -e go ]; do sleep 0.05; done";
    let made = new.args(["sh", "-c", program, "sh", "{set}"]).run().code(0);
    // Both on one node, at the same time.
    let exec = cluster.cmd(&lab, "run-exec").args(["-q", "--slurm=--gres=gpu:1 -w n2", "-"]);
    exec.stdin(&made.stdout).run().code(0).stderr("");
    let runs: Vec<String> = made.out().lines().map(str::to_owned).collect();
    let given: BTreeSet<(String, String, String)> = runs
        .iter()
        .map(|run| {
            lab.await_text(&format!("{run}/stdout.log"), "\n");
            let start = &lab.json_lines(&format!("{run}/.run/attempts.jsonl"))[0];
            let recorded = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let seen = lab.read(&format!("{run}/stdout.log")).trim().to_owned();
            (recorded(&start["job"]["gpus"]), recorded(&start["CUDA_VISIBLE_DEVICES"]), seen)
        })
        .collect();
    let gpu = |number: &str| (number.to_owned(), number.to_owned(), number.to_owned());
    assert_eq!(given, BTreeSet::from([gpu("0"), gpu("1")]));
    lab.write("go", "");
    for run in &runs {
        cluster.await_status(&lab, run, "completed");
    }
}

#[test]
fn what_cannot_run_is_refused_before_anything_is_queued() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    lab.new_run("lost", &["no-such-program"]);
    let done = cluster.cmd(&lab, "run-exec").args(["--slurm", "lost"]).run().code(3);
    let shown = |run: &str| lab.path(format!("runs/{run}")).display().to_string();
    done.stderr(&format!(
        "run-exec: cannot submit '{}': command not found: no-such-program\n",
        shown("lost")
    ));
    let input = lab.write("data.txt", "x");
    lab.cmd("run-new").args(["-n", "fed", "--input", "data=data.txt", "--", "true"]).run().code(0);
    fs::remove_file(&input).unwrap();
    let done = cluster.cmd(&lab, "run-exec").args(["--slurm", "fed"]).run().code(3);
    done.stderr(&format!("run-exec: cannot submit '{}': there is no '{}'\n", shown("fed"), input.display()));
    lab.write("config.json", "{}");
    lab.cmd("run-new").args(["-n", "bare", "config.json", "--", "true", "{config}"]).run().code(0);
    fs::remove_file(lab.path("runs/bare/config.json")).unwrap();
    let done = cluster.cmd(&lab, "run-exec").args(["--slurm", "bare"]).run().code(3);
    done.stderr(&format!(
        "run-exec: cannot submit '{}': there is no '{}/config.json'\n",
        shown("bare"),
        shown("bare")
    ));
    lab.new_run("fine", &["true"]);
    let done = cluster.cmd(&lab, "run-exec").args(["--slurm=-p none", "fine"]).run().code(125);
    done.stderr_has("run-exec: Slurm does not accept the job: ").stderr_has("nvalid partition");
    for run in ["lost", "fed", "bare", "fine"] {
        assert_eq!(lab.status(run)["status"], "created", "{run}");
        assert!(!lab.path(format!("runs/{run}/.run/launch.json")).exists());
    }
    let done = lab.cmd("run-exec").args(["--slurm", "fine"]).env("PATH", testkit::bin()).run();
    done.code(125).stderr("run-exec: cannot find 'sbatch': it is not on the PATH\n");
}

#[test]
fn a_queued_run_is_not_executed_by_others_and_stopped_before_it_starts() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    for run in ["one", "two"] {
        lab.new_run(run, &["true"]);
    }
    cluster.cmd(&lab, "run-exec").args(["-q", "--slurm=--hold", "one", "two"]).run().code(0).stderr("");
    let id = job(&lab, "one");
    let array = id.split('_').next().unwrap();
    let again = cluster.cmd(&lab, "run-exec").args(["--slurm", "one"]).run().code(4);
    again.stderr(&format!(
        "run-exec: cannot submit 'runs/one': it is queued already: job {id} is pending: JobHeldUser\n\
         run-exec: run-stop(1) takes it out of the queue\n"
    ));
    let here = cluster.cmd(&lab, "run-exec").arg("two").run().code(125);
    here.stderr_has("runs/two': it is queued: job ");
    cluster.cmd(&lab, "run-exec").args(["--slurm", "--unfinished", "one", "two"]).run().code(0).stderr("");
    let stopped = cluster.cmd(&lab, "run-stop").args(["--why", "enough", "one"]).run().code(0);
    stopped.stdout("runs/one: stopped\n").stderr("");
    assert!(word(&cluster.status(&lab, "one"), "reason").ends_with(": enough"));
    let states = cluster.ask(&["squeue", "-h", "-r", "-t", "all", "-j", array, "-o", "%i %T"]);
    assert!(!states.contains(&format!("{array}_0 PENDING")), "{states}");
    assert!(states.contains(&format!("{array}_1 PENDING")), "{states}");
    cluster.cmd(&lab, "run-stop").arg("two").run().code(0).stdout("runs/two: stopped\n");
    // What was stopped is submitted again by --unfinished.
    cluster
        .cmd(&lab, "run-exec")
        .args(["-q", "--slurm", "--wait", "--unfinished", "one", "two"])
        .run()
        .code(0);
    assert_eq!(lab.status("one")["status"], "completed");
}

#[test]
fn a_run_that_is_stopped_while_a_job_executes_it_ends_gracefully() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    lab.new_run(
        "r",
        &["sh", "-c", "trap 'echo saved; exit 0' TERM; echo begun; while :; do sleep 0.1; done"],
    );
    cluster.cmd(&lab, "run-exec").args(["-q", "--slurm", "r"]).run().code(0);
    lab.await_text("runs/r/stdout.log", "begun");
    cluster.cmd(&lab, "run-stop").arg("r").run().code(0).stdout("runs/r: stopped\n");
    assert_eq!(lab.read("runs/r/stdout.log"), "begun\nsaved\n");
    let id = job(&lab, "r");
    wait_for("the job to end", || {
        let state = cluster.ask(&["squeue", "-h", "-t", "all", "-j", &id, "-o", "%T"]);
        ["COMPLETED\n", "FAILED\n"].contains(&state.as_str())
    });
}

#[test]
fn a_job_that_vanished_is_dead_at_the_second_look() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    lab.new_run("r", &["true"]);
    cluster.cmd(&lab, "run-exec").args(["-q", "--slurm=--hold", "r"]).run().code(0);
    let id = job(&lab, "r");
    cluster.ask(&["scancel", &id]);
    let first = cluster.status(&lab, "r");
    let reason = format!("job {id} has ended: CANCELLED, and the run has not begun");
    assert_eq!((word(&first, "status"), word(&first, "reason")), ("queued", reason.as_str()));
    age_answers(&lab, 100);
    let second = cluster.status(&lab, "r");
    let reason = format!("job {id} ended without starting the run: CANCELLED");
    assert_eq!((word(&second, "status"), word(&second, "reason")), ("dead", reason.as_str()));
    // It can be submitted again, without further ado.
    cluster.cmd(&lab, "run-exec").args(["-q", "--slurm", "--wait", "r"]).run().code(0);
    assert_eq!(lab.status("r")["attempt"], 1);
}

#[test]
fn slurm_is_asked_once_for_all_runs_and_not_again_within_ten_seconds() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    let made = lab.cmd("run-new").args(["-b=b", "--sweep", "x=1..3", "--", "true", "{set}"]).run().code(0);
    cluster.cmd(&lab, "run-exec").args(["-q", "--slurm=--hold", "-"]).stdin(&made.stdout).run().code(0);
    // A squeue before the real one counts.
    let squeue = lab.write(
        "counting/squeue",
        "#!/bin/sh\necho asked >>\"$LAB_DIR/asked\"\nexec /usr/bin/squeue \"$@\"\n",
    );
    lab.set_mode("counting/squeue", 0o755);
    let path = format!("{}:{}:/usr/bin:/bin", squeue.parent().unwrap().display(), testkit::bin().display());
    let list = || {
        let list = cluster.cmd(&lab, "run-status").arg("--json").env("PATH", &path).env("LAB_DIR", lab.dir());
        list.run().code(0).stderr("").json_lines()
    };
    for _ in 0..5 {
        let listed = list();
        assert_eq!(listed.len(), 3);
        assert!(
            listed.iter().all(|run| word(run, "reason").ends_with("is pending: JobHeldUser")),
            "{listed:?}"
        );
    }
    assert_eq!(lab.read("asked"), "asked\n");
    let table = cluster.cmd(&lab, "run-status").run().code(0).out();
    assert!(table.contains("queued") && table.contains("is pending: JobHeldUser"), "{table}");
    cluster.cmd(&lab, "run-stop").arg("--all").run().code(0);
}

#[test]
fn without_slurm_the_record_is_shown_and_why() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    lab.new_run("r", &["true"]);
    cluster.cmd(&lab, "run-exec").args(["-q", "--slurm=--hold", "r"]).run().code(0);
    let id = job(&lab, "r");
    for (set, why) in [
        (("PATH", testkit::bin().display().to_string()), "cannot find 'squeue': it is not on the PATH"),
        (
            ("SLURM_CONF", lab.path("none.conf").display().to_string()),
            "'squeue' has not answered within 1.8s",
        ),
    ] {
        let _ = fs::remove_dir_all(lab.path("run-tools"));
        let status = cluster.cmd(&lab, "run-status").args(["--json", "r"]).env(set.0, &set.1);
        let done = status.run().code(0);
        assert_eq!(done.err().lines().count(), 1, "{}", done.err());
        let done = done.stderr_has(why).stderr_has("; what is shown of queued runs is what is recorded\n");
        let status = &done.json_lines()[0];
        assert_eq!(
            (word(status, "status"), word(status, "reason")),
            ("queued", format!("job {id}").as_str())
        );
    }
    cluster.cmd(&lab, "run-stop").arg("r").run().code(0);
}

#[test]
fn a_user_who_is_not_root_submits_from_a_directory_with_spaces() {
    if !getuid().is_root() {
        return; // then all the others do
    }
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    let dir = lab.path("my own runs");
    fs::create_dir(&dir).unwrap();
    std::os::unix::fs::chown(&dir, Some(65534), None).unwrap();
    let cmd = |program: &str| {
        let cmd = cluster.reached_by(&lab, lab.cmd_by_somebody(program));
        cmd.env("RUNS_DIR", &dir).env("XDG_RUNTIME_DIR", &dir).cwd(&dir)
    };
    cmd("run-new").args(["-n", "r", "--", "sh", "-c", "id -u"]).run().code(0);
    cmd("run-exec").args(["-q", "--slurm", "--wait", "r"]).run().code(0);
    assert_eq!(lab.read("my own runs/r/stdout.log"), "65534\n");
}
