//! `run-new --adopt`: runs of other systems get a record of their own, their files stay as they are, and they go on as
//! runs of ours.

use serde_json::{Value, json};
use std::fs;
use testkit::Lab;
use testkit::checkpoints::torch;
use testkit::foreign::{
    age, connect4, connect4_status, experiments, rl_evaluations, rl_practice, short_rows, stealthrl,
};
use testkit::process::Signal;
use testkit::reports::{by_python, report};
use testkit::trackers::{DATASTORE, RUNS, assert_same, ecosystem, series};

#[test]
fn adopted_runs_tell_the_same_as_before_and_are_given_back_by_removing_the_record() {
    let lab = Lab::new();
    stealthrl(&lab, "runs/stealth", &json!({}), &short_rows(3));
    experiments(&lab, "runs/batch");
    connect4(&lab, "runs/c4", &connect4_status("running", 600), None);
    rl_practice(&lab, "runs", "run_2025-08-19_12-34-56", &["10", "20"], 9);
    age(&lab, "runs", 600);
    let directories = [
        "runs/stealth",
        "runs/batch/easy",
        "runs/batch/hard",
        "runs/c4",
        "runs/training_runs/run_2025-08-19_12-34-56",
    ];
    let told = || {
        let listed = lab.cmd("run-status").arg("--json").args(directories).run().code(0).json_lines();
        let wanted =
            ["status", "start_time", "step", "total_steps", "metrics", "recent", "exit_code", "command"];
        let of = |run: &Value| wanted.map(|key| run[key].clone());
        listed.iter().map(of).collect::<Vec<_>>()
    };
    let (before, rows) = (told(), report(&lab, &["--metrics"]));
    let adopted = lab.cmd("run-new").arg("--adopt").args(directories).run().code(0);
    assert_eq!(adopted.out(), directories.map(|path| format!("{path}\n")).concat());
    let mut after = told();
    for (number, (before, after)) in before.iter().zip(&mut after).enumerate() {
        // What is in doubt, or dead, is recorded to have failed.
        if number >= 3 {
            assert_eq!(after[0], "failed");
            after[0] = before[0].clone();
        }
        assert_eq!(before, after, "{}", directories[number]);
    }
    assert_eq!(by_python(&lab, &report(&lab, &["--metrics"])), by_python(&lab, &rows));
    let status = lab.status("runs/c4");
    assert_eq!(
        (&status["reason"], &status["attempt"]),
        (&json!("its process has ended and did not say how"), &json!(1))
    );
    assert_eq!(lab.json("runs/c4/.run/meta.json")["config_file"], "config.yaml");
    let again = lab.cmd("run-new").args(["--adopt", "runs/c4"]).run().code(1);
    assert_eq!(again.err(), "run-new: cannot adopt 'runs/c4': it already has a record of its own\n");
    for directory in directories {
        fs::remove_dir_all(lab.path(format!("{directory}/.run"))).unwrap();
    }
    assert_eq!(told(), before);
}

#[test]
fn copies_of_runs_that_do_not_tell_their_start_keep_all_else_when_they_are_adopted() {
    let lab = Lab::new();
    ecosystem(&lab, "made");
    lab.cmd("cp").args(["-a", "made", "runs"]).run().code(0);
    age(&lab, "runs", 600);
    let runs = RUNS.map(|run| format!("runs/{run}"));
    let listed = || lab.cmd("run-status").arg("--json").args(&runs).run().code(0).json_lines();
    let before = listed();
    let untold = runs.iter().zip(&before).filter(|(_, run)| run["start_time"].is_null());
    assert_eq!(untold.map(|(run, _)| &run[5..]).collect::<Vec<_>>(), ["diffusion", "fit", "hf", "out"]);
    lab.cmd("run-new").arg("--adopt").args(&runs).run().code(0).stderr("");
    for ((run, before), after) in runs.iter().zip(&before).zip(&listed()) {
        for key in ["step", "total_steps", "metrics", "recent", "exit_code", "signal", "command", "run_name"]
        {
            assert_eq!(before[key], after[key], "{run}: {key}");
        }
        for key in ["start_time", "end_time", "duration_s"].into_iter().filter(|key| !before[key].is_null()) {
            assert_eq!(before[key], after[key], "{run}: {key}");
        }
        let was = if before["status"] == "stale" { &json!("failed") } else { &before["status"] };
        assert_eq!(&after["status"], was, "{run}");
        let times = [&after["start_time"], &after["end_time"]].map(Value::as_str);
        assert!(
            !before["start_time"].is_null() || times[0].is_some() && times[0] <= times[1],
            "{run}: {times:?}"
        );
        assert_eq!(after["attempt"], 1, "{run}");
        assert_eq!(lab.json_lines(&format!("{run}/.run/attempts.jsonl")).len(), 2, "{run}");
    }
    // Without --resume, none of them starts again.
    lab.cmd("run-exec").args(["runs/hf", "--", "true"]).run().code(125).stderr_has("completed");
}

