//! Runs and batches of one name: none is ever put into another, neither here nor in a store.

use std::fs;
use std::os::unix::fs::MetadataExt;
use testkit::locks::hold;
use testkit::process::Signal;
use testkit::{Cmd, Lab};

/// Makes a batch `sweep` of the runs `run_lr-1` and `run_lr-2`.
fn batch(lab: &Lab) {
    lab.cmd("run-new").args(["--batch=sweep", "--sweep", "lr=1,2", "--", "true", "{set}"]).run().code(0);
}

fn sync(lab: &Lab, args: &[&str]) -> Cmd {
    lab.cmd("run-sync").args(args)
}

fn restore(lab: &Lab, args: &[&str]) -> Cmd {
    sync(lab, &["restore", "--from", "store"]).args(args)
}

/// Returns what lies below a directory: the path, inode and size of each file.
fn files(lab: &Lab, directory: &str) -> Vec<String> {
    let found = lab.cmd("find").args([directory, "-type", "f", "-printf", "%P %i %s\\n"]).run().code(0).out();
    let mut lines: Vec<String> = found.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Backs up what is in the runs directory, and begins another one.
fn store_and_begin_anew(lab: &Lab) {
    sync(lab, &["backup", "--to", "store", "--all"]).run().code(0).stderr("");
    fs::remove_dir_all(lab.path("runs")).unwrap();
}

#[test]
fn a_run_is_never_put_where_a_batch_is() {
    let lab = Lab::new();
    lab.new_run("sweep", &["true"]);
    store_and_begin_anew(&lab);
    batch(&lab);
    let before = files(&lab, "runs");
    for force in [&["sweep"][..], &["--force", "sweep"], &["-n", "sweep"]] {
        restore(&lab, force).run().code(1).stdout("").stderr(
            "run-sync: cannot restore to 'runs/sweep': a batch has this name here\n\
             run-sync: --into restores it elsewhere\n",
        );
    }
    // A batch whose record is gone is one, too.
    fs::remove_dir_all(lab.path("runs/sweep/.batch")).unwrap();
    restore(&lab, &["sweep"]).run().code(1).stderr_has("a directory with runs has this name here");
    assert_eq!(
        files(&lab, "runs/sweep/run_lr-1").len(),
        before.iter().filter(|f| f.contains("lr-1/")).count()
    );
    restore(&lab, &["--into", "elsewhere", "sweep"]).run().code(0).stderr("");
    assert!(lab.path("elsewhere/sweep/.run/meta.json").exists());
}

#[test]
fn a_batch_is_never_put_where_a_run_is() {
    let lab = Lab::new();
    batch(&lab);
    store_and_begin_anew(&lab);
    lab.new_run("sweep", &["true"]);
    let before = files(&lab, "runs");
    restore(&lab, &["--force", "sweep"]).run().code(1).stdout("").stderr(
        "run-sync: cannot restore to 'runs/sweep': a run has this name here\n\
         run-sync: --into restores it elsewhere\n\
         run-sync: cannot restore to 'runs/sweep/run_lr-1': the directory above it is a run\n\
         run-sync: --into restores it elsewhere\n\
         run-sync: cannot restore to 'runs/sweep/run_lr-2': the directory above it is a run\n\
         run-sync: --into restores it elsewhere\n",
    );
    restore(&lab, &["sweep/run_lr-1"]).run().code(1).stdout("");
    assert_eq!(files(&lab, "runs"), before);
}

#[test]
fn nothing_is_put_into_another_batch_of_the_same_name() {
    let lab = Lab::new();
    batch(&lab);
    store_and_begin_anew(&lab);
    batch(&lab);
    fs::remove_dir_all(lab.path("runs/sweep/run_lr-1")).unwrap();
    let before = files(&lab, "runs");
    restore(&lab, &["--force", "sweep"]).run().code(1).stdout("").stderr(
        "run-sync: cannot restore to 'runs/sweep': another batch has this name here\n\
         run-sync: --into restores it elsewhere\n\
         run-sync: cannot restore to 'runs/sweep/run_lr-1': another batch has the name of its batch here\n\
         run-sync: --into restores it elsewhere\n\
         run-sync: cannot restore to 'runs/sweep/run_lr-2': another run has this name here\n\
         run-sync: --into restores it elsewhere\n",
    );
    restore(&lab, &["sweep/run_lr-1"]).run().code(1).stdout("");
    assert_eq!(files(&lab, "runs"), before);
    // Into the batch that it was of, a run comes back.
    restore(&lab, &["--into", "back", "sweep"]).run().code(0);
    fs::remove_dir_all(lab.path("back/sweep/run_lr-2")).unwrap();
    restore(&lab, &["--into", "back", "sweep/run_lr-2"]).run().code(0).stderr("");
    assert!(lab.path("back/sweep/run_lr-2/.run/meta.json").exists());
}

#[test]
fn the_files_of_an_active_batch_stay_and_no_lock_is_ever_replaced() {
    let lab = Lab::new();
    batch(&lab);
    lab.cmd("run-exec").args(["-q", "sweep"]).run().code(0);
    sync(&lab, &["backup", "--to", "store", "sweep"]).run().code(0);
    fs::remove_file(lab.path("runs/sweep/master_log.txt")).unwrap();
    for (lock, why) in [
        ("runs/sweep/.batch/lock", "the batch is active"),
        ("runs/sweep/run_lr-2/.run/lock", "its run 'run_lr-2' is active"),
    ] {
        let holder = hold(&lab, lock);
        let inode = fs::metadata(lab.path(lock)).unwrap().ino();
        let done = restore(&lab, &["--force", "sweep"]).run().code(4);
        done.stderr_has(&format!("cannot restore to 'runs/sweep': {why}"));
        assert_eq!(fs::metadata(lab.path(lock)).unwrap().ino(), inode);
        assert!(!lab.path("runs/sweep/master_log.txt").exists());
        holder.signal(Signal::KILL);
        holder.wait();
        fs::remove_file(lab.path("held")).unwrap();
    }
    // A lock that was signed since stays, and is no difference.
    let lock = lab.path("runs/sweep/.batch/lock");
    let inode = fs::metadata(&lock).unwrap().ino();
    fs::write(&lock, "process 1 on elsewhere\n").unwrap();
    restore(&lab, &["sweep"]).run().code(0).stderr("");
    restore(&lab, &["--force", "sweep"]).run().code(0).stderr("");
    assert_eq!(fs::metadata(&lock).unwrap().ino(), inode);
    assert_eq!(fs::read_to_string(&lock).unwrap(), "process 1 on elsewhere\n");
    assert!(lab.path("runs/sweep/master_log.txt").exists());
}

#[test]
fn in_a_store_no_run_lies_in_another_and_none_where_a_batch_is() {
    let lab = Lab::new();
    let backup = |args: &[&str]| sync(&lab, &["backup", "--to", "store"]).args(args).run();
    let run = lab.new_run("sweep", &["true"]);
    lab.write(&format!("{run}/run_lr-1/SHA256SUMS"), "mine\n");
    backup(&["sweep"]).code(0).stderr("");
    let before = files(&lab, "store");
    // A batch where a run is.
    fs::rename(lab.path("runs"), lab.path("first")).unwrap();
    batch(&lab);
    lab.new_run("other", &["true"]);
    let store = lab.path("store").display().to_string();
    let refused = |what: &str, why: &str| {
        format!(
            "run-sync: cannot back up to '{what}' in {store}: {why}\n\
             run-sync: --as gives another name\n"
        )
    };
    let named = "a run has the name 'sweep' there";
    let expected = [
        refused("sweep/run_lr-1", named),
        refused("sweep/run_lr-2", named),
        refused("sweep", "another run has this name"),
    ];
    for dry in [&["-n", "sweep"][..], &["sweep"]] {
        backup(dry).code(1).stdout("").stderr(&expected.concat());
    }
    backup(&["--as", "sweep/copy", "other"]).code(1).stdout("").stderr(&refused("sweep/copy", named));
    assert_eq!(files(&lab, "store"), before);
    sync(&lab, &["verify", "--from", "store", "--all"]).run().code(0).stderr("");
    // A run where a batch is, even one without its own files.
    backup(&["--as", "again/copy", "other"]).code(0).stderr("");
    let before = files(&lab, "store");
    let named = "a batch has this name there";
    for dry in [&["-n"][..], &[]] {
        backup(&[dry, &["--as", "again", "other"]].concat())
            .code(1)
            .stdout("")
            .stderr(&refused("again", named));
    }
    assert_eq!(files(&lab, "store"), before);
    let listed = sync(&lab, &["list", "--json", "--from", "store"]).run().code(0).json_lines();
    let names: Vec<&str> = listed.iter().map(|set| set["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["again/copy", "sweep"]);
}

#[test]
fn names_of_the_store_itself_are_no_names_of_runs() {
    let lab = Lab::new();
    batch(&lab);
    lab.new_run("trial", &["true"]);
    for name in
        [".run-store", "a/.backup", ".batch", "a/.by", ".eval/a", ".gen", ".long", "sha256sums", "b/stop"]
    {
        let done = sync(&lab, &["backup", "--to", "store", "--as", name, "trial"]).run().code(2).stdout("");
        done.stderr_has("--as cannot use the name '");
    }
    assert!(!lab.path("store").exists());
    // The other runs of a batch are stored.
    fs::rename(lab.path("runs/sweep/run_lr-1"), lab.path("runs/sweep/SHA256SUMS")).unwrap();
    let done = sync(&lab, &["backup", "--to", "store", "sweep"]).run().code(3).stderr(
        "run-sync: cannot back up 'runs/sweep/SHA256SUMS': a store has files of its own under the name 'SHA256SUMS'\n\
         run-sync: --as gives another name\n",
    );
    let out = done.out();
    let lines: Vec<&str> = out.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(lines, ["sweep/run_lr-2", "sweep"]);
    sync(&lab, &["verify", "--from", "store", "--all"]).run().code(0).stderr("");
    let path = "runs/sweep/SHA256SUMS";
    sync(&lab, &["backup", "--to", "store", "--as", "sweep/lr1", path]).run().code(0).stderr("");
}
