//! Backups that are killed at random moments: the next one ends right, and sends again nothing that was sent. Verifications
//! that are killed: nothing has changed.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use testkit::process::Signal;
use testkit::sync::{StoredSet, noise};
use testkit::{Lab, Random, bin, signal, times};

fn change(lab: &Lab, run: &str, round: u64) {
    for file in 0..40 {
        lab.write(&format!("{run}/small/{round}_{file}"), noise(round * 100 + file, 3000));
    }
    let _ = std::fs::remove_file(lab.path(format!("{run}/large_{}.bin", round.wrapping_sub(1))));
    lab.write(&format!("{run}/large_{round}.bin"), noise(round + 7000, 24 << 20));
    lab.write(&format!("{run}/overwritten.bin"), noise(round + 8000, 17 << 20));
    let log: String = (0..=round * 100).map(|line| format!("line {line}\n")).collect();
    lab.write(&format!("{run}/log.txt"), log);
}

#[test]
fn a_backup_that_was_killed_is_continued() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["true"]);
    lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
    let set = StoredSet::new(&lab, "store/trial");
    let mut random = Random::new(4711);
    let mut killed = 0;
    for round in 0.. {
        change(&lab, &run, round);
        let mut attempts = 0;
        loop {
            let mut command = Command::new(bin().join("run-sync"));
            command.args(["backup", "--to", "store", "trial"]).current_dir(lab.dir());
            command.env("LAB", lab.mark()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut backup = command.spawn().unwrap();
            sleep(Duration::from_micros(random.below(500_000))); // the moment is what is tried
            signal(backup.id().cast_signed(), Signal::KILL);
            attempts += 1;
            if backup.wait().unwrap().success() {
                break;
            }
            killed += 1;
            set.check();
            if attempts % 10 == 0 {
                break;
            }
        }
        lab.cmd("run-sync").args(["backup", "--to", "store", "trial"]).run().code(0).stderr("");
        set.check_newest_is(&lab.path(&run));
        lab.cmd("sha256sum")
            .args(["--check", "--quiet", "SHA256SUMS"])
            .cwd(&set.path)
            .run()
            .code(0)
            .stderr("");
        assert!(!lab.path(format!("{run}/.run/backup.journal")).exists());
        assert!(std::fs::read_dir(lab.path("store/.run-store/uploads")).unwrap().next().is_none());
        if killed >= times(12, 200) {
            break;
        }
    }
    // One writer, no second copy of anything.
    let writers = std::fs::read_dir(set.path.join(".backup/writers")).unwrap().count();
    assert_eq!(writers, 1);
    let keys: Vec<String> = set.objects().into_keys().collect();
    for key in keys.iter().filter(|key| key.starts_with(".gen/")) {
        assert!(key.ends_with("/overwritten.bin"), "{key}");
    }
}

#[test]
fn a_verification_that_was_killed_has_changed_nothing() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["true"]);
    change(&lab, &run, 0);
    lab.cmd("run-sync").args(["backup", "--to", "store", "trial"]).run().code(0).stderr("");
    let set = StoredSet::new(&lab, "store/trial");
    let (stored, here) = (set.objects(), StoredSet::new(&lab, &run).objects());
    let verify = || lab.cmd("run-sync").args(["verify", "--from", "store", "trial"]);
    let intact = verify().run().code(0).stderr("").out();
    let mut random = Random::new(42);
    let mut killed = 0;
    while killed < times(12, 200) {
        let verifying = verify().spawn();
        sleep(Duration::from_micros(random.below(200_000))); // the moment is what is tried
        verifying.signal(Signal::KILL);
        let done = verifying.wait();
        killed += usize::from(done.code != 0);
        // It may be killed after it has printed, and before it exits.
        assert!(done.err().is_empty() && intact.starts_with(&done.out()), "{}{}", done.out(), done.err());
    }
    assert!(set.objects() == stored && StoredSet::new(&lab, &run).objects() == here);
    verify().run().code(0).stderr("").stdout(intact);
}
