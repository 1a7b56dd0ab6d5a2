//! Command lines with a mistake that many people make: a line says how to write it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use testkit::Lab;

#[test]
fn run_new_without_anything_prints_its_usage() {
    let lab = Lab::new();
    let done = lab.cmd("run-new").run().code(2).stdout("");
    assert!(done.err().starts_with("Usage: run-new [OPTIONS]"), "{}", done.err());
    done.stderr_has("run-new base.yaml -- python train.py {config} | run-exec -\n\nsee 'run-new --help'\n");
    assert!(!lab.path("runs").exists());
    lab.cmd("run-new").args(["--note", "bare"]).run().code(0);
}

/// Expects a message of a tool, and nothing else on stderr.
fn says(lab: &Lab, line: &str, code: i32, message: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let done = lab.cmd(words[0]).args(&words[1..]).run().code(code);
    let expected: String = message.lines().map(|message| format!("{}: {message}\n", words[0])).collect();
    assert_eq!(done.err(), expected, "{line}");
}

#[test]
fn a_command_without_dashes_is_met() {
    let lab = Lab::new();
    lab.write("cfg.yaml", "seed: 1\n");
    lab.write("fit.py", "");
    lab.new_run("r", &["true"]);
    let fix =
        |tool: &str, rest: &str| format!("'{tool}' is a program\nput -- before the command: -- {tool}{rest}");
    says(&lab, "run-new python3 fit.py", 2, &fix("python3", " fit.py"));
    says(&lab, "run-new cfg.yaml env python3 fit.py", 2, &fix("env", " python3 fit.py"));
    says(&lab, "run-exec r python3 fit.py", 125, &fix("python3", " fit.py"));
    says(&lab, "run-eval r python3 fit.py", 2, &fix("python3", " fit.py"));
    let unknown = "unknown option '--lr'; put -- before the command: -- python3 fit.py --lr 3";
    for (line, tool) in [
        ("run-new python3 fit.py --lr 3", "run-new"),
        ("run-new cfg.yaml python3 fit.py --lr 3", "run-new"),
        ("run-exec r python3 fit.py --lr 3", "run-exec"),
        ("run-eval r python3 fit.py --lr 3", "run-eval"),
    ] {
        let code = if tool == "run-exec" { 125 } else { 2 };
        says(&lab, line, code, &format!("{unknown}\nsee '{tool} --help'"));
    }
    // So it is where the program is not installed; Debian has python3 alone.
    fs::create_dir(lab.path("bin")).unwrap();
    std::os::unix::fs::symlink("/usr/bin/python3", lab.path("bin/python3")).unwrap();
    for (line, said) in [
        (
            "run-new python fit.py",
            "'python' is a program, which is not installed here\nput -- before the command: -- python3 fit.py",
        ),
        (
            "run-new python fit.py --lr 3",
            "unknown option '--lr'; put -- before the command: -- python3 fit.py --lr 3\nsee 'run-new --help'",
        ),
        (
            "run-exec r python fit.py",
            "'python' is a program, which is not installed here\nput -- before the command: -- python3 fit.py",
        ),
        (
            "run-eval r torchrun fit.py",
            "'torchrun' is a program, which is not installed here\nput -- before the command: -- torchrun fit.py",
        ),
        (
            "run-new python3.99 fit.py",
            "'python3.99' is a program, which is not installed here\nput -- before the command: -- python3.99 fit.py",
        ),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let tool = testkit::bin().join(words[0]);
        let code = if words[0] == "run-exec" { 125 } else { 2 };
        let lines: String = said.lines().map(|line| format!("{}: {line}\n", words[0])).collect();
        lab.cmd(tool).args(&words[1..]).env("PATH", lab.path("bin")).run().code(code).stderr(&lines);
    }
    assert_eq!(lab.status("r")["status"], "created");
    // A run may have the name of a program, and so may a config.
    lab.new_run("true", &["true"]);
    lab.cmd("run-exec").args(["r", "true"]).run().code(0);
    lab.write("env", "");
    lab.cmd("run-new").args(["-n", "e", "env"]).run().code(0).stderr("");
}

#[test]
fn a_value_that_needs_an_equals_sign_is_met() {
    let lab = Lab::new();
    lab.write("cfg.yaml", "seed: 1\n");
    lab.new_run("r", &["true"]);
    let apart = |value: &str, option: &str| {
        format!("'{value}' is neither a run nor a file\nwrite {option}={value} for a value of {option}")
    };
    says(&lab, "run-status --watch 10", 2, &apart("10", "--watch"));
    says(&lab, "run-status --log stderr r", 2, &apart("stderr", "--log"));
    says(&lab, "run-sync backup --to s --cleanup all r", 2, &apart("all", "--cleanup"));
    says(&lab, "run-new -b mybatch", 2, &apart("mybatch", "-b"));
    says(&lab, "run-new --batch mybatch cfg.yaml", 2, &apart("mybatch", "--batch"));
    let bytes = OsStr::from_bytes(b"c\xff.yaml");
    let why = "run-new: cannot use 'c\u{fffd}.yaml': its path is not UTF-8\n";
    lab.cmd("run-new").arg("-b").arg(bytes).run().code(2).stderr(why);
    let joined = "unknown option '-f'; write -b=foo for a value of -b\nsee 'run-new --help'";
    says(&lab, "run-new -bfoo cfg.yaml", 2, joined);
    lab.cmd("run-new").args(["-b", "cfg.yaml"]).run().code(0).stderr("");
    lab.new_run("10", &["true"]);
    lab.cmd("run-exec").arg("10").run().code(0);
    lab.cmd("timeout").args(["10", "run-status", "--watch", "10"]).run().code(0);
}

