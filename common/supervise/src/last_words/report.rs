//! A report of an error in a log, in whatever language.

/// The owner of a reported error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The main thread of a program.
    Main,
    /// Another thread, a child process, or a task, whose error the program may survive.
    Side,
    /// The interpreter, which reports and ignores the error.
    Ignored,
    /// A launcher, which only reports that its program has failed.
    Launcher,
}

/// A report. Positions are line numbers in its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) role: Role,
    /// The error, as `Type: message`.
    pub(super) error: String,
    /// Number of the channel.
    pub(super) channel: usize,
    /// Its first line.
    pub(super) first: usize,
    /// The line that contains the error.
    pub(super) at: usize,
    /// Its last line.
    pub(super) last: usize,
    /// Whether it is a Python traceback.
    pub(super) is_traceback: bool,
}

/// Removes the module of an exception: `torch.cuda.OutOfMemoryError: …` becomes `OutOfMemoryError: …`.
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
