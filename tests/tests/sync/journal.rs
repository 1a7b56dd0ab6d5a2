//! The journal of `run-sync backup`: it does not grow for ever, and one that is too large stops no backup.

use std::fs::{self, File};
use testkit::Lab;
use testkit::sync::StoredSet;

#[test]
fn backups_without_a_receipt_keep_a_short_journal_and_are_of_one_writer() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["true"]);
    let secret = format!("{run}/secret");
    lab.write(&secret, "x");
    fs::create_dir(lab.path("store")).unwrap();
    lab.cmd("chmod").args(["-R", "a+rwX", "runs", "store"]).run().code(0);
    lab.cmd("chown").args(["-R", "65534", "runs", "store"]).run(); // as root
    lab.set_mode(&secret, 0);
    let backup = || lab.cmd_by_somebody("run-sync").args(["backup", "--to", "store", "trial"]).run();
    let set = StoredSet::new(&lab, "store/trial");
    for night in 1..=5 {
        lab.write(&format!("{run}/night-{night}"), "x".repeat(night));
        lab.set_mode(&format!("{run}/night-{night}"), 0o666);
        let done = backup().code(1);
        assert_eq!(done.err(), "run-sync: 'trial': cannot read secret: Permission denied\n");
        assert_eq!(set.check(), night);
        let journal = lab.json_lines(&format!("{run}/.run/backup.journal"));
        let keys: Vec<_> =
            journal.iter().map(|line| line.as_object().unwrap().keys().next().unwrap().as_str()).collect();
        assert_eq!(keys, ["begin", "keys", "commit"], "night {night}");
    }
    lab.set_mode(&secret, 0o666);
    backup().code(0).stderr("");
    assert!(!lab.path(format!("{run}/.run/backup.journal")).exists());
    set.check_newest_is(&lab.path(&run));
    assert_eq!(fs::read_dir(set.path.join(".backup/writers")).unwrap().count(), 1);
    assert!(set.objects().keys().all(|key| !key.starts_with(".by/")));
}

#[test]
fn a_journal_that_is_too_large_stops_no_backup() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["true"]);
    let journal = lab.path(format!("{run}/.run/backup.journal"));
    File::create(&journal).unwrap().set_len(2 << 30).unwrap();
    let done = lab.cmd("run-sync").args(["backup", "--to", "store", "trial"]).run().code(0);
    done.stderr(
        "run-sync: 'runs/trial/.run/backup.journal' is too large and not used; what an interrupted backup has sent is sent again\n",
    );
    assert!(!journal.exists());
    StoredSet::new(&lab, "store/trial").check_newest_is(&lab.path(&run));
}
