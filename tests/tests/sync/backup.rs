//! Backups of runs in a directory: what is stored, what is not stored again, what is recorded.

use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};
use testkit::Lab;
use testkit::sync::{StoredSet, noise, torch_noise};

/// Makes a run that has ended, of files with all kinds of content; none was changed a moment ago.
fn ended_run(lab: &Lab) -> String {
    let run = lab.new_run("trial", &["true"]);
    lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
    lab.write(&format!("{run}/ckpt/step_1.pt"), torch_noise(1, 40_000));
    lab.write(&format!("{run}/ckpt/step_2.pt"), torch_noise(2, 40_000));
    lab.write(&format!("{run}/ckpt/final.pt"), torch_noise(2, 40_000));
    lab.write(&format!("{run}/large.bin"), noise(3, 20 << 20));
    lab.write(&format!("{run}/empty"), "");
    lab.write(&format!("{run}/log.txt"), "one\n");
    fs::create_dir(lab.path(format!("{run}/nothing"))).unwrap();
    symlink("log.txt", lab.path(format!("{run}/link"))).unwrap();
    symlink("/nowhere", lab.path(format!("{run}/dangling"))).unwrap();
    fs::hard_link(lab.path(format!("{run}/large.bin")), lab.path(format!("{run}/same.bin"))).unwrap();
    run
}

fn backup(lab: &Lab) -> Value {
    let done =
        lab.cmd("run-sync").args(["backup", "--json", "--to", "store", "trial"]).run().code(0).stderr("");
    serde_json::from_str(&done.out()).unwrap()
}

