//! Backups to an object store: a real server dies in the middle, two copies of a run are stored at once.

use std::fs;
use std::path::Path;
use testkit::stores::{BUCKET, Scripted, Seaweed, Server};
use testkit::sync::noise;
use testkit::{Cmd, Lab, wait_for};

/// Makes a run with small files, an empty one, and one of two parts.
fn make_run(lab: &Lab) -> String {
    let run = lab.new_run("trial", &["true"]);
    lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
    for number in 0..5 {
        lab.write(&format!("{run}/data/{number}.bin"), noise(number, 3000));
    }
    lab.write(&format!("{run}/empty"), "");
    lab.write(&format!("{run}/large.bin"), noise(99, (16 << 20) + 1));
    run
}

fn url(prefix: &str) -> String {
    format!("s3://{BUCKET}/{prefix}")
}

fn restore(lab: &Lab, server: &dyn Server, into: &str) -> Cmd {
    server.reached_by(lab.cmd("run-sync").args(["restore", "--from", &url("runs"), "--into", into, "trial"]))
}

/// Expects a restored run to be the same as the run.
fn same(lab: &Lab, run: &str, restored: &str) {
    let less = ["--exclude", "backup.jsonl", "--exclude", "backup.journal"];
    lab.cmd("diff")
        .args(["-r", "--no-dereference"])
        .args(less)
        .args([run, restored])
        .run()
        .code(0)
        .stdout("");
}

#[test]
fn a_real_server_may_die_in_the_middle() {
    let lab = Lab::new();
    let run = make_run(&lab);
    lab.write(&format!("{run}/huge.bin"), noise(7, 64 << 20));
    let server = Seaweed::new();
    let running = server.reached_by(lab.cmd("run-sync").args([
        "backup",
        "--limit",
        "40M",
        "--to",
        &url("runs"),
        "trial",
    ]));
    let running = running.spawn();
    let journal = lab.path(format!("{run}/.run/backup.journal"));
    wait_for("a part", || fs::read_to_string(&journal).is_ok_and(|text| text.contains("\"part\"")));
    server.kill();
    server.restart();
    running.wait().code(0).stderr("");
    server
        .reached_by(lab.cmd("run-sync").args(["verify", "--from", &url("runs"), "trial"]))
        .run()
        .code(0)
        .stderr("");
    restore(&lab, &server, "back").run().code(0).stderr("");
    same(&lab, &run, "back/trial");
}

#[test]
fn two_copies_of_a_run_are_backed_up_at_once() {
    for (scheme, conditions) in [("s3", true), ("s3", false), ("gs", true), ("az", true), ("az", false)] {
        let (one, two) = (Lab::new(), Lab::new());
        let run = make_run(&one);
        one.cmd("cp").args(["-a", "runs"]).arg(two.dir()).run().code(0);
        two.write(&format!("{run}/data/0.bin"), noise(1234, 5000));
        let server = Scripted::new();
        server.objects(|objects| objects.conditions = conditions);
        let url = format!("{scheme}://{BUCKET}/runs");
        let backup = |lab: &Lab| {
            server.reached_by(lab.cmd("run-sync").args(["backup", "--to", &url, "trial"])).spawn()
        };
        let (first, second) = (backup(&one), backup(&two));
        let said = [first, second].map(|backup| backup.wait().code(0).err());
        let manifests: Vec<String> = server
            .keys()
            .into_iter()
            .filter(|key| key.contains("/.backup/0") && key.contains(".json"))
            .collect();
        assert_eq!(manifests.len(), 2, "{manifests:?}");
        let is_fork = manifests.iter().all(|key| key.contains("/000001-"));
        let has_said = said.iter().any(|said| said.contains(": a fork, "));
        assert!(
            said.iter().all(|said| said.lines().count() <= 1) && has_said == is_fork,
            "{said:?} {manifests:?}"
        );
        let mut contents = Vec::new();
        for (number, key) in manifests.iter().enumerate() {
            let name = Path::new(key).file_stem().unwrap().to_str().unwrap();
            let (_, hash) = name.split_once('-').unwrap();
            let into = format!("back-{number}");
            let command =
                one.cmd("run-sync").args(["restore", "--from", &url, "--into", &into, "--at", &hash[..12]]);
            server.reached_by(command.arg("trial")).run().code(0).stderr("");
            contents.push(one.bytes(&format!("{into}/trial/data/0.bin")).len());
        }
        contents.sort_unstable();
        assert_eq!(contents, [3000, 5000]);
    }
}

#[test]
fn a_slow_link_is_not_taken_for_a_dead_one() {
    let lab = Lab::new();
    let server = Scripted::new();
    let run = lab.new_run("trial", &["true"]);
    for number in 0..4 {
        lab.write(&format!("{run}/{number}.bin"), noise(number, 12_000));
    }
    let slowly = |args: &[&str]| {
        let command = lab.cmd("run-sync").args(args).args(["--limit", "20K", "--transfers", "4"]);
        server.reached_by(command).env("RUN_SYNC_TIMEOUT", "4").run().code(0).stderr("")
    };
    slowly(&["backup", "--to", &url("runs"), "trial"]);
    slowly(&["restore", "--from", &url("runs"), "--into", "back", "trial"]);
    same(&lab, &run, "back/trial");
    // No request was made twice.
    let puts = server.requests().into_iter().filter(|request| request.key.contains(".bin"));
    assert_eq!(puts.count(), 8);
}
