//! `run-sync restore`: what comes back, what is left alone, and what is refused.

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use testkit::sets::{Backup, MTIME, sha256};
use testkit::stores::{Act, BUCKET, Scripted, Server};
use testkit::sync::{StoredSet, noise};
use testkit::{Cmd, Lab, wait_for};

fn restore(lab: &Lab, args: &[&str]) -> Cmd {
    lab.cmd("run-sync").args(["restore", "--from", "store"]).args(args)
}

/// A run of a few files of each kind.
fn trial(lab: &Lab) -> Backup {
    Backup::first(lab, "store", "trial")
        .entry(json!({"path": ".", "type": "dir", "mode": "0750", "mtime": MTIME}))
        .file("config.yaml", "lr: 1\n")
        .file("empty", "")
        .dir("checkpoints")
        .dir("checkpoints/none")
        .file("checkpoints/step_100/model.pt", "weights of 100")
        .link("checkpoints/latest", "step_100")
        .link("outside", "/etc/passwd")
}

/// Returns what lies below a directory: path, kind, mode, time and target, a line each.
fn tree(lab: &Lab, directory: &str) -> Vec<String> {
    let found = lab.cmd("find").args([directory, "-printf", "%P %y %m %T+ %l\\n"]).run().code(0).out();
    let mut lines: Vec<String> = found.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_run_comes_back_with_modes_times_and_links() {
    let lab = Lab::new();
    let backup = trial(&lab);
    let same = json!({"path": "second", "type": "file", "mode": "0644", "mtime": MTIME, "size": 6,
        "sha256": sha256(b"lr: 1\n"), "key": "config.yaml", "same_file": "config.yaml"});
    backup
        .entry(same)
        .entry(
            json!({"path": "empty", "type": "file", "mode": "0400", "mtime": "1999-12-31T23:59:59.000000001Z",
        "size": 0, "sha256": sha256(b"")}),
        )
        .commit();
    restore(&lab, &["trial"]).run().code(0).stderr("").stdout("trial: backup 1, restored 6 files (20B)\n");
    let time = "2026-01-29+12:00:00.1234567890";
    let expected = format!(
        " d 750 {time} \ncheckpoints d 755 {time} \ncheckpoints/latest l 777 {time} step_100\n\
         checkpoints/none d 755 {time} \n\
         checkpoints/step_100/model.pt f 644 {time} \nconfig.yaml f 644 {time} \n\
         empty f 400 1999-12-31+23:59:59.0000000010 \noutside l 777 {time} /etc/passwd\nsecond f 644 {time} "
    );
    let mut found = tree(&lab, "runs/trial");
    found.retain(|line| !line.starts_with("checkpoints/step_100 d")); // no entry says when it was made
    assert_eq!(found.join("\n"), expected);
    assert_eq!(lab.read("runs/trial/checkpoints/step_100/model.pt"), "weights of 100");
    let inode = |name: &str| fs::metadata(lab.path(name)).unwrap().ino();
    assert_eq!(inode("runs/trial/config.yaml"), inode("runs/trial/second"));
    // Once more: all of it is here.
    restore(&lab, &["trial"]).run().code(0).stderr("").stdout("trial: backup 1, nothing to restore\n");
    assert_eq!(fs::read_dir(lab.path("runs")).unwrap().count(), 1);
}

#[test]
fn what_is_newer_longer_or_different_here_stays_and_the_rest_comes() {
    let lab = Lab::new();
    trial(&lab).file("log", "1\n").file("old", "x").commit();
    lab.write("runs/trial/config.yaml", "lr: 2\n");
    lab.write("runs/trial/log", "1\n2\n");
    lab.write("runs/trial/old", "y");
    lab.cmd("touch").args(["-d", "2020-01-01", "runs/trial/old"]).run().code(0);
    lab.write("runs/trial/mine", "mine");
    lab.write("elsewhere/x", "x");
    symlink(lab.path("elsewhere"), lab.path("runs/trial/checkpoints")).unwrap();
    symlink("/etc/hosts", lab.path("runs/trial/outside")).unwrap();
    let left = "run-sync: 'checkpoints' of 'trial' is left as it is: it is no directory here; all that belongs in it is left, too\n\
                run-sync: 'config.yaml' of 'trial' is left as it is: it is newer here\n\
                run-sync: 'log' of 'trial' is left as it is: it is longer here\n\
                run-sync: 'old' of 'trial' is left as it is: it differs here\n\
                run-sync: 'outside' of 'trial' is left as it is: it points elsewhere here\n\
                run-sync: --force replaces files and links that differ here\n";
    restore(&lab, &["trial"])
        .run()
        .code(1)
        .stderr(left)
        .stdout("trial: backup 1, restored 1 file (0B), 5 left\n");
    assert_eq!(lab.read("runs/trial/config.yaml"), "lr: 2\n");
    assert_eq!(lab.read("runs/trial/log"), "1\n2\n");
    assert_eq!(lab.read("runs/trial/empty"), "");
    assert_eq!(fs::read_dir(lab.path("elsewhere")).unwrap().count(), 1, "nothing is written through a link");
    // With --force the run is as it was; what the backup does not know stays.
    restore(&lab, &["--force", "trial"]).run().code(0).stderr("");
    assert_eq!(lab.read("runs/trial/config.yaml"), "lr: 1\n");
    assert_eq!(lab.read("runs/trial/log"), "1\n");
    assert_eq!(lab.read("runs/trial/checkpoints/latest/model.pt"), "weights of 100");
    assert_eq!(lab.read("runs/trial/mine"), "mine");
    assert_eq!(fs::read_dir(lab.path("elsewhere")).unwrap().count(), 1);
    let names: Vec<_> =
        fs::read_dir(lab.path("runs/trial")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_str().unwrap().starts_with(".run-sync")), "{names:?}");
}