#[test]
fn an_adopted_run_goes_on() {
    let lab = Lab::new();
    connect4(&lab, "runs/c4", &connect4_status("stopped", 600), None);
    let script =
        "echo $RUN_ATTEMPT $RUN_RESUME_FROM >args; echo 300,12,0.75,0.5 >>$RUN_DIR/metrics.csv; cat {config}";
    let line = ["--adopt", "--tag", "old", "runs/c4", "--", "sh", "-c", script];
    let created = lab.cmd("run-new").arg("--json").args(line).run().code(0).json_lines();
    assert_eq!((&created[0]["tags"], &created[0]["run_name"]), (&json!(["old"]), &json!("c4")));
    assert!(created[0]["path"].as_str().unwrap().ends_with("/runs/c4"));
    lab.cmd("run-exec").args(["-q", "--resume", "c4"]).run().code(0);
    let resumed = lab.path("runs/c4/checkpoints/model_200.pt");
    assert_eq!(lab.read("args"), format!("2 {}\n", resumed.display()));
    assert!(lab.read("runs/c4/stdout.log").starts_with("seed: 42\n"));
    let status = lab.status("runs/c4");
    assert_eq!((&status["status"], &status["step"]), (&json!("completed"), &json!(300)));
    assert_eq!(status["metrics"]["reward"]["count"], 2);
    let attempts = lab.json_lines("runs/c4/.run/attempts.jsonl");
    assert_eq!(
        attempts.iter().map(|line| line["attempt"].as_u64().unwrap()).collect::<Vec<_>>(),
        [1, 1, 2, 2]
    );
}

#[test]
fn a_run_that_was_adopted_without_a_command_is_resumed_by_one_that_is_given() {
    let lab = Lab::new();
    let run = "localfs/training_runs/run_2025-08-19_12-34-56";
    rl_practice(&lab, "localfs", "run_2025-08-19_12-34-56", &["10", "20"], 9);
    age(&lab, "localfs", 600);
    lab.cmd("run-new").args(["--adopt", run]).run().code(0);
    for words in [&["--resume"][..], &["--resume", "-q"], &["--resume", "--detach"], &["--unfinished"]] {
        let refused = lab.cmd("run-exec").args(words).arg(run).run().code(125);
        let why = "no command was recorded, and none was given\nrun-exec: give a command after --\n";
        assert_eq!(refused.err(), format!("run-exec: no command for '{}': {why}", lab.path(run).display()));
    }
    let words = ["-q", "--resume", run, "--", "sh", "-c", "echo {checkpoint} >at"];
    lab.cmd("run-exec").args(words).run().code(0);
    assert!(lab.read("at").ends_with("/training_state/step_20\n"));
    // The next attempt has the command of this one.
    lab.cmd("run-exec").args(["-q", "--resume", run]).run().code(0);
}

#[test]
fn what_is_at_work_or_is_no_run_is_not_adopted() {
    let lab = Lab::new();
    stealthrl(&lab, "runs/works", &json!({"status": "running", "end_time": Value::Null}), &short_rows(1));
    lab.write("runs/data/0.jpg", "");
    let refused = lab.cmd("run-new").args(["--adopt", "runs/works"]).run().code(4);
    assert_eq!(
        refused.err(),
        "run-new: cannot adopt 'runs/works': it is running\nrun-new: adopt it after it has ended\n"
    );
    lab.cmd("run-new").args(["--adopt", "runs/data"]).run().code(3).stderr_has("no known layout");
    lab.cmd("run-new").arg("--adopt").run().code(2).stderr_has("--adopt takes the directories of runs");
    lab.cmd("run-new").args(["--adopt", "-s", "lr=1", "runs/works"]).run().code(2);
    for run in ["works", "data"] {
        assert!(!lab.path(format!("runs/{run}/.run")).exists());
        let left = fs::read_dir(lab.path(format!("runs/{run}"))).unwrap().flatten();
        assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().starts_with('.')));
    }
}

