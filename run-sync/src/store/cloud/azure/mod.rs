//! Azure Blob Storage as a store.
//!
//! Source: "Blob service REST API", Azure Storage REST reference. An upload in parts consists of blocks, whose
//! IDs begin with the ID of the upload, and of a list of blocks. No request gives blocks up: the store removes
//! them after a week, or when another list is made for their blob.

mod container;
mod credentials;
mod list;
mod sign;

use super::When;
use super::failure::Failure;
use super::http::{header, headers};
use super::read::read;
use super::text::{base64, md5};
use crate::format::digest::Digest;
use crate::store::abilities::Abilities;
use crate::store::access::Access;
use crate::store::fault::Fault;
use crate::store::{Checks, Experiments, Object, Part, Sink, Store, Stored, Upload};
use container::{Ask, Container};
use run_common::error::{Error, Exit};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::OnceLock;
use ureq::http::HeaderMap;
use uuid::Uuid;

/// Metadata of a blob that was sent in parts: the ID of its upload.
const MARK: &str = "x-ms-meta-runsyncupload";

/// A prefix in a container.
#[derive(Debug)]
pub(crate) struct Azure {
    container: Container,
    /// Empty, or ends in `/`.
    prefix: String,
    /// Name of the store in messages.
    name: String,
    /// What the store was seen to check.
    checks: OnceLock<Checks>,
}

