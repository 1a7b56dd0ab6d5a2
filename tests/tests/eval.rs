//! Evaluations: what run-eval makes of the checkpoints of a run, while it trains and afterwards.

use rustix::fs::{FlockOperation, fcntl_lock};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, SystemTime};
use testkit::process::Signal;
use testkit::{Done, Lab, Random, times, wait_for};

/// Makes a run that has ended.
fn ended(lab: &Lab, name: &str) {
    lab.new_run(name, &["true"]);
    lab.cmd("run-exec").args(["-q", name]).run().code(0);
}

/// Writes a whole checkpoint of a run, as the trainer of Hugging Face does.
fn save(lab: &Lab, run: &str, step: u64) {
    lab.write(&format!("runs/{run}/checkpoint-{step}/model.bin"), format!("weights {step}"));
    lab.write(
        &format!("runs/{run}/checkpoint-{step}/trainer_state.json"),
        format!("{{\"global_step\": {step}}}"),
    );
}

/// An evaluation that writes two rows.
const SCRIPT: &str = "test -s \"$1/model.bin\" && printf 'acc,n\\n0.%s,1\\nNaN,\\n' \"$2\" > \"$3/metrics.csv\" && echo \"$2\" >> log";

fn eval(lab: &Lab, args: &[&str], script: &str) -> Done {
    spawned(lab, args, script).wait()
}

fn spawned(lab: &Lab, args: &[&str], script: &str) -> testkit::Running {
    let command = ["--", "sh", "-c", script, "sh", "{checkpoint}", "{step}", "{out}"];
    lab.cmd("run-eval").args(args).args(command).spawn()
}

fn consolidated(lab: &Lab, run: &str) -> String {
    lab.read(&format!("eval_runs/{run}_eval/consolidated_metrics.csv"))
}

/// Returns the reason that is recorded for a step.
fn reason(lab: &Lab, run: &str, step: &str) -> String {
    let status = lab.json(&format!("eval_runs/{run}_eval/step_{step}_eval/.eval/status.json"));
    assert_eq!(status["status"], "failed");
    status["reason"].as_str().unwrap().to_owned()
}

/// Expects that no pin is left in a run.
fn no_pins(lab: &Lab, run: &str) {
    assert!(!lab.path(format!("runs/{run}/.eval-pins")).exists(), "pins are left");
}

#[test]
fn each_failure_has_its_reason_and_the_other_rows_are_right() {
    let lab = Lab::new();
    ended(&lab, "r");
    for step in [5, 10, 100, 200, 1000, 2000] {
        save(&lab, "r", step);
    }
    lab.write("runs/r/checkpoint-200/trainer_state.json", "{\"global_step\": 2");
    let script = "echo $2 >> log; case $2 in 100) (setsid sleep 1000 &) ; sleep 1000;; 1000) echo done;;\
        *) printf 'acc\\n0.%s\\n' $2 > $3/metrics.csv;; esac";
    let args = ["--timeout", "700ms", "--grace", "100ms", "r"];
    let done = eval(&lab, &args, script).code(1).stdout("eval_runs/r_eval/consolidated_metrics.csv\n");
    let expected = [
        "run-eval: 'r' step 200: the checkpoint is incomplete: 'trainer_state.json' does not parse",
        "run-eval: 'r' step 100: timeout 0.7s",
        "run-eval: 'r' step 1000: no metrics: neither metrics.csv nor summary.json, nor JSON on stdout",
    ];
    assert_eq!(done.err().lines().collect::<Vec<_>>(), expected);
    lab.nothing_left();
    no_pins(&lab, "r");
    assert_eq!(consolidated(&lab, "r"), "step,acc\n5,0.5\n10,0.10\n2000,0.2000\n");
    assert_eq!(reason(&lab, "r", "100"), "timeout 0.7s");
    assert_eq!(reason(&lab, "r", "1000").split(':').next(), Some("no metrics"));
    assert!(reason(&lab, "r", "200").starts_with("the checkpoint is incomplete"));
    assert_eq!(lab.read("log"), "5\n10\n100\n1000\n2000\n");
    // What has failed is evaluated again, and nothing else.
    save(&lab, "r", 200);
    lab.write("runs/r/checkpoint-3000/trainer_state.json", "{");
    eval(&lab, &args, script).code(1);
    assert_eq!(lab.read("log"), "5\n10\n100\n1000\n2000\n100\n200\n1000\n");
    // With --steps new, what has failed is not either.
    eval(&lab, &["--steps", "new", "r"], script).code(0).stderr("");
    assert_eq!(consolidated(&lab, "r"), "step,acc\n5,0.5\n10,0.10\n200,0.200\n2000,0.2000\n");
    // A better command makes the rest, and what it did not make is not in its table.
    eval(&lab, &["--force", "--steps", "100,1000", "r"], SCRIPT).code(0).stderr_has(
        "eval_runs/r_eval' that are set aside, since another command made them: 4 (sh -c 'echo $2 >> log;",
    );
    assert_eq!(consolidated(&lab, "r"), "step,acc,n\n100,0.100,1\n100,NaN,\n1000,0.1000,1\n1000,NaN,\n");
    // What was printed before is kept.
    assert_eq!(lab.read("eval_runs/r_eval/step_1000_eval/.eval/attempt-2/stdout.log"), "done\n");
}

