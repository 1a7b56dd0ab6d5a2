//! Determines the actual state of a run from its record, its lock, its processes and its heartbeat. Writes
//! nothing.

use super::attempts::{AttemptEnd, Attempts};
use super::foreign::Account;
use super::layout::Layout;
use super::meta::Meta;
use super::notes;
use super::open::RunDir;
use super::raw::Raw;
use super::recorded::{AttemptState, Recorded, State};
use super::status::Status;
use super::status_json::StatusOut;
use super::trust::{belongs, owner};
use crate::error::{Error, Exit};
use crate::fsio::lock::{self, Held};
use crate::process::identity::{Life, Place, Process, ProcessId};
use crate::process::stat::Stat;
use crate::process::tree::Carriers;
use crate::time::{Timestamp, human_seconds};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// A run with its actual state.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The run.
    pub run: RunDir,
    /// Its record.
    pub recorded: Recorded,
    /// Whether the record is still true.
    pub verdict: Verdict,
    /// Living processes of a run whose supervisor is gone.
    pub leftovers: Vec<Stat>,
    /// The process that the record of such a run names as its command, if it lives but nothing proves that it
    /// belongs to the run: another user may have written the record.
    pub unproven: Option<Stat>,
    /// The damage of the documents of a run of another system, which is shown nevertheless.
    pub of_documents: Option<Damage>,
    /// The damage of its metrics.
    pub of_metrics: Option<Damage>,
    /// The contents of the files of such a run.
    pub account: Option<Box<Account>>,
}

/// The damage of a run's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The resulting exit status; unreadable lines of metrics are not a failure.
    pub exit: Exit,
    /// What cannot be done and why, in one line.
    pub words: String,
}

impl Damage {
    /// Converts it into an error.
    pub fn error(&self) -> Error {
        Error::new(self.exit, self.words.clone())
    }
}

/// A reader's judgement of a record. Only `Holds` can be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The record is true.
    Holds,
    /// The run is recorded as running, but known not to run, for this reason.
    Dead(String),
    /// The run is recorded as running, but in doubt, for this reason.
    Stale(String),
}

/// Judges runs as seen from this host.
#[derive(Debug)]
pub struct Observer {
    stale_after: Duration,
    /// Processes with a run's id, read at most once a second for all runs with an old heartbeat; `None` to read
    /// them anew for each run.
    processes: Option<Carriers>,
    /// Adds figures of the metrics to the records of runs of other systems, which have none.
    figures: Option<FiguresOf>,
    /// Whether to read the tags that runs were given after their creation.
    has_notes: bool,
}

/// Reads the metrics of a run of another system, and adds their figures to its record; returns their damage.
pub type FiguresOf = fn(&Layout, &mut Recorded) -> Option<Damage>;

/// Default age at which the heartbeat of another host is in doubt.
const STALE_AFTER: Duration = Duration::from_secs(120);

/// Seconds after the last heartbeat until processes of a run without a supervisor probably no longer come and
/// go.
const LONG_AGO: f64 = 60.0;

/// The state of a recorded supervisor.
enum Supervisor {
    Works,
    /// A process is suspended: its kind and its pid.
    Stopped(&'static str, i32),
    Gone,
    /// The supervisor is not visible from here: its heartbeat decides.
    Elsewhere,
}

impl Default for Observer {
    fn default() -> Self {
        Self { stale_after: STALE_AFTER, processes: None, figures: None, has_notes: false }
    }
}

impl Observer {
    /// Creates an observer of many runs, for a list. A run of another host is stale if its heartbeat is older
    /// than `stale_after`; so is a run of another system if its files have not changed for this time.
    pub fn of_many(stale_after: Option<Duration>) -> Self {
        let stale_after = stale_after.unwrap_or(STALE_AFTER);
        Self { stale_after, processes: Some(Carriers::default()), figures: None, has_notes: false }
    }

    /// Also reads the metrics of runs of other systems.
    #[must_use]
    pub fn with_figures(self, figures: FiguresOf) -> Self {
        Self { figures: Some(figures), ..self }
    }

