//! Ends of logs as real programs, launchers and schedulers write them, with the expected reasons.

use super::cause::{Known, went_on};
use super::lines::shown;
use super::{LastWords, find_last_words};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn words(text: &str) -> LastWords {
    find_last_words(text, &Known::NOTHING)
}

#[track_caller]
pub(super) fn says(text: &str, expected: &str) {
    assert_eq!(words(text).line.as_deref(), Some(expected), "{text}");
}

/// A traceback with an exception.
pub(super) fn traceback(error: &str) -> String {
    format!(
        "Traceback (most recent call last):\n  File \"/w/train.py\", line 7, in main\n    step()\n{error}\n"
    )
}

/// Lines with the label of a process before each.
fn labelled(label: &str, text: &str) -> String {
    text.lines().map(|line| format!("{label}{line}\n")).collect()
}

const BY_TORCHRUN: &str = "E0101 10:00:00.100000 140 torch/distributed/elastic/multiprocessing/api.py:869] failed \
    (exitcode: 1) local_rank: 1 (pid: 12346) of binary: /usr/bin/python3\n\
    Traceback (most recent call last):\n  File \"/usr/bin/torchrun\", line 8, in <module>\n    sys.exit(main())\n\
    torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n\
    ============================================================\ntrain.py FAILED\n\
    ------------------------------------------------------------\nFailures:\n  <NO_OTHER_FAILURES>\n\
    ------------------------------------------------------------\nRoot Cause (first observed failure):\n[0]:\n  \
    time      : 2026-01-01_10:00:00\n  host      : gpu3\n  rank      : 1 (local_rank: 1)\n  \
    exitcode  : 1 (pid: 12346)\n  error_file: <N/A>\n  \
    traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html\n\
    ============================================================\n";

const BY_ACCELERATE: &str = "Traceback (most recent call last):\n  File \"/usr/bin/accelerate\", line 8, in <module>\n    \
    sys.exit(main())\nsubprocess.CalledProcessError: Command '['/usr/bin/python3', 'train.py']' returned non-zero exit \
    status 1.\n";

#[test]
fn the_exception_is_the_reason_not_the_last_line() {
    let text = "warning\nTraceback (most recent call last):\n  File \"x.py\", line 3, in <module>\n    \
                import moviepy\ngymnasium.error.DependencyNotInstalled: moviepy\nwandb: run ended\n";
    says(text, "DependencyNotInstalled: moviepy");
    let traceback = words(text).traceback.unwrap();
    assert_eq!((traceback.len(), traceback[0].as_str()), (4, "Traceback (most recent call last):"));
    says(
        &traceback_of_type(
            "RuntimeError: Error(s) in loading state_dict for Net:\n\tMissing key(s): \"fc\". ",
        ),
        "RuntimeError: Error(s) in loading state_dict for Net: Missing key(s): \"fc\".",
    );
}

fn traceback_of_type(error: &str) -> String {
    traceback(error)
}

#[test]
fn the_last_of_chained_exceptions_counts() {
    let text = "Traceback (most recent call last):\n  File \"a\"\nKeyError: 'a'\n\nDuring handling of the above \
                exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"b\"\n\
                ValueError: bad: value\nmore of the message\n";
    says(text, "ValueError: bad: value");
}

