//! Amazon S3, and what speaks its protocol, as a store.
//!
//! Source: Amazon S3 API Reference.

mod bucket;
mod credentials;
mod list;
mod place;
mod sign;

use super::failure::Failure;
use super::http::{header, headers, text};
use super::text::{base64, xml};
use super::xml::elements;
use crate::format::digest::Digest;
use crate::store::abilities::Abilities;
use crate::store::access::Access;
use crate::store::fault::Fault;
use crate::store::{Checks, Experiments, Object, Part, Sink, Store, Stored, Upload};
use bucket::{Ask, Bucket};
use run_common::error::{Error, Exit};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::OnceLock;

/// When an object is stored.
enum When<'a> {
    Always,
    /// If none has its key.
    Absent,
    /// If the one that has its key has this tag.
    Is(&'a str),
}

/// A prefix in a bucket.
#[derive(Debug)]
pub(crate) struct S3 {
    bucket: Bucket,
    /// Empty, or ends in `/`.
    prefix: String,
    /// How messages call it.
    name: String,
    /// What it was seen to check.
    checks: OnceLock<Checks>,
    /// The hash of an empty body.
    nothing: Digest,
}

impl S3 {
    /// Finds the address of a bucket and who asks; nothing is sent.
    pub(crate) fn new(name: &str, bucket: &str, prefix: &str, access: &Access) -> Result<Self, Error> {
        let bucket = Bucket::new(bucket, access).map_err(|why| {
            let error = Error::new(Exit::System, format!("cannot use {name}")).because(why);
            error.hint("see run-sync(1), CREDENTIALS")
        })?;
        let (prefix, name) = (prefix.to_owned(), name.to_owned());
        Ok(Self { bucket, prefix, name, checks: OnceLock::new(), nothing: Digest::of(b"") })
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Makes a request without a body.
    fn plain<'a>(&'a self, method: &'a str, key: &'a str, query: &'a [(&'a str, &'a str)]) -> Ask<'a> {
        Ask { method, key, query, headers: &[], body: &[], sha256: &self.nothing }
    }

    fn put_when(&self, key: &str, bytes: &[u8], sha256: &Digest, when: &When<'_>) -> Result<Stored, Failure> {
        let (key, checksum) = (self.key(key), base64(&sha256.0));
        let mut with = vec![("x-amz-checksum-sha256", checksum.as_str())];
        match when {
            When::Always => {}
            When::Absent => with.push(("if-none-match", "*")),
            When::Is(tag) => with.push(("if-match", tag)),
        }
        let ask = Ask { method: "PUT", key: &key, query: &[], headers: &with, body: bytes, sha256 };
        self.bucket.run(&ask, |answer| stored(&headers(answer)?))
    }

    /// Looks whether an upload that the store no longer has has become its object: the answer to its end was lost.
    fn has_completed(&self, upload: &Upload, parts: &[Part]) -> Result<Option<Stored>, Failure> {
        let key = self.key(&upload.key);
        let with = [("x-amz-checksum-mode", "ENABLED")];
        let ask = Ask { headers: &with, ..self.plain("HEAD", &key, &[]) };
        let found = match self.bucket.run(&ask, headers) {
            Err(failure) if failure.status() == 404 => return Ok(None),
            found => found?,
        };
        let size: u64 = header(&found, "content-length").and_then(|size| size.parse().ok()).unwrap_or(0);
        let tag = header(&found, "etag").unwrap_or_default().trim_matches('"');
        let count = parts.len() as u64;
        // Where the store keeps checksums: the hash of the hashes of the parts, and how many these are.
        let hashes: Vec<u8> = parts.iter().flat_map(|part| part.sha256.0).collect();
        let checksum = format!("{}-{count}", base64(&Digest::of(&hashes).0));
        let is_ours = match header(&found, "x-amz-checksum-sha256") {
            Some(theirs) => theirs == checksum,
            None => tag.ends_with(&format!("-{count}")),
        };
        let is_long = size.div_ceil(upload.part_size.max(1)) == count;
        (is_ours && is_long).then(|| stored(&found)).transpose()
    }
}

fn stored(headers: &ureq::http::HeaderMap) -> Result<Stored, Failure> {
    match header(headers, "etag") {
        Some(tag) => Ok(Stored { tag: Some(tag.to_owned()) }),
        None => Err(Failure::Malformed("there is no ETag".to_owned())),
    }
}

impl Store for S3 {
    fn prepare(&self) -> Result<(), Error> {
        if self.checks.get().is_none() {
            let address = format!("{}/{}", self.bucket.address(), self.prefix);
            let abilities = Abilities::known_or_seen(self, self, &address)
                .map_err(|fault| fault.error("use", crate::format::key::ABILITIES, &self.name))?;
            let _ = self.checks.set(abilities.checks()); // another thread may have been faster
        }
        Ok(())
    }

