//! Which checkpoints run-eval evaluates, and where the results lie.

use serde_json::Value;
use std::fs;
use std::time::{Duration, SystemTime};
use testkit::Lab;
use testkit::evals::{SCRIPT, consolidated, ended, eval, save};

#[test]
fn what_was_evaluated_is_not_evaluated_again_unless_something_is_new() {
    let lab = Lab::new();
    ended(&lab, "r");
    save(&lab, "r", 1);
    save(&lab, "r", 2);
    let log = || lab.read("log").replace('\n', " ");
    eval(&lab, &["r"], SCRIPT).code(0);
    eval(&lab, &["r"], SCRIPT).code(0);
    assert_eq!(log(), "1 2 ");
    lab.write("runs/r/checkpoint-1/model.bin", "other weights");
    eval(&lab, &["r"], SCRIPT).code(0);
    assert_eq!(log(), "1 2 1 ");
    let args = ["--force", "--steps", "latest", "r"];
    eval(&lab, &args, &format!("{SCRIPT} && true")).code(0);
    eval(&lab, &["--force", "r"], SCRIPT).code(0);
    assert_eq!(log(), "1 2 1 2 1 2 ");
    eval(&lab, &["--label", "other", "r"], SCRIPT)
        .code(0)
        .stdout("eval_runs/r_other/consolidated_metrics.csv\n");
    assert_eq!(log(), "1 2 1 2 1 2 1 2 ");
    let done = eval(&lab, &["--json", "r"], SCRIPT).code(0);
    let lines = done.json_lines();
    let brief = |line: &Value| {
        let mean = line["metrics"]["acc"].as_f64();
        (
            line["step"].as_u64(),
            line["status"].clone(),
            line["evaluated"].clone(),
            line["rows"].as_u64(),
            mean,
        )
    };
    let expected = [(1, 0.1), (2, 0.2)]
        .map(|(step, mean)| (Some(step), "completed".into(), false.into(), Some(2), Some(mean)));
    assert_eq!(lines.iter().map(brief).collect::<Vec<_>>(), expected);
    // Its output is a list of runs.
    lab.cmd("run-status").args(["--json", "-"]).stdin(done.stdout).run().code(0);
}

#[test]
fn steps_are_chosen_by_number_and_by_name() {
    let lab = Lab::new();
    ended(&lab, "r");
    eval(&lab, &["r"], SCRIPT).code(3).stderr(
        "run-eval: cannot evaluate '/LAB/runs/r': there are no checkpoints\n"
            .replace("/LAB", lab.dir().to_str().unwrap())
            .as_str(),
    );
    let refused = |picks: &str, why: &str| {
        let expected = format!("run-eval: cannot evaluate '{}': {why}\n", lab.path("runs/r").display());
        eval(&lab, &["--steps", picks, "r"], SCRIPT).code(3).stderr(&expected);
    };
    std::os::unix::fs::symlink("/not/mounted", lab.path("runs/r/checkpoints")).unwrap();
    let unread = "skipping 'checkpoints': it cannot be read: No such file or directory";
    refused("all", &format!("no complete checkpoint has a step; {unread}"));
    lab.write("runs/r/checkpoint-4/trainer_state.json", "{}");
    let lacks = "skipping 'checkpoint-4': it holds no weights";
    refused("latest", &format!("no complete checkpoint has a step; {lacks}"));
    fs::remove_dir_all(lab.path("runs/r/checkpoint-4")).unwrap();
    fs::remove_file(lab.path("runs/r/checkpoints")).unwrap();
    lab.write("runs/r/best.pt", b"\x80\x04N.");
    refused("all", "no checkpoint has a step; try --steps final, best or last");
    fs::remove_file(lab.path("runs/r/best.pt")).unwrap();
    for step in [5, 10, 100] {
        save(&lab, "r", step);
    }
    for file in ["model/w", "optimizer.pt", "scheduler.pt"] {
        lab.write(&format!("runs/r/training_state/step_final/{file}"), b"\x80\x04N.");
    }
    lab.write("runs/r/training_state/step_final/model.bin", "x");
    lab.write("runs/r/training_state/step_final/training_info.json", "{\"step\": 100}");
    eval(&lab, &["--steps", "100,5", "r"], SCRIPT).code(0);
    eval(&lab, &["--steps", "latest", "--force", "r"], SCRIPT).code(0);
    assert_eq!(lab.read("log"), "5\n100\n100\n");
    eval(&lab, &["--steps", "10,11", "r"], SCRIPT).code(3).stderr_has("no checkpoint has step 11");
    eval(&lab, &["--steps", "best", "r"], SCRIPT).code(3).stderr_has("no checkpoint is called 'best'");
    // Of a step it is evaluated once, though it is the final one too.
    eval(&lab, &["r"], SCRIPT).code(0).stderr("");
    assert_eq!(lab.read("log"), "5\n100\n100\n10\n");
    eval(&lab, &["--steps", "final", "r"], SCRIPT).code(0).stderr("");
    assert!(lab.path("eval_runs/r_eval/step_final_eval/metrics.csv").exists());
    // The latest is a complete one, though another one of its step is not.
    let state = fs::read(lab.path("runs/r/checkpoint-100/trainer_state.json")).unwrap();
    lab.write("runs/r/checkpoint-100/trainer_state.json", "{");
    eval(&lab, &["--steps", "latest", "r"], SCRIPT).code(0).stderr("");
    lab.write("runs/r/checkpoint-100/trainer_state.json", state);
    // A checkpoint from elsewhere, with its step.
    lab.write("base/model.bin", "x");
    eval(&lab, &["--checkpoint", "base", "--steps", "0", "r"], SCRIPT).code(0).stderr("");
    eval(&lab, &["--checkpoint", "checkpoint-10", "--force", "r"], SCRIPT).code(0).stderr("");
    eval(&lab, &["--checkpoint", "nowhere", "r"], SCRIPT).code(3).stderr_has("no checkpoint 'nowhere'");
    let steps: Vec<String> =
        consolidated(&lab, "r").lines().map(|line| line.split(',').next().unwrap().to_owned()).collect();
    assert_eq!(steps, ["step", "0", "0", "5", "5", "10", "10", "100", "100", "100", "100"]);
    for wrong in
        [&["--steps", "x"][..], &["--label", "a/b"], &["-j", "2", "--gpus", "0"], &["--timeout", "0s"]]
    {
        lab.cmd("run-eval").args(wrong).args(["r", "--", "true"]).run().code(2);
    }
    lab.cmd("run-eval").args(["r", "--", "true", "{set:lr}"]).run().code(2).stderr_has("no override 'lr'");
    lab.cmd("run-eval").args(["nope", "--", "true"]).run().code(3);
    let expected = "run-eval: cannot execute 'nope': command not found\n";
    lab.cmd("run-eval").args(["r", "--", "nope"]).run().code(5).stderr(expected);
}

