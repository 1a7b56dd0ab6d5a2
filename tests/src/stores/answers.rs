//! What the scripted server has, and what it answers where it behaves.

use super::wire::{Answer, Arrived};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use run_common::time::Timestamp;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// Objects, uploads in parts, and what the server honours.
#[derive(Debug)]
pub struct Objects {
    /// Objects by key.
    pub whole: BTreeMap<String, Object>,
    /// Uploads in parts that have not ended, by their ids; those of Azure by their keys.
    pub uploads: BTreeMap<String, Upload>,
    /// Whether `If-None-Match` and `If-Match` are honoured.
    pub conditions: bool,
    /// Whether hashes are compared.
    pub checksums: bool,
    /// Whether ranges are honoured.
    pub ranges: bool,
    /// Whether uploads are listed.
    pub lists_uploads: bool,
    /// Whether nobody needs a signature.
    pub is_public: bool,
    /// Bytes that there is room for.
    pub room: usize,
    /// Objects of a page of a list.
    pub page: usize,
    /// Ids of the access keys that are good.
    pub keys: Vec<String>,
    /// Ids of those that were good.
    pub expired: Vec<String>,
    /// How many uploads have begun.
    pub begun: u64,
}

/// An object.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its bytes.
    pub bytes: Arc<Vec<u8>>,
    /// Its `ETag`, quotes included.
    pub tag: String,
    /// What Google and Azure mark it with that was sent in parts.
    pub mark: Option<String>,
}

impl Object {
    /// Makes an object of bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self { bytes: Arc::new(bytes.to_vec()), tag: tag(&Sha256::digest(bytes)), mark: None }
    }
}

/// An upload in parts.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The key of its object.
    pub key: String,
    /// Its parts, by number.
    pub parts: BTreeMap<u32, Object>,
    /// Its blocks by their ids, where it is one of Azure.
    pub blocks: BTreeMap<String, Object>,
    /// The mark of its object.
    pub mark: Option<String>,
}

impl Upload {
    /// Creates one of a key, without parts.
    pub fn new(key: &str) -> Self {
        Self { key: key.to_owned(), parts: BTreeMap::new(), blocks: BTreeMap::new(), mark: None }
    }
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            whole: BTreeMap::new(),
            uploads: BTreeMap::new(),
            conditions: true,
            checksums: true,
            ranges: true,
            lists_uploads: true,
            is_public: false,
            room: usize::MAX,
            page: 1000,
            keys: vec![super::KEY.to_owned()],
            expired: Vec::new(),
            begun: 0,
        }
    }
}

/// Makes an answer of failure.
pub(super) fn error(status: u16, code: &str) -> Answer {
    let message = format!("scripted {code}");
    let document =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Answer::new(status).with("x-amz-request-id", "R1").body(document)
}

