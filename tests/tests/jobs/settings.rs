//! Runs under settings of a Slurm that sites choose: partitions with time limits and grace times, no accounts, no
//! configuration; a controller that is restarted; and a run that is removed while its array goes on.

use std::fs;
use testkit::slurm::Cluster;
use testkit::slurm::jobs::{await_steps, end, is, submit, word};
use testkit::{Lab, wait_for};

#[test]
fn a_controller_that_is_killed_and_started_again_disturbs_neither_running_nor_queued_runs() {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab.path("slurm"), "");
    let id = submit(&lab, &cluster, "r", &["--slurm"]);
    let waits = submit(&lab, &cluster, "waits", &["--slurm=--hold"]);
    let before = await_steps(&lab, &cluster, "r", 1);
    // The controller writes its state every few seconds.
    let state = lab.path("slurm/state/job_state");
    wait_for("the state", || {
        fs::read(&state).is_ok_and(|state| state.windows(5).any(|name| name == b"waits"))
    });
    cluster.kill_daemon("slurmctld");
    let _ = fs::remove_dir_all(lab.path("run-tools")); // or else the last answer is shown
    let done = cluster.cmd(&lab, "run-status").args(["--json", "waits"]).run().code(0);
    assert_eq!(done.err().lines().count(), 1, "{}", done.err());
    let shown = done.json_lines().remove(0);
    assert_eq!((word(&shown, "status"), word(&shown, "reason")), ("queued", format!("job {waits}").as_str()));
    cluster.start_daemon("slurmctld");
    cluster.await_nodes();
    wait_for("more steps", || cluster.status(&lab, "r")["step"].as_f64() > before["step"].as_f64());
    let _ = fs::remove_dir_all(lab.path("run-tools"));
    let reason = format!("job {waits} is pending: JobHeldUser");
    assert_eq!(word(&cluster.status(&lab, "waits"), "reason"), reason);
    // Slurm still has both.
    cluster.ask(&["scontrol", "release", &waits]);
    await_steps(&lab, &cluster, "waits", 1);
    cluster.ask(&["scancel", &id]);
    assert_eq!(end(&lab, &cluster, "r"), is("stopped", "cancelled"));
    lab.write("enough", "");
    assert_eq!(end(&lab, &cluster, "waits"), is("completed", ""));
    for run in ["r", "waits"] {
        assert_eq!(lab.json_lines(&format!("runs/{run}/.run/attempts.jsonl")).len(), 2, "one attempt");
    }
}

#[test]
fn without_accounts_the_record_tells_how_a_job_ended_after_slurm_has_forgotten_it() {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab.path("slurm"), "MinJobAge=2\n");
    let sacct = cluster.cmd(&lab, "sacct").env("PATH", "/usr/bin:/bin").run();
    assert!(sacct.err().contains("accounting storage is disabled"), "{}", sacct.err());
    let id = submit(&lab, &cluster, "r", &["--slurm"]);
    await_steps(&lab, &cluster, "r", 1);
    cluster.ask(&["scancel", &id]);
    assert_eq!(end(&lab, &cluster, "r"), is("stopped", "cancelled"));
    lab.new_run("s", &["true"]);
    cluster.cmd(&lab, "run-exec").args(["-q", "--slurm", "--wait", "s"]).run().code(0).stderr("");
    wait_for("Slurm to forget the jobs", || cluster.ask(&["squeue", "-h", "-t", "all"]).is_empty());
    assert_eq!(end(&lab, &cluster, "r"), is("stopped", "cancelled"));
    assert_eq!(end(&lab, &cluster, "s"), is("completed", ""));
}

#[test]
fn without_a_configuration_of_slurm_there_is_one_clear_line() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    let id = submit(&lab, cluster, "r", &["--slurm=--hold"]);
    lab.new_run("s", &["true"]);
    let done = lab.cmd("run-exec").args(["--slurm", "s"]).run().code(125);
    assert_eq!(done.err().lines().count(), 1, "{}", done.err());
    done.stderr_has("run-exec: Slurm does not accept the job: ").stderr_has("onfiguration");
    assert_eq!(lab.status("s")["status"], "created");
    let done =
        lab.cmd("run-status").args(["--json", "r"]).env("XDG_RUNTIME_DIR", lab.path("runs")).run().code(0);
    assert_eq!(done.err().lines().count(), 1, "{}", done.err());
    let done = done.stderr_has("run-status: Slurm does not answer: ").stderr_has("onfiguration");
    assert_eq!(word(&done.json_lines()[0], "reason"), format!("job {id}"));
    cluster.cmd(&lab, "run-stop").arg("r").run().code(0);
}

#[test]
fn a_run_says_when_its_job_is_expected_to_start() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    let id = submit(&lab, cluster, "r", &["--slurm=--begin=2037-01-29T12:00:00"]);
    let reason = format!("job {id} is pending: BeginTime, expected to start 2037-01-29 12:00");
    assert_eq!(word(&cluster.status(&lab, "r"), "reason"), reason);
    cluster.cmd(&lab, "run-stop").arg("r").run().code(0).stderr("");
}

