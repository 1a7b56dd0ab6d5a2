//! Files of several names, of which some are removed while a backup reads the run, as when checkpoints rotate.

use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use testkit::Cmd;
use testkit::stores::{Act, Server, Site};
use testkit::sync::{noise, sha256};

/// Backs up one file after the other, and removes files when the object of the first is stored.
fn backup_while(site: &Site, removed: &[&str]) -> Cmd {
    let paths: Vec<PathBuf> =
        removed.iter().map(|name| site.lab.path(format!("{}/{name}", site.run))).collect();
    site.server.follow(move |request| {
        if request.method == "PUT" && request.key.ends_with("/first.bin") {
            for path in &paths {
                let _ = fs::remove_file(path);
            }
        }
        Act::Serve
    });
    let backup = site.lab.cmd("run-sync").args(["backup", "--to", &site.url(), "--transfers", "1", "trial"]);
    site.server.reached_by(backup)
}

/// Removes names of a file of three, new or stored before under all its names, while a backup reads it.
fn check(size: usize, is_new: bool, removed: &[&str]) {
    let site = Site::new("s3");
    let path = |name: &str| site.lab.path(format!("{}/{name}", site.run));
    fs::write(path("first.bin"), "1").unwrap();
    fs::write(path("a.pt"), noise(1, size)).unwrap();
    for other in ["b.pt", "latest.pt"] {
        fs::hard_link(path("a.pt"), path(other)).unwrap();
    }
    if !is_new {
        site.backup().run().code(0).stderr("");
        fs::write(path("first.bin"), "22").unwrap();
        fs::write(path("a.pt"), noise(2, size)).unwrap();
    }
    backup_while(&site, removed).run().code(0).stderr("");
    site.server.follow(|_| Act::Serve);
    let set = site.seen();
    set.check();
    for name in ["a.pt", "b.pt", "latest.pt"].into_iter().filter(|name| !removed.contains(name)) {
        let entry = set.entry(name);
        assert_eq!(entry["absent"], Value::Null, "{name} of {removed:?}");
        assert_eq!(entry["sha256"], sha256(&fs::read(path(name)).unwrap()), "{name} of {removed:?}");
    }
    site.backup().run().code(0).stderr("");
    site.seen().check_newest_is(&site.lab.path(&site.run));
}

#[test]
fn a_name_stays_when_the_first_of_its_file_is_removed() {
    check(1000, true, &["a.pt"]);
    check(1000, false, &["a.pt"]);
}

#[test]
fn the_last_name_stays_when_those_before_are_removed() {
    check(1000, true, &["a.pt", "b.pt"]);
    check(1000, false, &["a.pt", "b.pt"]);
}

#[test]
fn the_name_in_the_middle_stays_when_those_around_are_removed() {
    check(1000, false, &["a.pt", "latest.pt"]);
}

#[test]
fn a_name_of_a_large_file_stays_when_the_first_is_removed() {
    check(17 << 20, false, &["a.pt"]);
}
