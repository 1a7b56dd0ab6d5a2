//! The state of a run's GPUs, and which of its processes use them, as reported by an external program. Once
//! started, the program reports repeatedly. The supervisor never waits for it, ends it if it hangs, and does
//! not count it as part of the run.

use super::feed::Feed;
use run_common::process::identity::Place;
use run_common::process::stat::Stat;
use run_common::process::tree::ProcessTable;
use run_common::provenance::device::{DeviceState, DeviceUse, UseQuery};
use std::collections::BTreeSet;
use std::env;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Additional time for a report beyond the interval of reports; a driver in trouble never answers.
const DEADLINE: Duration = Duration::from_secs(5);

/// Inode of the initial pid name space; in any other, the driver's pids mean nothing.
const FIRST_PID_NS: &str = "4026531836";

/// Use of GPUs by a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Used {
    /// Number of GPUs in use.
    pub(super) devices: u32,
    /// Memory in use on all of them, in bytes.
    pub(super) memory_bytes: u64,
}

/// The reporting program.
#[derive(Debug)]
pub(super) struct Devices {
    query: UseQuery,
    /// Interval of reports.
    every: Duration,
    /// GPUs that the run may use, as a value of `CUDA_VISIBLE_DEVICES`.
    visible: Option<String>,
    /// Whether the program was searched for; many runs are too short for that.
    is_sought: bool,
    program: Option<PathBuf>,
    states: Feed<DeviceState>,
    uses: Feed<DeviceUse>,
    /// Process groups of the program that may still have processes.
    groups: Vec<i32>,
    /// Whether the run is over, and no more reports are needed.
    is_over: bool,
}

impl Devices {
    /// Prepares the reports, which start later, with the interval of heartbeats in whole seconds.
    pub(super) fn new(query: UseQuery, heartbeat: Duration, visible: Option<String>) -> Self {
        let every = Duration::from_secs(heartbeat.as_secs() + u64::from(heartbeat.subsec_nanos() > 0))
            .max(Duration::from_secs(1));
        Self {
            query,
            every,
            visible,
            is_sought: false,
            program: None,
            states: Feed::new(query.of_states, query.parse_state, |one, other| one.uuid == other.uuid, false),
            uses: Feed::new(query.of_uses, query.parse_use, is_same_use, true),
            groups: Vec::new(),
            is_over: false,
        }
    }

    /// Returns the process groups that do not belong to the run.
    pub(super) fn groups(&self) -> &[i32] {
        &self.groups
    }

    /// Returns whether an ended child that was not waited for belongs to the reporting program, and not to the
    /// run. Ends the rest of its group.
    pub(super) fn owns(&mut self, pid: i32) -> bool {
        if self.groups.is_empty() {
            return false;
        }
        self.states.note_end(pid);
        self.uses.note_end(pid);
        self.groups.contains(&pid) || Stat::of(pid).is_some_and(|stat| self.groups.contains(&stat.group))
    }

    /// Returns descriptors that become readable with a report.
    pub(super) fn output(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.states.output().into_iter().chain(self.uses.output())
    }

    /// Starts the program if it does not run, and ends it if it hangs. `table` has all processes.
    pub(super) fn tend(&mut self, table: &ProcessTable) {
        let patience = self.patience();
        let running = [self.states.group(), self.uses.group()];
        self.groups.retain(|&group| running.contains(&Some(group)) || table.has_group(group));
        if self.is_over {
            return;
        }
        if !std::mem::replace(&mut self.is_sought, true) {
            let path = env::var_os("PATH").unwrap_or_default();
            let mut files = env::split_paths(&path).map(|dir| dir.join(self.query.program));
            self.program = files.find(|file| file.is_file());
        }
        let Some(program) = &self.program else { return };
        let interval = format!("{}{}", self.query.every, self.every.as_secs());
        self.groups.extend(self.states.tend(program, &interval, patience));
        if self.states.is_given_up() && !self.uses.was_understood() {
            return self.uses.end();
        }
        // If no process uses a GPU, there is nothing to report.
        let may_be_silent = self.states.is_fresh(patience);
        let patience = if may_be_silent { Duration::MAX } else { patience };
        self.groups.extend(self.uses.tend(program, &interval, patience));
    }

    /// Reads the reports so far.
    pub(super) fn listen(&mut self) {
        let now = Instant::now();
        self.states.listen(now);
        self.uses.listen(now);
    }

    /// Ends the program, because the run is over.
    pub(super) fn end(&mut self) {
        self.is_over = true;
        self.states.end();
        self.uses.end();
    }

    /// Returns the use of GPUs by these processes, from the last reports; `None` if unknown.
    pub(super) fn usage(&self, processes: &[Stat]) -> Option<Used> {
        let is_known = !self.uses.is_given_up() && self.is_fresh();
        let used = is_known.then(|| self.used_by(processes))?;
        let devices: BTreeSet<&str> = used.iter().map(|used| used.device.as_str()).collect();
        Some(Used {
            devices: u32::try_from(devices.len()).unwrap_or(u32::MAX),
            memory_bytes: used.iter().map(|used| used.memory_bytes).sum(),
        })
    }

    /// Returns the state of the GPUs that these processes use. If none seems to use any, returns the GPUs that
    /// are visible to the run, or in a container, where the driver's pids mean nothing, all GPUs. `None` if
    /// nothing is known.
    pub(super) fn states(&self, processes: &[Stat]) -> Option<Vec<DeviceState>> {
        self.states.is_fresh(self.patience()).then_some(())?;
        let used = self.used_by(processes);
        let is_meant = |state: &&DeviceState| match &self.visible {
            _ if !used.is_empty() => used.iter().any(|used| used.device == state.uuid),
            Some(visible) => state.is_in(visible),
            None => Place::here().pid_ns != FIRST_PID_NS,
        };
        Some(self.states.fresh(self.patience()).filter(is_meant).cloned().collect())
    }

    fn used_by(&self, processes: &[Stat]) -> Vec<&DeviceUse> {
        let mine = |pid: i32| processes.iter().any(|process| process.pid == pid);
        self.uses.fresh(self.patience()).filter(|used| mine(used.pid)).collect()
    }

    fn is_fresh(&self) -> bool {
        self.states.is_fresh(self.patience()) || self.uses.is_fresh(self.patience())
    }

    /// Returns how long to wait for a report, and how long a report is valid.
    fn patience(&self) -> Duration {
        DEADLINE + 2 * self.every
    }
}

fn is_same_use(one: &DeviceUse, other: &DeviceUse) -> bool {
    (one.pid, &one.device) == (other.pid, &other.device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use run_common::provenance::device::NVIDIA_SMI;

    #[test]
    fn a_processor_is_visible_by_its_number_or_uuid() {
        let state = (NVIDIA_SMI.parse_state)("GPU-8a6b1c, 3, 1, 1, 1, 1, 1").unwrap();
        for (visible, is) in [
            ("3", true),
            ("0, 3", true),
            ("1,2", false),
            ("GPU-8a6b", true),
            ("GPU-", false),
            ("-1", false),
            ("", false),
        ] {
            assert_eq!(state.is_in(visible), is, "{visible}");
        }
    }

    #[test]
    fn the_time_between_answers_is_in_whole_seconds() {
        for (heartbeat, every) in [(50, 1), (1000, 1), (1001, 2), (5000, 5)] {
            let devices = Devices::new(NVIDIA_SMI, Duration::from_millis(heartbeat), None);
            assert_eq!(devices.every, Duration::from_secs(every));
        }
    }
}