    /// Also reads the tags that runs were given after their creation.
    #[must_use]
    pub fn with_notes(self) -> Self {
        Self { has_notes: true, ..self }
    }

    /// Determines the state of a run.
    pub fn observe(&self, run: &RunDir) -> Result<Observed, Error> {
        let layout = run.layout();
        if let Some(foreign) = layout.foreign() {
            return Ok(self.observe_foreign(run, Account::of(foreign, layout.root())));
        }
        let mut recorded = Recorded::read(layout)?;
        let mut verdict = Verdict::Holds;
        let (mut leftovers, mut unproven) = (Vec::new(), None);
        while let State::Running(_) | State::Waiting(_) = recorded.state
            && let Some(attempt) = recorded.attempt()
        {
            match supervisor(layout, attempt) {
                Supervisor::Works => {}
                Supervisor::Stopped(what, pid) => {
                    verdict = Verdict::Stale(format!("its {what}, process {pid}, is stopped"));
                }
                Supervisor::Elsewhere => {
                    if let Some(doubt) = self.overdue(attempt) {
                        verdict = Verdict::Stale(doubt);
                    }
                }
                Supervisor::Gone => {
                    // The run may have ended, or may have been started again meanwhile.
                    let again = Recorded::read(layout)?;
                    let has_changed = writer(&again) != writer(&recorded);
                    recorded = again;
                    if has_changed {
                        continue;
                    }
                    if let Some(end) = AttemptEnd::find(layout, &recorded.run_id, recorded.attempts()) {
                        recorded.end(&end);
                    } else if let Some(attempt) = recorded.attempt() {
                        leftovers = self.leftovers(layout, &recorded.run_id, attempt);
                        unproven = self::unproven(layout, attempt, &leftovers);
                        verdict = unsupervised(attempt, &leftovers, unproven.as_ref());
                    }
                }
            }
            break;
        }
        recorded.redact();
        if self.has_notes && notes::exist(layout) {
            let mut tags = recorded.tags.parse();
            notes::apply(layout, &mut None, &mut tags);
            recorded.tags = Raw::of(&tags);
        }
        Ok(Observed {
            run: run.clone(),
            recorded,
            verdict,
            leftovers,
            unproven,
            of_documents: None,
            of_metrics: None,
            account: None,
        })
    }

    /// Determines the state of a run of another system.
    fn observe_foreign(&self, run: &RunDir, account: Account) -> Observed {
        let mut recorded = account.recorded();
        let of_metrics = self.figures.and_then(|figures| figures(run.layout(), &mut recorded));
        recorded.redact();
        let verdict = account.verdict(self.stale_after);
        let of_documents = account.damage_in_words().map(|words| Damage { exit: Exit::BadRun, words });
        let account = Some(Box::new(account));
        Observed {
            run: run.clone(),
            recorded,
            verdict,
            leftovers: Vec::new(),
            unproven: None,
            of_documents,
            of_metrics,
            account,
        }
    }

    /// Returns the living processes of a run without a supervisor: those with its id, and its command even
    /// without the id in its environment. For runs with an old heartbeat, the processes are read once for all.
    fn leftovers(&self, layout: &Layout, run_id: &str, attempt: &AttemptState) -> Vec<Stat> {
        let supervisor = attempt.supervisor.as_ref();
        if supervisor.is_some_and(|one| !one.boot_id.is_empty() && !one.is_of_this_boot()) {
            return Vec::new(); // no process survives a reboot
        }
        let beat = attempt.last_heartbeat;
        let is_old = beat.is_some_and(|beat| Timestamp::now().seconds_since(beat) > LONG_AGO);
        let anew = Carriers::default();
        let carriers = self.processes.as_ref().filter(|_| is_old).unwrap_or(&anew);
        let mut leftovers = carriers.of(run_id, layout.root(), owner(layout));
        if let Some(command) = command(layout, attempt)
            && leftovers.iter().all(|known| known.pid != command.pid)
            && belongs(&command, layout, run_id)
        {
            leftovers.push(command);
        }
        leftovers
    }

