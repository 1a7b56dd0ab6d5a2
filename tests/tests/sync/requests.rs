//! Backups to an object store that is cut off, or misbehaves, at any request.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use testkit::stores::{Act, Request, Scripted, Server, Site};
use testkit::sync::noise;
use testkit::{Cmd, times};

/// Makes a run of small files and a large one.
fn site(scheme: &'static str) -> Site {
    let site = Site::new(scheme);
    for number in 0..4 {
        site.lab.write(&format!("{}/file {number}.bin", site.run), noise(number + 1, 5000));
    }
    site.lab.write(&format!("{}/large.bin", site.run), noise(100, 17 << 20));
    site.lab.write(&format!("{}/log.txt", site.run), "one\n");
    site
}

/// Changes what the second backup is of.
fn change(site: &Site) {
    site.lab.write(&format!("{}/log.txt", site.run), "one\ntwo\n");
    site.lab.write(&format!("{}/file 0.bin", site.run), noise(51, 5000));
    site.lab.write(&format!("{}/file new.bin", site.run), noise(52, 5000));
    site.lab.write(&format!("{}/large.bin", site.run), [noise(100, 17 << 20), noise(53, 1000)].concat());
    fs::remove_file(site.lab.path(format!("{}/file 1.bin", site.run))).unwrap();
}

/// Returns the keys of files of the run, and their sizes.
fn files(site: &Site) -> BTreeMap<String, usize> {
    let is_file = |key: &String| !key.contains("/.backup/") && !key.contains(".run-store/");
    let keys = site.server.keys().into_iter().filter(is_file);
    keys.map(|key| (key.clone(), site.server.object(&key).unwrap().len())).collect()
}

/// Goes back to what the store and the record of the run were.
fn go_back(site: &Site, to: &State) {
    site.server.objects(|objects| {
        objects.whole.clone_from(&to.whole);
        objects.uploads.clear();
    });
    let record = format!("{}/.run", site.run);
    let _ = fs::remove_file(site.lab.path(format!("{record}/backup.journal")));
    match &to.receipts {
        Some(receipts) => _ = site.lab.write(&format!("{record}/backup.jsonl"), receipts),
        None => drop(fs::remove_file(site.lab.path(format!("{record}/backup.jsonl")))),
    }
}

fn state(site: &Site) -> State {
    let receipts = fs::read(site.lab.path(format!("{}/.run/backup.jsonl", site.run))).ok();
    State { whole: site.server.objects(|objects| objects.whole.clone()), receipts }
}

