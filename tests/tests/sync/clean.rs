//! Cleanups: local checkpoints are removed only if stores are seen to have every byte of them.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use testkit::sync::{StoredSet, noise, torch_noise};
use testkit::{Done, Lab};

/// Makes a run that has ended, with checkpoints at steps 10, 20, 30 and 40, and the losses 4, 1, 3, 2.
fn trained(lab: &Lab) -> String {
    let run = lab.new_run("trial", &["true"]);
    lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
    for (step, loss) in [(10, 4), (20, 1), (30, 3), (40, 2)] {
        lab.write(&format!("{run}/ckpt/step_{step}.pt"), torch_noise(step, 40_000));
        let rows = format!(
            "{{\"step\": {}, \"loss\": 9}}\n{{\"step\": {step}, \"loss\": {loss}, \"acc,none\": {loss}}}\n",
            step - 1
        );
        let old = fs::read_to_string(lab.path(format!("{run}/metrics.jsonl"))).unwrap_or_default();
        lab.write(&format!("{run}/metrics.jsonl"), old + &rows);
    }
    run
}

fn backup(lab: &Lab) {
    lab.cmd("run-sync").args(["backup", "--to", "store", "trial"]).run().code(0).stderr("");
}

fn clean(lab: &Lab, args: &[&str]) -> Done {
    lab.cmd("run-sync").args(["clean", "trial"]).args(args).run()
}

fn names(lab: &Lab, directory: &str) -> String {
    let entries = fs::read_dir(lab.path(directory)).into_iter().flatten().flatten();
    let names: BTreeSet<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.into_iter().collect::<Vec<_>>().join(" ")
}

/// Restores into an empty directory, and compares with a copy of the run that was made before.
fn restore_and_compare(lab: &Lab, run: &str) {
    let _ = fs::remove_dir_all(lab.path("back"));
    lab.cmd("run-sync")
        .args(["restore", "--from", "store", "--into", "back", "trial"])
        .run()
        .code(0)
        .stderr("");
    let diff = ["-r", "--no-dereference", "-x", "backup.jsonl", "copy", "back/trial"];
    lab.cmd("diff").args(diff).run().code(0).stdout("");
    assert!(lab.path(run).exists());
}

fn copy(lab: &Lab, run: &str) {
    lab.cmd("cp").args(["-a", run, "copy"]).run().code(0);
}

#[test]
fn all_but_the_latest_is_removed_and_comes_back_from_the_store() {
    let lab = Lab::new();
    let run = trained(&lab);
    copy(&lab, &run);
    backup(&lab);
    let planned = clean(&lab, &["--dry-run"]).code(0).stderr("").out();
    assert_eq!(planned.lines().count(), 5, "{planned}");
    assert!(planned.contains("trial: would remove ckpt/step_10.pt ("), "{planned}");
    assert_eq!(names(&lab, &format!("{run}/ckpt")), "step_10.pt step_20.pt step_30.pt step_40.pt");
    let receipts = lab.json_lines(&format!("{run}/.run/backup.jsonl")).len();
    let done = clean(&lab, &["--json"]).code(0).stderr("");
    let report: Value = serde_json::from_str(&done.out()).unwrap();
    assert_eq!(
        (&report["result"], &report["kept"]),
        (&"removed".into(), &serde_json::json!(["ckpt/step_40.pt"]))
    );
    assert_eq!(report["removed"].as_array().unwrap().len(), 3);
    assert_eq!(names(&lab, &format!("{run}/ckpt")), "step_40.pt");
    let after = lab.json_lines(&format!("{run}/.run/backup.jsonl"));
    assert_eq!(after.len(), receipts + 1);
    assert_eq!(after[receipts]["type"], "clean");
    let removed = ["ckpt/step_10.pt", "ckpt/step_20.pt", "ckpt/step_30.pt"];
    assert_eq!(after[receipts]["removed"], serde_json::json!(removed));
    assert_eq!(clean(&lab, &[]).code(0).stderr("").out(), "trial: nothing to remove\n");

    // The next backup removes nothing from the store, and a restore brings everything back.
    let set = StoredSet::new(&lab, "store/trial");
    let objects = set.objects();
    backup(&lab);
    for removed in removed {
        assert_eq!(set.entry(removed)["absent"], "cleaned");
        assert_eq!(set.objects().get(removed), objects.get(removed));
    }
    restore_and_compare(&lab, &run);
}