#[test]
fn other_forms_of_tracebacks_are_understood() {
    says(
        "  File \"x.py\", line 1\n    if\n     ^\nSyntaxError: invalid syntax\n",
        "SyntaxError: invalid syntax",
    );
    says(
        "[rank0]: Traceback (most recent call last):\n[rank0]:   File \"a\"\n[rank0]: torch.OutOfMemoryError: CUDA\n",
        "OutOfMemoryError: CUDA",
    );
    says("Traceback (most recent call last):\n  cut off", "cut off");
    // rich, with the values of variables
    let rich = "╭──────────── Traceback (most recent call last) ────────────╮\n│ /w/t.py:7 in <module>      │\n\
                │ ╭── locals ──╮ │\n│ │ x = 1      │ │\n│ ╰────────────╯ │\n│ ❱ 7 main()  │\n\
                ╰──────────────────────────────╯\nValueError: bad learning rate\n";
    says(rich, "ValueError: bad learning rate");
    assert_eq!(words(rich).traceback.unwrap().len(), 8);
    // rich on a terminal without box characters
    says(
        "+---- Traceback (most recent call last) ----+\n| /w/t.py:7 in f |\n+--------------+\nKeyError: 'x'\n",
        "KeyError: 'x'",
    );
    // loguru
    says(
        "2026-01-01 10:00:00.000 | ERROR | __main__:<module>:9 - An error has been caught:\n\
          Traceback (most recent call last):\n\n  File \"t.py\", line 9, in <module>\n    main()\n    └ <function main>\n\n\
          > File \"t.py\", line 6, in main\n    raise ValueError(\"bad\")\n\nValueError: bad\n",
        "ValueError: bad",
    );
    // a notebook
    says(
        "---------------------------------------------------------------------------\n\
          ValueError                                Traceback (most recent call last)\nCell In[1], line 1\n\
          ----> 1 raise ValueError('bad')\n\nValueError: bad\n",
        "ValueError: bad",
    );
    // an exception of Ray, whose message is another traceback
    says(
        &traceback(
            "ray.exceptions.RayTaskError(ValueError): ray::f() (pid=7, ip=10.0.0.1)\n  File \"x.py\", line 3, in f\n\
                     ValueError: bad",
        ),
        "ValueError: bad",
    );
    // an exception of a class that a function defines
    says(&traceback("__main__.main.<locals>.Stop: enough"), "Stop: enough");
}

#[test]
fn a_group_of_exceptions_is_named_by_its_own_line() {
    let text = "  + Exception Group Traceback (most recent call last):\n  |   File \"<string>\", line 1, in <module>\n  | \
                ExceptionGroup: two shards failed (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n    | \
                Traceback (most recent call last):\n    |   File \"x.py\", line 2, in f\n    | ValueError: a\n    \
                +---------------- 2 ----------------\n    | TypeError: b\n    \
                +------------------------------------\n";
    says(text, "ExceptionGroup: two shards failed (2 sub-exceptions)");
    says(&labelled("[rank2]: ", text), "ExceptionGroup: two shards failed (2 sub-exceptions)");
    assert_eq!(words(text).traceback.unwrap().len(), 10);
}

