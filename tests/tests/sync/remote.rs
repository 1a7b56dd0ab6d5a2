//! Reads of an object store that misbehaves: what comes is right or refused, and nothing comes twice.

use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use testkit::sets::{Backup, sha256};
use testkit::stores::scripted::{Act, Request, Scripted};
use testkit::stores::seaweed::Seaweed;
use testkit::stores::{BUCKET, KEY, SECRET, Server};
use testkit::sync::noise;
use testkit::{Cmd, Lab, times};

/// A run of a few small files and one of three parts, stored in a directory and in a server.
fn stored(lab: &Lab, server: &Scripted) {
    let mut backup =
        Backup::first(lab, "store", "trial").dir("nothing").link("latest", "large").file("empty", "");
    for file in 0..4 {
        backup = backup.file(&format!("small/{file}"), noise(file, 3000));
    }
    let large = noise(77, 3 << 20);
    let mut entry = backup.stored("large", "large", &large);
    entry["part_size"] = json!(1 << 20);
    entry["parts"] = large.chunks(1 << 20).map(sha256).collect();
    backup.entry(entry).commit();
    let mut left = vec![lab.path("store")];
    while let Some(directory) = left.pop() {
        for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                left.push(path);
                continue;
            }
            let key = format!("runs/{}", path.strip_prefix(lab.path("store")).unwrap().display());
            server.store(&key, &fs::read(&path).unwrap());
        }
    }
}

fn restore(lab: &Lab, server: &dyn Server) -> Cmd {
    restore_by("s3", lab, server)
}

fn restore_by(scheme: &str, lab: &Lab, server: &dyn Server) -> Cmd {
    let url = format!("{scheme}://{BUCKET}/runs");
    let args = ["restore", "--json", "--from", &url, "--transfers", "1", "trial"];
    let command = lab.cmd("run-sync").args(args).env("RUN_SYNC_TIMEOUT", "20");
    server.variables().iter().fold(command, |command, (name, value)| command.env(name, value))
}

/// Returns whether a run is here as the directory store has it.
fn is_whole(lab: &Lab) -> bool {
    let names = ["large", "small/0", "small/1", "small/2", "small/3", "empty"];
    let same =
        |name: &&str| lab.bytes(&format!("runs/trial/{name}")) == lab.bytes(&format!("store/trial/{name}"));
    fs::read_dir(lab.path("runs")).unwrap().count() == 1 && names.iter().all(same)
}

#[test]
fn a_fault_at_any_request_is_passed_over() {
    let lab = Lab::new();
    let server = Scripted::new();
    stored(&lab, &server);
    restore(&lab, &server).run().code(0).stderr("");
    assert!(is_whole(&lab));
    let count = server.requests().len() as u64;
    let faults = [
        Act::Fail(503, "SlowDown"),
        Act::Fail(500, "InternalError"),
        Act::Reset,
        Act::ResetAfter,
        Act::Truncate,
        Act::CorruptDown,
        Act::Reply(200, "<Error><Code>InternalError</Code></Error>"),
        Act::Reply(200, "<html>Sign in</html>"),
    ];
    for at in 0..count {
        let fault = &faults[usize::try_from(at).unwrap() % faults.len()];
        let some = if times(0, 1) == 1 { &faults[..] } else { std::slice::from_ref(fault) };
        for fault in some {
            let act = fault.clone();
            server
                .follow(move |request: &Request| if request.index == at { act.clone() } else { Act::Serve });
            fs::remove_dir_all(lab.path("runs")).unwrap();
            let done = restore(&lab, &server).run();
            // A list that came damaged is refused, or shows as much as is needed.
            assert!(done.code == 0 || *fault == Act::CorruptDown, "{fault:?} at {at}: {}", done.err());
            if done.code != 0 {
                assert!(!lab.path("runs/trial").exists(), "{fault:?} at {at}: {}", done.err());
                server.follow(|_| Act::Serve);
                restore(&lab, &server).run().code(0);
            }
            assert!(is_whole(&lab), "{fault:?} at {at}");
        }
    }
}

#[test]
fn a_restore_that_is_killed_at_any_request_is_continued_and_nothing_comes_twice() {
    for scheme in ["s3", "gs", "az"] {
        kill_at_each_request(scheme);
    }
}

fn kill_at_each_request(scheme: &str) {
    let lab = Lab::new();
    let server = Scripted::new();
    stored(&lab, &server);
    let restore = || restore_by(scheme, &lab, &server);
    restore().run().code(0);
    let is_data = |request: &Request| {
        request.method == "GET" && request.key.starts_with("runs/trial/") && !request.key.contains(".backup")
    };
    let requests = server.requests();
    let all = requests.iter().filter(|request| is_data(request)).count();
    assert_eq!(all, 7);
    for at in 0..requests.len() as u64 {
        fs::remove_dir_all(lab.path("runs")).unwrap();
        server.run_and_kill(move |request| request.index == at, Act::Reset, restore()).code(1009);
        assert!(!lab.path("runs/trial").exists(), "{scheme} {at}");
        let before = usize::try_from(at).unwrap();
        let came = requests[..before].iter().filter(|request| is_data(request)).count(); // one after the other
        let report = restore().run().code(0).stderr("").json_lines().remove(0);
        assert!(is_whole(&lab), "{scheme} {at}");
        let again = server.requests().iter().filter(|request| is_data(request)).count();
        assert!(again <= all - came, "{scheme} {at}: {came} of {all} had come, and {again} came again");
        assert!(report["bytes"].as_u64().unwrap() <= (3 << 20) + 12_000);
    }
}

