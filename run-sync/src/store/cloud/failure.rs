//! Why a request to an object store failed, and what this means for the caller.

use super::super::fault::Fault;
use super::text::plain;
use std::fmt;
use std::io;
use std::time::Duration;

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The store answered with an error.
    Answer(Box<Answer>),
    /// No complete answer came: the store may have done the request or not.
    Transport(String),
    /// The store cannot be addressed: its certificate or address is wrong.
    Unspeakable(String),
    /// The answer does not follow the protocol.
    Malformed(String),
    /// The receiver of the bytes failed.
    Sink(io::Error),
}

/// An error from a store.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// Code of the error, such as `SlowDown`; empty if the answer has none, such as an answer to HEAD.
    pub(crate) code: String,
    /// Message of the store.
    pub(crate) message: String,
    /// The store's ID of the request, for its operators.
    pub(crate) request: String,
    /// How long to wait before the next attempt.
    pub(crate) retry_after: Option<Duration>,
    /// Region of the bucket, if the store tells.
    pub(crate) region: Option<String>,
    /// Address to ask instead.
    pub(crate) location: Option<String>,
    /// Time on the store's clock.
    pub(crate) date: Option<String>,
}

impl Answer {
    /// Returns whether the answer has this status.
    pub(crate) fn is(&self, status: u16) -> bool {
        self.status == status
    }
}

/// Codes of transient errors, whatever their status.
const PASSING: [&str; 11] = [
    "BadDigest",
    "ConditionalRequestConflict",
    "InternalError",
    "Md5Mismatch",
    "OperationAborted",
    "OperationTimedOut",
    "RequestTimeout",
    "ServerBusy",
    "ServiceUnavailable",
    "SlowDown",
    "XAmzContentSHA256Mismatch",
];
/// Codes for bytes that did not arrive as they were sent.
const CORRUPT: [&str; 4] = ["BadDigest", "InvalidDigest", "Md5Mismatch", "XAmzContentSHA256Mismatch"];
/// Codes of wrong credentials, with status 400.
const DENIED: [&str; 6] = [
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestExpired",
    "TokenRefreshRequired",
];
/// Codes of an exhausted quota or disk.
const FULL: [&str; 5] = [
    "InsufficientStorage",
    "QuotaExceeded",
    "StorageFull",
    "XMinioAdminBucketQuotaExceeded",
    "XMinioStorageFull",
];

impl Failure {
    /// Returns whether the same request may succeed later.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Answer(answer) => {
                let is_full = FULL.contains(&answer.code.as_str());
                PASSING.contains(&answer.code.as_str())
                    || (matches!(answer.status, 408 | 425 | 429 | 500 | 502 | 503 | 504) && !is_full)
            }
            Self::Transport(_) | Self::Malformed(_) => true,
            Self::Unspeakable(_) | Self::Sink(_) => false,
        }
    }

    /// Returns whether the credentials are no longer valid.
    pub(crate) fn is_expired(&self) -> bool {
        match self {
            Self::Answer(answer) => {
                answer.is(401) || DENIED.contains(&answer.code.as_str()) || answer.code.contains("Expired")
            }
            _ => false,
        }
    }

    /// Returns whether the bytes did not have the hash that the request named.
    pub(crate) fn is_corrupt(&self) -> bool {
        matches!(self, Self::Answer(answer) if CORRUPT.contains(&answer.code.as_str()))
    }

    /// Removes secrets: a store might repeat a header, and an address may contain a signature.
    pub(super) fn without(self, secrets: &[&str]) -> Self {
        let clean = |text: &mut String| {
            for secret in secrets.iter().filter(|secret| secret.len() > 7) {
                *text = text.replace(secret, run_common::provenance::redact::REDACTED);
            }
        };
        let mut failure = self;
        match &mut failure {
            Self::Answer(answer) => {
                [&mut answer.code, &mut answer.message, &mut answer.request].into_iter().for_each(clean);
            }
            Self::Transport(text) | Self::Unspeakable(text) | Self::Malformed(text) => clean(text),
            Self::Sink(_) => {}
        }
        failure
    }

    /// Returns the fault of a list: if the list is missing, the store is.
    pub(super) fn of_list(self) -> Fault {
        if self.status() == 404 { Fault::NoStore(self.to_string()) } else { self.into() }
    }

    /// Returns the status of the answer, or 0 without an answer.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Answer(answer) => answer.status,
            _ => 0,
        }
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        let why = failure.to_string();
        let may_pass = failure.may_pass();
        match failure {
            Failure::Sink(error) => Self::Sink(error),
            Failure::Unspeakable(why) => Self::Refused(why),
            Failure::Transport(_) | Failure::Malformed(_) => Self::Unavailable(why),
            Failure::Answer(answer) => match (answer.status, answer.code.as_str()) {
                (_, "NoSuchBucket" | "ContainerNotFound" | "InvalidBucketName") => Self::NoStore(why),
                (_, code) if CORRUPT.contains(&code) => Self::Corrupt(why),
                (_, code) if FULL.contains(&code) => Self::Full(why),
                (_, code) if DENIED.contains(&code) => Self::Denied(why),
                (404, _) => Self::NotFound,
                (412, _) | (409, "BlobAlreadyExists") => Self::Exists,
                (401 | 403, _) => Self::Denied(why),
                (507, _) => Self::Full(why),
                _ if may_pass => Self::Unavailable(why),
                _ => Self::Refused(why),
            },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(answer) => {
                write!(f, "the store answered {}", answer.status)?;
                if !answer.code.is_empty() {
                    write!(f, " {}", plain(&answer.code))?;
                }
                if !answer.message.is_empty() {
                    write!(f, " ({})", plain(answer.message.trim_end_matches('.')))?;
                }
                if !answer.request.is_empty() {
                    write!(f, ", request {}", plain(&answer.request))?;
                }
                Ok(())
            }
            Self::Transport(why) | Self::Unspeakable(why) => f.write_str(why),
            Self::Malformed(why) => {
                write!(f, "the store answered something else than it should: {}", plain(why))
            }
            Self::Sink(error) => f.write_str(&run_common::error::plain(error)),
        }
    }
}

impl From<ureq::Error> for Failure {
    fn from(error: ureq::Error) -> Self {
        let what = match &error {
            ureq::Error::Io(error) => {
                match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
                    Some(inner) => inner.to_string(),
                    None => run_common::error::plain(error),
                }
            }
            ureq::Error::Timeout(_) => "no answer came in time".to_owned(),
            ureq::Error::HostNotFound => "its host is not known".to_owned(),
            error => error.to_string(),
        };
        match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
                Self::Unspeakable(what)
            }
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_) => {
                Self::Unspeakable(format!("TLS: {what}"))
            }
            _ => Self::Transport(what),
        }
    }
}
