//! Evaluations by jobs of Slurm and of other launchers: a job for each run. The Slurm is a real one.

use std::collections::BTreeSet;
use testkit::evals::{SCRIPT, consolidated, ended, no_pins, save};
use testkit::slurm::Cluster;
use testkit::{Cmd, Lab, wait_for};

fn eval(lab: &Lab, cluster: &Cluster, args: &[&str], script: &str) -> Cmd {
    let command = ["--", "sh", "-c", script, "sh", "{checkpoint}", "{step}", "{out}"];
    cluster.cmd(lab, "run-eval").args(args).args(command)
}

fn launch(lab: &Lab, run: &str) -> std::path::PathBuf {
    lab.path(format!("eval_runs/{run}_eval/.eval/launch.json"))
}

#[test]
fn each_run_is_evaluated_by_a_job_and_the_same_command_completes_what_is_missing() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    for run in ["a", "b c", "none"] {
        ended(&lab, run);
    }
    for (run, step) in [("a", 5), ("a", 10), ("b c", 7)] {
        save(&lab, run, step);
    }
    let script = format!("echo in >>tally; sleep 0.2; {SCRIPT}; echo out >>tally");
    let args = ["--slurm=-t 5", "-j", "1", "--wait", "a", "b c"];
    let done = eval(&lab, cluster, &args, &script).run().code(0);
    done.stdout("eval_runs/a_eval/consolidated_metrics.csv\neval_runs/b c_eval/consolidated_metrics.csv\n");
    assert_eq!(consolidated(&lab, "a"), "step,acc,n\n5,0.5,1\n5,NaN,\n10,0.10,1\n10,NaN,\n");
    assert_eq!(consolidated(&lab, "b c"), "step,acc,n\n7,0.7,1\n7,NaN,\n");
    assert_eq!(lab.read("tally"), "in\nout\n".repeat(3), "one at a time");
    let start = &lab.json_lines("eval_runs/a_eval/step_5_eval/.eval/attempts.jsonl")[0];
    assert!(
        start["job"]["id"].as_str().unwrap().ends_with("_0") && start["job"]["node"].is_string(),
        "{start}"
    );
    for run in ["a", "b c"] {
        no_pins(&lab, run);
        assert!(!launch(&lab, run).exists());
    }
    let left: BTreeSet<_> = std::fs::read_dir(lab.path("eval_runs/a_eval/.eval"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left, ["evaluations.json", "job.log"].map(str::to_owned).into(), "nothing of Slurm is left");
    // Nothing is left to do but for one.
    save(&lab, "a", 20);
    let done = eval(&lab, cluster, &args, &script).run().code(0);
    let told = done.err();
    assert!(told.starts_with(
        "run-eval: 'b c' has nothing to evaluate\nrun-eval: queued the evaluations of 1 run: job "
    ));
    assert_eq!(lab.read("tally"), "in\nout\n".repeat(4));
    eval(&lab, cluster, &["--slurm", "none"], &script).run().code(3).stderr_has("there are no checkpoints");
}

#[test]
fn what_fails_in_a_job_is_told_and_a_run_that_is_queued_is_not_submitted_twice() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    ended(&lab, "r");
    save(&lab, "r", 5);
    let script = "exit 3";
    let done = eval(&lab, cluster, &["--slurm", "--wait", "r"], script).run().code(1);
    assert!(done.err().ends_with("run-eval: 'r' step_5_eval: failed: exit 3\n"), "{}", done.err());
    let done = eval(&lab, cluster, &["--slurm=--hold", "r"], script).run().code(0);
    let id = lab.json("eval_runs/r_eval/.eval/launch.json")["job"].as_str().unwrap().to_owned();
    done.stderr(&format!("run-eval: queued the evaluations of 1 run: job {id}\n"));
    let again = eval(&lab, cluster, &["--slurm", "r"], script).run().code(0);
    again.stderr(&format!("run-eval: skipping 'r': job {id} is pending\n"));
    let waits = eval(&lab, cluster, &["--slurm", "r"], script);
    cluster.ask(&["scancel", &id]);
    waits.run().code(0).stderr_has("queued the evaluations of 1 run");
    wait_for("the job to end", || !launch(&lab, "r").exists());
    let refused = eval(&lab, cluster, &["--slurm=-p none", "r"], script).run().code(5);
    refused.stderr_has("run-eval: Slurm does not accept the job: ").stderr_has("nvalid partition");
    assert!(!launch(&lab, "r").exists());
    let without = eval(&lab, cluster, &["--label", "other", "--slurm", "r"], script);
    let path = format!("{}:{}", lab.path("bin").display(), testkit::bin().display());
    std::fs::create_dir(lab.path("bin")).unwrap();
    std::os::unix::fs::symlink("/bin/sh", lab.path("bin/sh")).unwrap();
    without.env("PATH", path).run().code(5).stderr_has("cannot find 'sbatch': it is not on the PATH");
}

#[test]
fn an_evaluation_by_another_launcher_records_its_job() {
    let lab = Lab::new();
    ended(&lab, "r");
    save(&lab, "r", 5);
    let launcher = r#"#!/bin/sh
case $1$2 in
limits) echo '{}' ;;
submit--check) ;;
submit)
    read -r job
    echo "$job" | jq -r '.command | map(@sh) | join(" ")' >"$LAB_DIR/command"
    RUN_LAUNCH_JOB=j7 setsid sh "$LAB_DIR/command" </dev/null >/dev/null 2>&1 &
    echo "$job" | jq -c '{run_id, job: "j7"}'
    ;;
*) jq -c '{job, state: "unknown"}' ;;
esac
"#;
    lab.write("bin/run-launch-fake", launcher);
    lab.set_mode("bin/run-launch-fake", 0o755);
    let path = lab.own_path();
    let command = ["--", "sh", "-c", SCRIPT, "sh", "{checkpoint}", "{step}", "{out}"];
    let done = lab.cmd("run-eval").env("PATH", path).env("LAB_DIR", lab.dir());
    let done = done.env("XDG_RUNTIME_DIR", lab.dir()).args(["--launch", "fake", "--wait", "r"]);
    done.args(command).run().code(0);
    let start = &lab.json_lines("eval_runs/r_eval/step_5_eval/.eval/attempts.jsonl")[0];
    assert_eq!((&start["job"]["launcher"], &start["job"]["id"]), (&"fake".into(), &"j7".into()), "{start}");
}
