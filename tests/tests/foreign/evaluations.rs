//! Evaluations that RL practice made, beside its runs.

use serde_json::json;
use testkit::Lab;
use testkit::foreign::{rl_evaluations, rl_practice};
use testkit::reports::{by_python, report};

/// Makes an evaluation in the documented form, whose config names this run, or none.
fn evaluate(lab: &Lab, name: &str, run: Option<&str>) {
    let top = format!("fs/eval_runs/{name}");
    let named = run.map(|run| format!("training_run: {run}\n")).unwrap_or_default();
    lab.write(&format!("{top}/eval_config.yaml"), format!("backbone: qwen\neval_dataset: x\n{named}"));
    lab.write(&format!("{top}/step_1_x/metrics.csv"), "q_idx,pass_rate\n0,0.5\n");
}

#[test]
fn evaluations_belong_to_the_run_with_the_longest_name_that_fits() {
    let lab = Lab::new();
    for run in ["run_1", "run_1_resumed", "run_1_resumed_again"] {
        rl_practice(&lab, "fs", run, &["10"], 2);
    }
    lab.write("fs/rl_runs/run_1_old/config.yaml", "total_steps: 5\n");
    lab.write("fs/rl_runs/run_1_old/train_log.jsonl", "{\"step\": 4, \"loss\": 0.5}\n");
    lab.write("fs/training_runs/run_1_notes/todo.txt", "no run\n");
    for (name, run) in [
        ("run_1_math", None),
        ("run_1_resumed_math", None),
        ("run_1_resumed_again_math", None),
        ("run_1_resumed_more_math", None),
        ("run_1_old_math", None),
        ("run_1_notes_math", None),
        ("run_1_resumed_named", Some("run_1")),
        ("run_1_resumed_other", Some("1_resumed")),
    ] {
        evaluate(&lab, name, run);
    }
    let rows = by_python(&lab, &report(&lab, &["-d", "fs", "--evals"]));
    let row = |run: &str, label: &str| json!([run, label]);
    let found: Vec<_> = rows.as_array().unwrap().iter().map(|of| json!([of["run"], of["label"]])).collect();
    let expected = [
        row("rl_runs/run_1_old", "math"),
        row("training_runs/run_1", "math"),
        row("training_runs/run_1", "notes_math"),
        row("training_runs/run_1", "resumed_named"),
        row("training_runs/run_1_resumed", "math"),
        row("training_runs/run_1_resumed", "more_math"),
        row("training_runs/run_1_resumed", "other"),
        row("training_runs/run_1_resumed_again", "math"),
    ];
    assert_eq!(found, expected);
    // The same of the runs by themselves, from wherever they are named.
    let one =
        lab.cmd("run-report").args(["--evals", "./run_1"]).cwd(lab.path("fs/training_runs")).run().code(0);
    assert_eq!(one.out().lines().count(), 1 + 3, "{}", one.out());
}

#[test]
fn evaluations_that_may_not_be_read_are_said_once() {
    let lab = Lab::new();
    rl_practice(&lab, "fs", "one", &["10"], 9);
    rl_practice(&lab, "fs", "two", &["10"], 9);
    for label in ["closed", "part", "table", "config", "fine"] {
        rl_evaluations(&lab, "fs", "one", label, true);
    }
    let said_of = |paths: &[&str], said: &str| {
        let said = said.replace("/.run': ", "': ");
        assert_eq!(said.lines().count(), paths.len(), "{said}");
        for path in paths {
            let expected = format!("cannot read 'fs/eval_runs{path}': Permission denied");
            assert_eq!(said.matches(&expected).count(), 1, "{path}: {said}");
        }
    };
    let shut = [
        "/one_closed",
        "/one_config/eval_config.yaml",
        "/one_part/step_20_part",
        "/one_table/step_10_table/metrics.csv",
    ];
    for path in shut {
        lab.set_mode(&format!("fs/eval_runs{path}"), 0);
    }
    let one = "fs/training_runs/one";
    for words in
        [&["--evals", one][..], &["--evals", "-d", "fs"], &["--format=csv", one], &["--compare", "-d", "fs"]]
    {
        let done = lab.cmd_by_somebody("run-report").args(words).run().code(3);
        said_of(&shut, &done.err());
        if words.contains(&"--evals") {
            assert_eq!(done.out().lines().count(), 1 + 6 + 3 + 3, "{}", done.out());
        }
    }
    let details = lab.cmd_by_somebody("run-status").arg(one).run().code(3);
    said_of(&shut, &details.err());
    lab.set_mode("fs/eval_runs", 0);
    let done = lab.cmd_by_somebody("run-report").args(["--evals", one, "fs/training_runs/two"]).run().code(3);
    assert!(done.err().contains("cannot read 'fs/eval_runs': Permission denied"), "{}", done.err());
    assert_eq!(done.err().matches("Permission denied").count(), 1, "{}", done.err());
}