#[test]
fn settings_are_as_before_and_secrets_are_not_recorded() {
    let lab = Lab::new();
    stealthrl(&lab, "runs/stealth", &json!({"lr": 1e-4, "hf_token": "s3cret-of-stealth"}), &short_rows(2));
    ecosystem(&lab, "runs");
    lab.write("runs/mlruns/1/0a/params/api_key", "s3cret-of-mlflow");
    lab.write("runs/mlruns/1/0a/tags/auth_token", "s3cret-of-a-tag");
    lab.write("runs/.guild/runs/0b/.guild/attrs/flags", "lr: 0.1\npassword: s3cret-of-guild\n");
    lab.write("runs/.guild/runs/0b/.guild/attrs/cmd", "- python\n- train.py\n- --api-key=s3cret-of-guild\n");
    let runs =
        ["stealth", "mlruns/1/0a", DATASTORE.0, "sacred/1", ".guild/runs/0b", "outputs/2026-01-29/12-00-00"];
    let columns = "lr,batch_size,hf_token,api_key,password,model.depth,seed,command";
    age(&lab, "runs", 600);
    let told = || {
        let words = ["--format", "json", "--columns", columns];
        let report = lab.cmd("run-report").args(words).args(runs).run().code(0);
        report.json_lines()
    };
    let before = told();
    assert_eq!((&before[0]["batch_size"], &before[1]["lr"]), (&json!(8), &json!(0.1)), "{before:#?}");
    lab.cmd("run-new").arg("--adopt").args(runs.map(|run| format!("runs/{run}"))).run().code(0);
    assert_eq!(told(), before);
    for run in runs {
        let found = lab.cmd("grep").args(["-rl", "s3cret", &format!("runs/{run}/.run")]).run();
        assert_eq!((found.code, found.out()), (1, String::new()), "{run}");
    }
    assert_eq!(lab.json("runs/stealth/.run/meta.json")["system"], "StealthRL");
    // The options of another command outrank what was recorded.
    fs::remove_dir_all(lab.path("runs/stealth/.run")).unwrap();
    lab.cmd("run-new")
        .args(["--adopt", "runs/stealth", "--", "true", "--lr=2", "--api-key=s3cret"])
        .run()
        .code(0);
    let report = lab.cmd("run-report").args(["--format", "json", "--columns", "lr,batch_size", "stealth"]);
    let report = report.run().code(0).json_lines().remove(0);
    assert_eq!((&report["lr"], &report["batch_size"]), (&json!(2), &json!(8)));
    assert!(!lab.read("runs/stealth/.run/meta.json").contains("s3cret"));
}

#[test]
fn rows_in_a_format_of_their_own_are_copied_and_the_run_goes_on() {
    let lab = Lab::new();
    ecosystem(&lab, "runs");
    let runs = ["mlruns/1/0a", DATASTORE.0, "sacred/1"].map(|run| format!("runs/{run}"));
    let rows = || runs.each_ref().map(|run| series(&lab, run));
    let before = rows();
    assert!(before.iter().all(|series| series.contains_key("loss")), "{before:?}");
    lab.cmd("run-new").arg("--adopt").args(&runs).run().code(0);
    for (now, before) in rows().iter().zip(&before) {
        assert_same(now, before);
    }
    for run in &runs {
        let words = ["--adopt", run, "--", "sh", "-c", "echo '{\"step\": 900, \"loss\": 0.125}'"];
        fs::remove_dir_all(lab.path(format!("{run}/.run"))).unwrap();
        lab.cmd("run-new").args(words).run().code(0);
        lab.cmd("run-exec").args(["-q", "--resume", run]).run().code(0);
        assert_eq!(lab.status(run)["step"], 900, "{run}");
    }
    for (now, mut before) in rows().into_iter().zip(before) {
        before.get_mut("loss").unwrap().push((900.0, 0.125));
        assert_same(&now, &before);
    }
}

