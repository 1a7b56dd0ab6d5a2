//! Tests with datastores as W&B writes them: whole, truncated and damaged.

use super::*;
use crate::checksum::crc32;
use crate::protobuf::put;
use proptest::prelude::*;
use serde_json::json;
use std::fs;
use tempfile::TempDir;

const BLOCK: usize = 32 << 10;

/// Writes records in the format of a log.
fn log(records: &[Vec<u8>]) -> Vec<u8> {
    let mut log = b":W&B\xe1\xbe\0".to_vec();
    for record in records {
        let mut rest = record.as_slice();
        let mut is_first = true;
        loop {
            let room = BLOCK - log.len() % BLOCK;
            if room < 7 {
                log.resize(log.len() + room, 0);
                continue;
            }
            let (part, after) = rest.split_at(rest.len().min(room - 7));
            let kind = match (is_first, after.is_empty()) {
                (true, true) => 1,
                (true, false) => 2,
                (false, false) => 3,
                (false, true) => 4,
            };
            log.extend_from_slice(&crc32(&[&[kind], part]).to_le_bytes());
            log.extend_from_slice(&u16::try_from(part.len()).unwrap().to_le_bytes());
            log.push(kind);
            log.extend_from_slice(part);
            (rest, is_first) = (after, false);
            if rest.is_empty() {
                break;
            }
        }
    }
    log
}

fn open(dir: &TempDir, bytes: &[u8]) -> File {
    let path = dir.path().join("run-a.wandb");
    fs::write(&path, bytes).unwrap();
    crate::fsio::read::open_file(&path).unwrap()
}

/// Reads records, `limit` bytes at a time; returns them and the number of damaged ones.
fn read(reader: &mut LogReader, file: &File, limit: u64) -> (Vec<Vec<u8>>, usize) {
    let (mut records, mut damaged) = (Vec::new(), 0);
    let mut act = |_, record: Option<&[u8]>| {
        match record {
            Some(record) => records.push(record.to_vec()),
            None => damaged += 1,
        }
        Ok(())
    };
    while reader.read(file, limit, &mut act).unwrap() {}
    (records, damaged)
}

fn message(fields: &[(u64, WireValue)]) -> Vec<u8> {
    let mut message = Vec::new();
    for (number, value) in fields {
        put(&mut message, *number, *value);
    }
    message
}

fn item_of(name: &str, json: &str) -> Vec<u8> {
    message(&[(1, WireValue::Bytes(name.as_bytes())), (16, WireValue::Bytes(json.as_bytes()))])
}

fn record(kind: u64, of: &[u8]) -> Vec<u8> {
    message(&[(1, WireValue::Varint(7)), (kind, WireValue::Bytes(of))])
}

fn history(step: u64, name: &str, json: &str) -> Vec<u8> {
    let step = message(&[(1, WireValue::Varint(step))]);
    record(HISTORY, &message(&[(1, WireValue::Bytes(&item_of(name, json))), (2, WireValue::Bytes(&step))]))
}

/// Creates records of various lengths: some cross blocks, others end a few bytes before the end of a block.
fn various() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let length = prop_oneof![0..100_usize, 32_700..32_800_usize, Just(100_000_usize)];
    prop::collection::vec((length, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]), 0..6)
}

#[test]
fn the_beginning_says_who_a_run_is_and_the_end_how_it_ended() {
    let settings = message(&[
        (1, WireValue::Bytes(&item_of("lr", "0.1"))),
        (1, WireValue::Bytes(&item_of("_wandb", "{}"))),
        (1, WireValue::Bytes(&item_of("bad", "NaN"))),
        (1, WireValue::Bytes(&item_of("gone", "1"))),
    ]);
    let nested = message(&[
        (2, WireValue::Bytes(b"model")),
        (2, WireValue::Bytes(b"depth")),
        (16, WireValue::Bytes(b"3")),
    ]);
    let later = message(&[(1, WireValue::Bytes(&nested)), (2, WireValue::Bytes(&item_of("gone", "")))]);
    let start = message(&[(1, WireValue::Varint(1_700_000_000)), (2, WireValue::Varint(250_000_000))]);
    let run = message(&[
        (1, WireValue::Bytes(b"abc")),
        (3, WireValue::Bytes(b"p")),
        (4, WireValue::Bytes(&settings)),
        (8, WireValue::Bytes("größe".as_bytes())),
        (10, WireValue::Bytes(b"t")),
        (17, WireValue::Bytes(&start)),
    ]);
    let exit = message(&[(1, WireValue::Varint(255)), (2, WireValue::Varint(60))]);
    let mut records = vec![record(RUN, &run), record(CONFIG, &later)];
    records.extend((0..20_000).map(|step| history(step, "loss", "0.5")));
    let late = message(&[(1, WireValue::Bytes(&item_of("late", "1")))]);
    records.extend([record(CONFIG, &late), record(EXIT, &exit), record(4, b"")]);
    let dir = TempDir::new().unwrap();
    let file = open(&dir, &log(&records));
    let head = Head::read(&file).unwrap();
    assert_eq!(
        head,
        Head {
            id: Some("abc".to_owned()),
            name: Some("größe".to_owned()),
            project: Some("p".to_owned()),
            tags: vec!["t".to_owned()],
            start_time: Timestamp::from_millis(1_700_000_000_250),
            config: json!({"lr": 0.1, "bad": "NaN", "model/depth": 3}).as_object().unwrap().clone(),
            ..Head::default()
        }
    );
    let mut late = Head::default();
    assert_eq!(late.read_end(&file).unwrap(), Some(Exit { code: 255, runtime: 60 }));
    assert_eq!(late.config, json!({"late": 1}).as_object().unwrap().clone());
    let file = open(&dir, &log(&records[..20_002]));
    assert_eq!(late.read_end(&file).unwrap(), None);
    let (all, _) = read(&mut LogReader::default(), &file, u64::MAX);
    let last = Logged::parse(&all[20_001]).unwrap().unwrap();
    assert_eq!(last, Logged { step: Some(19_999), items: vec![("loss".to_owned(), &b"0.5"[..])] });
    assert_eq!(Logged::parse(&all[0]), Ok(None));
}