/// Kills a backup when a request has come, which the server does or does not do, and does it again.
fn cut_off(site: &Site, index: u64, act: Act) {
    let shown = format!("{} {act:?} at {index}", site.scheme);
    let done = site.server.run_and_kill(move |request| request.index == index, act, site.backup());
    assert_ne!(done.code, 0, "{shown}: {}", done.err());
    site.seen().check();
    let done = site.backup().run();
    assert_eq!((done.code, done.err()), (0, String::new()), "{shown}");
    let set = site.seen();
    set.check_newest_is(&site.lab.path(&site.run));
    site.lab.cmd("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).cwd(&set.path).run().code(0);
    let journal = site.lab.path(format!("{}/.run/backup.journal", site.run));
    assert!(!journal.exists(), "{shown}");
    if site.scheme != "az" {
        let left = site.server.objects(|objects| objects.uploads.len());
        assert_eq!(left, 0, "{shown}: uploads are left"); // Azure gives them up by itself
    }
}

/// Cuts a backup off at some of its requests, in `make soak` at each.
fn cut_off_at_each(site: &Site, before: &State) {
    go_back(site, before);
    site.server.follow(|_| Act::Serve);
    site.backup().run().code(0).stderr("");
    let count = site.server.requests().len() as u64;
    let expected = files(site);
    assert!(count > 8, "{count}");
    let pace = if site.scheme == "s3" { times(2, 1) } else { times(7, 1) };
    for (start, act) in [Act::Reset, Act::Serve].into_iter().enumerate() {
        for index in (0..count).skip(start * 2 % pace).step_by(pace) {
            go_back(site, before);
            cut_off(site, index, act.clone());
            assert_eq!(files(site), expected, "{act:?} at {index}: a second copy");
        }
    }
}

/// What a store and the record of a run were.
struct State {
    whole: BTreeMap<String, testkit::stores::Object>,
    receipts: Option<Vec<u8>>,
}

/// Kills first backups, and later ones.
fn kill_at_requests(scheme: &'static str) {
    let site = site(scheme);
    cut_off_at_each(&site, &state(&site));
    go_back(&site, &State { whole: BTreeMap::new(), receipts: None });
    site.backup().run().code(0).stderr("");
    let before = state(&site);
    change(&site);
    cut_off_at_each(&site, &before);
}

#[test]
fn a_backup_that_is_killed_at_any_request_is_continued() {
    kill_at_requests("s3");
}

#[test]
fn so_is_one_by_the_protocols_of_google_and_azure() {
    kill_at_requests("gs");
    kill_at_requests("az");
}

#[test]
fn what_is_sent_again_is_sent_whole_though_it_is_cut_off_at_any_request() {
    let site = site("s3");
    site.backup().run().code(0).stderr("");
    let expected = files(&site);
    site.server.objects(|objects| {
        objects.whole.retain(|key, _| !key.ends_with("file 0.bin"));
        for name in ["file 1.bin", "large.bin"] {
            let damaged = objects.whole.iter_mut().find(|(key, _)| key.ends_with(name)).unwrap().1;
            Arc::make_mut(&mut damaged.bytes)[4000] ^= 1;
        }
    });
    let before = state(&site);
    let again = || site.backup().arg("--read-back");
    site.server.follow(|_| Act::Serve);
    again().run().code(0).stderr_has("sent again: 'file 0.bin', 'file 1.bin', 'large.bin'\n");
    let count = site.server.requests().len() as u64;
    for (start, act) in [Act::Reset, Act::Serve].into_iter().enumerate() {
        for index in (0..count).skip(start).step_by(times(4, 1)) {
            go_back(&site, &before);
            let shown = format!("{act:?} at {index}");
            let done = site.server.run_and_kill(move |request| request.index == index, act.clone(), again());
            assert_ne!(done.code, 0, "{shown}: {}", done.err());
            again().run().code(0);
            site.seen().check_newest_is(&site.lab.path(&site.run));
            assert_eq!(files(&site), expected, "{shown}");
            assert_eq!(site.server.objects(|objects| objects.uploads.len()), 0, "{shown}: uploads are left");
        }
    }
}

#[test]
fn of_a_store_that_lists_no_uploads_one_may_be_left_and_that_is_all() {
    let site = site("s3");
    site.server.objects(|objects| objects.lists_uploads = false);
    let is_begin = |request: &Request| request.query.contains_key("uploads");
    let done = site.server.run_and_kill(is_begin, Act::Serve, site.backup());
    assert_eq!(done.code, 1009, "{}", done.err());
    site.backup().run().code(0).stderr("");
    site.seen().check_newest_is(&site.lab.path(&site.run));
    assert_eq!(site.server.objects(|objects| objects.uploads.len()), 1);
}

#[test]
fn an_upload_whose_beginning_was_answered_too_late_is_given_up() {
    for scheme in ["s3", "gs"] {
        for act in [Act::Lose, Act::ResetAfter, Act::Truncate] {
            let site = site(scheme);
            let first = AtomicU64::new(0);
            let begun = act.clone();
            site.server.follow(move |request| {
                let is_begin = request.method == "POST" && request.query.contains_key("uploads");
                if is_begin && first.fetch_add(1, Ordering::Relaxed) == 0 {
                    begun.clone()
                } else {
                    Act::Serve
                }
            });
            site.backup().run().code(0).stderr("");
            site.seen().check_newest_is(&site.lab.path(&site.run));
            assert_eq!(site.server.objects(|objects| objects.uploads.len()), 0, "{scheme} {act:?}");
        }
    }
}

#[test]
fn an_answer_of_success_alone_is_not_believed() {
    let site = site("s3");
    let before = state(&site);
    site.backup().run().code(0).stderr("");
    let count = site.server.requests().len() as u64;
    let acts = [
        Act::Pretend,
        Act::Reply(200, ""),
        Act::Reply(200, "<Error><Code>InternalError</Code><Message>later</Message></Error>"),
        Act::Reply(200, "<Error><Code>AccessDenied</Code><Message>never</Message></Error>"),
        Act::Reply(200, "<html><body>Sign in to the network</body></html>"),
        Act::Reply(301, ""),
    ];
    let mut refused = 0;
    for index in 0..count {
        let act = &acts[usize::try_from(index).unwrap() % acts.len()];
        let some = if times(0, 1) == 1 { &acts[..] } else { std::slice::from_ref(act) };
        for act in some {
            let shown = format!("{act:?} at {index}");
            go_back(&site, &before);
            let now = act.clone();
            site.server.follow(move |request| if request.index == index { now.clone() } else { Act::Serve });
            let done = site.backup().run();
            site.seen().check();
            assert_eq!(done.code == 0, done.err().is_empty(), "{shown}: {}", done.err());
            refused += u64::from(done.code != 0);
            site.server.follow(|_| Act::Serve);
            site.backup().run().code(0).stderr("");
            site.seen().check_newest_is(&site.lab.path(&site.run));
        }
    }
    assert!(refused > 0 && refused < count * acts.len() as u64, "{refused}");
}

#[test]
fn a_part_that_a_store_claimed_to_have_is_sent_again_by_the_next_backup() {
    for scheme in ["s3", "gs", "az"] {
        let site = site(scheme);
        let first = AtomicU64::new(0);
        site.server.follow(move |request| {
            let is_part = ["partNumber", "blockid"].iter().any(|name| request.query.contains_key(*name));
            if is_part && first.fetch_add(1, Ordering::Relaxed) == 0 { Act::Pretend } else { Act::Serve }
        });
        let done = site.backup().run().code(5);
        assert!(done.err().contains("cannot store 'trial/large.bin'"), "{scheme}: {}", done.err());
        site.backup().run().code(0).stderr("");
        site.seen().check_newest_is(&site.lab.path(&site.run));
        assert_eq!(site.server.objects(|objects| objects.uploads.len()), 0, "{scheme}");
    }
}

/// Seconds for which requests are tried again; for half of them one that is not answered is waited for.
const PATIENCE: &str = "8";

/// Misbehaves at this number of a hundred requests.
fn misbehave(server: &Scripted, seed: u64, of_a_hundred: u64) {
    let state = AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    server.follow(move |_| {
        let mut number = state.load(Ordering::Relaxed);
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        state.store(number, Ordering::Relaxed);
        if (number >> 8) % 100 >= of_a_hundred {
            return Act::Serve;
        }
        match (number >> 16) % 64 {
            0..16 => Act::Fail(503, "SlowDown"),
            16..24 => Act::Lose,
            24..32 => Act::Reset,
            32..40 => Act::ResetAfter,
            40..48 => Act::Truncate,
            48..56 => Act::CorruptUp,
            56..63 => Act::CorruptDown,
            _ => Act::Stall, // until the client no longer waits
        }
    });
}

#[test]
fn with_a_third_of_all_requests_failing_nothing_is_ever_wrong() {
    // Each round is a backup and a restore, which wait for most of the time.
    let (lanes, each, few) = (times(1, 5) as u64, times(26, 100) as u64, times(2, 50) as u64);
    let of_s3 = (0..lanes).map(|lane| ("s3", lane * each..(lane + 1) * each));
    let all = of_s3.chain([("gs", 0..few), ("az", 0..few)]);
    let refused: u64 = thread::scope(|scope| {
        let lanes: Vec<_> =
            all.map(|(scheme, rounds)| scope.spawn(move || fail_in_rounds(scheme, rounds))).collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).sum()
    });
    println!("{refused} were refused");
}

