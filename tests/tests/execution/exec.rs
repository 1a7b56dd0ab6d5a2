//! run-exec: what it executes and where, its exit statuses and what it records of them.

use serde_json::{Value, json};
use std::fs;
use testkit::Lab;
use testkit::process::Signal;

/// Executes a new run of a command, and returns its exit status and record.
fn execute(lab: &Lab, name: &str, options: &[&str], command: &[&str]) -> (i32, Value) {
    let run = lab.new_run(name, command);
    let done = lab.cmd("run-exec").args(options).arg(&run).run();
    let status = lab.status(&run);
    lab.nothing_left();
    let result = lab.json(&format!("{run}/.run/result.json"));
    for key in ["status", "reason", "exit_code", "signal", "attempt", "end_time"] {
        assert_eq!(result[key], status[key], "{key}");
    }
    let lines = lab.json_lines(&format!("{run}/.run/attempts.jsonl"));
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["event"], &lines[1]), (&json!("start"), &result));
    let mut left: Vec<_> = fs::read_dir(lab.path(format!("{run}/.run")))
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    left.retain(|name| name == "pid" || name.to_string_lossy().starts_with('.'));
    assert!(left.is_empty(), "{left:?}");
    (done.code, status)
}

fn ended(status: &Value) -> (&str, Option<&str>, &Value, &Value) {
    (status["status"].as_str().unwrap(), status["reason"].as_str(), &status["exit_code"], &status["signal"])
}

#[test]
fn every_exit_status_is_passed_on_and_recorded() {
    let lab = Lab::new();
    let null = Value::Null;
    let (code, status) = execute(&lab, "good", &[], &["true"]);
    assert_eq!((code, ended(&status)), (0, ("completed", None, &json!(0), &null)));
    let (code, status) = execute(&lab, "three", &[], &["sh", "-c", "echo last words >&2; exit 3"]);
    assert_eq!((code, ended(&status)), (3, ("failed", Some("exit 3: last words"), &json!(3), &null)));
    let (code, status) = execute(&lab, "terminated", &[], &["sh", "-c", "kill -TERM $$"]);
    assert_eq!((code, ended(&status)), (143, ("failed", Some("signal 15 (TERM)"), &null, &json!(15))));
    let (code, status) = execute(&lab, "killed", &[], &["sh", "-c", "kill -KILL $$"]);
    assert_eq!((code, ended(&status)), (137, ("failed", Some("signal 9 (KILL)"), &null, &json!(9))));
    let (code, status) = execute(&lab, "late", &["--timeout", "200ms"], &["sleep", "100"]);
    assert_eq!((code, ended(&status)), (124, ("failed", Some("timeout 0.2s"), &null, &json!(15))));
    let (code, status) = execute(&lab, "silent", &["--stall-timeout", "200ms"], &["sleep", "100"]);
    assert_eq!((code, ended(&status)), (124, ("failed", Some("stall timeout 0.2s"), &null, &json!(15))));
    let (code, status) = execute(&lab, "missing", &[], &["no-such-program", "x"]);
    assert_eq!(
        (code, ended(&status)),
        (127, ("failed", Some("command not found: no-such-program"), &json!(127), &null))
    );
    let file = lab.write("not-executable", "");
    let (code, status) = execute(&lab, "forbidden", &[], &[file.to_str().unwrap()]);
    let reason = format!("cannot execute '{}': Permission denied", file.display());
    assert_eq!((code, ended(&status)), (126, ("failed", Some(reason.as_str()), &json!(126), &null)));
    let gone = lab.path("gone");
    fs::create_dir(&gone).unwrap();
    lab.cmd("run-new").args(["-n", "nowhere", "--chdir", "gone", "--", "true"]).run().code(0);
    fs::remove_dir(&gone).unwrap();
    lab.cmd("run-exec").arg("nowhere").run().code(125).stderr_has("no such directory");
    assert_eq!(lab.status("nowhere")["status"], "failed");
}

#[test]
fn a_stalled_program_is_one_that_writes_neither_output_nor_metrics() {
    let lab = Lab::new();
    let metrics = "for i in 1 2 3 4 5 6; do echo '{\"step\":'$i'}' >> $RUN_METRICS; sleep 0.2; done";
    let (code, _) = execute(
        &lab,
        "metrics",
        &["--stall-timeout", "700ms", "--heartbeat", "100ms"],
        &["sh", "-c", metrics],
    );
    assert_eq!(code, 0);
    let output = "for i in 1 2 3 4 5 6; do echo $i; sleep 0.2; done";
    let (code, _) = execute(&lab, "output", &["--stall-timeout", "700ms"], &["sh", "-c", output]);
    assert_eq!(code, 0);
}

