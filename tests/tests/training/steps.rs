//! The steps of metric rows: under which keys they are logged, which rows later ones supersede, and what curves
//! are drawn over.

use serde_json::{Value, json};
use std::fs;
use testkit::progress::step;
use testkit::{Lab, checkout};

/// Creates a run with rows of metrics in a file.
fn made(lab: &Lab, name: &str, file: &str, rows: &str) {
    lab.new_run(name, &["true"]);
    lab.write(&format!("runs/{name}/{file}"), rows);
}

/// Creates a run whose attempts each append to its metrics what is in the next of these files.
fn attempts(lab: &Lab, file: &str, rows: &[&str]) {
    lab.new_run(
        "r",
        &["sh", "-c", &format!("cat $RUN_DIR/../../rows$RUN_ATTEMPT >> $RUN_DIR/{file}; exit 1")],
    );
    for (number, rows) in rows.iter().enumerate() {
        lab.write(&format!("rows{}", number + 1), rows);
        let resume: &[&str] = if number > 0 { &["--resume"] } else { &[] };
        lab.cmd("run-exec").args(["-q"]).args(resume).arg("r").run().code(1);
    }
}

/// Returns the consolidated rows of all runs, and the messages.
fn rows(lab: &Lab) -> (Vec<String>, String) {
    let done = lab.cmd("run-report").arg("--metrics").run().code(0);
    (done.out().lines().skip(1).map(str::to_owned).collect(), done.err())
}

fn superseded(count: &str) -> String {
    format!("run-report: {count} and left out\n")
}

/// Rows of epochs that take some steps each, counted anew.
fn epochs(epochs: std::ops::Range<u32>) -> String {
    let row = |epoch, step| format!("{{\"epoch\": {epoch}, \"step\": {step}, \"loss\": {epoch}.{step}}}\n");
    epochs.flat_map(|epoch| (0..3).map(move |step| row(epoch, step))).collect()
}

#[test]
fn a_step_is_known_by_the_last_part_of_its_name_in_any_case() {
    let lab = Lab::new();
    lab.new_run("r", &["true"]);
    for key in [
        "_step",
        "steps",
        "Step",
        "current_steps",
        "total_steps",
        "total/steps",
        "training/global_step",
        "trainer/global_step",
        "total_timesteps",
        "update",
        "num_updates",
        "env_step",
        "Timestep",
        "ep",
        "Epoch",
    ] {
        for (file, content) in [
            ("metrics.jsonl", format!("{{\"loss\": 0.5, \"{key}\": 100}}\n")),
            ("metrics.csv", format!("loss,{key}\n0.5,100\n")),
        ] {
            lab.write(&format!("runs/r/{file}"), content);
            let (rows, _) = rows(&lab);
            assert!(rows[0].starts_with("r,100,"), "{key} in {file}: {rows:?}");
            lab.write(&format!("runs/r/{file}"), "");
        }
    }
}

#[test]
fn the_step_of_a_run_is_the_same_to_all_tools() {
    let lab = Lab::new();
    let script = r#"echo '{"current_steps": 7, "total_steps": 50, "epoch": 0.3, "loss": 2}' >> $RUN_METRICS"#;
    lab.new_run("r", &["sh", "-c", script]);
    lab.cmd("run-exec").args(["-q", "r"]).run().code(0);
    assert_eq!(lab.status("r")["step"], json!(7));
    let table: Value =
        serde_json::from_str(&lab.cmd("run-report").args(["--format", "json"]).run().code(0).out()).unwrap();
    assert_eq!(table["step"], json!(7));
    assert_eq!(rows(&lab).0, ["r,7,7,50,0.3,2"]);
    // A run that was never executed is at no step, whatever lies in its directory.
    for (name, file) in [("rows", "metrics.jsonl"), ("table", "metrics.csv"), ("tree", "checkpoint-8/x.bin")]
    {
        lab.new_run(name, &["true"]);
        fs::create_dir_all(lab.path(format!("runs/{name}/{file}")).parent().unwrap()).unwrap();
        let rows = if name == "rows" { "{\"step\": 8, \"loss\": 1}\n" } else { "step,loss\n8,1\n" };
        lab.write(&format!("runs/{name}/{file}"), rows);
        let steps = || {
            let report = lab.cmd("run-report").args(["--format", "json", name]).run().code(0).json_lines();
            (lab.status(name)["step"].clone(), report[0]["step"].clone())
        };
        assert_eq!(steps(), (Value::Null, Value::Null), "{name}");
        lab.cmd("run-exec").args(["-q", name]).run().code(0);
        let (status, report) = steps();
        assert_eq!(status, report, "{name}");
        assert!(name != "rows" || status == 8, "{name}: {status}");
    }
}

