//! Who a process is: a pid alone names nobody, since pids are used again.

use nix::unistd::gethostname;
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

pub use rustix::process::Signal;

/// The machine and the name space in which a pid means something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The host's name.
    pub host: String,
    /// The kernel's id of this boot (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The inode of the pid name space, as in `pid:[4026531836]`.
    pub pid_ns: String,
}

impl Place {
    /// Returns where this process runs. It is looked up once.
    pub fn here() -> &'static Self {
        static HERE: OnceLock<Place> = OnceLock::new();
        HERE.get_or_init(Self::look_up)
    }

    fn look_up() -> Self {
        let pid_ns = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        Self {
            host: gethostname().unwrap_or_default().to_string_lossy().into_owned(),
            boot_id: read_short("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned(),
            pid_ns: pid_ns.to_string_lossy().trim_start_matches("pid:").trim_matches(['[', ']']).to_owned(),
        }
    }
}

/// Returns the name of the user: of `/etc/passwd`, else what the environment says, else the number.
/// Name services are not asked: that takes shared libraries, and a network that may be down.
pub fn user_name() -> String {
    let id = nix::unistd::getuid().to_string();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let known = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    });
    let from_environment = || ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    known.or_else(from_environment).filter(|name| !name.is_empty()).unwrap_or(id)
}

/// What `/proc/PID/stat` says of a process (proc(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Process id.
    pub pid: i32,
    /// Process id of the parent.
    pub ppid: i32,
    /// State: `R`, `S`, `D`, `T` stopped, `Z` zombie, ….
    pub state: char,
    /// CPU time, user and system, in clock ticks, its waited-for children included.
    pub cpu_ticks: u64,
    /// Start time in clock ticks since boot: with the pid and the boot it names a process.
    pub start: u64,
    /// Resident memory in pages.
    pub rss_pages: u64,
    /// Signals that are ignored, signal 1 being the lowest bit.
    pub ignored: u64,
}

impl Stat {
    /// Reads the state of the calling process.
    pub fn of_myself() -> Option<Self> {
        Self::read("/proc/self/stat")
    }

    /// Reads the state of a process, or `None` when there is none of that pid.
    pub fn of(pid: i32) -> Option<Self> {
        Self::read(&format!("/proc/{pid}/stat"))
    }

    /// The name of a process is any bytes, and cut in the middle of a character where it is long.
    fn read(path: &str) -> Option<Self> {
        Self::parse(&read_short(path)?)
    }

    /// Parses the line of `/proc/PID/stat`; the second field, the name, may hold anything.
    pub fn parse(line: &str) -> Option<Self> {
        let pid = line.split_once(' ')?.0.parse().ok()?;
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            pid,
            ppid: fields.get(1)?.parse().ok()?,
            state: fields.first()?.chars().next()?,
            cpu_ticks: number(11)? + number(12)? + number(13)? + number(14)?,
            start: number(19)?,
            rss_pages: number(21)?,
            ignored: number(30)?,
        })
    }

    /// Says whether the process can still do anything: a zombie is dead.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// Says whether the process was stopped by a signal or a debugger.
    pub fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }
}

/// A process that was there when this was made, by a handle that no other process can inherit.
#[derive(Debug)]
pub struct Process(OwnedFd);

impl Process {
    /// Opens the process of this pid, provided that it started at `start`.
    ///
    /// The handle is opened first and the start time read afterwards: if it still is the process
    /// that was meant then, the handle is its, whatever happens later.
    pub fn open(pid: i32, start: u64) -> Option<Self> {
        let handle = open_pidfd(pid).ok()?;
        let stat = Stat::of(pid)?;
        (stat.start == start && stat.is_alive()).then_some(Self(handle))
    }

    /// Opens the calling process.
    pub fn myself() -> io::Result<Self> {
        open_pidfd(std::process::id().cast_signed()).map(Self)
    }

    /// Opens a child that has not been waited for, whose pid can therefore mean no other.
    pub fn child(pid: i32) -> io::Result<Self> {
        open_pidfd(pid).map(Self)
    }

    /// Sends a signal to exactly this process.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.0, signal)?)
    }
}

impl AsFd for Process {
    /// Becomes readable when the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Reads a file of proc(5) that is short, at once: how long it is cannot be asked beforehand.
fn read_short(path: &str) -> Option<String> {
    let mut bytes = [0; 2048];
    let count = File::open(path).ok()?.read(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes[..count]).into_owned())
}

fn open_pidfd(pid: i32) -> io::Result<OwnedFd> {
    let pid = Some(pid).filter(|&pid| pid > 0).and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_cannot_forge_the_fields_after_it() {
        let line = "42 (x) R 1 (y) S 7 42 42 0 -1 4194560 1 2 3 4 50 60 7 8 20 0 1 0 99 1000 11 \
                    0 0 0 0 0 0 0 0 4097 0 0 0 0 17";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.pid, stat.ppid, stat.state, stat.start), (42, 7, 'S', 99));
        assert_eq!((stat.cpu_ticks, stat.rss_pages), (125, 11));
        assert_eq!(stat.ignored, 4097);
        assert_eq!(Stat::parse("42 (x"), None);
    }

    #[test]
    fn a_pid_with_another_start_time_is_another_process() {
        let me = Stat::of(std::process::id().cast_signed()).unwrap();
        assert!(Process::open(me.pid, me.start).is_some());
        assert!(Process::open(me.pid, me.start + 1).is_none());
        assert!(Process::open(0, 0).is_none() && Process::open(-1, 0).is_none());
    }
}
