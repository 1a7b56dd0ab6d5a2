//! What every store must do, tested with a directory, a scripted server, a real server and rclone.

#![cfg(test)]

use super::access::Access;
use super::environment::Environment;
use super::fault::Fault;
use super::{Object, Store, open};
use crate::bar::Gauge;
use crate::format::digest::Digest;
use std::ops::Range;
use std::time::Duration;
use testkit::Lab;
use testkit::stores::{BUCKET, Scripted, Seaweed, Server};

/// Protocols that the scripted server speaks.
pub(super) const SCHEMES: [&str; 3] = ["s3", "gs", "az"];
/// Bytes of a part that every store takes.
pub(super) const PART: u64 = 5 << 20;

/// Returns the access to a store with these variables.
pub(crate) fn access(variables: &[(&'static str, String)]) -> Access {
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Access {
        transfers: 16,
        rate: None,
        patience: Duration::from_secs(10),
        environment: Environment::of(&variables),
        gauge: Gauge::default(),
    }
}

/// Opens a prefix of a server's bucket.
pub(super) fn at(server: &dyn Server, prefix: &str) -> Box<dyn Store> {
    at_scheme("s3", server, prefix)
}

/// Opens a prefix like [`at`], by the protocol of a scheme.
pub(super) fn at_scheme(scheme: &str, server: &dyn Server, prefix: &str) -> Box<dyn Store> {
    let url = format!("{scheme}://{BUCKET}/{prefix}").parse().unwrap();
    open(&url, &access(&server.variables())).unwrap()
}

pub(super) fn put(store: &dyn Store, key: &str, bytes: &[u8]) {
    store.put(key, bytes, &Digest::of(bytes)).unwrap();
}

pub(super) fn get(store: &dyn Store, key: &str, range: Option<Range<u64>>) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    store.get(key, range, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes)
}

pub(super) fn list(store: &dyn Store, prefix: &str) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    store.list(prefix, &mut |object: Object| found.push((object.key, object.size))).unwrap();
    found
}

/// Returns bytes that repeat nowhere.
pub(super) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(length)
    .collect()
}

fn objects_are_stored_read_listed_and_removed(store: &dyn Store) {
    let names = [
        "o/a b=c#d+é&<>'\".txt",
        "o/%41/x",
        "o/dir/sub/deep.bin",
        "o/dir/z",
        "o/empty",
        "o/~tilde(1)*!@$,;:",
    ];
    for name in names {
        put(store, name, name.as_bytes());
    }
    put(store, "o/empty", b"");
    for name in names {
        let expected = if name == "o/empty" { "" } else { name };
        assert_eq!(get(store, name, None).unwrap(), expected.as_bytes(), "{name}");
        assert_eq!(store.head(name).unwrap().unwrap().size, expected.len() as u64, "{name}");
    }
    let mut expected: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    expected.sort_unstable();
    let found: Vec<_> = list(store, "o/").into_iter().map(|(key, _)| key).collect();
    assert_eq!(found, expected);
    assert_eq!(list(store, "o/dir/"), [("o/dir/sub/deep.bin".to_owned(), 18), ("o/dir/z".to_owned(), 7)]);
    assert_eq!(list(store, "o/di/"), []);
    assert!(store.list_directories("").unwrap().contains(&"o".to_owned()));
    assert_eq!(store.list_directories("o/").unwrap(), ["%41", "dir"]);
    assert_eq!(store.list_directories("o/dir/").unwrap(), ["sub"]);
    assert_eq!(store.list_directories("none/").unwrap(), [""; 0]);

    put(store, "o/dir/z", b"longer than before");
    assert_eq!(get(store, "o/dir/z", None).unwrap(), b"longer than before");
    store.delete("o/dir/z").unwrap();
    store.delete("o/dir/z").unwrap();
    assert_eq!(store.head("o/dir/z").unwrap(), None);
    assert!(matches!(get(store, "o/dir/z", None), Err(Fault::NotFound)));
    assert!(matches!(get(store, "o/dir/z", Some(0..1)), Err(Fault::NotFound)));
    for name in names {
        store.delete(name).unwrap();
    }
    assert_eq!(list(store, "o/"), []);
}

fn ranges_are_cut_at_the_end(store: &dyn Store) {
    put(store, "range", b"0123456789");
    for (range, expected) in [
        (0..4, "0123"),
        (6..10, "6789"),
        (6..1000, "6789"),
        (9..10, "9"),
        (3..3, ""),
        (10..20, ""),
        (50..60, ""),
    ] {
        assert_eq!(get(store, "range", Some(range.clone())).unwrap(), expected.as_bytes(), "{range:?}");
    }
    put(store, "nothing", b"");
    assert_eq!(get(store, "nothing", Some(0..10)).unwrap(), b"");
    let failed = store.get("range", None, &mut |_| Err(std::io::Error::other("full")));
    assert!(matches!(failed, Err(Fault::Sink(_))), "{failed:?}");
    store.delete("range").unwrap();
    store.delete("nothing").unwrap();
}

fn an_object_is_created_once(store: &dyn Store) {
    let (one, two) = (b"one", b"two");
    store.create("once", one, &Digest::of(one)).unwrap();
    let again = store.create("once", two, &Digest::of(two));
    assert!(matches!(again, Err(Fault::Exists)), "{again:?}");
    assert_eq!(get(store, "once", None).unwrap(), one);
    store.delete("once").unwrap();
}