#[test]
fn a_launchers_exception_is_not_the_reason() {
    let ranked = labelled("[rank1]: ", &traceback("ValueError: bad shard 7"));
    says(&(ranked.clone() + BY_TORCHRUN), "ValueError: bad shard 7");
    // Another rank failed because the first one ended, in either order of output.
    let peer = labelled(
        "[rank0]: ",
        &traceback("torch.distributed.DistBackendError: NCCL error: remote process exited"),
    );
    says(&(ranked.clone() + &peer + BY_TORCHRUN), "ValueError: bad shard 7");
    says(&(peer.clone() + &ranked + BY_TORCHRUN), "ValueError: bad shard 7");
    let other = labelled("[rank3]: ", &traceback("KeyError: 'x'"));
    says(&(other + &ranked + BY_TORCHRUN), "ValueError: bad shard 7");
    says(&(traceback("KeyError: 'input_ids'") + BY_ACCELERATE), "KeyError: 'input_ids'");
    says(&(labelled("[default1]:", &traceback("KeyError: 'x'")) + BY_TORCHRUN), "KeyError: 'x'");
    says(&(labelled("worker-1: ", &traceback("KeyError: 'x'")) + "worker-2: done\n"), "KeyError: 'x'");
    says(
        &(labelled("1: ", &traceback("KeyError: 'x'"))
            + "srun: error: gpu3: task 1: Exited with exit code 1\n"),
        "KeyError: 'x'",
    );
    // The first failed task of srun counts; later ones were ended by srun, or failed because the first was
    // missing.
    let of_srun = "srun: error: n2: task 3: Exited with exit code 1\nsrun: Terminating StepId=7.0\n";
    let late = "srun: error: n1: tasks 0-1: Terminated\n";
    let (first, second) = (traceback("ValueError: bad shard 7"), traceback("RuntimeError: peer is gone"));
    for text in [
        labelled("3: ", &first) + of_srun + &labelled("0: ", &second) + late,
        labelled("0: ", &second) + &labelled("3: ", &first) + of_srun + late,
        first.clone() + of_srun + &second + late,
    ] {
        says(&text, "ValueError: bad shard 7");
        assert_eq!(words(&text).task.map(|task| (task.number, task.step_status)), Some((3, 143)));
    }
    let agents = |task, rank, error: &str| {
        labelled(&format!("{task}: [rank{rank}]: "), &traceback(error))
            + &labelled(&format!("{task}: "), BY_TORCHRUN)
    };
    let text = agents(1, 1, "ValueError: bad shard 7")
        + "srun: error: n2: task 1: Exited with exit code 1\n"
        + &agents(0, 1, "KeyError: 'x'");
    says(&text, "ValueError: bad shard 7");
    let by_deepspeed = "[2026-01-01 10:00:00,123] [INFO] [launch.py:316:sigkill_handler] Killing subprocess 1234\n\
        [2026-01-01 10:00:00,123] [ERROR] [launch.py:322:sigkill_handler] ['python', 'train.py'] exits with return code = 1\n";
    says(&(traceback("KeyError: 'x'") + by_deepspeed), "KeyError: 'x'");
    // The program printed nothing else.
    says(&("loading\nout of shards\n".to_owned() + BY_ACCELERATE), "out of shards");
    says(BY_TORCHRUN, "ChildFailedError: rank 1, exit code 1");
    says(
        BY_ACCELERATE,
        "CalledProcessError: Command '['/usr/bin/python3', 'train.py']' returned non-zero exit status 1.",
    );
    let killed = BY_TORCHRUN.replace("exitcode  : 1", "exitcode  : -9").replace(
        "To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html",
        "Signal 9 (SIGKILL) received by PID 12346",
    );
    says(&killed, "Signal 9 (SIGKILL) received by PID 12346");
    // The program caught an error long ago; this time a signal ended it.
    says(&(traceback("KeyError: 'x'") + &killed), "Signal 9 (SIGKILL) received by PID 12346");
    // A table that repeats the traceback.
    let table = BY_TORCHRUN.replace("To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html",
        "Traceback (most recent call last):\n    File \"train.py\", line 7, in main\n      raise ValueError(\"bad\")\n  ValueError: bad\n  ");
    says(&table, "ValueError: bad");
    says(&(traceback("ValueError: bad") + &table), "ValueError: bad");
    // An exception that a program raises because a command of its own failed is the program's error.
    let chained = format!(
        "{BY_ACCELERATE}\nThe above exception was the direct cause of the following exception:\n\n{}",
        traceback("RuntimeError: training failed")
    );
    says(&chained, "RuntimeError: training failed");
    let spawned =
        "-- Process 1 terminated with the following error:\n".to_owned() + &traceback("ValueError: bad");
    says(
        &(traceback("torch.multiprocessing.spawn.ProcessRaisedException: \n") + &spawned),
        "ValueError: bad",
    );
    says(
        &traceback(
            "torch.multiprocessing.spawn.ProcessExitedException: process 0 terminated with signal SIGKILL",
        ),
        "ProcessExitedException: process 0 terminated with signal SIGKILL",
    );
    says(
        &("Process SpawnProcess-1:\n".to_owned()
            + &traceback("ValueError: bad")
            + &traceback(
                "torch.multiprocessing.spawn.ProcessExitedException: process 0 terminated with exit code 1",
            )),
        "ValueError: bad",
    );
}

#[test]
fn the_error_of_a_worker_is_its_own() {
    let wrapper = traceback("ValueError: Caught ValueError in DataLoader worker process 0.");
    let original = "Original Traceback (most recent call last):\n  File \"/w/data.py\", line 8, in __getitem__\n    raise\n\
                    ValueError: bad sample 7\n\n";
    says(&(wrapper.clone() + original), "ValueError: bad sample 7");
    says(&(labelled("[rank0]: ", &(wrapper + original)) + BY_TORCHRUN), "ValueError: bad sample 7");
    let killed = traceback("RuntimeError: DataLoader worker (pid 123) is killed by signal: Bus error. ");
    let gone = traceback("RuntimeError: DataLoader worker (pid(s) 123) exited unexpectedly");
    says(
        &(killed + "\nThe above exception was the direct cause of the following exception:\n\n" + &gone),
        "RuntimeError: DataLoader worker (pid 123) is killed by signal: Bus error.",
    );
    let pool = "multiprocessing.pool.RemoteTraceback: \n\"\"\"\n".to_owned()
        + &traceback("ValueError: bad")
        + "\"\"\"\n\nThe above exception was the direct cause of the following exception:\n\n"
        + &traceback("ValueError: bad");
    says(&pool, "ValueError: bad");
}