#[test]
fn a_directory_here_is_never_replaced() {
    let lab = Lab::new();
    Backup::first(&lab, "store", "trial").file("a", "x").file("b", "y").commit();
    lab.write("runs/trial/a/mine", "mine");
    let left = "run-sync: 'a' of 'trial' is left as it is: something else has its name here\n";
    restore(&lab, &["--force", "trial"])
        .run()
        .code(1)
        .stderr(left)
        .stdout("trial: backup 1, restored 1 file (1B), 1 left\n");
    assert_eq!(lab.read("runs/trial/a/mine"), "mine");
    assert_eq!(lab.read("runs/trial/b"), "y");
}

#[test]
fn what_clean_removed_comes_back_and_what_the_program_removed_only_when_asked() {
    let lab = Lab::new();
    let backup = trial(&lab).file("cleaned", "1").file("gone/x", "2");
    backup.absent("cleaned", "cleaned").absent("gone/x", "gone").commit();
    restore(&lab, &["trial"]).run().code(0);
    assert_eq!(lab.read("runs/trial/cleaned"), "1");
    assert!(!lab.path("runs/trial/gone").exists());
    restore(&lab, &["--gone", "trial"])
        .run()
        .code(0)
        .stdout("trial: backup 1, restored 1 file (1B), 6 were here\n");
    assert_eq!(lab.read("runs/trial/gone/x"), "2");
}

#[test]
fn patterns_choose_files_and_dry_run_says_which() {
    let lab = Lab::new();
    trial(&lab).commit();
    lab.write("runs/trial/config.yaml", "lr: 2\n");
    let would = "trial: would replace config.yaml (6B)\ntrial: would restore checkpoints/step_100/model.pt (14B)\n\
                 trial: backup 1, would restore 2 files (20B)\n";
    let args = ["-n", "--force", "--only", "*.pt", "--only", "config.yaml", "trial"];
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&restore(&lab, &args).run().code(0).out()), sorted(would));
    assert_eq!(lab.read("runs/trial/config.yaml"), "lr: 2\n");
    assert!(!lab.path("runs/trial/checkpoints").exists());
    restore(&lab, &["--only", "*.pt", "trial"])
        .run()
        .code(0)
        .stderr("")
        .stdout("trial: backup 1, restored 1 file (14B)\n");
    assert_eq!(lab.read("runs/trial/checkpoints/step_100/model.pt"), "weights of 100");
    let nothing = "run-sync: nothing in backup 1 of 'trial' matches --only\n";
    restore(&lab, &["--only", "nope", "trial"]).run().code(1).stdout("").stderr(nothing);
    restore(&lab, &["--only", "[", "trial"]).run().code(2);
}

#[test]
fn a_byte_that_flipped_in_the_store_is_named_and_nothing_wrong_gets_a_name() {
    let lab = Lab::new();
    let backup = trial(&lab).file("other", "good");
    backup.commit();
    fs::write(backup.object("checkpoints/step_100/model.pt"), "weights of 101").unwrap();
    fs::remove_file(backup.object("config.yaml")).unwrap();
    let named = "run-sync: 'checkpoints/step_100/model.pt' of 'trial' is not restored: its bytes in the store are not those that were stored\n\
                 run-sync: 'config.yaml' of 'trial' is not restored: the store does not have it\n";
    restore(&lab, &["trial"]).run().code(1).stderr(named).stdout("trial: backup 1, restored 4 files (4B)\n");
    assert_eq!(lab.read("runs/trial/other"), "good");
    assert!(!lab.path("runs/trial/config.yaml").exists());
    assert_eq!(fs::read_dir(lab.path("runs/trial/checkpoints/step_100")).unwrap().count(), 0);
    // A stored file that is longer than it was is whole; one that is shorter is not.
    fs::write(backup.object("config.yaml"), "lr: 1\nlr: 2\n").unwrap();
    fs::write(backup.object("checkpoints/step_100/model.pt"), "weights").unwrap();
    let named = "run-sync: 'checkpoints/step_100/model.pt' of 'trial' is not restored: the store has only a part of it\n";
    restore(&lab, &["trial"]).run().code(1).stderr(named);
    assert_eq!(lab.read("runs/trial/config.yaml"), "lr: 1\n");
}