#[test]
fn a_part_of_an_epoch_is_no_step() {
    let lab = Lab::new();
    let lines = "{\"loss\": 3, \"epoch\": 1}\n{\"loss\": 2, \"epoch\": 1.5}\n{\"loss\": 1, \"epoch\": 2}\n";
    lab.new_run("r", &["sh", "-c", &format!("cat >> $RUN_METRICS <<'EOF'\n{lines}EOF\n")]);
    lab.cmd("run-exec").args(["-q", "r"]).run().code(0);
    let status = lab.status("r");
    assert_eq!((&status["step"], &status["metrics"]["epoch"]["last"]), (&Value::Null, &json!(2)));
    assert_eq!(rows(&lab).0, ["r,1,3,1", "r,2,2,1.5", "r,3,1,2"]);
    // They still tell which rows are superseded.
    lab.write("runs/r/metrics.jsonl", format!("{lines}{{\"loss\": 0, \"epoch\": 1.5}}\n"));
    let (found, said) = rows(&lab);
    assert_eq!(found, ["r,1,3,1", "r,4,0,1.5"]);
    assert_eq!(said, superseded("2 rows of 'runs/r' are superseded by later ones"));
}

#[test]
fn a_step_that_begins_anew_in_each_epoch_hides_no_epoch() {
    let lab = Lab::new();
    attempts(&lab, "metrics.jsonl", &[&epochs(1..3), &epochs(3..4)]);
    let (found, said) = rows(&lab);
    assert_eq!((found.len(), said.as_str()), (9, ""));
    assert_eq!(lab.status("r")["metrics"]["loss"]["count"], json!(9));
    // An epoch that another attempt goes over again is superseded.
    lab.write("rows3", epochs(2..4));
    lab.cmd("run-exec").args(["-q", "--resume", "r"]).run().code(1);
    let (found, said) = rows(&lab);
    let losses: Vec<&str> = found.iter().map(|row| row.rsplit(',').next().unwrap()).collect();
    assert_eq!(losses, ["1.0", "1.1", "1.2", "2.0", "2.1", "2.2", "3.0", "3.1", "3.2"]);
    assert_eq!(said, superseded("6 rows of 'runs/r' are superseded by later ones"));
    let status = lab.status("r");
    assert_eq!(status["superseded_rows"], json!(6));
    let table = lab.cmd("run-report").args(["--columns", "loss.last"]).run().code(0);
    table.stderr(&superseded("6 rows of 'runs/r' are superseded by later ones"));
    assert_eq!(
        (&status["metrics"]["loss"]["count"], &status["metrics"]["loss"]["last"]),
        (&json!(9), &json!(3.2))
    );
}

#[test]
fn a_step_that_goes_back_within_an_attempt_supersedes() {
    let lines = |steps: &[u32], scale: u32| -> String {
        steps.iter().map(|step| format!("{{\"step\": {step}, \"loss\": {}}}\n", step * scale)).collect()
    };
    let text = lines(&[1, 2, 3, 4], 1) + &lines(&[3, 4, 5], 10) + &lines(&[5, 6], 100);
    let expected = ["r,1,1", "r,2,2", "r,3,30", "r,4,40", "r,5,50", "r,5,500", "r,6,600"];
    let table = |text: &str| -> String {
        let cells = |line: &str| {
            line.replace(['{', '}', ' ', '"'], "").replace("step:", "").replace("loss:", "") + "\n"
        };
        "step,loss\n".to_owned() + &text.lines().map(cells).collect::<String>()
    };
    for (file, text) in [("metrics.jsonl", text.clone()), ("progress.csv", table(&text))] {
        let lab = Lab::new();
        attempts(&lab, file, &[&text]);
        let (found, said) = rows(&lab);
        assert_eq!(found, expected);
        assert_eq!(said, superseded("2 rows of 'runs/r' are superseded by later ones"));
        let loss = &lab.status("r")["metrics"]["loss"];
        assert_eq!(
            (&loss["count"], &loss["max"], &loss["min"]),
            (&json!(7), &json!(600), &json!(1)),
            "{file}"
        );
        let plotted = lab.cmd("run-report").args(["--plot", "loss", "--export", "-"]).run().code(0);
        plotted.stderr(&superseded("2 rows of 'runs/r' are superseded by later ones"));
    }
}

