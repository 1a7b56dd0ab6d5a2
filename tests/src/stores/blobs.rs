//! What the scripted server answers to who speaks the protocol of Azure.

use super::answers::{Object, Objects, Upload, error, tag, used};
use super::wire::{Answer, Arrived};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use run_common::time::Timestamp;
use std::fmt::Write as _;
use std::sync::Arc;

/// What a blob is marked with that was made of blocks.
const MARK: &str = "x-ms-meta-runsyncupload";

/// Answers as Azure does.
pub(super) fn answer(objects: &mut Objects, arrived: &Arrived, key: &str, skew: i64) -> Answer {
    if let Some(code) = refusal(objects, arrived, skew) {
        let status = if code == "Md5Mismatch" { 400 } else { 403 };
        return failure(status, code);
    }
    if !arrived.path.starts_with(&format!("/{}", super::BUCKET)) {
        return failure(404, "ContainerNotFound");
    }
    let of = |name: &str| arrived.query.get(name).map(String::as_str);
    match (arrived.method.as_str(), of("comp")) {
        ("GET", Some("list")) => list(objects, arrived),
        ("GET" | "HEAD", None) => read(objects, arrived, key),
        ("PUT", None) => put(objects, arrived, key),
        ("PUT", Some("block")) => put_block(objects, arrived, key),
        ("PUT", Some("blocklist")) => put_list(objects, arrived, key),
        ("DELETE", None) => match objects.whole.remove(key) {
            Some(_) => Answer::new(202),
            None => failure(404, "BlobNotFound"),
        },
        _ => failure(400, "InvalidQueryParameterValue"),
    }
}

fn failure(status: u16, code: &str) -> Answer {
    error(status, code).with("x-ms-error-code", code)
}

fn refusal(objects: &Objects, arrived: &Arrived, skew: i64) -> Option<&'static str> {
    let header = |name: &str| arrived.headers.get(name).map(String::as_str);
    let signed = header("authorization").and_then(|text| text.strip_prefix("SharedKey ")?.split(':').next());
    // A token is taken for one of the only account, if it has the secret for a signature.
    let token = arrived.query.get("sig").filter(|signature| *signature == super::SECRET).map(|_| super::KEY);
    match signed.or(token) {
        Some(who) if objects.keys.iter().any(|key| key == who) => {}
        _ => return Some("AuthenticationFailed"),
    }
    let now = Timestamp::now().millis() + 1000 * skew;
    let date = header("x-ms-date").and_then(|date| chrono::DateTime::parse_from_rfc2822(date).ok());
    if signed.is_some() && date.is_none_or(|date| (date.timestamp_millis() - now).abs() > 900_000) {
        return Some("AuthenticationFailed");
    }
    let md5 = || STANDARD.encode(Md5::digest(&arrived.body));
    (objects.checksums && header("content-md5").is_some_and(|told| told != md5())).then_some("Md5Mismatch")
}

fn put(objects: &mut Objects, arrived: &Arrived, key: &str) -> Answer {
    let there = objects.whole.get(key);
    if arrived.headers.get("x-ms-blob-type").is_none_or(|kind| kind != "BlockBlob") {
        return failure(400, "InvalidHeaderValue");
    }
    if objects.conditions && arrived.headers.contains_key("if-none-match") && there.is_some() {
        return failure(409, "BlobAlreadyExists");
    }
    let is = arrived.headers.get("if-match").filter(|_| objects.conditions);
    if is.is_some_and(|tag| there.map(|object| &object.tag) != Some(tag)) {
        return failure(412, "ConditionNotMet");
    }
    if used(objects) + arrived.body.len() > objects.room {
        return failure(507, "InsufficientStorage");
    }
    let object = Object::new(&arrived.body);
    let answer = Answer::new(201).with("etag", &object.tag);
    objects.whole.insert(key.to_owned(), object);
    answer
}