#[test]
fn columns_that_differ_are_consolidated_without_a_shift() {
    let lab = Lab::new();
    ended(&lab, "r");
    let tables: [(u64, &[u8]); 7] = [
        (1, b"q_idx,pass_rate,answer\n0,1.0,\"a, \"\"b\"\"\nc\"\n1,NaN,\n2,,x\n"),
        (2, b"\xef\xbb\xbfpass_rate,q_idx,new col\r\n0.50,0,1e-05\r\n,1,inf\r\n"),
        (3, b"q_idx,pass_rate,answer\n0,0.1\n1,0.25,y,,\n"), // too short, and empty fields at the end
        (10, b"step,acc,acc,\"pass@1\"\n7,0.5,0.6,0.123456789012345678901234567890\n"),
        (20, "q_idx,größe\n0,\u{1f680}\n1,-0\n".as_bytes()),
        (30, b"only\n\"\"\n1\n"),
        (100, b"q_idx\n0\n\n1"),
    ];
    for (step, table) in tables {
        save(&lab, "r", step);
        lab.write(&format!("tables/{step}"), table);
    }
    eval(&lab, &["-j", "3", "r"], "cp tables/$2 $3/metrics.csv").code(0).stderr("");
    // Python reads each table, and the whole, and compares them value by value.
    let program = r#"
import csv
rows = list(csv.DictReader(open("eval_runs/r_eval/consolidated_metrics.csv", newline="")))
names = list(rows[0])
assert names[0] == "step" and all(None not in row and None not in row.values() for row in rows), names
assert [int(row["step"]) for row in rows] == sorted(int(row["step"]) for row in rows)
found = []
for step in (1, 2, 3, 10, 20, 30, 100):
    with open(f"tables/{step}", newline="", encoding="utf-8-sig") as file:
        header, *table = [row for row in csv.reader(file) if row]
    seen = []
    for name in header:
        name = "metrics.step" if name == "step" else name
        seen.append(f"{name}.1" if name in seen else name)
    for row in table:
        row += [""] * (len(header) - len(row))
        found.append({"step": str(step), **dict.fromkeys(names[1:], ""), **dict(zip(seen, row))})
assert found == rows, (found, rows)
print(len(rows), ",".join(names))
"#;
    let names = "14 step,q_idx,pass_rate,answer,new col,metrics.step,acc,acc.1,pass@1,größe,only\n";
    lab.cmd("python3").args(["-c", program]).run().code(0).stdout(names);
    // What cannot be a row is said, with the row.
    lab.write("tables/1", "a,b\n1,2\n1,2,3\n");
    lab.write("tables/2", "a,b\n1,\"2\n");
    lab.write("tables/3", "a,b\n");
    eval(&lab, &["--force", "--steps", "1,2,3", "r"], "cp tables/$2 $3/metrics.csv").code(1);
    assert_eq!(reason(&lab, "r", "1"), "metrics.csv has 3 fields in row 2, and 2 columns");
    assert_eq!(reason(&lab, "r", "2"), "metrics.csv ends within quotes");
    assert_eq!(reason(&lab, "r", "3"), "no metrics: metrics.csv has no rows");
    assert!(consolidated(&lab, "r").starts_with("step,metrics.step,acc,acc.1,pass@1,q_idx,"));
}

