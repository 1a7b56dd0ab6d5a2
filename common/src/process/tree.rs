//! What belongs to a run: the descendants of its supervisor, or, when that is gone, whatever
//! carries its `RUN_ID`. And the end of it.

use super::identity::{Process, Signal, Stat};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// All processes that could be seen at one moment, threads not included.
#[derive(Debug, Default)]
pub struct Table(Vec<Stat>);

impl Table {
    /// Reads `/proc`.
    pub fn read() -> Self {
        Self(pids().filter_map(Stat::of).collect())
    }

    /// Returns all living descendants of a process, however they were forked; a child subreaper
    /// keeps those whose parents have died. The subtree below `except` is left out.
    pub fn descendants(&self, root: i32, except: Option<i32>) -> Vec<Stat> {
        let mut found: Vec<Stat> = Vec::new();
        let mut parents = vec![root];
        while let Some(parent) = parents.pop() {
            for child in self.0.iter().filter(|stat| stat.ppid == parent && Some(stat.pid) != except) {
                parents.push(child.pid);
                found.push(*child);
            }
        }
        found.retain(Stat::is_alive);
        found
    }

    /// Returns the children of a process.
    pub fn children(&self, parent: i32) -> impl Iterator<Item = &Stat> {
        self.0.iter().filter(move |stat| stat.ppid == parent)
    }
}

/// How long what was read of all processes is good for further questions.
const FRESH: Duration = Duration::from_secs(1);

/// The processes that carry the id of a run in their environment, read when that is asked.
#[derive(Debug, Default)]
pub struct Carriers(Mutex<Option<(Instant, Arc<[Carrier]>)>>);

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
    /// what a script for its end has started, which alone is given `RUN_STATUS`.
    pub fn of(&self, run_id: &str, run_dir: &Path) -> Vec<Stat> {
        let is_same = |stat: &Stat, now: &Stat| now.start == stat.start && now.is_alive();
        self.all()
            .iter()
            .filter(|carrier| carrier.run_id == run_id)
            .filter(|carrier| carrier.run_dir.as_ref().is_none_or(|dir| may_be(dir, run_dir)))
            .filter_map(|carrier| Stat::of(carrier.stat.pid).filter(|now| is_same(&carrier.stat, now)))
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
        let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let value = |name: &[u8]| environ.split(|&byte| byte == 0).find_map(|entry| entry.strip_prefix(name));
        let run_id = String::from_utf8(value(b"RUN_ID=")?.to_vec()).ok()?;
        let is_other = pid == std::process::id().cast_signed() || value(b"RUN_STATUS=").is_some();
        let run_dir = value(b"RUN_DIR=").map(|dir| PathBuf::from(OsStr::from_bytes(dir)));
        Some(Self { stat: Stat::of(pid)?, run_id, run_dir }).filter(|_| !is_other)
    }
}

/// Signals processes, each by a handle that was compared with its start time.
pub fn signal_all(processes: &[Stat], signal: Signal) {
    for process in processes {
        if let Some(process) = Process::open(process.pid, process.start) {
            let _ = process.signal(signal); // it may have ended meanwhile, which is what is wanted
        }
    }
}

fn pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Says whether `recorded` is the directory `here`, or has been moved away so that it may be.
fn may_be(recorded: &Path, here: &Path) -> bool {
    match (fs::metadata(recorded), fs::metadata(here)) {
        (Ok(recorded), Ok(here)) => recorded.dev() == here.dev() && recorded.ino() == here.ino(),
        _ => true,
    }
}
