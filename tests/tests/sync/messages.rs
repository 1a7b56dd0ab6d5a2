//! What run-sync says to who mistypes an address, a verb or a name, and before it does anything.

use serde_json::{Value, json};
use std::fs;
use testkit::Lab;
use testkit::sets::Backup;
use testkit::stores::{BUCKET, KEY, SECRET, Scripted, Server};

/// Makes a run that has ended, with checkpoints at steps 10 and 20.
fn trained(lab: &Lab) {
    let run = lab.new_run("trial", &["true"]);
    lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
    for step in [10, 20] {
        lab.write(&format!("{run}/ckpt/step_{step}.pt"), testkit::sync::torch_noise(step, 4000));
    }
}

#[test]
fn what_is_meant_for_another_machine_never_becomes_a_directory_here() {
    let lab = Lab::new();
    trained(&lab);
    for (url, hint) in [
        (
            "s3:/bucket/runs",
            "an address is s3://BUCKET/PREFIX; a directory of this name is ./s3:/bucket/runs",
        ),
        ("s3:bucket", "an address is s3://BUCKET/PREFIX; a directory of this name is ./s3:bucket"),
        (
            "drive:runs",
            "a remote of rclone(1) is rclone:drive:runs; a directory of this name is ./drive:runs",
        ),
    ] {
        let said = format!("run-sync: '{url}' is no store; {hint}\nrun-sync: see 'run-sync backup --help'\n");
        let done = lab.cmd("run-sync").args(["backup", "--to", url, "trial"]).run();
        done.code(2).stdout("").stderr(&said);
        assert!(!lab.path(url).exists());
    }
    lab.cmd("run-sync").args(["backup", "--to", "./drive:runs", "trial"]).run().code(0).stderr("");
}

#[test]
fn a_wrong_command_line_says_what_to_write() {
    let lab = Lab::new();
    for (args, said) in [
        (
            &[][..],
            "which command? backup, list, verify, restore, clean, cat, diff, probe\nrun-sync: see 'run-sync --help'",
        ),
        (
            &["bakcup"],
            "unrecognized subcommand 'bakcup'; did you mean 'backup'?\nrun-sync: see 'run-sync --help'",
        ),
        (&["backup", "--to", "x"], "RUN or --all missing\nrun-sync: see 'run-sync backup --help'"),
        (
            &["restore", "--form", "x"],
            "unknown option '--form'; did you mean '--from'?\nrun-sync: see 'run-sync restore --help'",
        ),
        (
            &["list"],
            "no store is given\nrun-sync: name one by --from or RUN_SYNC_URL: s3://BUCKET/PREFIX, or a directory",
        ),
    ] {
        lab.cmd("run-sync").args(args).run().code(2).stdout("").stderr(&format!("run-sync: {said}\n"));
    }
}

#[test]
fn the_store_may_be_named_in_the_file_of_variables_and_for_cat_like_for_all() {
    let lab = Lab::new();
    trained(&lab);
    let server = Scripted::new();
    let keys = format!("export AWS_ACCESS_KEY_ID={KEY}\nexport AWS_SECRET_ACCESS_KEY={SECRET}\n");
    let store = format!("S3_ENDPOINT_URL={}\nexport RUN_SYNC_URL=s3://{BUCKET}/x\n", server.address());
    lab.write("s3.env", keys + &store);
    let sync = |args: &[&str]| lab.cmd("run-sync").args(args).args(["--env-file", "s3.env"]);
    sync(&["backup", "trial"]).run().code(0).stderr("");
    let printed = lab.read("runs/trial/.run/result.json");
    let url = format!("s3://{BUCKET}/x");
    for words in [&["cat"][..], &["cat", "--from", &url], &["cat", &url]] {
        sync(words).args(["trial", ".run/result.json"]).run().code(0).stderr("").stdout(&printed);
    }
    let twice = sync(&["cat", "--from", &url, &url, "trial", "x"]).run().code(2);
    twice.stderr("run-sync: cat takes the name of a run and a file; a store is named once\n");
}