#[test]
fn metrics_come_from_a_summary_or_from_stdout_too() {
    let lab = Lab::new();
    ended(&lab, "r");
    for step in 1..=4 {
        save(&lab, "r", step);
    }
    let script = r#"case $2 in
        1) echo '{"acc": 0.10}' > $3/summary.json; echo '{"acc": 5}';;
        2) echo '{"acc": 1}'; printf '{\n "acc": 0.250, "by": {"task": NaN, "name": "a,b"},\n "n": null\n}\nbye\n';;
        3) echo '[1]' > $3/summary.json;;
        4) printf 'acc\n0.4\n' > $3/metrics.csv; echo '{"acc": 0}' > $3/summary.json;;
    esac"#;
    eval(&lab, &["r"], script).code(1);
    assert_eq!(reason(&lab, "r", "3"), "summary.json is no JSON object");
    let expected = "step,acc,by/task,by/name,n\n1,0.10,,,\n2,0.250,NaN,\"a,b\",\n4,0.4,,,\n";
    assert_eq!(consolidated(&lab, "r"), expected);
}

#[test]
fn a_trainer_that_deletes_old_checkpoints_makes_no_evaluation_fail() {
    let lab = Lab::new();
    lab.write(
        "train.py",
        "import os, shutil, sys, time\n\
         for step in range(1, 13):\n\
         \x20   d = f\"{os.environ['RUN_DIR']}/checkpoint-{step}\"\n\
         \x20   os.makedirs(d)\n\
         \x20   open(d + '/model.bin', 'w').write('x' * 1000)\n\
         \x20   open(d + '/trainer_state.json', 'w').write('{}')\n\
         \x20   if step > 3:\n\
         \x20       shutil.rmtree(f\"{os.environ['RUN_DIR']}/checkpoint-{step - 3}\")\n\
         \x20   if step == 6:\n\
         \x20       while not os.path.exists('go'): time.sleep(0.01)\n",
    );
    lab.new_run("r", &["python3", "train.py"]);
    let training = lab.cmd("run-exec").args(["-q", "r"]).spawn();
    wait_for("the sixth checkpoint", || lab.path("runs/r/checkpoint-6/trainer_state.json").exists());
    wait_for("the third to go", || !lab.path("runs/r/checkpoint-3").exists());
    // While the first of three is evaluated, all of them are deleted.
    let script = "touch go; while [ -e \"runs/r/checkpoint-$2\" ]; do sleep 0.01; done; \
        test $(cat $1/model.bin | wc -c) = 1000 && test \"$1\" != \"$PWD/runs/r/checkpoint-$2\" && echo \"{\\\"acc\\\": $2}\"";
    eval(&lab, &["r"], script).code(0).stderr("");
    training.wait().code(0);
    assert_eq!(consolidated(&lab, "r"), "step,acc\n4,4\n5,5\n6,6\n");
    let kept = lab.json("eval_runs/r_eval/step_4_eval/.eval/meta.json");
    assert_eq!((kept["checkpoint"].as_str(), kept["step"].as_u64()), (Some("checkpoint-4"), Some(4)));
    no_pins(&lab, "r");
}

#[test]
fn a_checkpoint_that_is_written_in_place_stays_as_it_is_evaluated() {
    let lab = Lab::new();
    let script = "while [ ! -e go ]; do sleep 0.01; done; echo '\"new\" as well' > $RUN_DIR/best_model.json; touch gone; sleep 1000";
    lab.new_run("r", &["sh", "-c", script]);
    let training = lab.cmd("run-exec").args(["-q", "r"]).spawn();
    lab.await_status("r", "running", |status| status["status"] == "running");
    lab.write("runs/r/best/model.safetensors", [&[2, 0, 0, 0, 0, 0, 0, 0][..], b"{}"].concat());
    let before = SystemTime::now() - Duration::from_secs(60);
    let file = fs::File::options().write(true).open(lab.path("runs/r/best/model.safetensors")).unwrap();
    file.set_modified(before).unwrap();
    let script = "printf xxxxxxxxxx 1<> runs/r/best/model.safetensors; head -c 1 $1/model.safetensors | od -An -tu1 | tr -d ' \\n' > byte; \
        echo \"{\\\"byte\\\": $(cat byte)}\"";
    let command = ["--", "sh", "-c", script, "sh", "{checkpoint}"];
    lab.cmd("run-eval").args(["--steps", "best", "r"]).args(command).run().code(0).stderr("");
    assert_eq!(consolidated(&lab, "r"), "step,byte\n,2\n");
    assert_eq!(lab.bytes("runs/r/best/model.safetensors")[0], b'x');
    training.signal(Signal::TERM);
    training.wait();
}

