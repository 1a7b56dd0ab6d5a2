//! Messages of several lines; output of other languages, launchers and libraries around a cause; warnings.

use super::tests::{says, traceback};

#[test]
fn a_message_may_begin_or_go_on_below_the_name_of_its_exception() {
    says(
        &traceback("RuntimeError: \n\nFirst line of trouble\nsecond"),
        "RuntimeError: First line of trouble",
    );
    says(&traceback("AssertionError: "), "AssertionError");
    says(&traceback("AssertionError: \nwandb: Find logs at x"), "AssertionError");
    says(
        &traceback(
            "torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised:\nRuntimeError: no triton\n\nSet X",
        ),
        "BackendCompilerFailed: backend='inductor' raised: RuntimeError: no triton",
    );
    says(
        &traceback(
            "hydra.errors.InstantiationException: Error in call to target 'x.Net':\nTypeError(\"lr\")\nfull_key: model",
        ),
        "InstantiationException: Error in call to target 'x.Net': TypeError(\"lr\")",
    );
    // The text below is another line, not part of the message.
    says(&traceback("ValueError: these are wrong:\n\nstep 5 loss 0.2"), "ValueError: these are wrong:");
}

#[test]
fn messages_of_javascript_are_found_above_its_frames() {
    let missing = "node:internal/modules/cjs/loader:1080\n  throw err;\n  ^\n\nError: Cannot find module './nope'\n\
                   Require stack:\n- /w/x.js\n    at Module._resolveFilename (node:internal/modules/cjs/loader:1077:15)\n\
                   {\n  code: 'MODULE_NOT_FOUND'\n}\n\nNode.js v20.11.0\n";
    says(missing, "Error: Cannot find module './nope'");
    let text = "/w/x.js:1\nthrow \"out of shards\"\n^\nout of shards\n\
                (Use `node --trace-uncaught ...` to show where the exception was thrown)\n\nNode.js v20.11.0\n";
    says(text, "out of shards");
}

#[test]
fn more_languages_are_understood() {
    for (text, expected) in [
        (
            "Error in `fit()`:\n! bad shard\nBacktrace:\n 1. global fit()\nExecution halted\n",
            "Error in `fit()`: bad shard",
        ),
        (
            "ERROR: LoadError: TaskFailedException\n\n    nested task error: bad shard\n    Stacktrace:\n     [1] error\n\
             Stacktrace:\n [1] wait\nin expression starting at /w/x.jl:1\n",
            "bad shard",
        ),
        (
            "The application panicked (crashed).\nMessage:  bad shard\nLocation: src/main.rs:3\n\nBacktrace omitted. Run with x\n",
            "panic: bad shard",
        ),
        (
            "At line 3 of file x.f90\nFortran runtime error: End of file\n\nError termination. Backtrace:\n#0  0x7f\n",
            "Fortran runtime error: End of file",
        ),
        ("** (RuntimeError) bad shard\n    x.exs:1: (file)\n", "** (RuntimeError) bad shard"),
        (
            "train: bad shard\nCallStack (from HasCallStack):\n  error, called at x.hs:3:8 in main:Main\n",
            "train: bad shard",
        ),
        ("luajit: x.lua:3: bad\nstack traceback:\n\t[C]: in function 'error'\n", "x.lua:3: bad"),
        (
            "#\n# A fatal error has been detected by the Java Runtime Environment:\n#\n#  SIGSEGV (0xb) at pc=0x7f, pid=1\n#\n# JRE\n",
            "SIGSEGV (0xb) at pc=0x7f, pid=1",
        ),
        (
            "thread '<unnamed>' panicked at x.rs:1:1:\nworker died\nthread 'main' panicked at x.rs:1:2:\n\
             called `Result::unwrap()` on an `Err` value: Any { .. }\n",
            "panic: worker died",
        ),
        (
            "F0101 10:00:00.123456 140 x.py:3] bad shard\nFatal Python error: Aborted\n\nCurrent thread 0x7f (most recent call first):\n  File \"x\"\n",
            "bad shard",
        ),
        (
            "Fatal Python error: Aborted\n\nCurrent thread 0x7f:\n  File \"x\"\n",
            "Fatal Python error: Aborted",
        ),
    ] {
        says(text, expected);
    }
}

