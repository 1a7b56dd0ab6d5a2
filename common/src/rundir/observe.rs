//! What is so: the record, judged by the lock, the process and the heartbeat. Writes nothing.

use super::layout::Layout;
use super::open::{RunDir, read_document};
use super::status::{AttemptEnd, Recorded, Status};
use crate::error::Error;
use crate::fsio::lock::{self, Held};
use crate::process::identity::{Place, Process, Stat};
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
    /// Its record, with the status and the reason that were concluded in the place of those written.
    pub state: Recorded,
    /// Living processes of a run whose supervisor is gone.
    pub leftovers: Vec<Stat>,
}

/// Who looks, when, and how patiently.
#[derive(Debug)]
pub struct Observer {
    here: &'static Place,
    stale_after: Duration,
    processes: Carriers,
}

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
    Elsewhere,
}

impl Default for Observer {
    fn default() -> Self {
        Self::new(STALE_AFTER)
    }
}

impl Observer {
    /// Looks from this host; a run of another is stale when its heartbeat is older than given.
    pub fn new(stale_after: Duration) -> Self {
        Self { here: Place::here(), stale_after, processes: Carriers::default() }
    }

    /// Says what is so with a run.
    pub fn observe(&self, run: &RunDir) -> Result<Observed, Error> {
        let layout = run.layout();
        let mut state = Recorded::read(layout)?;
        let mut leftovers = Vec::new();
        while state.status == Status::Running {
            match self.supervisor(layout, &state) {
                Supervisor::Works => break,
                Supervisor::Stopped(what, pid) => {
                    state.conclude(Status::Stale, format!("its {what}, process {pid}, is stopped"));
                }
                Supervisor::Elsewhere => {
                    if let Some(doubt) = self.overdue(&state) {
                        state.conclude(Status::Stale, doubt);
                    }
                    break;
                }
                Supervisor::Gone => {
                    // It may have ended, or been started again, while we asked.
                    let again = Recorded::read(layout)?;
                    let changed =
                        (again.status, again.attempt, again.pid) != (state.status, state.attempt, state.pid);
                    state = again;
                    if changed {
                        continue;
                    }
                    if let Some(end) = ended(layout, &state) {
                        state.end(&end);
                        break;
                    }
                    leftovers = self.leftovers_of_long_ago(layout, &state);
                    self.conclude_unsupervised(&mut state, &leftovers);
                }
            }
        }
        Ok(Observed { run: run.clone(), state, leftovers })
    }

    /// Returns what lives of a run without supervisor: what carries its id, and the command, also
    /// when it has another environment or hides it.
    pub fn leftovers(&self, layout: &Layout, state: &Recorded) -> Vec<Stat> {
        self.with_command(layout, state, Carriers::default().of(&state.run_id, layout.root()))
    }

    /// Like [`Self::leftovers`]; for a run that was last heard of long before this reader began to
    /// look, all processes are gone through once for all such runs.
    fn leftovers_of_long_ago(&self, layout: &Layout, state: &Recorded) -> Vec<Stat> {
        if state.boot_id.as_deref() != Some(&self.here.boot_id) {
            return Vec::new(); // nothing outlives a boot
        }
        let is_old = state.last_heartbeat.is_some_and(|beat| Timestamp::now().seconds_since(beat) > LONG_AGO);
        if is_old {
            self.with_command(layout, state, self.processes.of(&state.run_id, layout.root()))
        } else {
            self.leftovers(layout, state)
        }
    }

    fn with_command(&self, layout: &Layout, state: &Recorded, mut leftovers: Vec<Stat>) -> Vec<Stat> {
        if let (Some(pid), Some(start)) = (state.child_pid, state.child_start)
            && self.shares_pids(state)
            && is_original(layout, state)
            && leftovers.iter().all(|known| known.pid != pid)
        {
            leftovers.extend(Stat::of(pid).filter(|stat| stat.start == start && stat.is_alive()));
        }
        leftovers
    }

    /// Says whether a recorded pid means something here.
    pub(super) fn shares_pids(&self, state: &Recorded) -> bool {
        state.boot_id.as_deref() == Some(&self.here.boot_id)
            && state.pid_ns.as_deref() == Some(&self.here.pid_ns)
    }

    fn conclude_unsupervised(&self, state: &mut Recorded, leftovers: &[Stat]) {
        let (status, reason) = match leftovers {
            [] if state.boot_id.as_deref() != Some(&self.here.boot_id) => {
                (Status::Dead, "the host was restarted".to_owned())
            }
            [] => (Status::Dead, "its supervisor is gone".to_owned()),
            [one] => (Status::Stale, format!("supervisor gone, process {} lives", one.pid)),
            [first, others @ ..] => (
                Status::Stale,
                format!("supervisor gone, process {} and {} more live", first.pid, others.len()),
            ),
        };
        state.conclude(status, reason);
    }

