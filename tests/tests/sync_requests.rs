//! Backups to an object store that is cut off, or misbehaves, at any request.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use testkit::process::Signal;
use testkit::stores::{Act, BUCKET, Scripted, Server};
use testkit::sync::{StoredSet, noise};
use testkit::{Cmd, Lab, await_end, signal, wait_for};

/// A run, and a store for it.
struct Site {
    lab: Lab,
    run: String,
    server: Scripted,
}

impl Site {
    fn new() -> Self {
        let lab = Lab::new();
        let run = lab.new_run("trial", &["true"]);
        for number in 0..4 {
            lab.write(&format!("{run}/file {number}.bin"), noise(number + 1, 5000));
        }
        lab.write(&format!("{run}/large.bin"), noise(100, 17 << 20));
        lab.write(&format!("{run}/log.txt"), "one\n");
        Self { lab, run, server: Scripted::new() }
    }

    fn backup(&self) -> Cmd {
        let url = format!("s3://{BUCKET}/runs");
        let command = self.lab.cmd("run-sync").args(["backup", "--to", &url, "--transfers", "4", "trial"]);
        self.server.reached_by(command)
    }

    /// Changes what the second backup is of.
    fn change(&self) {
        self.lab.write(&format!("{}/log.txt", self.run), "one\ntwo\n");
        self.lab.write(&format!("{}/file 0.bin", self.run), noise(51, 5000));
        self.lab.write(&format!("{}/file new.bin", self.run), noise(52, 5000));
        self.lab.write(&format!("{}/large.bin", self.run), [noise(100, 17 << 20), noise(53, 1000)].concat());
        fs::remove_file(self.lab.path(format!("{}/file 1.bin", self.run))).unwrap();
    }

    /// Copies the store into the lab, to look at.
    fn seen(&self) -> StoredSet {
        let _ = fs::remove_dir_all(self.lab.path("seen"));
        for key in self.server.keys() {
            self.lab.write(&format!("seen/{key}"), self.server.object(&key).unwrap());
        }
        StoredSet::new(&self.lab, "seen/runs/trial")
    }

    /// Returns the keys of files of the run, and their sizes.
    fn files(&self) -> BTreeMap<String, usize> {
        let is_file = |key: &String| !key.contains("/.backup/") && !key.contains(".run-store/");
        let keys = self.server.keys().into_iter().filter(is_file);
        keys.map(|key| (key.clone(), self.server.object(&key).unwrap().len())).collect()
    }

    /// Goes back to what the store and the record of the run were.
    fn go_back(&self, to: &State) {
        self.server.objects(|objects| {
            objects.whole.clone_from(&to.whole);
            objects.uploads.clear();
        });
        let record = format!("{}/.run", self.run);
        let _ = fs::remove_file(self.lab.path(format!("{record}/backup.journal")));
        match &to.receipts {
            Some(receipts) => _ = self.lab.write(&format!("{record}/backup.jsonl"), receipts),
            None => drop(fs::remove_file(self.lab.path(format!("{record}/backup.jsonl")))),
        }
    }

    fn state(&self) -> State {
        let receipts = fs::read(self.lab.path(format!("{}/.run/backup.jsonl", self.run))).ok();
        State { whole: self.server.objects(|objects| objects.whole.clone()), receipts }
    }

