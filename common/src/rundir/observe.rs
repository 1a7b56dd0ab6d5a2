//! What is so: the record, judged by the lock, the process and the heartbeat. Writes nothing.

use super::SCHEMA;
use super::layout::Layout;
use super::open::{RunDir, read_document};
use super::status::{AttemptEnd, Recorded, Status};
use crate::error::Error;
use crate::fsio::lock::{self, Held};
use crate::process::identity::{Place, Process, Stat};
use crate::process::tree;
use crate::time::{Timestamp, human_seconds};
use serde::{Serialize, Serializer};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// A run's status as a reader concludes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The record holds.
    As(Status),
    /// Recorded as running or queued, and proven not to be.
    Dead,
    /// It cannot be proven from here and the heartbeat is old; or the supervisor is stopped, or
    /// gone while the program lives.
    Stale,
}

impl Shown {
    /// Returns the word of tables and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::As(status) => status.word(),
            Self::Dead => "dead",
            Self::Stale => "stale",
        }
    }

    /// Says whether the run is over: dead is, stale is not.
    pub fn has_ended(self) -> bool {
        match self {
            Self::As(status) => status.has_ended(),
            Self::Dead => true,
            Self::Stale => false,
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// A run as it is.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The run.
    pub run: RunDir,
    /// Its record.
    pub recorded: Recorded,
    /// Its status.
    pub status: Shown,
    /// Why: as recorded, or how it was concluded.
    pub reason: Option<String>,
    /// Living processes of a run whose supervisor is gone.
    pub leftovers: Vec<Stat>,
}

/// Who looks, when, and how patiently.
#[derive(Clone, Debug)]
pub struct Observer {
    here: &'static Place,
    stale_after: Duration,
}

/// How a recorded supervisor is found.
enum Supervisor {
    Works,
    Stopped(i32),
    Gone,
    Elsewhere,
}

impl Observer {
    /// Looks from this host; a run of another is stale when its heartbeat is older than given.
    pub fn new(stale_after: Duration) -> Self {
        Self { here: Place::here(), stale_after }
    }

    /// Says what is so with a run.
    pub fn observe(&self, run: &RunDir) -> Result<Observed, Error> {
        let layout = run.layout();
        let mut recorded = Recorded::read(layout)?;
        loop {
            let as_recorded = |recorded: Recorded| {
                let (status, reason) = (Shown::As(recorded.status), recorded.reason.clone());
                Observed { run: run.clone(), recorded, status, reason, leftovers: Vec::new() }
            };
            if recorded.status != Status::Running {
                return Ok(as_recorded(recorded));
            }
            let (status, reason) = match self.supervisor(layout, &recorded) {
                Supervisor::Works => return Ok(as_recorded(recorded)),
                Supervisor::Stopped(pid) => {
                    (Shown::Stale, format!("its supervisor, process {pid}, is stopped"))
                }
                Supervisor::Elsewhere => match self.overdue(&recorded) {
                    None => return Ok(as_recorded(recorded)),
                    Some(doubt) => (Shown::Stale, doubt),
                },
                Supervisor::Gone => {
                    // It may have ended, or been started again, while we asked.
                    let again = Recorded::read(layout)?;
                    if (again.status, again.attempt, again.pid)
                        != (recorded.status, recorded.attempt, recorded.pid)
                    {
                        recorded = again;
                        continue;
                    }
                    recorded = again;
                    if let Some(end) = ended(layout, &recorded) {
                        recorded.end(&end);
                        return Ok(as_recorded(recorded));
                    }
                    let leftovers = self.leftovers(layout, &recorded);
                    return Ok(self.unsupervised(run, recorded, leftovers));
                }
            };
            return Ok(Observed { reason: Some(reason), status, ..as_recorded(recorded) });
        }
    }

    /// Returns what lives of a run without supervisor: what carries its id, and the command, also
    /// when it has another environment or hides it.
    pub fn leftovers(&self, layout: &Layout, recorded: &Recorded) -> Vec<Stat> {
        let mut leftovers = tree::carrying(&recorded.run_id, layout.root());
        if let (Some(pid), Some(start)) = (recorded.child_pid, recorded.child_start)
            && self.shares_pids(recorded)
            && is_original(layout, recorded)
            && leftovers.iter().all(|known| known.pid != pid)
        {
            leftovers.extend(Stat::of(pid).filter(|stat| stat.start == start && stat.is_alive()));
        }
        leftovers
    }

    /// Says whether a recorded pid means something here.
    fn shares_pids(&self, recorded: &Recorded) -> bool {
        recorded.boot_id.as_deref() == Some(&self.here.boot_id)
            && recorded.pid_ns.as_deref() == Some(&self.here.pid_ns)
    }

    fn unsupervised(&self, run: &RunDir, recorded: Recorded, leftovers: Vec<Stat>) -> Observed {
        let (status, reason) = match leftovers.as_slice() {
            [] if recorded.boot_id.as_deref() != Some(&self.here.boot_id) => {
                (Shown::Dead, "the host was restarted".to_owned())
            }
            [] => (Shown::Dead, "its supervisor is gone".to_owned()),
            [one] => (Shown::Stale, format!("supervisor gone, process {} lives", one.pid)),
            [first, others @ ..] => (
                Shown::Stale,
                format!("supervisor gone, process {} and {} more live", first.pid, others.len()),
            ),
        };
        Observed { run: run.clone(), recorded, status, reason: Some(reason), leftovers }
    }

    fn supervisor(&self, layout: &Layout, recorded: &Recorded) -> Supervisor {
        if self.shares_pids(recorded) && !is_original(layout, recorded) {
            return Supervisor::Gone; // it never was here
        }
        let held = lock::ask(&layout.lock()).unwrap_or(Held::Unknown);
        let same_boot = recorded.boot_id.as_deref() == Some(&self.here.boot_id);
        let same_pids = self.shares_pids(recorded);
        let process = match (recorded.pid, recorded.pid_start) {
            (Some(pid), Some(start)) if same_pids => {
                Stat::of(pid).filter(|stat| stat.start == start && stat.is_alive())
            }
            _ => None,
        };
        match (held, process) {
            (Held::Yes | Held::Unknown, Some(process)) if process.is_stopped() => {
                Supervisor::Stopped(process.pid)
            }
            (Held::Yes, _) | (Held::Unknown, Some(_)) => Supervisor::Works,
            (Held::No, _) | (Held::Unknown, None) if same_pids => Supervisor::Gone,
            _ if !same_boot && recorded.host.as_deref() == Some(&self.here.host) => Supervisor::Gone,
            _ => Supervisor::Elsewhere,
        }
    }

    /// Says why a run of another host is in doubt. A heartbeat from the future is fresh.
    fn overdue(&self, recorded: &Recorded) -> Option<String> {
        let host = recorded.host.as_deref().unwrap_or("an unknown host");
        let Some(beat) = recorded.last_heartbeat else {
            return Some(format!("no heartbeat from {host}"));
        };
        let age = Timestamp::now().seconds_since(beat);
        (age > self.stale_after.as_secs_f64())
            .then(|| format!("no heartbeat from {host} for {}", human_seconds(age)))
    }

    /// Opens the supervisor of a run on this host: exactly the recorded process, and only while
    /// the run's lock is held.
    pub fn open_supervisor(&self, layout: &Layout, recorded: &Recorded) -> Option<Process> {
        let same =
            self.shares_pids(recorded) && lock::ask(&layout.lock()).unwrap_or(Held::Unknown) != Held::No;
        Process::open(recorded.pid.filter(|_| same)?, recorded.pid_start?)
    }
}

/// Says whether this is the directory that the supervisor wrote to, and not a copy of it.
fn is_original(layout: &Layout, recorded: &Recorded) -> bool {
    recorded.inode.is_none_or(|inode| fs::metadata(layout.record()).is_ok_and(|here| here.ino() == inode))
}

/// Returns how the recorded attempt ended when that was written and its status.json was not.
pub(crate) fn ended(layout: &Layout, recorded: &Recorded) -> Option<AttemptEnd> {
    let end: AttemptEnd = read_document(&layout.result(), SCHEMA).ok()?;
    (end.attempt == recorded.attempt && end.run_id == recorded.run_id).then_some(end)
}

impl Observed {
    /// Returns seconds since the command last wrote output or a metric row, while it runs.
    pub fn quiet_s(&self) -> Option<f64> {
        let since = match self.status {
            Shown::As(Status::Running) | Shown::Stale => {
                self.recorded.last_output.or(self.recorded.start_time)
            }
            _ => None,
        };
        since.map(|since| Timestamp::now().seconds_since(since).max(0.0))
    }

    /// Returns how long the attempt has taken, up to the last sign of life when it is dead.
    pub fn duration_s(&self) -> Option<f64> {
        let start = self.recorded.start_time?;
        let end = match self.status {
            Shown::Dead => self.recorded.last_heartbeat,
            _ => self.recorded.end_time.or_else(|| (!self.status.has_ended()).then(Timestamp::now)),
        };
        end.map(|end| end.seconds_since(start).max(0.0))
    }

    /// Returns the seconds left at the pace of this attempt so far.
    pub fn eta_s(&self) -> Option<f64> {
        if self.status != Shown::As(Status::Running) {
            return None;
        }
        let recorded = &self.recorded;
        let step = recorded.step?;
        #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
        let left = recorded.total_steps? as f64 - step;
        let done = step - recorded.start_step.unwrap_or(0.0);
        let beat = recorded.last_heartbeat?;
        let spent = beat.seconds_since(recorded.start_time?);
        let since = Timestamp::now().seconds_since(beat).max(0.0);
        (done > 0.0 && spent > 0.0 && left >= 0.0).then(|| (left / done * spent - since).max(0.0))
    }
}
