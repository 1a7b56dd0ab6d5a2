//! Launchers whose answers come late, in part, or not at all: what is not known is not taken for gone, and jobs that
//! were started are remembered.

use std::time::Instant;
use testkit::slurm::jobs::age_answers;
use testkit::{Cmd, Lab};

/// A launcher whose verbs a lab writes: files `submit` and `query`.
const LAUNCHER: &str = r#"#!/bin/sh
case $1 in
limits) echo '{}' ;;
submit) [ "$2" = --check ] || . "$LAB_DIR/submit" ;;
*) . "$LAB_DIR/$1" ;;
esac
"#;

/// Slurm's commands, of which a lab writes `sbatch` and `squeue`.
const SCONTROL: &str = "#!/bin/sh\necho 'KillWait = 30 sec'\n";
const SQUEUE: &str = "#!/bin/sh\n. \"$LAB_DIR/queue\"\n";
const SBATCH: &str = "#!/bin/sh\ncase \"$*\" in *--test-only*) exit 0 ;; esac\n. \"$LAB_DIR/batch\"\n";

fn lab() -> Lab {
    let lab = Lab::new();
    for (name, script) in
        [("run-launch-fake", LAUNCHER), ("scontrol", SCONTROL), ("squeue", SQUEUE), ("sbatch", SBATCH)]
    {
        lab.write(&format!("bin/{name}"), script);
        lab.set_mode(&format!("bin/{name}"), 0o755);
    }
    for run in ["a", "b"] {
        lab.new_run(run, &["true"]);
    }
    lab
}

fn cmd(lab: &Lab, program: &str) -> Cmd {
    let path = lab.own_path();
    lab.cmd(program).env("PATH", path).env("LAB_DIR", lab.dir()).env("XDG_RUNTIME_DIR", lab.dir())
}

/// Returns what run-status says of a run, and of the launcher.
fn told(lab: &Lab, run: &str) -> (String, String, String) {
    let done = cmd(lab, "run-status").args(["--json", run]).run().code(0);
    let status = &done.json_lines()[0];
    let word = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
    (word("status"), word("reason"), done.err())
}

#[test]
fn an_answer_that_comes_after_the_end_of_the_program_counts() {
    let lab = lab();
    lab.write("submit", "jq -c '{run_id, job: .name}'");
    cmd(&lab, "run-exec").args(["-q", "--launch", "fake", "a", "b"]).run().code(0).stderr("");
    lab.write("query", "{ sleep 0.4; echo '{\"job\":\"a\",\"state\":\"pending\"}'; } &");
    assert_eq!(told(&lab, "a"), ("queued".to_owned(), "job a is pending".to_owned(), String::new()));
}

#[test]
fn an_answer_that_does_not_end_is_none() {
    let lab = lab();
    lab.write("batch", "echo 7");
    cmd(&lab, "run-exec").args(["-q", "--slurm", "a"]).run().code(0).stderr("");
    lab.write("queue", "sleep 100 &");
    let (status, reason, said) = told(&lab, "a");
    assert_eq!((status.as_str(), reason.as_str()), ("queued", "job 7"));
    let why = "run-status: 'squeue' has ended, but something holds its output open; what is shown of queued runs is";
    assert!(said.starts_with(why), "{said}");
}

#[test]
fn jobs_that_were_started_before_a_launcher_failed_are_remembered() {
    let lab = lab();
    for failure in ["echo >&2 'disk full'; exit 3", "printf '{\"run_id\": \"'; exit 3"] {
        lab.write("submit", format!("head -n 1 | jq -c '{{run_id, job: \"7\"}}'; {failure}"));
        let done =
            cmd(&lab, "run-exec").args(["-q", "--launch", "fake", "--unfinished", "a", "b"]).run().code(5);
        done.stderr_has("run-exec: 1 run was not queued: 'run-launch-fake submit' failed: ");
        assert_eq!(lab.json("runs/a/.run/launch.json")["job"], "7");
        assert_eq!(lab.json("runs/a/.run/status.json")["status"], "queued");
        assert_eq!(lab.json("runs/b/.run/status.json")["status"], "created");
        assert!(!lab.path("runs/b/.run/launch.json").exists());
        lab.write("cancel", "");
        cmd(&lab, "run-stop").arg("a").run().code(0);
    }
}

#[test]
fn a_job_that_slurm_accepts_although_sbatch_fails_is_remembered() {
    let lab = lab();
    lab.write(
        "batch",
        "echo \"$*\" | tr ' ' '\\n' | sed -n 's/^--comment=//p' >\"$LAB_DIR/comment\"; exit 1",
    );
    lab.write("queue", "echo \"6|$(date +%s)|other\"; echo \"7|$(date +%s)|$(cat \"$LAB_DIR/comment\")\"");
    cmd(&lab, "run-exec").args(["-q", "--slurm", "a"]).run().code(0).stderr("");
    assert_eq!(lab.json("runs/a/.run/launch.json")["job"], "7");
    // A job of an hour ago with this comment is another.
    lab.write("queue", "echo \"7|$(($(date +%s) - 3600))|$(cat \"$LAB_DIR/comment\")\"");
    let done = cmd(&lab, "run-exec").args(["-q", "--slurm", "b"]).run().code(125);
    done.stderr("run-exec: Slurm does not accept the job: it does not say why\n");
    assert_eq!(lab.json("runs/b/.run/status.json")["status"], "created");
}

