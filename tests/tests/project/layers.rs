//! The shape of the code: layers that look up only, and one place for what is dangerous.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use testkit::checkout;

fn sources(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.extension() {
            _ if entry.is_dir() => found.extend(sources(&entry)),
            Some(extension) if extension == "rs" => found.push(entry),
            _ => {}
        }
    }
    found
}

/// Returns the layers of `common`, the lowest first: groups of modules between blank lines.
fn layers() -> Vec<Vec<String>> {
    let list = fs::read_to_string(checkout().join("common/src/lib.rs")).unwrap();
    let names = |group: &str| {
        group
            .lines()
            .filter_map(|line| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned()))
            .collect()
    };
    list.split("\n\n").map(names).filter(|group: &Vec<String>| !group.is_empty()).collect()
}

#[test]
fn a_layer_uses_only_those_below_it() {
    let layers = layers();
    let level = |module: &str| layers.iter().position(|group| group.iter().any(|name| name == module));
    let root = checkout().join("common/src");
    let mut checked = 0;
    for file in sources(&root) {
        let module = file.strip_prefix(&root).unwrap().components().next().unwrap();
        let module = module.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let Some(mine) = level(&module) else { continue };
        let text = fs::read_to_string(&file).unwrap();
        for used in text.split("crate::").skip(1) {
            let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let Some(theirs) = level(&used) else { continue };
            assert!(
                theirs < mine || used == module || (theirs == mine && mine == 0),
                "{}: uses {used}",
                file.display()
            );
            checked += 1;
        }
    }
    assert!(checked > 40, "only {checked} uses were found");
}

/// Returns the folders of all crates, as the workspace lists them.
fn members() -> Vec<PathBuf> {
    let manifest = fs::read_to_string(checkout().join("Cargo.toml")).unwrap();
    let list = manifest.split("members = [").nth(1).unwrap().split(']').next().unwrap();
    list.split(',').map(|member| checkout().join(member.trim().trim_matches('"'))).collect()
}

#[test]
fn unsafe_code_is_in_one_file() {
    let files = members().into_iter().flat_map(|member| sources(&member.join("src")));
    let with_unsafe: Vec<_> =
        files.filter(|file| fs::read_to_string(file).unwrap().contains("unsafe {")).collect();
    assert_eq!(with_unsafe, [checkout().join("common/src/process/spawn.rs")]);
}

/// Files that open files themselves, and why: all others do it by `fsio`, which waits for nothing, keeps
/// memory bounded, and follows no link when it writes.
const OPENERS: [(&str, &str); 4] = [
    ("common/src/process", "reads /proc, which holds what the kernel says"),
    ("common/supervise/src/terminal.rs", "opens the two sides of a terminal"),
    ("run-report/src/output.rs", "writes to a pipe or a device that the user named as the output"),
    ("common/src/fsio", "is the one way"),
];

#[test]
fn files_are_opened_in_one_place() {
    let ways = [
        "File::open",
        "File::create",
        "File::options",
        "OpenOptions",
        "fs::read(",
        "fs::read_to_string",
        "fs::write(",
        "fs::copy(",
        "from_path(",
    ];
    let files = members().into_iter().flat_map(|member| sources(&member.join("src")));
    let files =
        files.filter(|file| !file.starts_with(checkout().join("tests")) && !file.ends_with("tests.rs"));
    let (mut checked, mut found) = (0, Vec::new());
    for file in files {
        let name = file.strip_prefix(checkout()).unwrap().to_owned();
        let text = fs::read_to_string(&file).unwrap();
        if text.contains("\n#![cfg(test)]\n") {
            continue; // tests of a module, in a file of their own
        }
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for way in ways.iter().filter(|way| code.contains(**way)) {
            checked += 1;
            if !OPENERS.iter().any(|(opener, _)| name.starts_with(opener)) {
                found.push(format!("{}: {way}", name.display()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    assert!(checked > 5, "only {checked} were found");
}

/// Crates whose modules import each other in one direction only.
const WITHOUT_CIRCLES: [&str; 13] = [
    "common",
    "common/complete",
    "common/checkpoint",
    "common/metrics",
    "common/launch",
    "common/supervise",
    "run-eval",
    "run-exec",
    "run-new",
    "run-report",
    "run-status",
    "run-stop",
    "run-sync",
];

#[test]
fn no_module_imports_one_that_imports_it() {
    for member in WITHOUT_CIRCLES {
        let root = checkout().join(member).join("src");
        let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for file in sources(&root) {
            let module = file.strip_prefix(&root).unwrap().components().next().unwrap();
            let module = module.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
            let mut text = fs::read_to_string(&file).unwrap();
            if file.parent() == Some(&root) {
                text = text.replace("super::", "crate::");
            }
            uses.entry(module.clone()).or_default().extend(used_modules(&text, &module));
        }
        // What uses nothing that is left is taken out; a circle stays.
        while let Some(free) = uses
            .iter()
            .find(|(_, used)| !used.iter().any(|used| uses.contains_key(used)))
            .map(|(free, _)| free.clone())
        {
            uses.remove(&free);
        }
        assert!(uses.is_empty(), "{member}: a circle of imports: {uses:?}");
    }
}

/// Returns the modules of the crate that a source file imports, other than its own.
fn used_modules(text: &str, own: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut used = BTreeSet::new();
    for import in text.split("crate::").skip(1) {
        match import.strip_prefix('{') {
            Some(group) => {
                used.extend(group.split('}').next().unwrap().split(',').map(|one| word(one.trim())));
            }
            None => _ = used.insert(word(import)),
        }
    }
    used.remove(own);
    used
}

/// Cargo holds the layers above the base: a tool that only reads links no supervisor.
#[test]
fn only_what_executes_commands_links_the_supervisor() {
    let links = |member: &PathBuf| {
        let manifest = fs::read_to_string(member.join("Cargo.toml")).unwrap();
        manifest.lines().any(|line| line == "run-supervise.workspace = true")
    };
    let linking: Vec<_> = members().into_iter().filter(links).collect();
    assert_eq!(linking, ["run-exec", "run-eval"].map(|tool| checkout().join(tool)));
}

#[test]
fn a_main_is_a_few_lines() {
    for tool in ["run-new", "run-exec", "run-status", "run-stop", "run-eval", "run-report", "run-sync"] {
        let main = fs::read_to_string(checkout().join(tool).join("src/main.rs")).unwrap();
        let lines = main.lines().filter(|line| !line.starts_with("mod "));
        assert!(lines.count() <= 9, "{tool}");
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = fs::read_to_string(checkout().join("Cargo.toml")).unwrap();
    let list = manifest.split("[workspace.dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let listed: Vec<&str> =
        list.lines().filter(|line| line.contains(" = ") && !line.contains("path = ")).collect();
    assert!(listed.len() > 10);
    for line in listed {
        assert!(line.split(" # ").nth(1).is_some_and(|reason| reason.len() > 10), "{line}");
    }
}
