//! The main process of an attempt: the command, with what a chain of shells waits for if the command is a shell.

use super::end::End;
use super::pipeline::{Parts, parts};
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
    /// Pid of the command (0 if it never was a child of this process).
    command: i32,
    /// The other programs, and shells that decide by themselves when to end.
    others: Vec<i32>,
    /// Handles of these and of what they feed, which are readable once they have ended: a shell may wait for them.
    handles: Vec<Process>,
    /// The command has ended, or is a shell that does not count.
    has_no_command: bool,
    /// How the last of them ended.
    end: Option<End>,
    has_ended: bool,
}

/// The processes of a command.
#[derive(Default)]
struct Chain {
    /// The shells that wait for the next one or for the programs, from the command on.
    shells: Vec<Stat>,
    /// The command, or what the last shell waits for.
    programs: Vec<Stat>,
    /// Programs that these feed in a pipeline.
    fed: Vec<Stat>,
}

impl Chain {
    fn add(&mut self, process: Stat, table: &ProcessTable) {
        let children = table.children(process.pid).filter(|child| child.is_alive()).copied();
        let children: Vec<Stat> = if is_shell(process.pid) { children.collect() } else { Vec::new() };
        let parts = match children.as_slice() {
            [] => None,
            [child] => Some(Parts { first: vec![*child], fed: Vec::new() }),
            several => parts(several),
        };
        match parts {
            Some(Parts { first, fed }) => {
                self.shells.push(process);
                self.fed.extend(fed);
                for next in first {
                    self.add(next, table);
                }
            }
            None => self.programs.push(process),
        }
    }
}

impl MainProcess {
    /// Creates the main process of a command that was started.
    pub(super) fn started(command: i32) -> Self {
        Self { command, ..Self::default() }
    }

    /// Creates a main process that had ended before this process took over.
    pub(super) fn gone() -> Self {
        Self { has_ended: true, ..Self::default() }
    }

    /// Returns whether its end was noticed.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Returns a descriptor that becomes readable when it may have ended, beside the end of a child.
    pub(super) fn awaited(&self) -> Option<BorrowedFd<'_>> {
        let living = self.handles.iter().find(|handle| !has_ended(handle));
        let any = self.handles.first().filter(|_| self.has_no_command);
        living.or(any).map(Process::as_fd)
    }

    fn chain(&self) -> Chain {
        let mut chain = Chain::default();
        if let Some(command) = Stat::of(self.command) {
            chain.add(command, &ProcessTable::read());
        }
        chain
    }

    /// Passes on a signal that only programs understand; a shell would die of it.
    pub(super) fn pass_on(&self, signal: Signal) {
        signal_all(&self.chain().programs, signal);
    }

    /// Returns the pids of the programs.
    pub(super) fn programs(&self) -> Vec<i32> {
        self.chain().programs.iter().map(|program| program.pid).collect()
    }

    /// Asks it to end: first the shells, then the programs, unless `asks` did so already.
    pub(super) fn ask(&mut self, signal: Signal, asks: impl Fn(i32) -> bool) {
        let Chain { shells, programs, fed } = self.chain();
        let counting = || shells.iter().filter(|shell| decides(shell)).chain(&programs);
        let others = || counting().filter(|one| one.pid != self.command);
        let pids = others().map(|one| one.pid).collect();
        let handles = others().chain(&fed).filter_map(Process::open).collect();
        (self.others, self.handles) = (pids, handles);
        self.has_no_command |= !programs.is_empty() && !counting().any(|one| one.pid == self.command);
        if programs.is_empty() && !self.has_no_command {
            // Without /proc, the command can be signalled nevertheless, as long as it was not waited for.
            let main = Some(self.command).filter(|&pid| pid > 0).map(Process::child);
            let _ = main.and_then(Result::ok).map(|main| main.signal(signal));
        }
        let asked: Vec<Stat> = programs.into_iter().filter(|program| !asks(program.pid)).collect();
        for some in [shells, asked] {
            signal_all(&some, signal);
            signal_all(&some, Signal::CONT); // a stopped process would not handle the signal
        }
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

    /// Records how a child has ended; returns whether the main process has ended with it.
    pub(super) fn note_end(&mut self, pid: i32, end: End) -> bool {
        if pid == self.command {
            self.has_no_command = true;
        } else if !self.others.contains(&pid) {
            return false;
        }
        if !self.has_ended || self.end.is_none() {
            self.end = Some(end);
        }
        self.was_seen_to_end()
    }

    /// Returns once whether all of it has ended.
    pub(super) fn was_seen_to_end(&mut self) -> bool {
        self.has_no_command && self.handles.iter().all(has_ended) && self.note_gone()
    }

    /// Records that it has ended; returns whether this is news.
    pub(super) fn note_gone(&mut self) -> bool {
        self.handles.clear();
        !std::mem::replace(&mut self.has_ended, true)
    }

    /// Returns how it ended.
    pub(super) fn end(&self) -> End {
        self.end.unwrap_or(End::Unseen)
    }
}

/// Returns whether a shell has a trap for a request to end. Others die of it, or go on with their script after an
/// interrupt.
fn decides(shell: &Stat) -> bool {
    (shell.caught | shell.ignored) >> (Signal::TERM.as_raw() - 1) & 1 == 1
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
        let me = Stat::of(std::process::id().cast_signed()).unwrap();
        let handles = vec![Process::open(&me).unwrap()]; // it lives
        let mut main = MainProcess { others: vec![8], handles, ..MainProcess::started(7) };
        assert!(!main.note_end(7, End::Exited(1)) && !main.has_ended());
        main.handles.clear();
        assert!(main.note_end(8, End::Signaled(15)) && main.has_ended());
        assert_eq!(main.end(), End::Signaled(15));
        assert!(!main.note_end(8, End::Exited(0)), "it ends once");
    }

    #[test]
    fn what_a_shell_waits_for_ends_before_the_shell_which_tells_how() {
        let mut main = MainProcess { others: vec![8], ..MainProcess::started(7) };
        assert!(!main.note_end(8, End::Signaled(15)), "the shell goes on");
        assert!(main.note_end(7, End::Exited(0)) && main.has_ended());
        assert_eq!(main.end(), End::Exited(0));
    }

    #[test]
    fn a_shell_that_goes_on_with_its_script_does_not_count() {
        let mut main = MainProcess { others: vec![8], has_no_command: true, ..MainProcess::started(7) };
        assert!(main.note_end(8, End::Exited(0)) && main.has_ended());
        assert!(!main.note_end(7, End::Exited(5)));
        assert_eq!(main.end(), End::Exited(0));
    }

    #[test]
    fn others_do_not_count() {
        let mut main = MainProcess::started(7);
        assert!(!main.note_end(9, End::Exited(0)));
        assert_eq!(main.end(), End::Unseen);
        assert!(main.note_end(7, End::Exited(3)) && !main.note_gone());
        assert_eq!(main.end(), End::Exited(3));
    }
}
