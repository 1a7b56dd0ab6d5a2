//! Which process of which job executes a run: copies of one job, jobs whose predecessor is slow, out of sight or
//! suspended, and jobs that submit their run again. The commands of Slurm are scripts here, and jobs start by hand.

use serde_json::{Value, json};
use std::fs;
use testkit::active::edit;
use testkit::process::Signal;
use testkit::slurm::jobs::{age_answers, create};
use testkit::{Cmd, Lab, Running, await_end, pid, signal, wait_for};

/// Slurm's commands, which a lab changes by files: `sbatch` answers once `accepts` is there, and keeps what it is given;
/// `scontrol` prints the file `shown`, and fails without.
const SBATCH: &str = r#"#!/bin/sh
case "$*" in *--test-only*) exit 0 ;; esac
cat >"$LAB_DIR/script.$$"
env >"$LAB_DIR/environment"
until [ -e "$LAB_DIR/accepts" ]; do sleep 0.05; done
[ -e "$LAB_DIR/refuses" ] && { echo >&2 'sbatch: error: no'; exit 1; }
echo x >>"$LAB_DIR/submissions"
echo $((6 + $(wc -l <"$LAB_DIR/submissions")))
"#;
const SCONTROL: &str = r#"#!/bin/sh
case $2 in
config) echo 'KillWait = 30 sec' ;;
*) cat "$LAB_DIR/shown" ;;
esac
"#;
const SQUEUE: &str = "#!/bin/sh\ncat \"$LAB_DIR/queue\"\n";

fn cmd(lab: &Lab, program: &str) -> Cmd {
    for (name, script) in [("sbatch", SBATCH), ("scontrol", SCONTROL), ("squeue", SQUEUE)] {
        let name = format!("bin/{name}");
        if !lab.path(&name).exists() {
            lab.write(&name, script);
            lab.set_mode(&name, 0o755);
        }
    }
    let path = lab.own_path();
    lab.cmd(program).env("PATH", path).env("LAB_DIR", lab.dir()).env("XDG_RUNTIME_DIR", lab.dir())
}

/// Creates a run and submits it as job 7.
fn submit(lab: &Lab, options: &[&str], command: &[&str]) {
    lab.write("accepts", "");
    lab.new_run("r", command);
    cmd(lab, "run-exec").args(["-q", "--slurm"]).args(options).arg("r").run().code(0).stderr("");
    assert_eq!(launch(lab)["job"], "7");
}

fn launch(lab: &Lab) -> Value {
    lab.json("runs/r/.run/launch.json")
}

/// Prepares the process of a job of the last submission, after a number of restarts.
fn job(lab: &Lab, id: &str, restart: u32, options: &[&str]) -> Cmd {
    let submission = launch(lab)["submission"].as_str().unwrap().to_owned();
    let job = cmd(lab, "run-exec").env("SLURM_JOB_ID", id).env("SLURM_RESTART_COUNT", restart.to_string());
    let job = job.env("RUN_JOB_NOTES", lab.path("notes")).env("SLURM_NTASKS", "9");
    let job = job.arg("-q").arg(format!("--job={submission}"));
    job.args(["--linger", "100ms", "--heartbeat", "100ms"]).args(options).arg(lab.path("runs/r"))
}

/// Waits until a process has claimed the run after a number of restarts.
fn await_claim(lab: &Lab, restart: u32) {
    wait_for("the claim", || {
        lab.path("runs/r/.run/owner.json").exists()
            && lab.json("runs/r/.run/owner.json")["restart"] == restart
    });
}