#[test]
fn another_run_or_one_at_work_is_not_restored_into() {
    let lab = Lab::new();
    trial(&lab).commit();
    let run = lab.new_run("trial", &["sleep", "100"]);
    let other = "run-sync: cannot restore to 'runs/trial': another run has this name here\nrun-sync: --into restores it elsewhere\n";
    restore(&lab, &["trial"]).run().code(1).stdout("").stderr(other);
    fs::remove_dir_all(lab.path("store")).unwrap();
    let id = lab.json("runs/trial/.run/meta.json")["run_id"].clone();
    trial(&lab).head("run_id", id).commit();
    let exec = lab.cmd("run-exec").arg(&run).spawn();
    lab.await_child(&run);
    restore(&lab, &["trial"]).run().code(4).stdout("").stderr_has("the run is active");
    restore(&lab, &["--into", "elsewhere", "trial"]).run().code(0);
    assert_eq!(lab.read("elsewhere/trial/config.yaml"), "lr: 1\n");
    lab.cmd("run-stop").args(["--grace", "100ms", &run]).run();
    exec.wait();
}

#[test]
fn evaluations_and_the_files_of_a_batch_come_with_a_run() {
    let lab = Lab::new();
    let batch = Backup::first(&lab, "store", "lr").head("kind", json!("batch"));
    batch.file(".batch/batch.json", "{\"schema\":1}\n").file("master_log.txt", "log\n").commit();
    let run = Backup::first(&lab, "store", "lr/a");
    let run = run.file("x", "x").evaluation("gsm8k", "step_100_gsm8k/result.json", "{}");
    let other = Backup::first(&lab, "store", "lr/b").file("x", "x").file("base.bin", "frozen");
    other.commit();
    // A file of another run of the batch is stored once.
    let mut shared = other.stored("base.bin", "base.bin", b"frozen");
    shared["key"] = json!("../b/base.bin");
    let run = run.entry(shared);
    run.commit();
    let out = "lr: backup 1, restored 2 files (17B)\nlr/a: backup 1, restored 3 files (9B)\n";
    restore(&lab, &["lr/a"]).run().code(0).stderr("").stdout(out);
    assert_eq!(lab.read("runs/lr/master_log.txt"), "log\n");
    assert_eq!(lab.read("eval_runs/lr/a_gsm8k/step_100_gsm8k/result.json"), "{}");
    assert_eq!(lab.read("runs/lr/a/base.bin"), "frozen");
    fs::create_dir(lab.path("new")).unwrap();
    let mode = |path: &str| fs::metadata(lab.path(path)).unwrap().mode();
    assert_eq!(mode("runs/lr/a"), mode("new"), "a directory that no manifest lists is as any new one");
    assert!(!lab.path("runs/lr/b").exists());
    fs::remove_dir_all(lab.path("runs")).unwrap();
    fs::remove_dir_all(lab.path("eval_runs")).unwrap();
    restore(&lab, &["--no-eval", "lr"]).run().code(0);
    assert!(lab.path("runs/lr/b/x").exists() && !lab.path("eval_runs").exists());
    restore(&lab, &["--all", "--into", "all"]).run().code(0);
    assert!(lab.path("all/lr/a/x").exists());
    let missing =
        "run-sync: no backup of 'c' in store\nrun-sync: run-sync list --from store shows which runs it has\n";
    restore(&lab, &["c"]).run().code(3).stdout("").stderr(missing);
}

/// Backs a run up with a real tool, and returns it, and its manifest.
fn backed_up(lab: &Lab) -> (String, Value) {
    let run =
        lab.new_run("trial", &["sh", "-c", "touch started; while [ ! -e enough ]; do sleep 0.05; done"]);
    lab.write(&format!("{run}/model.pt"), "weights");
    lab.write(&format!("{run}/lost.pt"), "lost");
    lab.cmd("run-sync").args(["backup", "--to", "store", "trial"]).run().code(0).stderr("");
    (run, StoredSet::new(lab, "store/trial").newest())
}

