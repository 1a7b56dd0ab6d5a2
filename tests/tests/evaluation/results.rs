//! What run-eval makes of checkpoints, and of what their evaluations measure.

use std::fs;
use std::time::{Duration, SystemTime};
use testkit::evals::{SCRIPT, consolidated, ended, eval, no_pins, reason, save, spawned};
use testkit::process::Signal;
use testkit::{Lab, wait_for};

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
    eval(&lab, &["--force", "--steps", "100,1000", "r"], SCRIPT)
        .code(0)
        .stderr_has("eval_runs/r_eval', made by another command: sh -c 'echo $2 >> log;");
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
    // A row that cannot be read is reported, with its number.
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