#[test]
fn a_bucket_that_is_missing_ends_a_backup_of_many_runs_at_once() {
    let lab = Lab::new();
    lab.new_run("a", &["true"]);
    lab.new_run("b", &["true"]);
    let server = Scripted::new();
    let done =
        server.reached_by(lab.cmd("run-sync").args(["backup", "--to", "s3://absent/x", "--all"])).run();
    let said = done.code(5).stdout("").err();
    assert!(
        said.starts_with("run-sync: cannot use s3://absent/x: the store answered 404 NoSuchBucket"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[test]
fn a_dry_run_of_what_is_stored_has_nothing_to_send() {
    let lab = Lab::new();
    trained(&lab);
    let sync = |args: &[&str]| lab.cmd("run-sync").args(args).args(["--to", "store", "trial"]);
    sync(&["backup"]).run().code(0);
    // All files look as if they had changed, as those do that were young when they were stored.
    let touched = "find runs/trial -type f | while read -r file; do cp -p $file copy && mv copy $file; done";
    lab.cmd("sh").args(["-c", touched]).run().code(0);
    sync(&["backup", "-n"]).run().code(0).stderr("").stdout("trial: nothing to send\n");
    lab.write("runs/trial/ckpt/step_20.pt", testkit::sync::torch_noise(21, 4000));
    let planned = sync(&["backup", "-n"]).run().code(0).stderr("").out();
    let lines: Vec<&str> = planned.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("trial: would send ckpt/step_20.pt ("), "{planned}");
}

#[test]
fn a_cleanup_says_what_it_keeps_and_where_it_has_read_what_it_removes() {
    let lab = Lab::new();
    trained(&lab);
    let clean = |args: &[&str]| lab.cmd("run-sync").args(["clean", "trial"]).args(args);
    lab.cmd("run-sync").args(["backup", "--to", "store", "trial"]).run().code(0);
    let planned = clean(&["-n"]).run().code(0).stderr("").out();
    assert!(planned.contains("\ntrial: would keep ckpt/step_20.pt\n"), "{planned}");
    let removed = clean(&[]).run().code(0).stderr("").out();
    let store = lab.path("store");
    assert!(removed.ends_with(&format!(", after reading them back from {}\n", store.display())), "{removed}");
    let said = "run-sync: cannot clean 'runs/trial': no checkpoint has a value of 'accuracy'\n\
                run-sync: 'run-status runs/trial' lists its metrics\n";
    clean(&["--keep", "best:accuracy"]).run().code(1).stdout("").stderr(said);
}

#[test]
fn a_list_marks_a_newest_backup_that_leaves_another_out() {
    let lab = Lab::new();
    let first = Backup::first(&lab, "store", "trial").file("a", "one\n");
    let one = first.commit();
    first.next(&one).file("b", "mine\n").commit();
    // Another copy of the run has not seen the second backup, and writes the third.
    first
        .next(&one)
        .head("number", json!(3))
        .head("writer", json!("f".repeat(32)))
        .file("c", "theirs")
        .commit();
    let list = |args: &[&str]| {
        lab.cmd("run-sync").args(["list", "--from", "store", "--json"]).args(args).run().code(0).stderr("")
    };
    let rows: Vec<Value> = list(&[]).json_lines();
    assert_eq!((&rows[0]["number"], &rows[0]["fork"]), (&json!(3), &json!(true)));

    // The first manifest of a killed writer came late, and a copy of the run continues it alone.
    let late = Backup::first(&lab, "store", "late").file("a", "one\n");
    let one = late.commit();
    late.next(&one).head("parent", Value::Null).file("b", "mine\n").commit();
    late.next(&one).head("writer", json!("f".repeat(32))).file("c", "theirs").commit();
    let rows = list(&["--history", "late"]).json_lines();
    let marks: Vec<_> = rows.iter().map(|row| (&row["number"], &row["fork"])).collect();
    let (no, yes) = (&json!(false), &json!(true));
    assert_eq!(marks, [(&json!(1), no), (&json!(2), yes), (&json!(2), yes)]);

    let straight = Backup::first(&lab, "store", "straight").file("a", "one\n");
    straight.next(&straight.commit()).file("b", "two\n").commit();
    assert_eq!(list(&["straight"]).json_lines()[0]["fork"], json!(false));

    let batch = Backup::first(&lab, "store", "lr").head("kind", json!("batch")).head("status", json!(""));
    batch.file(".batch/batch.json", "{}").commit();
    assert_eq!(list(&["lr"]).json_lines()[0]["status"], Value::Null);
}

#[test]
fn a_restore_tells_programs_the_absolute_path_and_people_what_was_left() {
    let lab = Lab::new();
    Backup::first(&lab, "store", "trial").file("a", "one\n").file("b", "two\n").commit();
    let restore = |args: &[&str]| {
        lab.cmd("run-sync")
            .args(["restore", "--from", "store", "--into", "back"])
            .args(args)
            .arg("trial")
            .run()
    };
    let row: Value = restore(&["--json"]).code(0).stderr("").json_lines().remove(0);
    assert_eq!(row["path"], lab.path("back/trial").to_str().unwrap());
    fs::write(lab.path("back/trial/a"), "another\n").unwrap();
    let done = restore(&[]).code(1).stdout("trial: backup 1, nothing to restore, 1 left\n");
    done.stderr_has("'a' of 'trial' is left as it is: ");
}
