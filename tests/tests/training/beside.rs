//! How far a training is, where its metrics do not say all: by the checkpoints that are ahead of the rows, and by
//! the progress bar.

use serde_json::json;
use testkit::checkpoints::torch;
use testkit::progress::{AWAIT, fact, step};
use testkit::{Lab, Running};

/// Python that saves a checkpoint as a whole.
const SAVE: &str = "
def save(name): replace(name, open('whole.pt', 'rb').read())
";

/// Starts a program in the run `r` with this number of steps to train for.
fn start(lab: &Lab, total: &[&str], program: &str) -> Running {
    start_with(lab, total, "100ms", program)
}

fn start_with(lab: &Lab, total: &[&str], heartbeat: &str, program: &str) -> Running {
    lab.write("whole.pt", torch());
    let program = format!("{AWAIT}{SAVE}{program}");
    let new = lab.cmd("run-new").args(["-n", "r"]).args(total).args(["--", "python3", "-c", &program]);
    new.run().code(0);
    lab.cmd("run-exec").args(["-q", "--heartbeat", heartbeat, "r"]).spawn()
}

/// Expects that all tools tell a step of the run, which has ended.
#[track_caller]
fn ended_at(lab: &Lab, exec: Running, expected: u64) {
    exec.wait().code(0).stderr("");
    assert_eq!(
        (step(lab), &lab.json("runs/r/.run/result.json")["final_step"]),
        (json!(expected), &json!(expected))
    );
}

#[test]
fn rows_that_count_from_0_are_one_behind_the_checkpoint() {
    let lab = Lab::new();
    let program = "
append('training.log', 'epoch,loss\\n')
for epoch in range(10):
    append('training.log', f'{epoch},1.5\\n')
    save(f'model.{epoch + 1:02d}.pt')
";
    let exec = start(&lab, &["--total-steps", "10"], program);
    ended_at(&lab, exec, 10);
    assert_eq!(fact(&lab, "r", "step"), "10/10 (100.0%)");
    let rows = lab.cmd("run-report").args(["--metrics", "r"]).run().code(0).out();
    assert_eq!(rows.lines().last(), Some("r,9,9,1.5"), "rows stay as they are");
}

#[test]
fn a_checkpoint_that_comes_after_the_last_row_is_ahead_until_the_rows_go_back() {
    let lab = Lab::new();
    let program = "
append('metrics.csv', 'step,loss\\n10,4\\n20,3\\n30,2\\n')
save('step_35.pt')
reach('restart')
append('metrics.csv', '5,4\\n')
reach('end')
";
    let exec = start(&lab, &["--total-steps", "40"], program);
    lab.await_status("r", "at the checkpoint", |status| status["step"] == 35);
    assert_eq!(step(&lab), 35);
    lab.write("restart", "");
    lab.await_status("r", "at the restart", |status| status["step"] == 5);
    lab.write("end", "");
    ended_at(&lab, exec, 5);
}

#[test]
fn a_checkpoint_that_comes_with_the_first_rows_is_ahead_of_them() {
    let lab = Lab::new();
    let program = "
save('step_1.pt')
reach('train')
append('training.log', 'epoch,loss\\n' + ''.join(f'{epoch},1.5\\n' for epoch in range(7)))
save('model.07.pt')
reach('end')
";
    let exec = start_with(&lab, &["--total-steps", "10"], "2s", program);
    // From here on, the checkpoint is noticed at once, and the rows are read with a heartbeat.
    lab.await_status("r", "at the first checkpoint", |status| status["step"] == 1);
    lab.write("train", "");
    lab.await_status("r", "at the last checkpoint", |status| {
        status["step"] == 7 && status["metrics"]["loss"]["count"] == 7
    });
    lab.write("end", "");
    ended_at(&lab, exec, 7);
}

#[test]
fn a_checkpoint_that_may_count_something_else_is_not_ahead() {
    for (total, rows, saved, expected) in [
        (vec![], "step,loss\\n30,2\\n", "step_35.pt", 30),
        (vec!["--total-steps", "40"], "step,loss\\n30,2\\n", "step_3500.pt", 30),
        (vec!["--total-steps", "40"], "epoch,loss\\n3,2\\n", "step_35.pt", 3),
        (vec!["--total-steps", "40"], "step,loss\\n30,2\\n", "step_25.pt", 30),
        (vec!["--total-steps", "40"], "step,loss\\n10,2\\n", "step_35.pt", 10),
    ] {
        let lab = Lab::new();
        let exec = start(&lab, &total, &format!("append('metrics.csv', '{rows}')\nsave('{saved}')"));
        ended_at(&lab, exec, expected);
    }
    // One that was there before the first row may be that of a model to begin with.
    let lab = Lab::new();
    let program = "
save('step_35.pt')
reach('train')
append('metrics.csv', 'step,loss\\n20,2\\n')
";
    let exec = start(&lab, &["--total-steps", "40"], program);
    lab.await_status("r", "at the model", |status| status["step"] == 35);
    lab.write("train", "");
    ended_at(&lab, exec, 20);
    // A document of an earlier attempt says nothing about this one, which starts over.
    let lab = Lab::new();
    let first = "append('metrics.csv', 'step,loss\\n30,2\\n')\nsave('step_35.pt')";
    ended_at(&lab, start(&lab, &["--total-steps", "40"], first), 35);
    let anew = format!("{AWAIT}append('metrics.csv', '1,4\\n2,3\\n')");
    lab.cmd("run-exec").args(["-q", "--resume", "r", "--", "python3", "-c", &anew]).run().code(0);
    assert_eq!(step(&lab), 2);
}

#[test]
fn a_bar_tells_the_step_of_rows_that_only_tell_the_epoch() {
    let lab = Lab::new();
    let program = r#"
def bar(at, total, title=''): print(f'\r{title}{100 * at // total:3}%|███▌      | {at}/{total} [00:01<00:04,  9.2it/s]', end='', file=sys.stderr)
bar(200, 200, 'Map: ')
bar(95, 200)
print("\n{'loss': 1.5, 'grad_norm': 2.5, 'learning_rate': 1e-05, 'epoch': 0.3}")
bar(96, 200)
reach('evaluate')
bar(8, 32)
reach('end')
bar(120, 200)
"#;
    let exec = start(&lab, &["--total-steps", "200"], program);
    let at_bar = |status: &serde_json::Value| status["step"] == 96 && status["metrics"]["loss"]["count"] == 1;
    let status = lab.await_status("r", "at the bar", at_bar);
    assert!(status["eta_s"].as_f64().is_some(), "{status}");
    assert_eq!((step(&lab), fact(&lab, "r", "step")), (json!(96), "96/200 (48.0%)".to_owned()));
    lab.write("evaluate", "");
    lab.await_text("runs/r/stderr.log", "8/32");
    assert_eq!(lab.status("r")["step"], 96);
    lab.write("end", "");
    ended_at(&lab, exec, 120);
}

#[test]
fn without_a_number_of_steps_no_bar_is_known_to_count_them() {
    let lab = Lab::new();
    let program = "print(' 48%|████▊     | 96/200 [00:01<00:04,  9.2it/s]', file=sys.stderr)";
    start(&lab, &[], program).wait().code(0);
    assert_eq!(step(&lab), json!(null));
}
