//! The protocol of S3 as Google Cloud Storage speaks it: other names in signatures and headers, other conditions.
//!
//! Source: "XML API" and "HMAC keys", Cloud Storage reference. Names of Amazon are taken there, too, but not beside those
//! that only Google has, and conditions of writes are among these.

/// Whose protocol a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Amazon's, which most servers speak.
    Amazon,
    /// Google's.
    Google,
}

/// Names of a dialect.
#[derive(Debug)]
pub(super) struct Names {
    /// Of the kind of signature.
    pub(super) algorithm: &'static str,
    /// What the secret is preceded by.
    pub(super) version: &'static str,
    /// Of the service.
    pub(super) service: &'static str,
    /// Of a request.
    pub(super) request: &'static str,
    /// The header that has the time.
    pub(super) date: &'static str,
    /// The header that has the hash of the body.
    pub(super) hash: &'static str,
    /// The variable that names another server.
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
    /// Its names.
    pub(super) fn names(self) -> &'static Names {
        match self {
            Self::Amazon => &AMAZON,
            Self::Google => &GOOGLE,
        }
    }
}