#[test]
fn what_the_interpreter_ignores_is_no_reason() {
    let own = traceback("KeyError: 'x'");
    let ignored = "Exception ignored in: <function Env.__del__ at 0x7f>\n".to_owned()
        + &traceback("AttributeError: closed");
    says(&(own.clone() + &ignored), "KeyError: 'x'");
    says(&("no such shard\n".to_owned() + &ignored), "no such shard");
    says(
        "no such shard\nException ignored in: <_io.TextIOWrapper name='<stdout>'>\nBrokenPipeError: [Errno 32] Broken pipe\n",
        "no such shard",
    );
    // Python exits with 120 if nothing else has failed.
    says(
        "Exception ignored in: <_io.TextIOWrapper name='<stdout>'>\nOSError: [Errno 28] No space left on device\n",
        "OSError: [Errno 28] No space left on device",
    );
    says(
        &(own.clone()
            + "Exception ignored while calling deallocator <function Env.__del__>:\n"
            + &traceback("TypeError: late")),
        "KeyError: 'x'",
    );
    says(
        &(own.clone() + "--- Logging error ---\n" + &traceback("BrokenPipeError: [Errno 32] Broken pipe")),
        "KeyError: 'x'",
    );
    for before in [
        "Exception in thread Thread-1 (work):",
        "Process ForkPoolWorker-3:",
        "Task exception was never retrieved\nfuture: <Task finished exception=ValueError('x')>",
        "Error in atexit._run_exitfuncs:",
    ] {
        let side = format!("{before}\n{}", traceback("ValueError: of a thread"));
        says(&(own.clone() + &side), "KeyError: 'x'");
        says(&(side.clone() + &own), "KeyError: 'x'");
        says(&side, "ValueError: of a thread");
    }
    let hook = "Error in sys.excepthook:\n".to_owned()
        + &traceback("NameError: hook")
        + "\nOriginal exception was:\n"
        + &own;
    says(&hook, "KeyError: 'x'");
}

#[test]
fn an_error_that_was_survived_is_no_reason() {
    let work: String = (1..=30).map(|step| format!("step {step} loss 0.{step}\n")).collect();
    let handled = traceback("ZeroDivisionError: division by zero");
    says(&(work.clone() + &handled + &work + "out of shards\n"), "out of shards");
    says(&(handled.clone() + &work + "out of shards\n"), "out of shards");
    // A few lines after the error do not show that the program continued, nor do many lines of the message.
    says(
        &(work.clone() + &handled + "saving\nwandb: 1\nwandb: 2\nwandb: 3\nwandb: 4\nwandb: 5\nwandb: 6\n"),
        "ZeroDivisionError: division by zero",
    );
    let message: String =
        (1..=40).map(|number| format!("lr{number}\n  Field required [type=missing]\n")).collect();
    says(
        &traceback(&format!("pydantic_core.ValidationError: 40 validation errors for Config\n{message}")[..]),
        "ValidationError: 40 validation errors for Config",
    );
    // The program continued its output on the other stream.
    let line = |stream: &str, text: &str| format!("2026-01-01T10:00:00.123456Z {stream} F {text}\n");
    let error = line("stderr", "ZeroDivisionError: division by zero");
    let steps: String = work.lines().map(|step| line("stdout", step)).collect();
    let went_on =
        |combined: &str, is_cut| went_on(combined, is_cut, "stderr", "ZeroDivisionError: division by zero");
    assert!(went_on(&(error.clone() + &steps), false) && went_on(&steps, true));
    assert!(!went_on(&(steps.clone() + &error + &line("stdout", "bye")), true) && !went_on(&steps, false));
    assert_eq!(
        find_last_words(&handled, &Known { went_on: &|_| true, ..Known::NOTHING }),
        LastWords::default()
    );
    let with_own_status =
        |text: &str| find_last_words(text, &Known { has_own_status: true, ..Known::NOTHING }).line.unwrap();
    assert_eq!(with_own_status(&handled), "ZeroDivisionError: division by zero");
    assert_eq!(with_own_status(&(handled.clone() + "out of shards\n")), "out of shards");
    says(&(handled.clone() + "train: error: no such data set\n"), "train: error: no such data set");
    says(&(handled.clone() + "0\n1\n2\n3\n4\nout of shards\n"), "out of shards");
}

