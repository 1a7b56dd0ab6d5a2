//! A power cut takes what an interrupted backup had written to a directory, but not what it had recorded.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use testkit::process::Signal;
use testkit::sync::{StoredSet, noise};
use testkit::{Lab, wait_for};

/// Makes all bytes of a file zero.
fn empty(path: &Path) {
    let file = File::options().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(0).unwrap();
    file.set_len(length).unwrap();
}

#[test]
fn what_a_power_cut_took_is_sent_again() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["true"]);
    let large = File::create(lab.path(format!("{run}/large.bin"))).unwrap();
    for part in 0..24 {
        large.write_all_at(&noise(part + 1, 5000), part << 24).unwrap();
    }
    for file in 0..20 {
        lab.write(&format!("{run}/small/{file}"), noise(file + 100, 5000));
    }
    let journal = lab.path(format!("{run}/.run/backup.journal"));
    let backup = || lab.cmd("run-sync").args(["backup", "--to", "store", "trial"]);
    let running = backup().spawn();
    let has = |word: &str| fs::read_to_string(&journal).is_ok_and(|lines| lines.contains(word));
    wait_for("a part and a file", || has("{\"part\":") && has("{\"sent\":"));
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code, 1009, "it is killed in the middle");
    let uploads = fs::read_dir(lab.path("store/.run-store/uploads")).unwrap();
    let uploads: Vec<_> = uploads.map(|upload| upload.unwrap().path()).collect();
    assert!(!uploads.is_empty());
    for upload in &uploads {
        empty(upload);
    }
    let small = fs::read_dir(lab.path("store/trial/small")).unwrap();
    assert!(small.map(|object| empty(&object.unwrap().path())).count() > 0);
    // What would be sent is reported without reading the store.
    let planned = backup().arg("--dry-run").run().code(0).stderr("").out();
    let stored = fs::read_to_string(&journal).unwrap();
    let is_sent = |file: u64| {
        stored
            .lines()
            .any(|line| line.contains(&format!("{{\"sent\":{{\"entry\":{{\"path\":\"small/{file}\"")))
    };
    assert!((0..20).any(is_sent));
    assert!((0..20).all(|file| !is_sent(file) || !planned.contains(&format!("small/{file} "))), "{planned}");
    backup().run().code(0).stderr("");
    let set = StoredSet::new(&lab, "store/trial");
    set.check();
    set.check_newest_is(&lab.path(&run));
    lab.cmd("run-sync").args(["verify", "--from", "store", "trial"]).run().code(0).stderr("");
}
