//! How runs end that Slurm executes: time limits, preemption, cancellation, lost nodes, a controller that is gone; and
//! how they are started again. The Slurm is a real one.

use serde_json::Value;
use testkit::slurm::Cluster;
use testkit::slurm::jobs::{TRAINER, await_steps, create, end, hurry, is, submit, word};
use testkit::{Lab, wait_for};

#[test]
fn a_job_that_is_cancelled_stops_its_run() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    let id = submit(&lab, cluster, "r", &["--slurm"]);
    await_steps(&lab, cluster, "r", 1);
    cluster.ask(&["scancel", &id]);
    assert_eq!(end(&lab, cluster, "r"), is("stopped", "cancelled"));
    assert!(lab.read("runs/r/stdout.log").ends_with("told\n"));
    lab.await_nothing_left();
}

#[test]
fn the_user_whom_slurm_names_has_cancelled_the_job() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    // This Slurm keeps no accounts: a script answers in their place.
    let script = "#!/bin/sh\nfor job; do :; done\necho \"CANCELLED by $(cat \"$LAB_DIR/by.$job\")\"\n";
    lab.write("bin/sacct", script);
    lab.set_mode("bin/sacct", 0o755);
    let path = lab.own_path();
    let made =
        lab.cmd("run-new").args(["-b=b", "--sweep", "x=1..3", "--", "sh", "-c", TRAINER, "sh", "{set:x}"]);
    let made = made.run().code(0);
    let exec = cluster.cmd(&lab, "run-exec").env("PATH", path).env("LAB_DIR", lab.dir());
    exec.args(["-q", "--slurm", "-"]).stdin(&made.stdout).run().code(0);
    for (run, (by, who)) in made.out().lines().zip([
        ("65534", "cancelled by nobody"),
        ("4242424", "cancelled by user 4242424"),
        ("", "cancelled"),
    ]) {
        await_steps(&lab, cluster, run, 1);
        let id = lab.json(&format!("{run}/.run/launch.json"))["job"].as_str().unwrap().to_owned();
        lab.write(&format!("by.{id}"), by);
        cluster.ask(&["scancel", &id]);
        assert_eq!(end(&lab, cluster, run), is("stopped", who));
    }
}

#[test]
fn one_task_of_an_array_is_cancelled_and_the_other_goes_on() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    let made =
        lab.cmd("run-new").args(["-b=b", "--sweep", "x=1,2", "--", "sh", "-c", TRAINER, "sh", "{set:x}"]);
    let made = made.run().code(0);
    cluster.cmd(&lab, "run-exec").args(["-q", "--slurm", "-"]).stdin(&made.stdout).run().code(0);
    let runs: Vec<String> = made.out().lines().map(str::to_owned).collect();
    for run in &runs {
        await_steps(&lab, cluster, run, 1);
    }
    let id = lab.json(&format!("{}/.run/launch.json", runs[0]))["job"].as_str().unwrap().to_owned();
    cluster.ask(&["scancel", &id]);
    assert_eq!(end(&lab, cluster, &runs[0]), is("stopped", "cancelled"));
    assert_eq!(cluster.status(&lab, &runs[1])["status"], "running");
    lab.write("enough", "");
    assert_eq!(end(&lab, cluster, &runs[1]), is("completed", ""));
}

#[test]
fn a_job_whose_time_is_over_stops_its_run_before() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    // The grace, 2 minutes, does not fit into the limit: half of that is left to train.
    submit(&lab, cluster, "r", &["--slurm=-t 1"]);
    // The other asks within the moment in which Slurm sends the signal.
    let script = "#!/bin/sh\n/usr/bin/scontrol \"$@\" | sed s/JobState=RUNNING/JobState=SIGNALING/\n";
    lab.write("bin/scontrol", script);
    lab.set_mode("bin/scontrol", 0o755);
    create(&lab, "signalled");
    let exec = cluster.cmd(&lab, "run-exec").env("PATH", lab.own_path());
    exec.args(["-q", "--slurm=-t 1", "signalled"]).run().code(0).stderr("");
    for run in ["r", "signalled"] {
        await_steps(&lab, cluster, run, 1);
    }
    for run in ["r", "signalled"] {
        assert_eq!(end(&lab, cluster, run), is("stopped", "time limit"));
        assert!(lab.read(&format!("runs/{run}/stdout.log")).ends_with("told\n"));
    }
}

