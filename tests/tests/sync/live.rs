//! Backups of running runs: logs as they are at one moment, checkpoints that are complete.

use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::Write;
use testkit::stores::{Act, BUCKET, Scripted, Server};
use testkit::sync::{StoredSet, noise, torch_noise};
use testkit::{Done, Lab, wait_for};

fn backup(lab: &Lab) -> Done {
    lab.cmd("run-sync").args(["backup", "--json", "--to", "store", "trial"]).run()
}

fn report(done: &Done) -> Value {
    serde_json::from_str(&done.out()).unwrap()
}

/// Starts a run that does what a script says until it is stopped.
fn live(lab: &Lab, script: &str) -> String {
    let run = lab.new_run("trial", &["sh", "-c", script]);
    lab.cmd("run-exec").args(["-q", "--detach", "trial"]).run().code(0);
    lab.await_child(&run);
    run
}

#[test]
fn files_that_grow_are_stored_as_prefixes_and_that_is_said() {
    let lab = Lab::new();
    let run = live(
        &lab,
        "i=0; while [ ! -e enough ]; do i=$((i+1)); echo $i $i $i; echo $i >>$RUN_DIR/other.txt; done",
    );
    lab.write(&format!("{run}/fixed.bin"), noise(1, 20 << 20));
    let set = StoredSet::new(&lab, "store/trial");
    for number in 1..=5 {
        let done = backup(&lab).code(0);
        let said = done.err();
        let report = report(&done);
        assert_eq!((&report["result"], &report["number"]), (&"stored".into(), &number.into()), "{said}");
        if report["prefixes"].as_array().is_some_and(|all| !all.is_empty()) {
            assert!(said.contains("stored as at one moment"), "{said}");
        }
        assert_eq!(report["left"], Value::Array(Vec::new()), "{said}");
        assert_eq!(set.check(), number);
        // A prefix ends where the file did: in whole bytes of what the program wrote.
        let entry = set.entry("other.txt");
        let size = usize::try_from(entry["size"].as_u64().unwrap()).unwrap();
        assert!(lab.bytes(&format!("{run}/other.txt")).len() >= size);
    }
    let again: Vec<String> =
        set.objects().into_keys().filter(|key| key.starts_with(".gen/") && !key.contains("/.run/")).collect();
    assert_eq!(again, Vec::<String>::new());
    lab.write("enough", "");
    lab.await_status(&run, "completed", |status| status["status"] == "completed");
    lab.await_nothing_left(); // which still removes a file
    backup(&lab).code(0).stderr("");
    set.check_newest_is(&lab.path(&run));
}

#[test]
fn a_checkpoint_that_is_not_complete_is_left_until_it_is() {
    let lab = Lab::new();
    let run = live(&lab, "while [ ! -e enough ]; do sleep 0.05; done");
    let whole = torch_noise(2, 100_000);
    lab.write(&format!("{run}/step_1.pt"), torch_noise(1, 100_000));
    lab.write(&format!("{run}/step_2.pt"), &whole[..50_000]);
    let done = backup(&lab).code(0);
    let first = report(&done);
    assert_eq!(first["left"], Value::from(vec!["step_2.pt"]), "{}", done.err());
    assert!(
        done.err().contains("left for the next backup, for it changes or is not complete: 'step_2.pt'"),
        "{}",
        done.err()
    );
    let set = StoredSet::new(&lab, "store/trial");
    assert_eq!(set.entry("step_2.pt"), Value::Null);
    assert_eq!(set.entry("step_1.pt")["type"], "file");
    lab.write(&format!("{run}/step_2.pt"), &whole);
    let second = report(&backup(&lab).code(0));
    assert_eq!(second["left"], Value::Array(Vec::new()));
    assert_eq!(set.entry("step_2.pt")["size"], whole.len());

    // Overwritten in place, and amid that: what was stored stands.
    let other = torch_noise(3, 100_000);
    lab.write(&format!("{run}/step_2.pt"), &other[..60_000]);
    let third = report(&backup(&lab).code(0));
    assert_eq!(third["left"], Value::from(vec!["step_2.pt"]));
    assert_eq!(
        (&set.entry("step_2.pt")["size"], &set.entry("step_2.pt")["absent"]),
        (&whole.len().into(), &Value::Null)
    );
    set.check();
    lab.write("enough", "");
}

