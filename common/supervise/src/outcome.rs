//! The outcome of a run: status, reason and exit status, from what ended it. Pure.

use super::end::End;
use super::last_words::{FailedTask, LastWords};
use nix::libc::{SIGABRT, SIGKILL};
use run_common::cli::statuses::Statuses;
use run_common::message::tool;
use run_common::process::signals::signal_name;
use run_common::rundir::status::Outcome;
use run_common::time::human;
use std::time::Duration;

/// Why a run was ended before it ended by itself. Only the first cause counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Somebody requested a stop, in these words.
    Asked(String),
    /// The attempt reached its time limit.
    Timeout(Duration),
    /// The attempt reached the limit of time without output, metric or checkpoint.
    Stall(Duration),
    /// The monitor was killed.
    MonitorKilled,
    /// The supervisor was killed, and the monitor took over.
    SupervisorKilled,
    /// The supervisor failed, for this reason.
    Failure(String),
}

impl Cause {
    /// Returns the cause of an end that this signal requests.
    pub(super) fn of_signal(signal: i32) -> Self {
        Self::Asked(format!("stopped by signal {signal} ({})", signal_name(signal)))
    }

    /// Returns the words for the record.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Asked(words) | Self::Failure(words) => words.clone(),
            Self::Timeout(limit) => format!("timeout {}", human(*limit)),
            Self::Stall(limit) => format!("stall timeout {}", human(*limit)),
            Self::MonitorKilled => format!("{} was killed", tool()),
            Self::SupervisorKilled => "supervisor was killed".to_owned(),
        }
    }
}

/// Returns the outcome and its reason. `oom_kills` is the number of processes of the cgroup that the kernel
/// killed during the attempt because memory ran out.
pub(super) fn judge(
    cause: Option<&Cause>,
    end: End,
    words: &LastWords,
    oom_kills: u64,
) -> (Outcome, Option<String>) {
    let with_words = |head: String| match &words.line {
        Some(line) => format!("{head}: {line}"),
        None => head,
    };
    let memory = match oom_kills {
        1.. if was_killed(end, words) => format!(", probably out of memory: oom_kill +{oom_kills}"),
        _ => String::new(),
    };
    let of_task = words.task.as_ref().filter(|task| end == End::Exited(task.step_status));
    let reason = match (cause, end) {
        (Some(cause @ Cause::Asked(_)), _) => return (Outcome::Stopped, Some(cause.words())),
        (None, End::Exited(0)) => return (Outcome::Completed, None),
        (Some(cause), _) => cause.words(),
        (None, End::Exited(code)) => {
            let alone = || with_words(format!("exit {code}"));
            of_task.map_or_else(alone, |task| of_first_task(task, words)) + &memory
        }
        (None, End::Unseen) => "it is not known how it ended".to_owned(),
        (None, End::Signaled(signal)) => {
            let named = format!("signal {signal} ({})", signal_name(signal));
            if signal == SIGABRT { with_words(named) } else { named + &memory }
        }
    };
    (Outcome::Failed, Some(reason))
}

/// Describes the end of the task that failed first.
fn of_first_task(task: &FailedTask, words: &LastWords) -> String {
    let FailedTask { number, node, .. } = task;
    let head = match task.end {
        Some(End::Exited(code)) => format!("exit {code} of task {number} on {node}"),
        Some(End::Signaled(signal)) => {
            format!("signal {signal} ({}) of task {number} on {node}", signal_name(signal))
        }
        Some(End::Unseen) | None => format!("task {number} on {node}: {}", task.words),
    };
    // srun only repeats how its tasks ended.
    let is_own = |line: &&String| !line.starts_with("srun: ") && !line.starts_with("slurmstepd");
    match words.line.as_ref().filter(is_own) {
        Some(line) if !matches!(task.end, Some(End::Signaled(signal)) if signal != SIGABRT) => {
            format!("{head}: {line}")
        }
        _ => head,
    }
}

