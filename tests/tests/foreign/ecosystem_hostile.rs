//! Other things instead of the files of trackers and trainers: no tool waits or reads without end, and the other runs
//! are listed.

use testkit::Lab;
use testkit::misplaced::{Put, within_limits};
use testkit::trackers::{DATASTORE, ECOSYSTEM, RUNS, ecosystem, listed};

#[test]
fn all_lie_below_one_directory_beside_runs_of_ours() {
    let lab = Lab::new();
    ecosystem(&lab, "all");
    lab.cmd("run-new").args(["-n", "ours", "-d", "all", "--", "true"]).run().code(0);
    lab.cmd("run-exec").args(["-q", "all/ours"]).run().code(0);
    let runs = listed(&lab, "all");
    let mut expected: Vec<&str> = RUNS.iter().copied().chain(["ours"]).collect();
    expected.sort_unstable();
    assert_eq!(runs.keys().collect::<Vec<_>>(), expected);
    let report = lab.cmd("run-report").args(["-d", "all", "--metrics"]).run().code(0).stderr("").out();
    for run in ["0a", "version_0", "run-20260129_120000-a", "train", "12-00-00"] {
        let has_rows = report
            .lines()
            .any(|line| line.starts_with(&format!("{run},")) || line.contains(&format!("/{run},")));
        assert_eq!(has_rows, run != "12-00-00", "{run}: {report}");
    }
    let page = lab.cmd("run-report").args(["-d", "all", "--html", "page.html"]).run();
    page.code(0).stderr("");
    for run in RUNS {
        let details = lab.cmd("run-status").arg(format!("all/{run}")).run().code(0).stderr("").out();
        assert!(details.contains("made by:"), "{details}");
    }
}

#[test]
fn nothing_in_the_place_of_a_file_hides_the_other_runs() {
    let lab = Lab::new();
    ecosystem(&lab, "template");
    lab.write("template/victims/other", "theirs\n");
    let files =
        ECOSYSTEM.iter().map(|(name, _, is_document)| (*name, *is_document)).chain([(DATASTORE.1, true)]);
    for (place, is_document) in files {
        for put in [Put::Dangling, Put::Pipe, Put::Directory, Put::Zero, Put::Endless] {
            if put == Put::Endless && !is_document {
                continue; // it is read to its end
            }
            lab.cmd("rm").args(["-rf", "case"]).run().code(0);
            lab.cmd("cp").args(["-a", "template", "case"]).run().code(0);
            put.at(&lab.path("case"), place);
            let run = |words: &[&str]| within_limits(&lab, put, place, words);
            // The state of an experiment is beside its runs.
            let of = RUNS.iter().find(|run| place.starts_with(*run)).unwrap_or(&"ray/e/failed");
            let out = run(&["run-status", "-d", "case", "-a", "--json"]);
            assert!(out.lines().count() >= RUNS.len() - 1, "{put:?} at {place}: {out}");
            run(&["run-status", &format!("case/{of}")]);
            if !is_document {
                run(&["run-status", "--log", &format!("case/{of}")]);
                run(&["run-report", "--metrics", &format!("case/{of}")]);
            }
        }
    }
}
