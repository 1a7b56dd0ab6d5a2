//! Errors as reported by other languages, shells and schedulers.

use super::lines::{Line, after_time, has_letter, indentation};
use super::python::is_exception;
use super::report::{Report, Role, without_module};

/// Maximum distance of a report's mark from its first line, in lines.
const NEAR: usize = 20;

/// The names that shells use for the signal that has ended a command.
const SIGNALS: [&str; 7] = [
    "Killed",
    "Segmentation fault",
    "Bus error",
    "Aborted",
    "Illegal instruction",
    "Floating point",
    "Terminated",
];

/// Slurm's words for the end of a job.
const OF_SLURM: [&str; 7] =
    ["oom_kill", "oom-kill", "OOM Killed", "Out Of Memory", "TIME LIMIT", "PREEMPT", "NODE FAIL"];

/// Finds the reports of a channel that are not tracebacks.
pub(super) fn others(channel: usize, lines: &[Line]) -> Vec<Report> {
    let report = |first: usize| {
        let (role, error, at) = find(lines, first)?;
        let at = at.min(lines.len() - 1);
        Some(Report {
            role,
            error: error.trim().to_owned(),
            channel,
            first,
            at,
            last: at,
            is_traceback: false,
        })
    };
    (0..lines.len()).filter_map(report).collect()
}

/// Returns the report that begins with a line: its kind, the error, and the line that contains the error.
fn find(lines: &[Line], first: usize) -> Option<(Role, String, usize)> {
    let line = lines[first].text;
    let after = || lines[first + 1..].iter().take(NEAR).map(|line| line.text);
    let next = || after().next().unwrap_or_default();
    let is_near = |mark: &str| after().any(|line| line.starts_with(mark));
    let main = |error: &str| Some((Role::Main, error.to_owned(), first));
    let below = |error: &str| Some((Role::Main, error.to_owned(), first + 1));

    // Rust, before 1.73 on one line.
    if let Some((thread, panicked)) =
        line.strip_prefix("thread '").and_then(|rest| rest.split_once(" panicked at "))
    {
        let role = if thread.starts_with("main'") { Role::Main } else { Role::Side };
        return match panicked.strip_prefix('\'').and_then(|rest| rest.rsplit_once("', ")) {
            Some((message, _)) => Some((role, format!("panic: {message}"), first)),
            None => Some((role, format!("panic: {}", next().trim()), first + 1)),
        };
    }
    // Go.
    if (line.starts_with("panic: ") || line.starts_with("fatal error: ")) && is_near("goroutine ") {
        return main(line);
    }
    // C++: libstdc++ and libc++.
    if let Some(kind) = line.strip_prefix("terminate called after throwing an instance of '") {
        let kind = kind.trim_end_matches('\'');
        let what = after().take(3).find_map(|line| line.trim_start().strip_prefix("what():"));
        return match what.map(str::trim).filter(|what| !what.is_empty()) {
            Some(what) => below(&format!("{kind}: {what}")),
            None => main(kind),
        };
    }
    let is_terminated = line.starts_with("terminate called ") && line != "terminate called recursively";
    if is_terminated || line.starts_with("libc++abi: ") {
        return main(line);
    }
    // Output of signal handlers: glog, Abseil and Open MPI.
    if line.starts_with("*** SIG") && line.contains(" received ") {
        return main(line);
    }
    if line.ends_with("*** Process received signal ***") {
        return main(next().split_once("] ").map_or(line, |(_, signal)| signal));
    }
    // The fatal lines of glog and TensorFlow, and of the interpreter itself.
    if after_time(line)
        .strip_prefix('F')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == ' '))
        && let Some((_, message)) = line.split_once("] ")
    {
        return main(message);
    }
    if line.starts_with("Fatal Python error: ") {
        return main(line);
    }
    // eyre.
    if line.starts_with("The application panicked (crashed)") {
        let message = next().strip_prefix("Message:").unwrap_or(next());
        return below(&format!("panic: {}", message.trim()));
    }
    // Julia.
    if let Some(error) = line.strip_prefix("ERROR: ").filter(|_| is_near("Stacktrace:")) {
        let nested = after().find_map(|line| line.trim_start().strip_prefix("nested task error: "));
        return main(nested.filter(|_| error.ends_with("TaskFailedException")).unwrap_or(error));
    }
    // R.
    if line.starts_with("Error") && is_near("Execution halted") {
        return match next().strip_prefix("! ").filter(|_| line.ends_with(':')) {
            Some(message) => main(&format!("{line} {message}")),
            None => main(&joined(line, Some(next()))),
        };
    }
    // Fortran, Elixir, Haskell, and the machine of Java.
    if line.starts_with("Fortran runtime error: ") || line.starts_with("** (") && line.contains(") ") {
        return main(line);
    }
    if next().starts_with("CallStack (from HasCallStack)") {
        return main(line);
    }
    if line.starts_with("# A fatal error has been detected by the Java") {
        let cause = after().map(|line| line.trim_start_matches(['#', ' '])).find(|line| has_letter(line));
        return main(cause.unwrap_or(line));
    }
    // A launcher's words about a process that a signal has ended.
    if line.contains("exits with return code = -")
        || line.contains(" exited with code -")
        || line.contains(" exited on signal ")
    {
        return Some((Role::Side, line.to_owned(), first));
    }
    // Java, JavaScript and C#; Ruby; Lua.
    if indentation(line) == 0 && has_letter(line) && !line.starts_with("Caused by: ") {
        if is_frame(next()) {
            let error = without_thread(begins_message(lines, first));
            return main(without_module(error));
        }
        let is_traced = next().starts_with("\tfrom ") || next() == "stack traceback:";
        return if is_traced {
            main(without_thread(line))
        } else {
            signal_of_shell(line).or(of_slurm(line)).and_then(main)
        };
    }
    None
}

