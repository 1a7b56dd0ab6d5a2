//! A full disk: the training goes on or dies of its own error, the last good record survives, and it is
//! reported.

use serde_json::{Value, json};
use std::fs;
use testkit::{Done, Lab};

/// Runs a script in a small file system of its own, mounted at `small`, which it copies to `kept`
/// in the end.
fn on_small_disk(lab: &Lab, script: &str) -> Done {
    for name in ["small", "kept"] {
        fs::create_dir(lab.path(name)).unwrap();
    }
    let script = format!(
        "mount -t tmpfs -o size=1m small \"$PWD/small\" || exit 99\n{script}\ncode=$?\ncp -a small/. kept/ && exit $code"
    );
    let unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"];
    let done = lab.cmd(unshare[0]).args(&unshare[1..]).arg(script).env("RUNS_DIR", "small").run();
    assert_ne!(done.code, 99, "this machine does not let a user mount: {}", done.err());
    done
}

#[test]
fn a_training_goes_on_when_its_logs_have_filled_the_disk() {
    let lab = Lab::new();
    let program = "for i in range(40000): print('line', i, 'x' * 50)\nopen('done', 'w').write('yes')";
    lab.write("train.py", program);
    let done = on_small_disk(
        &lab,
        "run-new -n r -- python3 train.py >/dev/null && run-exec -q --heartbeat 20ms r; echo exit $?; run-status -a --json",
    );
    let out = done.out();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((lines[0], lab.read("done").as_str()), ("exit 0", "yes"));
    assert!(
        done.err().contains("No space left on device; the command continues, but output is LOST"),
        "{}",
        done.err()
    );
    // The end is recorded all the same: space was kept for it.
    let status: Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!((&status["status"], &status["exit_code"]), (&json!("completed"), &json!(0)));
    let reason = status["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("disk full: ") && reason.ends_with(" bytes of output could not be logged"),
        "{reason}"
    );
    let result = lab.json("kept/r/.run/result.json");
    let lost = result["lost_bytes"].as_u64().unwrap();
    let logged = lab.bytes("kept/r/stdout.log");
    let expected: String = (0..40000).map(|i| format!("line {i} {}\n", "x".repeat(50))).collect();
    assert_eq!(logged.len() as u64 + lost, expected.len() as u64);
    assert!(expected.as_bytes().starts_with(&logged));
    lab.json("kept/r/.run/status.json");
    lab.nothing_left();
}

#[test]
fn a_training_that_dies_of_a_full_disk_died_of_it() {
    let lab = Lab::new();
    lab.write("train.py", "import os\nopen(os.environ['RUN_DIR'] + '/model', 'wb').write(bytes(5_000_000))");
    let done = on_small_disk(
        &lab,
        "run-new -n r -- python3 train.py >/dev/null && run-exec -q r; echo exit $?; run-status -a --json",
    );
    let out = done.out();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "exit 1");
    let status: Value = serde_json::from_str(lines[1]).unwrap();
    let reason = status["reason"].as_str().unwrap();
    assert_eq!(status["status"], "failed");
    assert!(
        reason.starts_with("exit 1")
            && (reason.contains("No space left on device") || reason.contains("disk full")),
        "{reason}"
    );
}

#[test]
fn a_run_on_a_full_disk_can_be_stopped() {
    let lab = Lab::new();
    let script = "run-new -n r -- sleep 1000 >/dev/null && run-exec --detach r >/dev/null && dd if=/dev/zero of=small/fill bs=4k 2>/dev/null; run-stop r";
    on_small_disk(&lab, script).code(0).stdout("small/r: stopped\n");
    assert_eq!(lab.json("kept/r/.run/result.json")["status"], "stopped");
}