#[test]
fn follow_evaluates_each_checkpoint_once_and_none_before_it_is_whole() {
    let lab = Lab::new();
    lab.write(
        "train.py",
        "import os, sys, time\n\
         for step in range(1, 6):\n\
         \x20   d = f\"{os.environ['RUN_DIR']}/checkpoint-{step}\"\n\
         \x20   os.makedirs(d)\n\
         \x20   with open(d + '/model.bin', 'w') as f:\n\
         \x20       for part in range(10):\n\
         \x20           f.write('x' * 100); f.flush(); time.sleep(0.1)\n\
         \x20   open(d + '/trainer_state.json', 'w').write('{}')\n",
    );
    lab.new_run("r", &["python3", "train.py"]);
    // It may begin before the run does.
    let script =
        "test $(cat $1/model.bin | wc -c) = 1000 || exit 7; echo $2 >> log; echo \"{\\\"acc\\\": $2}\"";
    let following = spawned(&lab, &["--follow", "r"], script);
    let training = lab.cmd("run-exec").args(["-q", "r"]).spawn();
    lab.await_text("log", "2\n");
    assert_eq!(lab.status("r")["status"], "running");
    training.wait().code(0);
    following.wait().code(0).stderr("");
    assert_eq!(lab.read("log"), "1\n2\n3\n4\n5\n");
    assert_eq!(consolidated(&lab, "r"), "step,acc\n1,1\n2,2\n3,3\n4,4\n5,5\n");
    no_pins(&lab, "r");
}

#[test]
fn files_that_are_written_slowly_are_not_evaluated_before_they_are_whole() {
    let lab = Lab::new();
    lab.write(
        "train.py",
        "import io, json, os, struct, time, zipfile\n\
         zipped = io.BytesIO()\n\
         with zipfile.ZipFile(zipped, 'w') as z:\n\
         \x20   z.writestr('archive/data.pkl', b'\\x80\\x02}.')\n\
         \x20   z.writestr('archive/data/0', bytes(7000))\n\
         header = json.dumps({'a': {'dtype': 'U8', 'shape': [7000], 'data_offsets': [0, 7000]}}).encode()\n\
         tensors = struct.pack('<Q', len(header)) + header + bytes(7000)\n\
         for step, whole in enumerate([zipped.getvalue(), tensors], 1):\n\
         \x20   open(f'size-{step}', 'w').write(str(len(whole)))\n\
         \x20   end = ['pt', 'safetensors'][step - 1]\n\
         \x20   with open(f\"{os.environ['RUN_DIR']}/model_{step}.{end}\", 'wb', buffering=0) as f:\n\
         \x20       for at in range(0, len(whole), 500):\n\
         \x20           f.write(whole[at:at + 500]); time.sleep(0.05)\n\
         \x20   while step == 1 and not os.path.exists('log'): time.sleep(0.02)\n",
    );
    lab.new_run("r", &["python3", "train.py"]);
    let training = lab.cmd("run-exec").args(["-q", "r"]).spawn();
    let script =
        "test $(cat $1 | wc -c) = $(cat size-$2) || exit 7; echo $2 >> log; echo \"{\\\"acc\\\": $2}\"";
    let following = spawned(&lab, &["--follow", "r"], script);
    lab.await_text("log", "1\n");
    assert_eq!(lab.status("r")["status"], "running");
    training.wait().code(0);
    following.wait().code(0).stderr("");
    assert_eq!(lab.read("log"), "1\n2\n");
}

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
    let unread = "'checkpoints' is passed over: it cannot be read: No such file or directory";
    refused("all", &format!("no complete checkpoint has a step; {unread}"));
    lab.write("runs/r/checkpoint-4/trainer_state.json", "{}");
    let lacks = "'checkpoint-4' is passed over: it holds no weights";
    refused("latest", &format!("no complete checkpoint has a step; {lacks}"));
    fs::remove_dir_all(lab.path("runs/r/checkpoint-4")).unwrap();
    fs::remove_file(lab.path("runs/r/checkpoints")).unwrap();
    lab.write("runs/r/best.pt", b"\x80\x04N.");
    refused("all", "no checkpoint has a step; --steps final, best or last may name one");
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
    eval(&lab, &["--steps", "10,11", "r"], SCRIPT).code(3).stderr_has("no checkpoint of step 11");
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
    lab.cmd("run-eval").arg("r").run().code(2);
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
        .stderr_has("nothing in it says of which run it is");
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
        (good.replace("\"schema\":1", "\"schema\":99"), "it has schema 99, and this version knows 1"),
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

