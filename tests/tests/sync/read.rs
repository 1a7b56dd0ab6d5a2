//! What is read of a store: `list`, `verify`, `cat` and `diff`, of the newest backup or of another.

use serde_json::{Value, json};
use std::fs;
use testkit::sets::{Backup, sha256};
use testkit::sync::noise;
use testkit::{Cmd, Lab};

fn sync(lab: &Lab, verb: &str, args: &[&str]) -> Cmd {
    lab.cmd("run-sync").arg(verb).env("RUN_SYNC_URL", "store").args(args)
}

fn cat(lab: &Lab, args: &[&str]) -> Cmd {
    lab.cmd("run-sync").arg("cat").args(args)
}

/// Three backups of a run, an hour after another, with another content of a file each. Returns their hashes.
fn three(lab: &Lab) -> [String; 3] {
    let first = Backup::first(lab, "store", "trial").file("a", "one\n").file("log", "1\n");
    let one = first.commit();
    let mut overwritten = first.stored("a", ".gen/000002-01234567/a", b"two\n");
    let second = first.next(&one).entry(overwritten.clone()).file("log", "1\n2\n");
    let two = second.commit();
    overwritten = second.stored("a", ".gen/000003-01234567/a", b"three\n");
    let third = second.next(&two).entry(overwritten).absent("log", "gone").file("b", "b");
    [one, two, third.commit()]
}

#[test]
fn any_backup_is_meant_by_its_number_its_hash_or_a_time() {
    let lab = Lab::new();
    let hashes = three(&lab);
    let meant = [
        (vec![], "three\n"),
        (vec!["--at", "1"], "one\n"),
        (vec!["--at", "000002"], "two\n"),
        (vec!["--at", &hashes[0][..8]], "one\n"),
        (vec!["--at", &hashes[1]], "two\n"),
        (vec!["--at", "2026-01-29T13:59"], "two\n"),
        (vec!["--at", "2026-01-29T14:00:00Z"], "three\n"),
        (vec!["--at", "2026-01-29T12:30:00+00:00"], "one\n"),
        (vec!["--at", "2026-02-01"], "three\n"),
        (vec!["--at", "1s"], "three\n"),
    ];
    for (at, expected) in meant {
        let args: Vec<&str> = at.iter().copied().chain(["store", "trial", "a"]).collect();
        cat(&lab, &args).run().code(0).stderr("").stdout(expected);
    }
    let wrong = [
        ("4", 3, "run-sync: no backup '4' of 'trial' in store\n"),
        ("ffffffff", 3, "run-sync: no backup 'ffffffff' of 'trial' in store\n"),
        ("2026-01-29", 3, "run-sync: no backup of 'trial' in store was begun before 2026-01-29\n"),
        ("yesterday", 2, "run-sync: 'yesterday' means no backup\n"),
    ];
    for (at, code, said) in wrong {
        cat(&lab, &["--at", at, "store", "trial", "a"]).run().code(code).stdout("").stderr_has(said);
    }
    // An older backup is true of the beginning of a file that has grown since, and restored as it was.
    sync(&lab, "restore", &["--at", "1", "trial"]).run().code(0);
    assert_eq!([lab.read("runs/trial/a"), lab.read("runs/trial/log")], ["one\n", "1\n"]);
    let report = sync(&lab, "verify", &["--at", "1", "trial"]).run().code(0).stderr("");
    assert_eq!(report.out(), "trial: backup 1, 2 files intact (6B)\n");
}

#[test]
fn a_fork_is_shown_and_none_of_its_backups_is_lost() {
    let lab = Lab::new();
    let first = Backup::first(&lab, "store", "trial").file("a", "one\n");
    let one = first.commit();
    let mine = first.next(&one).file("b", "mine\n");
    let other = first.next(&one).head("writer", json!("f".repeat(32))).head("host", json!("other"));
    let other = other.head("created", json!("2026-01-29T15:00:00.000Z"));
    let stored = other.stored("b", &format!(".by/{}/b", "f".repeat(32)), b"theirs\n");
    let [mine, theirs] = [mine.commit(), other.entry(stored).commit()];
    let rows = sync(&lab, "list", &["--history", "--json"]).run().code(0).stderr("").json_lines();
    let marks: Vec<_> =
        rows.iter().map(|row| (row["number"].as_u64().unwrap(), row["fork"].as_bool().unwrap())).collect();
    assert_eq!(marks, [(1, false), (2, true), (2, true)]);
    let shown = sync(&lab, "list", &["--history"]).run().code(0).out();
    assert_eq!(shown.lines().filter(|line| line.ends_with("  fork")).count(), 2, "{shown}");
    let said = format!(
        "run-sync: 'trial' has 2 backups with number 2, by different writers: the later one is taken, {}\n",
        &theirs[..12]
    );
    cat(&lab, &["store", "trial", "b"]).run().code(0).stdout("theirs\n").stderr(&said);
    cat(&lab, &["--at", &mine[..8], "store", "trial", "b"]).run().code(0).stdout("mine\n").stderr("");
    cat(&lab, &["--at", "2", "store", "trial", "b"])
        .run()
        .code(2)
        .stderr_has("'2' means 2 backups of 'trial': ");
}