    /// Returns why a run of another host is in doubt, if it is. A heartbeat in the future is fresh.
    fn overdue(&self, attempt: &AttemptState) -> Option<String> {
        let host = attempt.supervisor.as_ref().map(|supervisor| supervisor.host.as_str());
        let host = host.filter(|host| !host.is_empty()).unwrap_or("an unknown host");
        let Some(beat) = attempt.last_heartbeat else {
            return Some(format!("no heartbeat from {host}"));
        };
        let age = Timestamp::now().seconds_since(beat);
        (age > self.stale_after.as_secs_f64())
            .then(|| format!("no heartbeat from {host} for {}", human_seconds(age)))
    }
}

/// Returns values that differ between two writers of a record.
fn writer(recorded: &Recorded) -> (Status, u32, Option<&ProcessId>) {
    let attempt = recorded.attempt();
    (recorded.status(), recorded.attempts(), attempt.and_then(|attempt| attempt.supervisor.as_ref()))
}

/// Returns the process that is recorded as the command of an attempt, if it lives.
fn command(layout: &Layout, attempt: &AttemptState) -> Option<Stat> {
    let Life::Alive(stat) = attempt.command()?.life() else { return None };
    Some(stat).filter(|_| is_original(layout, attempt))
}

/// Returns the process that is recorded as the command, if it lives and does not provably belong to the run.
fn unproven(layout: &Layout, attempt: &AttemptState, leftovers: &[Stat]) -> Option<Stat> {
    command(layout, attempt).filter(|command| leftovers.iter().all(|known| known.pid != command.pid))
}

fn unsupervised(attempt: &AttemptState, leftovers: &[Stat], unproven: Option<&Stat>) -> Verdict {
    let supervisor = attempt.supervisor.as_ref();
    match (leftovers, unproven) {
        ([one], _) => Verdict::Stale(format!("supervisor gone, process {} lives", one.pid)),
        ([first, others @ ..], _) => {
            Verdict::Stale(format!("supervisor gone, process {} and {} more live", first.pid, others.len()))
        }
        ([], Some(one)) => {
            Verdict::Stale(format!("supervisor gone, process {} lives, which may be its program", one.pid))
        }
        ([], None) if supervisor.is_some_and(|one| !one.boot_id.is_empty() && !one.is_of_this_boot()) => {
            Verdict::Dead("the host was restarted".to_owned())
        }
        ([], None) if supervisor.is_some_and(|one| one.is_of_this_boot() && !one.is_visible()) => {
            Verdict::Dead("its supervisor is gone, with the container it ran in".to_owned())
        }
        ([], None) => Verdict::Dead("its supervisor is gone".to_owned()),
    }
}

/// Finds the supervisor of an attempt that is recorded as running. If the lock is free, its holder has released
/// it or is gone, in any container of this kernel.
fn supervisor(layout: &Layout, attempt: &AttemptState) -> Supervisor {
    let Some(supervisor) = &attempt.supervisor else { return Supervisor::Elsewhere };
    if supervisor.is_visible() && !is_original(layout, attempt) {
        return Supervisor::Gone; // it belongs to another directory
    }
    let is_here = supervisor.is_of_this_boot()
        || supervisor.boot_id.is_empty() && supervisor.host == Place::here().host;
    match (lock::ask(&layout.lock()).unwrap_or(Held::Unknown), supervisor.life()) {
        (Held::Yes | Held::Unknown, Life::Alive(process)) if process.is_stopped() => {
            Supervisor::Stopped("supervisor", process.pid)
        }
        (Held::Yes, Life::Gone) if supervisor.is_visible() => match holder(layout) {
            Some(holder) if holder.is_stopped() => Supervisor::Stopped("run-exec", holder.pid),
            _ => Supervisor::Elsewhere, // the holder of the lock will take its place
        },
        (Held::Yes | Held::Unknown, Life::Alive(_)) => Supervisor::Works,
        (Held::No, _) if is_here => Supervisor::Gone,
        (Held::No | Held::Unknown, Life::Gone) => Supervisor::Gone,
        _ => Supervisor::Elsewhere, // on another host, or in another container
    }
}

/// Returns the process that signed the lock of a run, if it lives.
fn holder(layout: &Layout) -> Option<Stat> {
    match lock::holder(&layout.lock())?.life() {
        Life::Alive(stat) => Some(stat),
        Life::Gone | Life::Unseen => None,
    }
}

/// Returns whether this is the directory that the supervisor wrote to, rather than a copy.
fn is_original(layout: &Layout, attempt: &AttemptState) -> bool {
    attempt.inode.is_none_or(|inode| fs::metadata(layout.record()).is_ok_and(|here| here.ino() == inode))
}

/// The recipient of a stop request.
#[derive(Debug)]
pub enum Recipient {
    /// The supervisor, or the process that will take its place.
    Supervisor(Process),
    /// A living process that does not provably belong to the run, and must not be signalled.
    Unproven(Stat),
    /// None: the supervisor is gone, or not visible from here.
    Nobody,
}

/// Opens the supervisor of a run on this host: exactly the recorded process, if it belongs to the run, and only
/// while the run's lock is held. If the supervisor is gone, opens the process that will take its place.
pub fn open_supervisor(layout: &Layout, recorded: &Recorded) -> Recipient {
    let held = lock::ask(&layout.lock()).unwrap_or(Held::Unknown);
    let Some(attempt) = recorded.attempt() else { return Recipient::Nobody };
    let Some(supervisor) = &attempt.supervisor else { return Recipient::Nobody };
    if held == Held::No || !supervisor.is_visible() || !is_original(layout, attempt) {
        return Recipient::Nobody;
    }
    let living = match supervisor.life() {
        Life::Alive(stat) => Some(stat),
        Life::Gone | Life::Unseen => holder(layout).filter(|_| held == Held::Yes),
    };
    match living.map(|stat| (stat, Process::open(&stat))) {
        Some((stat, Some(process))) if belongs(&stat, layout, &recorded.run_id) => {
            Recipient::Supervisor(process)
        }
        Some((stat, Some(_))) => Recipient::Unproven(stat),
        Some((_, None)) | None => Recipient::Nobody,
    }
}

/// Advice for a run in doubt that was supervised elsewhere.
pub const TAKE_OVER: &str =
    "if you know that its host or container is gone, use run-exec --resume --take-over";

impl Observed {
    /// Returns all damage of a run of another system in one line.
    pub fn damage(&self) -> Option<Error> {
        let all: Vec<&Damage> = self.of_documents.iter().chain(&self.of_metrics).collect();
        let exit = all.iter().map(|damage| damage.exit).max()?;
        let words: Vec<&str> = all.iter().map(|damage| damage.words.as_str()).collect();
        Some(Error::new(exit, words.join("; ")))
    }