#[test]
fn of_many_that_start_at_once_one_evaluates_and_the_others_say_who() {
    for _ in 0..times(8, 100) {
        let lab = Lab::new();
        ended(&lab, "r");
        save(&lab, "r", 1);
        // The one that is first stays until the others have ended.
        let script = "while [ ! -e go ]; do sleep 0.01; done; echo '{\"acc\": 1}'; echo $2 >> log";
        let mut all: Vec<testkit::Running> = (0..20).map(|_| spawned(&lab, &["r"], script)).collect();
        let mut ended = Vec::new();
        wait_for("all but one to end", || {
            while let Some(at) = all.iter_mut().position(|one| one.child.try_wait().unwrap().is_some()) {
                ended.push(all.swap_remove(at).wait());
            }
            all.len() == 1
        });
        let first = all.pop().unwrap();
        let who = format!("process {} on ", first.pid());
        for done in ended {
            done.code(4).stderr_has(&who).stderr_has(" evaluates the run");
        }
        lab.write("go", "");
        first.wait().code(0).stderr("");
        assert_eq!(
            (lab.read("log"), consolidated(&lab, "r")),
            ("1\n".to_owned(), "step,acc\n1,1\n".to_owned())
        );
    }
}

#[test]
fn a_directory_that_another_one_makes_is_not_taken_for_a_strangers() {
    let lab = Lab::new();
    ended(&lab, "r");
    save(&lab, "r", 1);
    // One that has taken the lock, and has said neither who it is nor of which run this is.
    lab.write("eval_runs/r_eval/eval_config.yaml", "");
    let lock = fs::File::create(lab.path("eval_runs/r_eval/.lock")).unwrap();
    fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    eval(&lab, &["r"], SCRIPT).code(4).stderr_has("another process evaluates the run");
    // When nobody is at it, it is a stranger's.
    drop(lock);
    eval(&lab, &["r"], SCRIPT).code(3).stderr_has("nothing in it says of which run it is");
    assert!(!lab.path("eval_runs/r_eval/.eval").exists());
}

#[test]
fn many_runs_are_evaluated_though_few_files_may_be_open() {
    let lab = Lab::new();
    lab.write("runs/grid/.batch/batch.json", "{}\n");
    for run in 0..40 {
        lab.cmd("run-new").args(["-d", "runs/grid", "-n", &format!("r{run}"), "--", "true"]).run().code(0);
        save(&lab, &format!("grid/r{run}"), 1);
    }
    let script = "ulimit -S -n 64; run-eval runs/grid -- sh -c 'echo \"{\\\"files\\\": $(ulimit -S -n)}\"'";
    lab.cmd("sh").args(["-c", script]).run().code(0).stderr("");
    for run in 0..40 {
        let table = lab.read(&format!("eval_runs/grid/r{run}_eval/consolidated_metrics.csv"));
        assert_eq!(table, "step,files\n1,64\n");
    }
}

