//! Manifests that somebody else could have written: refused whole, before anything is written.

use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use testkit::sets::{Backup, MTIME, sha256};
use testkit::{Cmd, Lab};

fn restore(lab: &Lab, args: &[&str]) -> Cmd {
    lab.cmd("run-sync").args(["restore", "--from", "store"]).args(args)
}

fn backup(lab: &Lab) -> Backup {
    Backup::first(lab, "store", "trial").file("a-good-file", "x")
}

/// An entry of a file that claims a path.
fn file(path: &str) -> Value {
    json!({"path": path, "type": "file", "mode": "0644", "mtime": MTIME, "size": 1, "sha256": sha256(b"x"),
           "key": "a-good-file"})
}

fn link(path: &str, target: &str) -> Value {
    json!({"path": path, "type": "link", "mtime": MTIME, "target": target})
}

#[test]
fn what_reaches_outside_is_refused_whole() {
    let outside = "does not stay below the run";
    let mut percent = file("");
    percent["path"] = Value::Null;
    percent["path_percent"] = json!("%2E%2E/x");
    let with = |path: &str, key: &str, value: Value| {
        let mut entry = file(path);
        entry[key] = value;
        entry
    };
    let cases: Vec<(Vec<Value>, &str)> = vec![
        (vec![file("../x")], outside),
        (vec![file("a/../../x")], outside),
        (vec![file("/tmp/x")], outside),
        (vec![file(".")], outside),
        (vec![percent], outside),
        (vec![link("d", ".."), file("d/x")], "lies below what is no directory"),
        (vec![link("d", "/"), file("d/tmp/x")], "lies below what is no directory"),
        (vec![file("d"), file("d/x")], "lies below what is no directory"),
        (vec![file("d"), file("d")], "is there twice"),
        (
            vec![link("d", "/"), json!({"path": "d", "type": "dir", "mode": "0755", "mtime": MTIME})],
            "is there twice",
        ),
        (vec![with("d", "evaluation", json!(".."))], "impossible label"),
        (vec![with("d", "evaluation", json!("a/../../.."))], "impossible label"),
        (vec![with("d", "key", json!("../../etc/passwd"))], "a key outside of its set"),
        (vec![with("d", "key", json!("/etc/passwd"))], "a key outside of its set"),
        (vec![with("d", "same_file", json!("../../etc/passwd"))], outside),
        (vec![with("d", "size", json!(1_u64 << 63))], "larger than any file"),
        (vec![with("d", "size", json!(-1))], "invalid value"),
        (vec![with("d", "type", json!("device"))], "unknown variant"),
        (vec![with("d", "sha256", json!("x"))], "64 hexadecimal digits"),
        (vec![with("d", "mode", json!("99999"))], "is no mode"),
        (vec![with("d", "part_size", json!(0))], "parts that are not its own"),
    ];
    for (entries, why) in cases {
        let lab = Lab::new();
        let shown = format!("{entries:?}");
        entries.into_iter().fold(backup(&lab), Backup::also).commit();
        let done = restore(&lab, &["trial"]).run().code(3).stdout("");
        assert!(done.err().contains(why), "{shown}: {}", done.err());
        assert!(!lab.path("runs").exists() && !lab.path("eval_runs").exists(), "{shown}");
        assert_eq!(fs::read_dir(lab.dir()).unwrap().count(), 1, "{shown}");
    }
}

#[test]
fn a_manifest_that_is_damaged_or_of_a_newer_format_is_never_believed() {
    let lab = Lab::new();
    let first = backup(&lab);
    let hash = first.commit();
    let second = first.next(&hash).file("b", "y");
    let hash = second.commit();
    let path = second.object(&format!(".backup/000002-{hash}.json"));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("0644", "0666")).unwrap();
    let damaged = "run-sync: manifest 2 of 'trial' in store is damaged: it does not have the hash in its name\n\
                   run-sync: run-sync list --history shows the earlier backups; --at restores one of them\n";
    restore(&lab, &["trial"]).run().code(3).stdout("").stderr(damaged);
    restore(&lab, &["--at", "1", "trial"]).run().code(0).stdout("trial: backup 1, restored 1 file (1B)\n");
    // What is listed is listed all the same.
    let done = lab.cmd("run-sync").args(["list", "--from", "store", "--history", "--json"]).run().code(3);
    assert_eq!(done.json_lines().iter().map(|row| row["number"].as_u64().unwrap()).collect::<Vec<_>>(), [1]);

    for (document, why) in [
        (json!({"schema": 2, "entries": []}).to_string(), "its schema is 2, newer than 1"),
        ("{".to_owned(), "EOF"),
        ("[]".to_owned(), ""),
        (json!({"schema": 1, "number": 7, "entries": []}).to_string(), "missing field"),
    ] {
        let lab = Lab::new();
        backup(&lab).commit_text(&document);
        restore(&lab, &["trial"]).run().code(3).stdout("").stderr_has(why);
    }
    // The number is that of the name.
    let lab = Lab::new();
    let moved = backup(&lab);
    let hash = moved.commit();
    fs::rename(
        moved.object(&format!(".backup/000001-{hash}.json")),
        moved.object(&format!(".backup/000009-{hash}.json")),
    )
    .unwrap();
    restore(&lab, &["trial"]).run().code(3).stdout("").stderr_has("it has another number than its name says");
}