impl Azure {
    /// Finds credentials and the address of a container, without a request.
    pub(crate) fn new(name: &str, container: &str, prefix: &str, access: &Access) -> Result<Self, Error> {
        let container = Container::new(container, access).map_err(|why| {
            let error = Error::new(Exit::System, format!("cannot use {name}")).because(why);
            error.hint("see run-sync(1), CREDENTIALS")
        })?;
        Ok(Self { container, prefix: prefix.to_owned(), name: name.to_owned(), checks: OnceLock::new() })
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Returns a request without a body.
    fn plain<'a>(method: &'a str, key: &'a str) -> Ask<'a> {
        Ask { method, key, query: &[], headers: &[], body: &[] }
    }

    fn put_when(&self, key: &str, bytes: &[u8], md5: &str, when: When<'_>) -> Result<Stored, Failure> {
        let (key, tag) =
            (self.key(key), if let When::Is(tag) = when { format!("\"{tag}\"") } else { String::new() });
        let mut with = vec![("content-md5", md5), ("x-ms-blob-type", "BlockBlob")];
        match when {
            When::Always => {}
            When::Absent => with.push(("if-none-match", "*")),
            When::Is(_) => with.push(("if-match", &tag)),
        }
        let ask = Ask { headers: &with, body: bytes, ..Self::plain("PUT", &key) };
        self.container.run(&ask, |answer| stored(&headers(answer)?))
    }

    /// Returns the headers of a blob; none if there is no such blob.
    fn found(&self, key: &str) -> Result<Option<HeaderMap>, Failure> {
        match self.container.run(&Self::plain("HEAD", key), headers) {
            Ok(found) => Ok(Some(found)),
            Err(failure) if is_missing(&failure) => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

/// Returns whether a blob is missing; a missing container does not count.
fn is_missing(failure: &Failure) -> bool {
    matches!(failure, Failure::Answer(answer) if answer.is(404) && answer.code != "ContainerNotFound")
}

/// Returns the tag, which is quoted in headers and unquoted in lists.
fn tag(headers: &HeaderMap) -> Option<String> {
    header(headers, "etag").map(|tag| tag.trim_matches('"').to_owned())
}

fn stored(headers: &HeaderMap) -> Result<Stored, Failure> {
    let tag = tag(headers).ok_or_else(|| Failure::Malformed("there is no ETag".to_owned()))?;
    Ok(Stored { tag: Some(tag) })
}

fn size(headers: &HeaderMap) -> Result<u64, Failure> {
    let size = header(headers, "content-length").and_then(|size| size.parse().ok());
    size.ok_or_else(|| Failure::Malformed("there is no length".to_owned()))
}

/// Returns the ID of a block: all IDs of a blob have the same length.
fn block(upload: &Upload, number: u32) -> String {
    base64(format!("{}{number:08}", upload.id).as_bytes())
}

impl Store for Azure {
    fn prepare(&self) -> Result<(), Error> {
        Abilities::settle(self, self, &self.name, &self.checks)
    }

    fn put(&self, key: &str, bytes: &[u8], _: &Digest) -> Result<Stored, Fault> {
        Ok(self.put_when(key, bytes, &md5(bytes), When::Always)?)
    }

    fn create(&self, key: &str, bytes: &[u8], _: &Digest) -> Result<Stored, Fault> {
        Ok(self.put_when(key, bytes, &md5(bytes), When::Absent)?)
    }

    fn get(&self, key: &str, range: Option<Range<u64>>, sink: &mut Sink<'_>) -> Result<(), Fault> {
        let key = self.key(key);
        let Range { start, end } = range.unwrap_or(0..u64::MAX);
        if start >= end {
            return self.found(&key)?.map(drop).ok_or(Fault::NotFound);
        }
        let ask = |range: Option<&str>| {
            let with = range.map(|range| ("x-ms-range", range));
            self.container.ask(&Ask { headers: with.as_slice(), ..Self::plain("GET", &key) })
        };
        Ok(read(&self.container.http, &self.container.retry, start..end, &ask, sink)?)
    }

    fn head(&self, key: &str) -> Result<Option<Object>, Fault> {
        let Some(found) = self.found(&self.key(key))? else { return Ok(None) };
        Ok(Some(Object { key: key.to_owned(), size: size(&found)?, tag: tag(&found) }))
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
        match self.container.run(&Self::plain("DELETE", &self.key(key)), headers) {
            Err(failure) if !is_missing(&failure) => Err(failure.into()),
            _ => Ok(()),
        }
    }

    fn begin(&self, key: &str, part_size: u64) -> Result<Upload, Fault> {
        Ok(Upload { key: key.to_owned(), id: Uuid::new_v4().simple().to_string(), part_size })
    }

    fn put_part(&self, upload: &Upload, number: u32, bytes: &[u8], sha256: &Digest) -> Result<Part, Fault> {
        let (key, id, md5) = (self.key(&upload.key), block(upload, number), md5(bytes));
        let (query, with) = ([("blockid", id.as_str()), ("comp", "block")], [("content-md5", md5.as_str())]);
        let ask = Ask { query: &query, headers: &with, body: bytes, ..Self::plain("PUT", &key) };
        self.container.run(&ask, headers)?;
        Ok(Part { number, tag: md5, sha256: *sha256 })
    }

    fn complete(&self, upload: &Upload, parts: &[Part], _: u64) -> Result<Stored, Fault> {
        let key = self.key(&upload.key);
        let mut body = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        for part in parts {
            let _ = write!(body, "<Latest>{}</Latest>", block(upload, part.number));
        }
        body += "</BlockList>";
        let (md5, query) = (md5(body.as_bytes()), [("comp", "blocklist")]);
        let with = [("content-md5", md5.as_str()), (MARK, &upload.id)];
        let ask = Ask { query: &query, headers: &with, body: body.as_bytes(), ..Self::plain("PUT", &key) };
        match self.container.run(&ask, |answer| stored(&headers(answer)?)) {
            Err(Failure::Answer(answer)) if answer.code == "InvalidBlockList" => {
                // The blocks were given up, or they are in the blob already and the answer was lost.
                let found = self.found(&key)?.filter(|found| header(found, MARK) == Some(&upload.id));
                Ok(stored(&found.ok_or(Fault::NotFound)?)?)
            }
            completed => Ok(completed?),
        }
    }

    fn abort(&self, _: &Upload) -> Result<(), Fault> {
        Ok(())
    }

    fn sync(&self) -> Result<(), Fault> {
        Ok(()) // Azure answers when a blob is safe
    }

    fn checks(&self) -> Checks {
        self.checks.get().copied().unwrap_or(Checks::Nothing)
    }

    fn experiments(&self) -> Option<&dyn Experiments> {
        Some(self)
    }
}

impl Experiments for Azure {
    fn refuses(&self, key: &str, bytes: &[u8], wrong: &Digest) -> Result<bool, Fault> {
        let (key, md5) = (self.key(key), md5(&wrong.0));
        let with = [("content-md5", md5.as_str()), ("x-ms-blob-type", "BlockBlob")];
        let ask = Ask { headers: &with, body: bytes, ..Self::plain("PUT", &key) };
        Ok(self.container.retry.run(|| match self.container.ask(&ask).and_then(headers) {
            Ok(_) => Ok(false),
            Err(failure) if failure.is_corrupt() || failure.status() == 400 => Ok(true),
            Err(failure) => Err(failure),
        })?)
    }

    fn replace(&self, key: &str, bytes: &[u8], _: &Digest, tag: &str) -> Result<Stored, Fault> {
        Ok(self.put_when(key, bytes, &md5(bytes), When::Is(tag))?)
    }

    fn redirects(&self) -> bool {
        false
    }

    fn address(&self) -> String {
        format!("{}/{}", self.container.address(), self.prefix)
    }
}