    /// Returns whether the recorded supervisor belongs to another host or container.
    pub fn is_elsewhere(&self) -> bool {
        let supervisor = self.recorded.attempt().and_then(|attempt| attempt.supervisor.as_ref());
        supervisor.is_none_or(|supervisor| supervisor.life() == Life::Unseen)
    }

    /// Returns the meta.json of the run for display. Files of another system are not read again.
    pub fn meta(&self) -> Result<Meta, Error> {
        let Some(account) = &self.account else { return Meta::shown(self.run.layout()) };
        let mut meta = account.meta.clone();
        meta.redact();
        Ok(meta)
    }

    /// Returns the attempts of the run for display. Files of another system are not read again.
    pub fn attempts(&self) -> Result<Attempts, Error> {
        let layout = self.run.layout();
        match &self.account {
            Some(account) => Ok(Attempts::of(account).redacted()),
            None => Attempts::shown(layout).map_err(|error| Error::io("read", &layout.attempts(), error)),
        }
    }

    /// Returns the status as observed.
    pub fn status(&self) -> Status {
        match &self.verdict {
            Verdict::Holds => self.recorded.status(),
            Verdict::Dead(_) => Status::Dead,
            Verdict::Stale(_) => Status::Stale,
        }
    }

    /// Returns the reason of the status, in one line.
    pub fn reason(&self) -> Option<&str> {
        match &self.verdict {
            Verdict::Holds => self.recorded.reason(),
            Verdict::Dead(why) | Verdict::Stale(why) => Some(why),
        }
    }