fn put_block(objects: &mut Objects, arrived: &Arrived, key: &str) -> Answer {
    let room = objects.room.saturating_sub(used(objects));
    if arrived.body.len() > room {
        return failure(507, "InsufficientStorage");
    }
    let id = STANDARD.decode(&arrived.query["blockid"]).unwrap();
    let id = String::from_utf8(id).unwrap();
    let upload = objects.uploads.entry(key.to_owned()).or_insert_with(|| Upload::new(key));
    if upload.blocks.keys().any(|other| other.len() != id.len()) || id.len() > 64 {
        return failure(400, "InvalidBlobOrBlock");
    }
    upload.blocks.insert(id, Object::new(&arrived.body));
    Answer::new(201)
}

/// A list names blocks that wait; all of these are used or given up then. Azure would also take those that the blob
/// was made of.
fn put_list(objects: &mut Objects, arrived: &Arrived, key: &str) -> Answer {
    let document = String::from_utf8(arrived.body.clone()).unwrap();
    let upload = objects.uploads.get(key).cloned().unwrap_or_else(|| Upload::new(key));
    let mut bytes = Vec::new();
    for id in document.split("<Latest>").skip(1) {
        let id = STANDARD.decode(id.split('<').next().unwrap()).unwrap();
        match upload.blocks.get(std::str::from_utf8(&id).unwrap()) {
            Some(block) => bytes.extend_from_slice(&block.bytes),
            None => return failure(400, "InvalidBlockList"),
        }
    }
    objects.uploads.remove(key);
    let mark = arrived.headers.get(MARK).cloned();
    let object = Object { bytes: Arc::new(bytes), tag: tag(&Md5::digest(&arrived.body)), mark };
    let answer = Answer::new(201).with("etag", &object.tag);
    objects.whole.insert(key.to_owned(), object);
    answer
}

fn read(objects: &Objects, arrived: &Arrived, key: &str) -> Answer {
    let Some(object) = objects.whole.get(key) else { return failure(404, "BlobNotFound") };
    let length = object.bytes.len();
    let answer = |status| {
        let answer = Answer::new(status).with("etag", &object.tag);
        match &object.mark {
            Some(mark) => answer.with(MARK, mark),
            None => answer,
        }
    };
    if arrived.method == "HEAD" {
        return Answer { length: Some(length), ..answer(200) };
    }
    let range =
        arrived.headers.get("x-ms-range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    match range.filter(|_| objects.ranges) {
        None => answer(200).body(object.bytes.to_vec()),
        Some((start, end)) => {
            let start: usize = start.parse().unwrap();
            let end = end.parse::<usize>().map_or(length, |end| length.min(end + 1));
            if start >= length {
                return failure(416, "InvalidRange");
            }
            let range = format!("bytes {start}-{}/{length}", end - 1);
            answer(206).with("content-range", range).body(&object.bytes[start..end])
        }
    }
}

fn list(objects: &Objects, arrived: &Arrived) -> Answer {
    let of = |name: &str| arrived.query.get(name).map(String::as_str);
    let prefix = of("prefix").unwrap_or_default();
    let from = of("marker").unwrap_or_default();
    let mut document = String::from("\u{feff}<?xml version=\"1.0\"?><EnumerationResults><Blobs>");
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let (mut directory, mut count, mut next) = (String::new(), 0, "");
    for (key, object) in
        objects.whole.iter().filter(|(key, _)| key.starts_with(prefix) && key.as_str() >= from)
    {
        let end = of("delimiter").and_then(|delimiter| key[prefix.len()..].find(delimiter));
        let found = end.map_or(key.as_str(), |end| &key[..=prefix.len() + end]);
        if end.is_some() && found == directory {
            continue;
        }
        if count == objects.page {
            next = key;
            break;
        }
        count += 1;
        let name = escaped(found);
        let _ = if end.is_some() {
            found.clone_into(&mut directory);
            write!(document, "<BlobPrefix><Name>{name}</Name></BlobPrefix>")
        } else {
            let (size, tag) = (object.bytes.len(), object.tag.trim_matches('"'));
            let properties = format!("<Content-Length>{size}</Content-Length><Etag>{tag}</Etag>");
            write!(document, "<Blob><Name>{name}</Name><Properties>{properties}</Properties></Blob>")
        };
    }
    let next = escaped(next);
    Answer::new(200).body(format!("{document}</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>"))
}
