//! Backups of files that began alike and then grow, each in its own way: whatever becomes of the files, each backup
//! stays what it was.

use std::fs;
use std::path::PathBuf;
use testkit::stores::{Act, Request, Site};
use testkit::sync::{StoredSet, noise};
use testkit::{Lab, Random, times};

/// A run whose backups are in a directory.
struct Trial {
    lab: Lab,
    run: String,
    set: StoredSet,
    backups: usize,
}

impl Trial {
    fn new() -> Self {
        let lab = Lab::new();
        let run = lab.new_run("trial", &["true"]);
        let set = StoredSet::new(&lab, "store/trial");
        Self { lab, run, set, backups: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.lab.path(format!("{}/{name}", self.run))
    }

    fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        append(self.path(name), text);
    }

    /// Backs up, and expects the backup to be of what is there, and all before to be what they were.
    fn back_up(&mut self) {
        self.lab.cmd("run-sync").args(["backup", "--to", "store", "trial"]).run().code(0).stderr("");
        self.backups += 1;
        self.set.check_newest_is(&self.lab.path(&self.run));
        assert_eq!(self.set.check(), self.backups);
    }

    /// Expects each backup to be whole, as run-sync sees it.
    fn verify(&self) {
        for number in 1..=self.backups {
            let at = ["--at", &number.to_string()];
            let verify = self.lab.cmd("run-sync").args(["verify", "--from", "store", "trial"]).args(at);
            verify.run().code(0).stderr("");
        }
    }
}

fn append(path: PathBuf, text: impl AsRef<[u8]>) {
    let mut content = fs::read(&path).unwrap_or_default();
    content.extend_from_slice(text.as_ref());
    fs::write(path, content).unwrap();
}

#[test]
fn tables_of_one_header_grow_one_after_the_other() {
    for names in [["eval.csv", "train.csv"], ["train.csv", "eval.csv"]] {
        let mut trial = Trial::new();
        for name in names {
            trial.append(name, "step,loss\n");
        }
        trial.back_up();
        for (name, row) in names.into_iter().zip(["1,0.50\n", "1,0.75\n"]) {
            trial.append(name, row);
            trial.back_up();
        }
        for name in names {
            trial.append(name, "2,0.25\n");
        }
        trial.back_up();
        trial.verify();
        // One goes on under its key, the other under a key of its own, which it keeps.
        let keys = names.map(|name| StoredSet::key(&trial.set.entry(name)));
        assert_eq!(keys.iter().filter(|key| key.starts_with(".gen/")).count(), 1, "{keys:?}");
        assert_eq!(trial.set.objects().keys().filter(|key| key.contains(".csv")).count(), 2);
    }
}

#[test]
fn logs_of_one_first_line_grow_in_one_backup() {
    for rows in [["one\n", "two\n", "six\n"], ["1\n", "22\n", "333\n"]] {
        let mut trial = Trial::new();
        let names = ["rank0.log", "rank1.log", "rank2.log"];
        for name in names {
            trial.append(name, "start\n");
        }
        trial.back_up();
        for _ in 0..3 {
            for (name, row) in names.iter().zip(rows) {
                trial.append(name, row);
            }
            trial.back_up();
        }
        trial.verify();
        assert_eq!(trial.set.objects().keys().filter(|key| key.contains("rank")).count(), 3);
    }
}

#[test]
fn large_files_of_one_beginning_grow_in_parts() {
    let mut trial = Trial::new();
    let begin = noise(1, 17 << 20);
    for name in ["a.bin", "b.bin", "c.bin"] {
        trial.append(name, &begin);
    }
    trial.back_up();
    trial.append("c.bin", noise(2, 1000));
    trial.back_up();
    trial.append("a.bin", noise(3, 1000));
    trial.append("b.bin", noise(4, 2000));
    trial.back_up();
    trial.verify();
}

#[test]
fn names_change_and_another_file_begins_as_the_old_one_did() {
    let mut trial = Trial::new();
    trial.append("log", "start\n");
    trial.back_up();
    fs::rename(trial.path("log"), trial.path("log.1")).unwrap();
    trial.append("log", "start\n");
    trial.back_up();
    trial.append("log.1", "more\n");
    trial.back_up();
    trial.append("log", "less\n");
    trial.back_up();
    trial.verify();

    // Two names of one file become two files.
    let mut trial = Trial::new();
    trial.append("a", "start\n");
    fs::hard_link(trial.path("a"), trial.path("b")).unwrap();
    trial.back_up();
    fs::remove_file(trial.path("b")).unwrap();
    trial.append("b", "start\nmore\n");
    trial.back_up();
    trial.append("a", "less\n");
    trial.back_up();
    trial.verify();
}

