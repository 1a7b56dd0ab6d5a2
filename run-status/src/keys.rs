//! The keys of `--watch` on a terminal: another run, its log, a stop after a question.

use run_common::rundir::observe::Observed;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the keys have chosen.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// The run whose details are shown; `None` for the list.
    pub(crate) run: Option<PathBuf>,
    /// Whether its log fills the screen.
    pub(crate) shows_log: bool,
    /// Whether a single run was named, so that there is no list.
    is_one: bool,
    /// Whether a stop awaits an answer.
    asks: bool,
    /// What the last key did.
    said: Option<String>,
}

impl Keys {
    /// Shows the list, or the details of a single named run.
    pub(crate) fn new(one: Option<PathBuf>) -> Self {
        Self { is_one: one.is_some(), run: one, ..Self::default() }
    }

    /// Does what a key asks for. `shown` are the runs of the list.
    pub(crate) fn press(&mut self, key: char, shown: &[&Observed]) {
        self.said = None;
        let may_stop = self.may_stop(shown);
        if std::mem::take(&mut self.asks) && may_stop {
            if key == 'y'
                && let Some(run) = &self.run
            {
                self.said = Some(stop(run));
            }
            return;
        }
        match key {
            'n' if !self.is_one => {
                let root = |run: &&Observed| run.run.layout().root().to_owned();
                let now = self.run.as_ref().and_then(|now| shown.iter().position(|run| root(run) == *now));
                let next = now.map_or(0, |now| now + 1);
                self.run = shown.get(next).map(root);
                self.shows_log = false;
            }
            'l' if self.run.is_some() => self.shows_log = !self.shows_log,
            's' => self.asks = may_stop,
            _ => {}
        }
    }

    /// Returns whether the chosen run is shown and has not ended.
    fn may_stop(&self, shown: &[&Observed]) -> bool {
        let is_it = |run: &&&Observed| Some(run.run.layout().root()) == self.run.as_deref();
        shown.iter().find(is_it).is_some_and(|run| !run.status().has_ended())
    }

    /// Returns the line that tells of the keys. A question lapses with the end of the run.
    pub(crate) fn line(&mut self, shown: &[&Observed]) -> String {
        self.asks &= self.may_stop(shown);
        let Some(run) = &self.run else { return "n details   q quit".to_owned() };
        if self.asks {
            return format!("stop '{}'? y yes   any other key no", name(run));
        }
        if let Some(said) = &self.said {
            return said.clone();
        }
        let next = if self.is_one { "" } else { "n next run   " };
        let log = if self.shows_log { "l details" } else { "l log" };
        format!("{next}{log}   s stop   q quit")
    }
}

/// Asks a run to stop, with run-stop; returns what came of the request.
fn stop(run: &Path) -> String {
    let beside =
        env::current_exe().ok().map(|this| this.with_file_name("run-stop")).filter(|path| path.exists());
    let mut command = Command::new(beside.unwrap_or_else(|| PathBuf::from("run-stop")));
    let done = command.args(["--no-wait", "--"]).arg(run).stdin(Stdio::null()).output();
    match done {
        Ok(done) if done.status.success() => format!("asked '{}' to stop", name(run)),
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            said.lines().next().map_or_else(|| "run-stop failed".to_owned(), str::to_owned)
        }
        Err(error) => format!("cannot execute run-stop: {error}"),
    }
}

fn name(run: &Path) -> String {
    run.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
