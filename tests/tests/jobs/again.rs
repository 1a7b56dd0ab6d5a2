//! Runs that Slurm starts again: they are waited for, stopped, and go on after a time limit. The Slurm is a real one.

use testkit::slurm::Cluster;
use testkit::slurm::jobs::{await_steps, crash_first_node, create, end, hurry, is, submit, word};
use testkit::{Lab, wait_for};

#[test]
fn a_run_is_waited_for_until_its_last_attempt_has_ended() {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab.path("slurm"), "");
    create(&lab, "r");
    // Between the end of the attempt and the job's next word there is time to look.
    let exec = cluster.cmd(&lab, "run-exec").args(["--linger", "500ms", "--heartbeat", "1s"]);
    let exec = exec.args(["-q", "--on-end", "sleep 2", "--slurm", "--requeue", "--wait", "r"]).spawn();
    await_steps(&lab, &cluster, "r", 1);
    let waits = cluster.cmd(&lab, "run-status").args(["--wait", "r"]).spawn();
    let id = lab.json("runs/r/.run/launch.json")["job"].as_str().unwrap().to_owned();
    cluster.ask(&["scontrol", "requeue", &id]);
    hurry(&cluster, &id);
    await_steps(&lab, &cluster, "r", 2);
    lab.write("enough", "");
    exec.wait().code(0).stderr("");
    waits.wait().code(0).stdout("runs/r: completed\n").stderr("");
    assert_eq!(end(&lab, &cluster, "r"), is("completed", ""));
}

#[test]
fn a_run_whose_time_is_over_goes_on_from_its_checkpoint() {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab.path("slurm"), "");
    let id = submit(&lab, &cluster, "r", &["--slurm=-t 1", "--requeue"]);
    await_steps(&lab, &cluster, "r", 1);
    hurry(&cluster, &id);
    let again = await_steps(&lab, &cluster, "r", 2);
    assert!(again["start_step"].as_f64() > Some(0.0), "{again}");
    lab.write("enough", "");
    assert_eq!(end(&lab, &cluster, "r"), is("completed", ""));
    let lines = lab.json_lines("runs/r/.run/attempts.jsonl");
    let told: Vec<_> =
        lines.iter().filter(|line| line["event"] == "end").map(|end| word(end, "reason")).collect();
    assert_eq!(told, ["time limit", ""]);
    let restarts: Vec<_> = lines.iter().filter_map(|line| line["job"]["restart"].as_u64()).collect();
    assert_eq!(restarts, [0, 1]);
}

#[test]
fn a_run_that_slurm_would_start_again_is_stopped_and_its_job_is_cancelled() {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab.path("slurm"), "");
    let id = submit(&lab, &cluster, "r", &["--slurm", "--requeue"]);
    crash_first_node(&lab, &cluster);
    let state = || cluster.ask(&["squeue", "-h", "-t", "all", "-j", &id, "-o", "%T"]);
    wait_for("the job to be requeued", || state() == "PENDING\n");
    assert_eq!(word(&cluster.await_status(&lab, "r", "queued"), "status"), "queued");
    let stopped = cluster.cmd(&lab, "run-stop").args(["--why", "enough", "r"]).run().code(0).stderr("");
    stopped.stdout("runs/r: stopped\n");
    assert_eq!(state(), "CANCELLED\n");
    let (status, reason) = end(&lab, &cluster, "r");
    assert!(status == "stopped" && reason.ends_with(": enough"), "{status}: {reason}");
    let lines = lab.json_lines("runs/r/.run/attempts.jsonl");
    let told: Vec<_> = lines.iter().map(|line| (word(line, "event"), word(line, "reason"))).collect();
    assert_eq!(told, [("start", ""), ("end", "died: its supervisor is gone")]);
}
