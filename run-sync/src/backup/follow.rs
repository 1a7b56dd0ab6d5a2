//! `--follow`: runs are backed up whenever they have another complete checkpoint, and once more when they have ended.

use super::session::Session;
use run_checkpoint::{AGAIN, Checkpoint, Program, Schedule, Size, UNNOTICED, Watcher, discover};
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::message::complain;
use run_common::rundir::attempts::checkpoint_of;
use run_common::rundir::meta::{self, Meta};
use run_common::rundir::observe::Observer;
use run_common::rundir::open::RunDir;
use std::collections::HashMap;
use std::mem;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often it is asked whether a run has ended.
const OBSERVE: Duration = Duration::from_secs(1);
/// When a backup that has failed is tried again.
const RETRY: Duration = Duration::from_secs(60);
/// How often the last backup of a run that has ended is tried.
const ATTEMPTS: u32 = 10;

/// A run that is backed up until it has ended.
pub(super) struct Followed {
    run: RunDir,
    /// What the watcher calls it.
    number: usize,
    recorded: Option<meta::Checkpoint>,
    /// The complete checkpoints that the last backup has, and how each was.
    stored: HashMap<PathBuf, Size>,
    /// The complete ones at the last look.
    last: HashMap<PathBuf, Size>,
    schedule: Schedule,
    /// The outcome of the last backup.
    exit: Exit,
    /// How often the last backup was tried.
    attempts: u32,
}

/// What is to be done with a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    Backup,
    Last,
}

impl Followed {
    /// Starts with a run and the outcome of its first backup.
    pub(super) fn new(run: &RunDir, number: usize, found: &[Checkpoint], exit: Exit) -> Self {
        let meta = Meta::read(run.layout()).ok();
        let recorded = meta.and_then(|meta| checkpoint_of(&meta, run.layout()));
        let (stored, schedule) = (complete(found), Schedule::new(Instant::now()));
        Self { run: run.clone(), number, recorded, stored, last: HashMap::new(), schedule, exit, attempts: 0 }
    }

    /// Returns whether there is a checkpoint that is not stored, and does not grow; or nothing more to wait for.
    fn due(&mut self, observer: &Observer, watcher: &mut Watcher) -> Result<Due, Error> {
        let start = Instant::now();
        let has_ended = observer.observe(&self.run)?.status().has_ended();
        if has_ended && self.attempts == 0 {
            return Ok(Due::Last);
        }
        if !self.schedule.is_due(start) {
            return Ok(Due::Nothing);
        }
        if has_ended {
            return Ok(Due::Last);
        }
        let layout = self.run.layout();
        let found = discover(layout, self.recorded.as_ref(), Program::Lives)?;
        let is_new_place = watcher.watch(self.number, layout, self.recorded.as_ref(), &found);
        let now = complete(&found);
        let new = |(path, size): &(&PathBuf, &Size)| self.stored.get(*path) != Some(*size);
        let is_due = now.iter().filter(new).any(|(path, size)| self.last.get(path) == Some(size));
        let is_unsure = is_new_place || now.iter().any(|one| new(&one));
        self.last = now;
        self.schedule.looked(start, Instant::now(), if is_unsure { AGAIN } else { UNNOTICED });
        Ok(if is_due { Due::Backup } else { Due::Nothing })
    }

    /// Records a backup. Returns whether the run is done.
    fn backed_up(&mut self, due: Due, exit: Exit) -> bool {
        self.exit = exit;
        if exit == Exit::Ok {
            self.stored.clone_from(&self.last);
            return due == Due::Last;
        }
        let now = Instant::now();
        self.schedule.looked(now, now, RETRY);
        self.attempts += u32::from(due == Due::Last);
        self.attempts == ATTEMPTS
    }
}

/// Returns the complete ones.
fn complete(found: &[Checkpoint]) -> HashMap<PathBuf, Size> {
    found.iter().filter(|one| one.is_complete()).map(|one| (one.path.clone(), one.size)).collect()
}

impl Session<'_> {
    /// Backs runs up until they have ended. A store that is out of reach for a while is waited for.
    pub(super) fn follow(&mut self, out: &mut Out) -> Result<(), Error> {
        let observer = Observer::default();
        let mut watcher = Watcher::new();
        let mut all = mem::take(&mut self.followed);
        while !all.is_empty() {
            for mut one in mem::take(&mut all) {
                let due = one.due(&observer, &mut watcher);
                let is_done = match due {
                    Ok(Due::Nothing) => false,
                    Ok(due) => {
                        let exit = self.again(&one.run, out)?;
                        one.backed_up(due, exit)
                    }
                    Err(error) => {
                        complain(&error);
                        one.exit = error.exit();
                        true // the run is gone, or damaged
                    }
                };
                if is_done {
                    self.exit = self.exit.max(one.exit);
                    self.clean(&one.run, one.exit, out)?;
                } else {
                    all.push(one);
                }
            }
            let Some(next) = all.iter().map(|one| one.schedule.next()).min() else { break };
            let pause = OBSERVE.min(next.saturating_duration_since(Instant::now()));
            let changed = watcher.wait(pause.max(Duration::from_millis(10)));
            for one in all.iter_mut().filter(|one| changed.contains(&one.number) && one.exit == Exit::Ok) {
                one.schedule.hasten();
            }
        }
        Ok(())
    }

    /// Backs up once more. Only what cannot be printed ends all.
    fn again(&mut self, run: &RunDir, out: &mut Out) -> Result<Exit, Error> {
        match self.subject(run).and_then(|subject| self.back_up(&subject)) {
            Ok(report) => self.print(&report, out),
            Err(error) => {
                complain(&error);
                Ok(error.exit())
            }
        }
    }
}
