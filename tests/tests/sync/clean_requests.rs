//! Cleanups and verifications with an object store that are killed at each of their requests: nothing that is here alone
//! is removed, the store stays as it is, and the same command ends right.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use testkit::stores::{Act, Site};
use testkit::sync::{sha256, torch_noise};
use testkit::{Cmd, times};

const STEPS: [u64; 3] = [10, 20, 30];

/// Makes a run with checkpoints of two files each, and a copy of it.
fn site(scheme: &'static str) -> Site {
    let site = Site::new(scheme);
    site.lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
    for step in STEPS {
        for (seed, name) in ["model.pt", "optimizer.pt"].into_iter().enumerate() {
            let content = torch_noise(step + seed as u64, 20_000);
            site.lab.write(&format!("{}/step_{step}/{name}", site.run), content);
        }
    }
    site.lab.cmd("cp").args(["-a", &site.run, "copy"]).run().code(0);
    site
}

/// Expects a command to be killed when its request of an index has come.
fn killed(site: &Site, index: u64, act: &Act, command: Cmd) {
    let done = site.server.run_and_kill(move |request| request.index == index, act.clone(), command);
    assert_eq!(done.code, 1009, "{act:?} at {index}: {}", done.err());
}

/// Brings the run back to what it was, before any backup.
fn renew(site: &Site) {
    fs::remove_dir_all(site.lab.path(&site.run)).unwrap();
    site.lab.cmd("cp").args(["-a", "copy", &site.run]).run().code(0);
}

/// Expects that what is here is as it was, that the latest checkpoint is here, and that the store has what is not.
fn check(site: &Site, shown: &str) {
    let (before, here) = (files(&site.lab.path("copy")), files(&site.lab.path(&site.run)));
    for (path, hash) in &before {
        if let Some(here) = here.get(path) {
            assert_eq!(here, hash, "{shown}: {path}");
            continue;
        }
        assert!(!path.starts_with("step_30/"), "{shown}: the latest is removed");
        let stored = site.server.object(&format!("runs/trial/{path}"));
        let stored = stored.unwrap_or_else(|| panic!("{shown}: {path} is nowhere"));
        assert_eq!(sha256(&stored), *hash, "{shown}: {path}");
    }
}

/// Expects the latest checkpoint to be the only one here, and everything to come back.
fn check_end(site: &Site, shown: &str) {
    check(site, shown);
    let here = STEPS.iter().filter(|step| site.lab.path(format!("{}/step_{step}", site.run)).exists());
    assert_eq!(here.collect::<Vec<_>>(), [&30], "{shown}");
    let _ = fs::remove_dir_all(site.lab.path("back"));
    let url = site.url();
    let restore = ["restore", "--from", &url, "--into", "back", "trial"];
    site.sync(&restore).run().code(0).stderr("");
    let diff = ["-r", "--no-dereference", "copy", "back/trial"];
    site.lab.cmd("diff").args(diff).run().code(0).stdout("");
}

/// Returns the numbers of the requests at which a command is killed: of S3 all, of others some, but in `make soak`.
fn moments(site: &Site, start: usize) -> impl Iterator<Item = u64> {
    let count = site.server.requests().len() as u64;
    assert!(count > 3, "{count}");
    let pace = if site.scheme == "s3" { 1 } else { times(4, 1) };
    (0..count).skip(start % pace).step_by(pace)
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
    let site = site(scheme);
    let url = site.url();
    let backup = ["backup", "--to", &url, "trial"];
    site.sync(&backup).run().code(0).stderr("");
    site.server.follow(|_| Act::Serve);
    site.sync(&["clean", "trial"]).run().code(0).stderr("");
    let moments: Vec<u64> = moments(&site, 0).collect();
    for act in [Act::Reset, Act::Serve] {
        for index in &moments {
            let shown = format!("{scheme} {act:?} at {index}");
            renew(&site);
            site.empty_store();
            site.sync(&backup).run().code(0).stderr("");
            let stored = site.server.contents();
            killed(&site, *index, &act, site.sync(&["clean", "trial"]));
            check(&site, &shown);
            site.sync(&["clean", "trial"]).run().code(0).stderr("");
            assert!(site.server.contents() == stored, "{shown}: the store has changed");
            check_end(&site, &shown);
        }
    }
}

fn kill_backups_that_clean_up(scheme: &'static str) {
    let site = site(scheme);
    let url = site.url();
    let both = ["backup", "--to", &url, "--cleanup", "--keep-latest", "trial"];
    site.server.follow(|_| Act::Serve);
    site.sync(&both).run().code(0).stderr("");
    let moments: Vec<u64> = moments(&site, 1).collect();
    for act in [Act::Reset, Act::Serve] {
        for index in &moments {
            let shown = format!("{scheme} {act:?} at {index}");
            renew(&site);
            site.empty_store();
            killed(&site, *index, &act, site.sync(&both));
            check(&site, &shown);
            site.sync(&both).run().code(0).stderr("");
            check_end(&site, &shown);
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
        let site = site(scheme);
        let url = site.url();
        site.sync(&["backup", "--to", &url, "trial"]).run().code(0).stderr("");
        let (stored, here) = (site.server.contents(), files(&site.lab.path(&site.run)));
        let verify = || site.sync(&["verify", "--from", &url, "trial"]);
        site.server.follow(|_| Act::Serve);
        let intact = verify().run().code(0).stderr("").out();
        let moments: Vec<u64> = moments(&site, 2).collect();
        for act in [Act::Reset, Act::Serve, Act::Truncate] {
            for index in &moments {
                killed(&site, *index, &act, verify());
                verify().run().code(0).stderr("").stdout(&intact);
            }
        }
        assert!(site.server.contents() == stored && files(&site.lab.path(&site.run)) == here);
    }
}
