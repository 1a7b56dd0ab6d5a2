//! Lists of runs for which a launcher has no room at once: the rest stays queued, and is submitted as jobs end. No run is lost,
//! and none is executed twice.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;
use testkit::process::Signal;
use testkit::slurm::Cluster;
use testkit::slurm::jobs::{age_answers, word};
use testkit::{Cmd, Lab, times, wait_for};

/// Creates runs of a program that notes when it begins and ends, and returns their paths.
fn create(lab: &Lab, count: usize, program: &str) -> Vec<String> {
    let program = format!("echo in $0 >>tally; {program}; echo out $0 >>tally");
    let sweep = format!("x=1..{count}");
    let made = lab.cmd("run-new").args(["-b=b", "--sweep", &sweep, "--", "sh", "-c", &program, "{set}"]);
    made.run().code(0).out().lines().map(str::to_owned).collect()
}

/// Expects that each run was executed once, and returns how many were at most executed at once.
fn tally(lab: &Lab, count: usize) -> usize {
    let (mut open, mut most, mut executed) = (0, 0, BTreeSet::new());
    for line in lab.read("tally").lines() {
        match line.split_once(' ').unwrap() {
            ("in", run) => {
                open += 1;
                assert!(executed.insert(run.to_owned()), "{run} was executed twice");
            }
            _ => open -= 1,
        }
        most = most.max(open);
    }
    assert_eq!(executed.len(), count);
    most
}

fn has_list(lab: &Lab, runs: &[String]) -> bool {
    runs.iter().any(|run| lab.path(run).join(".run/waiting.json").exists())
}

