//! Several copies of a run, on several hosts, that are backed up to one set: none damages what another has stored.

use serde_json::Value;
use std::fs;
use testkit::Lab;
use testkit::sync::{StoredSet, noise, torch_noise};

fn run(lab: &Lab) -> String {
    let run = lab.new_run("trial", &["true"]);
    lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
    lab.write(&format!("{run}/step_1.pt"), torch_noise(1, 40_000));
    lab.write(&format!("{run}/large.bin"), noise(3, 20 << 20));
    lab.write(&format!("{run}/log.txt"), "one\n");
    run
}

/// Backs a run up. A fork is in the report, and in one line.
fn backup(lab: &Lab, runs_dir: &str) -> Value {
    let args = ["backup", "--json", "--to", "store", "-d", runs_dir, "trial"];
    let done = lab.cmd("run-sync").args(args).run().code(0);
    let report: Value = serde_json::from_str(&done.out()).unwrap();
    let fork = format!("run-sync: {}\n", fork(report["number"].as_u64().unwrap()));
    done.stderr(if report["fork"] == true { &fork } else { "" });
    report
}

/// What a backup says that makes a fork.
fn fork(number: u64) -> String {
    format!(
        "'trial': backup {number} does not continue all earlier ones: a fork, as two copies of a run make it; \
         'run-sync list --history' lists them"
    )
}

fn copy(lab: &Lab, to: &str) {
    lab.cmd("cp").args(["-a", "runs", to]).run().code(0);
}

fn writers(set: &StoredSet) -> usize {
    fs::read_dir(set.path.join(".backup/writers")).unwrap().count()
}

#[test]
fn a_copy_of_a_run_is_another_writer_and_uses_what_is_stored() {
    let lab = Lab::new();
    run(&lab);
    backup(&lab, "runs");
    copy(&lab, "copies");
    let set = StoredSet::new(&lab, "store/trial");
    let first = set.objects();
    let second = backup(&lab, "copies");
    assert_eq!((&second["number"], &second["sent_files"]), (&2.into(), &0.into()), "the same is not sent");
    assert_eq!(writers(&set), 2);
    assert_eq!(set.newest()["keys"], format!(".by/{}/", set.newest()["writer"].as_str().unwrap()));

    // Both go on, each under its own keys.
    for (runs_dir, text, number) in [("copies", "one\ntwo of the copy\n", 3), ("runs", "one\ntwo\n", 4)] {
        lab.write(&format!("{runs_dir}/trial/log.txt"), text);
        lab.write(&format!("{runs_dir}/trial/step_1.pt"), torch_noise(number, 40_000));
        let done = backup(&lab, runs_dir);
        assert_eq!((&done["number"], &done["sent_files"]), (&number.into(), &2.into()));
        assert_eq!(done["fork"], number == 4, "the first copy has not seen 2 and 3");
        set.check_newest_is(&lab.path(format!("{runs_dir}/trial")));
    }
    lab.write("copies/trial/log.txt", "one\ntwo of the copy\nthree of the copy\n");
    backup(&lab, "copies");
    set.check_newest_is(&lab.path("copies/trial"));
    assert_eq!(set.check(), 5);
    for key in ["step_1.pt", "large.bin"] {
        assert_eq!(set.objects().get(key), first.get(key));
    }
    assert_eq!(writers(&set), 2);
}

#[test]
fn a_run_that_was_moved_and_an_older_state_of_it_are_other_writers() {
    let lab = Lab::new();
    let run = run(&lab);
    backup(&lab, "runs");
    let receipts = lab.bytes(&format!("{run}/.run/backup.jsonl"));
    let set = StoredSet::new(&lab, "store/trial");
    lab.write(&format!("{run}/log.txt"), "one\ntwo\n");
    backup(&lab, "runs");
    // As a snapshot of the file system would bring it back.
    lab.write(&format!("{run}/.run/backup.jsonl"), receipts);
    lab.write(&format!("{run}/log.txt"), "one\nanother\n");
    let third = backup(&lab, "runs");
    assert_eq!((&third["number"], writers(&set)), (&3.into(), 2));
    set.check_newest_is(&lab.path(&run));
    assert_eq!(set.check(), 3);

    fs::rename(lab.path("runs"), lab.path("moved")).unwrap();
    let fourth = backup(&lab, "moved");
    assert_eq!((&fourth["sent_files"], writers(&set)), (&0.into(), 3));
    set.check_newest_is(&lab.path("moved/trial"));
}

