//! What is captured of the environment and of the code, so that a run can be repeated.

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use testkit::Lab;
use testkit::reports::objects;

/// Makes a virtual environment with these packages, of whose modules none may be imported.
fn environment(lab: &Lab, packages: &[&str]) {
    let site = "venv/lib/python3.11/site-packages";
    let _ = fs::remove_dir_all(lab.path("venv"));
    lab.write("venv/pyvenv.cfg", "home = /usr/bin\nversion = 3.11.7\ninclude-system-site-packages = false\n");
    fs::create_dir_all(lab.path("venv/bin")).unwrap();
    let python = lab.cmd("sh").args(["-c", "command -v python3"]).run().code(0).out();
    std::os::unix::fs::symlink(python.trim(), lab.path("venv/bin/python")).unwrap();
    for package in packages {
        lab.write(&format!("{site}/{package}.dist-info/METADATA"), "Metadata-Version: 2.1\n");
    }
    lab.write(&format!("{site}/torch/__init__.py"), "open('imported', 'w')\n");
}

fn captured(lab: &Lab, run: &str) -> Value {
    serde_json::from_str(&lab.read(&format!("runs/{run}/.run/environment.json"))).unwrap()
}

#[test]
fn packages_are_recorded_without_an_import_and_compared() {
    let lab = Lab::new();
    lab.write("uv.lock", "version = 1\n");
    for (name, packages) in [
        ("one", ["torch-2.3.1+cu121", "Num_py-2.0", "same-1"]),
        ("two", ["torch-2.4.0", "Num_py-2.0", "same-1"]),
    ] {
        environment(&lab, &packages);
        lab.cmd("run-new").args(["-n", name, "--", "venv/bin/python", "-c", "pass"]).run().code(0);
        lab.cmd("run-exec").args(["-q", name]).run().code(0);
    }
    let one = captured(&lab, "one");
    assert_eq!(one["packages"], json!({"num-py": "2.0", "same": "1", "torch": "2.3.1+cu121"}));
    assert_eq!((&one["schema"], &one["attempt"]), (&json!(1), &json!(1)));
    assert!(one["python_executable"].as_str().unwrap().ends_with("/venv/bin/python"));
    assert!(
        one["uv_lock_sha256"].as_str().unwrap().len() == 64 && one["cpus"].as_u64().unwrap() > 0,
        "{one}"
    );
    assert!(!lab.path("imported").exists());
    assert!(!lab.read("runs/one/.run/attempts.jsonl").contains("num-py"));
    let rows = objects(&lab, &["--compare", "one", "two"]);
    let packages: Vec<&Value> = rows.iter().filter(|row| row["what"] == "package").collect();
    assert_eq!(packages, [&json!({"what": "package", "key": "torch", "one": "2.3.1+cu121", "two": "2.4.0"})]);
    // The page and the document have them, too.
    lab.cmd("run-report").args(["--html", "page.html"]).run().code(0);
    let page = lab.read("page.html");
    assert!(page.contains(r#""same_packages":{"num-py":"2.0","same":"1"}"#));
    assert!(page.contains(r#""packages":{"torch":"2.4.0"}"#));
    let document: Value =
        serde_json::from_str(&lab.cmd("run-report").args(["--export", "-"]).run().code(0).out()).unwrap();
    assert_eq!(document["runs"][0]["packages"]["torch"], "2.3.1+cu121");
    // The next attempt replaces what was captured; a damaged or missing file is no failure.
    environment(&lab, &["torch-2.5.0"]);
    lab.cmd("run-exec").args(["-q", "--resume", "one"]).run();
    assert_eq!(captured(&lab, "one")["packages"], json!({"torch": "2.5.0"}));
    lab.write("runs/one/.run/environment.json", "{");
    fs::remove_file(lab.path("runs/two/.run/environment.json")).unwrap();
    lab.cmd("run-report").args(["--compare", "one", "two"]).run().code(0);
    lab.nothing_left();
}

#[test]
fn a_command_without_an_interpreter_has_a_machine() {
    let lab = Lab::new();
    lab.new_run("plain", &["true"]);
    lab.cmd("run-exec").args(["-q", "plain"]).run().code(0);
    let found = captured(&lab, "plain");
    assert_eq!((&found["packages"], &found["python_executable"]), (&json!({}), &Value::Null));
    assert!(found["cpus"].as_u64().unwrap() > 0);
}

#[test]
fn the_code_of_a_run_comes_back_with_the_files_that_git_does_not_track() {
    let lab = Lab::new();
    lab.git(&["init", "-q", "-b", "main"]);
    lab.write("train.py", "print(1)\n");
    lab.write(".gitignore", "ignored.py\nruns/\n");
    lab.git(&["add", "."]);
    lab.git(&["commit", "-q", "-m", "first"]);
    lab.write("train.py", "print(2)\n");
    let new = [
        ("new.py", "import os\n"),
        ("deep/er/a b.sh", "#!/bin/sh\necho no newline"),
        ("deep/é\"quoted\".yaml", "lr: 0.1\n"),
        ("empty.py", ""),
        ("Makefile", "all:\n\ttrue\n"),
    ];
    for (name, text) in new {
        lab.write(name, text);
    }
    fs::set_permissions(lab.path("deep/er/a b.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    // None of these is small source code without secrets.
    lab.write("ignored.py", "x");
    lab.write("secrets.yaml", "key: hunter2\n");
    lab.write("data.csv", "1,2\n");
    lab.write("large.json", "1\n".repeat(200_000));
    lab.write("binary.py", "a\0b");
    std::os::unix::fs::symlink("/etc/passwd", lab.path("link.py")).unwrap();
    lab.write("other/run/.run/meta.json", "{}");
    lab.write("other/run/config.yaml", "a: 1\n");
    lab.cmd("run-new")
        .args(["-b", "--sweep", "lr=1,2", "-n", "batch", "--set-by-env", "--", "true"])
        .run()
        .code(0);
    let paths: Vec<String> = lab
        .cmd("run-status")
        .args(["-a", "--json"])
        .run()
        .code(0)
        .json_lines()
        .iter()
        .map(|line| line["path"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(paths.len(), 2);
    let files = paths.iter().map(|path| fs::metadata(format!("{path}/.run/untracked.patch")).unwrap());
    let files: Vec<(u32, u64)> = files.map(|file| (file.mode() & 0o777, file.ino())).collect();
    assert_eq!(
        (files[0].0, files[0]),
        (0o600, files[1]),
        "one file for all runs, which only its owner may read"
    );
    let meta: Value =
        serde_json::from_str(&fs::read_to_string(format!("{}/.run/meta.json", paths[0])).unwrap()).unwrap();
    let mut names: Vec<&str> = new.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!(meta["untracked_saved"], json!(names));
    assert_eq!(meta["untracked_left_out"], 3, "large.json, binary.py, link.py");
    // The recipe of run-dir(5).
    let record = format!("{}/.run", paths[0]);
    let recipe = format!(
        "commit=$(jq -r .git_commit '{record}/meta.json')\n\
         git worktree add -q as-of-trial \"$commit\"\n\
         git -C as-of-trial apply '{record}/git.patch' '{record}/untracked.patch'\n"
    );
    lab.cmd("sh").args(["-e", "-c", &recipe]).run().code(0).stderr("");
    assert_eq!(lab.read("as-of-trial/train.py"), "print(2)\n");
    for (name, text) in new {
        assert_eq!(lab.read(&format!("as-of-trial/{name}")), text, "{name}");
    }
    let mode = |name: &str| fs::metadata(lab.path(name)).unwrap().mode() & 0o111 != 0;
    assert!(mode("as-of-trial/deep/er/a b.sh") && !mode("as-of-trial/new.py"));
    assert!(!lab.path("as-of-trial/secrets.yaml").exists());
}