#[test]
fn files_that_go_together_are_stored_of_one_moment() {
    let lab = Lab::new();
    // One after the other is replaced, all the time; each says of which step it is.
    let script = "i=0; while [ ! -e enough ]; do i=$((i+1)); for f in model optimizer; do \
                  echo $i >$RUN_DIR/.$f; mv $RUN_DIR/.$f $RUN_DIR/$f; done; [ $((i % 5)) != 0 ] || sleep 0.3; done";
    let run = live(&lab, script);
    wait_for("both files", || {
        ["model", "optimizer"].iter().all(|name| lab.path(format!("{run}/{name}")).exists())
    });
    lab.write(&format!("{run}/fixed.bin"), noise(1, 17 << 20));
    let set = StoredSet::new(&lab, "store/trial");
    let stored = |name: &str| {
        let text = fs::read_to_string(set.path.join(StoredSet::key(&set.entry(name)))).unwrap();
        text.trim().parse::<u64>().unwrap()
    };
    for _ in 0..5 {
        backup(&lab).code(0);
        set.check();
        let (model, optimizer) = (stored("model"), stored("optimizer"));
        assert!(model == optimizer || model == optimizer + 1, "{model} beside {optimizer}");
    }
    lab.write("enough", "");
}

#[test]
fn a_file_that_is_cut_or_replaced_while_it_is_read_is_never_stored_torn() {
    let lab = Lab::new();
    let run = live(&lab, "while [ ! -e enough ]; do sleep 0.05; done");
    let path = lab.path(format!("{run}/state.bin"));
    let one = noise(1, 3 << 20);
    let other = noise(2, 3 << 20);
    fs::write(&path, &one).unwrap();
    let set = StoredSet::new(&lab, "store/trial");
    let stop = lab.path("enough");
    let writer = std::thread::spawn({
        let (path, stop, one, other) = (path.clone(), stop.clone(), one.clone(), other.clone());
        move || {
            while !stop.exists() {
                for content in [&other, &one] {
                    let mut file = OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
                    for chunk in content.chunks(64 << 10) {
                        file.write_all(chunk).unwrap();
                    }
                }
            }
        }
    });
    for _ in 0..10 {
        backup(&lab).code(0);
        set.check();
        let entry = set.entry("state.bin");
        if let Some(size) = entry["size"].as_u64() {
            let bytes = fs::read(set.path.join(StoredSet::key(&entry))).unwrap();
            let bytes = &bytes[..usize::try_from(size).unwrap()];
            assert!(
                one.starts_with(bytes) || other.starts_with(bytes),
                "a mixture of {size} bytes is stored"
            );
        }
    }
    fs::write(stop, "").unwrap();
    writer.join().unwrap();
}