/// Has another job take the place of those on a node.
fn preempt(cluster: &Cluster, node: &str) {
    let words = ["sbatch", "-p", "urgent", "-w", node, "--exclusive", "--wrap", "sleep 1", "-o", "/dev/null"];
    cluster.ask(&words);
}

#[test]
fn a_preemption_with_a_grace_time_that_is_shorter_than_the_grace_ends_the_run_in_time() {
    let lab = Lab::new();
    let graced =
        "PartitionName=graced Nodes=ALL DefaultTime=60 PriorityTier=1 PreemptMode=CANCEL GraceTime=5\n";
    let cluster = Cluster::start(&lab.path("slurm"), graced);
    // One ends when it is asked to; the other does not, and has less time than the two minutes of --grace.
    submit(&lab, &cluster, "r", &["--slurm=-p graced --exclusive -w n1"]);
    await_steps(&lab, &cluster, "r", 1);
    lab.new_run("deaf", &["sh", "-c", "trap '' TERM; echo begun; while :; do sleep 0.1; done"]);
    let exec = cluster.cmd(&lab, "run-exec").args(["-q", "--linger", "500ms", "--heartbeat", "1s"]);
    exec.args(["--slurm=-p graced --exclusive -w n2", "deaf"]).run().code(0);
    lab.await_text("runs/deaf/stdout.log", "begun");
    preempt(&cluster, "n1");
    preempt(&cluster, "n2");
    assert_eq!(end(&lab, &cluster, "r"), is("stopped", "preempted"));
    assert!(lab.read("runs/r/stdout.log").ends_with("told\n"));
    let (status, reason) = end(&lab, &cluster, "deaf");
    assert!(status == "stopped" && reason.starts_with("preempted; killed "), "{status}: {reason}");
    lab.await_nothing_left();
}

#[test]
fn the_time_limit_of_a_partition_or_a_variable_leaves_time_to_train() {
    let lab = Lab::new();
    let short = "PartitionName=short Nodes=ALL DefaultTime=3 MaxTime=INFINITE\n";
    let cluster = Cluster::start(&lab.path("slurm"), short);
    lab.write("bin/sbatch", "#!/bin/sh\necho \"$@\" >\"$LAB_DIR/options\"\nexec /usr/bin/sbatch \"$@\"\n");
    lab.set_mode("bin/sbatch", 0o755);
    let path = lab.own_path();
    // The grace, 2 minutes, and what follows it need 140 seconds.
    for (run, options, variable, seconds) in [
        ("a", "--hold -p short", None, 90),
        ("b", "--hold -p short -t 4:00:00", None, 140),
        ("c", "--hold", None, 140),
        ("d", "--hold", Some("2"), 60),
    ] {
        lab.new_run(run, &["true"]);
        let exec = cluster.cmd(&lab, "run-exec").env("PATH", &path).env("LAB_DIR", lab.dir());
        let exec = variable.into_iter().fold(exec, |exec, time| exec.env("SBATCH_TIMELIMIT", time));
        exec.args(["-q", &format!("--slurm={options}"), run]).run().code(0).stderr("");
        let told = lab.read("options");
        assert!(told.contains(&format!(" --signal=B:TERM@{seconds} ")), "{run}: {told}");
    }
    cluster.cmd(&lab, "run-stop").arg("--all").run().code(0);
}

#[test]
fn an_array_goes_on_when_its_first_run_is_removed() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    let program = "until [ -e go$0 ]; do sleep 0.05; done";
    for list in ["batch", "runs"] {
        let runs: Vec<String> = if list == "batch" {
            let new = lab.cmd("run-new").args(["-b=b", "--sweep", "x=1..3", "--"]);
            let made = new.args(["sh", "-c", program, "{set:x}"]).run().code(0);
            made.out().lines().map(str::to_owned).collect()
        } else {
            ["1", "2", "3"].map(|run| lab.new_run(run, &["sh", "-c", program, run])).into()
        };
        let exec = cluster.cmd(&lab, "run-exec").args(["-q", "--slurm", "-j", "1"]);
        exec.args(&runs).run().code(0).stderr("");
        lab.write("go1", "");
        cluster.await_status(&lab, &runs[1], "running");
        fs::remove_dir_all(lab.path(&runs[0])).unwrap();
        lab.write("go2", "");
        lab.write("go3", "");
        cluster.await_status(&lab, &runs[2], "completed");
        let id = word(&lab.json(&format!("{}/.run/launch.json", runs[2])), "job").to_owned();
        wait_for("the job to end", || !cluster.ask(&["squeue", "-h", "-r", "-o", "%i"]).contains(&id));
        let parent = lab.path(&runs[2]).parent().unwrap().to_owned();
        for place in [parent.clone(), parent.join(".batch")] {
            let left = fs::read_dir(place).into_iter().flatten().flatten();
            assert!(
                left.map(|entry| entry.file_name()).all(|name| !name.to_str().unwrap().contains("job.log"))
            );
        }
        (1..=3).for_each(|run| fs::remove_file(lab.path(format!("go{run}"))).unwrap());
    }
}
