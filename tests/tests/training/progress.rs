//! Progress of trainers that print nothing, by the files that they write while they run.

use serde_json::{Value, json};
use testkit::progress::{AWAIT, fact, step};
use testkit::{Lab, Running, checkout};

/// Starts a trainer that prints nothing.
fn start(lab: &Lab, program: &str, options: &[&str]) -> Running {
    let run = lab.new_run("r", &["python3", "-c", &format!("{AWAIT}{program}")]);
    lab.cmd("run-exec").args(["-q", "--heartbeat", "100ms"]).args(options).arg(&run).spawn()
}

#[test]
fn a_table_that_grows_tells_the_step_while_the_trainer_runs() {
    let lab = Lab::new();
    let program = "
append('metrics.csv', 'step,loss\\n1,4\\n2,3\\n')
reach('go')
append('metrics.csv', '3,2\\n4')
reach('end')
append('metrics.csv', ',1\\n')
";
    let exec = start(&lab, program, &[]);
    let status = lab.await_status("r", "at step 2", |status| status["step"] == 2);
    assert_eq!(status["metrics"]["loss"]["last"], 3);
    assert_eq!((step(&lab), fact(&lab, "r", "metrics")), (json!(2), "metrics.csv".to_owned()));
    lab.write("go", "");
    let status = lab.await_status("r", "at step 3", |status| status["step"] == 3);
    assert_eq!(status["metrics"]["loss"]["count"], 3);
    assert!(!status["last_output"].is_null(), "a row is a sign of life");
    lab.write("end", "");
    exec.wait().code(0).stderr("");
    assert_eq!((step(&lab), lab.status("r")["recent"][3].clone()), (json!(4), json!({"step": 4, "loss": 1})));
    assert_eq!(lab.json("runs/r/.run/result.json")["final_step"], 4);
}

#[test]
fn the_step_of_a_run_that_has_just_started_is_seen_to_move() {
    let lab = Lab::new();
    let program = "
append('metrics.csv', 'step,loss\\n1,4\\n')
reach('go')
append('metrics.csv', '2,3\\n')
reach('end')
";
    let run = lab.new_run("r", &["python3", "-c", &format!("{AWAIT}{program}")]);
    let exec = lab.cmd("run-exec").args(["-q", "--heartbeat", "1h", &run]).spawn();
    lab.await_status("r", "at step 1", |status| status["step"] == 1);
    lab.write("go", "");
    lab.await_status("r", "at step 2", |status| status["step"] == 2);
    lab.write("end", "");
    exec.wait().code(0).stderr("");
}

#[test]
fn a_table_that_is_rewritten_with_a_new_column_loses_and_doubles_no_row() {
    let lab = Lab::new();
    let program = "
replace('metrics.csv', 'epoch,step,loss\\n0,1,4\\n0,2,3\\n')
reach('go')
replace('metrics.csv', 'epoch,step,loss,val_loss\\n0,1,4,\\n0,2,3,\\n0,2,,5\\n')
";
    let exec = start(&lab, program, &[]);
    lab.await_status("r", "at step 2", |status| status["step"] == 2);
    lab.write("go", "");
    exec.wait().code(0).stderr("");
    let metrics = lab.status("r")["metrics"].clone();
    assert_eq!((&metrics["loss"]["count"], &metrics["val_loss"]["last"]), (&json!(2), &json!(5)));
}