/// Answers as S3 does.
pub(super) fn answer(objects: &mut Objects, arrived: &Arrived, key: &str, skew: i64) -> Answer {
    let hash = Sha256::digest(&arrived.body);
    if let Some(refused) = refusal(objects, arrived, &hash, skew) {
        return refused;
    }
    let upload = arrived.query.get("uploadId");
    match (arrived.method.as_str(), key, upload) {
        ("GET", "", None) if arrived.query.contains_key("uploads") => list_uploads(objects, arrived),
        ("GET", "", None) => list(objects, arrived),
        ("GET" | "HEAD", _, None) => read(objects, arrived, key),
        ("PUT", _, None) => put(objects, arrived, key, &hash),
        ("DELETE", _, None) => {
            objects.whole.remove(key);
            Answer::new(204)
        }
        ("POST", _, None) if arrived.query.contains_key("uploads") => {
            objects.begun += 1;
            let id = format!("upload/{}+x", objects.begun);
            let mark = arrived.headers.get("x-goog-meta-run-sync-upload").cloned();
            objects.uploads.insert(id.clone(), Upload { mark, ..Upload::new(key) });
            let document = format!(
                "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            );
            Answer::new(200).body(document)
        }
        (_, _, Some(id)) if objects.uploads.contains_key(id) => in_parts(objects, arrived, id),
        (_, _, Some(_)) => error(404, "NoSuchUpload"),
        _ => error(501, "NotImplemented"),
    }
}

fn refusal(objects: &Objects, arrived: &Arrived, hash: &[u8], skew: i64) -> Option<Answer> {
    let header = |name: &str| arrived.headers.get(name).map(String::as_str);
    if objects.is_public {
        return None;
    }
    let who = header("authorization").and_then(|text| text.split("Credential=").nth(1)?.split('/').next());
    match who {
        None => return Some(error(403, "AccessDenied")),
        Some(who) if objects.expired.iter().any(|key| key == who) => return Some(error(400, "ExpiredToken")),
        Some(who) if !objects.keys.iter().any(|key| key == who) => {
            return Some(error(403, "InvalidAccessKeyId"));
        }
        Some(_) => {}
    }
    let time = Timestamp::from_millis(Timestamp::now().millis() + 1000 * skew).unwrap();
    let is_google = header("authorization").is_some_and(|text| text.starts_with("GOOG4-HMAC-SHA256 "));
    let foreign = if is_google { "x-amz-" } else { "x-goog-" };
    if arrived.headers.keys().any(|name| name.starts_with(foreign)) {
        return Some(error(400, "ExcessHeaderValues"));
    }
    let of = |name: &str| header(&format!("x-{}-{name}", if is_google { "goog" } else { "amz" }));
    // Within the hour and day of the server, which is what tests can tell apart.
    if of("date").is_none_or(|date| (minutes(date) - minutes(&time.utc("%Y%m%dT%H%M%SZ"))).abs() > 15) {
        return Some(error(403, "RequestTimeTooSkewed"));
    }
    if objects.checksums {
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        if of("content-sha256").is_some_and(|told| told != hex) {
            return Some(error(400, "XAmzContentSHA256Mismatch"));
        }
        let md5 = || STANDARD.encode(Md5::digest(&arrived.body));
        if header("x-amz-checksum-sha256").is_some_and(|told| told != STANDARD.encode(hash))
            || header("content-md5").is_some_and(|told| told != md5())
        {
            return Some(error(400, "BadDigest"));
        }
    }
    if !arrived.path.starts_with(&format!("/{}", super::BUCKET)) {
        return Some(error(404, "NoSuchBucket"));
    }
    None
}

/// Minutes of a time in `20260129T120000Z`, from the same beginning within one month.
fn minutes(text: &str) -> i64 {
    let number =
        |range: std::ops::Range<usize>| text.get(range).and_then(|digits| digits.parse::<i64>().ok());
    let (day, hour, minute) = (number(6..8), number(9..11), number(11..13));
    day.unwrap_or(0) * 1440 + hour.unwrap_or(0) * 60 + minute.unwrap_or(0)
}

pub(super) fn tag(hash: &[u8]) -> String {
    let digits: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
}

/// Google's number of an object: here the same for the same bytes.
fn generation(object: &Object) -> String {
    u64::from_str_radix(&object.tag[1..16], 16).unwrap().to_string()
}

pub(super) fn used(objects: &Objects) -> usize {
    let parts =
        objects.uploads.values().flat_map(|upload| upload.parts.values().chain(upload.blocks.values()));
    objects.whole.values().chain(parts).map(|object| object.bytes.len()).sum()
}

fn put(objects: &mut Objects, arrived: &Arrived, key: &str, hash: &[u8]) -> Answer {
    let there = objects.whole.get(key);
    if objects.conditions {
        let is_absent = arrived.headers.contains_key("if-none-match");
        let is = arrived.headers.get("if-match");
        if let Some(told) = arrived.headers.get("x-goog-if-generation-match")
            && *told != there.map_or_else(|| "0".to_owned(), generation)
        {
            return error(412, "PreconditionFailed");
        }
        if (is_absent && there.is_some())
            || is.is_some_and(|tag| there.map(|object| &object.tag) != Some(tag))
        {
            return error(412, "PreconditionFailed");
        }
    }
    if used(objects) + arrived.body.len() > objects.room {
        return error(507, "XMinioStorageFull");
    }
    let object = Object { bytes: Arc::new(arrived.body.clone()), tag: tag(hash), mark: None };
    let answer = Answer::new(200).with("etag", &object.tag);
    objects.whole.insert(key.to_owned(), object);
    answer
}

fn read(objects: &Objects, arrived: &Arrived, key: &str) -> Answer {
    let Some(object) = objects.whole.get(key) else { return error(404, "NoSuchKey") };
    let length = object.bytes.len();
    let answer = |status| {
        let answer = Answer::new(status).with("etag", &object.tag);
        match &object.mark {
            Some(mark) => answer.with("x-goog-meta-run-sync-upload", mark),
            None => answer,
        }
        .with("x-goog-generation", generation(object))
    };
    if arrived.method == "HEAD" {
        return Answer { length: Some(length), ..answer(200) };
    }
    let range = arrived.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    match range.filter(|_| objects.ranges) {
        None => answer(200).body(object.bytes.to_vec()),
        Some((start, end)) => {
            let start: usize = start.parse().unwrap();
            let end = end.parse::<usize>().map_or(length, |end| length.min(end + 1));
            if start >= length {
                return error(416, "InvalidRange");
            }
            let range = format!("bytes {start}-{}/{length}", end - 1);
            answer(206).with("content-range", range).body(&object.bytes[start..end])
        }
    }
}

fn list(objects: &Objects, arrived: &Arrived) -> Answer {
    let of = |name: &str| arrived.query.get(name).map(String::as_str);
    let prefix = of("prefix").unwrap_or_default();
    let after = of("continuation-token").unwrap_or_default();
    let below = objects.whole.iter().filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after);
    let mut document =
        String::from("<?xml version=\"1.0\"?><ListBucketResult><EncodingType>url</EncodingType>");
    let (mut last, mut directory, mut count, mut is_truncated) = (String::new(), String::new(), 0, false);
    for (key, object) in below {
        let end = of("delimiter").and_then(|delimiter| key[prefix.len()..].find(delimiter));
        let found = match end {
            Some(end) => key[..=prefix.len() + end].to_owned(),
            None => key.clone(),
        };
        if end.is_some() && found == directory {
            last.clone_from(key);
            continue;
        }
        if count == objects.page {
            is_truncated = true;
            break;
        }
        count += 1;
        if end.is_some() {
            directory.clone_from(&found);
            let _ = write!(document, "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", encoded(&found));
        } else {
            let (size, tag) = (object.bytes.len(), object.tag.replace('"', "&quot;"));
            let key = encoded(&found);
            let _ = write!(
                document,
                "<Contents><Key>{key}</Key><ETag>{tag}</ETag><Size>{size}</Size></Contents>"
            );
        }
        last.clone_from(key);
    }
    let _ = write!(document, "<IsTruncated>{is_truncated}</IsTruncated>");
    if is_truncated {
        let next = last.replace('&', "&amp;").replace('<', "&lt;");
        let _ = write!(document, "<NextContinuationToken>{next}</NextContinuationToken>");
    }
    Answer::new(200).body(document + "</ListBucketResult>")
}