#[test]
fn its_own_failures_are_125_and_leave_no_trace_in_the_run() {
    let lab = Lab::new();
    lab.cmd("run-exec").arg("nope").run().code(125).stderr(
        "run-exec: no run 'nope' below 'runs'\nrun-exec: list all runs with run-status -a, or choose another runs directory with -d\n",
    );
    lab.cmd("run-exec").run().code(125).stderr_has("RUN missing");
    lab.cmd("run-exec").args(["x", "--frobnicate"]).run().code(125).stderr_has("--frobnicate");
    lab.cmd("run-new").args(["-n", "bare"]).run().code(0);
    lab.cmd("run-exec").arg("bare").run().code(125).stderr_has("no command for");
    lab.cmd("run-exec")
        .args(["bare", "--", "echo", "{config}"])
        .run()
        .code(125)
        .stderr_has("the run has no config");
    lab.cmd("run-exec")
        .args(["bare", "--", "echo", "{total_steps}"])
        .run()
        .code(125)
        .stderr_has("run-new --total-steps");
    let status = lab.status("bare");
    assert_eq!((&status["status"], &status["attempt"]), (&json!("created"), &json!(0)));
    assert!(!lab.path("runs/bare/stdout.log").exists());
}

#[test]
fn the_second_of_two_is_refused_and_names_the_first() {
    let lab = Lab::new();
    let run = lab.new_run("one", &["sleep", "100"]);
    let first = lab.cmd("run-exec").arg(&run).spawn();
    let status = lab.await_child(&run);
    let second = lab.cmd("run-exec").arg(&run).run().code(125);
    let expected = format!("as process {} on {}", status["pid"], status["host"].as_str().unwrap());
    assert!(second.err().contains(&expected), "{}", second.err());
    lab.cmd("run-exec").args(["--resume", &run]).run().code(125).stderr_has("it is already running");
    first.signal(Signal::TERM);
    first.wait().code(143);
    let done = lab.cmd("run-exec").arg(&run).run().code(125);
    assert!(done.err().contains("it has already run and was stopped"), "{}", done.err());
    assert_eq!(lab.status(&run)["attempt"], 1);
}

#[test]
fn of_many_at_once_one_executes_it() {
    let lab = Lab::new();
    let run = lab.new_run("one", &["sh", "-c", "echo ran >> ran; sleep 0.3"]);
    let all: Vec<_> = (0..20).map(|_| lab.cmd("run-exec").arg(&run).spawn()).collect();
    let mut codes: Vec<i32> = all.into_iter().map(|one| one.wait().code).collect();
    codes.sort_unstable();
    assert_eq!((codes[0], codes[1], codes[19]), (0, 125, 125));
    assert_eq!(lab.read("ran"), "ran\n");
    assert_eq!(lab.json_lines("runs/one/.run/attempts.jsonl").len(), 2);
}

#[test]
fn a_recorded_command_runs_where_and_with_what_it_was_recorded() {
    let lab = Lab::new();
    fs::create_dir_all(lab.path("project")).unwrap();
    let venv = lab.path("my venv/bin");
    fs::create_dir_all(&venv).unwrap();
    std::os::unix::fs::symlink("/usr/bin/python3", venv.join("python")).unwrap();
    lab.write(
        "my venv/pyvenv.cfg",
        "home = /usr/bin\nversion = 3.11.2\ninclude-system-site-packages = false\n",
    );
    let path = format!("{}:/usr/bin:/bin:{}", venv.display(), testkit::bin().display());
    let program = "import sys, os; print(os.getcwd(), sys.prefix, os.environ['MODE'], os.environ.get('PYTHONUNBUFFERED'))";
    lab.cmd("run-new")
        .cwd(lab.path("project"))
        .env("PATH", &path)
        .args(["-n", "a b", "--env", "MODE=fast", "--", "python", "-c", program])
        .run()
        .code(0);
    let meta = lab.json("project/runs/a b/.run/meta.json");
    assert_eq!(meta["python_version"], "3.11.2");
    assert_eq!(meta["python_executable"].as_str().unwrap(), venv.join("python").to_str().unwrap());
    // As cron does it: another directory, a short path.
    let run = lab.path("project/runs/a b");
    let exec = testkit::bin().join("run-exec");
    let done = lab.cmd(&exec).cwd("/").env("PATH", "/usr/bin:/bin").arg(&run).run().code(0);
    let expected = format!("{} {} fast 1\n", lab.path("project").display(), lab.path("my venv").display());
    done.stdout(&expected);
    // A script that calls python finds the same one.
    lab.cmd("run-new")
        .cwd(lab.path("project"))
        .env("PATH", &path)
        .args(["-n", "sh", "--env", "MODE=x", "--", "sh", "-c"])
        .arg("python -c 'import sys; print(sys.prefix)'")
        .run()
        .code(0);
    let run = lab.path("project/runs/sh");
    let done = lab.cmd(&exec).cwd("/").env("PATH", "/usr/bin:/bin").arg(&run).run().code(0);
    done.stdout(format!("{}\n", lab.path("my venv").display()));
    // A command typed now runs here.
    lab.cmd("run-new").args(["-n", "typed", "--chdir", "project"]).run().code(0);
    lab.cmd("run-exec")
        .args(["typed", "--", "pwd"])
        .run()
        .code(0)
        .stdout(format!("{}\n", lab.dir().display()));
}

