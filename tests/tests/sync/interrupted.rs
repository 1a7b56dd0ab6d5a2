//! Restores that are interrupted: killed, or out of room. Nothing half restored has a name of its own, and the same
//! command continues.

use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};
use testkit::process::Signal;
use testkit::sets::{Backup, sha256};
use testkit::sync::noise;
use testkit::{Cmd, Lab, Random, times, wait_for};

fn restore(lab: &Lab) -> Cmd {
    lab.cmd("run-sync").args(["restore", "--from", "store", "--json", "trial"])
}

/// The name of what is restored, until it is complete.
fn staged(directory: &str, path: &str) -> PathBuf {
    Path::new(directory).join(format!(".run-sync-{}.part", &sha256(path.as_bytes())[..16]))
}

/// A run of large and small files, and the number of their bytes.
fn backup(lab: &Lab) -> (Backup, u64) {
    let mut backup =
        Backup::first(lab, "store", "trial").dir("checkpoints").link("latest", "checkpoints/100.pt");
    for file in 0..40 {
        backup = backup.file(&format!("small/{file}"), noise(file, 3000));
    }
    let large = noise(77, 5 << 20);
    let mut entry = backup.stored("checkpoints/100.pt", "checkpoints/100.pt", &large);
    entry["part_size"] = json!(1 << 20);
    entry["parts"] = large.chunks(1 << 20).map(sha256).collect();
    let mut same = entry.clone();
    (same["path"], same["key"], same["same_file"]) =
        (json!("checkpoints/last.pt"), json!("checkpoints/100.pt"), json!("checkpoints/100.pt"));
    (backup.entry(entry).entry(same), (5 << 20) + 40 * 3000)
}

/// Lists names and contents below a directory.
fn contents(root: &Path) -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            let is_dir = fs::symlink_metadata(&entry).unwrap().is_dir();
            let content = if is_dir { String::new() } else { sha256(&fs::read(&entry).unwrap()) };
            all.push((entry.strip_prefix(root).unwrap().to_owned(), content));
            if is_dir {
                left.push(entry);
            }
        }
    }
    all.sort();
    all
}

#[test]
fn a_restore_that_was_killed_leaves_no_half_run_and_is_continued() {
    let lab = Lab::new();
    let (backup, bytes) = backup(&lab);
    backup.commit();
    let begun = Instant::now();
    restore(&lab).run().code(0);
    let longest = u64::try_from(begun.elapsed().as_micros()).unwrap();
    let whole = contents(&lab.path("runs/trial"));
    let mut random = Random::new(13);
    let mut killed = 0;
    while killed < times(12, 200) {
        fs::remove_dir_all(lab.path("runs")).unwrap();
        loop {
            let restoring = restore(&lab).spawn();
            sleep(Duration::from_micros(random.below(longest))); // the moment that is tried, not a wait
            restoring.signal(Signal::KILL);
            let done = restoring.wait();
            if lab.path("runs/trial").exists() {
                assert_eq!(contents(&lab.path("runs/trial")), whole, "it appears whole");
            }
            if done.code == 0 {
                break;
            }
            killed += 1;
        }
        let report = restore(&lab).run().code(0).stderr("").json_lines().remove(0);
        assert!(report["bytes"].as_u64().unwrap() <= bytes);
        assert_eq!(contents(&lab.path("runs/trial")), whole);
        assert_eq!(fs::read_dir(lab.path("runs")).unwrap().count(), 1, "nothing else is left");
    }
}