fn told(lab: &Lab) -> (String, String) {
    let done = cmd(lab, "run-status").args(["--json", "r"]).run().code(0);
    let status = &done.json_lines()[0];
    let word = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
    (word("status"), word("reason"))
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

/// Has the first attempt die on another host, which nobody can see, with its last heartbeat some seconds ago.
fn vanish(lab: &Lab, job: Running, ago: i64) {
    let status = lab.await_child("r");
    job.kill_with(pid(&status, "pid"));
    signal(pid(&status, "child_pid"), Signal::KILL);
    await_end(pid(&status, "child_pid"));
    beat(lab, ago);
}

fn beat(lab: &Lab, ago: i64) {
    edit(lab, "r", |record| {
        let beat = chrono::Utc::now() - chrono::TimeDelta::seconds(ago);
        record["last_heartbeat"] = beat.to_rfc3339_opts(chrono::SecondsFormat::Millis, true).into();
        record["host"] = json!("n9");
        record["boot_id"] = json!("another");
    });
}

const SLEEP: &[&str] = &["sh", "-c", "[ $RUN_ATTEMPT = 2 ] || sleep 1000"];

#[test]
fn a_job_takes_the_run_over_from_a_host_that_has_been_silent_for_half_a_minute() {
    for options in [&[][..], &["--retries=1"]] {
        let lab = Lab::new();
        submit(&lab, &["--requeue", "--restart-ok"], SLEEP);
        let first = job(&lab, "7", 0, options).spawn();
        vanish(&lab, first, 40);
        job(&lab, "7", 1, options).run().code(0);
        let status = lab.json("runs/r/.run/status.json");
        assert_eq!((&status["status"], &status["attempt"]), (&"completed".into(), &2.into()), "{options:?}");
    }
}

#[test]
fn a_job_waits_for_the_lock_of_its_predecessor() {
    for options in [&[][..], &["--retries=1"]] {
        let lab = Lab::new();
        submit(&lab, &[], &["true"]);
        let program = "import fcntl, os, sys, time
lock = open(sys.argv[1], 'a+')
fcntl.lockf(lock, fcntl.LOCK_EX)
open('held', 'w')
while not os.path.exists('let-go'): time.sleep(0.05)";
        let holder = lab.cmd("python3").args(["-c", program, "runs/r/.run/lock"]).spawn();
        wait_for("the lock", || lab.path("held").exists());
        let second = job(&lab, "7", 0, options).spawn();
        await_claim(&lab, 0);
        let wchan = format!("/proc/{}/stat", second.pid());
        wait_for("the job to wait", || fs::read_to_string(&wchan).is_ok_and(|stat| stat.contains(") S ")));
        lab.write("let-go", "");
        holder.wait().code(0);
        second.wait().code(0).stderr("");
        assert_eq!(lab.status("r")["status"], "completed", "{options:?}");
    }
}

#[test]
fn a_job_ends_a_predecessor_that_is_suspended() {
    let lab = Lab::new();
    submit(&lab, &["--requeue", "--restart-ok"], SLEEP);
    let first = job(&lab, "7", 0, &[]).spawn();
    let status = lab.await_child("r");
    signal(pid(&status, "pid"), Signal::STOP);
    job(&lab, "7", 1, &[]).run().code(0);
    assert_eq!(lab.status("r")["attempt"], 2);
    first.wait();
    lab.await_nothing_left();
}

#[test]
fn an_earlier_copy_of_a_job_that_comes_late_leaves_the_run_to_the_later() {
    let lab = Lab::new();
    submit(&lab, &["--requeue"], &["sh", "-c", "until [ -e go ]; do sleep 0.05; done"]);
    let later = job(&lab, "7", 1, &[]).spawn();
    lab.await_child("r");
    job(&lab, "7", 0, &[]).run().code(125).stderr_has("job 7, restart 1 on ").stderr_has(" has the run now");
    lab.write("go", "");
    later.wait().code(0);
    let status = lab.status("r");
    assert_eq!((&status["status"], &status["attempt"]), (&"completed".into(), &1.into()));
}

#[test]
fn a_run_that_ends_by_itself_while_a_job_waits_is_not_executed_again() {
    let lab = Lab::new();
    submit(&lab, &["--requeue", "--restart-ok"], SLEEP);
    let first = job(&lab, "7", 0, &[]).spawn();
    vanish(&lab, first, 0);
    let second = job(&lab, "7", 1, &[]).spawn();
    await_claim(&lab, 1);
    edit(&lab, "r", |record| {
        record["status"] = json!("failed");
        record["reason"] = json!("exit status 3");
        record["exit_code"] = json!(3);
        record["end_time"] = record["last_heartbeat"].clone();
    });
    second.wait().code(0).stderr_has("is failed: there is nothing left for this job to do");
    assert_eq!(lab.json("runs/r/.run/status.json")["attempt"], 1);
}

#[test]
fn a_job_that_is_started_again_goes_on_although_slurm_did_not_say_why_it_was_ended() {
    let lab = Lab::new();
    submit(&lab, &["--requeue", "--restart-ok"], SLEEP);
    // scontrol has no answer.
    let first = job(&lab, "7", 0, &[]).spawn();
    lab.await_child("r");
    first.signal(Signal::TERM);
    first.wait();
    assert_eq!(told(&lab), is("stopped", "stopped by signal 15 (TERM)"));
    // The same copy is not executed twice.
    job(&lab, "7", 0, &[]).run().code(0).stderr_has("there is nothing left for this job to do");
    job(&lab, "7", 1, &[]).run().code(0);
    assert_eq!(told(&lab), is("completed", ""));
}

/// A note of Slurm's step daemon.
fn note(lab: &Lab, why: &str) {
    lab.write("notes", format!("slurmstepd-n1: error: *** JOB 7 ON n1 CANCELLED AT x DUE TO {why} ***\n"));
}

/// Starts a run of the trainer as job 7, waits for a checkpoint, and ends the job for a reason. Returns its process.
fn end(lab: &Lab, options: &[&str], why: &str) -> Running {
    lab.write("accepts", "");
    create(lab, "r");
    let exec = cmd(lab, "run-exec").args(["-q", "--slurm", "--requeue"]).args(options);
    exec.arg("r").run().code(0).stderr("");
    fs::remove_file(lab.path("accepts")).unwrap();
    lab.write("notes", "");
    let job = job(lab, "7", 0, &[]).spawn();
    wait_for("a checkpoint", || lab.path("runs/r/checkpoints/step_2").exists());
    note(lab, why);
    job.signal(Signal::TERM);
    job
}

/// Ends job 7 by a preemption after which Slurm does not start it again, and waits until it submits its run. sbatch takes
/// its time. Returns the process of the job, and the submission before.
fn end_and_resubmit(lab: &Lab) -> (Running, Value) {
    lab.write("queue", "");
    lab.write("shown", "JobId=7 JobState=PREEMPTED Restarts=0\n");
    let first = end(lab, &[], "PREEMPTION");
    let before = launch(lab);
    wait_for("another submission", || launch(lab)["submission"] != before["submission"]);
    (first, before)
}

#[test]
fn a_run_that_is_submitted_again_is_never_shown_as_dead_and_its_old_job_is_of_no_more_use() {
    let lab = Lab::new();
    let (first, before) = end_and_resubmit(&lab);
    assert_eq!(told(&lab), is("queued", "is being submitted"));
    assert_eq!(launch(&lab)["time"], before["time"]);
    lab.write("accepts", "");
    first.wait();
    let again = launch(&lab);
    assert_eq!((&again["job"], &again["resubmitted"]), (&"8".into(), &1.into()));
    let environment = lab.read("environment");
    assert!(!environment.contains("SLURM_NTASKS") && !environment.contains("SLURM_JOB_ID"), "{environment}");
    // Somebody has the old job start again.
    let old = before["submission"].as_str().unwrap();
    let old = cmd(&lab, "run-exec").arg(format!("--job={old}")).arg("r");
    old.run().code(0).stderr_has("was submitted again, as job 8: there is nothing left for this job to do");
    lab.write("enough", "");
    job(&lab, "8", 0, &[]).run().code(0);
    assert_eq!(told(&lab), is("completed", ""));
}

#[test]
fn a_run_is_not_submitted_again_if_slurm_may_start_its_job_itself() {
    let lab = Lab::new();
    lab.write("queue", "");
    let first = end(&lab, &[], "PREEMPTION");
    first.wait();
    let why = "preempted; not started again: Slurm does not say whether it starts the job again";
    assert_eq!(told(&lab), is("stopped", why));
    assert_eq!(lab.read("submissions"), "x\n");
    // If it does, the run goes on.
    lab.write("enough", "");
    job(&lab, "7", 1, &[]).run().code(0);
    assert_eq!(told(&lab), is("completed", ""));
}

#[test]
fn a_submission_that_fails_is_taken_back_and_the_record_says_so() {
    let lab = Lab::new();
    let (first, before) = end_and_resubmit(&lab);
    lab.write("refuses", "");
    lab.write("accepts", "");
    first.wait();
    let why = "preempted; not started again: Slurm does not accept the job: sbatch: error: no";
    assert_eq!(told(&lab), is("stopped", why));
    assert_eq!(launch(&lab), before);
}

#[test]
fn an_attempt_that_gets_nowhere_within_its_time_limit_is_the_last() {
    let lab = Lab::new();
    lab.write("queue", "");
    lab.write("shown", "JobId=7 JobState=TIMEOUT Restarts=0\n");
    end(&lab, &[], "TIME LIMIT").wait();
    let status = lab.json("runs/r/.run/status.json");
    assert_eq!(
        (&status["status"], &status["reason"]),
        (&"queued".into(), &"time limit; job 7 is to be started again".into())
    );
    // The next one is ended before it has written a checkpoint.
    lab.write("notes", "");
    let idle =
        ["--", "sh", "-c", "trap 'exit 0' TERM; echo idle; while :; do sleep 0.1; done", "sh", "{resume}"];
    let submission = launch(&lab)["submission"].as_str().unwrap().to_owned();
    let second = cmd(&lab, "run-exec").env("SLURM_JOB_ID", "7").env("SLURM_RESTART_COUNT", "1");
    let second = second.env("RUN_JOB_NOTES", lab.path("notes")).arg("-q").arg(format!("--job={submission}"));
    let second = second.args(["--linger", "100ms"]).arg(lab.path("runs/r")).args(idle).spawn();
    wait_for("the program", || lab.read("runs/r/stdout.log").contains("idle"));
    note(&lab, "TIME LIMIT");
    second.signal(Signal::TERM);
    second.wait();
    let why = "time limit; not started again: the attempt has written no checkpoint within its time limit";
    assert_eq!(told(&lab), is("stopped", why));
}

#[test]
fn a_run_on_another_host_is_dead_once_its_job_is_gone_at_two_looks() {
    let lab = Lab::new();
    submit(&lab, &[], SLEEP);
    let first = job(&lab, "7", 0, &[]).spawn();
    vanish(&lab, first, 200);
    lab.write("queue", "7|0|NODE_FAIL|N/A|None\n");
    assert_eq!(told(&lab).0, "stale");
    age_answers(&lab, 61);
    assert_eq!(told(&lab), is("dead", "job 7 is gone: NODE_FAIL"));
}

#[test]
fn a_run_is_submitted_again_twenty_times_at_most() {
    let lab = Lab::new();
    lab.write("queue", "");
    lab.write("shown", "JobId=7 JobState=PREEMPTED Restarts=0\n");
    lab.write("accepts", "");
    create(&lab, "r");
    cmd(&lab, "run-exec").args(["-q", "--slurm", "--requeue", "r"]).run().code(0).stderr("");
    let mut record = launch(&lab);
    record["resubmitted"] = 20.into();
    lab.write("runs/r/.run/launch.json", record.to_string());
    lab.write("notes", "");
    let job = job(&lab, "7", 0, &[]).spawn();
    wait_for("a checkpoint", || lab.path("runs/r/checkpoints/step_2").exists());
    note(&lab, "PREEMPTION");
    job.signal(Signal::TERM);
    job.wait();
    assert_eq!(told(&lab), is("stopped", "preempted; not started again: that was done 20 times"));
    assert_eq!(lab.read("submissions"), "x\n");
}

#[test]
fn a_run_that_is_not_started_again_says_so_once() {
    let lab = Lab::new();
    submit(&lab, &["--requeue"], SLEEP);
    lab.write("notes", "");
    let first = job(&lab, "7", 0, &[]).spawn();
    lab.await_child("r");
    note(&lab, "JOB REQUEUE");
    first.signal(Signal::TERM);
    first.wait();
    let why =
        "requeued; not started again: there is no complete checkpoint to resume from, and no --restart-ok";
    assert_eq!(told(&lab), is("stopped", why));
    lab.write("notes", "");
    job(&lab, "7", 1, &[]).run();
    assert_eq!(told(&lab), is("stopped", why));
}

#[test]
fn a_failed_run_goes_on_when_slurm_starts_its_job_again() {
    let saves =
        "mkdir -p $RUN_DIR/checkpoints/step_$RUN_ATTEMPT; echo x >$RUN_DIR/checkpoints/step_$RUN_ATTEMPT/s";
    for (program, expected) in [(saves, "completed"), ("true", "failed")] {
        let lab = Lab::new();
        let program = format!("{program}; [ $RUN_ATTEMPT = 2 ] || exit 99");
        submit(&lab, &["--requeue"], &["sh", "-c", &program]);
        job(&lab, "7", 0, &[]).run().code(99);
        assert_eq!(told(&lab), is("failed", "exit 99"));
        // The same start is not executed twice.
        job(&lab, "7", 0, &[]).run().code(0).stderr_has("there is nothing left for this job to do");
        job(&lab, "7", 1, &[]).run().code(0);
        assert_eq!(told(&lab).0, expected);
    }
}
