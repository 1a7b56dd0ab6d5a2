//! A power cut takes what an interrupted backup had written to a directory, but not what it had recorded.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use testkit::process::Signal;
use testkit::sync::{StoredSet, noise};
use testkit::{Lab, wait_for};

#[test]
fn parts_that_a_power_cut_took_are_sent_again() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["true"]);
    let large = File::create(lab.path(format!("{run}/large.bin"))).unwrap();
    for part in 0..24 {
        large.write_all_at(&noise(part + 1, 5000), part << 24).unwrap();
    }
    let journal = lab.path(format!("{run}/.run/backup.journal"));
    let backup = || lab.cmd("run-sync").args(["backup", "--to", "store", "trial"]);
    let running = backup().spawn();
    wait_for("a part", || fs::read_to_string(&journal).is_ok_and(|lines| lines.contains("{\"part\":")));
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code, 1009, "it is killed in the middle");
    let uploads = fs::read_dir(lab.path("store/.run-store/uploads")).unwrap();
    let uploads: Vec<_> = uploads.map(|upload| upload.unwrap().path()).collect();
    assert_eq!(uploads.len(), 1);
    let upload = File::options().write(true).open(&uploads[0]).unwrap();
    let length = upload.metadata().unwrap().len();
    upload.set_len(0).unwrap();
    upload.set_len(length).unwrap();
    backup().run().code(0).stderr("");
    let set = StoredSet::new(&lab, "store/trial");
    set.check();
    set.check_newest_is(&lab.path(&run));
    lab.cmd("run-sync").args(["verify", "--from", "store", "trial"]).run().code(0).stderr("");
}
