//! `run-sync backup --read-back`: what the store has lost is found, and sent again where the run still has it; what
//! receipts say of a backup that was not checked.

use std::fs;
use std::os::unix::fs::MetadataExt;
use testkit::sync::{StoredSet, noise, torch_noise};
use testkit::{Cmd, Lab, wait_for};

fn sync(lab: &Lab, args: &[&str]) -> Cmd {
    lab.cmd("run-sync").args(args)
}

fn backup(lab: &Lab, args: &[&str]) -> Cmd {
    sync(lab, &["backup", "--to", "store", "trial"]).args(args)
}

fn verify(lab: &Lab, args: &[&str]) -> Cmd {
    sync(lab, &["verify", "--from", "store", "trial"]).args(args)
}

/// Makes an ended run with a file of many, in old age: a change would be seen.
fn ended_run(lab: &Lab) -> String {
    let run = lab.new_run("trial", &["true"]);
    lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
    for (name, length) in
        [("small.bin", 1000), ("flipped.bin", 2000), ("cut.bin", 3000), ("large.bin", 20 << 20)]
    {
        lab.write(&format!("{run}/{name}"), noise(length as u64, length));
    }
    lab.write(&format!("{run}/again.bin"), "first");
    lab.write(&format!("{run}/empty"), "");
    fs::hard_link(lab.path(format!("{run}/small.bin")), lab.path(format!("{run}/other.bin"))).unwrap();
    run
}

fn flip(lab: &Lab, path: &str) {
    let mut bytes = fs::read(lab.path(path)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(lab.path(path), bytes).unwrap();
}

/// Waits until a change of the files of a run would be seen by their times.
fn wait_for_age(lab: &Lab, run: &str) {
    let changed = fs::metadata(lab.path(format!("{run}/again.bin"))).unwrap();
    let is_old = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        i64::try_from(now.as_secs()).unwrap() > changed.ctime() + 3
    };
    wait_for("age", is_old);
}

fn receipts(lab: &Lab, run: &str) -> String {
    lab.read(&format!("{run}/.run/backup.jsonl"))
}

#[test]
fn what_a_store_has_lost_is_sent_again_under_its_key() {
    let lab = Lab::new();
    let run = ended_run(&lab);
    backup(&lab, &[]).run().code(0).stderr("");
    lab.write(&format!("{run}/again.bin"), "second");
    wait_for_age(&lab, &run); // from then on the files are known by their inodes
    backup(&lab, &[]).run().code(0).stderr("");
    let set = StoredSet::new(&lab, "store/trial");
    let keys: Vec<String> = set.objects().into_keys().collect();
    let again = StoredSet::key(&set.entry("again.bin"));
    assert!(again.starts_with(".gen/000002-"), "{again}");
    fs::remove_file(lab.path("store/trial/other.bin")).unwrap();
    fs::remove_file(lab.path("store/trial/empty")).unwrap();
    fs::remove_file(lab.path(format!("store/trial/{again}"))).unwrap();
    fs::remove_file(lab.path("store/trial/SHA256SUMS")).unwrap();
    flip(&lab, "store/trial/flipped.bin");
    flip(&lab, "store/trial/large.bin");
    fs::write(lab.path("store/trial/cut.bin"), "c").unwrap();
    // Without the option nothing is claimed, and nothing is read.
    let before = receipts(&lab, &run);
    backup(&lab, &[]).run().code(0).stderr("");
    assert_eq!(receipts(&lab, &run), before);
    verify(&lab, &[]).run().code(1);

    let done = backup(&lab, &["--read-back"]).run().code(0).stderr(
        "run-sync: 'trial': damaged or missing in the store, and sent again: 'again.bin', 'cut.bin', 'empty', 4 more\n",
    );
    let out = done.out();
    assert!(out.starts_with("trial: backup 2 is up to date, "), "{out}");
    assert!(out.ends_with(", read back; 6 files (20M) sent again\n"), "{out}");
    verify(&lab, &[]).run().code(0).stderr("");
    verify(&lab, &["--at", "1"]).run().code(0).stderr("");
    set.check_newest_is(&lab.path(&run));
    assert_eq!(set.objects().into_keys().collect::<Vec<_>>(), keys);
    let after = receipts(&lab, &run);
    let last: serde_json::Value = serde_json::from_str(after.lines().last().unwrap()).unwrap();
    assert_eq!((&last["verified"], &last["number"]), (&"read".into(), &2.into()));
    assert_eq!(after.lines().count(), before.lines().count() + 1);
    // Again: it is all there.
    let done = backup(&lab, &["--read-back"]).run().code(0).stderr("");
    assert!(done.out().ends_with(", read back\n"), "{}", done.out());
}