#[test]
fn what_the_disk_has_no_room_for_is_not_begun() {
    let lab = Lab::new();
    let mut huge = file("huge");
    huge["size"] = json!(1_u64 << 62);
    backup(&lab).entry(huge.clone()).commit();
    let done = restore(&lab, &["trial"]).run().code(5).stdout("");
    assert!(
        done.err()
            .starts_with("run-sync: cannot restore 'trial' to 'runs/trial': 4096P are needed there, and ")
    );
    assert!(!lab.path("runs").exists());
    // Of parts and with holes, it does not take the space; but the store does not have it.
    let mut sparse = huge;
    sparse["sparse"] = json!(true);
    sparse["part_size"] = json!(1_u64 << 61);
    sparse["parts"] = json!([sha256(b"x"), sha256(b"x")]);
    fs::remove_dir_all(lab.path("store")).unwrap();
    backup(&lab).entry(sparse).commit();
    restore(&lab, &["trial"]).run().code(5).stdout("");
    assert!(!lab.path("runs").exists());
}

#[test]
fn a_million_entries_are_read_within_seconds() {
    let lab = Lab::new();
    let backup = backup(&lab);
    let mut document =
        serde_json::to_string(&json!({"schema": 1, "number": 1, "parent": null, "kind": "run",
        "run_id": "id", "run_name": "trial", "batch": null, "created": MTIME, "host": "h", "writer": "w",
        "tool_version": "0", "keys": "", "status": "completed", "verified": "read"}))
        .unwrap();
    document.pop();
    document.push_str(",\"entries\":[");
    let (count, empty) = (testkit::times(100_000, 1_000_000), sha256(b""));
    for number in 0..count {
        let comma = if number > 0 { ",\n" } else { "\n" };
        let path = format!("{:03}/{number:07}", number % 1000);
        write!(document, "{comma}{{\"path\":\"{path}\",\"type\":\"file\",\"mode\":\"0644\",\"mtime\":\"{MTIME}\",\"size\":0,\"sha256\":\"{empty}\"}}").unwrap();
    }
    document.push_str("]}\n");
    backup.commit_text(&document);
    let would = format!("trial: backup 1, would restore {count} files (0B)\n");
    let done = restore(&lab, &["-n", "trial"]).run().code(0).stderr("");
    assert!(done.out().ends_with(&would));
    // Of all of these one is looked for.
    let args = ["--only", "*/0000007", "trial"];
    restore(&lab, &args).run().code(0).stderr("").stdout("trial: backup 1, restored 1 file (0B)\n");
    assert!(lab.path("runs/trial/007/0000007").exists());
}

#[test]
fn nothing_is_written_through_a_link_that_is_here() {
    let lab = Lab::new();
    lab.write("victim/x", "theirs");
    backup(&lab).dir("d").file("d/x", "ours").file("e/f/x", "ours").commit();
    fs::create_dir_all(lab.path("runs/trial/e")).unwrap();
    symlink(lab.path("victim"), lab.path("runs/trial/d")).unwrap();
    symlink("../../../victim", lab.path("runs/trial/e/f")).unwrap();
    restore(&lab, &["trial"]).run().code(1);
    assert_eq!(lab.read("victim/x"), "theirs");
    assert_eq!(fs::metadata(lab.path("victim")).unwrap().nlink(), 2);
    restore(&lab, &["--force", "trial"]).run().code(0);
    assert_eq!(lab.read("victim/x"), "theirs");
    assert_eq!(lab.read("runs/trial/d/x"), "ours");
    assert_eq!(lab.read("runs/trial/e/f/x"), "ours");
}

#[test]
fn the_rights_of_an_owner_are_not_restored_from_a_store() {
    let lab = Lab::new();
    let mut program = file("program");
    program["mode"] = json!("6755");
    backup(&lab).entry(program).commit();
    restore(&lab, &["trial"]).run().code(0);
    assert_eq!(fs::metadata(lab.path("runs/trial/program")).unwrap().mode() & 0o7777, 0o755);
}
