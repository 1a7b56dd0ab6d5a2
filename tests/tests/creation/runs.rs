//! run-new: names, configs, provenance; all or nothing.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use testkit::Lab;

fn meta(lab: &Lab, name: &str) -> Value {
    lab.json(&format!("runs/{name}/.run/meta.json"))
}

#[test]
fn a_run_is_a_directory_with_its_record_and_its_config() {
    let lab = Lab::new();
    let config = b"seed: 3 \xff\r\n# not UTF-8, kept byte for byte\n";
    lab.write("configs/base.yaml", config);
    let done = lab
        .cmd("run-new")
        .args(["configs/base.yaml", "--", "python3", "train.py", "--lr", "0.1"])
        .run()
        .code(0);
    assert!(done.err().contains("cannot parse") && done.err().lines().count() == 1, "{}", done.err());
    let path = done.out().trim_end().to_owned();
    let name = path.strip_prefix("runs/").unwrap();
    let (stem, time) = name.split_at(5);
    assert!(stem == "base_" && time.len() == 19 && time.as_bytes()[10] == b'_', "{name}");
    assert_eq!(lab.bytes(&format!("{path}/config.yaml")), config);
    let meta = meta(&lab, name);
    assert_eq!((&meta["schema"], &meta["run_name"]), (&json!(1), &json!(name)));
    assert_eq!(meta["config_path"], lab.path("configs/base.yaml").to_str().unwrap());
    assert_eq!(meta["config_file"], "config.yaml");
    assert_eq!(meta["config_sha256"].as_str().unwrap().len(), 64);
    assert_eq!(meta["command"], json!(["python3", "train.py", "--lr", "0.1"]));
    assert_eq!(meta["params"], json!({"lr": "0.1"}));
    assert_eq!(meta["cwd"], lab.dir().to_str().unwrap());
    assert_eq!((&meta["git_commit"], &meta["git_dirty"]), (&Value::Null, &Value::Null));
    assert_eq!(meta["executable"], "/usr/bin/python3");
    let version = lab.cmd("python3").arg("-V").run().out();
    assert_eq!(format!("Python {}\n", meta["python_version"].as_str().unwrap()), version);
    assert_eq!(lab.status(&path)["status"], "created");
    let mut files: Vec<_> =
        fs::read_dir(lab.path(&path)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, [".run", "config.yaml"]);
}

#[test]
fn seed_steps_and_device_come_from_option_override_or_config() {
    let lab = Lab::new();
    lab.write("a.yaml", "seed: 1\ntrain: {total_steps: 100}\nagent: {params: {device: 'cuda:0'}}\n");
    lab.write("b.toml", "seed = 2\nmax_steps = 200\ndevice = 'mps'\n");
    lab.write("c.json", "{\"seed\": 3, \"num_train_steps\": 300}");
    lab.write(
        "d.py",
        "# nanoGPT\nseed = 4\nmax_iters = 5_00 # comment\ndevice = 'cpu'\nlearning_rate = 1e-3\n",
    );
    lab.write("e.txt", "seed: 9");
    let done = lab
        .cmd("run-new")
        .args(["--json", "a.yaml", "b.toml", "c.json", "d.py", "e.txt"])
        .run()
        .code(0)
        .stderr("");
    let said: Vec<Value> = done
        .out()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|meta| json!([meta["seed"], meta["total_steps"], meta["device"], meta["config_file"]]))
        .collect();
    let device = if fs::exists("/dev/nvidia0").unwrap() { "cuda" } else { "cpu" };
    let expected = [
        json!([1, 100, "cuda:0", "config.yaml"]),
        json!([2, 200, "mps", "config.toml"]),
        json!([3, 300, device, "config.json"]),
        json!([4, 500, "cpu", "config.py"]),
        json!([null, null, device, "config.txt"]),
    ];
    assert_eq!(said, expected);
    lab.cmd("run-new")
        .args(["-n", "o", "-s", "seed=7", "-s", "train.total_steps=1e3", "a.yaml"])
        .run()
        .code(0);
    assert_eq!((&meta(&lab, "o")["seed"], &meta(&lab, "o")["total_steps"]), (&json!(7), &json!(1000)));
    let options = ["--seed", "-1", "--total-steps", "5", "--device", "gpu"];
    let done = lab.cmd("run-new").args(["-n", "p", "-s", "seed=7"]).args(options).arg("a.yaml").run().code(0);
    assert_eq!(done.err(), "run-new: PyTorch has no device 'gpu'; did you mean 'cuda'?\n");
    let meta = meta(&lab, "p");
    assert_eq!(
        (&meta["seed"], &meta["total_steps"], &meta["device"]),
        (&json!(-1), &json!(5), &json!("gpu"))
    );
}