#[test]
fn launchers_say_less_than_their_programs() {
    let rule = "-".repeat(74);
    let mpirun = format!(
        "{rule}\nPrimary job  terminated normally, but 1 process returned\na non-zero exit code. Per user-direction, the job \
         has been aborted.\n{rule}\n{rule}\nmpirun detected that one or more processes exited with non-zero status, thus causing\n\
         the job to be terminated. The first process to do so was:\n\n  Process name: [[1,1],0]\n  Exit code:    1\n{rule}\n"
    );
    says(&format!("bad shard 7\n{mpirun}"), "bad shard 7");
    says(&format!("{}{mpirun}", traceback("ValueError: bad")), "ValueError: bad");
    let killed = "mpirun noticed that process rank 0 with PID 0 on node gpu3 exited on signal 9 (Killed).";
    let work: String = (1..=9).map(|step| format!("step {step} loss 0.2\n")).collect();
    says(&format!("{work}{rule}\n{killed}\n{rule}\n"), killed);
    says(&format!("{}{killed}\n", traceback("ValueError: bad")), "ValueError: bad");
    let by_deepspeed = "[2026-01-01 10:00:00,123] [ERROR] [launch.py:325:sigkill_handler] ['python'] exits with return code = -9";
    says(&format!("{work}{by_deepspeed}\n"), by_deepspeed);
    for after in
        ["error: Recipe `train` failed on line 3 with exit code 1", "error Command failed with exit code 1."]
    {
        says(&format!("{}{after}\n", traceback("ValueError: bad")), "ValueError: bad");
    }
}

#[test]
fn who_waits_for_a_program_says_no_more_than_its_status() {
    let own = traceback("ValueError: bad");
    for after in [
        "ERROR:composer.cli.launcher:Global rank 0 (PID 123) exited with code 1",
        "Error: Process completed with exit code 1.",
        "ERROR: failed to reproduce 'train': failed to run: python train.py, exited with 1",
        "ERROR: Job 1 failed with return code list: [1]",
    ] {
        says(&format!("{own}{after}\n"), "ValueError: bad");
        says(&format!("step 1\n{after}\n"), after);
    }
    let by_ray = format!(
        "{own}\nThe above exception was the direct cause of the following exception:\n\n{}",
        traceback("ray.train.base_trainer.TrainingFailedError: The Ray Train run failed. Please inspect x")
    );
    says(&by_ray, "ValueError: bad");
    let killed = "ERROR:composer.cli.launcher:Global rank 0 (PID 123) exited with code -9";
    says(&format!("step 1\nstep 2\nstep 3\n{killed}\n"), killed);
}

#[test]
fn handlers_of_signals_are_understood() {
    for (text, expected) in [
        (
            "[gpu3:123] *** Process received signal ***\n[gpu3:123] Signal: Segmentation fault (11)\n[gpu3:123] [ 0] /lib/x\n\
             [gpu3:123] *** End of error message ***\n",
            "Signal: Segmentation fault (11)",
        ),
        (
            "*** SIGSEGV received at time=1700000000 on cpu 1 ***\nPC: @ 0x7f (unknown) f()\n    @ 0x7f (unknown) g()\n",
            "*** SIGSEGV received at time=1700000000 on cpu 1 ***",
        ),
        (
            "2026-01-01 10:00:00.123456: F tensorflow/core/tensor.cc:733] Check failed: 1 == 4\n",
            "Check failed: 1 == 4",
        ),
        (
            "terminate called after throwing an instance of 'c10::Error'\nterminate called recursively\n  what():  bad\n",
            "c10::Error: bad",
        ),
    ] {
        says(text, expected);
    }
}

#[test]
fn a_warning_is_no_cause() {
    let warning = "/w/torch/utils.py:3: FutureWarning: `torch.cuda.amp` is deprecated\n  with torch.cuda.amp.autocast():\n";
    says(&format!("no such shard\n{warning}"), "no such shard");
    assert_eq!(super::find_last_words(warning, &super::Known::NOTHING).line, None);
    let by_tensorflow = "2026-01-01 10:00:01.123456: W tensorflow/core/x.cc:108] Error occurred when finalizing the iterator\n\t [[{{node PyFunc}}]]\n";
    says(&format!("no such shard\n{by_tensorflow}"), "no such shard");
}
