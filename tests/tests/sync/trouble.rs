//! Object stores in trouble: a bucket without room, credentials that expire, a clock that is wrong, very many keys.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::yield_now;
use std::time::{Duration, Instant};
use testkit::stores::scripted::Request;
use testkit::stores::site::Site;
use testkit::stores::{Act, KEY, SECRET, Scripted, Server};
use testkit::sync::{noise, torch_noise};

/// Makes a run with small files and one of two parts.
fn site(scheme: &'static str) -> Site {
    let site = Site::new(scheme);
    for number in 0..4 {
        site.lab.write(&format!("{}/{number}.bin", site.run), noise(number, 3000));
    }
    site.lab.write(&format!("{}/large.bin", site.run), noise(9, (16 << 20) + 5));
    site
}

/// Restores the run elsewhere and compares it with the one that is here.
fn check(site: &Site) {
    site.sync(&["verify", "--from", &site.url(), "trial"]).run().code(0).stderr("");
    site.sync(&["restore", "--from", &site.url(), "--into", "back", "trial"]).run().code(0).stderr("");
    let less = ["-r", "--no-dereference", "-x", "backup.jsonl", "-x", "backup.journal"];
    site.lab.cmd("diff").args(less).args([&site.run, "back/trial"]).run().code(0).stdout("");
    fs::remove_dir_all(site.lab.path("back")).unwrap();
}

/// How often each object or part was sent.
fn sent(server: &Scripted) -> BTreeMap<String, usize> {
    let mut sent = BTreeMap::new();
    for request in server.requests() {
        if request.method == "PUT" && request.key.contains(".bin") {
            let part = ["partNumber", "blockid"].iter().find_map(|name| request.query.get(*name));
            *sent.entry(format!("{} {}", request.key, part.map_or("", |part| part))).or_default() += 1;
        }
    }
    sent
}

#[test]
fn a_bucket_without_room_is_named_and_the_backup_continues_when_there_is_room() {
    for scheme in ["s3", "gs", "az"] {
        let site = site(scheme);
        site.server.objects(|objects| objects.room = 16 << 20);
        let said = site.backup().run().code(5).stdout("").err();
        assert!(
            said.ends_with("nothing was removed here; the same command continues when there is room\n"),
            "{said}"
        );
        assert!(!said.contains(SECRET) && said.lines().count() == 2, "{said}");
        let before = sent(&site.server);
        let had = site.server.contents();
        assert!(!had.keys().any(|key| key.contains("/.backup/0")), "there is no backup: {:?}", had.keys());
        site.server.objects(|objects| objects.room = usize::MAX);
        site.backup().run().code(0).stderr("");
        check(&site);
        let again = sent(&site.server);
        for key in had.keys().filter(|key| key.contains(".bin")) {
            assert_eq!(
                again[&format!("{key} ")],
                before[&format!("{key} ")],
                "{scheme}: what was stored is not sent again"
            );
        }
    }
}

#[test]
fn credentials_that_expire_in_the_middle_are_renewed_or_asked_for() {
    for is_renewed in [true, false] {
        let site = site("s3");
        let lines = |key: &str| {
            let address = format!("S3_ENDPOINT_URL={}\n", site.server.address());
            format!("AWS_ACCESS_KEY_ID={key}\nAWS_SECRET_ACCESS_KEY={SECRET}\n{address}")
        };
        let file = site.lab.write("store.env", lines(KEY));
        let expire = || {
            site.server.objects(|objects| {
                objects.expired = vec![KEY.to_owned()];
                objects.keys.push("another".to_owned());
            });
        };
        let (begun, gone) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (has_begun, is_gone) = (Arc::clone(&begun), Arc::clone(&gone));
        site.server.follow(move |request| {
            if request.key.ends_with("2.bin") && !has_begun.swap(true, Ordering::SeqCst) {
                let end = Instant::now() + Duration::from_secs(60);
                while !is_gone.load(Ordering::SeqCst) && Instant::now() < end {
                    yield_now();
                }
            }
            Act::Serve
        });
        let url = site.url();
        let backup = || {
            let command =
                site.lab.cmd("run-sync").args(["backup", "--transfers", "1", "--to", &url, "trial"]);
            command.args(["--env-file", file.to_str().unwrap()])
        };
        let running = backup().spawn();
        testkit::wait_for("the middle of the backup", || begun.load(Ordering::SeqCst));
        expire();
        if is_renewed {
            fs::write(&file, lines("another")).unwrap();
        }
        gone.store(true, Ordering::SeqCst);
        let done = running.wait();
        if is_renewed {
            done.code(0).stderr("");
        } else {
            let said = done.code(5).stdout("").err();
            assert!(said.contains("ExpiredToken") && !said.contains(SECRET), "{said}");
            fs::write(&file, lines("another")).unwrap();
            backup().run().code(0).stderr("");
        }
        let args =
            ["restore", "--from", &url, "--into", "back", "trial", "--env-file", file.to_str().unwrap()];
        site.lab.cmd("run-sync").args(args).run().code(0).stderr("");
        assert!(site.lab.bytes("back/trial/large.bin") == site.lab.bytes(&format!("{}/large.bin", site.run)));
        assert!(!holds_secret(&site.lab.path("runs")) && !holds_secret(&site.lab.path("back")));
    }
}