#[test]
fn a_silent_run_whose_process_lives_is_not_adopted() {
    let lab = Lab::new();
    let trainer = lab.cmd("sleep").arg("1000").spawn();
    connect4(&lab, "runs/hangs", &connect4_status("running", 300), Some(&trainer.pid().to_string()));
    // What cannot be read may name a process that lives.
    connect4(&lab, "runs/unknown", &connect4_status("running", 300), None);
    fs::create_dir(lab.path("runs/unknown/pid")).unwrap();
    for run in ["runs/hangs", "runs/unknown"] {
        assert_eq!(
            lab.cmd("run-status").args(["--json", run]).run().code(0).json_lines()[0]["status"],
            "stale"
        );
        let refused = lab.cmd("run-new").args(["--adopt", run]).run().code(4);
        assert_eq!(
            refused.err(),
            format!(
                "run-new: cannot adopt '{run}': its process may still live\nrun-new: adopt it after it has ended\n"
            )
        );
    }
    trainer.signal(Signal::KILL);
    trainer.wait();
    lab.cmd("run-new").args(["--adopt", "runs/hangs"]).run().code(0);
}

/// Returns the ids of runs, by their order.
fn ids(lab: &Lab, runs: &[String]) -> Vec<Value> {
    let listed = lab.cmd("run-status").arg("--json").args(runs).run().code(0).json_lines();
    listed.into_iter().map(|run| run["run_id"].clone()).collect()
}

#[test]
fn evaluations_are_as_before_the_adoption_and_as_after_it() {
    let lab = Lab::new();
    let names = ["run_2025-08-19_12-34-56", "run_2025-08-20_12-34-56"];
    for (name, is_documented) in names.into_iter().zip([true, false]) {
        rl_practice(&lab, "localfs", name, &["10", "20"], 30);
        rl_evaluations(&lab, "localfs", name, "gsm8k", is_documented);
    }
    ecosystem(&lab, "localfs/others");
    let mut runs = names.map(|name| format!("localfs/training_runs/{name}")).to_vec();
    runs.extend(["hf", "lightning_logs/version_0"].map(|run| format!("localfs/others/{run}")));
    lab.write("localfs/others/hf/checkpoint-20/pytorch_model.bin", torch());
    lab.write("localfs/others/lightning_logs/version_0/checkpoints/epoch=0-step=1.ckpt", torch());
    age(&lab, "localfs", 600);
    let evaluate = |steps: &str| {
        let words = ["--label", "mine", "--steps", steps];
        let command = ["--", "sh", "-c", "echo '{\"acc\": 0.5}'"];
        lab.cmd("run-eval").args(words).args(&runs).args(command).run().code(0);
    };
    let rows = || lab.cmd("run-report").arg("--evals").args(&runs).run().code(0).stderr("").out();
    let shown = || {
        let of = |run: &String| {
            let details = lab.cmd("run-status").arg(run).run().code(0).out();
            details.split("EVALUATION").nth(1).unwrap().split("\n\n").next().unwrap().to_owned()
        };
        runs.iter().map(of).collect::<Vec<_>>()
    };
    evaluate("latest");
    let before = (ids(&lab, &runs), rows(), shown());
    assert!(before.2[0].contains("gsm8k") && before.2[0].contains("mine"), "{}", before.2[0]);
    assert!(before.1.lines().count() >= 16, "{}", before.1);
    lab.cmd("run-new").arg("--adopt").args(&runs).run().code(0);
    assert_eq!((ids(&lab, &runs), rows(), shown()), before);
    // The label is that of the same run, before and after.
    evaluate("all");
    let all = (rows(), shown());
    assert!(all.0.lines().count() > before.1.lines().count(), "{}", all.0);
    for run in &runs {
        fs::remove_dir_all(lab.path(format!("{run}/.run"))).unwrap();
    }
    assert_eq!((ids(&lab, &runs), rows(), shown()), (before.0, all.0, all.1));
    evaluate("all");
}

