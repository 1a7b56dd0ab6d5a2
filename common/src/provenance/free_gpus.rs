//! GPUs of this machine that are not in use: no run of the suite has locked them, and the driver reports no
//! use.

use super::device::{DeviceState, UseQuery};
use super::python::find_program;
use crate::error::{Error, Exit, plain};
use crate::process::answer::answer;
use crate::process::machine_lock::MachineLock;
use std::env;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Time limit for the driver's program.
const PATIENCE: Duration = Duration::from_secs(10);

/// Minimum memory of a GPU in use, in bytes: the driver does not list the processes of containers.
const USED: u64 = 1 << 30;

/// GPUs that this process and its forked children hold, until this value is dropped.
#[derive(Debug)]
pub struct TakenGpus {
    /// Their numbers, as a value of `CUDA_VISIBLE_DEVICES`.
    pub list: String,
    _locks: Vec<MachineLock>,
}

/// Takes GPUs once they are free.
#[derive(Debug)]
pub struct FreeGpus {
    query: UseQuery,
    program: PathBuf,
    /// GPUs that may be used, as a value of `CUDA_VISIBLE_DEVICES`; `None` for all.
    visible: Option<String>,
    count: usize,
}

/// The result of a look.
#[derive(Debug)]
pub enum Look {
    /// Enough GPUs were free.
    Taken(TakenGpus),
    /// Too few GPUs were free; the number in words.
    Waits(String),
}

impl FreeGpus {
    /// Prepares to take this number of GPUs; fails if the machine has fewer.
    pub fn new(query: UseQuery, count: usize) -> Result<Self, Error> {
        let Some(program) = find_program(OsStr::new(query.program), Path::new("")) else {
            return Err(Error::new(Exit::System, "cannot find free GPUs")
                .because(format!("{} is not on the PATH", query.program)));
        };
        let free = Self { query, program, visible: env::var("CUDA_VISIBLE_DEVICES").ok(), count };
        let there = free.states().ok_or_else(|| {
            Error::new(Exit::System, "cannot find free GPUs")
                .because(format!("'{}' fails, or does not answer", free.program.display()))
        })?;
        if there.len() < count {
            let visible = free.visible.as_ref().map(|list| format!(" in CUDA_VISIBLE_DEVICES={list}"));
            return Err(Error::usage(format!("cannot wait for {}", in_words(count))).because(format!(
                "there are {}{}",
                there.len(),
                visible.unwrap_or_default()
            )));
        }
        Ok(free)
    }

    /// Takes the GPUs if enough are free now, and otherwise none.
    pub fn look(&self) -> Result<Look, Error> {
        let waits = |words: String| Ok(Look::Waits(format!("waits for {}: {words}", in_words(self.count))));
        let Some(states) = self.states() else {
            return waits(format!("{} does not answer", self.query.program));
        };
        let all = states.len();
        let mut taken = Vec::new();
        for state in self.unused(states) {
            let locked =
                MachineLock::try_take(&format!("gpu-{}", state.uuid)).map_err(|error| failed(&error))?;
            taken.extend(locked.map(|lock| (state, lock)));
        }
        // The previous user of a GPU may still have processes: look for them once more.
        if taken.len() >= self.count {
            let now = self.unused(self.states().unwrap_or_default());
            taken.retain(|(state, _)| now.iter().any(|now| now.uuid == state.uuid));
        }
        if taken.len() < self.count {
            let free = if taken.is_empty() { "none".to_owned() } else { taken.len().to_string() };
            let are = if taken.len() > 1 { "are" } else { "is" };
            return waits(format!("{free} of {all} {are} free"));
        }
        taken.truncate(self.count);
        let (states, locks): (Vec<_>, Vec<_>) = taken.into_iter().unzip();
        let name = |state: &DeviceState| state.index.map_or(state.uuid.clone(), |index| index.to_string());
        let list = states.iter().map(name).collect::<Vec<_>>().join(",");
        Ok(Look::Taken(TakenGpus { list, _locks: locks }))
    }

    /// Returns the state of the GPUs that may be used.
    fn states(&self) -> Option<Vec<DeviceState>> {
        let states = self.ask(self.query.of_states, self.query.parse_state)?;
        let visible = |state: &DeviceState| self.visible.as_ref().is_none_or(|list| state.is_in(list));
        Some(states.into_iter().filter(visible).collect())
    }

    /// Removes the GPUs that a process uses.
    fn unused(&self, states: Vec<DeviceState>) -> Vec<DeviceState> {
        let Some(uses) = self.ask(self.query.of_uses, self.query.parse_use) else { return Vec::new() };
        let is_used = |state: &DeviceState| {
            uses.iter().any(|used| used.device == state.uuid)
                || state.memory_bytes.is_some_and(|bytes| bytes >= USED)
        };
        states.into_iter().filter(|state| !is_used(state)).collect()
    }

    fn ask<T>(&self, args: &[&str], parse: fn(&str) -> Option<T>) -> Option<Vec<T>> {
        let text = answer(Command::new(&self.program).args(args), PATIENCE)?;
        Some(String::from_utf8_lossy(&text).lines().filter_map(parse).collect())
    }
}

fn failed(error: &io::Error) -> Error {
    Error::new(Exit::System, "cannot lock a GPU").because(plain(error))
}

fn in_words(count: usize) -> String {
    if count == 1 { "1 free GPU".to_owned() } else { format!("{count} free GPUs") }
}
