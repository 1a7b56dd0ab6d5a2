//! Tasks of a job array are jobs of their own: what ends one of them leaves the others alone, and `-j` holds whatever
//! becomes of one. The Slurm is a real one.

use testkit::slurm::Cluster;
use testkit::slurm::jobs::{TRAINER, await_steps, end, hurry, is, word};
use testkit::{Lab, wait_for};

/// Creates runs of a command as a batch and has Slurm execute them; returns them.
fn submit(lab: &Lab, cluster: &Cluster, count: usize, options: &[&str], command: &[&str]) -> Vec<String> {
    let sweep = format!("x=1..{count}");
    let made = lab.cmd("run-new").args(["-b=b", "--set-by-env", "--sweep", &sweep, "--resume-args"]);
    let made = made.args(["from", "{step}", "--"]).args(command).run().code(0);
    let exec = cluster.cmd(lab, "run-exec").args(["-q", "--linger", "500ms", "--heartbeat", "1s"]);
    exec.args(options).arg("-").stdin(&made.stdout).run().code(0).stderr("");
    made.out().lines().map(str::to_owned).collect()
}

fn job(lab: &Lab, run: &str) -> String {
    lab.json(&format!("{run}/.run/launch.json"))["job"].as_str().unwrap().to_owned()
}

/// Finds the run whose task has the id of the whole array, as the task that starts last does.
fn last(lab: &Lab, cluster: &Cluster, runs: &[String]) -> usize {
    let array = job(lab, &runs[0]).split_once('_').unwrap().0.to_owned();
    let ids = cluster.ask(&["squeue", "-h", "-r", "-j", &array, "-o", "%i %A"]);
    let task = ids.lines().find_map(|line| line.strip_suffix(&format!(" {array}"))).unwrap();
    runs.iter().position(|run| job(lab, run) == task).unwrap()
}

const SAVES: &[&str] = &["sh", "-c", TRAINER, "sh", "{resume}"];

#[test]
fn the_time_limit_of_a_task_leaves_the_others_alone() {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab.path("slurm"), "");
    let runs = submit(&lab, &cluster, 3, &["--grace", "5s", "--slurm=-t 10", "--requeue"], SAVES);
    for run in &runs {
        await_steps(&lab, &cluster, run, 1);
    }
    let one = last(&lab, &cluster, &runs);
    let id = job(&lab, &runs[one]);
    cluster.ask(&["scontrol", "update", &format!("jobid={id}"), "timelimit=1"]);
    hurry(&cluster, &id);
    await_steps(&lab, &cluster, &runs[one], 2);
    lab.write("enough", "");
    for (number, run) in runs.iter().enumerate() {
        assert_eq!(end(&lab, &cluster, run), is("completed", ""));
        let attempts = lab.json_lines(&format!("{run}/.run/attempts.jsonl"));
        let ends: Vec<&str> =
            attempts.iter().filter(|line| line["event"] == "end").map(|end| word(end, "reason")).collect();
        assert_eq!(ends, if number == one { vec!["time limit", ""] } else { vec![""] }, "{run}");
    }
}

#[test]
fn a_stop_of_a_task_leaves_the_steps_of_the_others_alone() {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab.path("slurm"), "");
    let program = "trap 'echo told; exit 0' TERM; echo begun; until [ -e enough ]; do sleep 0.1; done";
    let runs = submit(&lab, &cluster, 3, &["--slurm"], &["srun", "sh", "-c", program]);
    for run in &runs {
        lab.await_text(&format!("{run}/stdout.log"), "begun");
    }
    let one = last(&lab, &cluster, &runs);
    cluster.cmd(&lab, "run-stop").arg(&runs[one]).run().code(0);
    lab.write("enough", "");
    for (number, run) in runs.iter().enumerate() {
        let status = if number == one { "stopped" } else { "completed" };
        assert_eq!(end(&lab, &cluster, run).0, status);
        assert_eq!(lab.read(&format!("{run}/stdout.log")).contains("told"), number == one, "{run}");
    }
}

#[test]
fn no_more_run_at_once_after_one_was_cancelled_to_preempt_it() {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab.path("slurm"), "");
    let options = ["--slurm=-p cancelled -w n2", "-j", "1", "--requeue"];
    let runs = submit(&lab, &cluster, 2, &options, SAVES);
    await_steps(&lab, &cluster, &runs[0], 1);
    let sleep = ["sbatch", "-p", "urgent", "-w", "n2", "--exclusive", "--wrap", "sleep 1", "-o", "/dev/null"];
    cluster.ask(&sleep);
    await_steps(&lab, &cluster, &runs[1], 1);
    let id = job(&lab, &runs[0]);
    assert_eq!(end_of_attempt(&lab, &runs[0]), "preempted");
    wait_for("Slurm to have the task wait", || {
        word(&cluster.status(&lab, &runs[0]), "reason").starts_with(&format!("job {id} is pending"))
    });
    lab.write("enough", "");
    assert_eq!(end(&lab, &cluster, &runs[1]), is("completed", ""));
    hurry(&cluster, &id);
    assert_eq!(end(&lab, &cluster, &runs[0]), is("completed", ""));
    let again = &lab.json_lines(&format!("{}/.run/attempts.jsonl", runs[0]))[2];
    assert_eq!((&again["attempt"], &again["job"]["id"]), (&2.into(), &id.as_str().into()));
    assert!(again["resume_step"].as_u64() > Some(0), "{again}");
    assert_eq!(lab.json(&format!("{}/.run/launch.json", runs[0]))["resubmitted"], 1);
}

/// Returns why the first attempt of a run has ended.
fn end_of_attempt(lab: &Lab, run: &str) -> String {
    let lines = lab.json_lines(&format!("{run}/.run/attempts.jsonl"));
    word(&lines[1], "reason").to_owned()
}
