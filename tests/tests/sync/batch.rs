//! Backups of batches: the runs, the batch's own files, and what several runs have in common.

use std::fs;
use std::os::unix::fs::symlink;
use testkit::Lab;
use testkit::sync::{StoredSet, noise, torch_noise};

fn batch(lab: &Lab) {
    lab.cmd("run-new").args(["--batch=sweep", "--sweep", "lr=1,2", "--", "true", "{set}"]).run().code(0);
    lab.cmd("run-exec").args(["-q", "sweep"]).run().code(0);
}

fn runs(lab: &Lab) -> Vec<String> {
    let found = lab.cmd("run-status").args(["-a", "--json"]).run().code(0).out();
    let names = found.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut names: Vec<String> =
        names.map(|run| run["path"].as_str().unwrap().rsplit_once('/').unwrap().1.to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_batch_is_its_runs_and_its_own_files() {
    let lab = Lab::new();
    batch(&lab);
    let names = runs(&lab);
    for name in &names {
        lab.write(&format!("runs/sweep/{name}/base.bin"), noise(1, 20 << 20));
        lab.write(&format!("runs/sweep/{name}/vocabulary.bin"), noise(2, 2 << 20));
        lab.write(&format!("runs/sweep/{name}/small.bin"), noise(3, 1000));
    }
    let done = lab.cmd("run-sync").args(["backup", "--to", "store", "sweep"]).run().code(0).stderr("");
    let lines: Vec<String> =
        done.out().lines().map(|line| line.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(lines, [format!("sweep/{}", names[0]), format!("sweep/{}", names[1]), "sweep".to_owned()]);
    let sets: Vec<StoredSet> =
        names.iter().map(|name| StoredSet::new(&lab, &format!("store/sweep/{name}"))).collect();
    for (set, name) in sets.iter().zip(&names) {
        set.check_newest_is(&lab.path(format!("runs/sweep/{name}")));
        assert_eq!(set.newest()["batch"], "sweep");
        lab.cmd("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).cwd(&set.path).run().code(0);
    }
    // What is large and the same is there once.
    for file in ["base.bin", "vocabulary.bin"] {
        assert_eq!(StoredSet::key(&sets[1].entry(file)), format!("../{}/{file}", names[0]));
    }
    assert_eq!(StoredSet::key(&sets[1].entry("small.bin")), "small.bin");
    let own = StoredSet::new(&lab, "store/sweep");
    let manifest = own.newest();
    assert_eq!(manifest["kind"], "batch");
    let entries = manifest["entries"].as_array().unwrap();
    let paths: Vec<&str> = entries.iter().filter_map(|entry| entry["path"].as_str()).collect();
    let expected =
        [".batch", ".batch/batch.json", ".batch/lock", "experiment_summary.json", "master_log.txt"];
    assert!(expected.iter().all(|path| paths.contains(path)), "{paths:?}");
    assert!(!paths.iter().any(|path| names.iter().any(|name| path.starts_with(name.as_str()))), "{paths:?}");

    // The same in another process, which reads what the other sets have.
    lab.cmd("run-new")
        .args(["--batch=sweep", "--exist-ok", "--sweep", "lr=3", "--", "true", "{set}"])
        .run()
        .code(0);
    let third = runs(&lab).into_iter().find(|name| !names.contains(name)).unwrap();
    lab.write(&format!("runs/sweep/{third}/base.bin"), noise(1, 20 << 20));
    lab.cmd("run-sync").args(["backup", "--to", "store", &third]).run().code(0).stderr("");
    let key = StoredSet::key(&StoredSet::new(&lab, &format!("store/sweep/{third}")).entry("base.bin"));
    assert_eq!(key, format!("../{}/base.bin", names[0]));

    // An object of another set that is gone from the store is not relied on.
    fs::remove_file(lab.path(format!("store/sweep/{}/base.bin", names[0]))).unwrap();
    fs::write(lab.path(format!("runs/sweep/{third}/again.bin")), noise(1, 20 << 20)).unwrap();
    fs::remove_file(lab.path(format!("runs/sweep/{third}/base.bin"))).unwrap();
    lab.cmd("run-sync").args(["backup", "--to", "store", &third]).run().code(0).stderr("");
    let key = StoredSet::key(&StoredSet::new(&lab, &format!("store/sweep/{third}")).entry("again.bin"));
    assert_eq!(key, "again.bin");
}

#[test]
fn all_runs_are_backed_up_once_however_links_lead_to_them() {
    let lab = Lab::new();
    batch(&lab);
    lab.new_run("single", &["true"]);
    symlink("single", lab.path("runs/latest")).unwrap();
    fs::rename(lab.path("runs"), lab.path("elsewhere")).unwrap();
    symlink("elsewhere", lab.path("runs")).unwrap();
    let done = lab.cmd("run-sync").args(["backup", "--to", "store", "--all"]).run().code(0).stderr("");
    let out = done.out();
    let mut lines: Vec<&str> = out.lines().map(|line| line.split(':').next().unwrap()).collect();
    lines.sort_unstable();
    let names = runs(&lab);
    let mut expected = vec!["single".to_owned(), "sweep".to_owned()];
    expected.extend(names.iter().filter(|name| *name != "single").map(|name| format!("sweep/{name}")));
    expected.sort_unstable();
    assert_eq!(lines, expected);
    let done =
        lab.cmd("run-sync").args(["backup", "--to", "store", "latest", "single"]).run().code(0).stderr("");
    assert_eq!(done.out().lines().count(), 1);
    assert!(done.out().starts_with("single: backup 1 is up to date"), "{}", done.out());
}

#[test]
fn all_runs_are_done_though_nobody_reads_what_is_said_of_them() {
    let lab = Lab::new();
    for name in ["a", "b", "c"] {
        let run = lab.new_run(name, &["true"]);
        lab.cmd("run-exec").args(["-q", name]).run().code(0);
        for step in [10, 20] {
            lab.write(&format!("{run}/step_{step}.pt"), torch_noise(step, 2000));
        }
    }
    let unread = |args: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        lab.cmd("run-sync").args(args).stdout_to(writer).run()
    };
    unread(&["backup", "--to", "store", "--all"]).code(0).stderr("");
    for name in ["a", "b", "c"] {
        assert!(lab.path(format!("store/{name}/step_20.pt")).exists(), "{name}");
    }
    unread(&["clean", "--all"]).code(0).stderr("");
    for name in ["a", "b", "c"] {
        assert!(!lab.path(format!("runs/{name}/step_10.pt")).exists(), "{name}");
    }
    unread(&["restore", "--from", "store", "--into", "back", "--json", "--all"]).code(0).stderr("");
    fs::write(lab.path("store/c/step_20.pt"), "damaged").unwrap();
    unread(&["verify", "--from", "store", "--all"]).code(1).stderr_has("'step_20.pt' of 'c' is damaged");
    for name in ["a", "b", "c"] {
        assert!(lab.path(format!("back/{name}/step_10.pt")).exists(), "{name}");
    }
}