#[test]
fn a_gpu_is_given_to_each_evaluation() {
    let lab = Lab::new();
    ended(&lab, "r");
    for step in 1..=4 {
        save(&lab, "r", step);
    }
    let script = "echo \"{\\\"gpu\\\": \\\"$CUDA_VISIBLE_DEVICES\\\"}\"";
    let command = ["r", "--", "sh", "-c", script];
    lab.cmd("run-eval").args(command).run().code(0);
    assert_eq!(consolidated(&lab, "r"), "step,gpu\n1,0\n2,0\n3,0\n4,0\n");
    lab.cmd("run-eval").arg("--force").args(command).env("CUDA_VISIBLE_DEVICES", "3").run().code(0);
    assert_eq!(consolidated(&lab, "r"), "step,gpu\n1,3\n2,3\n3,3\n4,3\n");
    // Two at once, on two of their own: each waits for the other.
    let script = format!("touch at-$2; while [ $(ls | grep -c at-) -lt 2 ]; do sleep 0.01; done; {script}");
    eval(&lab, &["--force", "--gpus", "4,5+6", "r"], &script).code(0);
    let mut found: Vec<String> =
        consolidated(&lab, "r").lines().skip(1).take(2).map(|line| line[2..].to_owned()).collect();
    found.sort();
    assert_eq!(found, ["\"5,6\"", "4"]);
}

#[test]
fn an_interrupt_ends_evaluations_gracefully_and_the_rest_comes_next_time() {
    let lab = Lab::new();
    ended(&lab, "r");
    for step in 1..=4 {
        save(&lab, "r", step);
    }
    let script = format!(
        "{SCRIPT}; [ -e go ] || [ $2 -lt 2 ] || {{ trap 'touch asked; exit 1' INT; touch waits; while :; do sleep 0.01; done; }}"
    );
    let running = spawned(&lab, &["r"], &script);
    wait_for("the second evaluation", || lab.path("waits").exists());
    // Another one of the same kind would be in the way.
    eval(&lab, &["r"], &script).code(4).stderr_has("evaluates the run");
    running.signal(Signal::INT);
    running.wait().code(130).stdout("eval_runs/r_eval/consolidated_metrics.csv\n");
    assert!(lab.path("asked").exists());
    lab.nothing_left();
    no_pins(&lab, "r");
    assert_eq!(consolidated(&lab, "r"), "step,acc,n\n1,0.1,1\n1,NaN,\n");
    assert_eq!(lab.json("eval_runs/r_eval/step_2_eval/.eval/status.json")["status"], "stopped");
    lab.write("go", "");
    eval(&lab, &["r"], &script).code(0).stderr("");
    assert_eq!(lab.read("log"), "1\n2\n2\n3\n4\n");
}

#[test]
fn whatever_is_killed_the_records_are_true_and_the_same_line_completes_it() {
    let mut random = Random::new(7);
    for round in 0..times(6, 200) {
        let lab = Lab::new();
        ended(&lab, "r");
        for step in 1..=5 {
            save(&lab, "r", step);
        }
        let script = "sleep 0.05; printf 'acc\\n0.%s\\n' $2 > $3/metrics.csv; sleep 0.02";
        let args = ["--grace", "200ms", "-j", "2", "r"];
        let running = spawned(&lab, &args, script);
        sleep(Duration::from_millis(random.below(300)));
        // The controller, or any of its processes.
        let mut victims = vec![running.pid()];
        if round % 2 == 1 {
            victims = lab.alive();
            victims.retain(|pid| {
                fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("run-eval"))
            });
        }
        if !victims.is_empty() {
            let victim = victims[usize::try_from(random.below(victims.len() as u64)).unwrap()];
            testkit::signal(victim, Signal::KILL);
        }
        let code = running.wait().code;
        assert!([0, 1, 1009].contains(&code), "{code}");
        // Every file parses, and what says that it has completed has.
        for step in 1..=5 {
            let at = format!("eval_runs/r_eval/step_{step}_eval/.eval");
            for file in ["meta.json", "status.json", "result.json"] {
                let path = lab.path(format!("{at}/{file}"));
                if path.exists() {
                    assert!(serde_json::from_slice::<Value>(&fs::read(path).unwrap()).is_ok(), "{at}/{file}");
                }
            }
        }
        eval(&lab, &args, script).code(0).stderr("");
        assert_eq!(consolidated(&lab, "r"), "step,acc\n1,0.1\n2,0.2\n3,0.3\n4,0.4\n5,0.5\n");
        lab.nothing_left();
        no_pins(&lab, "r");
    }
}