/// Backs up and restores in these rounds. Returns how often that was refused.
fn fail_in_rounds(scheme: &'static str, rounds: Range<u64>) -> u64 {
    let site = site(scheme);
    let patiently = |command: Cmd| command.env("RUN_SYNC_TIMEOUT", PATIENCE);
    let restore = |into: &str| {
        let args = ["restore", "--from", &site.url(), "--into", into, "trial"];
        patiently(site.server.reached_by(site.lab.cmd("run-sync").args(args))).run()
    };
    let mut refused = 0;
    let (first, count) = (rounds.start, rounds.end - rounds.start);
    for round in rounds {
        if round == first + 5 {
            fs::remove_file(site.lab.path(format!("{}/large.bin", site.run))).unwrap(); // it takes most of the time
        }
        site.lab.write(&format!("{}/file {}.bin", site.run, round % 4), noise(round + 1000, 5000));
        let log: String = (0..round + 2).map(|line| format!("line {line}\n")).collect();
        site.lab.write(&format!("{}/log.txt", site.run), log);
        misbehave(&site.server, round + 1, 30);
        let done = patiently(site.backup()).run();
        site.seen().check();
        if done.code != 0 {
            assert!(!done.err().is_empty(), "a refusal has its reason");
            refused += 1;
            continue;
        }
        site.seen().check_newest_is(&site.lab.path(&site.run));
        let into = format!("restored {round}");
        let done = restore(&into);
        if done.code == 0 {
            let ours = ["-x", "backup.jsonl", "-x", "backup.journal"];
            let both = [site.run.clone(), format!("{into}/trial")];
            site.lab
                .cmd("diff")
                .args(["-r", "--no-dereference"])
                .args(ours)
                .args(both)
                .run()
                .code(0)
                .stdout("");
        } else {
            assert!(!done.err().is_empty(), "a refusal has its reason");
            refused += 1;
        }
        let _ = fs::remove_dir_all(site.lab.path(&into));
    }
    assert!(refused <= count / 4 + 1, "{scheme}: {refused} of {count} were refused");
    refused
}

