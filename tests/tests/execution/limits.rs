//! What a machine may lack: files that can be opened, room in a file, `/proc`, a stdout.

use serde_json::Value;
use std::fs::{self, File};
use testkit::process::{Signal, getuid};
use testkit::{Done, Lab, bin, pid};

/// Runs a script with a limit of the shell in force.
fn limited(lab: &Lab, limit: &str, script: &str) -> Done {
    lab.cmd("sh").args(["-c", &format!("ulimit {limit}; {script}")]).run()
}

#[test]
fn too_few_files_are_no_fault_of_the_supervisor() {
    let lab = Lab::new();
    for files in 6..60 {
        let run = lab.new_run(&format!("r{files}"), &["echo", "ran"]);
        let done = limited(&lab, &format!("-n {files}"), &format!("exec run-exec {run}"));
        let status = lab.status(&run);
        if done.code == 0 {
            assert_eq!((done.out().as_str(), done.err().as_str()), ("ran\n", ""), "{files}");
            assert_eq!(status["status"], "completed", "{files}");
            continue;
        }
        let err = done.err();
        assert_eq!(done.code, 125, "{files}: {err}");
        assert!(
            err.contains("Too many open files") && !err.contains("supervisor") && !err.contains("proc"),
            "{files}: {err}"
        );
        assert_eq!((&status["status"], &status["attempt"]), (&"created".into(), &0.into()), "{files}: {err}");
        assert!(files < 50, "{err}");
    }
    let few = limited(&lab, "-n 20", "exec run-exec runs/r7");
    assert!(
        few.err().ends_with("Too many open files\nrun-exec: ulimit -n shows and sets the limit\n"),
        "{}",
        few.err()
    );
    lab.nothing_left();
}

#[test]
fn a_file_at_its_limit_is_a_write_error_that_is_said_and_recorded() {
    let lab = Lab::new();
    let run = lab.new_run("none", &["true"]);
    let done = limited(&lab, "-f 0", &format!("run-exec {run}")).code(125);
    assert_eq!(
        done.err(),
        format!("run-exec: cannot write '{}': File too large\n", lab.path("runs/none/.run/lock").display())
    );
    assert_eq!(lab.status(&run)["status"], "created");
    limited(&lab, "-f 0", "run-new -n new").code(5).stderr_has("File too large");
    assert!(!lab.path("runs/new").exists());
    limited(&lab, "-f 0", "run-report --export x.json").code(5).stderr_has("File too large");
    limited(&lab, "-f 0", "run-status --log none").code(0);
    // What the command prints is drained, and it has the default effect of the signal.
    let program = "seq 100000; head -c 1000000 /dev/zero >big; echo $? >&2";
    for blocks in [8, 64] {
        let run = lab.new_run(&format!("r{blocks}"), &["sh", "-c", program]);
        let done = limited(&lab, &format!("-f {blocks}"), &format!("run-exec {run}")).code(0);
        let (out, err) = (done.out(), done.err());
        assert_eq!(out.lines().count(), 100_000);
        assert!(
            err.contains(
                "cannot write stdout.log: File too large; the command continues, but output is LOST"
            ),
            "{err}"
        );
        assert!(err.contains("153\n"), "128 and SIGXFSZ: {err}");
        let end = lab.json(&format!("{run}/.run/result.json"));
        let lost = end["lost_bytes"].as_u64().unwrap();
        let logged = fs::metadata(lab.path(format!("{run}/stdout.log"))).unwrap().len();
        assert_eq!(lost + logged, out.len() as u64);
        let reason = end["reason"].as_str().unwrap();
        assert_eq!(reason, format!("{lost} bytes of output could not be logged"));
    }
    lab.nothing_left();
}

/// Runs a script in a file system without `/proc`.
fn without_proc(lab: &Lab, script: &str) -> Done {
    let script = format!("mount -t tmpfs none /proc || exit 99; {script}");
    let done = lab.cmd("unshare").args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]).run();
    assert_ne!(done.code, 99, "this machine does not let a user mount: {}", done.err());
    done
}

const UNSEEN: &str = "run-exec: cannot read /proc; processes that outlive the main process cannot be found\n";

#[test]
fn without_proc_a_helper_that_lives_on_is_said_and_recorded() {
    let lab = Lab::new();
    // One in the process group of the command is ended all the same, one in a session of its own is not found.
    let script = "run-new -n r -- sh -c 'sleep 1000 & echo $! >near; setsid sleep 1001 & exit 0' >/dev/null; run-exec --linger 100ms r";
    let done = without_proc(&lab, script);
    assert_eq!((done.code, done.err().as_str()), (125, UNSEEN));
    let result = lab.json("runs/r/.run/result.json");
    assert_eq!(result["status"], "failed");
    assert_eq!(result["reason"], "processes that outlived it could not be found: /proc cannot be read");
    let left = lab.alive();
    let words: Vec<String> =
        left.iter().map(|pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap()).collect();
    assert_eq!(words, ["sleep\u{0}1001\u{0}"]);
}

#[test]
fn without_proc_the_command_itself_is_supervised() {
    let lab = Lab::new();
    let script = "run-new -n r -- sleep 1000 >/dev/null; run-exec --timeout 300ms r; echo $?; \
                  run-new -n s -- true >/dev/null; run-exec s; echo $?; run-new -b=b --sweep k=1..3 -- true {set} >/dev/null; run-exec -q b; echo $?";
    let done = without_proc(&lab, script).code(0).stdout("124\n0\n0\n");
    assert_eq!(done.err(), UNSEEN.repeat(3), "once for each command line");
    let end = |run: &str| -> Value { lab.json(&format!("runs/{run}/.run/result.json")) };
    assert_eq!(end("r")["reason"], "timeout 0.3s");
    assert_eq!((&end("s")["status"], &end("s")["reason"]), (&"completed".into(), &Value::Null));
    assert_eq!(end("b/run_k-3")["status"], "completed");
    lab.nothing_left();
}

