//! Evaluations of checkpoints by a script.

use crate::{Done, Lab};

/// Makes a run that has ended.
pub fn ended(lab: &Lab, name: &str) {
    lab.new_run(name, &["true"]);
    lab.cmd("run-exec").args(["-q", name]).run().code(0);
}

/// Writes a whole checkpoint of a run, as the trainer of Hugging Face does.
pub fn save(lab: &Lab, run: &str, step: u64) {
    lab.write(&format!("runs/{run}/checkpoint-{step}/model.bin"), format!("weights {step}"));
    lab.write(
        &format!("runs/{run}/checkpoint-{step}/trainer_state.json"),
        format!("{{\"global_step\": {step}}}"),
    );
}

/// An evaluation that writes two rows.
pub const SCRIPT: &str = "test -s \"$1/model.bin\" && printf 'acc,n\\n0.%s,1\\nNaN,\\n' \"$2\" > \"$3/metrics.csv\" && echo \"$2\" >> log";

/// Evaluates with a script.
pub fn eval(lab: &Lab, args: &[&str], script: &str) -> Done {
    spawned(lab, args, script).wait()
}

/// Likewise, in the background.
pub fn spawned(lab: &Lab, args: &[&str], script: &str) -> crate::Running {
    let command = ["--", "sh", "-c", script, "sh", "{checkpoint}", "{step}", "{out}"];
    lab.cmd("run-eval").args(args).args(command).spawn()
}

/// Returns the table of a run.
pub fn consolidated(lab: &Lab, run: &str) -> String {
    lab.read(&format!("eval_runs/{run}_eval/consolidated_metrics.csv"))
}

/// Returns the reason that is recorded for a step.
pub fn reason(lab: &Lab, run: &str, step: &str) -> String {
    let status = lab.json(&format!("eval_runs/{run}_eval/step_{step}_eval/.eval/status.json"));
    assert_eq!(status["status"], "failed");
    status["reason"].as_str().unwrap().to_owned()
}

/// Expects that no pin is left in a run.
pub fn no_pins(lab: &Lab, run: &str) {
    assert!(!lab.path(format!("runs/{run}/.eval-pins")).exists(), "pins are left");
}