/// Returns whether SIGKILL ended the program, or a process that it waited for.
pub(super) fn was_killed(end: End, words: &LastWords) -> bool {
    let line = words.line.as_deref().unwrap_or_default();
    match end {
        End::Signaled(signal) => signal == SIGKILL,
        End::Exited(code) => {
            told_signal(code) == Some(SIGKILL) || KILLED.iter().any(|word| line.contains(word))
        }
        End::Unseen => false,
    }
}

/// Returns whether a signal ended the program, or a process that it waited for.
pub(super) fn was_signalled(end: End) -> bool {
    match end {
        End::Signaled(_) | End::Unseen => true,
        End::Exited(code) => told_signal(code).is_some(),
    }
}

/// Words with which programs report that SIGKILL ended one of their processes.
const KILLED: [&str; 4] = ["SIGKILL", "Killed", "exit code -9", "return code = -9"];

/// Returns the signal in an exit status: shells, and other programs that wait for a command, exit with 128 plus
/// the number of the signal that ended it.
fn told_signal(code: i32) -> Option<i32> {
    Some(code - 128).filter(|signal| (1..32).contains(signal))
}

/// Returns whether a program ended differently from Python after an uncaught exception. Python exits with 1,
/// and wrappers pass this status on.
pub(super) fn has_own_status(end: End) -> bool {
    matches!(end, End::Exited(2..128))
}

/// Returns whether a retry may succeed: after a signal from outside the suite (also if a shell reports it), a
/// stall, the death of the supervisor, or one of these exit statuses. After the death of the monitor, nobody
/// may be left to retry.
pub(super) fn may_pass(cause: Option<&Cause>, end: End, exit_codes: &[i32]) -> bool {
    match (cause, end) {
        (Some(Cause::Stall(_) | Cause::SupervisorKilled), _) | (None, End::Signaled(_)) => true,
        (None, End::Exited(code)) => told_signal(code).is_some() || code != 0 && exit_codes.contains(&code),
        _ => false,
    }
}

/// Returns the exit status of the tool: that of the command, unless the supervisor ended it for a reason of its
/// own.
pub(super) fn exit_status(cause: Option<&Cause>, end: End, statuses: Statuses) -> u8 {
    match (cause, end) {
        (Some(Cause::Timeout(_) | Cause::Stall(_)), _) => statuses.timed_out,
        (Some(Cause::SupervisorKilled | Cause::MonitorKilled | Cause::Failure(_)), _)
        | (Some(Cause::Asked(_)) | None, End::Unseen) => statuses.failed,
        (Some(Cause::Asked(_)) | None, End::Exited(status)) => shell_status(status),
        (Some(Cause::Asked(_)) | None, End::Signaled(signal)) => shell_status(128 + signal),
    }
}

