//! Runs that are executed in the background, their reports, and their records, changed as a fault would.

use crate::process::Signal;
use crate::{Lab, Running, await_end, pid, signal};
use serde_json::Value;
use std::fs;

/// A run that is executed in the background.
#[derive(Debug)]
pub struct Active {
    /// Its run-exec.
    pub exec: Running,
    /// The pid of its supervisor.
    pub supervisor: i32,
    /// The pid of its command.
    pub child: i32,
}

/// Creates a run, executes it, and waits until its command runs.
pub fn start(lab: &Lab, name: &str, options: &[&str], command: &[&str]) -> Active {
    lab.new_run(name, command);
    let exec = lab.cmd("run-exec").args(["-q", "--linger", "100ms"]).args(options).arg(name).spawn();
    let status = lab.await_child(name);
    Active { supervisor: pid(&status, "pid"), child: pid(&status, "child_pid"), exec }
}

/// Kills run-exec and the supervisor at once, so that the program is left to itself; returns its pid.
pub fn orphan(run: Active) -> i32 {
    run.exec.kill_with(run.supervisor);
    run.child
}

/// Kills all of a run at once.
pub fn kill_all(run: Active) {
    let child = orphan(run);
    signal(child, Signal::KILL);
    await_end(child);
}

/// Returns the status and the reason that run-status says of a run.
pub fn told(lab: &Lab, name: &str) -> (String, String) {
    let status = lab.status(name);
    let word = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
    (word("status"), word("reason"))
}

/// Makes what [`told`] returns.
pub fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

/// Changes the record of a run in `runs`.
pub fn edit(lab: &Lab, name: &str, change: impl FnOnce(&mut Value)) {
    let file = format!("runs/{name}/.run/status.json");
    let mut record = lab.json(&file);
    change(&mut record);
    lab.write(&format!("{file}.new"), record.to_string());
    fs::rename(lab.path(format!("{file}.new")), lab.path(file)).unwrap();
}