#[test]
fn runs_and_batches_are_listed() {
    let lab = Lab::new();
    three(&lab);
    Backup::first(&lab, "store", "lr").head("kind", json!("batch")).file(".batch/batch.json", "{}").commit();
    Backup::first(&lab, "store", "lr/a").file("x", "x").commit();
    Backup::first(&lab, "store", "lr/b").file("x", "x").commit();
    Backup::first(&lab, "store", "alone/c").file("x", "x").commit(); // of a batch whose own files are not stored
    lab.write("store/.run-store/abilities.json", "{}");
    lab.write("store/stray/file", "x");
    let names = |args: &[&str]| {
        let rows = sync(&lab, "list", args).run().code(0).stderr("").json_lines();
        rows.iter()
            .map(|row| format!("{} {}", row["name"].as_str().unwrap(), row["number"]))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&["--json"]), ["alone/c 1", "lr 1", "lr/a 1", "lr/b 1", "trial 3"]);
    assert_eq!(names(&["--json", "lr"]), ["lr 1", "lr/a 1", "lr/b 1"]);
    assert_eq!(names(&["--json", "lr/b", "lr", "trial"]), ["lr/b 1", "lr 1", "lr/a 1", "trial 3"]);
    let row = sync(&lab, "list", &["--json", "trial"]).run().code(0).json_lines().remove(0);
    assert_eq!((&row["files"], &row["bytes"], &row["verified"]), (&json!(2), &json!(7), &json!("read")));
    let table = sync(&lab, "list", &["trial"]).run().code(0).out();
    assert!(table.starts_with("RUN    BACKUP  AGE"), "{table}");
    sync(&lab, "list", &["nope"]).run().code(3).stdout("").stderr_has("no backup of 'nope' in store");
    let none = "run-sync: no store 'none': there is no such directory\n";
    lab.cmd("run-sync").args(["list", "--from", "none"]).run().code(5).stderr(none);
    lab.cmd("run-sync").arg("list").run().code(2).stderr_has("no store is given");
    fs::create_dir(lab.path("empty")).unwrap();
    lab.cmd("run-sync")
        .args(["list", "--from", "empty"])
        .run()
        .code(0)
        .stdout("")
        .stderr("run-sync: no runs in empty\n");
}

/// What follows on damage.
const MEND: &str =
    "run-sync: 'run-sync backup --read-back RUN' sends what is damaged again, if the run still has it\n";