#[test]
fn the_environment_names_the_run() {
    let lab = Lab::new();
    lab.write("c.toml", "seed = 3\ntotal_steps = 10\n");
    lab.cmd("run-new").args(["-n", "e", "c.toml"]).run().code(0);
    let print = "env | grep ^RUN_ | sort";
    let done =
        lab.cmd("run-exec").env("RUN_RESUME_FROM", "x").args(["e", "--", "sh", "-c", print]).run().code(0);
    let run = lab.path("runs/e");
    let id = lab.json("runs/e/.run/meta.json")["run_id"].as_str().unwrap().to_owned();
    let run = run.display();
    done.stdout(format!(
        "RUN_ATTEMPT=1\nRUN_CONFIG={run}/config.toml\nRUN_DIR={run}\nRUN_ID={id}\nRUN_METRICS={run}/metrics.jsonl\n\
         RUN_NAME=e\nRUN_SEED=3\nRUN_STOP_FILE={run}/stop\nRUN_TOTAL_STEPS=10\n"
    ));
    lab.cmd("run-new").args(["-n", "bare"]).run().code(0);
    let done = lab
        .cmd("run-exec")
        .env("RUN_SEED", "outer")
        .env("PYTHONUNBUFFERED", "0")
        .args(["bare", "--", "sh", "-c"])
        .arg("echo ${RUN_SEED-none} ${RUN_CONFIG-none} $PYTHONUNBUFFERED")
        .run()
        .code(0);
    done.stdout("none none 0\n");
}

#[test]
fn stdin_is_empty_unless_it_is_passed_on() {
    let lab = Lab::new();
    lab.new_run("closed", &["cat"]);
    lab.cmd("run-exec").arg("closed").stdin("words\n").run().code(0).stdout("");
    lab.new_run("open", &["cat"]);
    lab.cmd("run-exec").args(["--stdin", "open"]).stdin("words\n").run().code(0).stdout("words\n");
}

#[test]
fn on_end_is_told_how_it_ended_and_its_failure_is_a_warning() {
    let lab = Lab::new();
    let run = lab.new_run("one", &["sh", "-c", "echo oh >&2; exit 4"]);
    let script = "echo \"$RUN_NAME $RUN_STATUS $RUN_REASON $RUN_EXIT_CODE $RUN_DURATION\" > told; run-status --json $RUN_DIR | jq -r .status >> told; exit 9";
    let done = lab.cmd("run-exec").args(["--on-end", script, &run]).run().code(4);
    assert_eq!(done.err(), "oh\nrun-exec: --on-end failed: exit 9\n");
    assert_eq!(lab.read("told"), "one failed exit 4: oh 4 0\nfailed\n");
    lab.nothing_left();
}

