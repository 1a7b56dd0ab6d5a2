//! Why a request to a store failed, in terms of what the caller can do about it, whatever the library.

use run_common::error::{Error, Exit, Unfit};
use std::fmt;
use std::io;

/// Why a request to a store failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// There is no such object.
    NotFound,
    /// There is such an object already.
    Exists,
    /// The bytes that arrived are not those that were sent.
    Corrupt(String),
    /// Credentials are missing, wrong or expired, or do not permit the request.
    Denied(String),
    /// There is no such bucket or directory.
    NoStore(String),
    /// The store is full, or a quota is used up.
    Full(String),
    /// The store could not be reached, or did not do its work, even after retries.
    Unavailable(String),
    /// The store cannot do the request.
    Refused(String),
    /// The receiver of the bytes failed.
    Sink(io::Error),
}

impl Fault {
    /// Returns the error of a request: "cannot VERB 'KEY' in STORE: …".
    pub(crate) fn error(self, verb: &str, key: &str, store: &str) -> Error {
        let hint = match &self {
            Self::Denied(_) => Some("see run-sync(1), CREDENTIALS"),
            Self::Full(_) => Some("nothing was removed here; the same command continues when there is room"),
            Self::NoStore(_) => Some("check its name: run-sync creates neither buckets nor remotes"),
            Self::Unavailable(_) => {
                Some("try the same command again: backups and restores continue where they stopped")
            }
            _ => None,
        };
        let what = match (&self, key) {
            (Self::NoStore(_), _) | (_, "") => format!("cannot {verb} {store}"),
            (_, key) => format!("cannot {verb} '{key}' in {store}"),
        };
        let error = Error::new(Exit::System, what).because(self.to_string());
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("no such object"),
            Self::Exists => f.write_str("it exists already"),
            Self::Corrupt(why)
            | Self::Denied(why)
            | Self::NoStore(why)
            | Self::Full(why)
            | Self::Unavailable(why)
            | Self::Refused(why) => f.write_str(why),
            Self::Sink(error) => f.write_str(&run_common::error::plain(error)),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        let why = run_common::error::plain(&error);
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
                Self::NotFound
            }
            _ if Unfit::is(&error) => Self::Corrupt(why),
            io::ErrorKind::AlreadyExists => Self::Exists,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Refused(why),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(why),
            _ => Self::Unavailable(why),
        }
    }
}