/// Returns whether a file below a directory has the secret of the store.
fn holds_secret(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        let has = |path: &Path| {
            fs::read(path)
                .is_ok_and(|bytes| bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()))
        };
        if path.is_dir() { holds_secret(&path) } else { has(&path) }
    })
}

#[test]
fn a_clock_that_is_an_hour_off_disturbs_no_backup() {
    for (scheme, seconds) in
        ["s3", "gs", "az"].into_iter().flat_map(|scheme| [(scheme, 3600), (scheme, -3600)])
    {
        let site = site(scheme);
        site.server.set_clock(seconds);
        site.backup().run().code(0).stderr("");
        check(&site);
        site.lab.write(&format!("{}/0.bin", site.run), noise(100, 3000));
        site.backup().run().code(0).stderr("");
        check(&site);
    }
}

#[test]
fn twenty_thousand_keys_are_listed_by_pages_and_each_once() {
    let site = site("s3");
    for number in 0..20_000 {
        site.server.store(&format!("runs/trial/left/{number:05}"), b"x"); // of an interrupted backup
    }
    site.lab.write(&format!("{}/left/00007", site.run), "mine");
    site.backup().run().code(0).stderr("");
    check(&site);
    let lists = |requests: Vec<Request>| {
        let pages = requests.into_iter().filter(|request| request.query.contains_key("list-type"));
        pages.filter(|page| page.query.get("prefix").is_some_and(|prefix| prefix == "runs/trial/")).count()
    };
    let pages = lists(site.server.requests());
    assert!((21..=44).contains(&pages), "{pages} pages"); // before anything is sent, and after it
    assert_eq!(site.server.object("runs/trial/left/00007").unwrap(), b"x", "what is there is not replaced");
}

#[test]
fn a_backup_after_a_cleanup_removes_nothing_from_the_store() {
    let site = Site::new("s3");
    site.lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
    fs::rename(site.lab.path("runs"), site.lab.path("disk")).unwrap();
    symlink("disk", site.lab.path("runs")).unwrap();
    let save = |step: u64| {
        site.lab.write(&format!("{}/ckpt/step_{step}.pt", site.run), torch_noise(step, 20_000));
    };
    (1..=3).for_each(save);
    let backup = || site.backup().args(["--cleanup", "--keep-latest"]).run().code(0).stderr("");
    backup();
    let here = || {
        let names = fs::read_dir(site.lab.path("disk/trial/ckpt")).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(here(), ["step_3.pt"]);
    let before = site.server.contents();
    save(4);
    backup();
    assert_eq!(here(), ["step_4.pt"]);
    let after = site.server.contents();
    for (key, bytes) in before.iter().filter(|(key, _)| !key.ends_with("/SHA256SUMS")) {
        assert!(after.get(key) == Some(bytes), "{key}");
    }
    assert!(site.server.requests().iter().all(|request| request.method != "DELETE"));
    for step in 1..=4 {
        assert!(after[&format!("runs/trial/ckpt/step_{step}.pt")].as_slice() == torch_noise(step, 20_000));
    }
}