#[test]
fn what_was_cleaned_up_comes_back_whatever_the_clock_says() {
    let lab = Lab::new();
    let run = trained(&lab);
    copy(&lab, &run);
    backup(&lab);
    clean(&lab, &[]).code(0).stderr("");
    // The clock was wrong when the files were removed: long before the backup.
    let receipts = lab.json_lines(&format!("{run}/.run/backup.jsonl"));
    let lines: Vec<String> = receipts
        .into_iter()
        .map(|mut receipt| {
            if receipt["type"] == "clean" {
                receipt["time"] = "2001-01-01T00:00:00.000Z".into();
            }
            format!("{receipt}\n")
        })
        .collect();
    lab.write(&format!("{run}/.run/backup.jsonl"), lines.concat());
    backup(&lab);
    let set = StoredSet::new(&lab, "store/trial");
    assert_eq!(set.entry("ckpt/step_10.pt")["absent"], "cleaned");
    restore_and_compare(&lab, &run);
    // What the program removes later is gone, though a cleanup has named it once.
    lab.cmd("run-sync").args(["restore", "--from", "store", "trial"]).run().code(0);
    backup(&lab);
    fs::remove_file(lab.path(format!("{run}/ckpt/step_10.pt"))).unwrap();
    backup(&lab);
    assert_eq!(set.entry("ckpt/step_10.pt")["absent"], "gone");
}

#[test]
fn what_is_kept_is_said_by_a_list() {
    let lab = Lab::new();
    let run = trained(&lab);
    lab.write(&format!("{run}/ckpt/final.pt"), torch_noise(99, 40_000));
    backup(&lab);
    for (list, kept) in [
        ("latest,best:loss", "[\"ckpt/step_20.pt\",\"ckpt/step_40.pt\"]"),
        ("\"best:acc,none:max\"", "[\"ckpt/step_10.pt\",\"ckpt/step_40.pt\"]"),
        ("2,\"best:acc,none:min\"", "[\"ckpt/step_20.pt\",\"ckpt/step_30.pt\",\"ckpt/step_40.pt\"]"),
        ("best:loss:max", "[\"ckpt/step_10.pt\",\"ckpt/step_40.pt\"]"),
        ("2,final", "[\"ckpt/step_30.pt\",\"ckpt/step_40.pt\",\"ckpt/final.pt\"]"),
        ("every:20", "[\"ckpt/step_20.pt\",\"ckpt/step_40.pt\"]"),
    ] {
        let done = clean(&lab, &["-n", "--json", "--keep", list]).code(0).stderr("");
        let report: Value = serde_json::from_str(&done.out()).unwrap();
        assert_eq!(report["kept"].to_string(), kept, "{list}");
    }
    let done = clean(&lab, &["--keep", "best:reward"]).code(1);
    assert!(done.err().contains("no checkpoint has a value of 'reward'"), "{}", done.err());
    for wrong in ["newest", "0", "best:foo", "every:x"] {
        clean(&lab, &["--keep", wrong]).code(2).stdout("");
    }
    clean(&lab, &["--keep-latest", "--keep", "best:loss"]).code(0).stderr("");
    assert_eq!(names(&lab, &format!("{run}/ckpt")), "step_20.pt step_40.pt");
}

#[test]
fn a_flipped_byte_in_the_store_is_named_and_nothing_is_removed() {
    let lab = Lab::new();
    let run = trained(&lab);
    backup(&lab);
    File::options()
        .write(true)
        .open(lab.path("store/trial/ckpt/step_20.pt"))
        .unwrap()
        .write_at(b"x", 5000)
        .unwrap();
    let done = clean(&lab, &[]).code(1).stdout("trial: removed nothing\n");
    assert!(done.err().contains("'ckpt/step_20.pt'"), "{}", done.err());
    assert!(done.err().contains("not those that were stored"), "{}", done.err());
    assert_eq!(names(&lab, &format!("{run}/ckpt")), "step_10.pt step_20.pt step_30.pt step_40.pt");
    fs::remove_file(lab.path("store/trial/ckpt/step_20.pt")).unwrap();
    assert!(clean(&lab, &[]).code(1).err().contains("does not have it"));
    assert_eq!(names(&lab, &format!("{run}/ckpt")), "step_10.pt step_20.pt step_30.pt step_40.pt");
}