#[test]
fn a_file_that_is_the_very_version_of_the_backup_is_not_read() {
    let lab = Lab::new();
    let (run, manifest) = backed_up(&lab);
    let path = lab.path(format!("{run}/model.pt"));
    let mtime = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "WEIGHTS").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(mtime).unwrap();
    let restored = |at: &str| restore(&lab, &["--json", "--at", at, "trial"]).run().json_lines().remove(0);
    assert_eq!(restored("1")["left"][0]["path"], "model.pt", "its ctime is another: it is read");
    // Only a manifest that says that just this version has these bytes is believed without a look at them.
    let found = fs::metadata(&path).unwrap();
    let mut forged = manifest.clone();
    (forged["number"], forged["parent"]) = (json!(2), json!("0".repeat(64)));
    let entries = forged["entries"].as_array_mut().unwrap();
    let entry = entries.iter_mut().find(|entry| entry["path"] == "model.pt").unwrap();
    entry["inode"] = json!(found.ino());
    let seconds = chrono::DateTime::from_timestamp(found.ctime(), found.ctime_nsec().try_into().unwrap());
    entry["ctime"] = json!(seconds.unwrap().to_rfc3339_opts(chrono::SecondsFormat::Nanos, true));
    let commit = |manifest: &Value| {
        let entries = manifest["entries"].as_array().unwrap().clone();
        let begun = Backup::first(&lab, "store", "trial");
        let keys = manifest.as_object().unwrap().iter().filter(|(key, _)| *key != "entries");
        let begun = keys.fold(begun, |begun, (key, value)| begun.head(key, value.clone()));
        entries.into_iter().fold(begun, Backup::entry).commit();
    };
    commit(&forged);
    assert_eq!(restored("2")["left"], json!([]));
    // That of another copy of the run says nothing of files here.
    (forged["number"], forged["writer"]) = (json!(3), json!("f".repeat(32)));
    commit(&forged);
    assert_eq!(restored("3")["left"][0]["path"], "model.pt");
}

#[test]
fn a_run_that_is_started_during_a_restore_is_left_alone() {
    let lab = Lab::new();
    let server = Scripted::new();
    let run =
        lab.new_run("trial", &["sh", "-c", "touch started; while [ ! -e enough ]; do sleep 0.05; done"]);
    lab.write(&format!("{run}/lost.pt"), "lost");
    let url = format!("s3://{BUCKET}/p");
    let sync = |words: &[&str]| server.reached_by(lab.cmd("run-sync").args(words));
    sync(&["backup", "--to", &url, "trial"]).run().code(0).stderr("");
    fs::remove_file(lab.path(format!("{run}/lost.pt"))).unwrap();
    let started = lab.path("started");
    server.follow(move |request| {
        if request.key.ends_with("lost.pt") {
            testkit::wait_for("the run", || started.exists());
        }
        Act::Serve
    });
    let restoring = sync(&["restore", "--from", &url, "--only", "lost.pt", "trial"]).spawn();
    testkit::wait_for("the request", || {
        server.requests().iter().any(|request| request.key.ends_with("lost.pt"))
    });
    lab.cmd("run-exec").args(["-q", "--detach", "trial"]).run().code(0);
    let done = restoring.wait().code(4).stdout("");
    assert_eq!(
        done.err(),
        "run-sync: cannot restore to 'runs/trial': it was started meanwhile\n\
         run-sync: the same command continues when it has ended\n"
    );
    assert!(!lab.path(format!("{run}/lost.pt")).exists());
    lab.write("enough", "");
    lab.await_status(&run, "over", |status| status["status"] == "completed");
    sync(&["restore", "--from", &url, "--only", "lost.pt", "trial"]).run().code(0).stderr("");
    assert_eq!(lab.read(&format!("{run}/lost.pt")), "lost");
}

#[test]
fn the_parts_of_a_large_file_come_over_several_connections() {
    let lab = Lab::new();
    let server = Scripted::new();
    let run = lab.new_run("trial", &["true"]);
    lab.write(&format!("{run}/large.bin"), noise(1, 65 << 20)); // five parts
    let url = format!("s3://{BUCKET}/p");
    let sync = |words: &[&str]| server.reached_by(lab.cmd("run-sync").args(words));
    sync(&["backup", "--to", &url, "trial"]).run().code(0).stderr("");
    // No part is answered before all of them have been asked for.
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    server.follow(move |request| {
        if request.method == "GET" && request.key.ends_with("large.bin") {
            count.fetch_add(1, Ordering::Relaxed);
            wait_for("the other parts", || count.load(Ordering::Relaxed) >= 5);
        }
        Act::Serve
    });
    sync(&["restore", "--from", &url, "--into", "back", "trial"]).run().code(0).stderr("");
    assert_eq!(asked.load(Ordering::Relaxed), 5);
    assert!(fs::read(lab.path("back/trial/large.bin")).unwrap() == noise(1, 65 << 20));
}