    fn supervisor(&self, layout: &Layout, state: &Recorded) -> Supervisor {
        let same_pids = self.shares_pids(state);
        if same_pids && !is_original(layout, state) {
            return Supervisor::Gone; // it never was here
        }
        let held = lock::ask(&layout.lock()).unwrap_or(Held::Unknown);
        let same_boot = state.boot_id.as_deref() == Some(&self.here.boot_id);
        let process = match (state.pid, state.pid_start) {
            (Some(pid), Some(start)) if same_pids => {
                Stat::of(pid).filter(|stat| stat.start == start && stat.is_alive())
            }
            _ => None,
        };
        match (held, process) {
            (Held::Yes | Held::Unknown, Some(process)) if process.is_stopped() => {
                Supervisor::Stopped("supervisor", process.pid)
            }
            (Held::Yes, None) if same_pids => match self.front(layout) {
                Some(front) if front.is_stopped() => Supervisor::Stopped("run-exec", front.pid),
                _ => Supervisor::Works, // the front is about to take its place
            },
            (Held::Yes, _) | (Held::Unknown, Some(_)) => Supervisor::Works,
            (Held::No, _) | (Held::Unknown, None) if same_pids => Supervisor::Gone,
            _ if !same_boot && state.host.as_deref() == Some(&self.here.host) => Supervisor::Gone,
            _ => Supervisor::Elsewhere,
        }
    }

    /// Returns the front that signed the lock of a run, if it lives on this host.
    fn front(&self, layout: &Layout) -> Option<Stat> {
        let (pid, host) = lock::signature(&layout.lock())?;
        Stat::of(pid).filter(|stat| host == self.here.host && stat.is_alive())
    }

    /// Says why a run of another host is in doubt. A heartbeat from the future is fresh.
    fn overdue(&self, state: &Recorded) -> Option<String> {
        let host = state.host.as_deref().unwrap_or("an unknown host");
        let Some(beat) = state.last_heartbeat else {
            return Some(format!("no heartbeat from {host}"));
        };
        let age = Timestamp::now().seconds_since(beat);
        (age > self.stale_after.as_secs_f64())
            .then(|| format!("no heartbeat from {host} for {}", human_seconds(age)))
    }

    /// Opens the supervisor of a run on this host: exactly the recorded process, and only while
    /// the run's lock is held; or, when that is gone, the front that is to take its place.
    pub fn open_supervisor(&self, layout: &Layout, state: &Recorded) -> Option<Process> {
        let held = lock::ask(&layout.lock()).unwrap_or(Held::Unknown);
        if held == Held::No || !self.shares_pids(state) || !is_original(layout, state) {
            return None;
        }
        Process::open(state.pid?, state.pid_start?).or_else(|| {
            let front = self.front(layout).filter(|_| held == Held::Yes)?;
            Process::open(front.pid, front.start)
        })
    }
}

/// Says whether this is the directory that the supervisor wrote to, and not a copy of it.
fn is_original(layout: &Layout, state: &Recorded) -> bool {
    state.inode.is_none_or(|inode| fs::metadata(layout.record()).is_ok_and(|here| here.ino() == inode))
}

/// Returns how the recorded attempt ended when that was written and its status.json was not.
pub fn ended(layout: &Layout, state: &Recorded) -> Option<AttemptEnd> {
    let end: AttemptEnd = read_document(&layout.result()).ok()?;
    (end.attempt == state.attempt && end.run_id == state.run_id).then_some(end)
}

impl Observed {
    /// Returns seconds since the command last wrote output or a metric row, while it runs.
    pub fn quiet_s(&self) -> Option<f64> {
        let since = match self.state.status {
            Status::Running | Status::Stale => self.state.last_output.or(self.state.start_time),
            _ => None,
        };
        since.map(|since| Timestamp::now().seconds_since(since).max(0.0))
    }

    /// Returns how long the attempt has taken, up to the last sign of life when it is dead.
    pub fn duration_s(&self) -> Option<f64> {
        let start = self.state.start_time?;
        let end = match self.state.status {
            Status::Dead => self.state.last_heartbeat,
            _ => self.state.end_time.or_else(|| (!self.state.status.has_ended()).then(Timestamp::now)),
        };
        end.map(|end| end.seconds_since(start).max(0.0))
    }

    /// Returns the seconds left at the pace of this attempt so far.
    pub fn eta_s(&self) -> Option<f64> {
        if self.state.status != Status::Running {
            return None;
        }
        let state = &self.state;
        let step = state.step?;
        #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
        let left = state.total_steps? as f64 - step;
        let done = step - state.start_step.unwrap_or(0.0);
        let beat = state.last_heartbeat?;
        let spent = beat.seconds_since(state.start_time?);
        let since = Timestamp::now().seconds_since(beat).max(0.0);
        (done > 0.0 && spent > 0.0 && left >= 0.0).then(|| (left / done * spent - since).max(0.0))
    }
}
