//! The manuals, the README and the examples are true: options, exit statuses, and every command
//! that they show is executed.

use std::collections::BTreeSet;
use std::fs;
use testkit::{Lab, checkout};

const TOOLS: [&str; 4] = ["run-new", "run-exec", "run-status", "run-stop"];
const PAGES: [&str; 6] =
    ["run-new.1", "run-exec.1", "run-status.1", "run-stop.1", "run-dir.5", "run-tools.7"];

fn source(page: &str) -> String {
    fs::read_to_string(checkout().join("man").join(page)).unwrap()
}

/// Returns a page as it is read.
fn rendered(lab: &Lab, page: &str) -> String {
    let script =
        format!("mandoc -T utf8 -O width=200 {} | col -bx", checkout().join("man").join(page).display());
    lab.cmd("sh").args(["-c", &script]).run().code(0).out()
}

/// Returns a section of a rendered page.
fn section(page: &str, head: &str) -> String {
    let body = page.split(&format!("\n{head}\n")).nth(1).unwrap_or_default();
    let end = body.lines().scan(0, |at, line| {
        let start = *at;
        *at += line.len() + 1;
        Some((start, line))
    });
    let end = end.filter(|(_, line)| line.starts_with(char::is_alphanumeric)).map(|(start, _)| start).next();
    body[..end.unwrap_or(body.len())].to_owned()
}

/// Makes a lab with the files that the examples speak of.
fn workshop() -> Lab {
    let lab = Lab::new();
    lab.write("base.yaml", "seed: 7\ntotal_steps: 40\n");
    lab.write("train.py", fs::read(checkout().join("tests/fixtures/train.py")).unwrap());
    lab
}

#[test]
fn every_option_is_in_its_manual_and_every_option_of_the_manual_exists() {
    let lab = Lab::new();
    for tool in TOOLS {
        let help = lab.cmd(tool).arg("--help").run().code(0).out();
        let options = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
        let known: BTreeSet<String> = options
            .flat_map(|line| line.split("  ").next().unwrap_or_default().split([' ', ',', '=', '[']))
            .filter(|word| word.starts_with('-') && word.len() > 1)
            .map(str::to_owned)
            .collect();
        let page = source(&format!("{tool}.1"));
        let items = page.lines().filter(|line| line.starts_with(".It Fl "));
        let told: BTreeSet<String> = items
            .flat_map(|line| line.split("Fl ").skip(1))
            .filter_map(|flag| flag.split_whitespace().next())
            .map(|flag| format!("-{flag}"))
            .collect();
        assert_eq!(told, known, "{tool}");
        assert!(known.len() > 5, "{tool}: {known:?}");
    }
}

#[test]
fn every_exit_status_is_in_the_manual() {
    let expected: [&[&str]; 4] = [
        &["0", "1", "2", "5"],
        &["124", "125", "126", "127"],
        &["0", "1", "2", "3", "5"],
        &["0", "1", "2", "3", "5"],
    ];
    for (tool, expected) in TOOLS.iter().zip(expected) {
        let page = source(&format!("{tool}.1"));
        let section = page.split(".Sh EXIT STATUS").nth(1).unwrap().split(".Sh ").next().unwrap();
        let items = section.lines().filter_map(|line| line.strip_prefix(".It "));
        let told: BTreeSet<&str> =
            items.filter(|item| item.bytes().all(|byte| byte.is_ascii_digit())).collect();
        assert_eq!(told, expected.iter().copied().collect(), "{tool}");
    }
}

/// Executes the lines that begin with `$ `, one after another, in one shell.
fn execute(name: &str, text: &str) {
    let lab = workshop();
    let lines: Vec<&str> = text.lines().filter_map(|line| line.trim_start().strip_prefix("$ ")).collect();
    assert!(!lines.is_empty(), "{name} shows no command");
    let script = lines.join("\n");
    let done = lab.cmd("bash").args(["-e", "-c", &script]).run();
    assert_eq!(done.code, 0, "{name}:\n{script}\n{}\n{}", done.out(), done.err());
    lab.cmd("run-stop").args(["--all", "--grace", "1s"]).run();
}

#[test]
fn the_examples_of_the_manuals_work() {
    let lab = Lab::new();
    for page in PAGES {
        let examples = section(&rendered(&lab, page), "EXAMPLES");
        if page != "run-dir.5" {
            execute(page, &examples);
        }
    }
}

#[test]
fn the_commands_of_the_readme_work() {
    let readme = fs::read_to_string(checkout().join("README.md")).unwrap();
    execute("README.md", readme.split("## Tour").nth(1).unwrap().split("\n## ").next().unwrap());
}

#[test]
fn a_python_program_can_do_what_the_manual_shows() {
    let lab = workshop();
    let page = source("run-tools.7");
    let block = page.split("from a Python program").nth(1).unwrap();
    let block = block.split(".Bd -literal").nth(1).unwrap().split("\n.Ed").next().unwrap();
    let program: String =
        block.lines().skip(1).map(|line| line.replace("\\e", "\\").replace("\\(dq", "\"") + "\n").collect();
    lab.write("manage.py", &program);
    lab.cmd("python3").arg("manage.py").run().code(0);
}

#[test]
fn the_manuals_are_clean() {
    let lab = Lab::new();
    let pages = PAGES.map(|page| checkout().join("man").join(page));
    lab.cmd("mandoc").args(["-T", "lint", "-W", "warning"]).args(pages).run().code(0).stdout("").stderr("");
}

#[test]
fn the_demo_works() {
    let lab = Lab::new();
    let demo = checkout().join("examples/demo");
    lab.cmd(demo).arg(lab.path("demo")).env("RUN_BIN", testkit::bin()).run().code(0);
    lab.nothing_left();
}