    /// Returns the reason for the end of the last attempt, if the attempt is over and its end was not recorded.
    pub fn why_over(&self) -> Option<String> {
        match &self.verdict {
            Verdict::Holds => None,
            Verdict::Dead(why) => Some(format!("died: {why}")),
            Verdict::Stale(why) => Some(format!("taken over: {why}")),
        }
    }

    /// Returns the record for JSON, with the status and the reason as observed.
    pub fn json(&self) -> StatusOut<'_> {
        StatusOut::of(&self.recorded, self.status(), self.reason())
    }

    /// Returns the time at which the last attempt started.
    pub fn start_time(&self) -> Option<Timestamp> {
        self.recorded.attempt()?.start_time
    }

    /// Returns the time at which the first attempt started, which people call the start of the run.
    pub fn started(&self) -> Option<Timestamp> {
        let last = self.start_time();
        if last.is_none() || self.recorded.attempts() <= 1 {
            return last; // the record is enough
        }
        let attempts = self.attempts().ok();
        attempts.and_then(|attempts| Some(attempts.iter().next()?.start.start_time)).or(last)
    }

    /// Returns the recorded time of the run's end, if there is one.
    pub fn end_time(&self) -> Option<Timestamp> {
        self.recorded.ended()?.time
    }

    /// Returns the seconds since the last output, metric row or checkpoint of a running command.
    pub fn quiet_s(&self) -> Option<f64> {
        let attempt = self.recorded.attempt()?;
        let since = match self.status() {
            Status::Running | Status::Stale => attempt.last_output.or(attempt.start_time),
            _ => None,
        };
        since.map(|since| Timestamp::now().seconds_since(since).max(0.0))
    }

    /// Returns the duration of the last attempt in seconds; for a dead run, up to its last heartbeat.
    pub fn duration_s(&self) -> Option<f64> {
        let attempt = self.recorded.attempt()?;
        let end = match self.status() {
            Status::Dead => attempt.last_heartbeat,
            Status::Stale if self.run.layout().foreign().is_some() => attempt.last_heartbeat,
            status => self.end_time().or_else(|| (!status.has_ended()).then(Timestamp::now)),
        };
        Some(end?.seconds_since(attempt.start_time?).max(0.0))
    }

    /// Returns the total duration of all attempts in seconds, the last one as in [`Self::duration_s`]. Earlier
    /// attempts without a recorded end do not count.
    pub fn total_duration_s(&self) -> Option<f64> {
        let last = self.duration_s()?;
        let current = self.recorded.attempts();
        let has_earlier = current > 1 && self.run.layout().foreign().is_none();
        let earlier = if has_earlier { Attempts::seconds_before(self.run.layout(), current) } else { 0.0 };
        Some(earlier + last)
    }

    /// Returns the estimated seconds left, at the average pace of this attempt.
    pub fn eta_s(&self) -> Option<f64> {
        if self.status() != Status::Running {
            return None;
        }
        let attempt = self.recorded.attempt()?;
        let step = attempt.step?;
        #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
        let left = self.recorded.total_steps? as f64 - step;
        let done = step - attempt.start_step.unwrap_or(0.0);
        let beat = attempt.last_heartbeat?;
        let spent = beat.seconds_since(attempt.start_time?);
        let since = Timestamp::now().seconds_since(beat).max(0.0);
        (done > 0.0 && spent > 0.0 && left >= 0.0).then(|| (left / done * spent - since).max(0.0))
    }
}
