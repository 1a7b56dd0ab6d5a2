//! The protocol of S3 in the dialect of Google Cloud Storage: other names in signatures and headers, other
//! conditions.
//!
//! Source: "XML API" and "HMAC keys", Cloud Storage reference. Google accepts Amazon's names, too, but not
//! together with names of its own, such as the conditions of writes.

/// The dialect of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Amazon's dialect, as most servers speak it.
    Amazon,
    /// Google's dialect.
    Google,
}

/// The names in a dialect.
#[derive(Debug)]
pub(super) struct Names {
    /// Algorithm of the signature.
    pub(super) algorithm: &'static str,
    /// Prefix of the secret.
    pub(super) version: &'static str,
    /// Name of the service.
    pub(super) service: &'static str,
    /// End of the scope of a signature.
    pub(super) request: &'static str,
    /// Header with the time.
    pub(super) date: &'static str,
    /// Header with the hash of the body.
    pub(super) hash: &'static str,
    /// Variable with the address of another server.
    pub(super) endpoint: &'static str,
}

const AMAZON: Names = Names {
    algorithm: "AWS4-HMAC-SHA256",
    version: "AWS4",
    service: "s3",
    request: "aws4_request",
    date: "x-amz-date",
    hash: "x-amz-content-sha256",
    endpoint: "AWS_ENDPOINT_URL",
};

const GOOGLE: Names = Names {
    algorithm: "GOOG4-HMAC-SHA256",
    version: "GOOG4",
    service: "storage",
    request: "goog4_request",
    date: "x-goog-date",
    hash: "x-goog-content-sha256",
    endpoint: "STORAGE_EMULATOR_HOST",
};

impl Dialect {
    /// Returns the names of the dialect.
    pub(super) fn names(self) -> &'static Names {
        match self {
            Self::Amazon => &AMAZON,
            Self::Google => &GOOGLE,
        }
    }
}