#[test]
fn a_manifest_that_is_stored_when_its_writer_is_dead_is_no_fork() {
    for scheme in ["s3", "gs", "az"] {
        let site = Arc::new(site(scheme));
        let is_it = |key: &str| key.contains("/.backup/") && key.contains(".json");
        let is_manifest = move |request: &Request| request.method == "PUT" && is_it(&request.key);
        let done = site.server.run_and_kill(is_manifest, Act::Serve, site.backup());
        assert_eq!(done.code, 1009, "{scheme}: {}", done.err());
        let late = site.server.keys().into_iter().find(|key| is_it(key)).unwrap();
        let manifest = site.server.objects(|objects| objects.whole.remove(&late)).unwrap();
        // The store is slow: it stores the first manifest when the next backup has stored its own.
        let server = Arc::downgrade(&site);
        let key = late.clone();
        site.server.follow(move |request| {
            if is_manifest(request)
                && let Some(site) = server.upgrade()
            {
                site.server.store(&key, &manifest.bytes);
            }
            Act::Serve
        });
        site.lab.write(&format!("{}/log.txt", site.run), "one\ntwo\n");
        site.backup().run().code(0).stderr("");
        assert_eq!(site.server.keys().iter().filter(|key| is_it(key)).count(), 2, "{scheme}");
        let url = site.url();
        for history in [&[][..], &["--history"]] {
            let list = site.sync(&["list", "--from", &url, "--json"]).args(history).run().code(0).stderr("");
            let rows = list.json_lines();
            let of = |row: &serde_json::Value| (row["number"].as_u64().unwrap(), row["fork"] == true);
            let expected: &[_] = if history.is_empty() { &[(2, false)] } else { &[(1, false), (2, false)] };
            assert_eq!(rows.iter().map(of).collect::<Vec<_>>(), expected, "{scheme}");
        }
        site.seen().check();
        site.lab.write(&format!("{}/log.txt", site.run), "one\ntwo\nthree\n");
        site.backup().run().code(0).stderr("");
        site.seen().check_newest_is(&site.lab.path(&site.run));
    }
}
