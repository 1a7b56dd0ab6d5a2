//! How clients of object stores react to a server that misbehaves in each way, at each request.

#![cfg(test)]

use super::conformance::{PART, SCHEMES, access, at, at_scheme, get, list, noise, put};
use super::environment::Environment;
use super::fault::Fault;
use super::{Access, Checks, Store, open};
use crate::format::digest::Digest;
use std::fs;
use std::time::{Duration, Instant};
use testkit::Lab;
use testkit::stores::{AZURE_KEY, Act, BUCKET, KEY, Request, SECRET, Scripted, Server};

/// Does what a backup and a restore do, in 11 requests if none fails.
fn exercise(store: &dyn Store) -> Result<(), Fault> {
    let small = noise(1000, 1);
    let large = noise(usize::try_from(PART).unwrap() + 1000, 2);
    store.put("a", &small, &Digest::of(&small))?;
    let upload = store.begin("b", PART)?;
    let mut parts = Vec::new();
    for (number, chunk) in (1..).zip(large.chunks(usize::try_from(PART).unwrap())) {
        parts.push(store.put_part(&upload, number, chunk, &Digest::of(chunk))?);
    }
    store.complete(&upload, &parts, large.len() as u64)?;
    assert_eq!(store.head("b")?.unwrap().size, large.len() as u64);
    let mut found = Vec::new();
    store.list("", &mut |object| found.push((object.key, object.size)))?;
    assert_eq!(found, [("a".to_owned(), 1000), ("b".to_owned(), PART + 1000)]);
    assert!(get(store, "a", None)? == small);
    assert!(get(store, "b", Some(10..PART + 500))? == large[10..usize::try_from(PART).unwrap() + 500]);
    store.delete("a")?;
    assert_eq!(store.head("a")?, None);
    Ok(())
}

#[test]
fn a_request_that_fails_once_is_made_again() {
    for scheme in SCHEMES {
        each_fails_once(scheme);
    }
}

fn each_fails_once(scheme: &str) {
    let server = Scripted::new();
    let store = at_scheme(scheme, &server, "");
    exercise(&*store).unwrap();
    let count = u64::try_from(server.requests().len()).unwrap();
    assert_eq!(count, if scheme == "az" { 10 } else { 11 }); // Azure needs no request to begin an upload
    let acts = [
        Act::Fail(503, "SlowDown"),
        Act::Fail(500, "InternalError"),
        Act::Lose,
        Act::Reset,
        Act::ResetAfter,
        Act::Truncate,
        Act::CorruptUp,
    ];
    for act in acts {
        for index in 0..count {
            server.objects(|objects| objects.whole.clear());
            let act = act.clone();
            let shown = format!("{scheme}: {act:?} at {index}");
            server.follow(move |request| if request.index == index { act.clone() } else { Act::Serve });
            exercise(&*store).unwrap_or_else(|fault| panic!("{shown}: {fault}"));
        }
    }
}

#[test]
fn a_server_that_stalls_is_asked_again() {
    for index in 0..11 {
        let server = Scripted::new();
        server.follow(move |request| if request.index == index { Act::Stall } else { Act::Serve });
        let hurried = Access { patience: Duration::from_secs(2), ..access(&server.variables()) };
        let store = open(&format!("s3://{BUCKET}").parse().unwrap(), &hurried).unwrap();
        exercise(&*store).unwrap_or_else(|fault| panic!("at {index}: {fault}"));
    }
}

#[test]
fn a_read_goes_on_where_it_was_cut_off() {
    let server = Scripted::new();
    let store = at(&server, "");
    let bytes = noise(1 << 20, 9);
    put(&*store, "x", &bytes);
    // The server sends half of the remaining bytes, eighteen times.
    server.follow(|request| if request.index < 18 { Act::Truncate } else { Act::Serve });
    assert!(get(&*store, "x", None).unwrap() == bytes);
    assert_eq!(server.requests().len(), 19);
}

