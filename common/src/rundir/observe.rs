//! What is true of a run now: the record, judged by the lock, the process and the heartbeat. Writes nothing.

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

/// A run as it is.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The run.
    pub run: RunDir,
    /// Its record.
    pub recorded: Recorded,
    /// Whether the record still holds.
    pub verdict: Verdict,
    /// Living processes of a run whose supervisor is gone.
    pub leftovers: Vec<Stat>,
    /// The process that the record of such a run names as its command, where it lives and nothing proves that
    /// it is the run's: another user may have written the record.
    pub unproven: Option<Stat>,
    /// The damage of a run of another system, which is shown all the same.
    pub damage: Option<Damage>,
    /// What the files of such a run tell, as they were read.
    pub account: Option<Box<Account>>,
}

/// What is damaged of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What it leads to: lines that are left out of the metrics are no failure.
    pub exit: Exit,
    /// What cannot be done and why, in one line.
    pub words: String,
}

impl Damage {
    /// Makes an error of it.
    pub fn error(&self) -> Error {
        Error::new(self.exit, self.words.clone())
    }
}

/// What a reader makes of a record. Only `Holds` can be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The run does what its record says.
    Holds,
    /// It is recorded as running, and known not to be; why.
    Dead(String),
    /// It is recorded as running, and in doubt; why.
    Stale(String),
}

/// Judges runs as seen from this host.
#[derive(Debug)]
pub struct Observer {
    stale_after: Duration,
    /// What carries a run's id, read once a second for all runs that were last heard of long ago; none where it is
    /// read anew for each.
    processes: Option<Carriers>,
    /// Adds the figures of the metrics to the record of a run of another system, which has none.
    figures: Option<FiguresOf>,
    /// Reads the tags that runs were given after their creation.
    has_notes: bool,
}

/// Reads the metrics of a run of another system, and adds their figures to its record; returns what is damaged of
/// them, in one line.
pub type FiguresOf = fn(&Layout, &mut Recorded) -> Option<String>;

/// Age at which the heartbeat of another host is in doubt, unless the user says otherwise.
const STALE_AFTER: Duration = Duration::from_secs(120);

/// Seconds after which processes of a run whose supervisor is gone are not likely to come and go.
const LONG_AGO: f64 = 60.0;

/// How a recorded supervisor is found.
enum Supervisor {
    Works,
    /// Suspended: which process, by what it is and its pid.
    Stopped(&'static str, i32),
    Gone,
    /// Out of sight: its heartbeat has to tell.
    Elsewhere,
}

impl Default for Observer {
    fn default() -> Self {
        Self { stale_after: STALE_AFTER, processes: None, figures: None, has_notes: false }
    }
}

impl Observer {
    /// Looks at many runs from this host, for a list. A run of another host is stale when its heartbeat is older than
    /// given, and so is a run of another system when no file of the run has changed for so long.
    pub fn of_many(stale_after: Option<Duration>) -> Self {
        let stale_after = stale_after.unwrap_or(STALE_AFTER);
        Self { stale_after, processes: Some(Carriers::default()), figures: None, has_notes: false }
    }

    /// Reads the metrics of runs of other systems, too.
    #[must_use]
    pub fn with_figures(self, figures: FiguresOf) -> Self {
        Self { figures: Some(figures), ..self }
    }

    /// Reads the tags that runs were given after their creation, too.
    #[must_use]
    pub fn with_notes(self) -> Self {
        Self { has_notes: true, ..self }
    }

    /// Finds out what a run does.
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
                    // It may have ended, or been started again, while we asked.
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
        Ok(Observed { run: run.clone(), recorded, verdict, leftovers, unproven, damage: None, account: None })
    }