#[test]
fn an_option_of_another_name_is_met() {
    let lab = Lab::new();
    lab.new_run("r", &["true"]);
    for (line, code, message) in [
        ("run-exec --detatch r", 125, "unknown option '--detatch'; did you mean '--detach'?"),
        ("run-stop --reason lunch r", 2, "unknown option '--reason'; did you mean '--why'?"),
        ("run-exec --parallel 2 r", 125, "unknown option '--parallel'; did you mean '--jobs'?"),
        ("run-status --zzz", 2, "unknown option '--zzz'"),
        (
            "run-new --total-steps -5",
            2,
            "invalid value '-5' for '--total-steps <N>': must be a whole number, 0 or more",
        ),
        ("run-exec --retries -1 r", 125, "invalid value '-1' for '--retries'"),
    ] {
        let tool = line.split(' ').next().unwrap();
        says(&lab, line, code, &format!("{message}\nsee '{tool} --help'"));
    }
}

#[test]
fn a_metric_of_another_name_is_met() {
    let lab = Lab::new();
    let rows = r#"for i in 1 2; do echo "{\"step\": $i, \"val/loss\": 0.5, \"accuracy\": 0.1}" >> $RUN_METRICS; done"#;
    lab.new_run("r", &["sh", "-c", rows]);
    lab.cmd("run-exec").arg("r").run().code(0);
    let plot = "no run has 'valid_loss'; did you mean 'val/loss'?\n--format csv shows all columns";
    says(&lab, "run-report --plot valid_loss r", 1, plot);
    let none = "no run has 'zzz'; there are 'accuracy', 'val/loss'\n--format csv shows all columns";
    says(&lab, "run-report --columns zzz r", 2, none);
    let none = "no listed run has the metric 'nope'; there are 'accuracy', 'val/loss'";
    says(&lab, "run-status -a --columns nope", 0, none);
    says(&lab, "run-status -a --columns val/loss", 0, "");
}

#[test]
fn resume_args_that_take_the_config_are_met() {
    let lab = Lab::new();
    lab.write("cfg.yaml", "seed: 1\n");
    let taken = "--resume-args takes 'cfg.yaml', too: put configs before --resume-args";
    let args = ["-n", "r", "--resume-args", "--resume", "cfg.yaml", "--", "sh", "{resume}"];
    lab.cmd("run-new").args(args).run().code(0).stderr_has(taken);
    let args = ["-n", "s", "cfg.yaml", "--resume-args", "--resume", "--", "sh", "{resume}"];
    lab.cmd("run-new").args(args).run().code(0).stderr("");
}

/// Texts of Rust and of its libraries.
const INNARDS: [&str; 13] = [
    "invalid digit",
    "target type",
    "empty string",
    "invalid float",
    "parse integer",
    "ParseInt",
    "os error",
    "Utf8Error",
    "..=",
    "panicked",
    "Some(",
    "Err(",
    "from_str",
];

#[test]
fn no_message_about_a_value_is_one_of_rust() {
    let lab = Lab::new();
    lab.new_run("r", &["true"]);
    let mut tried = 0;
    for tool in ["run-new", "run-exec", "run-status", "run-stop", "run-eval", "run-report", "run-sync"] {
        let help = lab.cmd(tool).arg("--help").run().code(0).out();
        let commands = help.split("\nCommands:\n").nth(1).and_then(|list| list.split("\n\n").next());
        let verbs = commands.unwrap_or_default().lines().filter_map(|line| line.split_whitespace().next());
        let verbs: Vec<Option<&str>> = verbs.filter(|verb| *verb != "help").map(Some).collect();
        for verb in if verbs.is_empty() { vec![None] } else { verbs } {
            let help = lab.cmd(tool).args(verb).arg("--help").run().code(0).out();
            let options = help.lines().filter_map(|line| {
                line.trim_start().split("--").nth(1).filter(|_| line.trim_start().starts_with('-'))
            });
            let takes_value = |text: &&str| text.split("  ").next().unwrap_or_default().contains('<');
            for option in options.filter(takes_value) {
                let name = option.split([' ', '[', '=']).next().unwrap();
                for value in [
                    "",
                    "x",
                    "-1",
                    "1e999",
                    "99999999999999999999999",
                    "0",
                    "1.5.2",
                    "9..1",
                    "\u{fffd}=(",
                    "NaN",
                ] {
                    let option = format!("--{name}={value}");
                    let done = lab
                        .cmd("timeout")
                        .args(["-k", "1", "5", tool])
                        .args(verb)
                        .args([option.as_str(), "nope"])
                        .run();
                    let said = done.err();
                    let found = INNARDS.iter().find(|text| said.contains(**text));
                    assert!(found.is_none(), "{tool} {verb:?} {option}: {said}");
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 800, "{tried}");
}
