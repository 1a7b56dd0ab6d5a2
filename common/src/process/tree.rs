//! Finds the processes of a run, and ends them: the descendants of its supervisor, or, if the supervisor is
//! gone, all processes with the run's `RUN_ID`.

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

/// All visible processes at one moment, without threads.
#[derive(Debug, Default)]
pub struct ProcessTable(Vec<Stat>);

impl ProcessTable {
    /// Reads `/proc`.
    pub fn read() -> Self {
        Self(pids().filter_map(Stat::of).collect())
    }

    /// Returns all living descendants of a process. A child subreaper keeps descendants whose parents have
    /// died. Processes in the groups `except`, and those in `not_of_it`, are left out with all of their
    /// descendants.
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

    /// Returns whether any process is in a process group, including zombies.
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
        // Some kernels lack the list of children.
        Err(_) => ProcessTable::read().children(std::process::id().cast_signed()).copied().collect(),
    }
}

/// How long a snapshot of all environments is reused.
const FRESH: Duration = Duration::from_secs(1);

/// The processes with a run's id in their environment; read on demand.
#[derive(Debug, Default)]
pub(crate) struct Carriers(Mutex<Option<(Instant, Arc<[Carrier]>)>>);

/// A process with a run's id in its environment.
#[derive(Debug)]
struct Carrier {
    stat: Stat,
    run_id: String,
    run_dir: Option<PathBuf>,
}

impl Carriers {
    /// Returns the living processes with this run's id in their environment, even after double forks and in
    /// other sessions. Left out are processes of a copy of the run in another directory, and processes of an
    /// `--on-end` script, which alone have `RUN_STATUS`. If the original directory is gone, only processes of
    /// the `owner` count.
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
    /// Reads the environment of a process; `None` if that is forbidden. A main thread that has ended has no
    /// environment any more, but the other threads have the same one.
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

/// Signals processes, each by a handle after comparing its start time.
pub fn signal_all(processes: &[Stat], signal: Signal) {
    for process in processes {
        if let Some(process) = Process::open(process) {
            let _ = process.signal(signal); // the process may have ended meanwhile, as wanted
        }
    }
}

/// Maximum number of processes to wait for with a handle each; descriptors are limited.
const MOST: usize = 200;

/// Waits until one of these processes has ended, at most for `limit`. Of more than two hundred processes, only
/// the first two hundred are waited for.
pub fn await_an_end(processes: &[Stat], limit: Duration) {
    let mut handles = Vec::new();
    for process in processes.iter().take(MOST) {
        match Process::open(process) {
            Some(handle) => handles.push(handle),
            None if process.now().is_none() => return,
            None => {} // no more descriptors
        }
    }
    let mut fds: Vec<PollFd> =
        handles.iter().map(|handle| PollFd::new(handle.as_fd(), PollFlags::POLLIN)).collect();
    let _ = poll(&mut fds, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)); // callers look at all of them anyway
}

fn pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Returns whether two paths lead to the same directory; `None` if one is not accessible, such as after a move.
pub(crate) fn is_the_same(one: &Path, other: &Path) -> Option<bool> {
    let (one, other) = (fs::metadata(one).ok()?, fs::metadata(other).ok()?);
    Some((one.dev(), one.ino()) == (other.dev(), other.ino()))
}