#[test]
fn results_lie_beside_the_runs_and_are_of_one_run() {
    let lab = Lab::new();
    ended(&lab, "r");
    save(&lab, "r", 1);
    eval(&lab, &["r"], SCRIPT).code(0);
    let id = lab.json("runs/r/.run/meta.json")["run_id"].clone();
    let identity = lab.json("eval_runs/r_eval/.eval/evaluations.json");
    let keys: Vec<&String> = identity.as_object().unwrap().keys().collect();
    let expected =
        ["schema", "run_id", "run_name", "run", "label", "command", "steps", "checkpoint", "timeout"];
    assert_eq!(
        (keys, &identity["run_id"], &identity["label"]),
        (
            expected.iter().map(|&key| key.to_owned()).collect::<Vec<_>>().iter().collect(),
            &id,
            &"eval".into()
        )
    );
    // The same for people, which nothing of ours reads.
    let config = lab.read("eval_runs/r_eval/eval_config.yaml");
    for line in [
        &format!("run_id: {id}\n"),
        "label: \"eval\"\n",
        "steps: \"all\"\n",
        "timeout: null\n",
        "command: [\"sh\",\"-c\",",
    ] {
        assert!(config.contains(line), "{config}");
    }
    // Another run of the same name does not get in between.
    fs::rename(lab.path("runs/r"), lab.path("runs/old")).unwrap();
    ended(&lab, "r");
    save(&lab, "r", 1);
    eval(&lab, &["r"], SCRIPT).code(3).stderr_has("it holds evaluations of another run of this name");
    lab.write("eval_runs/r_notes/text", "mine");
    eval(&lab, &["--label", "notes", "r"], SCRIPT)
        .code(3)
        .stderr_has("it holds files, and none names its run");
    eval(&lab, &["--eval-dir", "other", "r"], SCRIPT)
        .code(0)
        .stdout("other/r_eval/consolidated_metrics.csv\n");
    let command = ["r", "--", "sh", "-c", SCRIPT, "sh", "{checkpoint}", "{step}", "{out}"];
    lab.cmd("run-eval").env("EVAL_RUNS_DIR", lab.path("third")).args(command).run().code(0);
    assert!(lab.path("third/r_eval/consolidated_metrics.csv").exists());
    // Runs of a batch, and several from a pipe.
    lab.write("runs/grid/.batch/batch.json", "{}\n");
    let mut made = String::new();
    for run in ["a", "b"] {
        made += &lab.cmd("run-new").args(["-d", "runs/grid", "-n", run, "--", "true"]).run().code(0).out();
    }
    save(&lab, "grid/a", 3);
    save(&lab, "grid/b", 4);
    let done = lab
        .cmd("run-eval")
        .args(["-", "--", "sh", "-c", SCRIPT, "sh", "{checkpoint}", "{step}", "{out}"])
        .stdin(&made);
    let places =
        ["a", "b"].map(|run| format!("eval_runs/grid/{run}_eval/consolidated_metrics.csv\n")).concat();
    done.run().code(0).stdout(&places).stderr("");
    eval(&lab, &["grid"], SCRIPT).code(0).stdout(&places);
    // An evaluation is no run.
    let listed = lab.cmd("run-status").args(["-a", "--json", "-d", "eval_runs"]).run();
    assert_eq!(listed.out(), "");
}

