//! What belongs to a run: the descendants of its supervisor, or, when that is gone, whatever
//! carries its `RUN_ID`. And the end of it.

use super::identity::{Process, Signal};
use super::stat::Stat;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// All processes that could be seen at one moment, threads not included.
#[derive(Debug, Default)]
pub struct ProcessTable(Vec<Stat>);

impl ProcessTable {
    /// Reads `/proc`.
    pub fn read() -> Self {
        Self(pids().filter_map(Stat::of).collect())
    }

    /// Returns all living descendants of a process, however they were forked; a child subreaper
    /// keeps those whose parents have died. Those in the process groups `except`, and those `not_of_it`, are left
    /// out, with all below them.
    pub fn descendants(&self, root: i32, except: &[i32], not_of_it: &[Stat]) -> Vec<Stat> {
        let mut found: Vec<Stat> = Vec::new();
        let mut parents = vec![root];
        let is_other = |stat: &Stat| {
            let is_one = |other: &Stat| (other.pid, other.start) == (stat.pid, stat.start);
            except.contains(&stat.group) || not_of_it.iter().any(is_one)
        };
        while let Some(parent) = parents.pop() {
            for child in self.0.iter().filter(|stat| stat.ppid == parent && !is_other(stat)) {
                parents.push(child.pid);
                found.push(*child);
            }
        }
        found.retain(Stat::is_alive);
        found
    }

    /// Returns whether any process is in a process group, one included that was not waited for.
    pub fn has_group(&self, group: i32) -> bool {
        self.0.iter().any(|stat| stat.group == group)
    }

    /// Returns the children of a process.
    pub fn children(&self, parent: i32) -> impl Iterator<Item = &Stat> {
        self.0.iter().filter(move |stat| stat.ppid == parent)
    }
}

/// Returns the children of the calling process.
pub fn my_children() -> Vec<Stat> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = threads.map(|thread| fs::read_to_string(thread.path().join("children")));
    match lists.collect::<Result<String, _>>() {
        Ok(lists) => lists.split_whitespace().filter_map(|pid| Stat::of(pid.parse().ok()?)).collect(),
        // Not every kernel has the list.
        Err(_) => ProcessTable::read().children(std::process::id().cast_signed()).copied().collect(),
    }
}

/// How long what was read of all processes is good for further questions.
const FRESH: Duration = Duration::from_secs(1);

/// The processes that carry the id of a run in their environment, read when that is asked.
#[derive(Debug, Default)]
pub(crate) struct Carriers(Mutex<Option<(Instant, Arc<[Carrier]>)>>);

/// A process that was given a run's id.
#[derive(Debug)]
struct Carrier {
    stat: Stat,
    run_id: String,
    run_dir: Option<PathBuf>,
}

impl Carriers {
    /// Returns the living processes that were given this run's id in their environment, double
    /// forks and new sessions included; not those of a copy of the run that lies elsewhere, nor
    /// what a script for its end has started, which alone is given `RUN_STATUS`. Of a run that was moved
    /// away, they are the owner's.
    pub(crate) fn of(&self, run_id: &str, run_dir: &Path, owner: Option<u32>) -> Vec<Stat> {
        let is_meant = |carrier: &&Carrier| {
            let is_same = carrier.run_dir.as_deref().and_then(|dir| is_the_same(dir, run_dir));
            is_same.unwrap_or_else(|| owner.is_none() || carrier.stat.owner() == owner)
        };
        self.all()
            .iter()
            .filter(|carrier| carrier.run_id == run_id)
            .filter(is_meant)
            .filter_map(|carrier| carrier.stat.now())
            .collect()
    }

    fn all(&self) -> Arc<[Carrier]> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((time, carriers)) if time.elapsed() < FRESH => Arc::clone(carriers),
            _ => {
                let time = Instant::now();
                let carriers: Arc<[Carrier]> = pids().filter_map(Carrier::read).collect();
                *known = Some((time, Arc::clone(&carriers)));
                carriers
            }
        }
    }
}

impl Carrier {
    fn read(pid: i32) -> Option<Self> {
        let environment = Environment::of(pid)?;
        let run_id = String::from_utf8(environment.value("RUN_ID")?.to_vec()).ok()?;
        let is_other = pid == std::process::id().cast_signed() || environment.value("RUN_STATUS").is_some();
        let run_dir = environment.value("RUN_DIR").map(|dir| PathBuf::from(OsStr::from_bytes(dir)));
        Some(Self { stat: Stat::of(pid)?, run_id, run_dir }).filter(|_| !is_other)
    }
}

/// The environment that a process was started with.
#[derive(Debug)]
pub(crate) struct Environment(Vec<u8>);

impl Environment {
    /// Reads the environment of a process: of a main thread that has ended nothing is left, but the other
    /// threads have the same. `None` where that is forbidden.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let main = fs::read(format!("/proc/{pid}/environ"));
        if let Ok(environ) = &main
            && !environ.is_empty()
        {
            return main.ok().map(Self);
        }
        let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten().skip(1);
        let mut of_threads = threads.filter_map(|thread| fs::read(thread.path().join("environ")).ok());
        of_threads.find(|environ| !environ.is_empty()).or(main.ok()).map(Self)
    }

    /// Returns the value of a variable.
    pub(crate) fn value(&self, name: &str) -> Option<&[u8]> {
        let mut entries = self.0.split(|&byte| byte == 0);
        entries.find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }
}

/// Signals processes, each by a handle that was compared with its start time.
pub fn signal_all(processes: &[Stat], signal: Signal) {
    for process in processes {
        if let Some(process) = Process::open(process) {
            let _ = process.signal(signal); // it may have ended meanwhile, which is what is wanted
        }
    }
}

/// Processes that are waited for by a handle each, at most; descriptors are limited.
const MOST: usize = 200;

/// Waits until one of these processes has ended, at most for so long. Of more than two hundred, only those are
/// waited for.
pub fn await_an_end(processes: &[Stat], limit: Duration) {
    let mut handles = Vec::new();
    for process in processes.iter().take(MOST) {
        match Process::open(process) {
            Some(handle) => handles.push(handle),
            None if process.now().is_none() => return,
            None => {} // there are no more descriptors
        }
    }
    let mut fds: Vec<PollFd> =
        handles.iter().map(|handle| PollFd::new(handle.as_fd(), PollFlags::POLLIN)).collect();
    let _ = poll(&mut fds, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)); // whatever it says, all are looked at
}

fn pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Returns whether both are the same directory; `None` where one cannot be looked at, as when it was moved away.
pub(crate) fn is_the_same(one: &Path, other: &Path) -> Option<bool> {
    let (one, other) = (fs::metadata(one).ok()?, fs::metadata(other).ok()?);
    Some((one.dev(), one.ino()) == (other.dev(), other.ino()))
}