#[test]
fn a_log_of_lines_and_one_beside_it_count_and_what_a_model_said_does_not() {
    let lab = Lab::new();
    let program = "
append('logs/train_log.jsonl', '{\"step\": 1, \"loss\": 2.5, \"entropy\": NaN}\\n')
append('logs/ratios.jsonl', '{\"step\": 1, \"ratio_mean\": 1.5}\\n')
append('logs/rollouts.jsonl', '{\"step\": 99, \"reward\": 1, \"text\": \"x\"}\\n')
reach('go')
append('logs/train_log.jsonl', '{\"step\": 2, \"loss\": 1.5}\\n')
";
    let exec = start(&lab, program, &[]);
    lab.await_status("r", "at step 1", |status| status["step"] == 1);
    lab.write("go", "");
    exec.wait().code(0).stderr("");
    let status = lab.status("r");
    assert_eq!(step(&lab), 2);
    assert_eq!(
        (&status["metrics"]["loss"]["count"], &status["metrics"]["ratio_mean"]["last"]),
        (&json!(2), &json!(1.5))
    );
    assert_eq!(status["metrics"]["reward"], Value::Null);
    assert_eq!(status["metrics_from"], json!(["logs/train_log.jsonl", "logs/ratios.jsonl"]));
    assert_eq!(fact(&lab, "r", "metrics"), "logs/train_log.jsonl, logs/ratios.jsonl");
}

