//! Cleanups that are killed at random moments: nothing is missing here that the store does not have, and the same command
//! ends right.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use testkit::process::Signal;
use testkit::sync::{noise, sha256, torch_noise};
use testkit::{Lab, bin, signal, times};

fn hashes(directory: &Path) -> BTreeMap<String, String> {
    let mut hashes = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            } else {
                let path = entry.path().strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
                hashes.insert(path, sha256(&fs::read(entry.path()).unwrap()));
            }
        }
    }
    hashes
}

#[test]
fn a_cleanup_that_was_killed_has_lost_nothing_and_is_continued() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["true"]);
    lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
    let checkpoints = format!("{run}/ckpt");
    for step in 1..=12 {
        for file in 0..10 {
            let content = torch_noise(step * 100 + file, 30_000);
            lab.write(&format!("{checkpoints}/step_{step}/part_{file}.pt"), content);
        }
    }
    let whole = hashes(&lab.path(&checkpoints));
    lab.cmd("run-sync").args(["backup", "--to", "store", "trial"]).run().code(0).stderr("");
    let stored = hashes(&lab.path("store/trial/ckpt"));
    assert_eq!(stored, whole);
    let mut random = noise(815, 8 * 3000);
    let (mut killed, mut within) = (0, 0_usize);
    while killed < times(12, 200) {
        let mut clean = Command::new(bin().join("run-sync"));
        clean.args(["clean", "trial"]).current_dir(lab.dir()).env_clear().env("LAB", lab.mark());
        let mut clean = clean.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let number = u64::from_le_bytes(random.drain(..8).collect::<Vec<_>>().try_into().unwrap());
        sleep(Duration::from_micros(number % 120_000)); // the moment is what is tried
        signal(clean.id().cast_signed(), Signal::KILL);
        let has_ended = clean.wait().unwrap().success();
        assert_eq!(hashes(&lab.path("store/trial/ckpt")), stored);
        let here = hashes(&lab.path(&checkpoints));
        assert!(here.iter().all(|(path, hash)| whole[path] == *hash));
        let latest = here.keys().filter(|path| path.starts_with("step_12/")).count();
        assert_eq!(latest, 10, "the latest is whole");
        if here.len() < whole.len() {
            within += usize::from(!has_ended && here.len() > 10);
            // Every other time a backup comes between.
            if number % 2 == 0 {
                lab.cmd("run-sync").args(["backup", "--to", "store", "trial"]).run().code(0).stderr("");
            }
            lab.cmd("run-sync").args(["clean", "trial"]).run().code(0).stderr("");
            assert_eq!(hashes(&lab.path(&checkpoints)).len(), 10);
            lab.cmd("run-sync").args(["backup", "--to", "store", "trial"]).run().code(0).stderr("");
            lab.cmd("run-sync").args(["restore", "--from", "store", "trial"]).run().code(0).stderr("");
            assert_eq!(hashes(&lab.path(&checkpoints)), whole, "what was cleaned comes back");
        }
        killed += usize::from(!has_ended);
    }
    eprintln!("{within} of {killed} between the first file and the last");
}