#[test]
fn a_tool_without_stdout_says_so_when_it_has_something_to_print() {
    let lab = Lab::new();
    lab.new_run("r", &["echo", "hi"]);
    lab.cmd("run-exec").arg("r").run().code(0);
    let printing = [
        "run-status -a",
        "run-status --json -a",
        "run-status r",
        "run-status --log r",
        "run-report",
        "run-report --metrics",
        "run-new -n n",
        "run-stop r",
        "run-status --help",
        "run-report --version",
        "run-stop --generate-completions bash",
    ];
    for line in printing {
        let tool = line.split(' ').next().unwrap();
        for (to, why) in [(">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")] {
            let done = lab.cmd("sh").args(["-c", &format!("exec {line} {to}")]).run();
            let expected = format!("{tool}: cannot write to stdout: {why}\n");
            assert!(
                done.code == 5 && done.err().ends_with(&expected),
                "{line} {to}: {} {}",
                done.code,
                done.err()
            );
            let _ = fs::remove_dir_all(lab.path("runs/n"));
        }
        // A caller that wants nothing gets nothing, however the file was opened.
        for to in [">/dev/null", "1<>/dev/null"] {
            lab.cmd("sh").args(["-c", &format!("exec {line} {to}")]).run().code(0);
            let _ = fs::remove_dir_all(lab.path("runs/n"));
        }
    }
    lab.cmd("sh").args(["-c", "exec run-status >&-"]).run().code(0).stderr_has("1 run in 'runs' not shown");
    lab.cmd("sh").args(["-c", "exec run-exec --help >&-"]).run().code(125);
    let done = lab.cmd("sh").args(["-c", "exec run-exec --resume r >&-"]).run().code(0);
    assert!(
        done.err().contains("run-exec: stdout is closed: output goes only to the logs\n"),
        "{}",
        done.err()
    );
    assert_eq!(lab.read("runs/r/stdout.log"), "hi\nhi\n");
    let done = lab.cmd("sh").args(["-c", "exec run-exec --resume r >/dev/full"]).run().code(0);
    let why = "cannot pass output on: No space left on device; it goes only to the logs";
    assert!(done.err().contains(&format!("run-exec: {why}\n")), "{}", done.err());
    assert_eq!(lab.read("runs/r/stdout.log"), "hi\nhi\nhi\n");
    let null = || File::options().read(true).write(true).open("/dev/null").unwrap();
    lab.cmd(bin().join("run-status")).arg("-a").stdout_to(null()).run().code(0).stderr("");
}

#[test]
fn a_tool_without_stdin_says_so_when_it_reads_names() {
    let lab = Lab::new();
    for (line, code) in [
        ("run-status -", 5),
        ("run-exec -", 5),
        ("run-stop -", 5),
        ("run-report -", 5),
        ("run-eval - -- true", 5),
    ] {
        let tool = line.split(' ').next().unwrap();
        let done = lab.cmd("sh").args(["-c", &format!("exec {line} <&-")]).run();
        assert_eq!(
            (done.code, done.err()),
            (code, format!("{tool}: cannot read stdin: Bad file descriptor\n")),
            "{line}"
        );
    }
}

/// Makes a program that gives up everything that its caller could signal it by, as `sudo` does. `None` where
/// nobody can: without root, or in a file system that knows no such programs.
fn untouchable(lab: &Lab) -> Option<&'static str> {
    lab.cmd("cp").args(["/usr/bin/setpriv", "untouchable"]).run().code(0);
    lab.set_mode("untouchable", 0o4755);
    let id = lab.cmd_by_somebody("./untouchable").args(["--reuid", "0", "id", "-u"]).run();
    (getuid().is_root() && id.out() == "0\n").then_some("exec ./untouchable --reuid 0 sleep 1000")
}

#[test]
fn what_cannot_be_killed_is_no_stop_and_followed_by_no_other_attempt() {
    let lab = Lab::new();
    let Some(program) = untouchable(&lab) else { return };
    let quick = ["--linger", "0s", "--grace", "0s"];
    for (name, options, told) in [
        (
            "stalled",
            &["--stall-timeout", "100ms", "--retries", "3", "--retry-delay", "0s"][..],
            "stall timeout 0.1s",
        ),
        ("stopped", &[], "stopped by "),
    ] {
        let run = lab.new_run(name, &["sh", "-c", program]);
        lab.cmd("chown").args(["-R", "65534", "runs"]).run().code(0);
        let exec = lab.cmd_by_somebody("run-exec").arg("-q").args(quick).args(options).arg(&run).spawn();
        let sleeper = pid(&lab.await_child(&run), "child_pid");
        lab.await_status(&run, "beyond reach", |_| {
            fs::read_to_string(format!("/proc/{sleeper}/status"))
                .is_ok_and(|text| text.contains("Uid:\t0\t0"))
        });
        if options.is_empty() {
            lab.cmd_by_somebody("run-stop").arg("--no-wait").arg(&run).run().code(0);
        }
        let done = exec.wait();
        let result = lab.json(&format!("{run}/.run/result.json"));
        assert_ne!(done.code, 0, "{}", done.err());
        assert_eq!((&result["status"], &result["retry_in_s"]), (&"failed".into(), &Value::Null), "{result}");
        let reason = result["reason"].as_str().unwrap();
        assert!(reason.starts_with(told) && reason.contains("1 process could not be killed"), "{reason}");
        assert_eq!(lab.json_lines(&format!("{run}/.run/attempts.jsonl")).len(), 2);
        testkit::signal(sleeper, Signal::KILL);
    }
}
