//! Stores that are full, and runs whose files cannot be written to.

use std::fs;
use std::os::unix::fs::symlink;
use testkit::Lab;
use testkit::sync::{StoredSet, noise};

#[test]
fn a_store_that_is_full_loses_nothing_and_what_it_has_is_not_sent_again() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["true"]);
    for name in ["a", "b"] {
        lab.write(&format!("{run}/{name}.bin"), noise(name.len() as u64, 2 << 20));
    }
    lab.write(&format!("{run}/large.bin"), noise(9, 40 << 20));
    for name in ["store", "kept"] {
        fs::create_dir(lab.path(name)).unwrap();
    }
    let script = "mount -t tmpfs -o size=30m store \"$PWD/store\" || exit 99
        run-sync backup --to store trial; echo \"first $?\"
        stat -c %i store/.run-store/uploads/* >before
        mount -o remount,size=100m \"$PWD/store\"
        run-sync backup --to store trial; echo \"second $?\"
        stat -c %i store/trial/large.bin >after
        cp -a store/. kept/";
    let unshare = ["--user", "--map-root-user", "--mount", "sh", "-c", script];
    let done = lab.cmd("unshare").args(unshare).run().code(0);
    let err = done.err();
    assert_eq!(err.lines().count(), 2, "{err}");
    assert!(
        err.contains(
            "in STORE: No space left on device\n"
                .replace("STORE", &lab.path("store").display().to_string())
                .as_str()
        ),
        "{err}"
    );
    assert!(
        err.ends_with("nothing was removed here; the same command continues when there is room\n"),
        "{err}"
    );
    assert!(
        done.out().starts_with("first 5\ntrial: backup 1, ") && done.out().ends_with("second 0\n"),
        "{}",
        done.out()
    );
    assert_eq!(lab.read("before"), lab.read("after"), "the upload is continued");
    StoredSet::new(&lab, "kept/trial").check_newest_is(&lab.path(&run));
}

#[test]
fn nothing_is_written_through_links_in_the_place_of_the_record() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["true"]);
    let receipts = format!("{run}/.run/backup.jsonl");
    lab.write("victim", "theirs\n");
    let backup = || lab.cmd("run-sync").args(["backup", "--to", "store", "trial"]).run();
    for link in ["backup.jsonl", "backup.journal"] {
        let _ = fs::remove_file(lab.path(&receipts));
        symlink(lab.path("victim"), lab.path(format!("{run}/.run/{link}"))).unwrap();
        let done = backup().code(0);
        assert!(done.err().contains("it is a symbolic link"), "{}", done.err());
        assert_eq!(lab.read("victim"), "theirs\n");
        let _ = fs::remove_file(lab.path(format!("{run}/.run/{link}")));
    }
    fs::remove_file(lab.path(&receipts)).unwrap();
    fs::hard_link(lab.path("victim"), lab.path(&receipts)).unwrap();
    let done = backup().code(0);
    assert!(done.err().contains("it is a hard link"), "{}", done.err());
    assert_eq!(lab.read("victim"), "theirs\n");
    assert!(StoredSet::new(&lab, "store/trial").check() > 0);

    fs::rename(lab.path(format!("{run}/.run")), lab.path("record")).unwrap();
    symlink("../../record", lab.path(format!("{run}/.run"))).unwrap();
    let names = || fs::read_dir(lab.path("record")).unwrap().count();
    let before = names();
    let done = backup().code(3);
    assert!(done.err().contains("it is a symbolic link"), "{}", done.err());
    assert_eq!(names(), before);
}