#[test]
fn a_run_that_is_preempted_goes_on_from_its_checkpoint() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    let id = submit(&lab, cluster, "r", &["--slurm=--exclusive -w n1", "--requeue"]);
    await_steps(&lab, cluster, "r", 1);
    lab.append("runs/r/.run/job.log", "of the first start\n");
    // Another job, of a partition that preempts, takes its place.
    let urgent = cluster.ask(&[
        "sbatch",
        "--parsable",
        "-p",
        "urgent",
        "-w",
        "n1",
        "--exclusive",
        "--wrap",
        "sleep 1",
        "-o",
        "/dev/null",
    ]);
    cluster.await_status(&lab, "r", "queued");
    // Slurm may still be ending the job when it is asked first.
    let is_pending = format!("job {id} is pending");
    wait_for(&is_pending, || word(&cluster.status(&lab, "r"), "reason").starts_with(&is_pending));
    wait_for("the other job to end", || {
        cluster.ask(&["squeue", "-h", "-t", "all", "-j", urgent.trim(), "-o", "%T"]) == "COMPLETED\n"
    });
    hurry(cluster, &id);
    let again = await_steps(&lab, cluster, "r", 2);
    assert!(again["start_step"].as_f64() > Some(0.0), "{again}");
    lab.write("enough", "");
    assert_eq!(end(&lab, cluster, "r"), is("completed", ""));
    let ends = lab.json_lines("runs/r/.run/attempts.jsonl");
    let first = ends.iter().find(|line| line["event"] == "end" && line["attempt"] == 1).unwrap();
    assert_eq!((&first["status"], &first["reason"]), (&"stopped".into(), &"preempted".into()));
    let second = ends.iter().find(|line| line["event"] == "start" && line["attempt"] == 2).unwrap();
    assert_eq!((&second["job"]["id"], &second["job"]["restart"]), (&id.as_str().into(), &1.into()));
    assert!(lab.read("runs/r/.run/job.log").contains("of the first start\n"), "Slurm appends to its output");
}

#[test]
fn a_job_that_is_held_waits_and_says_why_and_so_do_others_that_cannot_start() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    let other = cluster.ask(&["sbatch", "--parsable", "--wrap", "exit 1", "-o", "/dev/null"]);
    wait_for("a job to fail", || {
        cluster.ask(&["squeue", "-h", "-t", "all", "-j", other.trim(), "-o", "%T"]) == "FAILED\n"
    });
    for (run, options, why) in [
        ("held", "--slurm=--hold".to_owned(), "JobHeldUser"),
        ("waits", format!("--slurm=-d afterok:{}", other.trim()), "DependencyNeverSatisfied"),
        ("closed", "--slurm=-p closed".to_owned(), "PartitionDown"),
    ] {
        let id = submit(&lab, cluster, run, &[&options]);
        let reason = format!("job {id} is pending: {why}");
        let mut last = Value::Null;
        wait_for(&format!("{reason}, not {last}"), || {
            last = cluster.status(&lab, run);
            word(&last, "status") == "queued" && word(&last, "reason") == reason
        });
    }
    cluster.cmd(&lab, "run-stop").args(["held", "waits", "closed"]).run().code(0).stderr("");
}