#[test]
fn a_detached_run_goes_on_without_its_caller() {
    let lab = Lab::new();
    let run =
        lab.new_run("one", &["sh", "-c", "echo begun; until [ -e go ]; do sleep 0.02; done; echo ended"]);
    // The caller's output is closed when it returns: reading it to the end would hang otherwise.
    let hint = "run-exec: follow the output: run-status --log -f runs/one\n";
    lab.cmd("run-exec").args(["--detach", &run]).run().code(0).stdout("runs/one\n").stderr(hint);
    let pid: i32 = lab.read(&format!("{run}/.run/pid")).trim().parse().unwrap();
    assert!(testkit::state(pid).is_some());
    let status = lab.await_status(&run, "running", |status| status["status"] == "running");
    assert_eq!(status["pid"], pid);
    lab.write("go", "");
    lab.await_status(&run, "completed", |status| status["status"] == "completed");
    assert_eq!(lab.read(&format!("{run}/stdout.log")), "begun\nended\n");
    lab.await_nothing_left();
    lab.new_run("two", &["no-such-program"]);
    let done = lab.cmd("run-exec").args(["--detach", "two"]).run().code(127).stdout("");
    assert_eq!(done.err(), "run-exec: command not found: no-such-program\n");
    lab.await_nothing_left();
}

