//! What srun reports about the tasks of a step that have failed: the first one is the cause.

use crate::end::End;
use nix::libc;

/// Signals, as srun names them.
const SIGNALS: [(&str, i32); 9] = [
    ("Killed", libc::SIGKILL),
    ("Terminated", libc::SIGTERM),
    ("Segmentation fault", libc::SIGSEGV),
    ("Aborted", libc::SIGABRT),
    ("Bus error", libc::SIGBUS),
    ("Floating point exception", libc::SIGFPE),
    ("Illegal instruction", libc::SIGILL),
    ("Hangup", libc::SIGHUP),
    ("Interrupt", libc::SIGINT),
];

/// A task that has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailedTask {
    /// Its number in the step: its rank.
    pub(crate) number: u32,
    /// Its node.
    pub(crate) node: String,
    /// How it ended, if that is a known end.
    pub(crate) end: Option<End>,
    /// How it ended, in srun's words.
    pub(crate) words: String,
    /// The status with which srun exits: the greatest of its tasks.
    pub(crate) step_status: i32,
}

impl FailedTask {
    /// Reads a line such as `srun: error: n2: task 3: Exited with exit code 7` or `srun: error: n1: tasks 0-1: Killed`;
    /// of several tasks the first counts.
    fn read(line: &str) -> Option<Self> {
        let (node, rest) = line.strip_prefix("srun: error: ")?.split_once(": ")?;
        let rest = rest.strip_prefix("task ").or_else(|| rest.strip_prefix("tasks "))?;
        let (numbers, words) = rest.split_once(": ")?;
        let digits = numbers.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        let signal = || SIGNALS.iter().find(|(name, _)| words.starts_with(name)).map(|&(_, signal)| signal);
        let end = match words.strip_prefix("Exited with exit code ") {
            Some(code) => code.trim().parse().ok().map(End::Exited),
            None => signal().map(End::Signaled),
        };
        let step_status = match end {
            Some(End::Exited(code)) => code,
            Some(End::Signaled(signal)) => 128 + signal,
            Some(End::Unseen) | None => 1,
        };
        let (node, words) = (node.to_owned(), words.trim().to_owned());
        Some(Self { number: digits.parse().ok()?, node, end, words, step_status })
    }
}

/// Returns the task that failed first, and the number of the line that reports it.
pub(super) fn first_failed(lines: &[String]) -> Option<(FailedTask, usize)> {
    let mut all: Vec<(FailedTask, usize)> =
        lines.iter().enumerate().filter_map(|(at, line)| Some((FailedTask::read(line)?, at))).collect();
    let greatest = all.iter().map(|(task, _)| task.step_status).max()?;
    let (task, at) = all.swap_remove(0);
    Some((FailedTask { step_status: greatest, ..task }, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_task_that_failed_is_the_cause() {
        let read = |line: &str| FailedTask::read(line).map(|task| (task.number, task.node, task.end));
        for (line, expected) in [
            ("srun: error: n2: task 3: Exited with exit code 7", Some((3, "n2", Some(End::Exited(7))))),
            ("srun: error: n1: tasks 0-1,4: Killed", Some((0, "n1", Some(End::Signaled(9))))),
            (
                "srun: error: gpu3: task 2: Segmentation fault (core dumped)",
                Some((2, "gpu3", Some(End::Signaled(11)))),
            ),
            ("srun: error: n1: task 0: Out Of Memory", Some((0, "n1", None))),
            ("srun: error: Unable to create step for job 7: Invalid node", None),
            ("0: srun: error: n1: task 0: Killed", None),
        ] {
            assert_eq!(
                read(line),
                expected.map(|(number, node, end)| (number, node.to_owned(), end)),
                "{line}"
            );
        }
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let text = lines(
            "x\nsrun: error: n2: task 3: Exited with exit code 7\nsrun: error: n1: tasks 0-1: Terminated",
        );
        let (task, at) = first_failed(&text).unwrap();
        assert_eq!((task.number, task.step_status, at), (3, 143, 1));
        assert_eq!(first_failed(&lines("x")), None);
    }
}
