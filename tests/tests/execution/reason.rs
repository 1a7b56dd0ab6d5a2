//! Why a run failed is reported in one line: the error that its program died of, in its own words, whatever
//! stands around it in the log; and what ended by a signal below a shell is tried again as if it had itself.

use serde_json::json;
use std::fs;
use testkit::Lab;

/// Executes a Python program in a run, and returns the reason of its end.
fn reason_of(lab: &Lab, name: &str, program: &str) -> String {
    let run = lab.new_run(name, &["python3", "-c", program]);
    lab.cmd("run-exec").args(["-q", &run]).run();
    lab.status(&run)["reason"].as_str().unwrap_or_default().to_owned()
}

/// Lets a run print a text on stderr, fail, and returns the reason.
fn reason_for(lab: &Lab, name: &str, text: &str) -> String {
    lab.write(name, text);
    let run = lab.new_run(&format!("of-{name}"), &["sh", "-c", &format!("cat {name} >&2; exit 1")]);
    lab.cmd("run-exec").args(["-q", &run]).run().code(1);
    lab.status(&run)["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_launcher_that_failed_hides_no_reason() {
    let lab = Lab::new();
    let torchrun = "[rank1]: Traceback (most recent call last):\n[rank1]:   File \"/w/train.py\", line 7, in main\n\
        [rank1]: ValueError: bad shard 7\n\
        E0101 10:00:00.1 140 torch/distributed/elastic/multiprocessing/api.py:869] failed (exitcode: 1) local_rank: 1\n\
        Traceback (most recent call last):\n  File \"/usr/bin/torchrun\", line 8, in <module>\n    sys.exit(main())\n\
        torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n\
        ============================================================\ntrain.py FAILED\n\
        ------------------------------------------------------------\n";
    assert_eq!(reason_for(&lab, "torchrun", torchrun), "exit 1: ValueError: bad shard 7");
    let end = lab.json("runs/of-torchrun/.run/result.json");
    assert_eq!(end["traceback"].as_array().unwrap().len(), 3);
    // A launcher in Python, whose program has failed by itself.
    let lab = Lab::new();
    lab.write("train.py", "{}['input_ids']\n");
    let launcher = "import subprocess, sys\nsubprocess.run([sys.executable, 'train.py'], check=True)\n";
    assert_eq!(reason_of(&lab, "l", launcher), "exit 1: KeyError: 'input_ids'");
    lab.write("train.py", "import sys\nsys.exit('out of shards')\n");
    assert_eq!(reason_of(&lab, "m", launcher), "exit 1: out of shards");
    lab.write("train.py", "import os\nos.kill(os.getpid(), 9)\n");
    assert_eq!(reason_of(&lab, "n", launcher), "exit 1: died with Signals.SIGKILL: 9");
}

#[test]
fn the_interpreter_says_more_than_the_reason() {
    let lab = Lab::new();
    for (name, program, reason) in [
        (
            "group",
            "raise ExceptionGroup('two shards failed', [ValueError('a'), TypeError('b')])",
            "exit 1: ExceptionGroup: two shards failed (2 sub-exceptions)",
        ),
        (
            "thread",
            "import threading\ndef work(): raise KeyError('of a thread')\nt = threading.Thread(target=work)\n\
             try: raise ValueError('bad')\nfinally: t.start(); t.join()",
            "exit 1: ValueError: bad",
        ),
        (
            "after",
            "class Env:\n  def __del__(self): raise TypeError('late')\nenv = Env()\nraise ValueError('bad')",
            "exit 1: ValueError: bad",
        ),
        (
            "ignored",
            "import sys\nclass Env:\n  def __del__(self): raise TypeError('late')\nprint('no such shard', file=sys.stderr)\n\
             env = Env(); del env; sys.exit(3)",
            "exit 3: no such shard",
        ),
        (
            "handled",
            "import os, sys, time, traceback\ntry: 1/0\nexcept Exception: traceback.print_exc()\n\
             while 'division' not in open(os.environ['RUN_DIR'] + '/combined.log').read(): time.sleep(0.01)\n\
             for step in range(50): print('step', step)\nsys.exit('out of shards')",
            "exit 1: out of shards",
        ),
        (
            "silent",
            "import sys, traceback\ntry: 1/0\nexcept Exception: traceback.print_exc()\n\
             for step in range(50): print('step', step, file=sys.stderr)\nsys.exit(3)",
            "exit 3: step 49",
        ),
        (
            "stdout",
            "import sys, traceback\nfor step in range(50): print('step', step)\n\
             try: 1/0\nexcept Exception: traceback.print_exc(file=sys.stdout)\nsys.exit(2)",
            "exit 2: ZeroDivisionError: division by zero",
        ),
        (
            "status",
            "import sys, traceback\ndef load():\n    try: 1/0\n    except Exception: traceback.print_exc()\n\
             load()\nprint('no such data set', file=sys.stderr)\nsys.exit(4)",
            "exit 4: no such data set",
        ),
        (
            "bars",
            "import sys\nfor step in range(50): print(' ', step, '=====', file=sys.stderr)\nsys.exit(2)",
            "exit 2",
        ),
        (
            "pool",
            "import concurrent.futures as f\ndef work(n): raise ValueError('bad sample 7')\n\
             list(f.ProcessPoolExecutor(1, mp_context=__import__('multiprocessing').get_context('fork')).map(work, [1]))",
            "exit 1: ValueError: bad sample 7",
        ),
    ] {
        assert_eq!(reason_of(&lab, name, program), reason, "{name}");
    }
    lab.nothing_left();
}

#[test]
fn boxes_are_no_reason() {
    let lab = Lab::new();
    let tyro = "╭─ Unrecognized options ──────────────────────────╮\n│ Unrecognized options: --seeds                   │\n\
                │ ─────────────────────────────────────────────── │\n│ For full helptext, run train.py --help          │\n\
                ╰─────────────────────────────────────────────────╯\n";
    assert_eq!(reason_for(&lab, "tyro", tyro), "exit 1: Unrecognized options: --seeds");
    let rich = "\u{1b}[31m╭──── \u{1b}[0mTraceback (most recent call last)\u{1b}[31m ────╮\u{1b}[0m\n│ /w/t.py:7 in f    │\n\
                ╰──────────────────────────────────────────╯\n\u{1b}[1mValueError: \u{1b}[0mbad learning rate\n";
    assert_eq!(reason_for(&lab, "rich", rich), "exit 1: ValueError: bad learning rate");
}

#[test]
fn an_error_that_found_no_room_in_the_log_is_the_reason() {
    let lab = Lab::new();
    for name in ["small", "kept"] {
        fs::create_dir(lab.path(name)).unwrap();
    }
    lab.write(
        "train.py",
        "import os, sys\nprint('begun', file=sys.stderr)\n\
         while not os.path.getsize(os.environ['RUN_DIR'] + '/stderr.log'): pass\nwith open(os.environ['RUN_DIR'] + '/model', 'wb', buffering=0) as model:\n\
         \x20   try:\n        while True: model.write(bytes(4096))\n    except OSError as error: full = error\nprint('x' * 9999, file=sys.stderr)\nraise full\n",
    );
    let script = "mount -t tmpfs -o size=1m small \"$PWD/small\" || exit 99
        run-new -n r -- python3 train.py >/dev/null; run-exec -q r; cp -a small/. kept/";
    let unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"];
    let done = lab.cmd(unshare[0]).args(&unshare[1..]).arg(script).env("RUNS_DIR", "small").run();
    assert_ne!(done.code, 99, "this machine does not let a user mount: {}", done.err());
    let end = lab.json("kept/r/.run/result.json");
    let lost = end["lost_bytes"].as_u64().unwrap();
    assert_eq!(
        end["reason"],
        format!(
            "exit 1: OSError: [Errno 28] No space left on device; disk full: {lost} bytes of output could not be logged"
        )
    );
    assert_eq!(lab.read("kept/r/stderr.log").lines().next(), Some("begun"));
}

#[test]
fn a_signal_that_a_shell_tells_of_is_tried_again() {
    let lab = Lab::new();
    let killed = "python3 -c \"import os; os.kill(os.getpid(), 9)\"; exit $?";
    let run = lab.new_run("r", &["bash", "-c", killed]);
    lab.cmd("run-exec").args(["-q", "--retries", "2", "--retry-delay", "10ms", &run]).run().code(137);
    let ends: Vec<_> = lab
        .json_lines("runs/r/.run/attempts.jsonl")
        .into_iter()
        .filter(|line| line["event"] == "end")
        .collect();
    assert_eq!(ends.len(), 3);
    assert!(ends.iter().all(|end| end["exit_code"] == 137 && end["status"] == "failed"), "{ends:?}");
    assert!(ends[2]["reason"].as_str().unwrap().starts_with("exit 137: bash: line 1: "), "{ends:?}");
    assert_eq!((&ends[0]["retry_in_s"], &ends[2]["retry_in_s"]), (&json!(0.01), &json!(null)));
    // A status that is none of a signal is one.
    let run = lab.new_run("s", &["sh", "-c", "exit 255"]);
    lab.cmd("run-exec").args(["-q", "--retries", "2", "--retry-delay", "10ms", &run]).run().code(255);
    assert_eq!(lab.status(&run)["attempt"], 1);
}

#[test]
fn a_signal_that_has_no_name_is_one() {
    let lab = Lab::new();
    let run = lab.new_run("r", &["sh", "-c", "kill -40 $$"]);
    lab.cmd("run-exec").args(["-q", &run]).run().code(128 + 40);
    let status = lab.status(&run);
    assert_eq!((&status["signal"], &status["reason"]), (&json!(40), &json!("signal 40 (unknown)")));
    lab.nothing_left();
}

#[test]
fn a_traceback_on_stdout_says_more_than_a_warning_on_stderr() {
    let lab = Lab::new();
    let program = "import sys, traceback\ntry: {}['lr']\nexcept KeyError: traceback.print_exc(file=sys.stdout)\n\
                   print('the lr is high', file=sys.stderr)\nsys.exit(1)\n";
    assert_eq!(reason_of(&lab, "both", program), "exit 1: KeyError: 'lr'");
    assert!(lab.json("runs/both/.run/result.json")["traceback"].is_array());
    // An error on stderr is the reason.
    let program = "import sys\nprint('Traceback (most recent call last):\\n  File \"x\"\\nKeyError: 1')\n\
                   print('Error: out of shards', file=sys.stderr)\nsys.exit(1)\n";
    assert_eq!(reason_of(&lab, "own", program), "exit 1: Error: out of shards");
}