#[test]
fn a_run_is_stored_as_it_is_and_unchanged_it_is_not_stored_again() {
    let lab = Lab::new();
    let run = ended_run(&lab);
    let before = fs::metadata(lab.path(format!("{run}/.run"))).unwrap().modified().unwrap();
    let first = backup(&lab);
    assert_eq!(
        (&first["result"], &first["number"], &first["verified"]),
        (&"stored".into(), &1.into(), &"length".into())
    );
    let set = StoredSet::new(&lab, "store/trial");
    set.check_newest_is(&lab.path(&run));
    assert_eq!(fs::metadata(lab.path(format!("{run}/.run"))).unwrap().modified().unwrap(), before);
    lab.cmd("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).cwd(&set.path).run().code(0).stderr("");

    // What is the same is there once.
    let keys = ["ckpt/step_2.pt", "ckpt/final.pt"].map(|path| StoredSet::key(&set.entry(path)));
    assert_eq!(keys[0], keys[1]);
    assert_eq!(
        (&set.entry("same.bin")["key"], &set.entry("same.bin")["same_file"]),
        (&"large.bin".into(), &"large.bin".into())
    );
    assert!(!set.path.join("same.bin").exists());

    let objects = set.objects();
    let again = backup(&lab);
    assert_eq!(
        (&again["result"], &again["number"], &again["sent_files"]),
        (&"unchanged".into(), &1.into(), &0.into())
    );
    assert_eq!(set.objects(), objects);
    let receipts = lab.json_lines(&format!("{run}/.run/backup.jsonl"));
    assert_eq!(receipts.len(), 1);
    for receipt in receipts {
        assert_eq!((&receipt["type"], &receipt["name"]), (&"backup".into(), &"trial".into()));
        assert_eq!((&receipt["manifest"], &receipt["files"]), (&first["manifest"], &first["files"]));
        assert_eq!((&receipt["checkpoints"], &receipt["last_step"]), (&3.into(), &2.into()));
    }
    assert!(!lab.path(format!("{run}/.run/backup.journal")).exists());
}

#[test]
fn what_has_grown_stays_under_its_key_and_what_was_overwritten_gets_another() {
    let lab = Lab::new();
    let run = ended_run(&lab);
    backup(&lab);
    let set = StoredSet::new(&lab, "store/trial");
    let first = set.objects();
    let large = [noise(3, 20 << 20), noise(4, 20 << 20)].concat();
    lab.write(&format!("{run}/log.txt"), "one\ntwo\n");
    lab.write(&format!("{run}/large.bin"), &large);
    lab.write(&format!("{run}/ckpt/step_1.pt"), torch_noise(5, 40_000));
    fs::remove_file(lab.path(format!("{run}/empty"))).unwrap();
    let second = backup(&lab);
    assert_eq!((&second["number"], &second["sent_files"]), (&2.into(), &3.into()));
    set.check_newest_is(&lab.path(&run));
    assert_eq!(set.check(), 2, "the first one is true of what its objects begin with");
    assert_eq!(set.entry("log.txt")["key"], Value::Null);
    assert_eq!(set.entry("large.bin")["key"], Value::Null);
    assert_eq!(set.entry("empty")["absent"], "gone");
    let writer = set.newest()["writer"].as_str().unwrap()[..8].to_owned();
    assert_eq!(set.entry("ckpt/step_1.pt")["key"], format!(".gen/000002-{writer}/ckpt/step_1.pt"));
    assert_eq!(set.objects().get("ckpt/step_1.pt"), first.get("ckpt/step_1.pt"));
}

#[test]
fn a_file_of_the_same_size_and_date_is_not_taken_for_unchanged() {
    let lab = Lab::new();
    let run = ended_run(&lab);
    let path = lab.path(format!("{run}/log.txt"));
    let long_ago = SystemTime::now() - Duration::from_secs(1000);
    let set_time = || File::open(&path).unwrap().set_modified(long_ago).unwrap();
    set_time();
    backup(&lab);
    fs::write(&path, "two\n").unwrap();
    set_time();
    backup(&lab);
    StoredSet::new(&lab, "store/trial").check_newest_is(&lab.path(&run));
}

#[test]
fn the_results_of_evaluations_belong_to_a_run_unless_they_are_left_out() {
    let lab = Lab::new();
    let run = ended_run(&lab);
    let eval = [
        "--steps",
        "2",
        "trial",
        "--",
        "sh",
        "-c",
        "echo acc >{out}/metrics.csv; echo 1 >>{out}/metrics.csv",
    ];
    lab.cmd("run-eval").args(eval).run().code(0);
    backup(&lab);
    let set = StoredSet::new(&lab, "store/trial");
    let of_evaluation = |path: &str| {
        let newest = set.newest();
        let entries = newest["entries"].as_array().unwrap();
        entries.iter().find(|entry| entry["evaluation"] == "eval" && entry["path"] == path).cloned()
    };
    let path = "step_2_eval/metrics.csv";
    let entry = of_evaluation(path).unwrap();
    let stored = fs::read(set.path.join(StoredSet::key(&entry))).unwrap();
    assert_eq!(stored, lab.bytes(&format!("eval_runs/trial_eval/{path}")));
    set.check_newest_is(&lab.path(&run));

    // Left out, what is stored of them stays, and is not taken for removed.
    fs::remove_file(lab.path(format!("eval_runs/trial_eval/{path}"))).unwrap();
    lab.write(&format!("{run}/log.txt"), "one\ntwo\n");
    lab.cmd("run-sync").args(["backup", "--no-eval", "--to", "store", "trial"]).run().code(0).stderr("");
    assert_eq!(of_evaluation(path).unwrap(), entry);
    let other = ["backup", "--no-eval", "--to", "other", "trial"];
    lab.cmd("run-sync").args(other).run().code(0).stderr("");
    assert!(!lab.path("other/trial/.eval").exists());
    backup(&lab);
    assert_eq!(of_evaluation(path).unwrap()["absent"], "gone");
}

#[test]
fn a_dry_run_says_what_would_be_sent_and_does_nothing() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["true"]);
    lab.write(&format!("{run}/weights.bin"), noise(1, 2048));
    let dry = |expected: &[&str]| {
        let done =
            lab.cmd("run-sync").args(["backup", "-n", "--to", "store", "trial"]).run().code(0).stderr("");
        let out = done.out();
        let lines: Vec<&str> = out.lines().filter(|line| !line.contains(".run/")).collect();
        assert_eq!(lines.len(), expected.len());
        for (line, expected) in lines.iter().zip(expected) {
            let (start, end) = expected.split_once("SIZE").unwrap_or((expected, ""));
            assert!(line.starts_with(start) && line.ends_with(end), "{line}");
        }
    };
    dry(&[
        "trial: would send weights.bin (2.0K)",
        "trial: would send 4 files (SIZE), less what is stored already",
    ]);
    assert!(!lab.path("store").exists() && !lab.path(format!("{run}/.run/backup.journal")).exists());
}

#[test]
fn a_store_that_cannot_be_is_refused_and_nothing_is_touched() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["true"]);
    lab.write("file", "");
    let names = |path: &str| fs::read_dir(lab.path(path)).unwrap().count();
    let counts = || [names("runs"), names(&run), names(&format!("{run}/.run"))];
    let before = counts();
    for (args, code) in [
        (vec!["--to", "runs/trial/store", "trial"], 2),
        (vec!["--to", "runs", "trial"], 2),
        (vec!["--to", "runs", "--as", "other", "trial"], 2),
        (vec!["--to", "file", "trial"], 5),
        (vec!["--to", "", "trial"], 2),
        (vec!["trial"], 2),
        (vec!["--to", "store", "--as", "a/b/c", "trial"], 2),
        (vec!["--to", "store", "--as", "x", "trial", "trial"], 2),
        (vec!["--to", "store", "nothing"], 3),
    ] {
        lab.cmd("run-sync").arg("backup").args(&args).run().code(code);
        assert_eq!(counts(), before, "{args:?}");
    }
}

#[test]
fn what_was_sent_is_read_back_when_asked() {
    let lab = Lab::new();
    ended_run(&lab);
    let args = ["backup", "--read-back", "--to", "store", "trial"];
    let done = lab.cmd("run-sync").args(args).run().code(0).stderr("");
    assert!(done.out().ends_with(" sent, read back\n"), "{}", done.out());
    assert_eq!(StoredSet::new(&lab, "store/trial").newest()["verified"], "read");
}
