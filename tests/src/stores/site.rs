//! A run, and a server in this process for its backups.

use super::{BUCKET, Scripted, Server};
use crate::sync::StoredSet;
use crate::{Cmd, Lab};
use std::fs;

/// A run `trial`, and a server for its backups.
pub struct Site {
    /// The protocol of the store.
    pub scheme: &'static str,
    /// Where the run lies.
    pub lab: Lab,
    /// The directory of the run in the lab.
    pub run: String,
    /// The server of the store.
    pub server: Scripted,
}

impl Site {
    /// Makes a run that was not executed, and starts a server.
    pub fn new(scheme: &'static str) -> Self {
        let lab = Lab::new();
        let run = lab.new_run("trial", &["true"]);
        Self { scheme, lab, run, server: Scripted::new() }
    }

    /// Returns the address of the store.
    pub fn url(&self) -> String {
        format!("{}://{BUCKET}/runs", self.scheme)
    }

    /// Prepares `run-sync` with few requests at a time, and with variables by which it reaches the server.
    #[must_use]
    pub fn sync(&self, args: &[&str]) -> Cmd {
        self.server.reached_by(self.lab.cmd("run-sync").args(args).args(["--transfers", "4"]))
    }

    /// Prepares a backup of the run.
    #[must_use]
    pub fn backup(&self) -> Cmd {
        self.sync(&["backup", "--to", &self.url(), "trial"])
    }

    /// Copies the store into the lab, to look at the set of the run.
    pub fn seen(&self) -> StoredSet {
        let _ = fs::remove_dir_all(self.lab.path("seen"));
        for key in self.server.keys() {
            self.lab.write(&format!("seen/{key}"), self.server.object(&key).unwrap());
        }
        StoredSet::new(&self.lab, "seen/runs/trial")
    }

    /// Removes all objects and uploads.
    pub fn empty_store(&self) {
        self.server.objects(|objects| {
            objects.whole.clear();
            objects.uploads.clear();
        });
    }
}