#[test]
fn verify_names_what_is_damaged_and_reads_each_object_once() {
    let lab = Lab::new();
    let large = noise(1, 20 << 20);
    let backup = Backup::first(&lab, "store", "trial").file("a", "one\n").file("c", "three");
    let mut entry = backup.stored("large", "large", &large);
    entry["part_size"] = json!(16 << 20);
    entry["parts"] = large.chunks(16 << 20).map(sha256).collect();
    let mut twice = entry.clone();
    (twice["path"], twice["key"]) = (json!("twice"), json!("large"));
    let backup = backup.entry(entry).entry(twice).file("empty", "");
    let hash = backup.commit();
    let verify = |args: &[&str]| sync(&lab, "verify", args);
    verify(&["trial"]).run().code(0).stderr("").stdout("trial: backup 1, 5 files intact (20M)\n");
    let report = verify(&["--json", "--sample", "1%", "--all"]).run().code(0).json_lines().remove(0);
    assert_eq!((&report["files"], &report["bytes"]), (&json!(5), &json!((20 << 20) + 9)));
    assert!(report["read"].as_u64().unwrap() < 20 << 20);
    // Of each run something is read, however small the share.
    Backup::first(&lab, "store", "small").file("a", "one\n").file("b", "four\n").file("empty", "").commit();
    Backup::first(&lab, "store", "empty").file("empty", "").commit();
    for (name, least) in [("small", 4), ("trial", 4), ("empty", 0)] {
        let report = verify(&["--json", "--sample", "0.0001", name]).run().code(0).json_lines().remove(0);
        assert!(report["read"].as_u64().unwrap() >= least, "{report}");
    }
    for wrong in ["0", "101", "x", "-5%"] {
        verify(&["--sample", wrong, "trial"]).run().code(2);
    }
    cat(&lab, &["store", "trial", "large"]).run().code(0).stdout(&large[..]);

    // The lists for sha256sum(1) are looked at as well; one of an earlier backup is no damage.
    lab.write("store/trial/SHA256SUMS", "x  y\n");
    verify(&["trial"]).run().code(1).stderr(&format!(
        "run-sync: 'SHA256SUMS' of 'trial' is damaged: it is the list of no backup\n{MEND}"
    ));
    lab.write(&format!("store/trial/.backup/000001-{hash}.sums"), "x  y\n");
    let done = verify(&["trial"]).run().code(1);
    assert_eq!(done.err().lines().count(), 2, "{}", done.err());
    for list in [format!(".backup/000001-{hash}.sums"), "SHA256SUMS".to_owned()] {
        fs::remove_file(backup.object(&list)).unwrap();
    }

    let mut flipped = large;
    flipped[17 << 20] ^= 1;
    fs::write(backup.object("large"), &flipped).unwrap();
    fs::write(backup.object("a"), "on").unwrap();
    fs::remove_file(backup.object("c")).unwrap();
    fs::remove_file(backup.object("empty")).unwrap();
    let said = "run-sync: 'a' of 'trial' is damaged: the store has only a part of it\n\
                run-sync: 'c' of 'trial' is damaged: the store does not have it\n\
                run-sync: 'empty' of 'trial' is damaged: the store does not have it\n\
                run-sync: 'large' of 'trial' is damaged: its bytes in the store are not those that were stored\n\
                run-sync: 'twice' of 'trial' is damaged: its bytes in the store are not those that were stored\n";
    let done = verify(&["trial"]).run().code(1).stderr(&format!("{said}{MEND}"));
    assert_eq!(done.out(), "trial: backup 1, 5 of 5 files damaged (16M of 20M read)\n");
    // What is gone or too short is seen in any sample.
    let done = verify(&["--sample", "0.0001", "trial"]).run().code(1);
    assert!(done.err().starts_with(&said[..said.find("run-sync: 'large'").unwrap()]), "{}", done.err());
    // What is printed was verified; here the first part is.
    let done = cat(&lab, &["store", "trial", "large"]).run().code(1);
    assert!(flipped.starts_with(&done.stdout) && done.stdout.len() <= 16 << 20);
    assert_eq!(
        done.err(),
        "run-sync: 'large' of 'trial' is damaged: its bytes in the store are not those that were stored\n"
    );
    cat(&lab, &["store", "trial", "nope"]).run().code(1).stderr_has("nothing has this name");
}

#[test]
fn diff_shows_what_changed_since_a_backup_and_between_two() {
    let lab = Lab::new();
    three(&lab);
    let diff = |args: &[&str]| sync(&lab, "diff", args);
    diff(&["trial", "1", "2"]).run().code(1).stderr("").stdout("~ a\n~ log\n");
    diff(&["trial", "2", "3"]).run().code(1).stdout("~ a\n+ b\n- log\n");
    diff(&["trial", "3", "3"]).run().code(0).stdout("");
    let report = diff(&["--json", "trial", "1", "3"]).run().code(1).json_lines().remove(0);
    assert_eq!(
        report,
        json!({"name": "trial", "old": 1, "new": 3, "added": ["b"], "removed": ["log"], "changed": ["a"]})
    );
    diff(&["trial", "1"]).run().code(3).stdout("").stderr_has("no run 'trial' below 'runs'");

    let run = lab.new_run("mine", &["true"]);
    lab.write(&format!("{run}/a"), "one");
    lab.write(&format!("{run}/b/c"), "two");
    lab.cmd("run-sync").args(["backup", "--to", "store", "mine"]).run().code(0);
    diff(&["mine"]).run().code(0).stderr("").stdout("");
    lab.write(&format!("{run}/a"), "One");
    lab.write(&format!("{run}/b/d"), "new");
    fs::remove_file(lab.path(format!("{run}/b/c"))).unwrap();
    diff(&["mine"]).run().code(1).stderr("").stdout("~ a\n- b/c\n+ b/d\n");
    // A time alone is no change.
    lab.write(&format!("{run}/a"), "one");
    fs::remove_file(lab.path(format!("{run}/b/d"))).unwrap();
    lab.write(&format!("{run}/b/c"), "two");
    diff(&["mine", "1"]).run().code(0).stdout("");
    assert_eq!(diff(&["--json", "mine"]).run().code(0).json_lines()[0]["new"], Value::Null);
}