fn uploads_in_parts_are_continued_and_given_up(store: &dyn Store) {
    let bytes = noise(2 * usize::try_from(PART).unwrap() + 7, 3);
    let chunks: Vec<_> = (1..).zip(bytes.chunks(usize::try_from(PART).unwrap())).collect();
    let upload = store.begin("dir/parts", PART).unwrap();
    let part =
        |(number, chunk): &(u32, &[u8])| store.put_part(&upload, *number, chunk, &Digest::of(chunk)).unwrap();
    let mut parts: Vec<_> = chunks.iter().rev().map(part).collect();
    parts[0] = part(&chunks[2]); // sent twice
    parts.sort_unstable_by_key(|part| part.number);
    assert_eq!(store.head("dir/parts").unwrap(), None);
    store.complete(&upload, &parts, bytes.len() as u64).unwrap();
    assert_eq!(store.head("dir/parts").unwrap().unwrap().size, bytes.len() as u64);
    assert!(get(store, "dir/parts", None).unwrap() == bytes);
    let middle = PART - 3..PART + 3;
    let expected = &bytes[usize::try_from(middle.start).unwrap()..usize::try_from(middle.end).unwrap()];
    assert_eq!(get(store, "dir/parts", Some(middle)).unwrap(), expected);
    store.delete("dir/parts").unwrap();

    // A continued upload may end with less than it began with.
    let upload = store.begin("dir/parts", PART).unwrap();
    for (number, chunk) in chunks.iter().take(2) {
        store.put_part(&upload, *number, chunk, &Digest::of(chunk)).unwrap();
        assert!(store.keeps_part(&upload, *number, chunk));
    }
    let less = &bytes[..1000];
    let part = store.put_part(&upload, 1, less, &Digest::of(less)).unwrap();
    store.complete(&upload, &[part], 1000).unwrap();
    assert!(get(store, "dir/parts", None).unwrap() == less);
    store.delete("dir/parts").unwrap();

    let upload = store.begin("given-up", PART).unwrap();
    store.put_part(&upload, 1, b"x", &Digest::of(b"x")).unwrap();
    store.abort(&upload).unwrap();
    store.abort(&upload).unwrap();
    let _ = store.put_part(&upload, 1, b"x", &Digest::of(b"x")); // Azure takes the part, and removes it later
    assert_eq!(store.head("given-up").unwrap(), None);
    // Only the uploads to this key are given up.
    let (lost, other) = (store.begin("lost é+&", PART).unwrap(), store.begin("lost é+&x", PART).unwrap());
    store.abort_all("lost é+&").unwrap();
    let part = store.put_part(&other, 1, b"x", &Digest::of(b"x")).unwrap();
    store.complete(&other, &[part], 1).unwrap();
    store.delete("lost é+&x").unwrap();
    store.abort(&lost).unwrap();
}

/// Tests that a store that lists uploads gives up all uploads to a key.
fn lost_uploads_are_found(store: &dyn Store) {
    let uploads = [1, 2].map(|_| store.begin("lost é+&", PART).unwrap());
    store.abort_all("lost é+&").unwrap();
    for upload in uploads {
        let part = store.put_part(&upload, 1, b"x", &Digest::of(b"x"));
        assert!(matches!(part, Err(Fault::NotFound)), "{part:?}");
    }
}

fn threads_share_a_store(store: &dyn Store) {
    std::thread::scope(|scope| {
        for thread in 0..16_u64 {
            scope.spawn(move || {
                for number in 0..8 {
                    let bytes = noise(1000, thread * 8 + number);
                    let key = format!("shared/{thread}/{number}");
                    put(store, &key, &bytes);
                    assert_eq!(get(store, &key, None).unwrap(), bytes);
                }
            });
        }
    });
    assert_eq!(list(store, "shared/").len(), 128);
    for (key, _) in list(store, "shared/") {
        store.delete(&key).unwrap();
    }
}

/// Runs all tests.
fn conforms(store: &dyn Store) {
    store.prepare().unwrap();
    objects_are_stored_read_listed_and_removed(store);
    ranges_are_cut_at_the_end(store);
    an_object_is_created_once(store);
    uploads_in_parts_are_continued_and_given_up(store);
    threads_share_a_store(store);
    store.sync().unwrap();
}

#[test]
fn a_directory() {
    let lab = Lab::new();
    let url = lab.path("store").to_str().unwrap().parse().unwrap();
    conforms(&*open(&url, &access(&[])).unwrap());
}

#[test]
fn a_scripted_server() {
    for scheme in SCHEMES {
        let server = Scripted::new();
        let at = |prefix| at_scheme(scheme, &server, prefix);
        conforms(&*at("a/prefix"));
        if scheme != "az" {
            lost_uploads_are_found(&*at("a/prefix"));
        }
        assert!(scheme == "az" || server.objects(|objects| objects.uploads.is_empty()));
        conforms(&*at(""));
        server.objects(|objects| objects.page = 2);
        conforms(&*at("pages"));
        server.objects(|objects| objects.ranges = false);
        conforms(&*at("no ranges"));
    }
}

#[test]
fn a_real_server() {
    conforms(&*at(Seaweed::shared(), "conformance"));
    lost_uploads_are_found(&*at(Seaweed::shared(), "conformance"));
}

#[test]
fn what_rclone_reaches() {
    let lab = Lab::new();
    let url = format!("rclone::local:{}", lab.path("store").display()).parse().unwrap();
    conforms(&*open(&url, &access(&[])).unwrap());
}

#[test]
fn a_slow_link() {
    let server = Scripted::new();
    let limited = Access { rate: Some(100 << 20), ..access(&server.variables()) };
    conforms(&*open(&format!("s3://{BUCKET}/slow").parse().unwrap(), &limited).unwrap());
}
