//! What a run's graphics processors do, and which of its processes use them, as a program tells that the tool
//! names: once started, it tells again and again. It is never waited for, given up when it does not answer, and
//! nothing of it is the run's.

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

/// How long an answer may take beyond the time between two; a driver in trouble never answers.
const DEADLINE: Duration = Duration::from_secs(5);

/// The kernel's number of the first pid namespace; in another, the driver's pids mean nothing.
const FIRST_PID_NS: &str = "4026531836";

/// What a run uses of graphics processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Used {
    /// How many of them.
    pub(super) devices: u32,
    /// Memory in use on all of them.
    pub(super) memory_bytes: u64,
}

/// The program that tells.
#[derive(Debug)]
pub(super) struct Devices {
    query: UseQuery,
    /// Time between two answers.
    every: Duration,
    /// Processors that the run may use, as `CUDA_VISIBLE_DEVICES` has them.
    visible: Option<String>,
    /// The program was looked for, which many runs are too short for.
    is_sought: bool,
    program: Option<PathBuf>,
    states: Feed<DeviceState>,
    uses: Feed<DeviceUse>,
    /// Process groups of which something may live.
    groups: Vec<i32>,
    /// Nothing is asked any more.
    is_over: bool,
}

impl Devices {
    /// Creates one that asks nothing yet, and later at every heartbeat, in whole seconds.
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

    /// Returns whether an ended child that was not waited for does not belong to the run. Ends the rest of
    /// its group.
    pub(super) fn owns(&mut self, pid: i32) -> bool {
        if self.groups.is_empty() {
            return false;
        }
        self.states.note_end(pid);
        self.uses.note_end(pid);
        self.groups.contains(&pid) || Stat::of(pid).is_some_and(|stat| self.groups.contains(&stat.group))
    }

    /// Returns what becomes readable with an answer.
    pub(super) fn output(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.states.output().into_iter().chain(self.uses.output())
    }

    /// Starts what does not run, and ends what does not answer. `table` has all processes.
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
        // Where no process uses a processor, there is nothing to tell.
        let may_be_silent = self.states.is_fresh(patience);
        let patience = if may_be_silent { Duration::MAX } else { patience };
        self.groups.extend(self.uses.tend(program, &interval, patience));
    }

    /// Takes in what has been answered so far.
    pub(super) fn listen(&mut self) {
        let now = Instant::now();
        self.states.listen(now);
        self.uses.listen(now);
    }

    /// Ends the program: the run is over.
    pub(super) fn end(&mut self) {
        self.is_over = true;
        self.states.end();
        self.uses.end();
    }

    /// Returns the usage of these processes, as of the last answers; `None` if unknown.
    pub(super) fn usage(&self, processes: &[Stat]) -> Option<Used> {
        let is_known = !self.uses.is_given_up() && self.is_fresh();
        let used = is_known.then(|| self.used_by(processes))?;
        let devices: BTreeSet<&str> = used.iter().map(|used| used.device.as_str()).collect();
        Some(Used {
            devices: u32::try_from(devices.len()).unwrap_or(u32::MAX),
            memory_bytes: used.iter().map(|used| used.memory_bytes).sum(),
        })
    }

    /// Returns the state of the processors that these processes use; where none is seen to use any, of those that
    /// are visible to the run, or of all in a container, in which the driver's pids mean nothing. `None` when
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

    /// Returns how long an answer may take, and is good for.
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