#[test]
fn a_status_of_its_own_tells_the_step_the_total_and_the_time_left() {
    let lab = Lab::new();
    let program = "
def save(step):
    replace('status.json', json.dumps({'status': 'running', 'pid': 7, 'step': step, 'total_steps': 200,
                                       'episode': step // 10, 'epsilon': 0.5}, indent=2))
save(20)
reach('go')
save(50)
reach('end')
";
    let exec = start(&lab, program, &[]);
    lab.await_status("r", "at step 20", |status| status["step"] == 20);
    lab.write("go", "");
    let status = lab.await_status("r", "at step 50", |status| status["step"] == 50);
    assert_eq!((&status["total_steps"], &status["status"]), (&json!(200), &json!("running")));
    assert!(status["eta_s"].as_f64().is_some(), "{status}");
    assert_eq!(
        (&status["metrics"]["epsilon"]["last"], &status["metrics"]["pid"]),
        (&json!(0.5), &Value::Null)
    );
    assert_eq!(step(&lab), 50);
    assert_eq!(fact(&lab, "r", "step"), "50/200 (25.0%) ep=5 ε=0.5000");
    lab.write("end", "");
    exec.wait().code(0).stderr("");
    // A table counts for more, and the total stays.
    let resumed = format!("{AWAIT}append('metrics.csv', 'step,loss\\n60,1\\n')");
    lab.cmd("run-exec").args(["-q", "--resume", "r", "--", "python3", "-c", &resumed]).run().code(0);
    assert_eq!((step(&lab), fact(&lab, "r", "step")), (json!(60), "60/200 (30.0%)".to_owned()));
    // A number that was given is wrong once the program is beyond it, and says a greater one.
    let command = ["python3", "-c", &resumed];
    let new = lab.cmd("run-new").args(["-n", "s", "--total-steps", "50", "--"]).args(command);
    new.run().code(0);
    lab.cmd("cp").args(["runs/r/status.json", "runs/s/status.json"]).run().code(0);
    lab.cmd("run-exec").args(["-q", "s"]).run().code(0);
    let status = lab.status("s");
    assert_eq!((&status["step"], &status["total_steps"]), (&json!(60), &json!(200)));
}

#[test]
fn a_status_that_comes_after_the_metrics_tells_the_total() {
    for (metrics, rows, place) in [
        ("metrics.csv", "step,loss\\n1,4\\n", "out"),
        ("metrics.jsonl", "{\"step\": 1, \"loss\": 4}\\n", "."),
    ] {
        let lab = Lab::new();
        let program = format!(
            "append('{metrics}', '{rows}')
reach('go')
os.makedirs(run + '/{place}', exist_ok=True)
replace('{place}/status.json', json.dumps(dict(step=1, total_steps=80)))
reach('end')
"
        );
        let exec = start(&lab, &program, &[]);
        lab.await_status("r", "at step 1", |status| status["step"] == 1);
        lab.write("go", "");
        lab.await_status("r", "of 80 steps", |status| status["total_steps"] == 80);
        assert_eq!(fact(&lab, "r", "metrics"), metrics);
        lab.write("end", "");
        exec.wait().code(0).stderr("");
    }
}

#[test]
fn event_files_alone_tell_the_step() {
    let lab = Lab::new();
    let fixture = checkout().join("tests/fixtures/events.py");
    let program = format!(
        "
import subprocess
def write(name, *what):
    os.makedirs(run + '/tb', exist_ok=True)
    subprocess.run(['python3', {fixture:?}, run + '/tb/' + name, *what], check=True)
write('part', '1:loss=4', '2:loss=3')
os.rename(run + '/tb/part', run + '/tb/events.out.tfevents.100.h')
reach('go')
write('more', '3:loss=2')
with open(run + '/tb/events.out.tfevents.100.h', 'ab') as file: file.write(open(run + '/tb/more', 'rb').read())
reach('end')
"
    );
    let exec = start(&lab, &program, &[]);
    lab.await_status("r", "at step 2", |status| status["step"] == 2);
    lab.write("go", "");
    let status = lab.await_status("r", "at step 3", |status| status["step"] == 3);
    assert_eq!(status["metrics"]["loss"]["count"], 3);
    assert_eq!(
        (step(&lab), fact(&lab, "r", "metrics")),
        (json!(3), "tb/events.out.tfevents.100.h".to_owned())
    );
    lab.write("end", "");
    exec.wait().code(0).stderr("");
    assert_eq!(lab.status("r")["metrics"]["loss"]["count"], 3);
}

#[test]
fn checkpoints_alone_tell_the_step() {
    let lab = Lab::new();
    let program = "
replace('model_100.ckpt', pickle.dumps([1]))
reach('go')
replace('model_200.ckpt', pickle.dumps([1]))
reach('end')
";
    let exec = start(&lab, program, &[]);
    lab.await_status("r", "at step 100", |status| status["step"] == 100);
    lab.write("go", "");
    lab.await_status("r", "at step 200", |status| status["step"] == 200);
    assert_eq!(step(&lab), 200);
    lab.write("end", "");
    exec.wait().code(0).stderr("");
    assert_eq!(
        (step(&lab), lab.json("runs/r/.run/result.json")["final_step"].clone()),
        (json!(200), json!(200))
    );
}

/// What each trainer writes: again and again until it is done with 30, or three times and then nothing.
const WRITERS: [(&str, &str); 5] = [
    ("table", "append('metrics.csv', 'step,loss\\n' if n == 0 else f'{n},1\\n')"),
    ("lines", "append('logs/train_log.jsonl', json.dumps({'step': n, 'loss': 1}) + '\\n')"),
    ("status", "replace('status.json', json.dumps({'step': n}))"),
    ("checkpoints", "replace(f'model_{n}.ckpt', pickle.dumps([n]))"),
    ("overwritten checkpoint", "replace('ckpt.pt', pickle.dumps([n]))"),
];

#[test]
fn who_writes_to_files_alone_is_not_stalled_and_who_stops_is() {
    let labs: Vec<_> = WRITERS
        .iter()
        .flat_map(|(what, write)| [(what, write, 30), (what, write, 3)])
        .map(|(what, write, times)| {
            let lab = Lab::new();
            let program = format!("for n in range({times}):\n    {write}\n    time.sleep(0.1)\nif {times} == 3: time.sleep(1000)");
            let exec = start(&lab, &program, &["--stall-timeout", "1500ms", "--linger", "100ms"]);
            (lab, exec, what, times)
        })
        .collect();
    for (lab, exec, what, times) in labs {
        let done = exec.wait();
        let reason = lab.status("r")["reason"].clone();
        let expected = if times == 30 { (0, Value::Null) } else { (124, json!("stall timeout 1.5s")) };
        assert_eq!((done.code, reason), expected, "{what}");
    }
}

#[test]
fn a_data_set_hides_no_log() {
    let lab = Lab::new();
    let program = "
os.makedirs(run + '/data/images')
for n in range(6000): open(f'{run}/data/images/{n}', 'w').close()
append('zz/metrics.csv', 'step,loss\\n3,1\\n')
";
    start(&lab, program, &[]).wait().code(0).stderr("");
    assert_eq!(step(&lab), 3);
}

#[test]
fn what_is_no_file_is_passed_over() {
    let lab = Lab::new();
    let program = "
os.mkfifo(run + '/metrics.csv')
os.mkfifo(run + '/status.json')
os.mkdir(run + '/progress.csv')
os.symlink('/dev/zero', run + '/results.csv')
append('logs/train_log.jsonl', '{\"step\": 8, \"loss\": 1}\\n')
";
    start(&lab, program, &[]).wait().code(0).stderr("");
    assert_eq!(step(&lab), 8);
}

#[test]
fn another_attempt_goes_on_in_the_file_that_was_chosen() {
    let lab = Lab::new();
    let program = "
attempt = int(os.environ['RUN_ATTEMPT'])
for step in range(1, 5) if attempt == 1 else range(3, 7):
    append('logs/train_log.jsonl', json.dumps({'step': step, 'loss': step + 100 * attempt}) + '\\n')
if attempt == 2: append('metrics.csv', 'step,loss\\n99,1\\n')
";
    start(&lab, program, &[]).wait().code(0).stderr("");
    lab.cmd("run-exec").args(["-q", "--resume", "r"]).run().code(0);
    let status = lab.status("r");
    assert_eq!((step(&lab), &status["start_step"]), (json!(6), &json!(4)));
    assert_eq!(status["metrics_from"], json!(["logs/train_log.jsonl"]));
    assert_eq!(
        (&status["metrics"]["loss"]["count"], &status["metrics"]["loss"]["max"]),
        (&json!(6), &json!(206))
    );
    let rows = lab.cmd("run-report").arg("--metrics").run().code(0).out();
    assert_eq!(rows, "run,step,loss\nr,1,101\nr,2,102\nr,3,203\nr,4,204\nr,5,205\nr,6,206\n");
}

#[test]
fn rows_of_the_output_give_way_to_a_file_and_both_to_what_is_written_for_the_suite() {
    let lab = Lab::new();
    let program = "
print('{\"step\": 1, \"loss\": 9}', flush=True)
reach('table')
append('metrics.csv', 'step,loss\\n2,8\\n')
reach('lines')
with open(os.environ['RUN_METRICS'], 'w') as file: file.write('{\"step\": 3, \"loss\": 7}\\n')
reach('end')
";
    let exec = start(&lab, program, &[]);
    lab.await_status("r", "at step 1", |status| status["step"] == 1);
    assert_eq!(fact(&lab, "r", "metrics"), ".run/scraped.jsonl");
    for (name, step, file) in [("table", 2, "metrics.csv"), ("lines", 3, "metrics.jsonl")] {
        lab.write(name, "");
        lab.await_status("r", name, |status| status["step"] == step);
        assert_eq!((self::step(&lab), fact(&lab, "r", "metrics")), (json!(step), file.to_owned()));
    }
    lab.write("end", "");
    exec.wait().code(0).stderr("");
}

#[test]
fn a_table_without_steps_gives_way_to_one_with_them() {
    let lab = Lab::new();
    let program = "
append('metrics.csv', '#{\"t_start\": 1}\\nr,l,t\\n2.5,9,0.1\\n')
reach('go')
append('logs/train_log.jsonl', '{\"step\": 64, \"loss\": 2.5}\\n')
reach('end')
";
    let exec = start(&lab, program, &[]);
    lab.await_status("r", "at the first episode", |status| status["step"] == 1);
    lab.write("go", "");
    lab.await_status("r", "at step 64", |status| status["step"] == 64);
    assert_eq!((step(&lab), fact(&lab, "r", "metrics")), (json!(64), "logs/train_log.jsonl".to_owned()));
    lab.write("end", "");
    exec.wait().code(0).stderr("");
}

#[test]
fn a_file_and_the_name_of_the_step_can_be_named() {
    let lab = Lab::new();
    lab.write("made/my/numbers.txt", "tokens,loss\n1024,2.5\n2048,1.5\n");
    lab.write("made/metrics.csv", "step,loss\n7,9\n");
    lab.write("made/other.jsonl", "{\"step\": 1, \"tokens\": 4096, \"loss\": 0.5}\n");
    let given = ["-n", "r", "--metrics", "my/numbers.txt", "--step-key", "tokens"];
    lab.cmd("run-new").args(given).args(["--", "sh", "-c", "cp -r made/. $RUN_DIR"]).run().code(0);
    lab.cmd("run-exec").args(["-q", "r"]).run().code(0).stderr("");
    assert_eq!((step(&lab), fact(&lab, "r", "metrics")), (json!(2048), "my/numbers.txt".to_owned()));
    assert_eq!(lab.status("r")["step_key"], "tokens");
    let rows = lab.cmd("run-report").arg("--metrics").run().code(0).out();
    assert_eq!(rows, "run,step,loss\nr,1024,2.5\nr,2048,1.5\n");
    // What a later attempt is given counts for those after it.
    lab.cmd("run-exec").args(["-q", "--resume", "--metrics", "other.jsonl", "r"]).run().code(0);
    for attempt in [2, 3] {
        assert_eq!((step(&lab), fact(&lab, "r", "metrics")), (json!(4096), "other.jsonl".to_owned()));
        let starts = lab.json_lines("runs/r/.run/attempts.jsonl");
        let last = starts.iter().rfind(|line| line["event"] == "start").unwrap();
        let last = &last["options"];
        assert_eq!(
            (&last["metrics"], &last["step_key"]),
            (&json!("other.jsonl"), &json!("tokens")),
            "{attempt}"
        );
        lab.cmd("run-exec").args(["-q", "--resume", "r"]).run().code(0);
    }
    let rows = lab.cmd("run-report").arg("--metrics").run().code(0).out();
    assert_eq!(rows, "run,step,loss\nr,4096,0.5\n");
}

/// A trainer that takes the given number of steps, from the given checkpoint, and saves at the end.
const RESUMABLE: &str = "
start = int(os.environ.get('RUN_RESUME_STEP', 0))
total = int(os.environ['RUN_TOTAL_STEPS'])
for n in range(start + 1, total + 1):
    WRITE
replace(f'model_{total}.ckpt', pickle.dumps([total]))
";

#[test]
fn trainers_that_print_nothing_are_trained_evaluated_and_resumed() {
    let course = "run-exec -q course
while run-eval course -- sh -c 'printf \"acc\\n0.5\\n\" > $EVAL_OUT/metrics.csv' &&
    [ \"$(run-status --json course | jq .step)\" -lt 60 ]
do
    run-exec -q --resume --additional-steps 20 course || break
done
";
    for (what, write) in [
        ("lines", "append('logs/train_log.jsonl', json.dumps({'step': n, 'loss': 1}) + '\\n')"),
        ("table", "append('metrics.csv', ('step,loss\\n' if n == start + 1 else '') + f'{n},1\\n')"),
        ("status", "replace('status.json', json.dumps({'step': n, 'total_steps': total}))"),
        ("checkpoints", "pass"),
    ] {
        let lab = Lab::new();
        let program = RESUMABLE.replace("WRITE", write);
        let new = lab.cmd("run-new").args(["-n", "course", "--total-steps", "20", "--", "python3", "-c"]);
        new.arg(format!("{AWAIT}{program}")).run().code(0);
        lab.cmd("sh").args(["-c", course]).run().code(0);
        let status = lab.status("course");
        assert_eq!((&status["step"], &status["total_steps"]), (&json!(60), &json!(60)), "{what}");
        let report = lab.cmd("run-report").args(["--format", "json"]).run().code(0).json_lines();
        assert_eq!(report[0]["step"], 60, "{what}");
        let evaluated = lab.read("eval_runs/course_eval/consolidated_metrics.csv");
        assert_eq!(evaluated, "step,acc\n20,0.5\n40,0.5\n60,0.5\n", "{what}");
    }
}

#[test]
fn a_trainer_that_prints_parts_of_epochs_is_at_the_step_that_it_saved() {
    let lab = Lab::new();
    let program = "
def save(n):
    name = f'checkpoint-{n}'
    os.makedirs(f'{run}/{name}')
    replace(f'{name}/model.bin', 'x')
    state = {'global_step': n, 'max_steps': 40, 'log_history': [{'step': 10, 'loss': 2.5, 'epoch': 0.25}]}
    replace(f'{name}/trainer_state.json', json.dumps(state))
print({'loss': '2.5', 'grad_norm': '1.25', 'epoch': '0.25'}, flush=True)
reach('go')
save(20)
print({'loss': '1.5', 'grad_norm': '1.25', 'epoch': '0.5'}, flush=True)
reach('end')
";
    let exec = start(&lab, program, &[]);
    let status = lab.await_status("r", "printing", |status| status["metrics"]["loss"]["last"] == 2.5);
    assert_eq!((&status["step"], &status["eta_s"]), (&Value::Null, &Value::Null));
    lab.write("go", "");
    let status = lab.await_status("r", "at step 20", |status| status["step"] == 20);
    assert_eq!(status["total_steps"], 40);
    lab.write("end", "");
    exec.wait().code(0);
    assert_eq!((step(&lab), fact(&lab, "r", "step")), (json!(20), "20/40 (50.0%)".to_owned()));
    assert_eq!(lab.status("r")["metrics"]["loss"]["last"], 1.5);
}

#[test]
fn a_table_that_is_begun_anew_stays_the_source() {
    let lab = Lab::new();
    let program = "
append('progress.csv', 'step,loss\\n1,4\\n2,3\\n')
append('metrics.json', '{\"step\": 7, \"loss\": 1}\\n')
reach('go')
open(os.path.join(run, 'progress.csv'), 'w').close()
reach('on')
append('progress.csv', 'step,loss\\n3,2\\n')
reach('end')
";
    let exec = start(&lab, program, &[]);
    lab.await_status("r", "at step 2", |status| status["step"] == 2);
    lab.write("go", "");
    let beats = |count: usize| {
        let length = || lab.read("runs/r/.run/resources.jsonl").lines().count();
        let begun = length();
        testkit::wait_for("heartbeats", || length() >= begun + count);
    };
    beats(5);
    assert_eq!(fact(&lab, "r", "metrics"), "progress.csv");
    lab.write("on", "");
    lab.await_status("r", "at step 3", |status| status["step"] == 3);
    lab.write("end", "");
    exec.wait().code(0).stderr("");
    assert_eq!((step(&lab), fact(&lab, "r", "metrics")), (json!(3), "progress.csv".to_owned()));
}

#[test]
fn a_later_attempt_awaits_the_table_that_it_begins_anew_and_saves_a_checkpoint_before() {
    for begin in ["open(table, 'w').close()", "os.remove(table)"] {
        let lab = Lab::new();
        let program = format!(
            "
attempt = int(os.environ['RUN_ATTEMPT'])
table = os.path.join(run, 'progress.csv')
if attempt == 1:
    append('progress.csv', 'step,loss\\n1,4\\n2,3\\n')
    append('metrics.json', '{{\"step\": 1, \"loss\": 1}}\\n{{\"step\": 2, \"loss\": 1}}\\n')
    sys.exit()
{begin}
append('metrics.json', '{{\"step\": 3, \"loss\": 1}}\\n')
replace('model_3.ckpt', pickle.dumps([1]))
reach('on')
append('progress.csv', 'step,loss\\n3,2\\n')
"
        );
        start(&lab, &program, &[]).wait().code(0).stderr("");
        assert_eq!(fact(&lab, "r", "metrics"), "progress.csv");
        let exec = lab.cmd("run-exec").args(["-q", "--heartbeat", "100ms", "--resume", "r"]).spawn();
        lab.await_status("r", "at its checkpoint", |status| status["step"] == 3);
        lab.write("on", "");
        exec.wait().code(0);
        let count = lab.status("r")["metrics"]["loss"]["count"].clone();
        assert_eq!((fact(&lab, "r", "metrics"), count), ("progress.csv".to_owned(), json!(1)), "{begin}");
    }
}