#[test]
fn a_check_of_the_model_before_a_resumed_training_goes_on_hides_nothing() {
    let lab = Lab::new();
    let train = |steps: std::ops::Range<u32>| -> String {
        steps.map(|step| format!("{{\"step\": {step}0, \"loss\": {step}}}\n")).collect()
    };
    let check = |loss: u32| format!("{{\"step\": 0, \"val_loss\": {loss}}}\n");
    attempts(&lab, "metrics.jsonl", &[&(check(9) + &train(1..9)), &(check(5) + &train(6..11))]);
    let (found, said) = rows(&lab);
    let steps: Vec<&str> = found.iter().filter_map(|row| row.split(',').nth(1)).collect();
    assert_eq!(steps, ["0", "10", "20", "30", "40", "50", "0", "60", "70", "80", "90", "100"]);
    assert_eq!(said, superseded("3 rows of 'runs/r' are superseded by later ones"));
    let status = lab.status("r");
    assert_eq!((&status["step"], &status["superseded_rows"]), (&json!(100), &json!(3)));
    assert_eq!(status["metrics"]["loss"]["count"], json!(10));
}

#[test]
fn a_table_that_is_rewritten_on_a_resume_has_each_step_once() {
    let lab = Lab::new();
    let script = "import os
first = 1 if os.environ['RUN_ATTEMPT'] == '1' else 4
table = open(os.environ['RUN_DIR'] + '/metrics.csv', 'w')
old = 'step,loss' if first == 1 else 'step,val_loss,loss'
print(old, file=table)
for step in range(first, first + 6):
    print(f'{step},{step / 7}' if first == 1 else f'{step},,{step / 7}', file=table)
    if first == 4: # evaluated later
        print(f'{step - 1},{step},', file=table)
raise SystemExit(1)";
    lab.write("train.py", script);
    lab.new_run("r", &["python3", "train.py"]);
    for resume in [&[][..], &["--resume"]] {
        lab.cmd("run-exec").arg("-q").args(resume).arg("r").run().code(1);
    }
    let (found, said) = rows(&lab);
    let steps: Vec<&str> = found.iter().filter_map(|row| row.split(',').nth(1)).collect();
    assert_eq!(steps, ["4", "3", "5", "4", "6", "5", "7", "6", "8", "7", "9", "8"]);
    assert_eq!(said, "");
}