#[test]
fn what_cannot_pass_is_said_at_once() {
    let server = Scripted::new();
    let store = at(&server, "");
    let fails = |status, code: &'static str| {
        server.follow(move |_| Act::Fail(status, code));
        let start = Instant::now();
        let fault = store.put("x", b"x", &Digest::of(b"x")).unwrap_err();
        assert_eq!(server.requests().len(), 1, "{code}");
        assert!(start.elapsed() < Duration::from_secs(1));
        fault
    };
    assert!(matches!(fails(403, "AccessDenied"), Fault::Denied(_)));
    assert!(matches!(fails(403, "SignatureDoesNotMatch"), Fault::Denied(_)));
    assert!(matches!(fails(400, "ExpiredToken"), Fault::Denied(_)));
    assert!(matches!(fails(404, "NoSuchBucket"), Fault::NoStore(_)));
    assert!(matches!(fails(507, "XMinioStorageFull"), Fault::Full(_)));
    assert!(matches!(fails(400, "EntityTooLarge"), Fault::Refused(_)));
    assert!(matches!(fails(501, "NotImplemented"), Fault::Refused(_)));
}

#[test]
fn a_store_that_goes_on_failing_is_given_up_after_a_time() {
    let server = Scripted::with(|_| Act::Fail(503, "SlowDown"));
    let hurried = Access { patience: Duration::from_secs(1), ..access(&server.variables()) };
    let store = open(&format!("s3://{BUCKET}").parse().unwrap(), &hurried).unwrap();
    let fault = store.put("x", b"x", &Digest::of(b"x")).unwrap_err();
    assert!(matches!(fault, Fault::Unavailable(_)), "{fault}");
    assert!(server.requests().len() > 3);
    // The message has what the operator of the store needs.
    assert!(fault.to_string().contains("503 SlowDown") && fault.to_string().contains("R1"), "{fault}");
}

#[test]
fn an_upload_in_parts_whose_end_was_not_answered_has_ended() {
    for (scheme, act) in SCHEMES.iter().flat_map(|scheme| [(scheme, Act::Lose), (scheme, Act::ResetAfter)]) {
        let server = Scripted::new();
        let store = at_scheme(scheme, &server, "");
        let bytes = noise(usize::try_from(PART).unwrap() + 1, 4);
        let upload = store.begin("x", PART).unwrap();
        let parts: Vec<_> = (1..)
            .zip(bytes.chunks(usize::try_from(PART).unwrap()))
            .map(|(number, chunk)| store.put_part(&upload, number, chunk, &Digest::of(chunk)).unwrap())
            .collect();
        server.follow(move |request| if request.index == 0 { act.clone() } else { Act::Serve });
        store.complete(&upload, &parts, PART + 1).unwrap();
        // A process that was killed before it recorded the completion completes the upload again.
        store.complete(&upload, &parts, PART + 1).unwrap();
        assert!(server.object("x").unwrap() == bytes);
        // An older object with this key is not mistaken for the upload's object.
        let again = store.begin("x", PART).unwrap();
        store.abort(&again).unwrap();
        put(&*store, "x", b"other");
        assert!(matches!(store.complete(&again, &parts, PART + 1), Err(Fault::NotFound)));
    }
}

#[test]
fn the_clock_of_a_store_may_be_an_hour_off() {
    for (scheme, seconds) in SCHEMES.iter().flat_map(|scheme| [(scheme, 3600), (scheme, -3600)]) {
        let server = Scripted::new();
        server.set_clock(seconds);
        exercise(&*at_scheme(scheme, &server, "")).unwrap();
    }
}

#[test]
fn credentials_that_expire_are_looked_for_again() {
    let lab = Lab::new();
    let server = Scripted::new();
    let line = |key: &str| format!("export AWS_ACCESS_KEY_ID={key}\nexport AWS_SECRET_ACCESS_KEY={SECRET}\n");
    let address = format!("S3_ENDPOINT_URL={}\n", server.address());
    let file = lab.write("store.env", line(KEY) + &address);
    let environment = Environment::new(Some(&file)).unwrap();
    let renewed = Access { environment, ..access(&[]) };
    let store = open(&format!("s3://{BUCKET}").parse().unwrap(), &renewed).unwrap();
    put(&*store, "x", b"1");
    server.objects(|objects| {
        objects.expired = vec![KEY.to_owned()];
        objects.keys.push("another".to_owned());
    });
    let fault = store.put("x", b"2", &Digest::of(b"2")).unwrap_err();
    assert!(matches!(&fault, Fault::Denied(why) if why.contains("ExpiredToken")), "{fault}");
    fs::write(&file, line("another") + &address).unwrap();
    put(&*store, "x", b"2");
    assert_eq!(server.object("x").unwrap(), b"2");
}

