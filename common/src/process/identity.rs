//! Identities of processes: a pid alone identifies no process, because pids are reused.

use super::stat::{Stat, read_short};
use nix::unistd::gethostname;
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

pub use rustix::process::Signal;

/// The machine and the pid name space in which a pid has a meaning. Unknown parts are empty, and equal no
/// other value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The host's name.
    pub host: String,
    /// The kernel's id of this boot (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The inode of the pid name space, as in `pid:[4026531836]`.
    pub pid_ns: String,
}

impl Place {
    /// Returns the place of this process, determined once.
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

/// An unambiguous identity of a process, recorded for supervisors, commands, controllers and holders of
/// locks. Unknown parts are empty or 0, and match nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The host's name.
    pub host: String,
    /// The kernel's id of the boot.
    pub boot_id: String,
    /// The inode of the pid name space.
    pub pid_ns: String,
    /// The process id in that name space.
    pub pid: i32,
    /// When the process started, in clock ticks since the boot.
    #[serde(rename = "pid_start")]
    pub start: u64,
}

/// The state of a process, as seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The process lives, and is in this state.
    Alive(Stat),
    /// The process has ended.
    Gone,
    /// The process runs, or ran, where this process cannot look: on another host or in another container.
    Unseen,
}

impl ProcessId {
    /// Returns the identity of the calling process.
    pub fn myself() -> Self {
        let pid = std::process::id().cast_signed();
        Self::here(pid, Stat::of_myself().map_or(0, |stat| stat.start))
    }

    /// Returns the identity of a process of this host and name space.
    pub fn here(pid: i32, start: u64) -> Self {
        let Place { host, boot_id, pid_ns } = Place::here().clone();
        Self { host, boot_id, pid_ns, pid, start }
    }

    /// Creates an incomplete identity, which never matches a process.
    pub(crate) fn of_unknown_boot(host: String, pid: i32) -> Self {
        Self { host, boot_id: String::new(), pid_ns: String::new(), pid, start: 0 }
    }

    /// Returns whether the process runs, or ran, in this boot of this kernel.
    pub(crate) fn is_of_this_boot(&self) -> bool {
        !self.boot_id.is_empty() && self.boot_id == Place::here().boot_id
    }

    /// Returns whether its pid has a meaning here.
    pub fn is_visible(&self) -> bool {
        self.is_of_this_boot() && !self.pid_ns.is_empty() && self.pid_ns == Place::here().pid_ns
    }

    /// Returns whether the process lives, as far as visible from here. No process of another boot of this
    /// host lives.
    pub fn life(&self) -> Life {
        let here = Place::here();
        if self.is_visible() {
            return match Stat::of(self.pid) {
                Some(stat) if stat.start == self.start && stat.is_alive() => Life::Alive(stat),
                _ => Life::Gone,
            };
        }
        let has_other_boot = !self.boot_id.is_empty() && !here.boot_id.is_empty() && !self.is_of_this_boot();
        if has_other_boot && self.host == here.host { Life::Gone } else { Life::Unseen }
    }
}

/// A handle (pidfd) of a process, which never refers to another process.
#[derive(Debug)]
pub struct Process(OwnedFd);

impl Process {
    /// Opens the process, if it is still the process that was seen.
    ///
    /// Opens the handle first and reads the start time afterwards: if the start time still matches,
    /// the handle belongs to this process, whatever happens later.
    pub fn open(seen: &Stat) -> Option<Self> {
        let handle = open_pidfd(seen.pid).ok()?;
        let now = Stat::of(seen.pid)?;
        (now.start == seen.start && now.is_alive()).then_some(Self(handle))
    }

    /// Opens the calling process.
    pub fn myself() -> io::Result<Self> {
        open_pidfd(std::process::id().cast_signed()).map(Self)
    }

    /// Opens a child that has not been waited for, whose pid is therefore unambiguous.
    pub fn child(pid: i32) -> io::Result<Self> {
        open_pidfd(pid).map(Self)
    }

    /// Sends a signal to exactly this process.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.0, signal)?)
    }

    /// Asks exactly this process to end, even if it is suspended. A process that has ended is not an error.
    pub fn ask_to_end(&self) -> io::Result<()> {
        for signal in [Signal::TERM, Signal::CONT] {
            match pidfd_send_signal(&self.0, signal) {
                Ok(()) => {}
                Err(Errno::SRCH) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl AsFd for Process {
    /// Becomes readable when the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
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
    fn a_pid_with_another_start_time_is_another_process() {
        let me = Stat::of_myself().unwrap();
        assert!(Process::open(&me).is_some());
        assert!(Process::open(&Stat { start: me.start + 1, ..me }).is_none());
        assert!([0, -1].into_iter().all(|pid| Process::open(&Stat { pid, ..me }).is_none()));
    }

    #[test]
    fn a_process_that_has_ended_needs_no_asking() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let process = Process::child(child.id().cast_signed()).unwrap();
        child.wait().unwrap();
        assert!(process.signal(Signal::TERM).is_err());
        process.ask_to_end().unwrap();
    }

    #[test]
    fn a_process_is_alive_gone_or_unseen_by_all_that_names_it() {
        let me = ProcessId::myself();
        assert!(matches!(me.life(), Life::Alive(_)));
        let changed = |change: fn(&mut ProcessId)| {
            let mut other = me.clone();
            change(&mut other);
            other.life()
        };
        assert_eq!(changed(|other| other.start += 1), Life::Gone);
        assert_eq!(changed(|other| other.pid = 0), Life::Gone);
        assert_eq!(changed(|other| other.boot_id = "another".to_owned()), Life::Gone);
        assert_eq!(changed(|other| other.pid_ns = "1".to_owned()), Life::Unseen);
        let elsewhere: [fn(&mut ProcessId); 3] = [
            |other| other.boot_id.clear(),
            |other| other.pid_ns.clear(),
            |other| {
                other.host.push('x');
                other.boot_id.push('x');
            },
        ];
        for change in elsewhere {
            assert_eq!(changed(change), Life::Unseen);
        }
    }
}
