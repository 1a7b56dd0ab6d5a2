//! Completions in the real shells: bash and zsh in a terminal, fish by `complete -C`.

use testkit::{Lab, checkout};

/// Types lines with Tab into a shell; returns the lines after that.
fn typed(lab: &Lab, shell: &str, lines: &[&str]) -> Vec<String> {
    let script = checkout().join("tests/src/shell.py");
    let done = lab.cmd("python3").arg(script).arg(shell).args(lines).env("TERM", "xterm").run().code(0);
    serde_json::from_str(&done.out()).unwrap()
}

/// Returns the completions of fish for a line, as fish would insert them.
fn fish(lab: &Lab, line: &str) -> Vec<String> {
    let script =
        "for tool in run-status run-exec run-new run-report run-eval; $tool --generate-completions fish | source; end
        complete -C --escape $argv[1]";
    let done = lab.cmd("fish").args(["--no-config", "-c", script, line]).run().code(0);
    done.out().lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

fn lab() -> Lab {
    let lab = Lab::new();
    for name in ["plain", "my run", "it's", "a:b", "two\nlines", "$(touch bad)"] {
        lab.write(&format!("runs/{name}/.run/meta.json"), "{}");
    }
    lab.write("runs/sweep/.batch/batch.json", "{}");
    lab.write("runs/sweep/lr-1/.run/meta.json", "{}");
    lab
}

const LINES: [&str; 7] = [
    "run-status pl",
    "run-status my",
    "run-status it",
    "run-status a:",
    "run-status 'my",
    "run-status --status=compl",
    "run-exec --additional",
];

/// What bash and zsh make of the lines.
const COMPLETED: [&str; 7] = [
    "run-status plain ",
    "run-status my\\ run ",
    "run-status it\\'s ",
    "run-status a:b ",
    "run-status 'my run' ",
    "run-status --status=completed ",
    "run-exec --additional-steps ",
];

fn check_typed(shell: &str) {
    let lab = lab();
    assert_eq!(typed(&lab, shell, &LINES), COMPLETED);
    assert_eq!(
        typed(&lab, shell, &["run-status tw", "run-status \\$"]),
        ["run-status two$'\\n'lines ", "run-status \\$\\(touch\\ bad\\) "]
    );
    assert!(!lab.path("bad").exists());
}

#[test]
fn bash_completes_runs_and_options() {
    check_typed("bash");
}

#[test]
fn zsh_completes_runs_and_options() {
    check_typed("zsh");
}

#[test]
fn fish_completes_runs_and_options() {
    let lab = lab();
    for (line, expected) in [
        ("run-status pl", "plain"),
        ("run-status my", "my\\ run"),
        ("run-status it", "it\\'s"),
        ("run-status a:", "a:b"),
        ("run-status tw", "two\\nlines"),
        ("run-status --status=compl", "--status=completed"),
        ("run-exec --additional", "--additional-steps"),
    ] {
        assert_eq!(fish(&lab, line), [expected], "{line}");
    }
    assert!(fish(&lab, "run-status \\$").contains(&"\\$\\(touch\\ bad\\)".to_owned()));
    assert!(!lab.path("bad").exists());
}

/// Executes a run `t` with a metric, settings, a tag and a checkpoint, and evaluates it.
fn train(lab: &Lab) {
    lab.write("c.yaml", "lr: 1\ntrain:\n  steps: 3\n");
    let train =
        "cd \"$1\"; mkdir ckpt; echo x >ckpt/7.bin; echo '{\"step\": 7, \"val/loss\": 1}' >metrics.jsonl";
    let new = [
        "-n",
        "t",
        "-s",
        "momentum=0.9",
        "--tag",
        "good",
        "--checkpoint",
        "ckpt/{step}.bin",
        "c.yaml",
        "--set-by-env",
    ];
    lab.cmd("run-new").args(new).args(["--", "sh", "-c", train, "sh", "{run}"]).run().code(0);
    lab.cmd("run-exec").args(["-q", "t"]).run().code(0);
    lab.cmd("run-eval").args(["--label", "mmlu", "t", "--", "echo", "{\"x\": 1}"]).run().code(0);
}

/// Lines with the beginnings of a metric, a label and a step, and the words that complete them.
const OF_RUNS: [(&str, &str); 3] = [
    ("run-report --best val/l", "val/loss"),
    ("run-eval t --label mm", "mmlu"),
    ("run-exec --resume t --from-step 7", "7"),
];

#[test]
fn every_shell_completes_metrics_labels_and_steps() {
    let lab = lab();
    train(&lab);
    let lines = OF_RUNS.map(|(line, _)| line);
    let completed = OF_RUNS.map(|(line, word)| format!("{} {word} ", line.rsplit_once(' ').unwrap().0));
    for shell in ["bash", "zsh"] {
        assert_eq!(typed(&lab, shell, &lines), completed, "{shell}");
    }
    for (line, word) in OF_RUNS {
        assert_eq!(fish(&lab, line), [word], "{line}");
    }
}

#[test]
fn values_are_those_of_the_runs_directory() {
    let lab = lab();
    train(&lab);
    lab.cmd("run-sync").args(["backup", "--to", "store", "t"]).run().code(0);
    let offered = |line: &[&str]| {
        let done = lab.cmd(line[0]).args(["--complete", "zsh"]).args(line).run().code(0).stderr("");
        done.out().trim_end_matches('\0').split('\0').map(str::to_owned).collect::<Vec<_>>()
    };
    let store = lab.path("store").display().to_string();
    for (line, expected) in [
        (&["run-status", "--columns", ""][..], &["words", "val/loss"][..]),
        (&["run-status", "--status=failed,co"], &["words", "--status=failed,completed"]),
        (&["run-report", "--best", "val/loss"], &["words", "val/loss", "val/loss:min", "val/loss:max"]),
        (
            &["run-report", "--group-by", "t.", "t", ""],
            &["words", "$(touch bad)", "a:b", "it's", "my run", "plain", "sweep", "two\nlines"],
        ),
        (&["run-report", "t", "--group-by", "momentum,"], &["words", "momentum,lr", "momentum,train.steps"]),
        (&["run-new", "--tag", ""], &["words", "good"]),
        (&["run-new", "c.yaml", "-s", ""], &["words", "lr=", "train.steps="]),
        (&["run-eval", "t", "--label", ""], &["words", "mmlu"]),
        (&["run-eval", "t", "--steps", "7,n"], &["words", "7,new", "7,final"]),
        (
            &["run-exec", "--resume", "t", "--from-step", ""],
            &["words", "latest", "final", "best", "last", "7"],
        ),
        (&["run-sync", "list", "--from", ""], &["words", &store]),
        (&["run-sync", "clean", "--keep", "latest,"], &["words", "latest,final", "latest,best:val/loss"]),
        (&["run-status", "sweep/"], &["words", "sweep/lr-1"]),
        (&["run-status", "lr-"], &["words", "lr-1"]),
        (&["run-status", "runs/"], &["directories", "", "runs/"]),
        (&["run-new", "--input", "data=c"], &["files", "data=", "c"]),
        (&["run-exec", "t", "--", "pyt"], &["command"]),
        (&["run-stop", "-d", "runs/sweep", ""], &["words", "lr-1"]),
    ] {
        assert_eq!(offered(line), expected, "{line:?}");
    }
}