#[test]
fn backups_of_two_copies_at_once_are_one_history_or_a_visible_fork() {
    let lab = Lab::new();
    run(&lab);
    copy(&lab, "copies");
    let set = StoredSet::new(&lab, "store/trial");
    let rounds = if std::env::var_os("RUN_SOAK").is_some() { 100 } else { 10 };
    let mut has_forked = false;
    for round in 0..rounds {
        for (runs_dir, seed) in [("runs", 0), ("copies", 1)] {
            let mut log = fs::read_to_string(lab.path(format!("{runs_dir}/trial/log.txt"))).unwrap();
            log.push_str(&format!("{runs_dir} {round}\n"));
            lab.write(&format!("{runs_dir}/trial/log.txt"), log);
            lab.write(&format!("{runs_dir}/trial/state.bin"), noise(round * 2 + seed, 50_000));
            lab.write(&format!("{runs_dir}/trial/new_{round}.bin"), noise(round * 2 + seed, 50_000));
        }
        let both: Vec<_> = ["runs", "copies"]
            .map(|dir| lab.cmd("run-sync").args(["backup", "--to", "store", "-d", dir, "trial"]).spawn())
            .into();
        let said: Vec<String> = both.into_iter().map(|one| one.wait().code(0).err()).collect();
        assert!(said.iter().all(|said| said.is_empty() || said.contains(": a fork, ")), "{said:?}");
        let manifests = set.check();
        assert_eq!(manifests as u64, (round + 1) * 2);
        has_forked |= said.iter().any(|said| !said.is_empty());
    }
    assert_eq!(writers(&set), 2);
    let rows =
        lab.cmd("run-sync").args(["list", "--from", "store", "--history", "--json"]).run().json_lines();
    assert_eq!(rows.iter().any(|row| row["fork"] == true), has_forked, "{rows:?}");
}

#[test]
fn a_name_that_another_run_has_is_refused() {
    let lab = Lab::new();
    run(&lab);
    backup(&lab, "runs");
    lab.new_run("other", &["true"]);
    let set = StoredSet::new(&lab, "store/trial");
    let before = set.objects();
    let refused = "run-sync: cannot back up to 'trial' in STORE: another run has this name\n\
                   run-sync: --as gives another name\n";
    let store = lab.path("store").display().to_string();
    lab.cmd("run-sync")
        .args(["backup", "--to", "store", "--as", "trial", "other"])
        .run()
        .code(1)
        .stderr(&refused.replace("STORE", &store));
    assert_eq!(set.objects(), before);
    lab.cmd("run-sync")
        .args(["backup", "--to", "store", "--as", "its own", "other"])
        .run()
        .code(0)
        .stderr("");
    StoredSet::new(&lab, "store/its own").check_newest_is(&lab.path("runs/other"));
}

#[test]
fn a_second_backup_of_a_run_at_once_is_refused() {
    let lab = Lab::new();
    run(&lab);
    backup(&lab, "runs");
    let held = lab.path("runs/trial/.run/backup.jsonl");
    let held = run_common::fsio::lock::Lock::try_take(&held).unwrap().unwrap();
    lab.cmd("run-sync")
        .args(["backup", "--to", "store", "trial"])
        .run()
        .code(4)
        .stderr("run-sync: cannot back up 'runs/trial': another run-sync is active in it\n");
    held.release();
}

#[test]
fn a_damaged_manifest_does_not_end_all_backups() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["true"]);
    let set = StoredSet::new(&lab, "store/trial");
    let backup = || lab.cmd("run-sync").args(["backup", "--to", "store", "trial"]).run().code(0);
    for number in 1..=2 {
        lab.write(&format!("{run}/file"), format!("content {number}"));
        backup().stderr("");
    }
    let first = set.manifests().keys().next().unwrap().clone();
    let second = set.manifests().keys().next_back().unwrap().clone();
    let path = set.path.join(format!(".backup/{second}.json"));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"0644\"", "\"0666\"")).unwrap();
    lab.write(&format!("{run}/file"), "content 3");
    let damaged = "run-sync: manifest 2 of 'trial' in STORE is damaged: it does not have the hash in its name; this backup continues an earlier one\n";
    let damaged = damaged.replace("STORE", lab.path("store").to_str().unwrap());
    backup().stderr(&format!("{damaged}run-sync: {}\n", fork(3)));
    backup().stderr("");
    fs::remove_file(&path).unwrap(); // it is no backup
    set.check_newest_is(&lab.path(&run));
    let newest = set.newest();
    assert_eq!(
        (&newest["number"], newest["parent"].as_str()),
        (&3.into(), first.split_once('-').map(|name| name.1))
    );
    for (at, content) in [("1", "content 1"), ("3", "content 3")] {
        let restore = ["restore", "--from", "store", "--into", at, "--at", at, "trial"];
        lab.cmd("run-sync").args(restore).run().code(0).stderr("");
        assert_eq!(lab.read(&format!("{at}/trial/file")), content);
    }
}
