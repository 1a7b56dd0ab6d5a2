//! Watches the progress of the training, and whether it is alive, by its metrics and checkpoints.

use super::task::{Sources, Task};
use run_checkpoint::{Checkpoint, Overwritten, Program, Size, UNNOTICED, Watcher, discover};
use run_common::rundir::attempts::AttemptStart;
use run_common::rundir::layout::Layout;
use run_common::rundir::record::Record;
use run_common::time::Timestamp;
use run_metrics::bar::last_step;
use run_metrics::follow::{Beside, Follower, Progress, Wanted};
use run_metrics::growing::Growth;
use run_metrics::resumptions::Resumptions;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// The next look at the checkpoints waits at least this many times the duration of the last.
const RARENESS: u32 = 150;

/// A look that takes longer indicates a data set in the run, whose directories are too many to watch.
const SHORT: Duration = Duration::from_millis(50);

/// Maximum time between two looks at the checkpoints, even if no change was noticed.
const SELDOM: Duration = Duration::from_secs(60);

/// The watched files of a run.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    layout: &'a Layout,
    sources: &'a Sources,
    pub(super) follower: Follower,
    /// The checkpoints at the last look.
    checkpoints: Option<Vec<(PathBuf, Size)>>,
    /// The steps of checkpoints that are overwritten in place.
    overwritten: Overwritten,
    /// Facts about the progress besides the metrics.
    beside: Beside,
    /// The logs that may contain a progress bar, and the offsets at which the output of the attempt begins.
    logs: [(PathBuf, u64); 2],
    since: Timestamp,
    /// Notices changes of checkpoints.
    watcher: Option<Watcher>,
    has_noticed: bool,
    /// The growth of the metrics since the last [`Self::poll`].
    growth: Growth,
    /// Time of the next look at the checkpoints, and earliest time if a change was noticed.
    next_look: Option<Instant>,
    earliest_look: Option<Instant>,
    has_ended: bool,
}

impl<'a> Watch<'a> {
    /// Watches the run of a task.
    pub(super) fn new(task: &'a Task, record: &Record) -> Self {
        let (start, sources) = (record.start(), &task.sources);
        let log = |path: PathBuf, name: &str| (path, start.offsets.get(name).copied().unwrap_or_default());
        let wanted = Wanted {
            named: sources.metrics.clone(),
            step_key: sources.step_key.clone(),
            with_trainer: sources.trainer,
            chosen: record.attempt().and_then(|attempt| attempt.metrics_from.clone()).unwrap_or_default(),
            since: UNIX_EPOCH
                + Duration::from_millis(u64::try_from(start.start_time.millis()).unwrap_or_default()),
        };
        Self {
            layout: &task.layout,
            sources,
            follower: Follower::new(task.layout.clone(), wanted, attempts(start, &task.layout)),
            checkpoints: None,
            overwritten: Overwritten::read(&task.layout),
            beside: Beside {
                checkpoint: start.resume_step.map(count),
                rows: None,
                total: start.total_steps.map(count),
            },
            logs: [log(task.layout.stderr(), "stderr.log"), log(task.layout.stdout(), "stdout.log")],
            since: start.start_time,
            watcher: None,
            has_noticed: false,
            growth: Growth::default(),
            next_look: None,
            earliest_look: None,
            has_ended: false,
        }
    }

    /// Records the files that exist before the command is started.
    pub(super) fn begin(&mut self) {
        self.follower.begin();
    }

    /// Records the step of earlier attempts' rows.
    pub(super) fn note_start(&mut self) {
        self.beside.rows = self.follower.figures().step();
    }

    /// Reads some or all new metric rows.
    pub(super) fn poll(&mut self) -> Growth {
        self.read_rows();
        std::mem::take(&mut self.growth)
    }

    fn read_rows(&mut self) {
        // Unreadable metrics are the program's problem.
        let growth = self.follower.poll().unwrap_or_default();
        self.growth.add(growth);
    }

    /// Reads new rows, and returns their step: that of the moment at which a checkpoint was found.
    fn step_of_rows(&mut self) -> Option<f64> {
        if self.follower.figures().step().is_none() {
            self.follower.search();
        }
        self.read_rows();
        self.follower.figures().step()
    }

    /// Returns whether metric files or checkpoints have changed since the last call. Checkpoints are only
    /// looked at when that is due.
    pub(super) fn has_signs_of_life(&mut self) -> bool {
        let has_files = self.follower.has_signs_of_life();
        has_files | self.look_at_changes()
    }