/// Slurm limits the number of a user's jobs only if it keeps accounts. This sbatch refuses jobs beyond the limit
/// instead. If the file `login-only` exists, it refuses all jobs on the nodes, as some sites do.
const LIMITED: &str = r#"#!/bin/sh
case "$*" in *--test-only*) exec /usr/bin/sbatch "$@" ;; esac
[ -z "$SLURMD_NODENAME" ] || [ ! -e "$LAB_DIR/login-only" ] || { echo >&2 'sbatch: error: not from here'; exit 1; }
tasks=1
for word; do case $word in --array=*) word=${word#--array=0-} tasks=$((${word%%%*} + 1)) ;; esac; done
[ $(($(squeue -h -r | wc -l) + tasks)) -le $(cat "$LAB_DIR/most") ] || { echo >&2 'sbatch: error: AssocMaxSubmitJobLimit'; exit 1; }
exec /usr/bin/sbatch "$@"
"#;

/// Starts a Slurm with limits of the jobs in an array and of the jobs of a user.
fn limited(lab: &Lab, array: usize, most: usize) -> Cluster {
    lab.write("bin/sbatch", LIMITED);
    lab.set_mode("bin/sbatch", 0o755);
    lab.write("most", most.to_string());
    Cluster::start(&lab.path("slurm"), &format!("MaxArraySize={array}\n"))
}

fn exec(lab: &Lab, cluster: &Cluster, args: &[&str]) -> Cmd {
    let path = lab.own_path();
    let exec = cluster.cmd(lab, "run-exec").env("PATH", path).env("LAB_DIR", lab.dir());
    exec.args(["--slurm"]).args(args).arg("b")
}

#[test]
fn runs_beyond_the_limits_of_slurm_wait_and_are_submitted_as_others_end() {
    let lab = Lab::new();
    let cluster = limited(&lab, 4, 5);
    let count = 12;
    let runs = create(&lab, count, "sleep 0.2");
    let told = exec(&lab, &cluster, &[]).run().code(0).err();
    let expected =
        format!("run-exec: queued {count} runs: jobs 2_0 to 2_3; {} wait until the launcher", count - 4);
    assert!(told.starts_with(&expected), "{told}");
    let last = cluster.status(&lab, &runs[count - 1]);
    assert_eq!(
        (word(&last, "status"), word(&last, "reason")),
        ("queued", "waits until Slurm takes more jobs")
    );
    let known = ["queued", "running", "completed"];
    wait_for("all to be completed", || {
        let listed = cluster.cmd(&lab, "run-status").args(["-a", "--json"]).run().code(0).json_lines();
        assert!(listed.iter().all(|run| known.contains(&word(run, "status"))), "{listed:?}");
        listed.iter().filter(|run| word(run, "status") == "completed").count() == count
    });
    tally(&lab, count);
    wait_for("the list to be empty", || !has_list(&lab, &runs));
}

/// The campaign: as many runs as the issue asks for, with the limits that Slurm has by default.
#[test]
fn thousands_of_runs_are_submitted_in_arrays_and_each_is_executed_once() {
    let lab = Lab::new();
    let (count, array, most) = (times(9, 3000), times(4, 1001), times(6, 2000));
    let cluster = limited(&lab, array, most);
    let runs = create(&lab, count, "true");
    exec(&lab, &cluster, &["-q", "-j", "4"]).run().code(0).stderr("");
    let (mut completed, mut changed) = (0, Instant::now());
    while completed < count {
        let listed = cluster.cmd(&lab, "run-status").args(["-a", "--json"]).run().code(0).json_lines();
        let of = |status: &str| listed.iter().filter(|run| word(run, "status") == status).count();
        assert!(of("running") <= 4, "{listed:?}");
        assert_eq!(of("queued") + of("running") + of("completed"), count);
        if of("completed") > completed {
            (completed, changed) = (of("completed"), Instant::now());
        }
        assert!(changed.elapsed() < testkit::DEADLINE * 4, "{completed} of {count}");
        std::thread::sleep(std::time::Duration::from_millis(100)); // the machine has work to do
    }
    assert!(tally(&lab, count) <= 4);
    wait_for("the list to be empty", || !has_list(&lab, &runs));
}

#[test]
fn where_jobs_cannot_submit_jobs_run_exec_submits_the_rest_with_wait_and_with_unfinished() {
    let lab = Lab::new();
    let cluster = limited(&lab, 4, 5);
    lab.write("login-only", "");
    let runs = create(&lab, 7, "sleep 0.1");
    exec(&lab, &cluster, &["-q", "-j", "2"]).run().code(0);
    wait_for("the jobs to end", || cluster.ask(&["squeue", "-h"]).is_empty());
    assert_eq!(lab.status(&runs[3])["status"], "completed");
    assert_eq!(lab.status(&runs[4])["status"], "queued");
    assert!(lab.read(&format!("{}/.run/job.log", runs[3])).contains("not from here"));
    exec(&lab, &cluster, &["--unfinished", "-j", "2"]).run().code(0).stderr("");
    wait_for("all to be completed", || runs.iter().all(|run| lab.status(run)["status"] == "completed"));
    assert!(tally(&lab, 7) <= 2);
    assert!(!has_list(&lab, &runs));
    for name in ["tally", "runs/b"] {
        fs::rename(lab.path(name), lab.path(format!("{name}.old"))).unwrap();
    }
    let runs = create(&lab, 7, "sleep 0.1");
    exec(&lab, &cluster, &["-q", "--wait"]).run().code(0);
    tally(&lab, 7);
    assert!(!has_list(&lab, &runs));
}

/// Slurm's commands, as far as they are needed: `sbatch` takes as many jobs as the file `room` says, keeps their script,
/// and does not return while the file `hangs` is there.
const SBATCH: &str = r#"#!/bin/sh
cd "$LAB_DIR"
case "$*" in *--test-only*) exit 0 ;; esac
cat >script.$$
tasks=1
for word; do case $word in --array=*) word=${word#--array=0-} tasks=$((${word%%%*} + 1)) ;; esac; done
room=$(cat room)
[ "$tasks" -le "$room" ] || { echo >&2 'sbatch: error: AssocMaxSubmitJobLimit'; echo >&2 'sbatch: error: Batch job submission failed: Job violates accounting/QOS policy'; exit 1; }
echo $((room - tasks)) >room
id=$(($(cat accepted 2>/dev/null | wc -l) + 1))
mv script.$$ job.$id
echo "$tasks" >>accepted
while [ -e hangs ]; do sleep 0.05; done
echo $id
"#;
const SCONTROL: &str = "#!/bin/sh\necho 'KillWait = 30 sec'\necho 'MaxArraySize = 1001'\n";
const SQUEUE: &str = "#!/bin/sh\n";

fn faked() -> Lab {
    let lab = Lab::new();
    for (name, script) in [("sbatch", SBATCH), ("scontrol", SCONTROL), ("squeue", SQUEUE)] {
        lab.write(&format!("bin/{name}"), script);
        lab.set_mode(&format!("bin/{name}"), 0o755);
    }
    lab
}

fn cmd(lab: &Lab, program: &str) -> Cmd {
    let path = lab.own_path();
    lab.cmd(program).env("PATH", path).env("LAB_DIR", lab.dir()).env("XDG_RUNTIME_DIR", lab.dir())
}

fn submit(lab: &Lab, room: usize, options: &[&str]) -> Cmd {
    lab.write("room", room.to_string());
    cmd(lab, "run-exec").args(["--slurm"]).args(options).arg("b")
}

/// Prepares an accepted job, or a task of an accepted array.
fn task(lab: &Lab, job: usize, task: usize) -> Cmd {
    let cmd = cmd(lab, "sh").arg(lab.path(format!("job.{job}")));
    if accepted(lab)[job - 1] == 1 {
        return cmd.env("SLURM_JOB_ID", job.to_string());
    }
    let cmd = cmd.env("SLURM_JOB_ID", format!("{job}{task}")).env("SLURM_ARRAY_JOB_ID", job.to_string());
    cmd.env("SLURM_ARRAY_TASK_ID", task.to_string())
}

fn accepted(lab: &Lab) -> Vec<usize> {
    lab.read("accepted").lines().map(|line| line.parse().unwrap()).collect()
}

fn log(lab: &Lab, runs: &[String]) -> String {
    let logs = runs.iter().map(|run| fs::read_to_string(lab.path(run).join(".run/job.log")));
    logs.map(Result::unwrap_or_default).collect()
}

#[test]
fn a_crash_between_submission_and_record_neither_loses_a_run_nor_doubles_one() {
    let lab = faked();
    let runs = create(&lab, 12, "true");
    let done = submit(&lab, 3, &[]).run().code(0);
    // 12 and 6 are too many.
    done.stderr("run-exec: queued 12 runs: jobs 1_0 to 1_2; 9 wait until the launcher takes more jobs\n");
    task(&lab, 1, 0).run().code(0);
    lab.write("room", "9");
    lab.write("hangs", "");
    let crashed = task(&lab, 1, 1).spawn();
    wait_for("a submission", || accepted(&lab).len() == 2);
    assert_eq!(accepted(&lab), [3, 1]);
    crashed.signal(Signal::KILL);
    crashed.wait();
    fs::remove_file(lab.path("hangs")).unwrap();
    // The job of the interrupted submission begins late: the run has another by then.
    lab.write("room", "1");
    task(&lab, 1, 2).run().code(0);
    assert_eq!(accepted(&lab), [3, 1, 1]);
    task(&lab, 2, 0).run().code(0);
    assert!(
        log(&lab, &runs).contains("was submitted again, as job 3: there is nothing left"),
        "{}",
        log(&lab, &runs)
    );
    // The job of the next begins at once: the run is not submitted again.
    lab.write("hangs", "");
    lab.write("room", "1");
    let crashed = task(&lab, 3, 0).spawn();
    wait_for("a submission", || accepted(&lab).len() == 4);
    crashed.signal(Signal::KILL);
    crashed.wait();
    fs::remove_file(lab.path("hangs")).unwrap();
    let mut job = 4;
    while job <= accepted(&lab).len() {
        for number in 0..accepted(&lab)[job - 1] {
            lab.write("room", "9");
            task(&lab, job, number).run().code(0);
        }
        job += 1;
    }
    assert_eq!(accepted(&lab).iter().sum::<usize>(), 12 + 1);
    assert!(!has_list(&lab, &runs));
    tally(&lab, 12);
    assert!(runs.iter().all(|run| lab.status(run)["status"] == "completed"));
}

#[test]
fn a_limit_that_leaves_room_for_none_is_told_and_the_runs_are_taken_back() {
    let lab = faked();
    let runs = create(&lab, 2, "true");
    submit(&lab, 0, &[]).run().code(5).stderr(
        "run-exec: 2 runs were not queued: AssocMaxSubmitJobLimit\n\
         run-exec: the same command with --unfinished submits what is left\n",
    );
    for run in &runs {
        assert_eq!(lab.status(run)["status"], "created");
        assert!(!lab.path(run).join(".run/launch.json").exists());
    }
}

#[test]
fn runs_that_wait_are_stopped_and_lost_with_their_list_but_not_for_ever() {
    let lab = faked();
    let runs = create(&lab, 4, "true");
    submit(&lab, 2, &["-q"]).run().code(0).stderr("");
    let status = |run: &str| {
        let status = cmd(&lab, "run-status").args(["--json", run]).run().json_lines().remove(0);
        (word(&status, "status").to_owned(), word(&status, "reason").to_owned())
    };
    cmd(&lab, "run-stop").arg(&runs[2]).run().code(0).stdout(format!("{}: stopped\n", runs[2])).stderr("");
    assert_eq!(status(&runs[3]), ("queued".to_owned(), "waits until Slurm takes more jobs".to_owned()));
    fs::remove_file(lab.path(&runs[3]).join(".run/waiting.json")).unwrap();
    assert_eq!(status(&runs[3]), ("dead".to_owned(), "the list with its job is gone".to_owned()));
    submit(&lab, 9, &["--unfinished", "-q"]).run().code(0).stderr("");
    let job = |run: &str| lab.json(&format!("{run}/.run/launch.json"))["job"].clone();
    assert_eq!((job(&runs[2]), job(&runs[3])), ("2_0".into(), "2_1".into()));
}

#[test]
fn a_list_whose_jobs_are_lost_is_submitted_by_unfinished() {
    let lab = faked();
    let runs = create(&lab, 6, "true");
    submit(&lab, 2, &["-q"]).run().code(0).stderr("");
    // Somebody has cancelled all jobs, before any of them began: Slurm does not know them any more.
    let states = || {
        let listed = cmd(&lab, "run-status").args(["-a", "--json"]).run().code(0).json_lines();
        listed.iter().map(|run| word(run, "status").to_owned()).collect::<Vec<String>>()
    };
    assert_eq!(states(), ["queued"; 6]);
    age_answers(&lab, 100);
    assert_eq!(states(), ["dead", "dead", "queued", "queued", "queued", "queued"]);
    let listed = cmd(&lab, "run-status").args(["--json", &runs[5]]).run().json_lines();
    let why = "waits until Slurm takes more jobs; its last job, 2, has ended: submit it with --unfinished";
    assert_eq!(word(&listed[0], "reason"), why);
    submit(&lab, 9, &["--unfinished", "-q"]).run().code(0).stderr("");
    assert_eq!(accepted(&lab), [1, 1, 2, 2, 2]);
    let job = |run: &String| lab.json(&format!("{run}/.run/launch.json"))["job"].as_str().unwrap().to_owned();
    let jobs: Vec<String> = runs.iter().map(job).collect();
    assert_eq!(jobs, ["5_0", "5_1", "3_0", "3_1", "4_0", "4_1"]);
    assert!(!has_list(&lab, &runs));
}

#[test]
fn a_list_that_somebody_else_has_written_is_not_executed() {
    if !testkit::process::getuid().is_root() {
        return;
    }
    let lab = faked();
    let runs = create(&lab, 4, "true");
    submit(&lab, 2, &["-q"]).run().code(0).stderr("");
    let list = lab.path(&runs[3]).join(".run/waiting.json");
    std::os::unix::fs::chown(&list, Some(65534), None).unwrap();
    let done = submit(&lab, 9, &["--unfinished", "-q"]).run().code(5);
    let shown = Path::new(&list).display();
    done.stderr(&format!("run-exec: cannot use '{shown}': another user has written it\n"));
    assert_eq!(accepted(&lab), [2]);
}

/// A launcher with limits, which executes nothing.
const LAUNCHER: &str = r#"#!/bin/sh
cd "$LAB_DIR"
case $1 in
limits) echo '{"array_max": 2, "submit_max": 3}' ;;
submit) [ "$2" != --check ] || exit 0
    cat >call; wc -l <call >>calls; jq -r '.after // "-"' call >>after
    jq -c '{run_id, job: .name}' call ;;
