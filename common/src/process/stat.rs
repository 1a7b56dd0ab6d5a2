//! Facts about processes from the kernel (proc(5)).

use crate::time::Timestamp;
use nix::unistd::{SysconfVar, sysconf};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Facts from `/proc/PID/stat` (proc(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Process id.
    pub pid: i32,
    /// Process id of the parent.
    pub ppid: i32,
    /// Process group.
    pub group: i32,
    /// Process group in the foreground of its terminal, or -1.
    pub foreground: i32,
    /// State: `R`, `S`, `D`, `T` stopped, `Z` zombie, ….
    pub state: char,
    /// CPU time, user and system, in clock ticks, including children that were waited for.
    pub cpu_ticks: u64,
    /// Start time in clock ticks since boot; together with pid and boot it identifies a process.
    pub start: u64,
    /// Number of threads, including the main thread even if it has ended.
    pub threads: u64,
    /// Resident memory in pages.
    pub rss_pages: u64,
    /// Ignored signals as bits, signal 1 being the lowest.
    pub ignored: u64,
    /// Signals that it handles, likewise.
    pub caught: u64,
}

impl Stat {
    /// Reads the state of the calling process.
    pub(crate) fn of_myself() -> Option<Self> {
        Self::read("/proc/self/stat")
    }

    /// Reads the state of a process; `None` if there is none with this pid.
    pub fn of(pid: i32) -> Option<Self> {
        Self::read(&format!("/proc/{pid}/stat"))
    }

    /// Reads the state of the same process again; `None` if it does not live any more.
    pub fn now(&self) -> Option<Self> {
        Self::of(self.pid).filter(|now| now.start == self.start && now.is_alive())
    }

    /// Reads a stat file. The name of the process may be any bytes, and may be cut within a character.
    fn read(path: &str) -> Option<Self> {
        Self::parse(&read_short(path)?)
    }

    /// Parses the line of `/proc/PID/stat`; its second field, the name, may contain anything.
    pub fn parse(line: &str) -> Option<Self> {
        let pid = line.split_once(' ')?.0.parse().ok()?;
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            pid,
            ppid: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            foreground: fields.get(5)?.parse().ok()?,
            state: fields.first()?.chars().next()?,
            cpu_ticks: number(11)? + number(12)? + number(13)? + number(14)?,
            threads: number(17)?,
            start: number(19)?,
            rss_pages: number(21)?,
            ignored: number(30)?,
            caught: number(31)?,
        })
    }

    /// Returns whether the process can still execute. A zombie cannot, unless only its main thread has ended.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x') || self.threads > 1
    }

    /// Returns the start time of the process by the current clock, to about a second.
    pub(crate) fn started(&self) -> Option<Timestamp> {
        let ticks = sysconf(SysconfVar::CLK_TCK).ok()??;
        #[expect(clippy::cast_precision_loss, reason = "ticks are far below 2^53")]
        let seconds = self.start as f64 / ticks as f64;
        Timestamp::of_seconds(boot_time()? + seconds)
    }

    /// Returns the arguments of the command that the process executes; `None` if they are not visible.
    pub(crate) fn arguments(&self) -> Option<Vec<String>> {
        let text = read_long(&format!("/proc/{}/cmdline", self.pid))?;
        Some(text.trim_end_matches('\0').split('\0').map(str::to_owned).collect())
    }

    /// Returns the effective user id of the process.
    pub fn owner(&self) -> Option<u32> {
        fs::metadata(format!("/proc/{}", self.pid)).ok().map(|process| process.uid())
    }

    /// Returns whether the process has this file open; a link is not followed. `None` if the files of the
    /// process are not visible.
    pub(crate) fn has_open(&self, file: &Path) -> Option<bool> {
        let file = fs::symlink_metadata(file).ok()?;
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid)).ok()?.flatten();
        let mut open = open.filter_map(|descriptor| fs::metadata(descriptor.path()).ok());
        Some(open.any(|open| (open.dev(), open.ino()) == (file.dev(), file.ino())))
    }

    /// Returns whether the process was stopped by a signal or a debugger.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }
}

/// Returns the boot time of this kernel, in seconds since 1970.
pub(crate) fn boot_time() -> Option<f64> {
    let text = read_long("/proc/stat")?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Returns whether processes are visible at all: a chroot(2) may lack `/proc`.
pub fn has_proc() -> bool {
    fs::metadata("/proc/self/stat").is_ok()
}

/// Reads a file of proc(5) that may be long, such as the arguments of a process.
fn read_long(path: &str) -> Option<String> {
    const LIMIT: u64 = 4 << 20;
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LIMIT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads a short file of proc(5) in one call, because its length is unknown beforehand.
pub(super) fn read_short(path: &str) -> Option<String> {
    let mut bytes = [0; 2048];
    let count = File::open(path).ok()?.read(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes[..count]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_cannot_forge_the_fields_after_it() {
        let line = "42 (x) R 1 (y) S 7 41 42 0 -1 4194560 1 2 3 4 50 60 7 8 20 0 1 0 99 1000 11 \
                    0 0 0 0 0 0 0 0 4097 0 0 0 0 17";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.pid, stat.ppid, stat.group, stat.state, stat.start), (42, 7, 41, 'S', 99));
        assert_eq!((stat.cpu_ticks, stat.rss_pages), (125, 11));
        assert_eq!((stat.threads, stat.ignored), (1, 4097));
        assert_eq!(Stat::parse("42 (x"), None);
    }
}
