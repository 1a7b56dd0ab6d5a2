//! The keys of `--watch` on a terminal: a run of the list, its details, its log, a stop after a question.

use run_common::cli::keyboard::Key;
use run_common::rundir::observe::Observed;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs that a page of the list moves by.
const PAGE: usize = 10;

/// What the keys have chosen.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// The run whose details are shown; `None` for the list.
    pub(crate) run: Option<PathBuf>,
    /// The chosen run of the list.
    pub(crate) chosen: Option<PathBuf>,
    /// Whether its log fills the screen.
    pub(crate) shows_log: bool,
    /// Whether all runs are listed, not only those that need attention.
    pub(crate) all: bool,
    /// Whether the list leaves out runs, unless all are asked for.
    leaves_out: bool,
    /// Whether a single run was named, so that there is no list.
    is_one: bool,
    /// Whether a stop awaits an answer.
    pub(crate) asks: bool,
    /// What the last key did.
    said: Option<String>,
}

impl Keys {
    /// Shows the list, which `leaves_out` runs or does not, or the details of a single named run.
    pub(crate) fn new(one: Option<PathBuf>, leaves_out: bool) -> Self {
        Self { is_one: one.is_some(), run: one, leaves_out, ..Self::default() }
    }

    /// Does what a key asks for. `shown` are the runs of the list.
    pub(crate) fn press(&mut self, key: Key, shown: &[&Observed]) {
        self.said = None;
        let may_stop = self.may_stop(shown);
        if std::mem::take(&mut self.asks) && may_stop {
            if key == Key::Letter('y')
                && let Some(run) = self.meant()
            {
                self.said = Some(stop(run));
            }
            return;
        }
        match key {
            Key::Letter('l') if self.run.is_some() => self.shows_log = !self.shows_log,
            Key::Letter('s') => self.asks = may_stop,
            _ if self.is_one => {}
            Key::Letter('a') if self.leaves_out => self.all = !self.all,
            Key::Letter('n') if self.run.is_none() => {
                self.run = self.place(shown).or(Some(0)).and_then(|place| root(shown, place));
            }
            Key::Enter | Key::Back if self.run.is_some() => self.chosen = self.run.take(),
            Key::Enter => self.run.clone_from(&self.chosen),
            key => self.walk(key, shown),
        }
        self.shows_log &= self.run.is_some();
    }

    /// Goes to another run: in the list, or from the details of one to those of the next, whose log is not shown. Before
    /// the first and after the last run are the details of none: the list.
    fn walk(&mut self, key: Key, shown: &[&Observed]) {
        let (place, last) = (self.place(shown), shown.len().saturating_sub(1));
        let to = match key {
            Key::Home => Some(0),
            Key::End => Some(last),
            Key::Up | Key::Letter('k' | 'p') => place.map_or(Some(last), |place| place.checked_sub(1)),
            Key::Down | Key::Letter('j' | 'n') => Some(place.map_or(0, |place| place + 1)),
            Key::PageUp => place.map(|place| place.saturating_sub(PAGE)),
            Key::PageDown => place.map(|place| (place + PAGE).min(last)),
            Key::Letter(_) | Key::Enter | Key::Back | Key::Quit | Key::Other => return,
        };
        let to = to.and_then(|to| root(shown, to));
        if self.run.is_some() {
            (self.run, self.shows_log) = (to, false);
            self.chosen = None;
        } else if to.is_some() {
            self.chosen = to;
        }
    }

    /// Goes back to the list if the run of the details is gone.
    pub(crate) fn leave(&mut self) {
        if !self.is_one {
            (self.run, self.shows_log) = (None, false);
        }
    }

    /// Returns the run that the keys are about: that of the details, or the chosen one of the list.
    fn meant(&self) -> Option<&Path> {
        self.run.as_deref().or(self.chosen.as_deref())
    }

    /// Returns the place of the meant run in the list.
    fn place(&self, shown: &[&Observed]) -> Option<usize> {
        let meant = self.meant()?;
        shown.iter().position(|run| run.run.layout().root() == meant)
    }

    /// Returns whether the meant run is shown and has not ended.
    fn may_stop(&self, shown: &[&Observed]) -> bool {
        self.place(shown).is_some_and(|place| !shown[place].status().has_ended())
    }

    /// Returns the line that tells of the keys. A question lapses with the end of the run.
    pub(crate) fn line(&mut self, shown: &[&Observed]) -> String {
        let may_stop = self.may_stop(shown);
        self.asks &= may_stop;
        if let Some(run) = self.meant().filter(|_| self.asks) {
            return format!("stop '{}'? y yes   any other key no", name(run));
        }
        if let Some(said) = &self.said {
            return said.clone();
        }
        let stop = if may_stop { "s stop   " } else { "" };
        match &self.run {
            None => {
                let all = match (self.leaves_out, self.all) {
                    (false, _) => "",
                    (true, false) => "a all runs   ",
                    (true, true) => "a fewer runs   ",
                };
                format!("↑ ↓ choose   {all}{stop}n details   q quit")
            }
            Some(_) => {
                let others = if self.is_one { "" } else { "Enter list   p previous   n next run   " };
                let log = if self.shows_log { "l details" } else { "l log" };
                format!("{others}{log}   s stop   q quit")
            }
        }
    }
}

/// Returns the directory of the run at a place of the list, if there is one.
fn root(shown: &[&Observed], place: usize) -> Option<PathBuf> {
    shown.get(place).map(|run| run.run.layout().root().to_owned())
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