#[test]
fn a_run_that_slurm_cancels_to_preempt_it_is_submitted_again() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    let id = submit(&lab, cluster, "r", &["--slurm=-p cancelled --exclusive -w n2", "--requeue"]);
    await_steps(&lab, cluster, "r", 1);
    let sleep = ["sbatch", "-p", "urgent", "-w", "n2", "--exclusive", "--wrap", "sleep 1", "-o", "/dev/null"];
    cluster.ask(&sleep);
    let again = await_steps(&lab, cluster, "r", 2);
    assert!(again["start_step"].as_f64() > Some(0.0), "{again}");
    lab.write("enough", "");
    assert_eq!(end(&lab, cluster, "r"), is("completed", ""));
    let launch = lab.json("runs/r/.run/launch.json");
    assert_eq!(launch["resubmitted"], 1);
    assert_ne!(word(&launch, "job"), id);
    let lines = lab.json_lines("runs/r/.run/attempts.jsonl");
    let jobs: Vec<&str> = lines.iter().filter_map(|line| line["job"]["id"].as_str()).collect();
    assert_eq!(jobs, [id.as_str(), word(&launch, "job")]);
}

#[test]
fn a_run_that_is_preempted_again_and_again_is_given_up_in_the_end() {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab.path("slurm"), "");
    let id = submit(&lab, &cluster, "r", &["--slurm=-p cancelled --exclusive -w n2 --hold", "--requeue"]);
    let mut launch = lab.json("runs/r/.run/launch.json");
    launch["resubmitted"] = 20.into();
    lab.write("runs/r/.run/launch.json", launch.to_string() + "\n");
    cluster.ask(&["scontrol", "release", &id]);
    await_steps(&lab, &cluster, "r", 1);
    let sleep = ["sbatch", "-p", "urgent", "-w", "n2", "--exclusive", "--wrap", "sleep 1", "-o", "/dev/null"];
    cluster.ask(&sleep);
    let reason = "preempted; not started again: that was done 20 times";
    wait_for("the run to be given up", || word(&cluster.status(&lab, "r"), "reason") == reason);
    assert_eq!(word(&cluster.status(&lab, "r"), "status"), "stopped");
    assert_eq!(lab.json("runs/r/.run/launch.json")["job"], id);
    // A user decides to go on, and it counts anew.
    let exec = cluster.cmd(&lab, "run-exec").args(["-q", "--slurm=--hold", "--unfinished", "r"]);
    exec.run().code(0);
    assert_eq!(lab.json("runs/r/.run/launch.json")["resubmitted"], 0);
    cluster.cmd(&lab, "run-stop").arg("r").run().code(0);
}

#[test]
fn a_run_without_a_checkpoint_is_not_started_again_unless_it_may_be() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    for (run, option, expected) in [("r", "--requeue", "stopped"), ("s", "--restart-ok", "completed")] {
        let program =
            "[ $RUN_ATTEMPT = 2 ] && exit 0; trap 'exit 0' TERM; echo begun; while :; do sleep 0.1; done";
        lab.new_run(run, &["sh", "-c", program]);
        let exec = cluster.cmd(&lab, "run-exec").args(["-q", "--slurm=-w n3", "--requeue"]);
        let exec = if option == "--requeue" { exec } else { exec.arg(option) };
        exec.arg(run).run().code(0);
        lab.await_text(&format!("runs/{run}/stdout.log"), "begun");
        let id = lab.json(&format!("runs/{run}/.run/launch.json"))["job"].as_str().unwrap().to_owned();
        cluster.ask(&["scontrol", "requeue", &id]);
        hurry(cluster, &id);
        let is_decided = |status: &Value| match expected {
            "stopped" => word(status, "reason").contains("not started again"),
            _ => word(status, "status") == expected,
        };
        wait_for("the job to be started again", || is_decided(&cluster.status(&lab, run)));
        let status = cluster.status(&lab, run);
        assert_eq!(word(&status, "status"), expected, "{status}");
        if expected == "stopped" {
            let reason = "requeued; not started again: there is no complete checkpoint to resume from, and no --restart-ok";
            let log = lab.read(&format!("runs/{run}/.run/job.log"));
            assert_eq!((word(&status, "reason"), &status["attempt"]), (reason, &1.into()), "{log}");
        }
    }
}