#[test]
fn the_identity_of_evaluations_is_json_and_what_others_do_to_its_view_is_nothing_to_it() {
    let lab = Lab::new();
    ended(&lab, "r");
    save(&lab, "r", 1);
    eval(&lab, &["r"], SCRIPT).code(0);
    let view = lab.read("eval_runs/r_eval/eval_config.yaml");
    let has_evaluation = || lab.cmd("run-status").arg("r").run().code(0).out().contains("\nEVALUATION");
    for text in ["run_id: another\nlabel: other\n", "", "\0"] {
        lab.write("eval_runs/r_eval/eval_config.yaml", text);
        assert!(has_evaluation());
        eval(&lab, &["r"], SCRIPT).code(0).stderr("");
        assert_eq!(lab.read("eval_runs/r_eval/eval_config.yaml"), view);
    }
    assert_eq!(lab.read("log"), "1\n");
    // An identity that is damaged, or of a later version, is not guessed.
    let identity = "eval_runs/r_eval/.eval/evaluations.json";
    let good = lab.read(identity);
    eval(&lab, &["--label", "good", "r"], SCRIPT).code(0);
    for (text, why) in [
        (good[..100].to_owned(), "it is damaged"),
        (good.replace("\"schema\":1", "\"schema\":99"), "its schema is 99, but this version supports 1"),
    ] {
        lab.write(identity, &text);
        eval(&lab, &["r"], SCRIPT).code(3).stderr_has(why);
        assert_eq!(lab.read(identity), text);
        // Others are found all the same.
        let done = lab.cmd("run-report").arg("--evals").run().code(0).stderr_has(why);
        assert!(done.out().contains("r,good,1,0.1"), "{}", done.out());
    }
}

#[test]
fn evaluations_of_before_their_identity_was_json_are_found_and_get_one() {
    let lab = Lab::new();
    let fixture = testkit::checkout().join("tests/fixtures/evaluations-0.1/.");
    lab.cmd("cp").arg("-r").arg(fixture).arg(".").run().code(0);
    let identity = lab.path("eval_runs/old_math/.eval/evaluations.json");
    let listed = || lab.cmd("run-report").arg("--evals").run().code(0).stderr("").out();
    assert_eq!(listed(), "run,label,step,acc\nold,math,5,0.25\nold,math,5,0.75\n");
    assert!(lab.cmd("run-status").arg("old").run().code(0).out().contains("math"));
    assert!(!identity.exists(), "who reads writes nothing");
    // Of another run it is refused, as ever.
    ended(&lab, "other");
    save(&lab, "other", 5);
    fs::rename(lab.path("runs/old"), lab.path("runs/away")).unwrap();
    fs::rename(lab.path("runs/other"), lab.path("runs/old")).unwrap();
    eval(&lab, &["--label", "math", "old"], SCRIPT).code(3).stderr_has("of another run of this name");
    assert!(!identity.exists());
    fs::rename(lab.path("runs/old"), lab.path("runs/other")).unwrap();
    fs::rename(lab.path("runs/away"), lab.path("runs/old")).unwrap();
    // What was evaluated then is not evaluated again.
    let saved = lab.json("eval_runs/old_math/step_5_math/.eval/meta.json")["content"]["modified_ns"].as_u64();
    for name in ["model.bin", "trainer_state.json"] {
        let file =
            fs::File::options().write(true).open(lab.path("runs/old/checkpoint-5").join(name)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_nanos(saved.unwrap())).unwrap();
    }
    let before = lab.read("eval_runs/old_math/eval_config.yaml");
    let command = ["sh", "-c", "printf \"acc\\n0.25\\n0.75\\n\" > $EVAL_OUT/metrics.csv"];
    let done =
        lab.cmd("run-eval").args(["--json", "--label", "math", "old", "--"]).args(command).run().code(0);
    assert_eq!(done.json_lines()[0]["evaluated"], false, "{}", done.out());
    assert!(identity.exists());
    // The view is as it was, but for where the run is now.
    let after = lab.read("eval_runs/old_math/eval_config.yaml");
    let same = |text: &str| {
        text.lines()
            .filter(|line| !line.starts_with("run: ") && !line.starts_with('#'))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(same(&after), same(&before));
}
