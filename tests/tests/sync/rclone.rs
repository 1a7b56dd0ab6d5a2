//! Backups through rclone, which makes each request a process.

use testkit::sync::{StoredSet, noise, torch_noise};
use testkit::{Cmd, Lab};

fn sync(lab: &Lab, args: &[&str]) -> Cmd {
    lab.cmd("run-sync").args(args)
}

/// Makes a run with three files of its own, and returns it and the address of a store.
fn site(lab: &Lab) -> (String, String) {
    let run = lab.new_run("trial", &["true"]);
    lab.write(&format!("{run}/large.bin"), noise(1, 17 << 20));
    lab.write(&format!("{run}/a b=c#d+é.txt"), "odd");
    lab.write(&format!("{run}/empty"), "");
    (run, format!("rclone::local:{}", lab.path("store").display()))
}

#[test]
fn a_run_is_backed_up_verified_and_restored_through_rclone() {
    let lab = Lab::new();
    let (run, url) = site(&lab);
    let done = sync(&lab, &["backup", "--to", &url, "trial"]).run().code(0).stderr("");
    assert!(done.out().ends_with(" sent, checked by length\n"), "{}", done.out());
    let set = StoredSet::new(&lab, "store/trial");
    set.check_newest_is(&lab.path(&run));
    lab.cmd("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).cwd(&set.path).run().code(0).stderr("");
    let done = sync(&lab, &["verify", "--from", &url, "--all"]).run().code(0).stderr("");
    assert!(done.out().contains(" files intact (17M)"), "{}", done.out());
    sync(&lab, &["restore", "--from", &url, "--into", "back", "trial"]).run().code(0).stderr("");
    lab.cmd("diff").args(["-r", "-x", "backup.jsonl", &run, "back/trial"]).run().code(0).stdout("");
}

#[test]
fn one_directory_that_is_reached_in_two_ways_is_one_store() {
    let lab = Lab::new();
    let (run, url) = site(&lab);
    lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
    for step in [1, 2] {
        lab.write(&format!("{run}/step_{step}.pt"), torch_noise(step, 2000));
    }
    for store in [url.as_str(), "store"] {
        sync(&lab, &["backup", "--to", store, "trial"]).run().code(0).stderr("");
    }
    let done = sync(&lab, &["clean", "--copies", "2", "trial"]).run().code(3).stdout("");
    done.stderr_has("the receipts of the run name 1; addresses that have a backup in common count once");
    assert!(lab.path(format!("{run}/step_1.pt")).exists());
}