#[test]
fn nothing_is_left_of_an_evaluation_of_which_both_processes_were_killed() {
    let lab = Lab::new();
    ended(&lab, "r");
    save(&lab, "r", 1);
    save(&lab, "r", 2);
    let script =
        "[ $2 = 2 ] || { trap '' TERM; touch waits; while :; do sleep 0.01; done; }; echo '{\"acc\": 1}'";
    let running = spawned(&lab, &["r"], script);
    wait_for("the first evaluation", || lab.path("waits").exists());
    let is_ours =
        |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("run-eval"));
    let others: Vec<i32> =
        lab.alive().into_iter().filter(|pid| is_ours(pid) && *pid != running.pid()).collect();
    assert_eq!(others.len(), 2);
    for pid in others {
        testkit::signal(pid, Signal::KILL);
    }
    running.wait().code(1).stderr_has("'r' step 1: ");
    wait_for("the end of its processes", || lab.alive().is_empty());
    assert_eq!(consolidated(&lab, "r"), "step,acc\n2,1\n");
    no_pins(&lab, "r");
}

#[test]
fn pins_are_links_and_those_of_a_killed_one_are_removed() {
    let lab = Lab::new();
    ended(&lab, "r");
    save(&lab, "r", 1);
    let old = "01980000-0000-7000-8000-000000000001";
    lab.write(&format!("runs/r/.eval-pins/{old}/of/checkpoint-9/model.bin"), "x");
    lab.write(&format!("runs/r/.eval-pins/{old}/lock"), "");
    let script = "stat -c %i $1/model.bin > inode; ls -A runs/r/.eval-pins > pins; echo '{\"acc\": 1}'";
    eval(&lab, &["r"], script).code(0).stderr("");
    let inode = fs::metadata(lab.path("runs/r/checkpoint-1/model.bin")).unwrap().ino();
    assert_eq!(lab.read("inode"), format!("{inode}\n"));
    assert!(!lab.read("pins").contains(old));
    no_pins(&lab, "r");
    assert_eq!(lab.read("runs/r/checkpoint-1/model.bin"), "weights 1");
}

#[test]
fn what_is_not_known_to_be_a_dead_pin_is_left_alone() {
    let lab = Lab::new();
    ended(&lab, "r");
    save(&lab, "r", 1);
    let pins = "runs/r/.eval-pins";
    let id = |number: u32| format!("01980000-0000-7000-8000-00000000000{number}");
    lab.write("precious/lock", "");
    // Of another name, and behind a link.
    let kept = [format!("{pins}/mine/lock"), "precious/lock".to_owned()];
    for file in &kept {
        lab.write(file, "");
    }
    // A run-eval was killed while it removed this one.
    lab.write(&format!("{pins}/{}/of/x", id(2)), "");
    std::os::unix::fs::symlink(lab.path("precious"), lab.path(format!("{pins}/{}", id(1)))).unwrap();
    eval(&lab, &["r"], SCRIPT).code(0).stderr("");
    for file in &kept {
        assert!(lab.path(file).exists(), "{file}");
    }
    assert!(!lab.path(format!("{pins}/{}", id(2))).exists());
    // Nor is anything behind a link in place of them all.
    fs::rename(lab.path(pins), lab.path("away")).unwrap();
    std::os::unix::fs::symlink(lab.path("away"), lab.path(pins)).unwrap();
    let before = fs::read_dir(lab.path("away")).unwrap().count();
    lab.write(&format!("away/{}/lock", id(3)), "");
    eval(&lab, &["--force", "r"], SCRIPT).code(0).stderr_has("'.eval-pins' is a link; they must stay");
    assert_eq!(fs::read_dir(lab.path("away")).unwrap().count(), before + 1);
    assert_eq!(consolidated(&lab, "r"), "step,acc,n\n1,0.1,1\n1,NaN,\n");
}