#[test]
fn a_file_that_was_written_anew_is_no_longer_cut_where_an_attempt_began() {
    // Lengths of episodes, which are no order of the rows; the second attempt writes the row 20 where it began.
    let script = "rows='30 40 50'; test $RUN_ATTEMPT = 1 || rows='40 50 60 20 70'
table() { echo steps,loss; printf '%d,%d\\n' \"$@\"; }
lines() { printf '{\"steps\":%d,\"loss\":%d}\\n' \"$@\"; }
$0 $(for i in $rows; do echo $i $RUN_ATTEMPT; done) > $RUN_DIR/new
mv $RUN_DIR/new $RUN_DIR/$1
test $RUN_ATTEMPT = 1 || until test -e go; do sleep 0.02; done
exit 1";
    for (write, file, begin) in [
        ("table", "metrics.csv", "steps,loss\n30,1\n40,1\n50,1\n"),
        (
            "lines",
            "metrics.jsonl",
            "{\"steps\":30,\"loss\":1}\n{\"steps\":40,\"loss\":1}\n{\"steps\":50,\"loss\":1}\n",
        ),
    ] {
        let lab = Lab::new();
        lab.new_run("r", &["sh", "-c", script, write, file]);
        lab.cmd("run-exec").args(["-q", "r"]).run().code(1);
        let exec = lab.cmd("run-exec").args(["-q", "--resume", "--heartbeat", "50ms", "r"]).spawn();
        let has_all = |status: &Value| status["metrics"]["loss"]["count"] == 5;
        let status = lab.await_status("r", "five rows", has_all);
        assert_eq!((&status["step"], &status["metrics"]["loss"]["min"]), (&json!(70), &json!(2)));
        lab.write("go", "");
        exec.wait().code(1);
        let (found, said) = rows(&lab);
        assert_eq!(found, ["r,40,40,2", "r,50,50,2", "r,60,60,2", "r,20,20,2", "r,70,70,2"], "{file}");
        assert_eq!(said, "");
        assert_eq!(lab.status("r")["metrics"]["loss"]["count"], 5);
        let start = lab.json_lines("runs/r/.run/attempts.jsonl").remove(2);
        lab.write("begin", begin);
        let sum = lab.cmd("sha256sum").arg("begin").run().code(0).out();
        assert_eq!(start["fingerprints"], json!({file: sum.split(' ').next()}));
    }
}

#[test]
fn directories_that_came_with_attempts_are_one_metric() {
    let lab = Lab::new();
    let events = checkout().join("tests/fixtures/events.py");
    let script = "mkdir -p $RUN_DIR/tb/PPO_$RUN_ATTEMPT
python3 $EVENTS $RUN_DIR/tb/PPO_$RUN_ATTEMPT/events.out.tfevents.$RUN_ATTEMPT.h $STEPS
exit 1";
    lab.new_run("r", &["sh", "-c", script]);
    for (resume, steps) in
        [(&[][..], "1:loss=0.5 2:loss=0.25 3:loss=0.125"), (&["--resume"], "3:loss=8 4:loss=9")]
    {
        let exec = lab.cmd("run-exec").arg("-q").args(resume).arg("r");
        exec.env("EVENTS", &events).env("STEPS", steps).run().code(1);
    }
    let (found, said) = rows(&lab);
    assert_eq!(found, ["r,1,0.5", "r,2,0.25", "r,3,8", "r,4,9"]);
    assert_eq!(said, superseded("1 row of 'runs/r' is superseded by a later one"));
    let status = lab.status("r");
    assert_eq!((&status["step"], &status["metrics"]["loss"]["count"]), (&json!(4), &json!(4)));
    // In one attempt they are two trainings.
    let script = "for i in 1 2; do mkdir -p $RUN_DIR/PPO_$i; python3 $EVENTS $RUN_DIR/PPO_$i/events.out.tfevents.$i.h 1:loss=$i; done";
    lab.new_run("one", &["sh", "-c", script]);
    lab.cmd("run-exec").args(["-q", "one"]).env("EVENTS", &events).run().code(0);
    let done = lab.cmd("run-report").args(["--metrics", "one"]).run().code(0);
    assert_eq!(done.out(), "run,step,PPO_1/loss,PPO_2/loss\none,1,1,\none,1,,2\n");
}

#[test]
fn tables_in_directories_that_came_with_attempts_are_one_source() {
    let lab = Lab::new();
    let script = "mkdir -p $RUN_DIR/logs/PPO_$RUN_ATTEMPT
echo \"$ROWS\" > $RUN_DIR/logs/PPO_$RUN_ATTEMPT/progress.csv; exit 1";
    lab.new_run("r", &["sh", "-c", script]);
    let table = |rows: &str| format!("time/total_timesteps,train/loss\n{rows}");
    for (resume, rows) in
        [(&[][..], "64,1\n128,2"), (&["--resume"], "128,3\n192,4"), (&["--resume"], "192,5")]
    {
        lab.cmd("run-exec").arg("-q").args(resume).arg("r").env("ROWS", table(rows)).run().code(1);
    }
    let (found, said) = rows(&lab);
    assert_eq!(found, ["r,64,64,1", "r,128,128,3", "r,192,192,5"]);
    assert_eq!(said, superseded("2 rows of 'runs/r' are superseded by later ones"));
    assert_eq!(lab.status("r")["step"], json!(192));
}

#[test]
fn curves_are_drawn_over_what_is_asked_for() {
    let lab = Lab::new();
    let rows = "{\"step\": 10, \"epoch\": 1, \"timestamp\": 1700, \"tokens\": 5, \"loss\": 3}\n\
                {\"step\": 20, \"epoch\": 2, \"timestamp\": 1600, \"tokens\": 9, \"loss\": 2}\n\
                {\"step\": 30, \"loss\": 1}\n";
    made(&lab, "r", "metrics.jsonl", rows);
    let curve = |x: &[&str]| {
        let drawn =
            lab.cmd("run-report").args(["--plot", "loss", "--export", "-"]).args(x).run().code(0).out();
        let document: Value = serde_json::from_str(&drawn).unwrap();
        let curve = &document["runs"][0]["curves"][0];
        (document["x"].clone(), curve["step"].clone(), curve["min"].clone())
    };
    assert_eq!(curve(&[]), (Value::Null, json!([10, 20, 30]), json!([3, 2, 1])));
    assert_eq!(curve(&["--x", "epoch"]), (json!("epoch"), json!([1, 2]), json!([3, 2])));
    assert_eq!(curve(&["--x", "time"]), (json!("time"), json!([1600, 1700]), json!([2, 3])));
    assert_eq!(curve(&["--x", "tokens"]), (json!("tokens"), json!([5, 9]), json!([3, 2])));
    let picture = lab.cmd("run-report").args(["--plot", "loss", "--x", "epoch"]).run().code(0).out();
    assert!(picture.trim_start().starts_with("loss (over epoch)\n"), "{picture}");
    let said = "run-report: no run has 'loss' in a row with 'lost'\n\
                run-report: --format csv shows all columns\n";
    lab.cmd("run-report").args(["--plot", "loss", "--x", "lost"]).run().code(1).stdout("").stderr(said);
    made(&lab, "epochs", "metrics.jsonl", &epochs(1..3));
    let drawn = lab.cmd("run-report").args(["--plot", "loss", "--export", "-", "epochs"]).run().code(0).out();
    let document: Value = serde_json::from_str(&drawn).unwrap();
    assert_eq!(document["runs"][0]["curves"][0]["step"], json!([0, 1, 2, 3, 4, 5]));
}

#[test]
fn validations_that_count_in_epochs_take_no_step_back() {
    // As the LoggerHook of mmengine logs them (mmengine/hooks/logger_hook.py, `after_val_epoch`).
    let epoch = |epoch: u32| {
        let train = |step: u32| {
            format!("{{\"loss\": 0.5, \"epoch\": {epoch}, \"iter\": {step}, \"step\": {step}}}\n")
        };
        let validation = format!("{{\"coco/bbox_mAP\": 0.{epoch}, \"time\": 0.2, \"step\": {epoch}}}\n");
        train(epoch * 100 - 50) + &train(epoch * 100) + &validation
    };
    let lab = Lab::new();
    attempts(&lab, "scalars.json", &[&(epoch(1) + &epoch(2)), &epoch(3)]);
    assert_eq!((step(&lab), &lab.json("runs/r/.run/result.json")["final_step"]), (json!(300), &json!(300)));
    let metrics = lab.status("r")["metrics"].clone();
    assert_eq!((&metrics["coco/bbox_mAP"]["count"], &metrics["loss"]["count"]), (&json!(3), &json!(6)));
}

#[test]
fn curves_are_drawn_over_the_times_of_event_files() {
    let lab = Lab::new();
    let events = checkout().join("tests/fixtures/events.py");
    for (name, since) in [("old", 1000.0), ("new", 1_769_688_000.25)] {
        lab.new_run(name, &["true"]);
        let file = format!("runs/{name}/events.out.tfevents.1.h");
        // The first two are one row; a duration that is logged is no time of a row.
        let values = ["1:loss=4", "1:perf/time=0.5", "2:loss=3", "3:loss=2"];
        let make = lab.cmd("python3").arg(&events).arg(&file).args(values);
        make.env("EVENTS_SINCE", since.to_string()).run().code(0);
        let draw = |words: &[&str]| {
            let drawn = lab.cmd("run-report").args(["--plot", "loss", "--x", "time"]).args(words).arg(name);
            drawn.run().code(0).out()
        };
        let document: Value = serde_json::from_str(&draw(&["--export", "-"])).unwrap();
        let curve = &document["runs"][0]["curves"][0];
        let numbers = |key: &str| -> Vec<f64> {
            curve[key].as_array().unwrap().iter().filter_map(Value::as_f64).collect()
        };
        let times = vec![since, since + 2.0, since + 3.0];
        assert_eq!((numbers("step"), numbers("min")), (times, vec![4.0, 3.0, 2.0]));
        let picture = draw(&[]);
        let axis = picture.lines().skip_while(|line| !line.contains('└')).nth(1).unwrap();
        let ends: Vec<&str> = axis.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
        let expected =
            if name == "old" { "1000 1001 1002 1003" } else { "2026-01-29 12:00 2026-01-29 12:00" };
        assert_eq!(ends.join(" "), expected, "{picture}");
        let svg = draw(&["--svg", "-"]);
        assert_eq!(svg.contains(">2026-01-29 12:00</text>"), name == "new", "{svg}");
    }
}
