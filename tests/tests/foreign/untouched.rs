//! Nothing is ever written into a run of another system: after every tool has read it, all is as it was.

use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use testkit::Lab;
use testkit::foreign::{
    age, connect4, connect4_status, experiments, rl_evaluations, rl_practice, short_rows, stealthrl,
};
use testkit::process::getuid;
use testkit::trackers::{RUNS, ecosystem};

/// What a file is: its kind and mode, length, times, links and content.
type Seen = (u32, u64, i64, i64, u64, Vec<u8>);

/// Returns what is below a directory, links not followed.
fn tree(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let is = fs::symlink_metadata(&path).unwrap();
        let content = if is.is_file() {
            fs::read(&path).unwrap()
        } else if is.is_symlink() {
            fs::read_link(&path).unwrap().to_string_lossy().into_owned().into_bytes()
        } else {
            Vec::new()
        };
        if is.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        // The time of a change of the inode tells of links that came and went, too.
        found.insert(
            path,
            (
                is.mode(),
                is.len(),
                is.mtime_nsec() + is.mtime() * 1_000_000_000,
                is.ctime_nsec(),
                is.nlink(),
                content,
            ),
        );
    }
    found
}

/// Makes runs of all four systems below `all`; returns their paths.
fn runs(lab: &Lab) -> Vec<String> {
    stealthrl(lab, "all/outputs/stealth", &json!({}), &short_rows(3));
    experiments(lab, "all/experiments/batch");
    connect4(lab, "all/runs/c4", &connect4_status("completed", 60), None);
    rl_practice(lab, "all/fs", "run_2025-08-19_12-34-56", &["10", "20"], 9);
    rl_evaluations(lab, "all/fs", "run_2025-08-19_12-34-56", "gsm8k", true);
    age(lab, "all", 600);
    let paths =
        ["outputs/stealth", "experiments/batch/easy", "runs/c4", "fs/training_runs/run_2025-08-19_12-34-56"];
    paths.map(|path| format!("all/{path}")).to_vec()
}

#[test]
fn every_tool_leaves_everything_as_it_was() {
    let lab = Lab::new();
    let runs = runs(&lab);
    let before = tree(&lab.path("all"));
    let list: Vec<&str> = runs.iter().map(String::as_str).collect();
    let with = |tool: &str, words: &[&str]| lab.cmd(tool).args(words).args(&list).run();
    for words in [&["-a"][..], &["--json"], &["--full"]] {
        with("run-status", words).code(0);
    }
    lab.cmd("run-status").args(["-d", "all", "-a"]).run().code(0);
    for run in &list {
        lab.cmd("run-status").arg(run).run().code(0);
        lab.cmd("run-status").args(["--log", run]).run();
    }
    for words in [
        &[][..],
        &["--metrics"],
        &["--evals"],
        &["--plot", "loss"],
        &["--html", "p.html"],
        &["--export", "e.json"],
        &["--cost"],
        &["--scrape", "auto"],
    ] {
        with("run-report", words);
    }
    with("run-status", &["--wait", "--timeout", "1ms"]);
    lab.cmd("run-eval")
        .args(["--eval-dir", "evals", "--label", "x", "--steps", "all"])
        .args(&list[1..])
        .args(["--", "sh", "-c", "echo '{\"acc\": 0.5}'"])
        .run()
        .code(0);
    fs::create_dir(lab.path("store")).unwrap();
    for words in [&["backup", "--to", "store"], &["backup", "--to", "store"]] {
        with("run-sync", words).code(0);
    }
    lab.cmd("run-sync").args(["verify", "--from", "store", "--all"]).run().code(0);
    for run in &list {
        lab.cmd("run-sync").args(["diff", "--from", "store", run]).run().code(0);
    }
    for words in [&["clean", "--from", "store"][..], &["backup", "--to", "store", "--cleanup"]] {
        let refused = with("run-sync", words);
        assert!(
            refused.code != 0 && refused.err().contains("which run-tools only reads"),
            "{}",
            refused.err()
        );
    }
    with("run-exec", &[]).code(3);
    with("run-exec", &["--resume"]);
    with("run-stop", &[]);
    let after = tree(&lab.path("all"));
    for (path, seen) in &after {
        assert_eq!(before.get(path), Some(seen), "{}", path.display());
    }
    assert_eq!(before.len(), after.len());
    // What was evaluated is found, and what was backed up comes back.
    let evaluated =
        lab.cmd("run-report").args(["-d", "all", "--evals", "--eval-dir", "evals"]).run().code(0).out();
    assert!(evaluated.lines().filter(|line| line.contains(",x,")).count() >= 4, "{evaluated}");
    lab.cmd("run-sync").args(["restore", "--from", "store", "--into", "back", "stealth"]).run().code(0);
    assert_eq!(lab.bytes("back/stealth/metrics.jsonl"), lab.bytes("all/outputs/stealth/metrics.jsonl"));
    let back = lab.cmd("run-status").args(["-d", "back", "-a", "--json"]).run().code(0).json_lines();
    assert_eq!((&back[0]["status"], &back[0]["layout"]), (&json!("completed"), &json!("StealthRL")));
}

#[test]
fn every_tool_leaves_what_trackers_and_trainers_wrote_as_it_was() {
    let lab = Lab::new();
    ecosystem(&lab, "all");
    age(&lab, "all", 600);
    let before = tree(&lab.path("all"));
    let runs = RUNS.map(|run| format!("all/{run}"));
    let with = |tool: &str, words: &[&str]| lab.cmd(tool).args(words).args(&runs).run();
    with("run-status", &["--json"]).code(0);
    for run in &runs {
        lab.cmd("run-status").arg(run).run().code(0);
        lab.cmd("run-status").args(["--log", run]).run();
    }
    for words in [&[][..], &["--metrics"], &["--evals"], &["--html", "p.html"], &["--export", "e.json"]] {
        with("run-report", words);
    }
    fs::create_dir(lab.path("store")).unwrap();
    with("run-sync", &["backup", "--to", "store"]).code(0);
    with("run-eval", &["--eval-dir", "evals", "--", "true"]);
    with("run-exec", &[]).code(3);
    with("run-stop", &[]);
    let after = tree(&lab.path("all"));
    for (path, seen) in &after {
        assert_eq!(before.get(path), Some(seen), "{}", path.display());
    }
    assert_eq!(before.len(), after.len());
}

#[test]
fn a_tree_that_cannot_be_written_is_read_all_the_same() {
    if !getuid().is_root() {
        return; // as the owner, who may write
    }
    let lab = Lab::new();
    runs(&lab);
    lab.set_mode("", 0o755);
    for path in tree(&lab.path("all")).into_keys().filter(|path| path.is_dir()) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
    }
    let listed = lab.cmd_by_somebody("run-status").args(["-d", "all", "-a", "--json"]).run().code(0);
    assert_eq!((listed.json_lines().len(), listed.err()), (7, String::new()));
}