/// Returns the first line of a message that ends with this one, as with JavaScript for a missing module.
fn begins_message<'a>(lines: &[Line<'a>], last: usize) -> &'a str {
    let names_error = |line: &str| line.split(':').next().is_some_and(|name| name.ends_with("Error"));
    if is_exception(lines[last].text) {
        return lines[last].text;
    }
    let above = lines[..last].iter().rev().take(NEAR).map(|line| line.text);
    let mut message = above.take_while(|line| has_letter(line) && indentation(line) == 0);
    message.find(|line| names_error(line) && is_exception(line)).unwrap_or(lines[last].text)
}

/// Returns whether a line names a place in the code, as Java and JavaScript write it.
fn is_frame(line: &str) -> bool {
    let place = line.trim_end();
    let names_place =
        place.ends_with(')') || place.ends_with(|c: char| c.is_ascii_digit()) && place.contains(':');
    indentation(line) > 0 && line.trim_start().starts_with("at ") && names_place
}

/// Removes the text before an exception of Java, JavaScript or C#.
fn without_thread(line: &str) -> &str {
    let rest = line.strip_prefix("Exception in thread \"").and_then(|rest| rest.split_once("\" "));
    let line = rest.map_or(line, |(_, rest)| rest);
    let starts = ["Uncaught ", "Unhandled exception. ", "lua: ", "luajit: ", ": "];
    starts.iter().find_map(|start| line.strip_prefix(start)).unwrap_or(line)
}

/// Returns the line of a shell that reports a signal: `x.sh: line 3: 4711 Killed`.
fn signal_of_shell(line: &str) -> Option<&str> {
    let (_, said) = line.split_once(": line ")?;
    let (_, said) = said.split_once(": ")?;
    let said = said.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
    SIGNALS.iter().any(|signal| said.starts_with(signal)).then_some(line)
}

/// Returns the line in which Slurm reports why it ends a job.
fn of_slurm(line: &str) -> Option<&str> {
    let is_its = ["slurmstepd", "srun: "].iter().any(|start| line.starts_with(start));
    (is_its && OF_SLURM.iter().any(|why| line.contains(why))).then_some(line)
}

/// Returns an error with the line after it, if its own line ends in a colon and the next is indented.
pub(super) fn joined(line: &str, next: Option<&str>) -> String {
    let line = line.trim_end();
    match next.filter(|next| line.ends_with(':') && indentation(next) > 0 && has_letter(next)) {
        Some(next) => format!("{line} {}", next.trim()),
        None => line.to_owned(),
    }
}