#[test]
fn what_comes_damaged_each_time_is_named_and_what_comes_not_at_all_ends_the_restore() {
    let lab = Lab::new();
    let server = Scripted::new();
    stored(&lab, &server);
    server.follow(
        |request: &Request| if request.key.ends_with("small/2") { Act::CorruptDown } else { Act::Serve },
    );
    let done = restore(&lab, &server).run().code(1);
    let said = "run-sync: 'small/2' of 'trial' is not restored: its bytes in the store are not those that were stored\n";
    assert_eq!(done.err(), said);
    assert!(!lab.path("runs/trial/small/2").exists() && lab.path("runs/trial/small/3").exists());

    fs::remove_dir_all(lab.path("runs")).unwrap();
    server.follow(
        |request: &Request| {
            if request.key.ends_with("small/2") { Act::Fail(503, "SlowDown") } else { Act::Serve }
        },
    );
    let done = restore(&lab, &server).env("RUN_SYNC_TIMEOUT", "1").run().code(5);
    assert!(done.err().starts_with("run-sync: cannot read 'trial/small/2' in s3://"), "{}", done.err());
    assert!(!done.err().contains(SECRET) && !done.err().contains(KEY), "{}", done.err());
    assert!(!lab.path("runs/trial").exists());
    server.follow(|_| Act::Serve);
    restore(&lab, &server).run().code(0);
    assert!(is_whole(&lab));
}

fn contents(root: &Path) -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            let below = path.strip_prefix(root).unwrap().to_owned();
            if path.is_dir() {
                left.push(path);
            } else if below != Path::new(".run/backup.jsonl") {
                all.push((below, sha256(&fs::read(path).unwrap())));
            }
        }
    }
    all.sort();
    all
}

#[test]
fn a_run_comes_back_from_an_object_store_and_other_clients_prove_it() {
    let lab = Lab::new();
    let server = Seaweed::shared();
    let run = lab.new_run("trial", &["true"]);
    lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
    for name in [
        "empty",
        "with spaces",
        "lr=0.1",
        "#1",
        "100%",
        "a%0Ab",
        "a+b&c?d*",
        "é ü 語 🚀",
        "new\nline",
        "SHA256SUMS",
    ] {
        lab.write(&format!("{run}/{name}"), if name == "empty" { "" } else { name });
    }
    lab.write(&format!("{run}/{}/x", "x".repeat(200)), "long");
    lab.write(&format!("{run}/large.bin"), noise(1, 20 << 20));
    let before = contents(&lab.path(&run));
    let url = format!("s3://{BUCKET}/roundtrip");
    let sync =
        |args: &[&str]| server.reached_by(lab.cmd("run-sync").args(args)).env("RUN_SYNC_URL", &url).run();
    sync(&["backup", "trial"]).code(0).stderr("");
    fs::remove_dir_all(lab.path("runs")).unwrap();
    sync(&["restore", "trial"]).code(0).stderr("");
    assert_eq!(contents(&lab.path(&run)), before);
    sync(&["verify", "--all"]).code(0).stderr("");
    assert_eq!(sync(&["list", "--json"]).code(0).json_lines()[0]["name"], "trial");
    sync(&["cat", &url, "trial", "new\nline"]).code(0).stdout("new\nline");
    sync(&["diff", "trial"]).code(0).stdout("");
    sync(&["restore", "nope"]).code(3).stdout("");

    // Down by rclone; the list of hashes proves what came.
    let remote = format!(
        ":s3,provider=Other,env_auth=true,force_path_style=true,endpoint='{}':{BUCKET}/roundtrip/trial",
        server.address()
    );
    let rclone = lab.cmd("rclone").args(["copy", "--quiet", &remote, "down"]);
    server.reached_by(rclone).run().code(0).stderr("");
    let sums = ["--check", "--quiet", "--strict", "SHA256SUMS"];
    lab.cmd("sha256sum").args(sums).cwd(lab.path("down")).run().code(0).stdout("").stderr("");

    // Down by Amazon's own.
    let aws = lab.cmd(testkit::checkout().join("target/peers/bin/aws"));
    let from = format!("s3://{BUCKET}/roundtrip/trial");
    let quick = ["--only-show-errors", "--cli-read-timeout", "5"];
    server.reached_by(aws.args(["s3", "sync", &from, "synced"]).args(quick)).run().code(0).stderr("");
    lab.cmd("sha256sum").args(sums).cwd(lab.path("synced")).run().code(0).stdout("").stderr("");
}
