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
        "for tool in run-status run-exec run-new run-report; $tool --generate-completions fish | source; end
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

#[test]
fn bash_completes_runs_and_options() {
    let lab = lab();
    let expected = [
        "run-status plain ",
        "run-status my\\ run ",
        "run-status it\\'s ",
        "run-status a:b ",
        "run-status 'my run' ",
        "run-status --status=completed ",
        "run-exec --additional-steps ",
    ];
    assert_eq!(typed(&lab, "bash", &LINES), expected);
    assert_eq!(
        typed(&lab, "bash", &["run-status tw", "run-status \\$"]),
        ["run-status two$'\\n'lines ", "run-status \\$\\(touch\\ bad\\) "]
    );
    assert!(!lab.path("bad").exists());
}

#[test]
fn zsh_completes_runs_and_options() {
    let lab = lab();
    let expected = [
        "run-status plain ",
        "run-status my\\ run ",
        "run-status it\\'s ",
        "run-status a:b ",
        "run-status 'my run' ",
        "run-status --status=completed ",
        "run-exec --additional-steps ",
    ];
    assert_eq!(typed(&lab, "zsh", &LINES), expected);
    assert_eq!(
        typed(&lab, "zsh", &["run-status tw", "run-status \\$"]),
        ["run-status two$'\\n'lines ", "run-status \\$\\(touch\\ bad\\) "]
    );
    assert!(!lab.path("bad").exists());
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
