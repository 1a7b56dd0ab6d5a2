//! `run-eval` without a command repeats the command that is recorded for the label.

use testkit::Lab;

/// Makes a completed run with a checkpoint of step 1.
fn trained(lab: &Lab, args: &[&str]) {
    let command = "mkdir $RUN_DIR/checkpoint-1; echo x >$RUN_DIR/checkpoint-1/model.bin; \
                   echo {} >$RUN_DIR/checkpoint-1/trainer_state.json";
    let made = lab.cmd("run-new").args(args).args(["--", "sh", "-c", command]).run().code(0).out();
    lab.cmd("run-exec").arg("-").stdin(made).run().code(0);
}

#[test]
fn the_command_of_the_label_is_repeated() {
    let lab = Lab::new();
    for args in
        [&["-n", "a"][..], &["-n", "b"], &["-b=many", "-n", "c"], &["-b=many", "--exist-ok", "-n", "d"]]
    {
        trained(&lab, args);
    }
    lab.write("one", "echo '{\"x\": 1}'");
    lab.write("two", "echo '{\"x\": 2}'");
    let eval = |args: &[&str]| lab.cmd("run-eval").args(args).run();
    let none = "run-eval: COMMAND missing: none is recorded for the label 'eval'\n\
                run-eval: write the command after --\n";
    eval(&["a"]).code(2).stderr(none);
    eval(&["a", "--", "sh", "one"]).code(0);
    let said = |name: &str, script: &str| format!("run-eval: using the command of '{name}': sh {script}\n");
    // Its own, then the last one under the label.
    eval(&["a"]).code(0).stderr(&said("a", "one"));
    eval(&["b"]).code(0).stderr(&said("a", "one"));
    assert_eq!(lab.read("eval_runs/b_eval/consolidated_metrics.csv"), "step,x\n1,1\n");
    // The batch comes before another run.
    eval(&["many/c", "--", "sh", "two"]).code(0);
    eval(&["--force", "a"]).code(0).stderr(&said("a", "one"));
    eval(&["many/d"]).code(0).stderr(&said("c", "two"));
    // Another label is another command.
    eval(&["--label", "other", "a"]).code(2).stderr_has("none is recorded for the label 'other'");
    eval(&["nope"]).code(3).stderr_has("no run 'nope'");
}

#[test]
fn a_command_with_a_credential_is_not_repeated() {
    let lab = Lab::new();
    trained(&lab, &["-n", "a"]);
    lab.write("one", "echo '{\"x\": 1}'");
    lab.cmd("run-eval").args(["a", "--", "sh", "one", "--api-key", "k123"]).run().code(0);
    let done = lab.cmd("run-eval").arg("a").run().code(2);
    done.stderr_has("it has a credential that is not recorded").stderr_has("write the command after --");
}
