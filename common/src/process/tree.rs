//! What belongs to a run: the descendants of its supervisor, or, when that is gone, whatever
//! carries its `RUN_ID`. And the end of it.

use super::identity::{Process, Signal, Stat};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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

/// Returns the living processes that were given this run's id in their environment, double forks
/// and new sessions included; not those of a copy of the run that lies elsewhere, nor what a script
/// for its end has started, which alone is given `RUN_STATUS`.
pub fn carrying(run_id: &str, run_dir: &Path) -> Vec<Stat> {
    let id = format!("RUN_ID={run_id}");
    let myself = std::process::id().cast_signed();
    pids()
        .filter(|&pid| pid != myself)
        .filter(|pid| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let mut entries = environ.split(|&byte| byte == 0);
            entries.clone().any(|entry| entry == id.as_bytes())
                && !entries.clone().any(|entry| entry.starts_with(b"RUN_STATUS="))
                && entries
                    .find_map(|entry| entry.strip_prefix(b"RUN_DIR="))
                    .is_none_or(|dir| may_be(Path::new(std::ffi::OsStr::from_bytes(dir)), run_dir))
        })
        .filter_map(Stat::of)
        .filter(Stat::is_alive)
        .collect()
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