#[test]
fn a_run_that_is_recorded_as_running_has_its_pid_file() {
    let lab = Lab::new();
    let status = |run: &str| lab.bytes(&format!("{run}/.run/status.json"));
    let is_running = |status: &[u8]| {
        serde_json::from_slice::<Value>(status).is_ok_and(|status| status["status"] == "running")
    };
    let mut seen = 0;
    let programs = [&["true"][..], &["no-such-program"], &["sh", "-c", "exit 75"]];
    for (number, program) in programs.iter().cycle().take(30).enumerate() {
        let run = lab.new_run(&format!("r{number}"), program);
        let retries = ["--retries", "1", "--retry-delay", "20ms", "--retry-on", "75"];
        let mut exec = lab.cmd("run-exec").arg("-q").args(retries).arg(&run).spawn();
        while exec.child.try_wait().unwrap().is_none() {
            let before = status(&run);
            let pid = fs::read_to_string(lab.path(format!("{run}/.run/pid")));
            if is_running(&before) && before == status(&run) {
                assert!(pid.is_ok_and(|pid| pid.trim().parse::<i32>().is_ok()), "{run}");
                seen += 1;
            }
        }
        exec.wait();
        assert!(!is_running(&status(&run)) && !lab.path(format!("{run}/.run/pid")).exists(), "{run}");
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn a_hangup_ends_a_run_unless_it_is_ignored() {
    let lab = Lab::new();
    let run = lab.new_run("heard", &["sleep", "100"]);
    let exec = lab.cmd("run-exec").arg(&run).spawn();
    lab.await_child(&run);
    exec.signal(Signal::HUP);
    exec.wait().code(143);
    assert_eq!(lab.status(&run)["reason"], "stopped by signal 1 (HUP)");
    let run = lab.new_run("ignored", &["sh", "-c", "until [ -e go ]; do sleep 0.02; done"]);
    let exec = lab.cmd("nohup").args(["run-exec", &run]).spawn();
    lab.await_child(&run);
    exec.signal(Signal::HUP);
    lab.write("go", "");
    exec.wait().code(0);
    assert_eq!(lab.status(&run)["status"], "completed");
}

#[test]
fn a_resume_is_another_attempt_with_the_logs_continued() {
    let lab = Lab::new();
    let program = "echo attempt $RUN_ATTEMPT; [ $RUN_ATTEMPT = 2 ]";
    let run = lab.new_run("one", &["sh", "-c", program]);
    lab.cmd("run-exec").arg(&run).run().code(1);
    lab.write("runs/one/stop", "");
    lab.cmd("run-exec").args(["--resume", &run]).run().code(0).stdout("attempt 2\n");
    assert!(!lab.path("runs/one/stop").exists());
    assert_eq!(lab.read("runs/one/stdout.log"), "attempt 1\nattempt 2\n");
    let lines = lab.json_lines("runs/one/.run/attempts.jsonl");
    assert_eq!(lines.len(), 4);
    assert_eq!((&lines[2]["offsets"]["stdout.log"], &lines[2]["attempt"]), (&json!(10), &json!(2)));
    let status = lab.status(&run);
    assert_eq!(
        (&status["status"], &status["attempt"], &status["reason"]),
        (&json!("completed"), &json!(2), &Value::Null)
    );
}

#[test]
fn a_created_run_with_a_stop_file_is_not_started() {
    let lab = Lab::new();
    let run = lab.new_run("one", &["touch", "ran"]);
    lab.cmd("run-stop").arg(&run).run().code(0);
    let done = lab.cmd("run-exec").arg(&run).run().code(125);
    assert!(done.err().contains("before it started"), "{}", done.err());
    assert_eq!(lab.status(&run)["status"], "stopped");
    assert!(!lab.path("ran").exists());
    lab.cmd("run-exec").args(["--resume", &run]).run().code(0);
    assert!(lab.path("ran").exists());
}

#[test]
fn placeholders_and_overrides_reach_the_program_exactly() {
    let lab = Lab::new();
    lab.write("my config.yaml", "seed: 5\n");
    let show = "import sys, json; print(json.dumps(sys.argv[1:]))";
    lab.cmd("run-new")
        .args(["-n", "r", "-s", "lr=1e-3", "-s", "text=a b='c' \"d\" ✓", "my config.yaml", "--"])
        .args([
            "python3",
            "-c",
            show,
            "{set}",
            "--config",
            "{config}",
            "x{seed}",
            "{{run}}",
            "{}",
            "{resume}",
            "--from={checkpoint}",
            "{env:LAB}",
        ])
        .run()
        .code(0);
    let done = lab.cmd("run-exec").arg("r").run().code(0);
    let config = lab.path("runs/r/config.yaml");
    let mark = lab.dir().file_name().unwrap().to_str().unwrap();
    let expected =
        json!(["--lr=1e-3", "--text=a b='c' \"d\" ✓", "--config", config, "x5", "{run}", "{}", mark]);
    assert_eq!(serde_json::from_slice::<Value>(&done.stdout).unwrap(), expected);
    let start = &lab.json_lines("runs/r/.run/attempts.jsonl")[0];
    assert_eq!(start["command"].as_array().unwrap().last().unwrap(), "{env:LAB}");
}

#[test]
fn a_redacted_command_is_not_executed_from_the_record() {
    let lab = Lab::new();
    lab.new_run("s", &["echo", "--api-key", "k123"]);
    let record = lab.read("runs/s/.run/meta.json");
    assert!(!record.contains("k123") && record.contains("[redacted]"));
    let refused = "the secret in '--api-key [redacted]' was not recorded\nrun-exec: use {env:NAME} instead of the secret";
    lab.cmd("run-exec").arg("s").run().code(125).stderr_has(refused);
    lab.cmd("run-exec").args(["s", "--", "echo", "--token=k123"]).run().code(0).stdout("--token=k123\n");
    for file in ["attempts.jsonl", "status.json", "result.json"] {
        assert!(!lab.read(&format!("runs/s/.run/{file}")).contains("k123"), "{file}");
    }
}

#[test]
fn a_redacted_variable_is_taken_from_the_caller() {
    let lab = Lab::new();
    lab.cmd("run-new")
        .args(["-n", "s", "--env", "HF_TOKEN=k123", "--", "sh", "-c", "echo $HF_TOKEN"])
        .run()
        .code(0);
    lab.cmd("run-exec")
        .arg("s")
        .run()
        .code(125)
        .stderr_has("the value of HF_TOKEN is a secret and was not recorded");
    lab.cmd("run-exec").env("HF_TOKEN", "mine").arg("s").run().code(0).stdout("mine\n");
}

#[test]
fn a_resume_that_is_refused_leaves_the_request_to_stop() {
    let lab = Lab::new();
    lab.new_run("r", &["echo", "{gpu}"]);
    lab.write("runs/r/stop", "");
    lab.cmd("run-exec")
        .args(["--resume", "r"])
        .run()
        .code(125)
        .stderr_has("neither --gpus nor CUDA_VISIBLE_DEVICES is set");
    assert!(lab.path("runs/r/stop").exists());
}

#[test]
fn metrics_are_followed_while_the_program_writes_them() {
    let lab = Lab::new();
    let program = "printf '{\"step\": 1, \"loss\": NaN}\\n{\"step\": 2, \"loss\": 0.5}\\n' >> $RUN_METRICS; until [ -e go ]; do sleep 0.02; done; printf '{\"step\": 4, \"loss\": 0.25}\\n' >> $RUN_METRICS";
    lab.cmd("run-new").args(["-n", "m", "--total-steps", "8", "--", "sh", "-c", program]).run().code(0);
    let exec = lab.cmd("run-exec").args(["--heartbeat", "50ms", "m"]).spawn();
    let status = lab.await_status("m", "at step 2", |status| status["step"] == 2);
    assert_eq!(status["metrics"]["loss"]["nonfinite"], 1);
    assert!(status["eta_s"].as_f64().is_some(), "{status}");
    lab.write("go", "");
    exec.wait().code(0);
    let status = lab.status("m");
    assert_eq!((&status["step"], &status["total_steps"]), (&json!(4), &json!(8)));
    assert_eq!(status["metrics"]["loss"]["mean"], 0.375);
    assert_eq!(status["recent"][0], json!({"step": 1, "loss": null}));
    assert_eq!(lab.json("runs/m/.run/result.json")["final_step"], 4);
}

#[test]
fn what_the_processes_use_is_recorded() {
    let lab = Lab::new();
    let program = "import time\nb = bytearray(60 << 20)\nt = time.process_time()\nwhile time.process_time() < t + 0.4: pass\n";
    let run = lab.new_run("u", &["sh", "-c", "python3 -c \"$0\" & wait", program]);
    lab.cmd("run-exec").args(["--heartbeat", "50ms", &run]).run().code(0);
    let used = &lab.status(&run)["resources"];
    let cpu = used["cpu_seconds"].as_f64().unwrap();
    assert!((0.4..5.0).contains(&cpu), "{used}");
    let memory = used["max_rss_bytes"].as_u64().unwrap() >> 20;
    assert!((60..200).contains(&memory), "{used}");
    let samples = lab.json_lines(&format!("{run}/.run/resources.jsonl"));
    assert!(samples.iter().any(|sample| sample["rss_bytes"].as_u64().unwrap() >> 20 >= 60));
    assert!(samples.iter().all(|sample| sample["processes"].as_u64().unwrap() <= 3), "{samples:?}");
}

#[test]
fn a_terminal_of_its_own_changes_no_byte() {
    let lab = Lab::new();
    let program = "import sys, os\nprint(sys.stdout.isatty(), sys.stderr.isatty(), sys.stdin.isatty(), os.get_terminal_size().columns)\nprint('to stderr', file=sys.stderr)\n";
    let run = lab.new_run("p", &["python3", "-c", program]);
    lab.cmd("run-exec").args(["--pty", &run]).run().code(0).stdout("True True False 80\nto stderr\n");
    assert_eq!(lab.read("runs/p/stdout.log"), "True True False 80\nto stderr\n");
    assert_eq!(lab.read("runs/p/stderr.log"), "");
    let run = lab.new_run("q", &["sh", "-c", "read word; echo got $word; [ -t 0 ]; cat"]);
    lab.cmd("run-exec")
        .args(["--pty", "--stdin", &run])
        .stdin("hello\nmore\n")
        .run()
        .code(0)
        .stdout("got hello\nmore\n");
    lab.nothing_left();
}

#[test]
fn one_pipe_for_both_keeps_their_order() {
    let lab = Lab::new();
    let program = "for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done";
    let run = lab.new_run("m", &["sh", "-c", program]);
    let expected: String = (1..10).map(|i| format!("out {i}\nerr {i}\n")).collect();
    lab.cmd("run-exec").args(["--merge", &run]).run().code(0).stdout(&expected).stderr("");
    assert_eq!(lab.read("runs/m/stdout.log"), expected);
}

#[test]
fn the_reason_is_the_exception() {
    let lab = Lab::new();
    let program = "import sys, atexit\natexit.register(lambda: print('wandb: done', file=sys.stderr))\nclass DependencyNotInstalled(Exception): pass\nraise DependencyNotInstalled('moviepy')\n";
    let run = lab.new_run("e", &["python3", "-c", program]);
    lab.cmd("run-exec").args(["-q", &run]).run().code(1).stdout("").stderr("");
    assert_eq!(lab.status(&run)["reason"], "exit 1: DependencyNotInstalled: moviepy");
    let traceback = lab.json("runs/e/.run/result.json")["traceback"].clone();
    assert_eq!(traceback[0], "Traceback (most recent call last):");
    let details = lab.cmd("run-status").arg(&run).run().code(0).out();
    assert!(details.contains("DependencyNotInstalled: moviepy\n"), "{details}");
}

#[test]
fn a_program_that_sees_the_stop_file_first_is_stopped_too() {
    let lab = Lab::new();
    lab.new_run("r", &["sh", "-c", "echo ready; while [ ! -e $RUN_STOP_FILE ]; do :; done"]);
    let exec = lab.cmd("run-exec").args(["-q", "r"]).spawn();
    lab.await_text("runs/r/stdout.log", "ready");
    lab.write("runs/r/stop", "");
    exec.wait().code(0);
    let status = lab.status("r");
    assert_eq!(
        (status["status"].as_str(), status["reason"].as_str()),
        (Some("stopped"), Some("stopped by the file 'stop'"))
    );
}
