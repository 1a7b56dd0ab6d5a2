//! `run-sync backup --follow`: each checkpoint as it is complete, until the run has ended.

use serde_json::Value;
use std::fs;
use testkit::sync::{StoredSet, torch_noise};
use testkit::{Lab, wait_for};

#[test]
fn each_complete_checkpoint_is_backed_up_and_the_end_of_the_run() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["sh", "-c", "while [ ! -e enough ]; do sleep 0.05; done; echo the end"]);
    lab.cmd("run-exec").args(["-q", "--detach", "trial"]).run().code(0);
    lab.await_child(&run);
    lab.write(&format!("{run}/step_1.pt"), torch_noise(1, 10_000));
    let following =
        lab.cmd("run-sync").args(["backup", "--json", "--follow", "--to", "store", "trial"]).spawn();
    let set = StoredSet::new(&lab, "store/trial");
    wait_for("the first backup", || set.manifests().len() == 1);
    for step in 2..4 {
        let whole = torch_noise(step, 10_000);
        lab.write(&format!("{run}/step_{step}.pt"), &whole[..5000]);
        lab.write(&format!("{run}/step_{step}.pt"), &whole);
        wait_for("another backup", || set.check() as u64 >= step);
        assert_eq!(set.entry(&format!("step_{step}.pt"))["size"], whole.len());
    }
    // Another backup by hand meanwhile is no harm, once the one that is seen has ended.
    let by_hand = || lab.cmd("run-sync").args(["backup", "--to", "store", "trial"]).run();
    wait_for("a backup by hand", || by_hand().code == 0);
    lab.write("enough", "");
    let done = following.wait().code(0);
    set.check_newest_is(&lab.path(&run));
    assert!(fs::read_to_string(set.path.join("stdout.log")).unwrap().ends_with("the end\n"));
    let reports: Vec<Value> = done.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(reports.len() >= 4 && reports.iter().all(|report| report["result"] == "stored"), "{reports:?}");
    assert_eq!(set.newest()["status"], "completed");
}

#[test]
fn what_has_ended_is_not_waited_for() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["true"]);
    lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
    lab.cmd("run-sync").args(["backup", "--follow", "--to", "store", "trial"]).run().code(0).stderr("");
    StoredSet::new(&lab, "store/trial").check_newest_is(&lab.path(&run));
}
