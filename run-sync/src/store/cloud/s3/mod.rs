//! Amazon S3, and servers with the same protocol, as stores; Google Cloud Storage, too, whose XML API has other
//! names.
//!
//! Sources: Amazon S3 API Reference; "XML API", Cloud Storage reference.

mod address;
mod bucket;
mod credentials;
pub(crate) mod dialect;
mod google;
mod list;
mod sign;

use super::When;
use super::failure::{Answer, Failure};
use super::http::{header, headers, text};
use super::read::read;
use super::text::{base64, md5, xml};
use super::xml::elements;
use crate::format::digest::Digest;
use crate::store::abilities::Abilities;
use crate::store::access::Access;
use crate::store::fault::Fault;
use crate::store::{Checks, Experiments, Object, Part, Sink, Store, Stored, Upload};
use bucket::{Ask, Bucket};
use dialect::Dialect;
use run_common::error::{Error, Exit};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::OnceLock;
use uuid::Uuid;

/// Metadata of a Google object that was sent in parts: its `ETag` does not tell the parts.
const MARK: &str = "x-goog-meta-run-sync-upload";

/// A prefix in a bucket.
#[derive(Debug)]
pub(crate) struct S3 {
    bucket: Bucket,
    /// Empty, or ends in `/`.
    prefix: String,
    /// Name of the store in messages.
    name: String,
    /// What the store was seen to check.
    checks: OnceLock<Checks>,
    /// The hash of an empty body.
    nothing: Digest,
}

impl S3 {
    /// Finds credentials and the address of a bucket, without a request.
    pub(crate) fn new(
        dialect: Dialect,
        name: &str,
        bucket: &str,
        prefix: &str,
        access: &Access,
    ) -> Result<Self, Error> {
        let bucket = Bucket::new(dialect, bucket, access).map_err(|why| {
            let error = Error::new(Exit::System, format!("cannot use {name}")).because(why);
            error.hint("see run-sync(1), CREDENTIALS")
        })?;
        let (prefix, name) = (prefix.to_owned(), name.to_owned());
        Ok(Self { bucket, prefix, name, checks: OnceLock::new(), nothing: Digest::of(b"") })
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn upload_id<'a>(&self, upload: &'a Upload) -> &'a str {
        match self.bucket.dialect {
            Dialect::Amazon => &upload.id,
            Dialect::Google => mark(upload).1,
        }
    }

    /// Returns a request without a body.
    fn plain<'a>(&'a self, method: &'a str, key: &'a str, query: &'a [(&'a str, &'a str)]) -> Ask<'a> {
        Ask { method, key, query, headers: &[], body: &[], sha256: &self.nothing }
    }

    fn put_when(&self, key: &str, bytes: &[u8], sha256: &Digest, when: When<'_>) -> Result<Stored, Failure> {
        let (key, (name, checksum)) = (self.key(key), self.checksum(bytes, sha256));
        let generation;
        let mut with = vec![(name, checksum.as_str())];
        match (self.bucket.dialect, when) {
            (_, When::Always) => {}
            (Dialect::Amazon, When::Absent) => with.push(("if-none-match", "*")),
            (Dialect::Amazon, When::Is(tag)) => with.push(("if-match", tag)),
            (Dialect::Google, When::Absent) => with.push(("x-goog-if-generation-match", "0")),
            (Dialect::Google, When::Is(tag)) => {
                generation = self.generation(&key, tag)?;
                with.push(("x-goog-if-generation-match", &generation));
            }
        }
        let ask = Ask { method: "PUT", key: &key, query: &[], headers: &with, body: bytes, sha256 };
        self.bucket.run(&ask, |answer| stored(&headers(answer)?))
    }

    /// Returns the header with which the store checks the bytes: their SHA-256, or the MD5 for Google.
    fn checksum(&self, bytes: &[u8], sha256: &Digest) -> (&'static str, String) {
        match self.bucket.dialect {
            Dialect::Amazon => ("x-amz-checksum-sha256", base64(&sha256.0)),
            Dialect::Google => ("content-md5", md5(bytes)),
        }
    }

    /// Returns Google's generation of the object if it has this tag, else status 412.
    fn generation(&self, key: &str, tag: &str) -> Result<String, Failure> {
        let found = self.bucket.run(&self.plain("HEAD", key, &[]), headers)?;
        match header(&found, "x-goog-generation").filter(|_| header(&found, "etag") == Some(tag)) {
            Some(generation) => Ok(generation.to_owned()),
            None => {
                let code = "PreconditionFailed".to_owned();
                Err(Failure::Answer(Box::new(Answer { status: 412, code, ..Answer::default() })))
            }
        }
    }

    /// Returns the object of an upload that the store no longer has, if the upload was completed and the answer
    /// was lost.
    fn has_completed(&self, upload: &Upload, parts: &[Part]) -> Result<Option<Stored>, Failure> {
        let key = self.key(&upload.key);
        let with = [("x-amz-checksum-mode", "ENABLED")];
        let with: &[_] = if self.bucket.dialect == Dialect::Amazon { &with } else { &[] };
        let ask = Ask { headers: with, ..self.plain("HEAD", &key, &[]) };
        let found = match self.bucket.run(&ask, headers) {
            Err(failure) if failure.status() == 404 => return Ok(None),
            found => found?,
        };
        let size: u64 = header(&found, "content-length").and_then(|size| size.parse().ok()).unwrap_or(0);
        let tag = header(&found, "etag").unwrap_or_default().trim_matches('"');
        let count = parts.len() as u64;
        // A store that keeps checksums has the hash of the hashes of the parts, and their number.
        let hashes: Vec<u8> = parts.iter().flat_map(|part| part.sha256.0).collect();
        let checksum = format!("{}-{count}", base64(&Digest::of(&hashes).0));
        let is_ours = match header(&found, "x-amz-checksum-sha256") {
            _ if self.bucket.dialect == Dialect::Google => header(&found, MARK) == Some(mark(upload).0),
            Some(theirs) => theirs == checksum,
            None => tag.ends_with(&format!("-{count}")),
        };
        let is_long = size.div_ceil(upload.part_size.max(1)) == count;
        (is_ours && is_long).then(|| stored(&found)).transpose()
    }
}