#[test]
fn a_reason_has_letters_and_no_frame() {
    says("usage: x\nx: error: no such option\n\n", "x: error: no such option");
    assert_eq!(words("\n \n"), LastWords::default());
    assert_eq!(words("\r 10%\r\u{1b}[31m 20%\u{1b}[0m"), LastWords::default());
    assert_eq!(words(" 20%|██        | 20/100 [00:01<00:04, 19.9it/s]\n"), LastWords::default());
    says("bad config\n-----\n=====\n", "bad config");
    let typer = "Usage: t.py [OPTIONS]\nTry 't.py --help' for help.\n╭─ Error ───────────────────╮\n\
                 │ No such option: --foo     │\n╰───────────────────────────╯\n";
    says(typer, "No such option: --foo");
    let tyro = "╭─ Unrecognized options ───────────────────────────╮\n│ Unrecognized options: --logging-steps --seed     │\n\
                │ ──────────────────────────────────────────────── │\n│ Perhaps you meant:                               │\n\
                │ ──────────────────────────────────────────────── │\n│ For full helptext, run train.py --help           │\n\
                ╰──────────────────────────────────────────────────╯\n";
    says(tyro, "Unrecognized options: --logging-steps --seed");
    says(&format!("\u{1b}[31m{tyro}\u{1b}[0m"), "Unrecognized options: --logging-steps --seed");
    let missing = "╭─ Required options ──────╮\n│ Missing from t.py:      │\n│     --lr FLOAT          │\n│         (required)      │\n\
                   │ ─────────────────────── │\n│ For full helptext, run: │\n│     t.py --help         │\n╰─────────────────────────╯\n";
    says(missing, "Missing from t.py: --lr FLOAT");
    says(
        "FATAL Flags parsing error:\n  Unknown command line flag 'lrr'. Did you mean: lr ?\n\
          Pass --helpshort or --helpfull to see help on flags.\n",
        "FATAL Flags parsing error: Unknown command line flag 'lrr'. Did you mean: lr ?",
    );
    says(
        "Could not override 'lrr'.\nKey 'lrr' is not in struct\n    full_key: lrr\n    object_type=dict\n\n\
          Set the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace.\n",
        "Key 'lrr' is not in struct",
    );
    says("Error: cannot open shard 7\ncleaning up\n", "Error: cannot open shard 7");
}