#[test]
fn what_the_run_no_longer_has_is_named_and_there_is_no_receipt() {
    let lab = Lab::new();
    let run = ended_run(&lab);
    backup(&lab, &[]).run().code(0).stderr("");
    fs::remove_file(lab.path(format!("{run}/cut.bin"))).unwrap();
    backup(&lab, &[]).run().code(0).stderr("");
    fs::remove_file(lab.path("store/trial/cut.bin")).unwrap();
    fs::remove_file(lab.path("store/trial/other.bin")).unwrap();
    let before = receipts(&lab, &run);
    for sent in ["1 file (1000B)", "0 files (0B)"] {
        let done = backup(&lab, &["--read-back"]).run().code(1);
        let lost = "run-sync: 'trial': damaged in the store, and no longer in the run: cut.bin: the store does not have it\n";
        let done = done.stderr_has(lost);
        assert_eq!(done.out(), format!("trial: backup 2 is damaged, {sent} sent\n"));
        assert_eq!(receipts(&lab, &run), before);
    }
    verify(&lab, &[]).run().code(1).stderr_has("'cut.bin' of 'trial' is damaged");
    // A file that has changed since is stored as it is; its lost version is named.
    lab.write(&format!("{run}/cut.bin"), noise(3000, 3000));
    fs::remove_file(lab.path("store/trial/flipped.bin")).unwrap();
    lab.write(&format!("{run}/flipped.bin"), "other");
    backup(&lab, &["--read-back"]).run().code(1).stderr_has("no longer in the run: flipped.bin: ");
    backup(&lab, &["--read-back"]).run().code(0).stderr("");
    verify(&lab, &[]).run().code(0).stderr("");
    verify(&lab, &["--at", "2"]).run().code(1).stderr_has("'flipped.bin' of 'trial' is damaged");
}

#[test]
fn an_object_of_another_run_or_copy_is_never_replaced() {
    let lab = Lab::new();
    lab.cmd("run-new").args(["--batch=sweep", "--sweep", "lr=1,2", "--", "true", "{set}"]).run().code(0);
    for name in ["run_lr-1", "run_lr-2"] {
        lab.write(&format!("runs/sweep/{name}/base.bin"), noise(1, 2 << 20));
    }
    let backup = |args: &[&str]| sync(&lab, &["backup", "--to", "store", "sweep"]).args(args).run();
    backup(&[]).code(0).stderr("");
    let second = StoredSet::new(&lab, "store/sweep/run_lr-2");
    assert_eq!(StoredSet::key(&second.entry("base.bin")), "../run_lr-1/base.bin");
    fs::remove_file(lab.path("store/sweep/run_lr-1/base.bin")).unwrap();
    let path = "runs/sweep/run_lr-2";
    sync(&lab, &["backup", "--to", "store", "--read-back", path])
        .run()
        .code(0)
        .stderr_has("'sweep/run_lr-2': damaged or missing in the store, and sent again: 'base.bin'\n");
    assert_eq!(StoredSet::key(&second.entry("base.bin")), "base.bin");
    assert!(!lab.path("store/sweep/run_lr-1/base.bin").exists());
    backup(&["--read-back"]).code(0);
    sync(&lab, &["verify", "--from", "store", "--all"]).run().code(0).stderr("");
    assert_eq!(fs::read(lab.path("store/sweep/run_lr-1/base.bin")).unwrap(), noise(1, 2 << 20));
}

#[test]
fn a_backup_that_was_not_checked_adds_no_receipt() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["true"]);
    lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
    for step in [1, 2] {
        lab.write(&format!("{run}/step_{step}.pt"), torch_noise(step, 2000));
    }
    let to = |store: &str| sync(&lab, &["backup", "--to", store, "trial"]);
    to("one").run().code(0).stderr("");
    to("two").run().code(0).stderr("");
    let before = receipts(&lab, &run);
    assert_eq!(before.lines().count(), 2);
    for store in ["one", "two", "one"] {
        let done = to(store).run().code(0).stderr("");
        assert!(done.out().starts_with("trial: backup 1 is up to date"), "{}", done.out());
        assert_eq!(receipts(&lab, &run), before);
    }
    // The cleanup of a backup relies on its own store, whichever receipt is the last.
    let done = to("one").arg("--cleanup").run().code(0).stderr("");
    let one = lab.path("one").display().to_string();
    assert!(done.out().ends_with(&format!("after reading them back from {one}\n")), "{}", done.out());
    assert!(!lab.path(format!("{run}/step_1.pt")).exists());
}