    /// Finds out what a run of another system does.
    fn observe_foreign(&self, run: &RunDir, account: Account) -> Observed {
        let mut recorded = account.recorded();
        let of_metrics = self.figures.and_then(|figures| figures(run.layout(), &mut recorded));
        recorded.redact();
        let verdict = account.verdict(self.stale_after);
        let damage = match (account.damage_in_words(), of_metrics) {
            (Some(words), Some(more)) => {
                Some(Damage { exit: Exit::BadRun, words: format!("{words}; {more}") })
            }
            (Some(words), None) => Some(Damage { exit: Exit::BadRun, words }),
            (None, words) => words.map(|words| Damage { exit: Exit::Ok, words }),
        };
        let account = Some(Box::new(account));
        Observed {
            run: run.clone(),
            recorded,
            verdict,
            leftovers: Vec::new(),
            unproven: None,
            damage,
            account,
        }
    }

    /// Returns what lives of a run without supervisor: what carries its id, and the command, also
    /// when it has another environment or hides it. For a run that was last heard of long before this
    /// reader began to look, all processes are gone through once for all such runs.
    fn leftovers(&self, layout: &Layout, run_id: &str, attempt: &AttemptState) -> Vec<Stat> {
        let supervisor = attempt.supervisor.as_ref();
        if supervisor.is_some_and(|one| !one.boot_id.is_empty() && !one.is_of_this_boot()) {
            return Vec::new(); // nothing outlives a boot
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

    /// Says why a run of another host is in doubt. A heartbeat from the future is fresh.
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

/// Tells one writer of a record from the next.
fn writer(recorded: &Recorded) -> (Status, u32, Option<&ProcessId>) {
    let attempt = recorded.attempt();
    (recorded.status(), recorded.attempts(), attempt.and_then(|attempt| attempt.supervisor.as_ref()))
}

/// Returns the process that is recorded as the command of an attempt, if it lives.
fn command(layout: &Layout, attempt: &AttemptState) -> Option<Stat> {
    let Life::Alive(stat) = attempt.command()?.life() else { return None };
    Some(stat).filter(|_| is_original(layout, attempt))
}

/// Returns the process that is recorded as the command, if it lives and is not known to be the run's.
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

/// Looks for the supervisor of an attempt that is recorded as running. A lock that is free was given up, or
/// its holder is gone, in whatever container of this kernel that was.
fn supervisor(layout: &Layout, attempt: &AttemptState) -> Supervisor {
    let Some(supervisor) = &attempt.supervisor else { return Supervisor::Elsewhere };
    if supervisor.is_visible() && !is_original(layout, attempt) {
        return Supervisor::Gone; // it never was here
    }
    let is_here = supervisor.is_of_this_boot()
        || supervisor.boot_id.is_empty() && supervisor.host == Place::here().host;
    match (lock::ask(&layout.lock()).unwrap_or(Held::Unknown), supervisor.life()) {
        (Held::Yes | Held::Unknown, Life::Alive(process)) if process.is_stopped() => {
            Supervisor::Stopped("supervisor", process.pid)
        }
        (Held::Yes, Life::Gone) if supervisor.is_visible() => match holder(layout) {
            Some(holder) if holder.is_stopped() => Supervisor::Stopped("run-exec", holder.pid),
            _ => Supervisor::Elsewhere, // the holder of the lock is about to take its place
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

/// Returns whether this is the directory that the supervisor wrote to, and not a copy of it.
fn is_original(layout: &Layout, attempt: &AttemptState) -> bool {
    attempt.inode.is_none_or(|inode| fs::metadata(layout.record()).is_ok_and(|here| here.ino() == inode))
}

/// The recipient of a stop request.
#[derive(Debug)]
pub enum Recipient {
    /// The supervisor, or the process that is to take its place.
    Supervisor(Process),
    /// It lives, and nothing proves that it is the run's: it is signalled by nobody.
    Unproven(Stat),
    /// It is gone, or out of reach.
    Nobody,
}

/// Opens the supervisor of a run on this host: exactly the recorded process, if it is the run's, and only
/// while the run's lock is held; or, when that is gone, the process that is to take its place.
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

/// What to do about a run that was supervised elsewhere and is in doubt.
pub const TAKE_OVER: &str =
    "if you know that its host or container is gone, use run-exec --resume --take-over";

impl Observed {
    /// Returns whether the recorded supervisor is one of another host or container.
    pub fn is_elsewhere(&self) -> bool {
        let supervisor = self.recorded.attempt().and_then(|attempt| attempt.supervisor.as_ref());
        supervisor.is_none_or(|supervisor| supervisor.life() == Life::Unseen)
    }

    /// Returns the meta.json of the run as it may be shown. That of a run of another system is not read again.
    pub fn meta(&self) -> Result<Meta, Error> {
        let Some(account) = &self.account else { return Meta::shown(self.run.layout()) };
        let mut meta = account.meta.clone();
        meta.redact();
        Ok(meta)
    }

    /// Returns the attempts of the run as they may be shown, likewise.
    pub fn attempts(&self) -> Result<Attempts, Error> {
        let layout = self.run.layout();
        match &self.account {
            Some(account) => Ok(Attempts::of(account).redacted()),
            None => Attempts::shown(layout).map_err(|error| Error::io("read", &layout.attempts(), error)),
        }
    }

    /// Returns what the run does.
    pub fn status(&self) -> Status {
        match &self.verdict {
            Verdict::Holds => self.recorded.status(),
            Verdict::Dead(_) => Status::Dead,
            Verdict::Stale(_) => Status::Stale,
        }
    }

    /// Returns why, in one line.
    pub fn reason(&self) -> Option<&str> {
        match &self.verdict {
            Verdict::Holds => self.recorded.reason(),
            Verdict::Dead(why) | Verdict::Stale(why) => Some(why),
        }
    }

    /// Returns why the attempt of a run that is over is over, if its end was not recorded.
    pub fn why_over(&self) -> Option<String> {
        match &self.verdict {
            Verdict::Holds => None,
            Verdict::Dead(why) => Some(format!("died: {why}")),
            Verdict::Stale(why) => Some(format!("taken over: {why}")),
        }
    }

    /// Returns the record as JSON holds it, with the status and the reason as observed.
    pub fn json(&self) -> StatusOut<'_> {
        StatusOut::of(&self.recorded, self.status(), self.reason())
    }

    /// Returns when the last attempt started.
    pub fn start_time(&self) -> Option<Timestamp> {
        self.recorded.attempt()?.start_time
    }

    /// Returns when the run ended, where that was recorded.
    pub fn end_time(&self) -> Option<Timestamp> {
        self.recorded.ended()?.time
    }

    /// Returns seconds since the command last wrote output or a metric row, while it runs.
    pub fn quiet_s(&self) -> Option<f64> {
        let attempt = self.recorded.attempt()?;
        let since = match self.status() {
            Status::Running | Status::Stale => attempt.last_output.or(attempt.start_time),
            _ => None,
        };
        since.map(|since| Timestamp::now().seconds_since(since).max(0.0))
    }

    /// Returns how long the attempt has taken, up to the last heartbeat when it is dead.
    pub fn duration_s(&self) -> Option<f64> {
        let attempt = self.recorded.attempt()?;
        let end = match self.status() {
            Status::Dead => attempt.last_heartbeat,
            Status::Stale if self.run.layout().foreign().is_some() => attempt.last_heartbeat,
            status => self.end_time().or_else(|| (!status.has_ended()).then(Timestamp::now)),
        };
        Some(end?.seconds_since(attempt.start_time?).max(0.0))
    }

    /// Returns how long all attempts have taken, the last one as [`Self::duration_s`]. Reads the earlier ones only
    /// where there are any; an attempt whose end was not recorded does not count.
    pub fn total_duration_s(&self) -> Option<f64> {
        let last = self.duration_s()?;
        let current = self.recorded.attempts();
        let has_earlier = current > 1 && self.run.layout().foreign().is_none();
        let earlier = if has_earlier { Attempts::seconds_before(self.run.layout(), current) } else { 0.0 };
        Some(earlier + last)
    }

    /// Returns the seconds left at the pace of this attempt so far.
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