#[test]
fn names_are_any_safe_text_and_taken_ones_are_refused() {
    let lab = Lab::new();
    for name in ["a b", "lr=0.1", "it's \"quoted\"", "🚀 ünï", &"x".repeat(200)] {
        let path = lab.new_run(name, &["true"]);
        assert_eq!(path, format!("runs/{name}"));
        lab.cmd("run-exec").args(["-q", name]).run().code(0);
        assert_eq!(lab.status(name)["run_name"], name);
    }
    let done = lab.cmd("run-new").args(["-n", "a b"]).run().code(1);
    assert_eq!(done.err(), "run-new: cannot create 'a b': a run of this name exists\n");
    for (name, fault) in
        [("", "empty"), ("a/b", "'/'"), (".x", "begins"), ("a\nb", "control"), (&*"x".repeat(201), "longer")]
    {
        let done = lab.cmd("run-new").args(["-n", name]).run().code(2);
        assert!(done.err().contains(fault) && done.err().lines().count() == 1, "{}", done.err());
    }
    lab.cmd("run-new").args(["-n", "-x"]).run().code(2);
    lab.write("runs/file", "");
    lab.cmd("run-new").args(["-n", "file"]).run().code(1);
    assert_eq!(fs::read_dir(lab.path("runs")).unwrap().count(), 6);
}

#[test]
fn of_many_at_once_each_gets_a_directory_of_its_own() {
    let lab = Lab::new();
    lab.write("base.yaml", "seed: 1\n");
    let all: Vec<_> = (0..200).map(|_| lab.cmd("run-new").arg("base.yaml").spawn()).collect();
    let mut paths: Vec<String> =
        all.into_iter().map(|one| one.wait().code(0).out().trim_end().to_owned()).collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 200);
    for path in &paths {
        let name = path.strip_prefix("runs/").unwrap();
        assert_eq!(meta(&lab, name)["run_name"], name);
        assert_eq!(lab.json(&format!("{path}/.run/status.json"))["run_name"], name);
    }
    assert_eq!(fs::read_dir(lab.path("runs")).unwrap().count(), 200, "nothing else is left");
    let one = (0..20).map(|_| lab.cmd("run-new").args(["-n", "same"]).spawn()).collect::<Vec<_>>();
    let codes: Vec<i32> = one.into_iter().map(|one| one.wait().code).collect();
    assert_eq!(
        (codes.iter().filter(|&&code| code == 0).count(), codes.iter().filter(|&&code| code == 1).count()),
        (1, 19)
    );
}

#[test]
fn nothing_is_created_when_something_is_missing() {
    let lab = Lab::new();
    lab.write("a.yaml", "seed: 1\nmodel: {size: 2}\n");
    let refused = |args: &[&str], code, has: &str| {
        let done = lab.cmd("run-new").args(args).run().code(code).stdout("").stderr_has(has);
        assert!(done.err().lines().count() <= 2, "{}", done.err());
        assert!(!lab.path("runs").exists(), "{args:?}");
    };
    refused(&["a.yaml", "missing.yaml"], 5, "cannot read 'missing.yaml': No such file or directory");
    refused(&["--input", "data=missing.csv", "a.yaml"], 5, "missing.csv");
    refused(&["--require", "model.size,model.depth", "a.yaml"], 2, "'model.depth'");
    refused(&["--require", "seed"], 2, "needs a config");
    refused(&["--chdir", "nowhere"], 2, "no such directory");
    refused(&["-s", "novalue"], 2, "KEY=VALUE");
    refused(&["--seed", "x"], 2, "--seed");
    refused(&["--frobnicate"], 2, "--frobnicate");
    lab.cmd("run-new").args(["--require", "seed,model.size", "a.yaml"]).run().code(0);
}

