//! Checkpoints that were cleaned up and are made again, by a training that is repeated: what comes back is one of them
//! and no mixture.

use std::fs;
use testkit::Lab;
use testkit::sync::{StoredSet, torch_noise};

/// Writes a checkpoint of these files.
fn save(lab: &Lab, run: &str, step: u64, files: &[&str], seed: u64) {
    for (number, file) in (0..).zip(files) {
        lab.write(&format!("{run}/ckpt/step_{step}/{file}"), torch_noise(seed * 100 + step + number, 4000));
    }
}

fn sync(lab: &Lab, args: &[&str]) {
    lab.cmd("run-sync").args(args).run().code(0).stderr("");
}

/// Makes a run with two checkpoints, stores it, and removes the first of them here.
fn cleaned(lab: &Lab) -> String {
    let run = lab.new_run("trial", &["true"]);
    for step in [10, 20] {
        save(lab, &run, step, &["rank0.pt", "rank1.pt"], 1);
    }
    sync(lab, &["backup", "--to", "store", "trial"]);
    sync(lab, &["clean", "trial"]);
    assert!(!lab.path(format!("{run}/ckpt/step_10")).exists());
    run
}

/// Restores the newest backup, and compares it with the run, in which this is missing.
fn compare(lab: &Lab, run: &str, missing: &str) {
    let _ = fs::remove_dir_all(lab.path("back"));
    sync(lab, &["restore", "--from", "store", "--into", "back", "trial"]);
    let diff = lab.cmd("diff").args(["-rq", "-x", "backup.jsonl", run, "back/trial"]).run();
    diff.code(i32::from(!missing.is_empty())).stdout(missing);
}

#[test]
fn a_checkpoint_that_is_made_again_with_fewer_files_comes_back_without_those_before() {
    for is_backed_up_between in [false, true] {
        let lab = Lab::new();
        let run = cleaned(&lab);
        if is_backed_up_between {
            sync(&lab, &["backup", "--to", "store", "trial"]);
            compare(&lab, &run, "Only in back/trial/ckpt: step_10\n");
        }
        save(&lab, &run, 10, &["rank0.pt"], 2);
        sync(&lab, &["backup", "--to", "store", "trial"]);
        compare(&lab, &run, "");
        let set = StoredSet::new(&lab, "store/trial");
        assert_eq!(set.entry("ckpt/step_10/rank1.pt")["absent"], "gone");
        // What there was before is in the earlier backup.
        sync(&lab, &["restore", "--from", "store", "--at", "1", "--into", "old", "trial"]);
        assert_eq!(fs::read_dir(lab.path("old/trial/ckpt/step_10")).unwrap().count(), 2);
    }
}

#[test]
fn a_part_of_a_checkpoint_that_was_restored_does_not_hide_the_others() {
    let lab = Lab::new();
    let run = cleaned(&lab);
    sync(&lab, &["restore", "--from", "store", "--only", "rank0.pt", "trial"]);
    sync(&lab, &["backup", "--to", "store", "trial"]);
    compare(&lab, &run, "Only in back/trial/ckpt/step_10: rank1.pt\n");
}
