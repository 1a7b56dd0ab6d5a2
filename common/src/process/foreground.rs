//! Determines whether a Ctrl-C reaches this process together with the shell that waits for it. Used by tools
//! that execute commands, and to recognise shells.

use super::signals::was_ignored;
use super::stat::Stat;
use signal_hook::consts::SIGINT;
use std::fs;

/// Shells that wait for a command.
const SHELLS: [&str; 10] = ["sh", "bash", "dash", "ash", "busybox", "zsh", "fish", "ksh", "ksh93", "mksh"];

/// Returns whether a process is a shell.
pub fn is_shell(pid: i32) -> bool {
    executes(pid, &SHELLS)
}

/// Returns whether a process executes one of these programs, by the name of its file.
pub fn executes(pid: i32, programs: &[&str]) -> bool {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    program.file_name().and_then(|name| name.to_str()).is_some_and(|name| programs.contains(&name))
}

/// Returns whether this process is in the foreground: of its terminal, or of a script, which is a shell in
/// the same process group that did not start it with SIGINT ignored. A SIGINT has then reached the shell as
/// well, unless it was sent to this process alone, which the shell knows.
pub(crate) fn is_in_foreground() -> bool {
    let Some(me) = Stat::of_myself() else { return false };
    let is_of_script = || {
        let parent = Stat::of(me.ppid).filter(|parent| parent.group == me.group);
        !was_ignored(SIGINT) && parent.is_some_and(|parent| is_shell(parent.pid))
    };
    me.foreground == me.group || is_of_script()
}