#[test]
fn errors_of_other_languages_are_understood() {
    says(
        "thread 'main' panicked at src/main.rs:2:5:\nindex out of bounds: the len is 3\n\
          note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n",
        "panic: index out of bounds: the len is 3",
    );
    says(
        "thread 'main' panicked at 'no shard', src/main.rs:2:5\nnote: run with `RUST_BACKTRACE=1`\n",
        "panic: no shard",
    );
    says(
        "panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 [running]:\nmain.main()\n\t/w/x.go:5 +0x1d\nexit status 2\n",
        "panic: runtime error: index out of range [5] with length 3",
    );
    says(
        "terminate called after throwing an instance of 'c10::Error'\n  what():  CUDA error: an illegal memory access\n\
          CUDA kernel errors might be asynchronously reported\nframe #0: c10::Error + 0x57 (0x7f)\n",
        "c10::Error: CUDA error: an illegal memory access",
    );
    says(
        "F0101 10:00:00.123456 7 x.cc:12] Check failed: size > 0 \n*** Check failure stack trace: ***\n    @     0x7f  f()\n",
        "Check failed: size > 0",
    );
    says(
        "Fatal Python error: Segmentation fault\n\nThread 0x7f (most recent call first):\n  File \"x.py\", line 3 in f\n\nExtension modules: numpy (total: 1)\n",
        "Fatal Python error: Segmentation fault",
    );
    says(
        "ERROR: LoadError: BoundsError: attempt to access 3-element Vector{Int64} at index [5]\nStacktrace:\n [1] getindex\n   @ ./x.jl:13\n\
          in expression starting at /w/x.jl:1\n",
        "LoadError: BoundsError: attempt to access 3-element Vector{Int64} at index [5]",
    );
    says("Error in f(x) : bad shard\nCalls: main -> f\nExecution halted\n", "Error in f(x) : bad shard");
    says(
        "Error in solve.default(a) : \n  Lapack routine dgesv: system is exactly singular\nCalls: solve\nExecution halted\n",
        "Error in solve.default(a) : Lapack routine dgesv: system is exactly singular",
    );
    says(
        "/w/x.js:3\n    throw new Error('bad shard');\n    ^\n\nError: bad shard\n    at Object.<anonymous> (/w/x.js:3:11)\n    \
          at node:internal/main:2:3\n\nNode.js v20.11.0\n",
        "Error: bad shard",
    );
    says(
        "Exception in thread \"main\" java.lang.IllegalStateException: bad\n\tat Main.main(Main.java:5)\nCaused by: java.io.IOException: x\n\tat A.b(A.java:1)\n",
        "IllegalStateException: bad",
    );
    says(
        "x.rb:3:in `f': bad (RuntimeError)\n\tfrom x.rb:5:in `<main>'\n",
        "x.rb:3:in `f': bad (RuntimeError)",
    );
    says("lua: x.lua:3: bad\nstack traceback:\n\t[C]: in function 'error'\n", "x.lua:3: bad");
    says(
        "bash: line 1: 14112 Killed                  python3 train.py\n",
        "bash: line 1: 14112 Killed                  python3 train.py",
    );
    // A shell reports a signal after errors that the program survived.
    says(
        &(traceback("KeyError: 'x'")
            + "x.sh: line 3:  4711 Segmentation fault      (core dumped) python3 train.py\n"),
        "x.sh: line 3:  4711 Segmentation fault      (core dumped) python3 train.py",
    );
    says(
        "slurmstepd: error: *** JOB 12 ON gpu3 CANCELLED AT 2026-01-01T10:00:00 DUE TO TIME LIMIT ***\n\
          srun: Job step aborted: Waiting up to 32 seconds for job step to finish.\nsrun: error: gpu3: task 0: Terminated\n",
        "slurmstepd: error: *** JOB 12 ON gpu3 CANCELLED AT 2026-01-01T10:00:00 DUE TO TIME LIMIT ***",
    );
    says(
        "srun: error: gpu3: task 0: Exited with exit code 1\nsrun: Terminating StepId=12.0\n",
        "srun: error: gpu3: task 0: Exited with exit code 1",
    );
    says(&(traceback("KeyError: 'x'") + "make: *** [Makefile:2: train] Error 1\n"), "KeyError: 'x'");
}

/// Pieces of random logs.
const PIECES: [&str; 22] = [
    "Traceback (most recent call last):",
    "  File \"x.py\", line 3, in f",
    "ValueError: bad",
    "Original Traceback (most recent call last):",
    "  + Exception Group Traceback (most recent call last):",
    "  | ExceptionGroup: two (2 sub-exceptions)",
    "  +-+---------------- 1 ----------------",
    "    | Traceback (most recent call last):",
    "[rank1]: Traceback (most recent call last):",
    "[rank1]: KeyError: 'x'",
    "n-1: Traceback (most recent call last):",
    "n-1:",
    "╭── Traceback (most recent call last) ──╮",
    "╰──╯",
    "│ x │",
    "Exception ignored in: f",
    "During handling of the above exception, another exception occurred:",
    "ChildFailedError: ",
    "Root Cause (first observed failure):",
    "thread 'main' panicked at x.rs:1:1:",
    "step 3 loss 0.1",
    "",
];

proptest! {
    #[test]
    fn any_log_has_words_or_none(pieces in vec(select(&PIECES[..]), 0..30)) {
        let found = words(&pieces.join("\n"));
        if let Some(line) = found.line {
            prop_assert!(line.chars().any(char::is_alphabetic), "{line}");
        }
    }
}

#[test]
fn no_text_is_too_strange() {
    for text in [
        "Traceback (most recent call last):",
        "  + Exception Group Traceback (most recent call last):\n  |",
        "╭ Traceback (most recent call last) ╮\n",
        "X  Traceback (most recent call last)\n",
        "[rank]: x",
        "[rank9999999999]: x",
        "thread 'x' panicked at ",
        "Root Cause\n",
        "╰",
        "╭\n│\n╰\n",
        "ü Traceback (most recent call last):\nü",
    ] {
        words(text);
    }
    assert_eq!(shown("a\rb\r\n"), ["b", ""]);
}
