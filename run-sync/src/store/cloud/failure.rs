//! Why a request to an object store had no success, and what that means for who asked.

use super::super::fault::Fault;
use super::text::plain;
use std::fmt;
use std::io;
use std::time::Duration;

/// Why a request had no success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The store answered with an error.
    Answer(Box<Answer>),
    /// No whole answer came: nothing is known of what the store did.
    Transport(String),
    /// The store cannot be spoken to: its certificate or address is wrong.
    Unspeakable(String),
    /// The answer does not follow the protocol.
    Malformed(String),
    /// Who took the bytes has failed.
    Sink(io::Error),
}

/// An error that a store answered with.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The status of HTTP.
    pub(crate) status: u16,
    /// The code of the error, such as `SlowDown`; empty where the answer had none, as that to HEAD.
    pub(crate) code: String,
    /// What the store says.
    pub(crate) message: String,
    /// The store's own name of the request, for its operators.
    pub(crate) request: String,
    /// When to ask again.
    pub(crate) retry_after: Option<Duration>,
    /// The region that the bucket is in, where the store tells.
    pub(crate) region: Option<String>,
    /// Where to ask instead.
    pub(crate) location: Option<String>,
    /// The store's clock.
    pub(crate) date: Option<String>,
}

impl Answer {
    /// The status alone, for what has no text.
    pub(crate) fn is(&self, status: u16) -> bool {
        self.status == status
    }
}

/// Codes of answers that may be others later, whatever their status is.
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
/// What was sent did not arrive as it was.
const CORRUPT: [&str; 4] = ["BadDigest", "InvalidDigest", "Md5Mismatch", "XAmzContentSHA256Mismatch"];
/// Credentials that are wrong, with a status of 400.
const DENIED: [&str; 6] = [
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestExpired",
    "TokenRefreshRequired",
];
/// Codes that tell that something is used up.
const FULL: [&str; 5] = [
    "InsufficientStorage",
    "QuotaExceeded",
    "StorageFull",
    "XMinioAdminBucketQuotaExceeded",
    "XMinioStorageFull",
];

impl Failure {
    /// Returns whether the same request may have success later.
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

    /// Returns whether the credentials that were used are no longer good.
    pub(crate) fn is_expired(&self) -> bool {
        match self {
            Self::Answer(answer) => {
                answer.is(401) || DENIED.contains(&answer.code.as_str()) || answer.code.contains("Expired")
            }
            _ => false,
        }
    }

    /// Returns whether the store tells that the bytes are not those of their hash.
    pub(crate) fn is_corrupt(&self) -> bool {
        matches!(self, Self::Answer(answer) if CORRUPT.contains(&answer.code.as_str()))
    }

    /// Takes what is secret out: a store might repeat a header, and an address may have a signature in it.
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

    /// Makes the fault of a list: where there is none, there is no store.
    pub(super) fn of_list(self) -> Fault {
        if self.status() == 404 { Fault::NoStore(self.to_string()) } else { self.into() }
    }

    /// Returns the status of the answer, 0 if there was none.
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