    fn put(&self, key: &str, bytes: &[u8], sha256: &Digest) -> Result<Stored, Fault> {
        Ok(self.put_when(key, bytes, sha256, &When::Always)?)
    }

    fn create(&self, key: &str, bytes: &[u8], sha256: &Digest) -> Result<Stored, Fault> {
        Ok(self.put_when(key, bytes, sha256, &When::Absent)?)
    }

    fn get(&self, key: &str, range: Option<Range<u64>>, sink: &mut Sink<'_>) -> Result<(), Fault> {
        let key = self.key(key);
        let Range { start, end } = range.unwrap_or(0..u64::MAX);
        if start >= end {
            let there = self.bucket.run(&self.plain("HEAD", &key, &[]), headers);
            return Ok(there.map(drop)?);
        }
        let (mut at, mut attempts) = (start, self.bucket.retry.begin());
        loop {
            let before = at;
            match self.get_on(&key, &mut at, end, sink) {
                Ok(()) => return Ok(()),
                Err(failure) => {
                    if at > before {
                        attempts.progressed();
                    }
                    attempts.failed(failure)?;
                }
            }
        }
    }

    fn head(&self, key: &str) -> Result<Option<Object>, Fault> {
        let whole = self.key(key);
        match self.bucket.run(&self.plain("HEAD", &whole, &[]), headers) {
            Ok(found) => {
                let size = header(&found, "content-length").and_then(|size| size.parse().ok());
                let size = size.ok_or_else(|| Failure::Malformed("there is no length".to_owned()))?;
                let tag = header(&found, "etag").map(ToOwned::to_owned);
                Ok(Some(Object { key: key.to_owned(), size, tag }))
            }
            Err(failure) if failure.status() == 404 => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Object)) -> Result<(), Fault> {
        let mut objects = self.list_all(&self.key(prefix), false)?.objects;
        for object in &mut objects {
            object.key.drain(..self.prefix.len());
        }
        if !objects.is_sorted_by(|one, other| one.key < other.key) {
            objects.sort_unstable_by(|one, other| one.key.cmp(&other.key)); // as some stores list
            objects.dedup_by(|one, other| one.key == other.key);
        }
        objects.into_iter().for_each(each);
        Ok(())
    }