#[test]
fn what_has_changed_or_is_not_stored_stays() {
    let lab = Lab::new();
    let run = trained(&lab);
    clean(&lab, &[]).code(3).stdout("");
    backup(&lab);
    let path = lab.path(format!("{run}/ckpt/step_10.pt"));
    let mtime = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, torch_noise(11, 40_000)).unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(mtime).unwrap();
    lab.write(&format!("{run}/ckpt/step_15.pt"), torch_noise(15, 40_000));
    let done = clean(&lab, &[]).code(1);
    assert!(done.err().contains("left 'ckpt/step_10.pt': has changed since backup 1"), "{}", done.err());
    assert!(done.err().contains("left 'ckpt/step_15.pt': is not in backup 1"), "{}", done.err());
    assert_eq!(names(&lab, &format!("{run}/ckpt")), "step_10.pt step_15.pt step_40.pt");
    backup(&lab);
    clean(&lab, &[]).code(0).stderr("");
    assert_eq!(names(&lab, &format!("{run}/ckpt")), "step_40.pt");
}

#[test]
fn an_active_run_is_refused() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["sleep", "1000"]);
    for step in [10, 20] {
        lab.write(&format!("{run}/step_{step}.pt"), torch_noise(step, 40_000));
    }
    lab.cmd("run-sync").args(["backup", "--to", "store", "trial"]).run().code(0);
    lab.cmd("run-exec").args(["--detach", "trial"]).run().code(0);
    lab.await_child("trial");
    let done = clean(&lab, &[]).code(4).stdout("");
    assert!(done.err().contains("it is running"), "{}", done.err());
    let done = lab.cmd("run-sync").args(["backup", "--to", "store", "--cleanup", "trial"]).run().code(4);
    assert!(done.err().contains("it is running"), "{}", done.err());
    assert!(lab.path(format!("{run}/step_10.pt")).exists());
    lab.cmd("run-stop").arg("trial").run().code(0);
    clean(&lab, &[]).code(0).stderr("");
    assert!(!lab.path(format!("{run}/step_10.pt")).exists());
}

#[test]
fn a_linked_runs_directory_keeps_the_latest_and_what_lies_behind_a_link_stays() {
    let lab = Lab::new();
    fs::create_dir(lab.path("disk")).unwrap();
    symlink("disk", lab.path("runs")).unwrap();
    let run = trained(&lab);
    symlink("step_40.pt", lab.path(format!("{run}/ckpt/step_latest.pt"))).unwrap();
    symlink("step_10.pt", lab.path(format!("{run}/ckpt/best.pt"))).unwrap();
    for step in [5, 50] {
        lab.write(&format!("elsewhere/step_{step}.pt"), torch_noise(step, 40_000));
    }
    copy(&lab, &run);
    let args = ["backup", "--to", "store", "--cleanup", "--keep-latest", "trial"];
    lab.cmd("run-sync").args(args).run().code(0).stderr("");
    assert_eq!(names(&lab, "disk/trial/ckpt"), "step_40.pt step_latest.pt");
    restore_and_compare(&lab, &run);

    symlink(lab.path("elsewhere"), lab.path(format!("{run}/checkpoints"))).unwrap();
    let done = lab.cmd("run-sync").args(args).run().code(1);
    assert!(done.err().contains("left 'checkpoints/step_5.pt': lies behind a link"), "{}", done.err());
    assert_eq!(names(&lab, "elsewhere"), "step_5.pt step_50.pt");
}

#[test]
fn files_with_several_names_and_directories_are_removed_whole() {
    let lab = Lab::new();
    let run = trained(&lab);
    let linked = |to: &str| {
        fs::hard_link(lab.path(format!("{run}/ckpt/step_10.pt")), lab.path(format!("{run}/{to}"))).unwrap();
    };
    linked("ckpt/step_11.pt");
    linked("elsewhere.bin");
    for step in [50, 60] {
        lab.write(&format!("{run}/ckpt/step_{step}/model.pt"), torch_noise(step, 40_000));
        lab.write(&format!("{run}/ckpt/step_{step}/optimizer.pt"), torch_noise(step + 1, 40_000));
        lab.write(&format!("{run}/ckpt/step_{step}/empty"), "");
        fs::create_dir(lab.path(format!("{run}/ckpt/step_{step}/nothing"))).unwrap();
    }
    copy(&lab, &run);
    backup(&lab);
    clean(&lab, &[]).code(0).stderr("");
    assert_eq!(names(&lab, &format!("{run}/ckpt")), "step_60");
    assert!(lab.path(format!("{run}/elsewhere.bin")).exists());
    backup(&lab);
    restore_and_compare(&lab, &run);
}

