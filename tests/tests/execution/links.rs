//! Links and other things at the path of a file that is written: no tool writes to anything but the run's own
//! files.

use std::fs;
use testkit::misplaced::Put::{Dangling, Directory, Endless, HardLink, Link, LinkToOther, Pipe, Zero};
use testkit::misplaced::{ALL, LENGTH, Stage, UNFIT};

const APPENDED: [&str; 7] = [
    "runs/r/.run/lock",
    "runs/r/.run/attempts.jsonl",
    "runs/r/.run/resources.jsonl",
    "runs/r/.run/scraped.jsonl",
    "runs/r/stdout.log",
    "runs/r/stderr.log",
    "runs/r/combined.log",
];

#[test]
fn no_attempt_writes_to_what_is_not_the_runs_file() {
    let stage = Stage::make();
    for place in APPENDED {
        for put in UNFIT {
            let case = stage.case(put, place);
            let done = case.code(&["run-exec", "-q", "--resume", "r"], &[125]);
            let expected =
                format!("run-exec: cannot write '{}': {}\n", case.root.join(place).display(), put.words());
            assert_eq!(done.err(), expected, "{}", case.shown);
            case.nothing_is_touched();
        }
        // What is wrong with one run does not keep others from theirs.
        let case = stage.case(Link, place);
        case.code(&["run-exec", "-q", "--resume", "r", "other"], &[3]);
        assert_eq!(stage.lab.json("case/runs/other/.run/status.json")["attempt"], 2);
    }
    for log in &APPENDED[4..] {
        let case = stage.case(Endless, log);
        case.code(&["run-exec", "-q", "--resume", "r"], &[0]);
        assert!(fs::metadata(case.root.join(log)).unwrap().len() > LENGTH, "{}", case.shown);
    }
    let case = stage.case(Endless, "runs/r/.run/attempts.jsonl");
    case.code(&["run-exec", "-q", "--resume", "r"], &[125]);
    assert_eq!(stage.lab.json("case/runs/r/.run/status.json")["attempt"], 1);
}

#[test]
fn no_replacement_of_a_file_goes_through_a_link() {
    let stage = Stage::make();
    for place in ["runs/r/.run/status.json", "runs/r/.run/result.json", "runs/r/.run/pid"] {
        for put in UNFIT {
            let case = stage.case(put, place);
            let code = if put == HardLink { 0 } else { 125 };
            if place.ends_with("status.json") && put != Link && put != HardLink {
                case.code(&["run-exec", "-q", "--resume", "r"], &[0, 125]); // it says nothing
                continue;
            }
            case.code(&["run-exec", "-q", "--resume", "r"], &[code]);
            if code == 125 {
                case.nothing_is_touched();
            }
        }
    }
    for place in ["runs/r/.run/.status.json.tmp", "runs/r/.run/.result.json.tmp", "runs/r/.run/.pid.tmp"] {
        for put in ALL {
            let case = stage.case(put, place);
            let code = if put == Directory { 125 } else { 0 };
            case.code(&["run-exec", "-q", "--heartbeat", "10ms", "--resume", "r"], &[code]);
            if put == Directory {
                case.nothing_is_touched();
            } else {
                let status = stage.lab.json("case/runs/r/.run/status.json");
                assert_eq!(
                    (&status["attempt"], &status["status"]),
                    (&2.into(), &"completed".into()),
                    "{}",
                    case.shown
                );
                assert!(!case.root.join(place).exists(), "{}", case.shown);
            }
        }
    }
}

#[test]
fn a_record_is_a_directory_of_its_own_and_a_run_may_be_reached_by_a_link() {
    let stage = Stage::make();
    for put in [Link, LinkToOther, Dangling] {
        let case = stage.case(put, "runs/r/.run");
        case.code(&["run-exec", "-q", "--resume", "r"], &[125]);
        case.nothing_is_touched();
        case.others_are_listed();
    }
    let case = stage.case(Link, "runs/r");
    case.run(&["run-status", "r"]);
    stage.lab.cmd("run-exec").cwd(&case.root).args(["-q", "--resume", "r"]).run().code(0);
    assert_eq!(stage.lab.json("case/victims/moved/.run/status.json")["attempt"], 2);
    let case = stage.case(Link, "runs/r/checkpoints");
    case.code(&["run-status", "r"], &[0]);
}