*) ;;
esac
"#;

#[test]
fn the_limits_of_any_launcher_are_kept() {
    let lab = faked();
    lab.write("bin/run-launch-small", LAUNCHER);
    lab.set_mode("bin/run-launch-small", 0o755);
    let runs = create(&lab, 5, "true");
    let done = cmd(&lab, "run-exec").args(["--launch", "small", "-j", "1", "b"]).run().code(0);
    done.stderr(
        "run-exec: queued 5 runs: jobs run_x-1 to run_x-3; 2 wait until the launcher takes more jobs\n",
    );
    assert_eq!((lab.read("calls"), lab.read("after")), ("2\n1\n".to_owned(), "-\n-\nrun_x-2\n".to_owned()));
    let status = cmd(&lab, "run-status").args(["--json", &runs[4]]).run().json_lines().remove(0);
    assert_eq!(word(&status, "reason"), "waits until small takes more jobs");
    // Two of the three are over.
    cmd(&lab, "run-stop").args(&runs[..2]).run().code(0);
    let unfinished = ["--launch", "small", "--unfinished", "-q", &runs[3], &runs[4]];
    cmd(&lab, "run-exec").args(unfinished).run().code(0).stderr("");
    assert_eq!((lab.read("calls"), lab.read("after").lines().count()), ("2\n1\n2\n".to_owned(), 5));
    assert!(!has_list(&lab, &runs));
}
