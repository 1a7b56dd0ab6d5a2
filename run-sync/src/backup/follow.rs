//! `--follow`: backs runs up at each new complete checkpoint, and once more when they have ended.

use super::session::{Outcome, Session};
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
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the status of a run is checked.
const OBSERVE: Duration = Duration::from_secs(1);
/// Time until a failed backup is repeated.
const RETRY: Duration = Duration::from_secs(60);
/// Time until the last backup is repeated if it left files that were still changing.
const SETTLED: Duration = Duration::from_secs(5);
/// How often the last backup of an ended run is tried.
const ATTEMPTS: u32 = 10;

/// A run to back up until it has ended.
pub(super) struct Followed {
    run: RunDir,
    /// The run's number in the watcher.
    number: usize,
    recorded: Option<meta::Checkpoint>,
    /// The complete checkpoints in the last backup, with their sizes and times.
    stored: HashMap<PathBuf, Size>,
    /// The complete checkpoints at the last look.
    last: HashMap<PathBuf, Size>,
    schedule: Schedule,
    /// The outcome of the last backup.
    exit: Exit,
    /// How often the backup after the end of the run was tried.
    attempts: u32,
}

/// The next action for a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    Backup,
    Last,
}

impl Followed {
    /// Starts with a run and the outcome of its first backup.
    pub(super) fn new(run: &RunDir, number: usize, found: &[Checkpoint], outcome: &Outcome) -> Self {
        let meta = Meta::read(run.layout()).ok();
        let recorded = meta.and_then(|meta| checkpoint_of(&meta, run.layout()));
        let mut stored = complete(found);
        stored.retain(|path, _| outcome.has(path));
        let (last, schedule) = (HashMap::new(), Schedule::new(Instant::now()));
        let run = run.clone();
        Self { run, number, recorded, stored, last, schedule, exit: outcome.exit, attempts: 0 }
    }

    /// Returns whether a backup is due: a new checkpoint has stopped growing, or the run has ended.
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

    /// Records the outcome of a backup. Returns whether the run is done.
    fn backed_up(&mut self, due: Due, outcome: &Outcome) -> bool {
        self.exit = outcome.exit;
        let is_last = due == Due::Last;
        if outcome.is_stored() {
            self.stored.clone_from(&self.last);
            self.stored.retain(|path, _| outcome.has(path));
            if !is_last || outcome.left.is_empty() {
                return is_last;
            }
        }
        let now = Instant::now();
        self.schedule.looked(now, now, if outcome.is_stored() { SETTLED } else { RETRY });
        self.attempts += u32::from(is_last);
        self.attempts == ATTEMPTS
    }

    /// Returns whether a change in the run calls for an immediate look.
    fn is_hasty(&self) -> bool {
        self.attempts == 0 && matches!(self.exit, Exit::Ok | Exit::No)
    }
}

impl Outcome {
    /// Returns whether there is a backup. It may lack files that cannot be read; another try would not help.
    fn is_stored(&self) -> bool {
        matches!(self.exit, Exit::Ok | Exit::No)
    }

    /// Returns whether the backup has a whole checkpoint.
    fn has(&self, path: &Path) -> bool {
        self.is_stored() && !self.left.iter().any(|left| Path::new(left).starts_with(path))
    }
}

/// Returns the complete checkpoints.
fn complete(found: &[Checkpoint]) -> HashMap<PathBuf, Size> {
    found.iter().filter(|one| one.is_complete()).map(|one| (one.path.clone(), one.size)).collect()
}

impl Session<'_> {
    /// Backs runs up until they have ended. Waits for a store that is unreachable for a while.
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
                        let outcome = self.again(&one.run, out)?;
                        one.backed_up(due, &outcome)
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
            for one in all.iter_mut().filter(|one| changed.contains(&one.number) && one.is_hasty()) {
                one.schedule.hasten();
            }
        }
        Ok(())
    }

    /// Backs a run up again. Fails only if the output cannot be written.
    fn again(&mut self, run: &RunDir, out: &mut Out) -> Result<Outcome, Error> {
        let done = self.subject(run).and_then(|subject| self.back_up(&subject));
        self.end(done, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn outcome(exit: Exit, left: &[&str]) -> Outcome {
        Outcome { exit, left: left.iter().map(|&path| path.to_owned()).collect() }
    }

    fn followed() -> Followed {
        let run = RunDir::seen(Path::new("runs/trial"));
        Followed::new(&run, 0, &[], &outcome(Exit::Ok, &[]))
    }

    #[test]
    fn the_last_backup_is_made_until_it_has_everything_or_there_is_no_chance() {
        for (exit, left, is_done) in [
            (Exit::Ok, &[][..], true),
            (Exit::No, &[], true), // a file cannot be read
            (Exit::Ok, &["step_2.pt"], false),
            (Exit::Busy, &[], false),
            (Exit::System, &[], false),
        ] {
            let mut one = followed();
            assert!(!one.backed_up(Due::Backup, &outcome(exit, left)));
            for attempt in 1..=ATTEMPTS {
                let done = one.backed_up(Due::Last, &outcome(exit, left));
                assert_eq!(done, is_done || attempt == ATTEMPTS, "{exit:?} {left:?} {attempt}");
                if done {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_checkpoint_of_which_a_file_was_left_is_not_stored() {
        let mut one = followed();
        let checkpoint = |name: &str| (PathBuf::from(name), Size::default());
        one.last = ["ckpt/step_1", "ckpt/step_2", "ckpt/step_2x"].map(checkpoint).into();
        one.backed_up(Due::Backup, &outcome(Exit::System, &[]));
        assert!(one.stored.is_empty());
        one.backed_up(Due::Backup, &outcome(Exit::Ok, &["ckpt/step_2/model.pt", "log"]));
        let mut stored: Vec<_> = one.stored.keys().collect();
        stored.sort();
        assert_eq!(stored, [Path::new("ckpt/step_1"), Path::new("ckpt/step_2x")]);
    }
}