#[test]
fn a_directory_that_refuses_is_said_in_one_line() {
    let lab = Lab::new();
    lab.write("file", "");
    lab.cmd("run-new")
        .args(["-d", "file"])
        .run()
        .code(5)
        .stderr("run-new: cannot create 'file': File exists\n");
    lab.cmd("run-new").args(["-d", "/proc/nope"]).run().code(5).stderr_has("cannot create '/proc/nope'");
}

#[test]
fn what_is_given_is_recorded() {
    let lab = Lab::new();
    lab.write("data.csv", "1,2\n");
    lab.cmd("run-new")
        .args([
            "-n",
            "r",
            "--tag",
            "a",
            "--tag",
            "b c",
            "--note",
            "see https://u:p@h/x",
            "--input",
            "train=data.csv",
        ])
        .args([
            "--checkpoint",
            "ckpt/*.bin",
            "--checkpoint-requires",
            "a,b",
            "--env",
            "MODE=1",
            "--env",
            "HF_TOKEN=hush",
        ])
        .args(["-s", "lr=1e-3", "-s", "text=x=y z", "--resume-args", "--resume", "{checkpoint}"])
        .args(["--", "env", "{set}", "{resume}"])
        .run()
        .code(0)
        .stderr("");
    let meta = meta(&lab, "r");
    assert_eq!(meta["tags"], json!(["a", "b c"]));
    assert_eq!(meta["note"], "see https://[redacted]@h/x");
    assert_eq!(meta["inputs"]["train"]["path"], lab.path("data.csv").to_str().unwrap());
    assert_eq!(meta["inputs"]["train"]["size"], 4);
    assert_eq!(meta["checkpoint"], json!({"pattern": "ckpt/*.bin", "requires": ["a", "b"]}));
    assert_eq!(meta["env"], json!({"MODE": "1", "HF_TOKEN": "[redacted]"}));
    assert_eq!(meta["overrides"], json!({"lr": "1e-3", "text": "x=y z"}));
    assert_eq!(meta["resume_args"], json!(["--resume", "{checkpoint}"]));
    assert!(!lab.read("runs/r/.run/meta.json").contains("hush"));
}

#[test]
fn the_state_of_the_code_is_recorded_and_its_changes_kept() {
    let lab = Lab::new();
    lab.git(&["init", "-q", "-b", "trunk", "."]);
    lab.cmd("run-new").args(["-n", "empty"]).run().code(0);
    assert_eq!(
        (&meta(&lab, "empty")["git_commit"], &meta(&lab, "empty")["git_dirty"]),
        (&Value::Null, &json!(false))
    );
    lab.write(".gitignore", "runs\n");
    lab.write("train.py", "print(1)\n");
    lab.git(&["add", "."]);
    lab.git(&["commit", "-q", "-m", "one"]);
    let commit = lab.git(&["rev-parse", "HEAD"]).trim_end().to_owned();
    lab.cmd("run-new").args(["-n", "clean"]).run().code(0);
    let clean = meta(&lab, "clean");
    assert_eq!(
        (&clean["git_commit"], &clean["git_branch"], &clean["git_dirty"]),
        (&json!(commit), &json!("trunk"), &json!(false))
    );
    assert!(!lab.path("runs/clean/.run/git.patch").exists());
    lab.write("train.py", "print(2)\n");
    lab.write("new file.py", "print(3)\n");
    fs::write(lab.path("binary"), [0, 1, 2, 255]).unwrap();
    lab.git(&["add", "binary"]);
    lab.cmd("run-new").args(["-n", "dirty", "--", "true"]).run().code(0);
    let dirty = meta(&lab, "dirty");
    assert_eq!((&dirty["git_dirty"], &dirty["untracked"]), (&json!(true), &json!(["new file.py"])));
    // The patch brings the tracked files back.
    lab.git(&["reset", "-q", "--hard"]);
    lab.git(&["apply", "runs/dirty/.run/git.patch"]);
    assert_eq!((lab.read("train.py").as_str(), lab.bytes("binary")), ("print(2)\n", vec![0, 1, 2, 255]));
    // What runs is what is there when it starts.
    lab.git(&["commit", "-q", "-a", "-m", "two"]);
    lab.cmd("run-exec").arg("dirty").run().code(0);
    let start = &lab.json_lines("runs/dirty/.run/attempts.jsonl")[0];
    assert_eq!(
        (start["git_commit"].as_str(), &start["git_dirty"]),
        (Some(lab.git(&["rev-parse", "HEAD"]).trim_end()), &json!(false))
    );
}

