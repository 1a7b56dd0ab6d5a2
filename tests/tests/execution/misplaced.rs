//! Links and other things at the path of a file that is read: no tool waits, fills memory, or lets one bad
//! run hide the others.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::Stdio;
use testkit::misplaced::Put::{Directory, Endless, Pipe, Zero};
use testkit::misplaced::{ALL, LENGTH, Stage};
use testkit::process::Signal;
use testkit::{Done, Lab, Random, times};

/// Places of files that are read, of a record and of a trainer.
const READ: [&str; 30] = [
    "runs/r/.run/meta.json",
    "runs/r/.run/status.json",
    "runs/r/.run/result.json",
    "runs/r/.run/attempts.jsonl",
    "runs/r/.run/overwritten.json",
    "runs/r/.run/resources.jsonl",
    "runs/r/.run/scraped.jsonl",
    "runs/r/.run/lock",
    "runs/r/.run/git.patch",
    "runs/r/.run/environment.json",
    "runs/r/stdout.log",
    "runs/r/stderr.log",
    "runs/r/combined.log",
    "runs/r/metrics.jsonl",
    "runs/r/metrics.csv",
    "runs/r/events.out.tfevents.1.h",
    "runs/r/config.yaml",
    "runs/r/stop",
    "runs/r/checkpoints/step_1/state.json",
    "runs/r/checkpoints/step_1/trainer_state.json",
    "runs/r/checkpoints/latest",
    "runs/b/.batch/batch.json",
    "runs/b/stop",
    "eval_runs/r_eval/.eval/evaluations.json",
    "eval_runs/r_eval/eval_config.yaml",
    "eval_runs/r_eval/consolidated_metrics.csv",
    "eval_runs/r_eval/step_1_eval/.eval/meta.json",
    "eval_runs/r_eval/step_1_eval/.eval/status.json",
    "eval_runs/r_eval/step_1_eval/.eval/metrics.json",
    "eval_runs/r_eval/step_1_eval/stdout.log",
];

const READERS: [&[&str]; 16] = [
    &["run-status", "-a"],
    &["run-status", "-a", "--full"],
    &["run-status", "r"],
    &["run-status", "--log", "r"],
    &["run-status", "--log=stdout", "r"],
    &["run-status", "--log=stderr", "-f", "r"],
    &["run-status", "--wait", "--timeout", "1s", "r"],
    &["run-status", "b"],
    &["run-report", "r", "other"],
    &["run-report", "--metrics"],
    &["run-report", "--evals"],
    &["run-report", "--cost", "--rate", "1"],
    &["run-report", "--compare", "r", "other"],
    &["run-report", "--export", "-"],
    &["run-stop", "r"],
    &["run-stop", "--all"],
];

#[test]
fn no_reader_waits_or_fills_memory_or_hides_the_other_runs() {
    let stage = Stage::make();
    let mut random = Random::new(11);
    let chosen = times(1, READERS.len());
    for place in READ {
        for put in ALL {
            let case = stage.case(put, place);
            case.others_are_listed();
            let first = usize::try_from(random.below(READERS.len() as u64)).unwrap();
            for reader in READERS.iter().cycle().skip(first).take(chosen) {
                // Ten gigabytes of a log are printed, and more than the test wants to keep.
                let done = case.run_to(reader, Stdio::null());
                assert!(
                    [0, 1, 3].contains(&done.code),
                    "{}: {reader:?} ended with {}: {}",
                    case.shown,
                    done.code,
                    done.err()
                );
            }
            if !place.ends_with("stop") {
                case.nothing_is_touched();
            }
        }
    }
}

#[test]
fn a_log_is_streamed_and_what_is_no_log_is_said() {
    let stage = Stage::make();
    let logs = [("combined", "combined.log"), ("stdout", "stdout.log"), ("stderr", "stderr.log")];
    for (number, (log, place)) in logs.into_iter().enumerate() {
        for put in [Pipe, Directory, Zero] {
            let case = stage.case(put, &format!("runs/r/{place}"));
            let why = if put == Zero { "it is a device" } else { put.words() };
            let done = case.code(&["run-status", &format!("--log={log}"), "r"], &[3]);
            assert_eq!(done.err(), format!("run-status: cannot read 'runs/r/{place}': {why}\n"));
        }
        if number >= times(1, logs.len()) {
            continue; // it takes its time
        }
        let case = stage.case(Endless, &format!("runs/r/{place}"));
        let script = format!("ulimit -v 3000000; run-status --log={log} r | tail -c +10000000000 | wc -c");
        let printed =
            stage.lab.cmd("sh").cwd(&case.root).args(["-c", &script]).run().code(0).stderr("").out();
        let before = if log == "combined" { 37 } else { 0 }; // the head of the line
        assert_eq!(printed.trim().parse::<u64>().unwrap(), LENGTH - before - 10_000_000_000 + 1);
        // A reader that prints to nobody ends with a signal.
        let reader = stage.lab.cmd("run-status").cwd(&case.root).args([&format!("--log={log}"), "r"]).spawn();
        for signal in [Signal::TERM, Signal::INT] {
            reader.signal(signal);
        }
        let code = reader.wait().code;
        assert!(code == 1000 + 15 || code == 1000 + 2, "{code}");
    }
}

