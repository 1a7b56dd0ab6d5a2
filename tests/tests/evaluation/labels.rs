//! Labels of evaluations: each belongs to one command, so that no table mixes results of two.

use serde_json::Value;
use testkit::{Done, Lab};

fn run_with_checkpoints(lab: &Lab, steps: &[u64]) {
    lab.new_run("r", &["true"]);
    lab.cmd("run-exec").args(["-q", "r"]).run().code(0);
    for step in steps {
        lab.write(&format!("runs/r/model_{step}.pt"), b"\x80\x04N.");
    }
}

fn eval(lab: &Lab, options: &[&str], data: &str) -> Done {
    let script = "echo \"{\\\"x\\\": \\\"$2$1\\\"}\"";
    lab.cmd("run-eval").args(options).args(["r", "--", "sh", "-c", script, "sh", "{step}", data]).run()
}

fn table(lab: &Lab, label: &str) -> String {
    lab.read(&format!("eval_runs/r_{label}/consolidated_metrics.csv"))
}

#[test]
fn a_second_command_is_refused_unless_it_is_forced_or_has_a_label_of_its_own() {
    let lab = Lab::new();
    run_with_checkpoints(&lab, &[5, 10]);
    eval(&lab, &[], "a").code(0).stderr("");
    let identity = lab.read("eval_runs/r_eval/.eval/evaluations.json");
    let root = lab.path("eval_runs/r_eval").display().to_string();
    let command = "sh -c 'echo \"{\\\"x\\\": \\\"$2$1\\\"}\"' sh '{step}' a";
    eval(&lab, &["--steps", "10"], "b").code(3).stdout("").stderr(&format!(
        "run-eval: cannot write to '{root}': the label 'eval' belongs to another command: {command}\n\
         run-eval: use another --label to keep both, or --force to set the old results aside\n"
    ));
    assert_eq!(table(&lab, "eval"), "step,x\n5,a5\n10,a10\n");
    assert_eq!(lab.read("eval_runs/r_eval/.eval/evaluations.json"), identity);
    // Errors in the command line are reported first.
    lab.cmd("run-eval").args(["--force", "r", "--", "nope"]).run().code(5);
    assert_eq!(table(&lab, "eval"), "step,x\n5,a5\n10,a10\n");
    eval(&lab, &["--label", "b"], "b").code(0).stderr("");
    assert_eq!(table(&lab, "b"), "step,x\n5,b5\n10,b10\n");
    let forced = eval(&lab, &["--force", "--steps", "10"], "b").code(0);
    assert_eq!(
        forced.err(),
        format!("run-eval: set aside 2 results in '{root}', made by another command: {command}\n")
    );
    assert_eq!(table(&lab, "eval"), "step,x\n10,b10\n");
    assert_eq!(lab.read("eval_runs/r_eval/step_5_eval/.eval/attempt-1/stdout.log"), "{\"x\": \"a5\"}\n");
    // Nobody else takes what was set aside for a result.
    let shown = lab.cmd("run-status").arg("r").run().code(0).out();
    let rows = shown.lines().filter(|line| line.starts_with("eval "));
    assert_eq!(rows.count(), 1, "{shown}");
    // Now the label is that of the new command, which makes the rest.
    eval(&lab, &[], "a").code(3);
    eval(&lab, &[], "b").code(0).stderr("");
    assert_eq!(table(&lab, "eval"), "step,x\n5,b5\n10,b10\n");
    assert_eq!(lab.json("eval_runs/r_eval/step_5_eval/.eval/status.json")["attempt"], 2);
}

#[test]
fn a_command_that_has_completed_nothing_has_no_claim_to_its_label() {
    let lab = Lab::new();
    run_with_checkpoints(&lab, &[5]);
    lab.cmd("run-eval").args(["r", "--", "false"]).run().code(1);
    eval(&lab, &[], "a").code(0).stderr("");
    assert_eq!(table(&lab, "eval"), "step,x\n5,a5\n");
}

#[test]
fn of_several_runs_those_are_evaluated_whose_label_is_free() {
    let lab = Lab::new();
    run_with_checkpoints(&lab, &[5]);
    eval(&lab, &[], "a").code(0);
    lab.new_run("s", &["true"]);
    lab.write("runs/s/model_7.pt", b"\x80\x04N.");
    let done = lab.cmd("run-eval").args(["--json", "r", "s", "--", "echo", "{\"y\": 1}"]).run().code(3);
    let lines: Vec<Value> = done.json_lines();
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["run_name"], &lines[0]["step"]), (&"s".into(), &7.into()));
    assert!(done.err().contains("the label 'eval' belongs to another command"), "{}", done.err());
}
