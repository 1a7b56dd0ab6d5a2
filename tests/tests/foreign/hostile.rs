//! Whatever lies at the path of a file of a run of another system: no tool waits for it or reads without end, and
//! the other runs are shown.

use serde_json::json;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use testkit::Lab;
use testkit::foreign::{
    connect4, connect4_status, experiments, rl_evaluations, rl_practice, short_rows, stealthrl,
};
use testkit::misplaced::{Put, within_limits};

/// Files of the runs, and whether they are small documents.
const FILES: [(&str, bool); 17] = [
    ("stealth/run_metadata.json", true),
    ("stealth/metrics.jsonl", false),
    ("stealth/training.log", false),
    ("batch/easy/experiment_metadata.json", true),
    ("batch/easy/experiment_result.json", true),
    ("batch/easy/config_used.py", true),
    ("batch/easy/stdout.log", false),
    ("batch/experiment_summary.json", true),
    ("c4/meta.json", true),
    ("c4/status.json", true),
    ("c4/pid", true),
    ("c4/config.yaml", true),
    ("c4/metrics.csv", false),
    ("training_runs/r/config.yaml", true),
    ("training_runs/r/logs/train_log.jsonl", false),
    ("eval_runs/r_gsm8k/eval_config.yaml", true),
    ("eval_runs/r_gsm8k/step_10_gsm8k/metrics.csv", false),
];

#[test]
fn nothing_in_the_place_of_a_file_hides_the_other_runs() {
    let lab = Lab::new();
    stealthrl(&lab, "template/stealth", &json!({}), &short_rows(3));
    stealthrl(&lab, "template/other", &json!({}), &short_rows(3));
    experiments(&lab, "template/batch");
    connect4(&lab, "template/c4", &connect4_status("running", 5), Some("0"));
    rl_practice(&lab, "template", "r", &["10"], 3);
    rl_evaluations(&lab, "template", "r", "gsm8k", true);
    lab.write("template/victims/other", "theirs\n");
    for (place, is_document) in FILES {
        for put in [Put::Dangling, Put::Pipe, Put::Directory, Put::Zero, Put::Endless] {
            if put == Put::Endless && !is_document {
                continue; // it is read to its end
            }
            lab.cmd("rm").args(["-rf", "case"]).run().code(0);
            lab.cmd("cp").args(["-a", "template", "case"]).run().code(0);
            put.at(&lab.path("case"), place);
            let run = |words: &[&str]| within_limits(&lab, put, place, words);
            for words in
                [&["run-status", "-d", "case", "-a"][..], &["run-report", "-d", "case", "--format", "csv"]]
            {
                let out = run(words);
                assert!(out.contains("other") && out.contains("moderate"), "{put:?} at {place}: {out}");
            }
            let of = ["batch/easy", "c4", "training_runs/r"].into_iter().find(|run| place.starts_with(run));
            let of = format!("case/{}", of.unwrap_or("stealth"));
            run(&["run-status", &of]);
            run(&["run-status", "--log", &of]);
            if !is_document {
                run(&["run-report", "-d", "case", "--evals"]);
                run(&["run-report", "-d", "case", "--metrics"]);
            }
            run(&["run-stop", "--no-wait", "case/c4"]);
        }
    }
}

#[test]
fn names_and_links_of_any_kind_are_no_trouble() {
    let lab = Lab::new();
    for name in ["größe", "a b", "x\ny", "-n", "'q'"] {
        stealthrl(
            &lab,
            &format!("runs/{name}"),
            &json!({"run_name": "../../etc", "status": "\u{1b}[31mrunning"}),
            &short_rows(1),
        );
    }
    symlink("größe", lab.path("runs/latest")).unwrap();
    symlink("..", lab.path("runs/a b/up")).unwrap();
    symlink("loop", lab.path("runs/loop")).unwrap();
    fs::create_dir(lab.path("runs/empty")).unwrap();
    let listed = lab.cmd("run-status").args(["-a", "--json"]).run().code(0);
    assert_eq!(listed.json_lines().len(), 5);
    let table = lab.cmd("run-status").arg("-a").run().code(0).out();
    assert!(!table.contains('\u{1b}') && table.lines().count() == 6, "{table:?}");
    let odd = std::path::PathBuf::from(std::ffi::OsStr::from_bytes(b"runs/\xff"));
    fs::create_dir(lab.path(&odd)).unwrap();
    fs::write(lab.path(&odd).join("run_metadata.json"), "{}").unwrap();
    let listed = lab.cmd("run-status").args(["-a", "--json"]).run().code(3);
    assert!(
        listed.json_lines().len() == 5 && listed.err().contains("its name is not UTF-8"),
        "{}",
        listed.err()
    );
}