    /// Returns a descriptor that becomes readable when checkpoints have changed, once a look is allowed.
    pub(super) fn awaited(&self) -> Option<BorrowedFd<'_>> {
        let is_early = self.rest().is_some();
        self.watcher.as_ref().filter(|_| !self.has_ended && !is_early).and_then(Watcher::handle)
    }

    /// Returns the time until changed checkpoints are looked at.
    pub(super) fn rest(&self) -> Option<Duration> {
        let now = Instant::now();
        self.earliest_look.filter(|time| !self.has_ended && *time > now).map(|time| time - now)
    }

    /// Looks at changed checkpoints early, before further rows are logged; returns whether there are changes.
    pub(super) fn look_at_changes(&mut self) -> bool {
        !self.has_ended && self.is_look_due() && self.look_at_checkpoints(Program::Lives)
    }

    /// Records the steps of checkpoints that are overwritten in place.
    pub(super) fn write_overwritten(&mut self) {
        let _ = self.overwritten.write(self.layout); // on failure, later readers may not know these steps
    }

    /// Searches for metrics now, and makes a look at the checkpoints due.
    pub(super) fn look_everywhere(&mut self) {
        self.follower.search();
        (self.next_look, self.earliest_look) = (None, None);
    }

    /// Records that the program has ended, and searches for metrics again.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
        self.follower.end();
    }

    /// Looks at the checkpoints of a program that has ended, after all rows were read.
    pub(super) fn look_at_last_checkpoints(&mut self) {
        self.look_at_checkpoints(Program::Ended);
    }

    /// Returns the progress of the training.
    pub(super) fn progress(&self) -> Progress {
        let bar = |total| self.logs.iter().find_map(|(log, start)| last_step(log, *start, total));
        self.follower.progress(&self.beside, bar)
    }

    /// Watches the directories where checkpoints may appear; returns whether one was not watched before.
    fn watch(&mut self, found: &[Checkpoint]) -> bool {
        let watcher = self.watcher.get_or_insert_with(Watcher::new);
        watcher.watch(0, self.layout, self.sources.checkpoint.as_ref(), found)
    }

    fn is_look_due(&mut self) -> bool {
        let noticed = self.watcher.as_mut().map(|watcher| watcher.wait(Duration::ZERO));
        self.has_noticed |= noticed.is_some_and(|noticed| !noticed.is_empty());
        let time = if self.has_noticed { self.earliest_look } else { self.next_look };
        time.is_none_or(|time| Instant::now() >= time)
    }

    /// Looks at the checkpoints; returns whether they have changed.
    fn look_at_checkpoints(&mut self, program: Program) -> bool {
        if !self.sources.trainer {
            return false;
        }
        let now = Instant::now();
        let found = discover(self.layout, self.sources.checkpoint.as_ref(), program).unwrap_or_default();
        let is_own = |one: &&Checkpoint| one.is_complete() && one.modified() >= self.since;
        let latest = found.iter().filter(is_own).max_by_key(|one| one.order());
        if let Some((latest, step)) = latest.and_then(|latest| Some((latest, count(latest.step?))))
            && self.beside.checkpoint != Some(step)
        {
            // Steps that restart in each epoch cannot be compared with those of rows.
            let is_comparable = latest.epoch.is_none();
            let rows = self.step_of_rows().filter(|_| is_comparable);
            (self.beside.checkpoint, self.beside.rows) = (Some(step), rows);
        }
        self.overwritten.note(&found);
        let is_watched = program == Program::Lives && now.elapsed() < SHORT;
        let is_new = is_watched && self.watch(&found);
        self.has_noticed = is_new; // a file may have appeared before its directory was watched
        let is_settled = is_watched && found.iter().all(Checkpoint::is_complete);
        let pause = if is_settled { SELDOM } else { UNNOTICED };
        let checkpoints = Some(found.into_iter().map(|one| (one.path, one.size)).collect());
        let has_changed = self.checkpoints.is_some() && checkpoints != self.checkpoints;
        self.checkpoints = checkpoints;
        let (end, cost) = (Instant::now(), now.elapsed().saturating_mul(RARENESS));
        (self.next_look, self.earliest_look) = (Some(end + pause.max(cost)), Some(end + cost));
        has_changed
    }
}

#[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
fn count(steps: u64) -> f64 {
    steps as f64
}

/// Returns the attempts after the first, including the current one.
fn attempts(start: &AttemptStart, layout: &Layout) -> Resumptions {
    if start.attempt == 1 {
        return Resumptions::default();
    }
    Resumptions::read(layout).unwrap_or_default().with(start)
}