#[test]
fn a_config_without_end_is_copied_and_not_understood() {
    let lab = Lab::new();
    let file = lab.write("big.yaml", "seed: 1\n");
    let length = 64 << 20;
    File::options().write(true).open(&file).unwrap().set_len(length).unwrap();
    let script = "ulimit -v 60000; exec run-new -n r big.yaml -- true";
    let done = lab.cmd("sh").args(["-c", script]).run().code(0);
    let expected = "run-new: cannot parse 'big.yaml', so nothing is read from it: it is too large\n";
    assert_eq!(done.err(), expected);
    lab.cmd("cmp").args(["big.yaml", "runs/r/config.yaml"]).run().code(0);
    let hash = lab.cmd("sha256sum").arg("big.yaml").run().code(0).out();
    assert_eq!(lab.json("runs/r/.run/meta.json")["config_sha256"], hash[..64]);
    lab.cmd("run-exec").args(["-q", "r"]).run().code(0);
    lab.cmd("run-exec").args(["-q", "--resume", "r"]).run().code(0);
    lab.cmd("run-report").arg("r").run().code(0);
    // What the user names may be a pipe, of which there is an end.
    lab.cmd("run-new").args(["-n", "p", "/dev/stdin"]).stdin("seed: 1\n").run().code(0);
    assert_eq!(lab.read("runs/p/config"), "seed: 1\n");
    lab.cmd("run-new")
        .args(["-n", "z", "/dev/zero"])
        .run()
        .code(5)
        .stderr("run-new: cannot read '/dev/zero': it is larger than 16 MiB\n");
    lab.cmd("mkfifo").arg("pipe.yaml").run().code(0);
    lab.cmd("run-new").args(["-n", "q", "p*.yaml"]).run().code(5).stderr_has("no file matches");
    let reader = lab.cmd("run-new").args(["-n", "w", "pipe.yaml"]).spawn();
    reader.signal(Signal::TERM);
    reader.wait().code(1015);
}

#[test]
fn prices_are_not_waited_for_at_the_end_of_a_run() {
    let lab = Lab::new();
    lab.cmd("mkfifo").arg("rates").run().code(0);
    let run = lab.new_run("r", &["true"]);
    lab.cmd("run-exec").env("RUN_RATES", lab.path("rates")).args(["-q", &run]).run().code(0);
    let done = lab.cmd("run-report").env("RUN_RATES", "rates").arg("--cost").run();
    assert_eq!((done.code, done.err().as_str()), (3, "run-report: cannot read 'rates': it is a pipe\n"));
}

#[test]
fn links_list_nothing_twice_and_are_not_followed_in_circles() {
    let lab = Lab::new();
    lab.new_run("a", &["true"]);
    lab.cmd("run-new").args(["-b=b", "--sweep", "k=1..2", "--", "true", "{set}"]).run().code(0);
    fs::create_dir(lab.path("runs/dark")).unwrap();
    for number in 0..300 {
        symlink(".", lab.path(format!("runs/loop{number}"))).unwrap();
    }
    symlink("..", lab.path("runs/b/up")).unwrap();
    symlink("run_k-1", lab.path("runs/b/again")).unwrap();
    for name in ["runs/a/.run", "runs/dark"] {
        lab.set_mode(name, 0);
    }
    let done = lab.cmd_by_somebody("run-status").run().code(3);
    let err = done.err();
    for name in ["runs/a/.run", "runs/dark/.run"] {
        assert_eq!(err.matches("cannot read").count(), 2, "{err}");
        assert!(err.contains(&format!("run-status: cannot read '{name}': Permission denied\n")), "{err}");
    }
    let names = |done: Done| -> Vec<String> {
        done.json_lines()
            .iter()
            .map(|line| line["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(lab.cmd_by_somebody("run-status").arg("--json").run().code(3)), ["run_k-1", "run_k-2"]);
    assert_eq!(names(lab.cmd("run-status").args(["--json", "b"]).run().code(0)), ["run_k-1", "run_k-2"]);
    for name in ["runs/a/.run", "runs/dark"] {
        lab.set_mode(name, 0o755);
    }
    // What is reached by links alone is listed once, by one of them.
    fs::create_dir_all(lab.path("far/one")).unwrap();
    fs::rename(lab.path("runs/a"), lab.path("far/one/a")).unwrap();
    symlink("../far", lab.path("runs/0")).unwrap();
    symlink("../far/one", lab.path("runs/z")).unwrap();
    assert_eq!(names(lab.cmd("run-status").arg("--json").run().code(0)), ["run_k-1", "run_k-2", "a"]);
}