/// Splits the ID of an upload to Google into the mark of its object, and Google's own ID.
fn mark(upload: &Upload) -> (&str, &str) {
    upload.id.split_once('/').unwrap_or(("", &upload.id))
}

fn stored(headers: &ureq::http::HeaderMap) -> Result<Stored, Failure> {
    match header(headers, "etag") {
        Some(tag) => Ok(Stored { tag: Some(tag.to_owned()) }),
        None => Err(Failure::Malformed("there is no ETag".to_owned())),
    }
}

impl Store for S3 {
    fn prepare(&self) -> Result<(), Error> {
        Abilities::settle(self, self, &self.name, &self.checks)
    }

    fn put(&self, key: &str, bytes: &[u8], sha256: &Digest) -> Result<Stored, Fault> {
        Ok(self.put_when(key, bytes, sha256, When::Always)?)
    }

    fn create(&self, key: &str, bytes: &[u8], sha256: &Digest) -> Result<Stored, Fault> {
        Ok(self.put_when(key, bytes, sha256, When::Absent)?)
    }

    fn get(&self, key: &str, range: Option<Range<u64>>, sink: &mut Sink<'_>) -> Result<(), Fault> {
        let key = self.key(key);
        let Range { start, end } = range.unwrap_or(0..u64::MAX);
        if start >= end {
            let there = self.bucket.run(&self.plain("HEAD", &key, &[]), headers);
            return Ok(there.map(drop)?);
        }
        let ask = |range: Option<&str>| {
            let with = range.map(|range| ("range", range));
            self.bucket.ask(&Ask { headers: with.as_slice(), ..self.plain("GET", &key, &[]) })
        };
        Ok(read(&self.bucket.http, &self.bucket.retry, start..end, &ask, sink)?)
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
        self.list_all(&self.key(prefix), false).map_err(Failure::of_list)?.each(&self.prefix, each);
        Ok(())
    }

    fn list_directories(&self, prefix: &str) -> Result<Vec<String>, Fault> {
        let below = self.key(prefix);
        Ok(self.list_all(&below, true).map_err(Failure::of_list)?.names(&below))
    }

    fn delete(&self, key: &str) -> Result<(), Fault> {
        match self.bucket.run(&self.plain("DELETE", &self.key(key), &[]), headers) {
            Err(failure) if failure.status() != 404 => Err(failure.into()),
            _ => Ok(()),
        }
    }

