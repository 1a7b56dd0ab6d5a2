//! The error type of the suite, and its exit statuses.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// Exit statuses shared by every tool except `run-exec`. The numbers are a contract (run-tools(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Everything requested was done.
    Ok = 0,
    /// The request was understood and the answer is no, or some run failed.
    No = 1,
    /// The command line was wrong; nothing was touched.
    Usage = 2,
    /// A run is missing, damaged or of a newer format.
    BadRun = 3,
    /// Another process holds the run.
    Busy = 4,
    /// The machine refused: disk, permission, a missing program.
    System = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// An error that a person can act on: what could not be done, why, and at most one line of advice.
#[derive(Debug)]
pub struct Error {
    exit: Exit,
    what: String,
    cause: Option<Cause>,
    hint: Option<String>,
}

impl Error {
    /// Creates an error of a kind; `what` is lower case, names its subject in single quotes and ends without
    /// a full stop.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), cause: None, hint: None }
    }

    /// Creates a usage error: the command line was wrong and nothing was touched.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// Creates the error of a failed system call on a path, such as "cannot read 'x': …". An unfit file is
    /// the run's fault, any other failure the machine's.
    pub fn io(verb: &str, path: &Path, cause: io::Error) -> Self {
        let exit = if Unfit::is(&cause) { Exit::BadRun } else { Exit::System };
        Self::new(exit, format!("cannot {verb} '{}'", path.display())).because(cause)
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds a hint: one line of advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns the exit status of this error.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Returns the hint, if there is one.
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Returns whether the reader of the output has gone away, which is not a failure.
    pub fn is_broken_pipe(&self) -> bool {
        self.cause
            .as_ref()
            .and_then(|cause| cause.downcast_ref::<io::Error>())
            .is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.cause {
            None => Ok(()),
            Some(cause) => match cause.downcast_ref::<io::Error>() {
                Some(cause) => write!(f, ": {}", plain(cause)),
                None => write!(f, ": {cause}"),
            },
        }
    }
}

impl std::error::Error for Error {}

/// Why a path in a run is unfit: it is a link, a pipe, too large.
#[derive(Debug)]
pub struct Unfit(&'static str);

impl Unfit {
    /// Describes the path, as in "it is a pipe".
    pub fn new(why: &'static str) -> Self {
        Self(why)
    }

    /// Returns whether an I/O error was caused by an unfit file.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Self>)
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Unfit {}

impl From<Unfit> for io::Error {
    fn from(unfit: Unfit) -> Self {
        Self::new(io::ErrorKind::InvalidData, unfit)
    }
}

/// Returns the text of an I/O error as strerror(3) has it: without "(os error 2)".
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