#[test]
fn weights_stay_where_that_is_asked_for() {
    let lab = Lab::new();
    let run = trained(&lab);
    for step in [50, 60] {
        lab.write(&format!("{run}/ckpt/step_{step}/model.pt"), torch_noise(step, 40_000));
        lab.write(&format!("{run}/ckpt/step_{step}/optimizer.pt"), torch_noise(step + 1, 40_000));
    }
    copy(&lab, &run);
    backup(&lab);
    clean(&lab, &["--keep-weights"]).code(0).stderr("");
    assert_eq!(
        names(&lab, &format!("{run}/ckpt")),
        "step_10.pt step_20.pt step_30.pt step_40.pt step_50 step_60"
    );
    assert_eq!(names(&lab, &format!("{run}/ckpt/step_50")), "model.pt");
    assert_eq!(names(&lab, &format!("{run}/ckpt/step_60")), "model.pt optimizer.pt");
    restore_and_compare(&lab, &run);
}

#[test]
fn as_many_stores_must_have_it_as_are_asked_for() {
    let lab = Lab::new();
    let run = trained(&lab);
    backup(&lab);
    let said = "run-sync: cannot clean 'runs/trial': no backup: --copies 2 asks for 2 stores, and the receipts of the run name 1\n\
                run-sync: run-sync backup stores it, and writes the receipt\n";
    clean(&lab, &["--copies", "2"]).code(3).stdout("").stderr(said);
    // The same store under another name is no second one.
    symlink("store", lab.path("same")).unwrap();
    lab.cmd("run-sync").args(["backup", "--to", "same", "trial"]).run().code(0);
    clean(&lab, &["--copies", "2"]).code(3).stdout("");
    lab.cmd("run-sync").args(["backup", "--to", "other", "trial"]).run().code(0);
    clean(&lab, &["--copies", "2", "--from", "store"]).code(2).stdout("");
    let flip = |store: &str, byte: &[u8]| {
        let path = lab.path(format!("{store}/trial/ckpt/step_10.pt"));
        File::options().write(true).open(path).unwrap().write_at(byte, 9).unwrap();
    };
    let right = [fs::read(lab.path(format!("{run}/ckpt/step_10.pt"))).unwrap()[9]];
    for store in ["store", "other"] {
        flip(store, &[!right[0]]);
        let done = clean(&lab, &["--copies", "2"]).code(1);
        assert!(done.err().contains(lab.path(store).to_str().unwrap()), "{}", done.err());
        flip(store, &right);
    }
    let only = lab.path("third");
    clean(&lab, &["--from", only.to_str().unwrap()]).code(3).stdout("");
    clean(&lab, &["--copies", "2"]).code(0).stderr("");
    assert_eq!(names(&lab, &format!("{run}/ckpt")), "step_40.pt");
}

#[test]
fn a_copy_of_a_store_is_no_second_one() {
    let lab = Lab::new();
    let run = trained(&lab);
    backup(&lab);
    lab.cmd("cp").args(["-R", "store", "copy"]).run().code(0);
    lab.cmd("run-sync").args(["backup", "--to", "copy", "trial"]).run().code(0);
    let said = "run-sync: cannot clean 'runs/trial': no backup: --copies 2 asks for 2 stores, and the receipts of the run \
                name 1; addresses that have a backup in common count once\n\
                run-sync: run-sync backup stores it, and writes the receipt\n";
    clean(&lab, &["--copies", "2"]).code(3).stdout("").stderr(said);
    lab.cmd("run-sync").args(["backup", "--to", "other", "trial"]).run().code(0);
    clean(&lab, &["--copies", "3"]).code(3).stdout("");
    clean(&lab, &["--copies", "2"]).code(0).stderr("");
    assert_eq!(names(&lab, &format!("{run}/ckpt")), "step_40.pt");
}