#[test]
fn checkpoints_on_another_disk_are_pinned_there() {
    let (lab, disk) = (Lab::new(), Lab::below(Path::new("/dev/shm")));
    lab.new_run("r", &["sh", "-c", "touch started; while [ ! -e go ]; do sleep 0.01; done"]);
    std::os::unix::fs::symlink(disk.dir(), lab.path("runs/r/checkpoints")).unwrap();
    let training = lab.cmd("run-exec").args(["-q", "r"]).spawn();
    wait_for("the start", || lab.path("started").exists());
    disk.write("checkpoint-1/model.bin", "weights 1");
    disk.write("checkpoint-1/trainer_state.json", "{}");
    let inode = fs::metadata(disk.path("checkpoint-1/model.bin")).unwrap().ino();
    let script = "rm -r runs/r/checkpoints/checkpoint-1; stat -c %i $1/model.bin > inode; cat $1/model.bin > content; \
        echo '{\"acc\": 1}'";
    eval(&lab, &["r"], script).code(0).stderr("");
    assert_eq!((lab.read("inode"), lab.read("content")), (format!("{inode}\n"), "weights 1".to_owned()));
    assert_eq!(fs::read_dir(disk.dir()).unwrap().count(), 0, "pins are left");
    no_pins(&lab, "r");
    lab.write("go", "");
    training.wait().code(0);
}

#[test]
fn a_terminal_shows_how_far_it_is() {
    let lab = Lab::new();
    ended(&lab, "r");
    for step in 1..=3 {
        save(&lab, "r", step);
    }
    let program = "import os, pty, sys\n\
        seen = []\n\
        def read(fd):\n\
        \x20   data = os.read(fd, 4096)\n\
        \x20   seen.append(data)\n\
        \x20   return data\n\
        code = pty.spawn(['run-eval', 'r', '--', 'sh', '-c', 'sleep 0.3; echo \"{\\\\\"a\\\\\": 1}\"'], read)\n\
        sys.exit(code)\n";
    lab.write("terminal.py", program);
    let shown = lab.cmd("python3").arg("terminal.py").env("TERM", "xterm").run().code(0).out();
    assert!(shown.contains("0/3 step 1") && shown.contains("2/3 step 3, eta "), "{shown:?}");
}

#[test]
fn the_details_of_a_run_list_its_evaluations() {
    let lab = Lab::new();
    ended(&lab, "r");
    ended(&lab, "r_x"); // whose evaluations have a name that begins alike
    for step in [9, 10] {
        save(&lab, "r", step);
        save(&lab, "r_x", step);
    }
    eval(&lab, &["r_x"], SCRIPT).code(0);
    let script = "[ $2 = 10 ] && printf 'q_idx,pass,text,kl\\n0,1,2,NaN\\n1,0,x,\\n2,NaN,,\\n3,0.5,4,\\n' > $3/metrics.csv";
    eval(&lab, &["--label", "gsm8k", "r"], script).code(1);
    let shown = lab.cmd("run-status").arg("r").run().code(0).out();
    let block = shown.split("\n\n").find(|block| block.starts_with("EVALUATION")).unwrap();
    let rows: Vec<BTreeMap<usize, &str>> =
        block.lines().map(|line| line.split_whitespace().enumerate().collect()).collect();
    assert_eq!(rows.len(), 3, "{block}");
    assert_eq!((rows[1][&0], rows[1][&1], rows[1][&2]), ("gsm8k", "9", "failed"));
    assert!(block.contains("exit 1"), "{block}");
    assert_eq!((rows[2][&0], rows[2][&1], rows[2][&2]), ("gsm8k", "10", "completed"));
    // The means over the rows: of numbers, and not of what counts the rows.
    let measured: Vec<&str> = rows[2].range(4..).map(|(_, word)| *word).collect();
    assert_eq!(measured, ["4", "pass=0.5000", "kl=NaN"], "{block}");
    let record = "eval_runs/r_gsm8k/step_10_gsm8k/.eval/metrics.json";
    let kept = lab.json(record);
    assert_eq!((&kept["step"], &kept["rows"]), (&10.into(), &4.into()));
    assert_eq!((&kept["metrics"]["q_idx"], &kept["metrics"]["pass"]["max"]), (&Value::Null, &1.into()));
    // What has failed since says nothing of before.
    eval(&lab, &["--label", "gsm8k", "--steps", "10", "--force", "r"], "exit 3").code(1);
    assert!(!lab.path(record).exists());
    let place = Path::new("eval_runs/r_gsm8k/consolidated_metrics.csv");
    assert!(lab.path(place).exists());
}