    fn list_directories(&self, prefix: &str) -> Result<Vec<String>, Fault> {
        let below = self.key(prefix);
        let mut names: Vec<String> = self
            .list_all(&below, true)?
            .directories
            .iter()
            .filter_map(|found| Some(found.strip_prefix(&below)?.trim_end_matches('/').to_owned()))
            .filter(|name| !name.is_empty())
            .collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    fn delete(&self, key: &str) -> Result<(), Fault> {
        match self.bucket.run(&self.plain("DELETE", &self.key(key), &[]), headers) {
            Err(failure) if failure.status() != 404 => Err(failure.into()),
            _ => Ok(()),
        }
    }

    fn begin(&self, key: &str, part_size: u64) -> Result<Upload, Fault> {
        let whole = self.key(key);
        let with = [("x-amz-checksum-algorithm", "SHA256")];
        let ask = Ask { headers: &with, ..self.plain("POST", &whole, &[("uploads", "")]) };
        let id = self.bucket.run(&ask, |answer| {
            let mut id = String::new();
            elements(&text(answer)?, &mut |path, text| {
                if let ["InitiateMultipartUploadResult", "UploadId"] = path {
                    text.clone_into(&mut id);
                }
                Ok(())
            })?;
            if id.is_empty() { Err(Failure::Malformed("there is no UploadId".to_owned())) } else { Ok(id) }
        })?;
        Ok(Upload { key: key.to_owned(), id, part_size })
    }

    fn put_part(&self, upload: &Upload, number: u32, bytes: &[u8], sha256: &Digest) -> Result<Part, Fault> {
        let (key, number_text, checksum) = (self.key(&upload.key), number.to_string(), base64(&sha256.0));
        let query = [("partNumber", number_text.as_str()), ("uploadId", &upload.id)];
        let with = [("x-amz-checksum-sha256", checksum.as_str())];
        let ask = Ask { method: "PUT", key: &key, query: &query, headers: &with, body: bytes, sha256 };
        let stored = self.bucket.run(&ask, |answer| stored(&headers(answer)?))?;
        Ok(Part { number, tag: stored.tag.unwrap_or_default(), sha256: *sha256 })
    }

    fn complete(&self, upload: &Upload, parts: &[Part]) -> Result<Stored, Fault> {
        let key = self.key(&upload.key);
        let mut body = String::from("<CompleteMultipartUpload>");
        for Part { number, tag, sha256 } in parts {
            let (tag, sha256) = (xml(tag), base64(&sha256.0));
            let _ = write!(
                body,
                "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag><ChecksumSHA256>{sha256}</ChecksumSHA256></Part>"
            );
        }
        body += "</CompleteMultipartUpload>";
        let query = [("uploadId", upload.id.as_str())];
        let sha256 = Digest::of(body.as_bytes());
        let ask = Ask {
            method: "POST",
            key: &key,
            query: &query,
            headers: &[],
            body: body.as_bytes(),
            sha256: &sha256,
        };
        let completed = self.bucket.run(&ask, |answer| {
            let mut tag = None;
            elements(&text(answer)?, &mut |path, text| {
                if let ["CompleteMultipartUploadResult", "ETag"] = path {
                    tag = Some(text.to_owned());
                }
                Ok(())
            })?;
            tag.ok_or_else(|| Failure::Malformed("there is no ETag".to_owned()))
        });
        match completed {
            Ok(tag) => Ok(Stored { tag: Some(tag) }),
            Err(failure) if failure.status() == 404 => match self.has_completed(upload, parts)? {
                Some(stored) => Ok(stored),
                None => Err(failure.into()),
            },
            Err(failure) => Err(failure.into()),
        }
    }

    fn abort(&self, upload: &Upload) -> Result<(), Fault> {
        let (key, query) = (self.key(&upload.key), [("uploadId", upload.id.as_str())]);
        match self.bucket.run(&self.plain("DELETE", &key, &query), headers) {
            Err(failure) if failure.status() != 404 => Err(failure.into()),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> Result<(), Fault> {
        Ok(()) // an answer is given when an object is safe
    }

    fn checks(&self) -> Checks {
        self.checks.get().copied().unwrap_or(Checks::Nothing)
    }

    fn experiments(&self) -> Option<&dyn Experiments> {
        Some(self)
    }
}

impl Experiments for S3 {
    fn refuses(&self, key: &str, bytes: &[u8], wrong: &Digest) -> Result<bool, Fault> {
        let (key, checksum) = (self.key(key), base64(&wrong.0));
        let with = [("x-amz-checksum-sha256", checksum.as_str())];
        let ask = Ask { method: "PUT", key: &key, query: &[], headers: &with, body: bytes, sha256: wrong };
        Ok(self.bucket.retry.run(|| match self.bucket.ask(&ask).and_then(headers) {
            Ok(_) => Ok(false),
            Err(failure) if failure.is_corrupt() || failure.status() == 400 => Ok(true),
            Err(failure) => Err(failure),
        })?)
    }

    fn replace(&self, key: &str, bytes: &[u8], sha256: &Digest, tag: &str) -> Result<Stored, Fault> {
        Ok(self.put_when(key, bytes, sha256, &When::Is(tag))?)
    }

    fn redirects(&self) -> bool {
        self.bucket.redirects()
    }

    fn address(&self) -> String {
        format!("{}/{}", self.bucket.address(), self.prefix)
    }
}

impl S3 {
    /// Reads on from `at`, which follows what was handed on, up to `end`.
    fn get_on(&self, key: &str, at: &mut u64, end: u64, sink: &mut Sink<'_>) -> Result<(), Failure> {
        let range = match end {
            u64::MAX => format!("bytes={at}-"),
            end => format!("bytes={at}-{}", end - 1),
        };
        let with = [("range", range.as_str())];
        let is_whole = *at == 0 && end == u64::MAX;
        let ask = Ask { headers: if is_whole { &[] } else { &with }, ..self.plain("GET", key, &[]) };
        let answer = match self.bucket.ask(&ask) {
            Err(failure) if failure.status() == 416 => return Ok(()), // it begins behind the last byte
            answer => answer?,
        };
        let length = header(answer.headers(), "content-length").and_then(|length| length.parse::<u64>().ok());
        // A store that knows no ranges sends all.
        let mut skip = if answer.status() == 206 { 0 } else { *at };
        if answer.status() == 206 {
            let told = header(answer.headers(), "content-range").unwrap_or_default();
            if !told.starts_with(&format!("bytes {at}-")) {
                return Err(Failure::Malformed(format!("'{told}' in place of '{range}'")));
            }
        }
        let mut received = 0;
        self.bucket.http.receive(answer, |bytes| {
            received += bytes.len() as u64;
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
            skip -= skipped as u64;
            let most = usize::try_from(end - *at).unwrap_or(usize::MAX);
            let bytes = &bytes[skipped..];
            let bytes = &bytes[..bytes.len().min(most)];
            if !bytes.is_empty() {
                sink(bytes).map_err(Failure::Sink)?;
                *at += bytes.len() as u64;
            }
            Ok(())
        })?;
        match length {
            Some(length) if length != received => {
                Err(Failure::Transport("the connection was cut".to_owned()))
            }
            _ => Ok(()),
        }
    }
}