#[test]
fn a_whole_run_but_its_record_is_removed_and_comes_back() {
    let lab = Lab::new();
    let run = trained(&lab);
    lab.write(&format!("{run}/data/noise.bin"), noise(1, 100_000));
    symlink("nowhere", lab.path(format!("{run}/dangling"))).unwrap();
    copy(&lab, &run);
    let args = ["backup", "--to", "store", "--cleanup=all", "trial"];
    let planned = lab.cmd("run-sync").args(args).arg("-n").run().code(0).stderr("").out();
    assert!(planned.contains("trial: would remove") && planned.contains("but the record"), "{planned}");
    assert!(lab.path(format!("{run}/data/noise.bin")).exists() && !lab.path("store").exists());
    lab.cmd("run-sync").args(args).run().code(0).stderr("");
    assert_eq!(names(&lab, &run), ".run");
    assert_eq!(lab.status("trial")["status"], "completed");
    backup(&lab);
    restore_and_compare(&lab, &run);
    lab.cmd("run-sync").args(["restore", "--from", "store", "trial"]).run().code(0).stderr("");
    assert!(Path::new(&lab.path(format!("{run}/ckpt/step_40.pt"))).exists());
    lab.cmd("run-sync").args(args).args(["--keep", "1"]).run().code(0).stderr("");
    assert_eq!(names(&lab, &run), ".run ckpt");
    assert_eq!(names(&lab, &format!("{run}/ckpt")), "step_40.pt");
}

#[test]
fn nothing_is_removed_where_a_file_cannot_be_backed_up_or_the_options_make_no_sense() {
    let lab = Lab::new();
    let run = trained(&lab);
    lab.cmd("run-sync").args(["backup", "--to", "store", "--keep-latest", "trial"]).run().code(2).stdout("");
    let wrong = ["backup", "--to", "store", "--cleanup=all", "--keep-weights", "trial"];
    lab.cmd("run-sync").args(wrong).run().code(2).stdout("");
    assert!(!lab.path("store").exists());
    lab.set_mode(&format!("{run}/ckpt"), 0o777);
    lab.set_mode(&format!("{run}/ckpt/step_20.pt"), 0);
    lab.cmd("chmod").args(["-R", "a+rwX", &run]).run().code(0);
    lab.set_mode(&format!("{run}/ckpt/step_20.pt"), 0);
    lab.cmd("chown").args(["-R", "65534", "runs"]).run();
    lab.set_mode(&format!("{run}/ckpt/step_10.pt"), 0);
    let done = lab.cmd_by_somebody("run-sync");
    fs::create_dir(lab.path("open")).unwrap();
    lab.set_mode("open", 0o777);
    let done = done.args(["backup", "--to", "open/store", "--cleanup", "trial"]).run().code(1);
    assert!(done.err().contains("cannot read ckpt/step_10.pt"), "{}", done.err());
    assert_eq!(names(&lab, &format!("{run}/ckpt")), "step_10.pt step_20.pt step_30.pt step_40.pt");
}

#[test]
fn run_status_says_when_a_run_was_backed_up_and_what_came_since() {
    let lab = Lab::new();
    let run = trained(&lab);
    assert_eq!(lab.status("trial")["backup"], Value::Null);
    let words = || lab.cmd("run-status").arg("trial").run().code(0).out();
    assert!(!words().contains("backup"), "{}", words());
    backup(&lab);
    for step in [50, 60, 70] {
        lab.write(&format!("{run}/ckpt/step_{step}.pt"), torch_noise(step, 40_000));
    }
    let backup = &lab.status("trial")["backup"];
    assert_eq!(
        (&backup["number"], &backup["checkpoints"], &backup["last_step"]),
        (&1.into(), &4.into(), &40.into())
    );
    assert_eq!(backup["url"], lab.path("store").to_str().unwrap());
    assert!(!words().contains("0.0s ago"), "{}", words());
    assert!(words().contains(", 3 checkpoints since (backup 1 of 'trial' in "), "{}", words());
    lab.cmd("run-sync").args(["backup", "--to", "store", "--cleanup", "trial"]).run().code(0).stderr("");
    assert!(words().contains(", 0 checkpoints since (backup 2 of"), "{}", words());
    assert_eq!(lab.status("trial")["backup"]["number"], 2);
    let time = lab.status("trial")["backup"]["time"].as_str().unwrap().to_owned();
    let receipts = lab.read(&format!("{run}/.run/backup.jsonl"));
    let older = (chrono::Utc::now() - chrono::TimeDelta::seconds(7260))
        .to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    lab.write(&format!("{run}/.run/backup.jsonl"), receipts.replace(&time, &older));
    assert!(words().contains("backed up 2h01m ago, "), "{}", words());
}