#[test]
fn what_an_interrupted_restore_has_left_is_kept_where_it_is_right() {
    let lab = Lab::new();
    let (backup, bytes) = backup(&lab);
    backup.commit();
    restore(&lab).run().code(0);
    let whole = contents(&lab.path("runs/trial"));
    let left = lab.path(staged("runs", "trial"));
    fs::rename(lab.path("runs/trial"), &left).unwrap();
    // One part of five is wrong, a file is cut, one is missing, one is a directory, and there is what no backup knows.
    fs::remove_file(left.join("checkpoints/last.pt")).unwrap();
    let mut large = fs::read(left.join("checkpoints/100.pt")).unwrap();
    large[(3 << 20) + 7] ^= 1;
    fs::write(left.join("checkpoints/100.pt"), large).unwrap();
    fs::write(left.join("small/1"), "cut").unwrap();
    fs::remove_file(left.join("small/2")).unwrap();
    fs::remove_file(left.join("small/3")).unwrap();
    fs::create_dir_all(left.join("small/3/x/y")).unwrap();
    fs::write(left.join("stray"), "x").unwrap();
    lab.cmd("mkfifo").arg(left.join("pipe")).run().code(0);
    fs::remove_file(left.join("latest")).unwrap();
    fs::write(left.join("latest"), "no link").unwrap();
    let report = restore(&lab).run().code(0).stderr("").json_lines().remove(0);
    assert_eq!(report["bytes"], (1 << 20) + 3 * 3000, "of {bytes}");
    assert_eq!(contents(&lab.path("runs/trial")), whole);
    assert!(!left.exists());

    // The same in a run that is here: a checkpoint that was removed comes back whole.
    fs::rename(lab.path("runs/trial/checkpoints"), lab.path(staged("runs/trial", "checkpoints"))).unwrap();
    fs::remove_file(lab.path(staged("runs/trial", "checkpoints")).join("last.pt")).unwrap();
    let report = restore(&lab).run().code(0).stderr("").json_lines().remove(0);
    assert_eq!((&report["bytes"], &report["equal"]), (&json!(0), &json!(41)));
    assert_eq!(contents(&lab.path("runs/trial")), whole);
}

#[test]
fn two_restores_of_one_run_do_not_disturb_each_other() {
    let lab = Lab::new();
    let (backup, _) = backup(&lab);
    backup.commit();
    for (held, is_new) in [(staged("runs", "trial"), true), (PathBuf::from("runs/trial"), false)] {
        fs::create_dir_all(lab.path(&held)).unwrap();
        let other = lab.cmd("flock").arg(&held).args(["sh", "-c", "touch held; exec sleep 1000"]).spawn();
        wait_for("the lock", || lab.path("held").exists());
        let said = "run-sync: cannot restore to 'runs/trial': another run-sync restores it\n";
        restore(&lab).run().code(4).stdout("").stderr(said);
        assert_eq!(lab.path("runs/trial").exists(), !is_new);
        lab.alive().into_iter().for_each(|pid| testkit::signal(pid, Signal::KILL));
        other.wait();
        fs::remove_file(lab.path("held")).unwrap();
        restore(&lab).run().code(0).stderr("");
        fs::remove_file(lab.path("runs/trial/small/1")).unwrap(); // else there is nothing to do
    }
}

#[test]
fn a_disk_that_fills_up_is_said_and_the_restore_continues_when_there_is_room() {
    let lab = Lab::new();
    let (backup, _) = backup(&lab);
    backup.commit();
    for name in ["small", "kept"] {
        fs::create_dir(lab.path(name)).unwrap();
    }
    let script = |size: &str, more: &str| {
        format!(
            "mount -t tmpfs -o {size} small \"$PWD/small\" || exit 99
             run-sync restore --from store --into small trial; echo $?; ls -A small
             mount -o remount,{more} \"$PWD/small\" || exit 99
             run-sync restore --from store --into small trial; echo $?; ls -A small"
        )
    };
    let run = |size: &str, more: &str| {
        let unshare = ["--user", "--map-root-user", "--mount", "sh", "-c"];
        lab.cmd("unshare").args(unshare).arg(script(size, more)).run().code(0)
    };
    let restored = "trial: backup 1, restored 43 files (";
    // No room for the bytes is seen before anything is written.
    let done = run("size=2m", "size=20m");
    let out = done.out();
    assert!(out.starts_with(&format!("5\n{restored}5.1M)\n0\ntrial\n")), "{out}");
    let said =
        "run-sync: cannot restore 'trial' to 'small/trial': 5.1M are needed there, and 2.0M are free\n";
    assert_eq!(done.err(), said);
    // No room for another file is not; what was received is kept, and needs no room twice.
    let done = run("size=7m,nr_inodes=24", "size=7m,nr_inodes=1000");
    let left = staged("", "trial");
    let out = done.out();
    assert!(out.starts_with(&format!("5\n{}\n{restored}", left.display())), "{out}");
    assert!(out.ends_with("\n0\ntrial\n") && !out.contains("(5.1M)"), "{out}");
    assert!(done.err().contains("No space left on device"), "{}", done.err());
    assert!(done.err().contains("the same command continues"), "{}", done.err());
}
