//! A report of an error in a log, in whatever language.

/// Whose error is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The main thread's of a program.
    Main,
    /// Another thread's, a child process's, or a task's, which the program may survive.
    Side,
    /// One that the interpreter reports and ignores.
    Ignored,
    /// A launcher's, which says no more than that its program has failed.
    Launcher,
}

/// A report. Places are those of lines in their channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) role: Role,
    /// The error, as `Type: message`.
    pub(super) error: String,
    /// Number of the channel.
    pub(super) channel: usize,
    /// Its first line.
    pub(super) first: usize,
    /// The line that names the error.
    pub(super) at: usize,
    /// Its last line.
    pub(super) last: usize,
    /// It is a traceback of Python.
    pub(super) is_traceback: bool,
}

/// Drops the module of an exception: `torch.cuda.OutOfMemoryError: …` says it without.
pub(super) fn without_module(line: &str) -> &str {
    let name = line.split(':').next().unwrap_or(line);
    let is_path = name.split('.').all(|part| {
        part == "<locals>" || !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    });
    match name.rfind('.') {
        Some(dot) if is_path => &line[dot + 1..],
        _ => line,
    }
}
