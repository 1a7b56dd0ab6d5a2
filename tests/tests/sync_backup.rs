//! Backups of runs in a directory: what is stored, what is not stored again, what is recorded.

use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};
use testkit::Lab;
use testkit::sync::{StoredSet, noise, torch_noise};

/// Makes a run that has ended, of files with all kinds of content; none was changed a moment ago.
fn ended_run(lab: &Lab) -> String {
    let run = lab.new_run("trial", &["true"]);
    lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
    lab.write(&format!("{run}/ckpt/step_1.pt"), torch_noise(1, 40_000));
    lab.write(&format!("{run}/ckpt/step_2.pt"), torch_noise(2, 40_000));
    lab.write(&format!("{run}/ckpt/final.pt"), torch_noise(2, 40_000));
    lab.write(&format!("{run}/large.bin"), noise(3, 20 << 20));
    lab.write(&format!("{run}/empty"), "");
    lab.write(&format!("{run}/log.txt"), "one\n");
    fs::create_dir(lab.path(format!("{run}/nothing"))).unwrap();
    symlink("log.txt", lab.path(format!("{run}/link"))).unwrap();
    symlink("/nowhere", lab.path(format!("{run}/dangling"))).unwrap();
    fs::hard_link(lab.path(format!("{run}/large.bin")), lab.path(format!("{run}/same.bin"))).unwrap();
    run
}

fn backup(lab: &Lab) -> Value {
    let done =
        lab.cmd("run-sync").args(["backup", "--json", "--to", "store", "trial"]).run().code(0).stderr("");
    serde_json::from_str(&done.out()).unwrap()
}

#[test]
fn a_run_is_stored_as_it_is_and_unchanged_it_is_not_stored_again() {
    let lab = Lab::new();
    let run = ended_run(&lab);
    let before = fs::metadata(lab.path(format!("{run}/.run"))).unwrap().modified().unwrap();
    let first = backup(&lab);
    assert_eq!(
        (&first["result"], &first["number"], &first["verified"]),
        (&"stored".into(), &1.into(), &"length".into())
    );
    let set = StoredSet::new(&lab, "store/trial");
    set.check_newest_is(&lab.path(&run));
    assert_eq!(fs::metadata(lab.path(format!("{run}/.run"))).unwrap().modified().unwrap(), before);
    lab.cmd("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).cwd(&set.path).run().code(0).stderr("");

    // What is the same is there once.
    let keys = ["ckpt/step_2.pt", "ckpt/final.pt"].map(|path| StoredSet::key(&set.entry(path)));
    assert_eq!(keys[0], keys[1]);
    assert_eq!(
        (&set.entry("same.bin")["key"], &set.entry("same.bin")["same_file"]),
        (&"large.bin".into(), &"large.bin".into())
    );
    assert!(!set.path.join("same.bin").exists());

    let objects = set.objects();
    let again = backup(&lab);
    assert_eq!(
        (&again["result"], &again["number"], &again["sent_files"]),
        (&"unchanged".into(), &1.into(), &0.into())
    );
    assert_eq!(set.objects(), objects);
    let receipts = lab.json_lines(&format!("{run}/.run/backup.jsonl"));
    assert_eq!(receipts.len(), 2);
    for receipt in receipts {
        assert_eq!((&receipt["type"], &receipt["name"]), (&"backup".into(), &"trial".into()));
        assert_eq!((&receipt["manifest"], &receipt["files"]), (&first["manifest"], &first["files"]));
        assert_eq!((&receipt["checkpoints"], &receipt["last_step"]), (&3.into(), &2.into()));
    }
    assert!(!lab.path(format!("{run}/.run/backup.journal")).exists());
}

#[test]
fn what_has_grown_stays_under_its_key_and_what_was_overwritten_gets_another() {
    let lab = Lab::new();
    let run = ended_run(&lab);
    backup(&lab);
    let set = StoredSet::new(&lab, "store/trial");
    let first = set.objects();
    let large = [noise(3, 20 << 20), noise(4, 20 << 20)].concat();
    lab.write(&format!("{run}/log.txt"), "one\ntwo\n");
    lab.write(&format!("{run}/large.bin"), &large);
    lab.write(&format!("{run}/ckpt/step_1.pt"), torch_noise(5, 40_000));
    fs::remove_file(lab.path(format!("{run}/empty"))).unwrap();
    let second = backup(&lab);
    assert_eq!((&second["number"], &second["sent_files"]), (&2.into(), &3.into()));
    set.check_newest_is(&lab.path(&run));
    assert_eq!(set.check(), 2, "the first one is true of what its objects begin with");
    assert_eq!(set.entry("log.txt")["key"], Value::Null);
    assert_eq!(set.entry("large.bin")["key"], Value::Null);
    assert_eq!(set.entry("empty")["absent"], "gone");
    let writer = set.newest()["writer"].as_str().unwrap()[..8].to_owned();
    assert_eq!(set.entry("ckpt/step_1.pt")["key"], format!(".gen/000002-{writer}/ckpt/step_1.pt"));
    assert_eq!(set.objects().get("ckpt/step_1.pt"), first.get("ckpt/step_1.pt"));
}

#[test]
fn a_file_of_the_same_size_and_date_is_not_taken_for_unchanged() {
    let lab = Lab::new();
    let run = ended_run(&lab);
    let path = lab.path(format!("{run}/log.txt"));
    let long_ago = SystemTime::now() - Duration::from_secs(1000);
    let set_time = || File::open(&path).unwrap().set_modified(long_ago).unwrap();
    set_time();
    backup(&lab);
    fs::write(&path, "two\n").unwrap();
    set_time();
    backup(&lab);
    StoredSet::new(&lab, "store/trial").check_newest_is(&lab.path(&run));
}