#[test]
fn a_secret_that_a_server_repeats_is_not_shown() {
    for (scheme, secret) in SCHEMES.iter().zip([SECRET, SECRET, AZURE_KEY]) {
        let server = Scripted::with(move |_| Act::Fail(403, secret));
        let fault = at_scheme(scheme, &server, "").put("x", b"x", &Digest::of(b"x")).unwrap_err();
        assert!(fault.to_string().contains("403") && !fault.to_string().contains(secret), "{fault}");
    }
}

#[test]
fn reads_that_are_led_elsewhere_arrive_without_a_signature() {
    let elsewhere = Scripted::new();
    put(&*at(&elsewhere, ""), "x", b"0123456789");
    let unsigned = |request: &Request| {
        if request.headers.contains_key("authorization") {
            Act::Fail(400, "TwoSignatures")
        } else {
            Act::Serve
        }
    };
    elsewhere.follow(unsigned);
    elsewhere.objects(|objects| objects.is_public = true);
    let target = format!("{}/{BUCKET}/x?X-Amz-Signature=1", elsewhere.address());
    let server = Scripted::with(move |request| match request.method.as_str() {
        "GET" => Act::Redirect(302, target.clone()),
        _ => Act::Serve,
    });
    let store = at(&server, "");
    assert_eq!(get(&*store, "x", Some(2..5)).unwrap(), b"234");
    assert!(store.experiments().unwrap().redirects());
}

#[test]
fn checks_are_relied_on_where_they_were_seen() {
    let server = Scripted::new();
    let store = at(&server, "");
    assert_eq!(store.checks(), Checks::Nothing);
    store.prepare().unwrap();
    assert_eq!(store.checks(), Checks::Hash);
    assert_eq!(server.keys(), [".run-store/abilities.json"]);

    // The abilities of another store say nothing about this one.
    let copied = server.object(".run-store/abilities.json").unwrap();
    let other = Scripted::new();
    other.objects(|objects| objects.checksums = false);
    let store = at(&other, "");
    put(&*store, ".run-store/abilities.json", &copied);
    store.prepare().unwrap();
    assert_eq!(store.checks(), Checks::Nothing);
    assert_eq!(list(&*store, ".run-store/").len(), 1);

    // From now on the abilities are known, so this takes one request.
    server.follow(|_| Act::Serve);
    at(&server, "").prepare().unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn nobody_is_asked_for_credentials() {
    let start = Instant::now();
    for scheme in SCHEMES {
        let fault = open(&format!("{scheme}://{BUCKET}").parse().unwrap(), &access(&[])).err().unwrap();
        assert!(fault.to_string().contains("there are no credentials"), "{fault}");
    }
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn an_object_that_has_changed_since_is_not_replaced() {
    for scheme in SCHEMES {
        let server = Scripted::new();
        let store = at_scheme(scheme, &server, "");
        let replace = |bytes: &[u8], tag: &str| {
            store.experiments().unwrap().replace("x", bytes, &Digest::of(bytes), tag)
        };
        let first = store.put("x", b"1", &Digest::of(b"1")).unwrap().tag.unwrap();
        replace(b"2", &first).unwrap();
        assert!(matches!(replace(b"3", &first), Err(Fault::Exists)), "{scheme}");
        assert_eq!(server.object("x").unwrap(), b"2");
    }
}

#[test]
fn a_token_of_azure_is_part_of_each_address_and_of_no_message() {
    let server = Scripted::new();
    let variables = [
        ("AZURE_STORAGE_ENDPOINT", server.address()),
        ("AZURE_STORAGE_ACCOUNT", KEY.to_owned()),
        ("AZURE_STORAGE_SAS_TOKEN", format!("?sv=2021-12-02&sig={SECRET}")),
    ];
    let store = open(&format!("az://{BUCKET}/a").parse().unwrap(), &access(&variables)).unwrap();
    exercise(&*store).unwrap();
    assert!(server.requests().iter().all(|request| !request.headers.contains_key("authorization")));
    server.follow(|_| Act::Fail(403, SECRET));
    let fault = store.put("x", b"x", &Digest::of(b"x")).unwrap_err().to_string();
    assert!(fault.contains("403") && !fault.contains(SECRET), "{fault}");
}