    /// Kills a backup when a request has come, which the server does or does not do, and does it again.
    fn cut_off(&self, index: u64, act: Act) {
        let shown = format!("{act:?} at {index}");
        let pid = Arc::new(AtomicI32::new(0));
        self.server.follow({
            let pid = Arc::clone(&pid);
            move |request| {
                if request.index == index {
                    wait_for("the pid", || pid.load(Ordering::Relaxed) != 0);
                    signal(pid.load(Ordering::Relaxed), Signal::KILL);
                    await_end(pid.load(Ordering::Relaxed));
                }
                if request.index == index { act.clone() } else { Act::Serve }
            }
        });
        let running = self.backup().spawn();
        pid.store(running.pid(), Ordering::Relaxed);
        let done = running.wait();
        assert_ne!(done.code, 0, "{shown}: {}", done.err());
        self.seen().check();
        self.server.follow(|_| Act::Serve);
        let done = self.backup().run();
        assert_eq!((done.code, done.err()), (0, String::new()), "{shown}");
        let set = self.seen();
        set.check_newest_is(&self.lab.path(&self.run));
        self.lab.cmd("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).cwd(&set.path).run().code(0);
        let journal = self.lab.path(format!("{}/.run/backup.journal", self.run));
        assert!(!journal.exists(), "{shown}");
        let left = self.server.objects(|objects| objects.uploads.len());
        assert!(left <= 1, "{shown}: {left} uploads are left");
    }

    /// Cuts a backup off at each of its requests.
    fn cut_off_at_each(&self, before: &State) {
        self.go_back(before);
        self.server.follow(|_| Act::Serve);
        self.backup().run().code(0).stderr("");
        let count = self.server.requests().len() as u64;
        let files = self.files();
        assert!(count > 8, "{count}");
        for act in [Act::Reset, Act::Serve] {
            for index in 0..count {
                self.go_back(before);
                self.cut_off(index, act.clone());
                assert_eq!(self.files(), files, "{act:?} at {index}: a second copy");
            }
        }
    }
}

/// What a store and the record of a run were.
struct State {
    whole: BTreeMap<String, testkit::stores::Object>,
    receipts: Option<Vec<u8>>,
}

#[test]
fn a_first_backup_that_is_killed_at_any_request_is_continued() {
    let site = Site::new();
    site.cut_off_at_each(&site.state());
}

#[test]
fn a_later_backup_that_is_killed_at_any_request_is_continued() {
    let site = Site::new();
    site.backup().run().code(0).stderr("");
    let before = site.state();
    site.change();
    site.cut_off_at_each(&before);
}

/// Misbehaves at so many of a hundred requests.
fn misbehave(server: &Scripted, seed: u64, of_a_hundred: u64) {
    let state = AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    server.follow(move |_| {
        let mut number = state.load(Ordering::Relaxed);
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        state.store(number, Ordering::Relaxed);
        if (number >> 8) % 100 >= of_a_hundred {
            return Act::Serve;
        }
        match (number >> 16) % 16 {
            0..4 => Act::Fail(503, "SlowDown"),
            4..6 => Act::Lose,
            6..8 => Act::Reset,
            8..10 => Act::ResetAfter,
            10..12 => Act::Truncate,
            12..14 => Act::CorruptUp,
            14..16 => Act::CorruptDown,
            _ => Act::Stall,
        }
    });
}

#[test]
fn with_a_third_of_all_requests_failing_nothing_is_ever_wrong() {
    let site = Site::new();
    let rounds = if std::env::var_os("RUN_SOAK").is_some() { 500 } else { 30 }; // each a backup and a restore
    let restore = |into: &str| {
        let url = format!("s3://{BUCKET}/runs");
        let command = site.lab.cmd("run-sync").args(["restore", "--from", &url, "--into", into, "trial"]);
        site.server.reached_by(command).env("RUN_SYNC_TIMEOUT", "20").run()
    };
    let mut refused = 0;
    for round in 0..rounds {
        if round == 5 {
            fs::remove_file(site.lab.path(format!("{}/large.bin", site.run))).unwrap(); // it takes most of the time
        }
        site.lab.write(&format!("{}/file {}.bin", site.run, round % 4), noise(round + 1000, 5000));
        let log: String = (0..round + 2).map(|line| format!("line {line}\n")).collect();
        site.lab.write(&format!("{}/log.txt", site.run), log);
        misbehave(&site.server, round + 1, 30);
        let done = site.backup().env("RUN_SYNC_TIMEOUT", "20").run();
        site.seen().check();
        if done.code != 0 {
            assert!(!done.err().is_empty(), "a refusal has its reason");
            refused += 1;
            continue;
        }
        site.seen().check_newest_is(&site.lab.path(&site.run));
        let into = format!("restored {round}");
        let done = restore(&into);
        if done.code == 0 {
            let ours = ["-x", "backup.jsonl", "-x", "backup.journal"];
            let both = [site.run.clone(), format!("{into}/trial")];
            site.lab
                .cmd("diff")
                .args(["-r", "--no-dereference"])
                .args(ours)
                .args(both)
                .run()
                .code(0)
                .stdout("");
        } else {
            assert!(!done.err().is_empty(), "a refusal has its reason");
            refused += 1;
        }
        let _ = fs::remove_dir_all(site.lab.path(&into));
    }
    assert!(refused * 4 < rounds, "{refused} of {rounds} were refused");
}