#[test]
fn a_run_that_cannot_be_recorded_is_not_started() {
    let lab = Lab::new();
    let fill = "dd if=/dev/zero of=small/fill bs=4k 2>/dev/null";
    let done = on_small_disk(
        &lab,
        &format!(
            "run-new -n r -- touch ran >/dev/null; {fill}; run-exec r; echo exit $?; rm small/fill; run-status -a --json; {fill}; run-new -n s; echo exit $?; ls small"
        ),
    );
    let out = done.out();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "exit 125");
    assert!(!lab.path("ran").exists());
    let status: Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!(status["status"], "created");
    assert!(done.err().contains("No space left on device"), "{}", done.err());
    assert_eq!(&lines[2..], ["exit 5", "fill", "r"], "{}", done.err());
}

/// A start line is longer than an end line, for which there may be room where there was none for the other.
#[test]
fn a_resume_on_a_full_disk_was_never_made() {
    let lab = Lab::new();
    let fill = "dd if=/dev/zero of=small/fill bs=4k 2>/dev/null";
    let create = "run-new -n r -- false >/dev/null; run-exec -q r; cp -a small/r/.run before";
    for padding in (0..4096).step_by(256) {
        let _ = fs::remove_dir_all(lab.path("before"));
        let pad = format!(
            "python3 -c \"open('small/r/.run/attempts.jsonl', 'a').write('{{\\\"pad\\\": \\\"' + 'x' * {padding} + '\\\"}}\\n')\""
        );
        let script = format!(
            "{create}; {pad}; {fill}; run-exec --resume r; echo exit $?; rm small/fill; run-exec -q --resume r; echo exit $?"
        );
        let done = on_small_disk(&lab, &script);
        assert_eq!(done.out(), "exit 125\nexit 1\n", "{}", done.err());
        assert!(done.err().contains("No space left on device"), "{}", done.err());
        let lines = lab.json_lines("kept/r/.run/attempts.jsonl");
        let said: Vec<String> = lines
            .iter()
            .filter(|line| line["event"].is_string())
            .map(|line| format!("{} {}", line["event"].as_str().unwrap(), line["attempt"]))
            .collect();
        assert_eq!(said, ["start 1", "end 1", "start 2", "end 2"], "{padding}");
        for name in ["small", "kept"] {
            fs::remove_dir_all(lab.path(name)).unwrap();
        }
    }
}

#[test]
fn a_sweep_that_fills_the_disk_is_completed_when_there_is_room() {
    let lab = Lab::new();
    lab.write("base.yaml", "seed: 1\n");
    let line = "run-new -b=b --exist-ok --sweep k=1..40 base.yaml";
    let script = format!(
        "head -c 800000 /dev/zero > small/ballast; {line} > first; echo exit $?; ls -A small/b; rm small/ballast; {line} > second"
    );
    let done = on_small_disk(&lab, &script).code(0);
    let (out, err) = (done.out(), done.err());
    let said: Vec<&str> = out.lines().collect();
    assert_eq!((said[0], err.lines().count()), ("exit 5", 1), "{err}");
    assert!(err.contains("cannot create a run in") && err.contains("No space left on device"), "{err}");
    let printed = lab.read("first").lines().count();
    assert!(
        (1..40).contains(&printed) && said.len() == 2 + printed,
        "what is there is whole, and was printed"
    );
    assert_eq!(lab.read("second").lines().count(), 40);
    assert_eq!(fs::read_dir(lab.path("kept/b")).unwrap().count(), 41);
    for name in lab.read("second").lines().map(|path| path.replace("small/", "kept/")) {
        assert_eq!(lab.json(&format!("{name}/.run/status.json"))["status"], "created");
        assert_eq!(lab.read(&format!("{name}/config.yaml")), "seed: 1\n");
    }
}