fn list_uploads(objects: &Objects, arrived: &Arrived) -> Answer {
    if !objects.lists_uploads {
        return error(501, "NotImplemented");
    }
    let prefix = arrived.query.get("prefix").map(String::as_str).unwrap_or_default();
    let mut document = String::from("<?xml version=\"1.0\"?><ListMultipartUploadsResult>");
    for (id, upload) in objects.uploads.iter().filter(|(_, upload)| upload.key.starts_with(prefix)) {
        let key = upload.key.replace('&', "&amp;").replace('<', "&lt;");
        let _ = write!(document, "<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>");
    }
    Answer::new(200).body(document + "<IsTruncated>false</IsTruncated></ListMultipartUploadsResult>")
}

fn encoded(text: &str) -> String {
    let is_kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    text.bytes()
        .map(|byte| if is_kept(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn in_parts(objects: &mut Objects, arrived: &Arrived, id: &str) -> Answer {
    let room = objects.room.saturating_sub(used(objects));
    let upload = objects.uploads.get_mut(id).unwrap();
    match arrived.method.as_str() {
        "PUT" if arrived.body.len() > room => error(507, "XMinioStorageFull"),
        "PUT" => {
            let number = arrived.query["partNumber"].parse().unwrap();
            let object = Object::new(&arrived.body);
            let answer = Answer::new(200).with("etag", &object.tag);
            upload.parts.insert(number, object);
            answer
        }
        "DELETE" => {
            objects.uploads.remove(id);
            Answer::new(204)
        }
        _ => complete(objects, arrived, id),
    }
}

fn complete(objects: &mut Objects, arrived: &Arrived, id: &str) -> Answer {
    let document = String::from_utf8(arrived.body.clone()).unwrap();
    let upload = &objects.uploads[id];
    let (mut bytes, mut hashes, mut count) = (Vec::new(), Vec::new(), 0);
    for part in document.split("<PartNumber>").skip(1) {
        let (number, rest) = part.split_once('<').unwrap();
        let told = rest.split("<ETag>").nth(1).and_then(|rest| rest.split("</ETag>").next()).unwrap();
        match upload.parts.get(&number.parse().unwrap()) {
            Some(part) if part.tag == told.replace("&quot;", "\"") => {
                bytes.extend_from_slice(&part.bytes);
                hashes.extend_from_slice(&Sha256::digest(part.bytes.as_slice()));
                count += 1;
            }
            _ => return error(400, "InvalidPart"),
        }
    }
    let whole = tag(&Sha256::digest(&hashes)).replace('"', "");
    let Upload { key, mark, .. } = objects.uploads.remove(id).unwrap();
    // Google's tags do not tell of parts.
    let end = if mark.is_none() { format!("-{count}") } else { String::new() };
    let tag = format!("\"{whole}{end}\"");
    objects.whole.insert(key, Object { bytes: Arc::new(bytes), tag: tag.clone(), mark });
    let tag = tag.replace('"', "&quot;");
    Answer::new(200)
        .body(format!("<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"))
}