    fn begin(&self, key: &str, part_size: u64) -> Result<Upload, Fault> {
        let whole = self.key(key);
        let mark = Uuid::new_v4().simple().to_string();
        let with = match self.bucket.dialect {
            Dialect::Amazon => [("x-amz-checksum-algorithm", "SHA256")],
            Dialect::Google => [(MARK, mark.as_str())],
        };
        let ask = Ask { headers: &with, ..self.plain("POST", &whole, &[("uploads", "")]) };
        let mut tries = 0;
        let mut begun = |answer| {
            let mut id = String::new();
            elements(&text(answer)?, &mut |path, text| {
                if let ["InitiateMultipartUploadResult", "UploadId"] = path {
                    text.clone_into(&mut id);
                }
                Ok(())
            })?;
            if id.is_empty() { Err(Failure::Malformed("there is no UploadId".to_owned())) } else { Ok(id) }
        };
        let id = self.bucket.retry.run(|| {
            tries += 1;
            self.bucket.ask(&ask).and_then(&mut begun)
        })?;
        if tries > 1 {
            let _ = self.give_up_others(&whole, Some(&id)); // best effort, for lost answers
        }
        let id = if self.bucket.dialect == Dialect::Google { format!("{mark}/{id}") } else { id };
        Ok(Upload { key: key.to_owned(), id, part_size })
    }

    fn put_part(&self, upload: &Upload, number: u32, bytes: &[u8], sha256: &Digest) -> Result<Part, Fault> {
        let (key, number_text) = (self.key(&upload.key), number.to_string());
        let (name, checksum) = self.checksum(bytes, sha256);
        let query = [("partNumber", number_text.as_str()), ("uploadId", self.upload_id(upload))];
        let with = [(name, checksum.as_str())];
        let ask = Ask { method: "PUT", key: &key, query: &query, headers: &with, body: bytes, sha256 };
        let stored = self.bucket.run(&ask, |answer| stored(&headers(answer)?))?;
        Ok(Part { number, tag: stored.tag.unwrap_or_default(), sha256: *sha256 })
    }

    fn complete(&self, upload: &Upload, parts: &[Part], _: u64) -> Result<Stored, Fault> {
        let key = self.key(&upload.key);
        let mut body = String::from("<CompleteMultipartUpload>");
        for Part { number, tag, sha256 } in parts {
            let checksum = match self.bucket.dialect {
                Dialect::Amazon => format!("<ChecksumSHA256>{}</ChecksumSHA256>", base64(&sha256.0)),
                Dialect::Google => String::new(),
            };
            let tag = xml(tag);
            let _ =
                write!(body, "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag>{checksum}</Part>");
        }
        body += "</CompleteMultipartUpload>";
        let query = [("uploadId", self.upload_id(upload))];
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
        let (key, query) = (self.key(&upload.key), [("uploadId", self.upload_id(upload))]);
        match self.bucket.run(&self.plain("DELETE", &key, &query), headers) {
            Err(failure) if failure.status() != 404 => Err(failure.into()),
            _ => Ok(()),
        }
    }

    fn abort_all(&self, key: &str) -> Result<(), Fault> {
        Ok(self.give_up_others(&self.key(key), None)?)
    }

    fn sync(&self) -> Result<(), Fault> {
        Ok(()) // S3 answers when an object is safe
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
        // The MD5 only has to be another one.
        let (key, (name, checksum)) = (self.key(key), self.checksum(&wrong.0, wrong));
        let with = [(name, checksum.as_str())];
        let ask = Ask { method: "PUT", key: &key, query: &[], headers: &with, body: bytes, sha256: wrong };
        Ok(self.bucket.retry.run(|| match self.bucket.ask(&ask).and_then(headers) {
            Ok(_) => Ok(false),
            Err(failure) if failure.is_corrupt() || failure.status() == 400 => Ok(true),
            Err(failure) => Err(failure),
        })?)
    }

    fn replace(&self, key: &str, bytes: &[u8], sha256: &Digest, tag: &str) -> Result<Stored, Fault> {
        Ok(self.put_when(key, bytes, sha256, When::Is(tag))?)
    }

    fn redirects(&self) -> bool {
        self.bucket.redirects()
    }

    fn address(&self) -> String {
        format!("{}/{}", self.bucket.address(), self.prefix)
    }
}