/// Returns a status as a shell reports it.
fn shell_status(status: i32) -> u8 {
    u8::try_from(status & 0xff).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use run_common::cli::statuses::STATUSES;

    fn reason(cause: Option<&Cause>, end: End, oom_kills: u64) -> (Outcome, String) {
        let words = LastWords { line: Some("ValueError: x".to_owned()), ..LastWords::default() };
        let (status, reason) = judge(cause, end, &words, oom_kills);
        (status, reason.unwrap_or_default())
    }

    #[test]
    fn a_request_makes_it_stopped_and_a_limit_failed_whatever_the_exit_code() {
        let asked = Cause::Asked("stopped by a@b".to_owned());
        let late = Cause::Timeout(Duration::from_secs(7200));
        for end in [End::Exited(0), End::Exited(1), End::Signaled(15)] {
            assert_eq!(reason(Some(&asked), end, 0), (Outcome::Stopped, "stopped by a@b".to_owned()));
            assert_eq!(reason(Some(&late), end, 0), (Outcome::Failed, "timeout 2h".to_owned()));
        }
    }

    #[test]
    fn the_task_that_failed_first_is_named() {
        let said = |end, step_status, line: &str, code| {
            let task = FailedTask {
                number: 3,
                node: "n2".to_owned(),
                end,
                words: "Out Of Memory".to_owned(),
                step_status,
            };
            let words = LastWords { line: Some(line.to_owned()), task: Some(task), ..LastWords::default() };
            judge(None, End::Exited(code), &words, 0).1.unwrap()
        };
        let exited = Some(End::Exited(7));
        assert_eq!(said(exited, 143, "ValueError: x", 143), "exit 7 of task 3 on n2: ValueError: x");
        assert_eq!(
            said(exited, 7, "srun: error: n2: task 3: Exited with exit code 7", 7),
            "exit 7 of task 3 on n2"
        );
        assert_eq!(said(exited, 7, "ValueError: x", 1), "exit 1: ValueError: x", "it was not the step");
        let killed = Some(End::Signaled(9));
        assert_eq!(said(killed, 137, "KeyError: 'x'", 137), "signal 9 (KILL) of task 3 on n2");
        assert_eq!(said(None, 1, "srun: error: x", 1), "task 3 on n2: Out Of Memory");
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        let (stall, asked) = (Cause::Stall(Duration::ZERO), Cause::Asked(String::new()));
        for (cause, end, expected) in [
            (None, End::Signaled(9), true),
            (None, End::Exited(75), true),
            (None, End::Exited(1), false),
            (None, End::Exited(137), true),
            (None, End::Exited(129), true),
            (None, End::Exited(128), false),
            (None, End::Exited(160), false),
            (None, End::Exited(255), false),
            (Some(&asked), End::Exited(143), false),
            (None, End::Exited(0), false),
            (Some(&stall), End::Exited(0), true),
            (Some(&asked), End::Signaled(15), false),
            (Some(&Cause::Timeout(Duration::ZERO)), End::Signaled(15), false),
            (Some(&Cause::SupervisorKilled), End::Exited(0), true),
            (Some(&Cause::SupervisorKilled), End::Signaled(15), true),
            (Some(&Cause::MonitorKilled), End::Signaled(15), false),
        ] {
            assert_eq!(may_pass(cause, end, &[75, 0]), expected, "{cause:?} {end:?}");
        }
    }

    #[test]
    fn memory_is_suspected_only_when_the_kernel_says_so() {
        let killed = End::Signaled(9);
        assert_eq!(reason(None, killed, 0).1, "signal 9 (KILL)");
        assert_eq!(reason(None, killed, 2).1, "signal 9 (KILL), probably out of memory: oom_kill +2");
        assert_eq!(reason(None, End::Signaled(15), 2).1, "signal 15 (TERM)");
        assert_eq!(reason(None, End::Signaled(6), 0).1, "signal 6 (ABRT): ValueError: x");
        assert_eq!(reason(None, End::Exited(3), 1).1, "exit 3: ValueError: x");
        assert_eq!(
            reason(None, End::Exited(137), 1).1,
            "exit 137: ValueError: x, probably out of memory: oom_kill +1"
        );
        assert_eq!(reason(None, End::Exited(137), 0).1, "exit 137: ValueError: x");
    }

    #[test]
    fn the_status_is_the_commands_unless_the_supervisor_ended_it_for_reasons_of_its_own() {
        let status = |cause: Option<Cause>, end| exit_status(cause.as_ref(), end, STATUSES);
        for (end, own) in
            [(End::Exited(0), 0), (End::Exited(3), 3), (End::Signaled(9), 137), (End::Unseen, 125)]
        {
            assert_eq!((status(None, end), status(Some(Cause::Asked(String::new())), end)), (own, own));
            assert_eq!(status(Some(Cause::Timeout(Duration::ZERO)), end), 124);
            assert_eq!(status(Some(Cause::Stall(Duration::ZERO)), end), 124);
            for cause in [Cause::SupervisorKilled, Cause::MonitorKilled, Cause::Failure(String::new())] {
                assert_eq!(status(Some(cause), end), 125);
            }
        }
    }
}