#[test]
fn pipes_and_unreadable_files_are_said_and_nothing_waits_for_them() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["true"]);
    lab.cmd("mkfifo").arg(lab.path(format!("{run}/pipe"))).run().code(0);
    lab.write(&format!("{run}/secret"), "x");
    lab.write(&format!("{run}/locked/file"), "y");
    let done = backup(&lab).code(0);
    assert_eq!(done.err(), "run-sync: 'trial': not stored, for it is no file: 'pipe'\n");
    fs::remove_file(lab.path(format!("{run}/pipe"))).unwrap();
    lab.write(&format!("{run}/new"), "z");
    lab.set_mode(&format!("{run}/secret"), 0);
    lab.set_mode(&format!("{run}/locked"), 0);
    lab.cmd("chmod").args(["-R", "a+rwX", "runs/trial/.run", "store"]).run().code(0);
    lab.cmd("chown").args(["-R", "65534", "runs", "store"]).run();
    let set = StoredSet::new(&lab, "store/trial");
    let receipts = lab.json_lines(&format!("{run}/.run/backup.jsonl")).len();
    let done =
        lab.cmd_by_somebody("run-sync").args(["backup", "--json", "--to", "store", "trial"]).run().code(1);
    let mut said: Vec<String> = done.err().lines().map(str::to_owned).collect();
    said.sort();
    let expected =
        ["locked", "secret"].map(|name| format!("run-sync: 'trial': cannot read {name}: Permission denied"));
    assert_eq!(said, expected);
    assert_eq!(report(&done)["result"], "incomplete");
    assert_eq!(
        lab.json_lines(&format!("{run}/.run/backup.jsonl")).len(),
        receipts,
        "nothing follows from it"
    );
    for path in ["secret", "locked/file", "new"] {
        assert_eq!(set.entry(path)["absent"], Value::Null, "{path}");
        assert_eq!(set.entry(path)["type"], "file", "{path}");
    }
    // It is the same writer that goes on.
    lab.set_mode(&format!("{run}/secret"), 0o600);
    lab.set_mode(&format!("{run}/locked"), 0o755);
    lab.cmd_by_somebody("run-sync").args(["backup", "--to", "store", "trial"]).run().code(0).stderr("");
    set.check_newest_is(&lab.path(&run));
    assert_eq!(fs::read_dir(set.path.join(".backup/writers")).unwrap().count(), 1);
}

#[test]
fn a_file_that_no_store_takes_is_named_at_once() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["true"]);
    let file = fs::File::create(lab.path(format!("{run}/sparse"))).unwrap();
    if file.set_len(9 << 40).is_err() {
        return; // nor does this file system have such a file
    }
    let done = lab.cmd("run-sync").args(["backup", "--to", "store", "trial"]).run().code(1);
    done.stderr("run-sync: 'trial': cannot read sparse: it has more than 8 TiB, which no store takes\n");
    assert_eq!(StoredSet::new(&lab, "store/trial").check(), 1);
}

#[test]
fn a_run_that_cannot_be_written_to_is_backed_up_without_a_receipt() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["true"]);
    lab.write(&format!("{run}/file"), "x");
    lab.set_mode(&format!("{run}/.run"), 0o555);
    fs::create_dir(lab.path("store")).unwrap();
    lab.set_mode("store", 0o777);
    let done = lab.cmd_by_somebody("run-sync").args(["backup", "--to", "store", "trial"]).run().code(0);
    let expected = "run-sync: cannot write 'runs/trial/.run/backup.jsonl': Permission denied; there will be no receipt\n";
    assert_eq!(done.err(), expected);
    StoredSet::new(&lab, "store/trial").check_newest_is(&lab.path(&run));
    assert!(!lab.path(format!("{run}/.run/backup.jsonl")).exists());
}

#[test]
fn a_run_that_is_replaced_during_its_backup_gets_no_receipt() {
    let lab = Lab::new();
    let server = Scripted::new();
    let run = lab.new_run("trial", &["true"]);
    lab.write(&format!("{run}/file"), "old");
    let replaced = lab.path("replaced");
    server.follow(move |request| {
        if request.key.ends_with("trial/file") && request.method == "PUT" {
            wait_for("another run", || replaced.exists());
        }
        Act::Serve
    });
    let url = format!("s3://{BUCKET}/p");
    let sync = || server.reached_by(lab.cmd("run-sync").args(["backup", "--to", &url, "trial"]));
    let running = sync().spawn();
    wait_for("the request", || server.requests().iter().any(|request| request.key.ends_with("trial/file")));
    fs::remove_dir_all(lab.path(&run)).unwrap();
    lab.new_run("trial", &["true"]);
    lab.write("replaced", "");
    let done = running.wait().code(1);
    assert_eq!(
        done.err(),
        "run-sync: 'runs/trial' was removed or replaced during its backup: there is no receipt\n"
    );
    assert!(!lab.path(format!("{run}/.run/backup.jsonl")).exists());
    let done = sync().run().code(1);
    assert!(done.err().contains("another run has this name"), "{}", done.err());
}