#[test]
fn backups_are_of_the_same_run_before_the_adoption_after_it_and_after_undoing_it() {
    let lab = Lab::new();
    stealthrl(&lab, "runs/stealth", &json!({}), &short_rows(3));
    connect4(&lab, "runs/c4", &connect4_status("stopped", 600), None);
    ecosystem(&lab, "runs");
    lab.write("runs/mlruns/1/0c/params/lr", "0.1");
    lab.write("runs/mlruns/1/0c/metrics/loss", "1769688000000 0.5 1\n");
    lab.write("runs/mlruns/1/0c/tags/mlflow.runName", "g");
    // An id that is none of ours is replaced, the same wherever it is read.
    lab.write(
        "runs/mlruns/1/0c/meta.yaml",
        "run_id: \"../../x\\0y\"\nrun_name: g\nstart_time: 1769688000000\nend_time: 1769688010000\nstatus: 3\n",
    );
    age(&lab, "runs", 600);
    fs::create_dir(lab.path("store")).unwrap();
    let list = ["stealth", "c4", "mlruns/1/0c"].into_iter().chain(RUNS);
    let runs: Vec<String> = list.map(|run| format!("runs/{run}")).collect();
    let backup = || {
        lab.cmd("run-sync").args(["backup", "--to", "store"]).args(&runs).run().code(0);
        ids(&lab, &runs)
    };
    let before = backup();
    assert!(before.iter().all(|id| !id.as_str().unwrap().contains('/')), "{before:?}");
    lab.cmd("run-new").arg("--adopt").args(&runs).run().code(0);
    assert_eq!(backup(), before);
    for run in &runs {
        fs::remove_dir_all(lab.path(format!("{run}/.run"))).unwrap();
    }
    assert_eq!(backup(), before);
    lab.cmd("run-sync").args(["verify", "--from", "store", "--all"]).run().code(0);
}

#[test]
fn logs_are_as_before_the_adoption_and_further_attempts_follow_them() {
    let lab = Lab::new();
    stealthrl(&lab, "runs/stealth", &json!({"status": "failed"}), &short_rows(3));
    experiments(&lab, "runs/batch");
    rl_practice(&lab, "runs", "run_2025-08-19_12-34-56", &["10", "20"], 9);
    ecosystem(&lab, "runs");
    lab.write("runs/jobs/12_0_log.err", "Traceback (most recent call last):\nValueError: of jobs\n");
    lab.write("runs/jobs/12_0_result.pkl", "\u{4}\u{95}\u{7}error");
    age(&lab, "runs", 600);
    let four = ["stealth", "batch/moderate", "batch/last", "training_runs/run_2025-08-19_12-34-56"];
    let runs: Vec<String> = four.into_iter().chain(RUNS).map(|run| format!("runs/{run}")).collect();
    let log = |run: &str, which: &str| {
        let done = lab.cmd("run-status").args([which, run]).run();
        (done.code, done.out(), done.err())
    };
    let logs = || {
        let of = |run: &String| ["--log", "--log=stdout", "--log=stderr"].map(|which| log(run, which));
        runs.iter().map(of).collect::<Vec<_>>()
    };
    let last_lines = || {
        let of = |run: &str| lab.cmd("run-status").arg(run).run().code(0).out();
        ["runs/stealth", "runs/batch/moderate", "runs/jobs"]
            .map(|run| of(run).lines().last().unwrap().to_owned())
    };
    let before = (logs(), last_lines());
    assert!(before.0.iter().filter(|[combined, ..]| combined.1.contains("printed")).count() >= 4);
    assert_eq!(before.1, ["step 1", "RuntimeError: boom", "ValueError: of jobs"]);
    lab.cmd("run-new").arg("--adopt").args(&runs).run().code(0);
    assert_eq!((logs(), last_lines()), before);
    lab.cmd("run-report").args(["--html", "page.html", "runs/stealth", "runs/jobs"]).run().code(0);
    assert!(["step 1", "ValueError: of jobs"].iter().all(|line| lab.read("page.html").contains(line)));
    let script = "echo more; echo worse >&2; [ ! -e training.log ] || echo of its own >>training.log";
    for (run, [combined, out, err]) in runs.iter().zip(&before.0) {
        let words = ["-q", "--resume", run, "--", "sh", "-c", &format!("cd $RUN_DIR; {script}; exit 1")];
        lab.cmd("run-exec").args(words).run().code(1);
        let now = log(run, "--log");
        let rest = now.1.strip_prefix(&*combined.1).unwrap_or_else(|| panic!("{run}: {now:?}"));
        assert!(["more\nworse\n", "worse\nmore\n"].contains(&rest), "{run}: {now:?}");
        assert_eq!(log(run, "--log=stdout"), (0, format!("{}more\n", out.1), String::new()), "{run}");
        assert_eq!(log(run, "--log=stderr"), (0, format!("{}worse\n", err.1), String::new()), "{run}");
    }
    assert_eq!(last_lines(), ["worse", "worse", "worse"]);
}