#[test]
fn a_copy_for_an_evaluation_leaves_the_training_room_for_its_next_checkpoint() {
    let lab = Lab::new();
    // Names without a step: files that are written again in place, of which a copy is evaluated.
    lab.write(
        "train.py",
        "import json, os, struct, time\n\
         for name, size in ('best', 400_000), ('final', 150_000):\n\
         \x20   os.makedirs(f\"{os.environ['RUN_DIR']}/{name}\")\n\
         \x20   header = json.dumps({'a': {'dtype': 'U8', 'shape': [size], 'data_offsets': [0, size]}}).encode()\n\
         \x20   path = f\"{os.environ['RUN_DIR']}/{name}/model.safetensors\"\n\
         \x20   with open(path, 'wb') as f: f.write(struct.pack('<Q', len(header)) + header + bytes(size))\n\
         \x20   os.utime(path, (1e9, 1e9))\n\
         open('saved', 'w')\n\
         while not os.path.exists('go'): time.sleep(0.01)\n",
    );
    let eval = "run-eval --eval-dir evals --json --steps best,final r -- sh -c 'test -s {checkpoint}/model.safetensors; \
        case {checkpoint} in */.eval-pins/*) echo \"{\\\"x\\\": 1}\";; esac'";
    let script = format!(
        "run-new -n r -- python3 train.py >/dev/null && run-exec --detach r >/dev/null && while [ ! -e saved ]; do sleep 0.01; done; \
         {eval}; echo exit $?; ls -A small/r | grep pins; touch go; run-status --wait r >/dev/null; {eval}; echo exit $?"
    );
    let done = on_small_disk(&lab, &script);
    let out = done.out();
    let lines: Vec<&str> = out.lines().collect();
    let told = |line: &str| -> (Value, Value, Value) {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["checkpoint"].clone(), line["status"].clone(), line["reason"].clone())
    };
    assert_eq!(lines.len(), 6, "{out}{}", done.err());
    let (checkpoint, status, reason) = told(lines[0]);
    assert_eq!((checkpoint, status), (json!("best"), json!("failed")), "{out}");
    let reason = reason.as_str().unwrap();
    let why = "the checkpoint cannot be pinned: its copy takes ";
    assert!(reason.starts_with(why) && reason.contains(", the next checkpoint as much, and "), "{reason}");
    assert_eq!(told(lines[1]), (json!("final"), json!("completed"), Value::Null), "{}", done.err());
    assert_eq!(lines[2], "exit 1", "pins are left: {out}");
    // When the training has ended, links do.
    assert_eq!(lines[5], "exit 0", "{out}{}", done.err());
    lab.nothing_left();
}

#[test]
fn a_supervisor_that_is_killed_on_a_full_disk_leaves_nothing_behind() {
    let lab = Lab::new();
    // The last line of the log has no end, and nothing can be added to it.
    lab.write(
        "train.py",
        "import os, time\nprint('x' * 100, end='', flush=True)\nopen('printed', 'w')\ntime.sleep(1000)",
    );
    let done = on_small_disk(
        &lab,
        "run-new -n r -- python3 train.py >/dev/null
         run-exec -q --linger 100ms --heartbeat 20ms r & exec=$!
         while [ ! -e printed ] || [ ! -s small/r/stdout.log ]; do sleep 0.01; done
         printf 'torn' >>small/r/combined.log
         dd if=/dev/zero of=small/fill bs=4k 2>/dev/null; while printf x >>small/fill; do :; done 2>/dev/null
         kill -9 $(cat small/r/.run/pid); wait $exec; echo exit $?; run-status --json r",
    );
    let out = done.out();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "exit 125", "{}", done.err());
    let status: Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!((&status["status"], &status["reason"]), (&json!("failed"), &json!("supervisor was killed")));
    lab.nothing_left();
}

#[test]
fn a_request_to_stop_that_cannot_be_told_is_a_request_all_the_same() {
    let lab = Lab::new();
    let done = on_small_disk(
        &lab,
        "run-new -n r -- true >/dev/null
         dd if=/dev/zero of=small/fill bs=4k 2>/dev/null; while printf x >>small/fill; do :; done 2>/dev/null
         run-stop r; echo exit $?; ls small/r/stop",
    );
    assert_eq!(done.out(), "small/r: created\nexit 0\nsmall/r/stop\n", "{}", done.err());
}
