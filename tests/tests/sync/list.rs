//! What a store has: its runs, the files of a backup, and the messages for an address of another place.

use serde_json::{Value, json};
use testkit::sets::{Backup, MTIME, sha256};
use testkit::{Cmd, Lab};

fn list(lab: &Lab, args: &[&str]) -> Cmd {
    lab.cmd("run-sync").arg("list").args(args)
}

/// Makes two backups of a run, the second with other files.
fn two(lab: &Lab) {
    let first = Backup::first(lab, "store", "trial").dir("ckpt").file("ckpt/step_1.pt", vec![1; 2048]);
    let first = first.file("log", "one\n").link("latest", "ckpt/step_1.pt");
    let second = first.next(&first.commit()).file("log", "one\ntwo\n").absent("ckpt/step_1.pt", "cleaned");
    second.evaluation("gsm8k", "metrics.csv", "step,acc\n").file("what is new", "x").commit();
}

#[test]
fn the_files_of_a_backup_are_listed() {
    let lab = Lab::new();
    two(&lab);
    let shown =
        list(&lab, &["--from", "store", "--files", "trial"]).env("TZ", "UTC").run().code(0).stderr("").out();
    let lines: Vec<Vec<&str>> = shown
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    let time = "2026-01-29 12:00";
    assert_eq!(
        lines,
        [
            vec!["SIZE", "MODIFIED", "FILE"],
            vec!["2.0K", time, "ckpt/step_1.pt", "cleaned"],
            vec![time, "latest -> ckpt/step_1.pt"],
            vec!["8B", time, "log"],
            vec!["1B", time, "what is new"],
            vec!["9B", time, ".eval/gsm8k/metrics.csv"],
        ]
    );
    let rows = list(&lab, &["--from", "store", "--files", "--json", "--at", "1"]).run().code(0).json_lines();
    let object = |file: &str, content: &[u8]| {
        json!({"name": "trial", "number": 1, "file": file, "size": content.len(), "mtime": MTIME,
            "sha256": sha256(content), "key": format!("trial/{file}"), "target": null, "absent": null})
    };
    let link = json!({"name": "trial", "number": 1, "file": "latest", "size": null, "mtime": MTIME, "sha256": null,
        "key": null, "target": "ckpt/step_1.pt", "absent": null});
    assert_eq!(rows, [object("ckpt/step_1.pt", &[1; 2048]), link, object("log", b"one\n")]);
    // Every file that is listed can be printed.
    for row in list(&lab, &["--from", "store", "--files", "--json"]).run().code(0).json_lines() {
        if let Some(hash) = row["sha256"].as_str() {
            let cat = lab.cmd("run-sync").args(["cat", "store", "trial", row["file"].as_str().unwrap()]);
            assert_eq!(sha256(cat.run().code(0).out().as_bytes()), hash, "{row}");
        }
    }
}

#[test]
fn the_files_of_several_runs_are_listed_with_the_runs_and_what_is_missing_is_named() {
    let lab = Lab::new();
    two(&lab);
    Backup::first(&lab, "store", "lr/a").file("x", "x").commit();
    let shown = list(&lab, &["--from", "store", "--files"]).run().code(0).stderr("").out();
    let runs: Vec<&str> = shown.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(runs, ["RUN", "lr/a", "trial", "trial", "trial", "trial", "trial"]);
    let done =
        list(&lab, &["--from", "store", "--files", "--at", "7", "lr/a", "trial"]).run().code(3).stdout("");
    done.stderr_has("run-sync: no backup '7' of 'trial' in store\n");
    list(&lab, &["--from", "store", "--at", "1", "trial"]).run().code(2).stdout("");
    list(&lab, &["--from", "store", "--files", "--history"]).run().code(2).stdout("");
}

#[test]
fn a_store_that_is_named_one_level_too_high_or_too_low_is_found() {
    let lab = Lab::new();
    Backup::first(&lab, "bucket/runs", "trial").file("a", "a").commit();
    Backup::first(&lab, "bucket/runs", "other").file("a", "a").commit();
    let said = "run-sync: 'runs' is no batch, but a store: run-sync list --from bucket/runs lists its runs\n";
    let rows = list(&lab, &["--from", "bucket", "--json"]).run().code(0).stderr(said).json_lines();
    assert_eq!(rows.iter().map(|row| &row["name"]).collect::<Vec<&Value>>(), ["runs/other", "runs/trial"]);
    list(&lab, &["--from", "bucket/runs"]).run().code(0).stderr("");
    let higher = "run-sync: no runs in .; below are: bucket\n";
    list(&lab, &["--from", "."]).run().code(0).stdout("").stderr(higher);
    let lower = "run-sync: no runs in bucket/runs/trial: it is the backup of one run; the store is the directory above\n";
    list(&lab, &["--from", "bucket/runs/trial"]).run().code(0).stdout("").stderr(lower);
    lab.write("empty/file", "");
    list(&lab, &["--from", "empty"]).run().code(0).stdout("").stderr("run-sync: no runs in empty\n");
}

#[test]
fn a_batch_is_never_taken_for_a_store() {
    let lab = Lab::new();
    Backup::first(&lab, "store", "lr").head("kind", json!("batch")).file(".batch/batch.json", "{}").commit();
    Backup::first(&lab, "store", "lr/a").file("x", "x").commit();
    Backup::first(&lab, "store", "alone/c").file("x", "x").commit(); // of a batch whose own files are not stored
    list(&lab, &["--from", "store"]).run().code(0).stderr("");
}
