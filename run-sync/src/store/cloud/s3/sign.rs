//! Signatures of requests: AWS Signature Version 4 for S3.
//!
//! Source: "Authenticating Requests: Using the Authorization Header", Amazon S3 API Reference. Unlike other
//! services, S3 encodes paths once and never normalises them.

use super::dialect::Dialect;
use crate::format::digest::Digest;
use chrono::{DateTime, Utc};
use ring::hmac::{HMAC_SHA256, Key, Tag, sign};
use std::fmt;
use std::fmt::Write as _;

/// The keys of the client.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// ID of the access key, which is no secret.
    pub(crate) key: String,
    /// The secret access key.
    pub(crate) secret: String,
    /// The session token of temporary credentials.
    pub(crate) token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The signed parts of a request.
pub(super) struct Signed<'a> {
    /// `GET`, `PUT`, …
    pub(super) method: &'a str,
    /// The path, encoded.
    pub(super) path: &'a str,
    /// The query, encoded, its pairs sorted by name.
    pub(super) query: &'a str,
    /// All signed headers, in lower case and sorted, with at least `host`, the hash of the body and the time.
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// The hash of the body.
    pub(super) body: &'a Digest,
}

/// Returns the value of the header `authorization`.
pub(super) fn authorization(
    who: &Credentials,
    dialect: Dialect,
    region: &str,
    now: DateTime<Utc>,
    request: &Signed<'_>,
) -> String {
    let signed = request.headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let Signed { method, path, query, headers, body } = request;
    let mut canonical = format!("{method}\n{path}\n{query}\n");
    for (name, value) in *headers {
        let _ = writeln!(canonical, "{name}:{}", value.trim()); // writing to a String cannot fail
    }
    let _ = write!(canonical, "\n{signed}\n{body}");
    let day = now.format("%Y%m%d").to_string();
    let names = dialect.names();
    let scope = format!("{day}/{region}/{}/{}", names.service, names.request);
    let digest = Digest::of(canonical.as_bytes());
    let text = format!("{}\n{}\n{scope}\n{digest}", names.algorithm, now.format("%Y%m%dT%H%M%SZ"));
    let first = mac(format!("{}{}", names.version, who.secret).as_bytes(), &day);
    let key = [region, names.service, names.request].iter().fold(first, |key, part| mac(key.as_ref(), part));
    let signature: String =
        mac(key.as_ref(), &text).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} Credential={}/{scope},SignedHeaders={signed},Signature={signature}", names.algorithm, who.key)
}

fn mac(key: &[u8], text: &str) -> Tag {
    sign(&Key::new(HMAC_SHA256, key), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples "GET Object" and "PUT Object" of the reference.
    #[test]
    fn requests_are_signed_as_the_reference_shows() {
        let who = Credentials {
            key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            token: None,
        };
        let now = DateTime::parse_from_rfc3339("2013-05-24T00:00:00Z").unwrap().to_utc();
        let signature = |method, path, body: &[u8], more: &[(&'static str, &'static str)]| {
            let body = Digest::of(body);
            let digest = body.to_string();
            let mut headers = vec![
                ("host", "examplebucket.s3.amazonaws.com"),
                ("x-amz-content-sha256", digest.as_str()),
                ("x-amz-date", "20130524T000000Z"),
            ];
            headers.extend_from_slice(more);
            headers.sort_unstable();
            let request = Signed { method, path, query: "", headers: &headers, body: &body };
            authorization(&who, Dialect::Amazon, "us-east-1", now, &request)
        };
        let got = signature("GET", "/test.txt", b"", &[("range", "bytes=0-9")]);
        assert!(got.ends_with("=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"), "{got}");
        let more = [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
        let got = signature("PUT", "/test%24file.text", b"Welcome to Amazon S3.", &more);
        assert!(got.ends_with("=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"), "{got}");
    }

    /// Computed with Python's hmac and hashlib, by the steps of "Signatures", Cloud Storage reference.
    #[test]
    fn google_has_names_of_its_own() {
        let who = Credentials { key: "GOOGTEST".into(), secret: "a/secret+key".into(), token: None };
        let now = DateTime::parse_from_rfc3339("2026-07-03T01:02:03Z").unwrap().to_utc();
        let body = Digest::of(b"abc");
        let digest = body.to_string();
        let headers = [
            ("content-md5", "kAFQmDzST7DWlj99KOF/cg=="),
            ("host", "storage.googleapis.com"),
            ("x-goog-content-sha256", digest.as_str()),
            ("x-goog-date", "20260703T010203Z"),
            ("x-goog-if-generation-match", "0"),
        ];
        let request = Signed { method: "PUT", path: "/b/a%20b", query: "", headers: &headers, body: &body };
        let got = authorization(&who, Dialect::Google, "auto", now, &request);
        assert_eq!(
            got,
            "GOOG4-HMAC-SHA256 Credential=GOOGTEST/20260703/auto/storage/goog4_request,SignedHeaders=content-md5;host;x-goog-content-sha256;x-goog-date;x-goog-if-generation-match,Signature=90001898d7812e7f107586d1231e4d788acbd758e348a961418c0c4c4cc6979c"
        );
    }
}
