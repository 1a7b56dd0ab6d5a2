//! Cleanups and verifications with an object store that are killed at each of their requests: nothing that is here alone
//! is removed, the store stays as it is, and the same command ends right.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use testkit::stores::{Act, BUCKET, Scripted, Server};
use testkit::sync::{sha256, torch_noise};
use testkit::{Cmd, Lab, times};

const STEPS: [u64; 3] = [10, 20, 30];

/// A run with checkpoints of two files each, a copy of it, and a store.
struct Site {
    scheme: &'static str,
    lab: Lab,
    run: String,
    server: Scripted,
}

impl Site {
    fn new(scheme: &'static str) -> Self {
        let lab = Lab::new();
        let run = lab.new_run("trial", &["true"]);
        lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
        for step in STEPS {
            for (seed, name) in ["model.pt", "optimizer.pt"].into_iter().enumerate() {
                let content = torch_noise(step + seed as u64, 20_000);
                lab.write(&format!("{run}/step_{step}/{name}"), content);
            }
        }
        lab.cmd("cp").args(["-a", &run, "copy"]).run().code(0);
        Self { scheme, lab, run, server: Scripted::new() }
    }

    fn url(&self) -> String {
        format!("{}://{BUCKET}/p", self.scheme)
    }

    fn sync(&self, args: &[&str]) -> Cmd {
        let command = self.lab.cmd("run-sync").args(args).args(["--transfers", "2"]);
        self.server.reached_by(command)
    }

    /// Expects a command to be killed when its request of an index has come.
    fn killed(&self, index: u64, act: &Act, command: Cmd) {
        let done = self.server.run_and_kill(move |request| request.index == index, act.clone(), command);
        assert_eq!(done.code, 1009, "{act:?} at {index}: {}", done.err());
    }

    /// Brings the run back to what it was, before any backup.
    fn renew(&self) {
        fs::remove_dir_all(self.lab.path(&self.run)).unwrap();
        self.lab.cmd("cp").args(["-a", "copy", &self.run]).run().code(0);
    }

    fn empty_store(&self) {
        self.server.objects(|objects| {
            objects.whole.clear();
            objects.uploads.clear();
        });
    }

    /// Expects that what is here is as it was, that the latest checkpoint is here, and that the store has what is not.
    fn check(&self, shown: &str) {
        let (before, here) = (files(&self.lab.path("copy")), files(&self.lab.path(&self.run)));
        for (path, hash) in &before {
            if let Some(here) = here.get(path) {
                assert_eq!(here, hash, "{shown}: {path}");
                continue;
            }
            assert!(!path.starts_with("step_30/"), "{shown}: the latest is removed");
            let stored = self.server.object(&format!("p/trial/{path}"));
            let stored = stored.unwrap_or_else(|| panic!("{shown}: {path} is nowhere"));
            assert_eq!(sha256(&stored), *hash, "{shown}: {path}");
        }
    }

    /// Expects the latest checkpoint to be the only one here, and everything to come back.
    fn check_end(&self, shown: &str) {
        self.check(shown);
        let here = STEPS.iter().filter(|step| self.lab.path(format!("{}/step_{step}", self.run)).exists());
        assert_eq!(here.collect::<Vec<_>>(), [&30], "{shown}");
        let _ = fs::remove_dir_all(self.lab.path("back"));
        let url = self.url();
        let restore = ["restore", "--from", &url, "--into", "back", "trial"];
        self.sync(&restore).run().code(0).stderr("");
        let diff = ["-r", "--no-dereference", "copy", "back/trial"];
        self.lab.cmd("diff").args(diff).run().code(0).stdout("");
    }

    /// Returns the numbers of the requests at which a command is killed: of S3 all, of others some, but in `make soak`.
    fn moments(&self, start: usize) -> impl Iterator<Item = u64> {
        let count = self.server.requests().len() as u64;
        assert!(count > 3, "{count}");
        let pace = if self.scheme == "s3" { 1 } else { times(4, 1) };
        (0..count).skip(start % pace).step_by(pace)
    }
}

/// Returns the hashes of the files below a directory.
fn files(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            } else {
                let path = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(path, sha256(&fs::read(entry.path()).unwrap()));
            }
        }
    }
    found
}

fn kill_cleanups(scheme: &'static str) {
    let site = Site::new(scheme);
    let url = site.url();
    let backup = ["backup", "--to", &url, "trial"];
    site.sync(&backup).run().code(0).stderr("");
    site.server.follow(|_| Act::Serve);
    site.sync(&["clean", "trial"]).run().code(0).stderr("");
    let moments: Vec<u64> = site.moments(0).collect();
    for act in [Act::Reset, Act::Serve] {
        for index in &moments {
            let shown = format!("{scheme} {act:?} at {index}");
            site.renew();
            site.empty_store();
            site.sync(&backup).run().code(0).stderr("");
            let stored = site.server.contents();
            site.killed(*index, &act, site.sync(&["clean", "trial"]));
            site.check(&shown);
            site.sync(&["clean", "trial"]).run().code(0).stderr("");
            assert!(site.server.contents() == stored, "{shown}: the store has changed");
            site.check_end(&shown);
        }
    }
}

fn kill_backups_that_clean_up(scheme: &'static str) {
    let site = Site::new(scheme);
    let url = site.url();
    let both = ["backup", "--to", &url, "--cleanup", "--keep-latest", "trial"];
    site.server.follow(|_| Act::Serve);
    site.sync(&both).run().code(0).stderr("");
    let moments: Vec<u64> = site.moments(1).collect();
    for act in [Act::Reset, Act::Serve] {
        for index in &moments {
            let shown = format!("{scheme} {act:?} at {index}");
            site.renew();
            site.empty_store();
            site.killed(*index, &act, site.sync(&both));
            site.check(&shown);
            site.sync(&both).run().code(0).stderr("");
            site.check_end(&shown);
        }
    }
}

#[test]
fn a_cleanup_that_is_killed_at_any_request_has_lost_nothing() {
    kill_cleanups("s3");
    kill_backups_that_clean_up("s3");
}

#[test]
fn so_has_one_by_the_protocols_of_google_and_azure() {
    for scheme in ["gs", "az"] {
        kill_cleanups(scheme);
        kill_backups_that_clean_up(scheme);
    }
}

#[test]
fn a_verification_that_is_killed_at_any_request_changes_nothing() {
    for scheme in ["s3", "gs", "az"] {
        let site = Site::new(scheme);
        let url = site.url();
        site.sync(&["backup", "--to", &url, "trial"]).run().code(0).stderr("");
        let (stored, here) = (site.server.contents(), files(&site.lab.path(&site.run)));
        let verify = || site.sync(&["verify", "--from", &url, "trial"]);
        site.server.follow(|_| Act::Serve);
        let intact = verify().run().code(0).stderr("").out();
        let moments: Vec<u64> = site.moments(2).collect();
        for act in [Act::Reset, Act::Serve, Act::Truncate] {
            for index in &moments {
                site.killed(*index, &act, verify());
                verify().run().code(0).stderr("").stdout(&intact);
            }
        }
        assert!(site.server.contents() == stored && files(&site.lab.path(&site.run)) == here);
    }
}