#[test]
fn the_end_of_a_run_is_found_before_a_large_record() {
    let dir = TempDir::new().unwrap();
    let end = record(EXIT, &message(&[(1, WireValue::Varint(1)), (2, WireValue::Varint(60))]));
    let mut records: Vec<_> = (0..20_000).map(|step| history(step, "loss", "0.5")).collect();
    records.push(end);
    for size in [100_000, 1_000_000, 5_000_000] {
        records.push(record(4, &vec![b'x'; size]));
        records.push(record(4, b""));
        let file = open(&dir, &log(&records));
        assert_eq!(Head::default().read_end(&file).unwrap(), Some(Exit { code: 1, runtime: 60 }), "{size}");
    }
}

#[test]
fn a_log_that_is_cut_off_has_all_records_before_the_cut_and_no_damage() {
    let dir = TempDir::new().unwrap();
    let records = [vec![1; 10], vec![2; 40_000], vec![], vec![3; 25_520], vec![4; 30]];
    let whole = log(&records);
    let ends: Vec<usize> = (0..=records.len()).map(|count| log(&records[..count]).len()).collect();
    let cuts = (0..100).chain(32_700..32_800).chain(whole.len() - 200..=whole.len());
    for cut in cuts {
        let file = open(&dir, &whole[..cut]);
        let count = ends[1..].iter().filter(|end| **end <= cut).count();
        let mut reader = LogReader::default();
        assert_eq!(read(&mut reader, &file, 1 << 20), (records[..count].to_vec(), 0), "{cut}");
        // The rest is read once it was written.
        let file = open(&dir, &whole);
        assert_eq!(read(&mut reader, &file, 1 << 20), (records[count..].to_vec(), 0), "{cut}");
    }
}

#[test]
fn what_is_no_log_is_said_once() {
    let dir = TempDir::new().unwrap();
    for bytes in [&b"{\"step\": 1}\n"[..], b":W&B\xe1\xbe\x01", b"\0\0\0\0\0\0\0\0", b":W&C"] {
        let file = open(&dir, bytes);
        let mut reader = LogReader::default();
        assert_eq!(read(&mut reader, &file, 1), (vec![], 1), "{bytes:?}");
        assert_eq!(read(&mut reader, &file, 1), (vec![], 0), "{bytes:?}");
    }
    // Bytes that a crash of the machine left after the last record.
    let mut bytes = log(&[vec![1; 10]]);
    bytes.resize(5000, 0);
    let file = open(&dir, &bytes);
    let mut reader = LogReader::default();
    assert_eq!(read(&mut reader, &file, 1 << 20), (vec![vec![1; 10]], 1));
    assert_eq!(read(&mut reader, &file, 1 << 20), (vec![], 0));
}

#[test]
fn a_record_that_is_too_large_is_passed_over() {
    let dir = TempDir::new().unwrap();
    let file = open(&dir, &log(&[vec![1; 10], vec![2; 17 << 20], vec![3; 10]]));
    let found = read(&mut LogReader::default(), &file, 1 << 20);
    assert_eq!(found, (vec![vec![1; 10], vec![3; 10]], 1));
}

proptest! {
    #[test]
    fn records_are_read_back_however_much_is_read_at_a_time(records in various(), limit in 1..100_000_u64) {
        let dir = TempDir::new().unwrap();
        let file = open(&dir, &log(&records));
        let mut reader = LogReader::default();
        prop_assert_eq!(read(&mut reader, &file, limit), (records, 0));
        prop_assert_eq!(reader.position(), file.metadata().unwrap().len());
    }

    #[test]
    fn a_damaged_byte_costs_no_more_than_its_block(
        records in various(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let dir = TempDir::new().unwrap();
        let mut bytes = log(&records);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let file = open(&dir, &bytes);
        let (found, _) = read(&mut LogReader::default(), &file, u64::MAX);
        prop_assert!(found.iter().all(|record| records.contains(record)));
        let ends: Vec<usize> = (0..=records.len()).map(|count| log(&records[..count]).len()).collect();
        let (from, to) = (at - at % BLOCK, at - at % BLOCK + BLOCK);
        let untouched = if at < 7 { 0 } else {
            (0..records.len()).filter(|&one| ends[one + 1] <= from || ends[one] >= to).count()
        };
        prop_assert!(found.len() >= untouched);
    }

    #[test]
    fn nonsense_is_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0..30_u64) {
        let dir = TempDir::new().unwrap();
        let noise = record(kind, &bytes);
        let file = open(&dir, &log(&[noise.clone(), bytes.clone(), record(kind, &noise)]));
        Head::read(&file).unwrap().read_end(&file).unwrap();
        let _ = Logged::parse(&noise);
        let mut log = log(&[]);
        log.extend(&bytes);
        read(&mut LogReader::default(), &open(&dir, &log), 10);
    }
}
