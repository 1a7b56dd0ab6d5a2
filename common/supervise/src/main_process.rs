//! The main process of an attempt: the command, or the last process in a chain of shells if the command is a
//! shell.

use super::end::End;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use run_common::process::foreground::is_shell;
use run_common::process::identity::{Process, Signal};
use run_common::process::stat::Stat;
use run_common::process::tree::{ProcessTable, signal_all};
use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::os::fd::{AsFd, BorrowedFd};

/// The main process.
#[derive(Debug, Default)]
pub(super) struct MainProcess {
    /// Pid of the command (0 if it never was a child of this process), and of the last process in the chain.
    command: i32,
    last: i32,
    /// A handle that is readable once the last process in the chain has ended, in case a shell waits for it.
    handle: Option<Process>,
    command_end: Option<End>,
    last_end: Option<End>,
    has_ended: bool,
}

impl MainProcess {
    /// Creates the main process of a command that was started.
    pub(super) fn started(command: i32) -> Self {
        Self { command, last: command, ..Self::default() }
    }

    /// Creates a main process that had ended before this process took over.
    pub(super) fn gone() -> Self {
        Self { has_ended: true, ..Self::default() }
    }

    /// Returns whether its end was noticed.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Returns a descriptor that becomes readable when it has ended, unless it is a child.
    pub(super) fn awaited(&self) -> Option<BorrowedFd<'_>> {
        self.handle.as_ref().map(Process::as_fd)
    }

    /// Returns the processes from the command to the main process: each shell waits for the next process.
    fn chain(&self) -> Vec<Stat> {
        let table = ProcessTable::read();
        let mut chain: Vec<Stat> = Stat::of(self.command).into_iter().collect();
        while let Some(shell) = chain.last().filter(|stat| is_shell(stat.pid)) {
            let children: Vec<&Stat> = table.children(shell.pid).filter(|child| child.is_alive()).collect();
            let [child] = children.as_slice() else { break };
            chain.push(**child);
        }
        chain
    }

    /// Passes on a signal that only the program understands; a shell would die of it.
    pub(super) fn pass_on(&self, signal: Signal) {
        if let Some(last) = self.chain().last() {
            signal_all(&[*last], signal);
        }
    }

    /// Returns the pid of the last process in the chain.
    pub(super) fn last(&self) -> Option<i32> {
        self.chain().last().map(|last| last.pid)
    }

    /// Asks it to end: first the shells, then the last process, unless `asks` did so already.
    pub(super) fn ask(&mut self, signal: Signal, asks: impl Fn(i32) -> bool) {
        let mut chain = self.chain();
        if let Some(last) = chain.last().filter(|last| last.pid != self.command) {
            self.last = last.pid;
            self.handle = Process::open(last);
        }
        if chain.is_empty() && self.command_end.is_none() {
            // Without /proc, the command can be signalled nevertheless, as long as it was not waited for.
            let main = Some(self.command).filter(|&pid| pid > 0).map(Process::child);
            let _ = main.and_then(Result::ok).map(|main| main.signal(signal));
        }
        let last = chain.pop();
        signal_all(&chain, signal);
        if let Some(last) = last.filter(|last| !asks(last.pid)) {
            signal_all(&[last], signal);
            chain.push(last);
        }
        signal_all(&chain, Signal::CONT); // a stopped process would not handle the signal
    }

    /// Signals the process group of the command: without `/proc`, no other processes of the run are known. The
    /// group belongs to the command as long as a child of this process is in it.
    pub(super) fn signal_group(&self, signal: Signal) {
        let Some(group) = Pid::from_raw(self.command) else { return };
        let looks = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::Pgid(Some(group)), looks).is_ok() {
            let _ = kill_process_group(group, signal); // the group may just have ended
        }
    }

    /// Records how a child has ended; returns whether it was the main process.
    pub(super) fn note_end(&mut self, pid: i32, end: End) -> bool {
        if pid == self.command {
            self.command_end = Some(end);
        }
        if pid != self.last {
            return false;
        }
        self.last_end = Some(end);
        self.note_gone()
    }

    /// Returns once whether it has ended, if it is not a child.
    pub(super) fn was_seen_to_end(&mut self) -> bool {
        self.handle.as_ref().is_some_and(has_ended) && self.note_gone()
    }

    /// Records that it has ended; returns whether this is news.
    pub(super) fn note_gone(&mut self) -> bool {
        self.handle = None;
        !std::mem::replace(&mut self.has_ended, true)
    }

    /// Returns how it ended.
    pub(super) fn end(&self) -> End {
        self.last_end.or(self.command_end).unwrap_or(End::Unseen)
    }
}

/// Returns whether a process has ended, by its handle.
pub(super) fn has_ended(process: &Process) -> bool {
    let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_shell_is_not_that_of_what_it_waits_for() {
        let mut main = MainProcess { last: 8, ..MainProcess::started(7) };
        assert!(!main.note_end(7, End::Exited(1)) && !main.has_ended());
        assert!(main.note_end(8, End::Signaled(15)) && main.has_ended());
        assert_eq!(main.end(), End::Signaled(15));
        assert!(!main.note_end(8, End::Exited(0)), "it ends once");
    }

    #[test]
    fn a_shell_tells_how_what_it_waits_for_ended_unless_that_was_seen() {
        let mut main = MainProcess { last: 8, ..MainProcess::started(7) };
        assert!(main.note_gone() && !main.note_gone());
        assert_eq!(main.end(), End::Unseen);
        main.note_end(7, End::Exited(143));
        assert_eq!(main.end(), End::Exited(143));
    }
}