#[test]
fn one_question_is_for_all_whatever_options_they_were_submitted_with() {
    let lab = lab();
    lab.write("batch", "echo x >>\"$LAB_DIR/n\"; wc -l <\"$LAB_DIR/n\"");
    cmd(&lab, "run-exec").args(["-q", "--slurm=-t 1:00:00", "a"]).run().code(0).stderr("");
    cmd(&lab, "run-exec").args(["-q", "--slurm=-t 2:00:00", "b"]).run().code(0).stderr("");
    lab.write(
        "queue",
        "echo asked >>\"$LAB_DIR/asked\"; printf '1|0|PENDING|N/A|Priority\\n2|0|PENDING|N/A|Priority\\n'",
    );
    let done = cmd(&lab, "run-status").arg("--json").run().code(0).stderr("");
    let told: Vec<_> =
        done.json_lines().iter().map(|run| run["reason"].as_str().unwrap().to_owned()).collect();
    assert!(told.iter().all(|reason| reason.ends_with("is pending: Priority")), "{told:?}");
    assert_eq!(lab.read("asked"), "asked\n");
}

#[test]
fn slurm_is_asked_at_most_six_times_a_minute_whatever_number_of_tools_run() {
    for script in ["printf '1|0|PENDING|N/A|Priority\\n'", "sleep 100"] {
        let lab = lab();
        lab.write("batch", "echo 1");
        cmd(&lab, "run-exec").args(["-q", "--slurm", "a"]).run().code(0).stderr("");
        lab.write("queue", format!("echo asked >>\"$LAB_DIR/asked\"; {script}"));
        let started = Instant::now();
        for _ in 0..3 {
            let tools: Vec<_> = (0..8).map(|_| cmd(&lab, "run-status").spawn()).collect();
            for tool in tools {
                tool.wait().code(0);
            }
        }
        // However long that took, an answer was used for ten seconds.
        let asked = lab.read("asked").lines().count() as u64;
        assert!(asked <= started.elapsed().as_secs() / 10 + 1, "{asked}: {script}");
    }
}

#[test]
fn a_job_that_is_gone_at_two_looks_a_day_apart_is_lost() {
    let lab = lab();
    lab.write("batch", "echo 7");
    cmd(&lab, "run-exec").args(["-q", "--slurm", "a"]).run().code(0).stderr("");
    lab.write("queue", "");
    let (status, reason, _) = told(&lab, "a");
    let expected = "job 7 has ended: Slurm does not know it any more, and the run has not begun";
    assert_eq!((status.as_str(), reason.as_str()), ("queued", expected));
    age_answers(&lab, 86400);
    let (status, reason, _) = told(&lab, "a");
    let expected = "job 7 ended without starting the run: Slurm does not know it any more";
    assert_eq!((status.as_str(), reason.as_str()), ("dead", expected));
}

#[test]
fn a_run_of_another_host_is_dead_at_the_second_look_that_does_not_find_its_job() {
    let lab = lab();
    lab.write("batch", "echo 7");
    cmd(&lab, "run-exec").args(["-q", "--slurm", "a"]).run().code(0).stderr("");
    // The record of another run, as if a job on another host had begun this one.
    let exec = lab.cmd("run-exec").args(["-q", "b", "--", "sleep", "1000"]).spawn();
    lab.await_child("b");
    let mut record = lab.json("runs/b/.run/status.json");
    record["run_id"] = lab.json("runs/a/.run/launch.json")["run_id"].clone();
    record["host"] = "elsewhere".into();
    record["boot_id"] = "another".into();
    let mut beat = |seconds: i64| {
        let time = chrono::Utc::now() - chrono::TimeDelta::seconds(seconds);
        record["last_heartbeat"] = time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true).into();
        lab.write("runs/a/.run/status.json", record.to_string());
    };
    beat(200);
    lab.write("queue", "echo '7|0|RUNNING|N/A|None'");
    let (status, reason, _) = told(&lab, "a");
    assert!(
        status == "stale" && reason.starts_with("no heartbeat from elsewhere for "),
        "{status}: {reason}"
    );
    age_answers(&lab, 60);
    lab.write("queue", "echo '7|0|NODE_FAIL|N/A|None'");
    assert_eq!(told(&lab, "a").0, "stale", "one look is none");
    age_answers(&lab, 60);
    let gone = ("dead".to_owned(), "job 7 is gone: NODE_FAIL".to_owned(), String::new());
    assert_eq!(told(&lab, "a"), gone);
    age_answers(&lab, 60);
    beat(1);
    assert_eq!(told(&lab, "a").0, "running", "a heartbeat says more than Slurm");
    exec.signal(testkit::process::Signal::TERM);
    exec.wait().code(143);
}

#[test]
fn several_silent_launchers_cost_no_more_time_than_one() {
    let lab = lab();
    lab.write("submit", "jq -c '{run_id, job: .name}'");
    for (run, args) in [("a", "fake=1"), ("b", "fake=2")] {
        cmd(&lab, "run-exec").args(["-q", "--launch", args, run]).run().code(0).stderr("");
    }
    lab.write("query", "sleep 100");
    let begun = Instant::now();
    cmd(&lab, "run-status").args(["-a"]).run().code(0);
    let took = begun.elapsed().as_secs_f64();
    assert!((1.5..3.3).contains(&took), "{took}");
}