#[test]
fn a_large_patch_is_cut_and_that_is_recorded() {
    let lab = Lab::new();
    lab.git(&["init", "-q", "."]);
    lab.write("big", "x\n");
    lab.git(&["add", "."]);
    lab.git(&["commit", "-q", "-m", "one"]);
    lab.write("big", "0123456789\n".repeat(2_000_000));
    lab.cmd("run-new").args(["-n", "r"]).run().code(0);
    assert_eq!(fs::metadata(lab.path("runs/r/.run/git.patch")).unwrap().len(), 16 << 20);
    assert!(meta(&lab, "r")["git_patch_cut"].as_u64().unwrap() > 5 << 20);
}

#[test]
fn a_run_new_that_is_killed_leaves_a_run_or_none() {
    let lab = Lab::new();
    lab.write("base.yaml", "seed: 1\n");
    let mut random = testkit::Random::new(5);
    let start = std::time::Instant::now();
    lab.cmd("run-new").args(["-n", "whole", "base.yaml"]).run().code(0);
    let usual = u64::try_from(start.elapsed().as_micros()).unwrap();
    for number in 0..testkit::times(20, 200) {
        let new = lab.cmd("run-new").args(["-n", &format!("r{number}"), "base.yaml"]).spawn();
        std::thread::sleep(std::time::Duration::from_micros(random.below(usual))); // the moment that is tried
        new.signal(testkit::process::Signal::KILL);
        new.wait();
    }
    let listed = lab.cmd("run-status").args(["-a", "--json"]).run().code(0).stderr("");
    for line in listed.out().lines() {
        let name = serde_json::from_str::<Value>(line).unwrap()["run_name"].as_str().unwrap().to_owned();
        lab.cmd("run-exec").args(["-q", &name, "--", "cmp", "{config}", "base.yaml"]).run().code(0);
    }
}

#[test]
fn the_changes_of_the_code_are_kept_once_and_linked() {
    use std::os::unix::fs::MetadataExt;
    let lab = Lab::new();
    lab.git(&["init", "-q", "."]);
    lab.write("train.py", "print(1)\n");
    lab.git(&["add", "."]);
    lab.git(&["commit", "-q", "-m", "one"]);
    lab.write("train.py", "print(2)\n");
    lab.write("a.yaml", "seed: 1\n");
    let done = lab.cmd("run-new").args(["-b=b", "--sweep", "k=1..30", "a.yaml"]).run().code(0);
    let out = done.out();
    let paths: Vec<&str> = out.lines().collect();
    let file = |path: &str, name: &str| fs::metadata(lab.path(path).join(name)).unwrap();
    let patches: BTreeSet<u64> = paths.iter().map(|path| file(path, ".run/git.patch").ino()).collect();
    let configs: BTreeSet<u64> = paths.iter().map(|path| file(path, "config.yaml").ino()).collect();
    assert_eq!((patches.len(), configs.len()), (1, 30), "a config may be edited, a patch may not");
    for path in paths {
        assert!(lab.read(&format!("{path}/.run/git.patch")).contains("+print(2)"));
        assert_eq!(lab.json(&format!("{path}/.run/meta.json"))["git_dirty"], true);
    }
}