#[test]
fn runs_of_a_batch_share_a_file_that_grows_in_each() {
    let lab = Lab::new();
    lab.cmd("run-new").args(["--batch=sweep", "--sweep", "lr=1,2", "--", "true", "{set}"]).run().code(0);
    let runs: Vec<PathBuf> = fs::read_dir(lab.path("runs/sweep"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join(".run").exists())
        .collect();
    let back_up = |backups: usize| {
        lab.cmd("run-sync").args(["backup", "--to", "store", "sweep"]).run().code(0).stderr("");
        for run in &runs {
            let name = run.file_name().unwrap().to_str().unwrap();
            let set = StoredSet::new(&lab, &format!("store/sweep/{name}"));
            set.check_newest_is(run);
            assert_eq!(set.check(), backups);
        }
    };
    for name in ["a.log", "b.log"] {
        for run in &runs {
            append(run.join(name), noise(1, 2 << 20));
        }
    }
    back_up(1);
    for number in 2..6 {
        for (seed, run) in runs.iter().enumerate() {
            append(run.join(["a.log", "b.log"][number % 2]), noise(seed as u64 + 10, 100));
        }
        append(runs[number % 2].join("a.log"), noise(9, 100));
        back_up(number);
    }
}

/// Backs up to a server, and kills the backup when the request with this index has come.
fn killed(site: &Site, index: u64, act: Act) {
    let is_it = move |request: &Request| request.index == index;
    site.server.run_and_kill(is_it, act, site.backup());
    site.seen().check();
}

#[test]
fn files_that_began_alike_grow_while_backups_are_killed() {
    for (large, pace) in [(0, times(4, 1)), (17 << 20, times(16, 1))] {
        for (start, act) in [Act::Reset, Act::Serve].into_iter().enumerate() {
            for index in (6 * start as u64..16).step_by(pace) {
                let site = Site::new("s3");
                let path = |name: &str| site.lab.path(format!("{}/{name}", site.run));
                for name in ["a", "b", "c"] {
                    append(path(name), noise(1, 100 + large));
                }
                site.backup().run().code(0);
                append(path("a"), "one\n");
                append(path("b"), "two\n");
                killed(&site, index, act.clone());
                append(path("c"), "six\n");
                killed(&site, index, act.clone());
                append(path("b"), "two\n");
                site.backup().run().code(0).stderr("");
                site.seen().check_newest_is(&site.lab.path(&site.run));
                append(path("a"), "one\n");
                site.backup().run().code(0).stderr("");
                site.seen().check_newest_is(&site.lab.path(&site.run));
            }
        }
    }
}

#[test]
fn an_object_that_was_stored_twice_by_killed_backups_still_holds_what_it_began_with() {
    for large in [0, 17 << 20] {
        let site = Site::new("s3");
        let path = |name: &str| site.lab.path(format!("{}/{name}", site.run));
        let stores = |request: &Request| {
            let is_last = request.method == "POST" && request.query.contains_key("uploadId");
            request.key.ends_with("/a") && (is_last || request.method == "PUT" && request.query.is_empty())
        };
        append(path("a"), noise(1, large + 100));
        site.backup().run().code(0).stderr("");
        fs::copy(path("a"), site.lab.path("first")).unwrap();
        append(path("a"), "one\n");
        // It is stored, and recorded as such.
        let is_manifest = |request: &Request| request.method == "PUT" && request.key.contains("/.backup/0");
        site.server.run_and_kill(is_manifest, Act::Reset, site.backup());
        append(path("a"), "two\n");
        // It is stored, and not recorded.
        site.server.run_and_kill(stores, Act::Serve, site.backup());
        fs::rename(site.lab.path("first"), path("b")).unwrap();
        fs::write(path("a"), "another\n").unwrap();
        site.backup().run().code(0).stderr("");
        site.seen().check_newest_is(&site.lab.path(&site.run));
        assert_eq!(site.seen().entry("b")["key"], "a", "{large}");
    }
}

/// Changes files at random, by lines and names of which there are few.
fn change(site: &Site, random: &mut Random) {
    let path = |number: u64| site.lab.path(format!("{}/file{number}", site.run));
    let (one, other) = (path(random.below(5)), path(random.below(5)));
    match random.below(10) {
        0..4 => append(one, format!("line {}\n", random.below(2))),
        4 => drop(fs::copy(&one, other)),
        5 => drop(fs::rename(&one, other)),
        6 => {
            let _ = fs::remove_file(&other);
            let _ = fs::hard_link(&one, other);
        }
        7 => drop(fs::remove_file(one)),
        8 => drop(fs::write(one, "line 0\n")),
        _ => {
            // A copy instead of the file: what has two names becomes two files.
            let content = fs::read(&one).unwrap_or_default();
            let _ = fs::remove_file(&one);
            fs::write(one, content).unwrap();
        }
    }
}

#[test]
fn whatever_becomes_of_files_each_backup_stays_what_it_was() {
    for seed in 1..=times(12, 300) as u64 {
        let site = Site::new("s3");
        let mut random = Random::new(seed);
        for _ in 0..12 {
            for _ in 0..=random.below(6) {
                change(&site, &mut random);
            }
            if random.below(3) == 0 {
                let act = if random.below(2) == 0 { Act::Reset } else { Act::Serve };
                killed(&site, random.below(14), act);
            } else {
                let done = site.backup().run();
                assert_eq!((done.code, done.err()), (0, String::new()), "seed {seed}");
                site.seen().check_newest_is(&site.lab.path(&site.run));
            }
        }
    }
}