#[test]
fn no_request_to_stop_goes_through_a_link() {
    let stage = Stage::make();
    for put in [Link, LinkToOther, Dangling, HardLink, Pipe, Directory, Zero] {
        let case = stage.case(put, "runs/r/stop");
        stage.lab.cmd("run-new").cwd(&case.root).args(["-n", "new", "--", "true"]).run().code(0);
        fs::rename(case.root.join("runs/r/stop"), case.root.join("runs/new/stop")).unwrap();
        for words in
            [&["run-stop", "--no-wait", "new"][..], &["run-stop", "--no-wait", "--grace", "1s", "new"]]
        {
            case.code(words, &[0, 5]);
            assert!(case.root.join("runs/new/stop").symlink_metadata().is_ok());
        }
        let scratch = "ln -s ../../victims/other runs/new/.stop.$$.tmp; exec \"$@\"";
        let words = ["-c", scratch, "sh", "run-stop", "--no-wait", "--grace", "2s", "new"];
        stage.lab.cmd("sh").cwd(&case.root).args(words).run();
        case.victims_are_safe(&["run-stop"]);
        case.code(&["run-exec", "-q", "new"], &[125]);
    }
}

#[test]
fn no_evaluation_writes_to_what_is_not_its_own() {
    let stage = Stage::make();
    let eval = ["run-eval", "--force", "r", "--", "echo", "{\"score\": 2}"];
    let kind = "eval_runs/r_eval";
    let one = format!("{kind}/step_1_eval");
    // The place, and whether it is written to, so that the evaluation is refused.
    let files = [
        (".lock", true),
        (".eval/evaluations.json", true),
        ("eval_config.yaml", true),
        ("consolidated_metrics.csv", true),
        (".eval/.evaluations.json.tmp", false),
        (".eval_config.yaml.tmp", false),
        (".consolidated_metrics.csv.tmp", false),
        ("step_1_eval/.eval/lock", true),
        ("step_1_eval/.eval/attempts.jsonl", true),
        ("step_1_eval/.eval/resources.jsonl", true),
        ("step_1_eval/.eval/meta.json", false),
        ("step_1_eval/.eval/metrics.json", true),
        ("step_1_eval/.eval/.metrics.json.tmp", false),
        ("step_1_eval/stdout.log", true),
        ("step_1_eval/metrics.csv", false),
        ("step_1_eval/summary.json", false),
    ];
    for (file, is_refused) in files {
        for put in UNFIT {
            let case = stage.case(put, &format!("{kind}/{file}"));
            let is_replaced = [".csv", ".yaml", ".json"].iter().any(|end| file.ends_with(end));
            let codes: &[i32] = match put {
                HardLink if is_replaced => &[0],
                _ if is_refused => &[3],
                Directory => &[0, 1, 3, 5],
                _ => &[0],
            };
            case.code(&eval, codes);
        }
    }
    let record = format!("{kind}/.eval");
    for directory in [&record, &one, &format!("{one}/.eval"), &format!("{one}/.eval/attempt-1")] {
        for put in [Link, LinkToOther, Dangling] {
            let case = stage.case(put, directory);
            case.code(&eval, &[3]);
        }
    }
    for put in [Link, LinkToOther, Dangling, Pipe] {
        let case = stage.case(put, "runs/r/.eval-pins");
        case.code(&eval, &[0]);
        let case = stage.case(put, "runs/r/.eval-pins/lock");
        case.code(&eval, &[0]);
    }
    // The directory of all may be elsewhere.
    let case = stage.case(Link, kind);
    stage.lab.cmd("run-eval").cwd(&case.root).args(&eval[1..]).run().code(0);
}

#[test]
fn what_people_read_of_a_batch_keeps_no_run_from_its_work() {
    let stage = Stage::make();
    let places =
        ["lock", "../master_log.txt", "../experiment_summary.json", "../.experiment_summary.json.tmp", ""];
    for place in places.map(|place| format!("runs/b/.batch/{place}")) {
        for put in [Link, LinkToOther, Dangling, HardLink, Pipe, Directory, Zero] {
            if place.ends_with('/') && put != Link {
                continue; // then it is no batch
            }
            let case = stage.case(put, place.trim_end_matches('/'));
            let done = case.code(&["run-exec", "-q", "--resume", "runs/b/base_k-1", "runs/b/base_k-2"], &[0]);
            for run in ["base_k-1", "base_k-2"] {
                assert_eq!(
                    stage.lab.json(&format!("case/runs/b/{run}/.run/status.json"))["attempt"],
                    2,
                    "{}",
                    case.shown
                );
            }
            let is_written = place.contains("experiment_summary")
                && (put == HardLink || place.contains(".json.tmp") && put != Directory);
            assert_eq!(done.err().is_empty(), is_written, "{}: {}", case.shown, done.err());
        }
    }
}
