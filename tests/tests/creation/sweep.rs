//! run-new: batches, sweeps, samples; the same line again continues.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use testkit::process::Signal;
use testkit::{Done, Lab};

fn lines(done: &Done) -> Vec<String> {
    done.out().lines().map(str::to_owned).collect()
}

fn meta(lab: &Lab, path: &str) -> Value {
    lab.json(&format!("{path}/.run/meta.json"))
}

fn names(lab: &Lab, dir: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(lab.path(dir)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn swept_values_arrive_in_the_arguments_of_the_command() {
    let lab = Lab::new();
    lab.write("base.yaml", "seed: 1\n");
    let sweeps = [
        "--sweep",
        "lr=1e-3,0.10,lin(1,2,2)",
        "--sweep",
        "text=a b,x=y z,\"say \"\"hi\"\", you\"",
        "--sweep",
        "amp=True,[1,2]",
    ];
    let script = "import json,os,sys; json.dump(sys.argv[1:], open(os.environ['RUN_DIR']+'/argv','w'))";
    let done = lab
        .cmd("run-new")
        .args(["-b=all", "-s", "first=it's"])
        .args(sweeps)
        .args(["base.yaml", "--", "python3", "-c", script, "{set}"])
        .run()
        .code(0)
        .stderr("");
    let paths = lines(&done);
    assert_eq!(paths.len(), 4 * 3 * 2);
    assert_eq!(paths.iter().collect::<BTreeSet<_>>().len(), 24);
    let mut expected = Vec::new();
    for lr in ["1e-3", "0.10", "1", "2"] {
        for text in ["a b", "x=y z", "say \"hi\", you"] {
            for amp in ["True", "[1,2]"] {
                expected.push([("lr", lr), ("text", text), ("amp", amp)]);
            }
        }
    }
    for (path, values) in paths.iter().zip(&expected) {
        let swept: String = values.iter().map(|(key, value)| format!("_{key}-{value}")).collect();
        let is_named = || path[..path.len() - 9] == format!("runs/all/base{}", swept.replace('=', "_"));
        assert!(*path == format!("runs/all/base{swept}") || swept.contains('=') && is_named(), "{path}");
        lab.cmd("run-exec").args(["-q", path]).run().code(0);
        let mut argv = vec!["--first=it's".to_owned()];
        argv.extend(values.iter().map(|(key, value)| format!("--{key}={value}")));
        assert_eq!(lab.json(&format!("{path}/argv")), json!(argv));
        let meta = meta(&lab, path);
        assert_eq!((&meta["batch"], &meta["seed"]), (&json!("all"), &json!(1)));
        assert_eq!(meta["run_name"], path["runs/all/".len()..]);
    }
}

#[test]
fn a_batch_says_how_it_was_made() {
    let lab = Lab::new();
    lab.write("a.yaml", "seed: 1\n");
    let argv =
        ["run-new", "--batch", "-s", "api_key=hush", "a.yaml", "--", "train", "{set}", "--token", "hush"];
    let done = lab.cmd(argv[0]).args(&argv[1..]).run().code(0);
    let path = done.out().trim_end().to_owned();
    let batch = path.strip_prefix("runs/").unwrap().strip_suffix("/a").unwrap();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let time = batch.strip_prefix("experiment_").unwrap();
    assert!(time.len() == 15 && digits(&time[..8]) && &time[8..9] == "_" && digits(&time[9..]), "{batch}");
    let record = lab.json(&format!("runs/{batch}/.batch/batch.json"));
    assert_eq!((&record["schema"], &record["name"]), (&json!(1), &json!(batch)));
    assert_eq!(record["batch_id"].as_str().unwrap().as_bytes()[14], b'7');
    assert_eq!(record["command"], json!(["train", "{set}", "--token", "[redacted]"]));
    let words = [
        "run-new",
        "--batch",
        "-s",
        "api_key=[redacted]",
        "a.yaml",
        "--",
        "train",
        "{set}",
        "--token",
        "[redacted]",
    ];
    assert_eq!(record["argv"], json!(words));
    assert_eq!((&record["cwd"], &record["sample_seed"]), (&json!(lab.dir()), &Value::Null));
    assert_eq!(
        names(&lab, &format!("runs/{batch}/.batch")),
        ["batch.json", "lock"].map(str::to_owned).into()
    );
    assert_eq!(names(&lab, &format!("runs/{batch}")), [".batch", "a"].map(str::to_owned).into());
    // Of the same second, each gets a directory of its own.
    let many: Vec<_> = (0..20).map(|_| lab.cmd("run-new").args(["-b", "--json"]).spawn()).collect();
    let mut batches: Vec<String> = many
        .into_iter()
        .map(|one| one.wait().code(0).json_lines()[0]["batch"].as_str().unwrap().to_owned())
        .collect();
    batches.sort();
    batches.dedup();
    assert_eq!(batches.len(), 20);
    assert_eq!(names(&lab, "runs").len(), 21, "nothing else is left");
    for name in batches {
        assert_eq!(lab.json(&format!("runs/{name}/.batch/batch.json"))["name"], name);
        assert!(lab.path(format!("runs/{name}/run")).is_dir());
    }
}

#[test]
fn equal_stems_and_reserved_names_get_numbers() {
    let lab = Lab::new();
    for config in ["x/base.yaml", "y/base.yaml", "z/base-2.yaml", "stop.yaml"] {
        lab.write(config, config);
    }
    let configs = ["x/base.yaml", "y/base.yaml", "z/base-2.yaml", "stop.yaml"];
    let done = lab.cmd("run-new").arg("-b=b").args(configs).run().code(0);
    assert_eq!(lines(&done), ["base", "base-2", "base-2-2", "stop-2"].map(|name| format!("runs/b/{name}")));
    for (path, config) in lines(&done).iter().zip(configs) {
        assert_eq!(lab.read(&format!("{path}/config.yaml")), config);
    }
    let done =
        lab.cmd("run-new").args(["-b=c", "--sweep", "k=1..2", "x/base.yaml", "y/base.yaml"]).run().code(0);
    let expected = ["base_k-1", "base_k-2", "base-2_k-1", "base-2_k-2"];
    assert_eq!(lines(&done), expected.map(|name| format!("runs/c/{name}")));
}

#[test]
fn names_that_had_to_be_changed_end_in_a_hash() {
    let lab = Lab::new();
    let long = "x".repeat(300);
    let sweep = format!("k=a/b,a:b,a_b,{long}1,{long}2,1_k=2");
    let done = lab.cmd("run-new").args(["-b=b", "--sweep", &sweep]).run().code(0);
    let sha = |value: &str| {
        let text = json!({"k": value}).to_string();
        let sum = lab.cmd("sha256sum").stdin(text).run().code(0).out();
        sum[..8].to_owned()
    };
    let long_name = |value: &str| format!("run_k-{}-{}", "x".repeat(192 - 6 - 9), sha(value));
    let expected = [
        format!("run_k-a_b-{}", sha("a/b")),
        "run_k-a:b".to_owned(),
        "run_k-a_b".to_owned(),
        long_name(&format!("{long}1")),
        long_name(&format!("{long}2")),
        format!("run_k-1_k_2-{}", sha("1_k=2")),
    ];
    assert_eq!(lines(&done), expected.map(|name| format!("runs/b/{name}")));
    assert_eq!(meta(&lab, &lines(&done)[3])["overrides"], json!({"k": format!("{long}1")}));
}

#[test]
fn the_same_line_again_continues() {
    let lab = Lab::new();
    lab.write("base.yaml", "seed: 1\n");
    let line = |extra: &[&str]| {
        let args = ["-b=b", "--exist-ok", "--sweep", "lr=log(1e-4,1e-2,3)", "--sweep", "seed=1..4"];
        lab.cmd("run-new")
            .args(args)
            .arg("base.yaml")
            .args(extra)
            .args(["--", "true", "{set}", "{resume}"])
            .run()
    };
    let first = line(&[]).code(0).stderr("");
    assert_eq!(lines(&first).len(), 12);
    let before = lab.bytes("runs/b/.batch/batch.json");
    let ids = |lab: &Lab| -> Vec<Value> {
        lines(&first).iter().map(|path| meta(lab, path)["run_id"].clone()).collect()
    };
    let created = ids(&lab);
    line(&[]).code(0).stderr("").stdout(first.out());
    assert_eq!(ids(&lab), created);
    let gone = &lines(&first)[5];
    assert_eq!(gone, "runs/b/base_lr-0.001_seed-2");
    fs::remove_dir_all(lab.path(gone)).unwrap();
    line(&[]).code(0).stderr("").stdout(first.out());
    let again = ids(&lab);
    let differ: Vec<usize> = (0..12).filter(|&number| again[number] != created[number]).collect();
    assert_eq!(differ, [5]);
    assert_eq!(lab.bytes("runs/b/.batch/batch.json"), before, "it is written once");
    // --json says the same of those that exist and of those that do not.
    fs::remove_dir_all(lab.path(gone)).unwrap();
    for (object, path) in line(&["--json"]).code(0).json_lines().iter().zip(lines(&first)) {
        assert_eq!(object["path"], lab.path(&path).to_str().unwrap());
        let mut without = object.clone();
        without.as_object_mut().unwrap().remove("path");
        assert_eq!(without, meta(&lab, &path));
    }
    // What is not the same is refused, and nothing is created.
    fs::remove_dir_all(lab.path(gone)).unwrap();
    let refused = |done: Done, what: &str| {
        let message =
            format!("run-new: cannot continue with 'runs/b/base_lr-0.0001_seed-1': it exists with {what}\n");
        done.code(1).stdout("").stderr(&message);
        assert!(!lab.path(gone).exists());
    };
    refused(line(&["-s", "k=1"]), "other overrides");
    refused(line(&["--seed", "9"]), "another seed");
    refused(line(&["--total-steps", "9"]), "another number of steps");
    refused(line(&["--env", "A=1"]), "another environment");
    refused(line(&["--resume-args", "x"]), "another command");
    lab.write("base.yaml", "seed: 2\n");
    refused(line(&[]), "another config");
    lab.write("base.yaml", "seed: 1\n");
    line(&[]).code(0).stdout(first.out());
    // Without --exist-ok the name is taken, and so is one of something else with it.
    let done = lab.cmd("run-new").arg("-b=b").run().code(1).stdout("");
    assert_eq!(
        done.err(),
        "run-new: cannot create the batch 'b': the name is taken\nrun-new: --exist-ok continues a batch\n"
    );
    lab.write("runs/other/file", "");
    lab.cmd("run-new").args(["-b=other", "--exist-ok"]).run().code(1).stderr_has("not a batch");
    assert_eq!(names(&lab, "runs/other").len(), 1);
    fs::create_dir(lab.path("runs/b/base_k-1")).unwrap();
    let done = lab.cmd("run-new").args(["-b=b", "--exist-ok", "--sweep", "k=1", "base.yaml"]).run();
    done.code(1).stderr_has("not a run");
}

#[test]
fn many_at_once_make_no_cell_twice() {
    let lab = Lab::new();
    let args = ["-b=b", "--exist-ok", "--sweep", "k=1..40", "--sweep", "r=uniform(0,1)", "--sample", "40"];
    let all: Vec<_> = (0..20).map(|_| lab.cmd("run-new").args(args).arg("--json").spawn()).collect();
    let said: Vec<Vec<Value>> = all.into_iter().map(|one| one.wait().code(0).json_lines()).collect();
    assert_eq!(said[0].len(), 40);
    assert!(said.iter().all(|objects| *objects == said[0]), "all name the same runs");
    let mut expected: BTreeSet<String> =
        said[0].iter().map(|object| object["run_name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(expected.len(), 40);
    expected.insert(".batch".to_owned());
    assert_eq!(names(&lab, "runs/b"), expected);
    assert_eq!(names(&lab, "runs").len(), 1);
}

#[test]
fn a_line_that_was_killed_is_completed_by_the_same_line() {
    let lab = Lab::new();
    let sweep = || lab.cmd("run-new").args(["-b=b", "--exist-ok", "--sweep", "k=1..3000"]);
    let whole = lab.cmd("run-new").args(["-b=whole", "--sweep", "k=1..3000"]).run().code(0);
    let mut random = testkit::Random::new(11);
    for _ in 0..testkit::times(3, 30) {
        let mut new = sweep().spawn();
        let mut out = BufReader::new(new.child.stdout.take().unwrap());
        let mut printed = Vec::new();
        for _ in 0..random.below(1500) {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            printed.push(line.trim_end().to_owned());
        }
        new.signal(Signal::KILL);
        new.wait();
        for path in printed.iter().filter(|path| !path.is_empty()) {
            assert_eq!(meta(&lab, path)["overrides"]["k"], path.rsplit_once('-').unwrap().1);
        }
        // Every run there is is whole.
        for name in names(&lab, "runs/b").iter().filter(|name| !name.starts_with('.')) {
            assert_eq!(lab.json(&format!("runs/b/{name}/.run/status.json"))["status"], "created");
        }
        if random.below(2) == 0 {
            let _ = fs::remove_dir_all(lab.path("runs/b/run_k-7")); // it may not be there yet
        }
    }
    sweep().run().code(0).stderr("").stdout(whole.out().replace("runs/whole/", "runs/b/"));
    assert_eq!(names(&lab, "runs/b").len(), 3001, "what was left half written is removed");
}

#[test]
fn a_batch_appears_with_its_record_or_not_at_all() {
    let lab = Lab::new();
    let start = std::time::Instant::now();
    lab.cmd("run-new").args(["-b=whole", "--sweep", "k=1..9"]).run().code(0);
    let usual = u64::try_from(start.elapsed().as_micros()).unwrap();
    let mut random = testkit::Random::new(3);
    let mut cut = 0;
    for number in 0..1000 {
        if number >= testkit::times(30, 300) && cut > 0 {
            break;
        }
        let batch = format!("b{number}");
        let line = || lab.cmd("run-new").args([&format!("-b={batch}"), "--exist-ok", "--sweep", "k=1..9"]);
        let new = line().spawn();
        std::thread::sleep(std::time::Duration::from_micros(random.below(usual))); // the moment that is tried
        new.signal(Signal::KILL);
        new.wait();
        let dir = format!("runs/{batch}");
        if lab.path(&dir).exists() {
            assert_eq!(lab.json(&format!("{dir}/.batch/batch.json"))["name"], batch);
            for run in names(&lab, &dir).iter().filter(|name| !name.starts_with('.')) {
                assert_eq!(lab.status(&format!("{dir}/{run}"))["status"], "created");
            }
            cut += usize::from(names(&lab, &dir).len() < 10);
        }
        assert_eq!(lines(&line().run().code(0)).len(), 9);
        assert_eq!(names(&lab, &dir).len(), 10, "what was left half written is removed");
    }
    assert!(cut > 0, "no batch was cut short");
}

#[test]
fn draws_are_the_same_for_a_seed() {
    let lab = Lab::new();
    let draw = |batch: &str, number: &str, seed: &[&str]| {
        let sweeps = ["--sweep", "lr=loguniform(1e-5,1e-1)", "--sweep", "drop=uniform(0,0.5)"];
        let more = ["--sweep", "opt=choice(adam,\"sgd,nesterov\")", "--sweep", "layers=2..8..2"];
        lab.cmd("run-new")
            .args([batch, "--exist-ok", "--json", "--sample", number])
            .args(seed)
            .args(sweeps)
            .args(more)
            .run()
    };
    let done = draw("-b=a", "3", &["--sample-seed", "42"]).code(0).stderr("");
    let overrides = |done: &Done| -> Vec<Value> {
        done.json_lines().iter().map(|object| object["overrides"].clone()).collect()
    };
    // Computed by a program of its own from what run-new(1) says of the generator.
    let expected = json!([
        {"lr": "0.00925251", "drop": "0.0799552", "opt": "adam", "layers": "4"},
        {"lr": "0.0000141945", "drop": "0.434114", "opt": "adam", "layers": "8"},
        {"lr": "0.000228941", "drop": "0.309241", "opt": "adam", "layers": "4"},
    ]);
    assert_eq!(json!(overrides(&done)), expected);
    assert_eq!(lab.json("runs/a/.batch/batch.json")["sample_seed"], 42);
    // More of them begin with the same ones.
    let more = draw("-b=a", "5", &["--sample-seed", "42"]).code(0);
    assert_eq!(overrides(&more)[..3], overrides(&done));
    // A random seed is printed, recorded, and used again.
    let first = draw("-b=b", "3", &[]).code(0);
    let seed = lab.json("runs/b/.batch/batch.json")["sample_seed"].to_string();
    let said = format!("run-new: use --sample-seed {seed} to repeat these draws\n");
    assert_eq!(first.err(), said);
    draw("-b=b", "3", &[]).code(0).stderr(&said).stdout(first.out());
    let given = draw("-b=c", "3", &["--sample-seed", &seed]).code(0).stderr("");
    assert_eq!(overrides(&given), overrides(&first));
    // Every config gets the same draws.
    lab.write("x.yaml", "");
    lab.write("y.yaml", "");
    let args =
        ["--json", "--sample", "2", "--sample-seed", "1", "--sweep", "k=uniform(0,1)", "x.yaml", "y.yaml"];
    let both = overrides(&lab.cmd("run-new").args(args).run().code(0));
    assert_eq!((both.len(), &both[..2]), (4, &both[2..]));
}

#[test]
fn what_cannot_be_swept_is_refused_before_anything_is_created() {
    let lab = Lab::new();
    lab.write("a.yaml", "");
    let refused = |args: &[&str], code: i32, message: &str| {
        let done = lab.cmd("run-new").args(args).run().code(code).stdout("");
        assert_eq!(done.err().lines().next().unwrap(), format!("run-new: {message}"), "{args:?}");
        assert!(done.err().lines().count() <= 2 && !lab.path("runs").exists(), "{}", done.err());
    };
    refused(&["--sweep", "lr"], 2, "invalid value 'lr' for '--sweep <KEY=SPEC>': must be KEY=VALUE,...");
    refused(
        &["--sweep", "lr=1,lin(1,2)"],
        2,
        "invalid value 'lr=1,lin(1,2)' for '--sweep <KEY=SPEC>': value 2: lin takes FROM,TO,COUNT",
    );
    refused(&["--sweep", "a=1", "--sweep", "a=2"], 2, "cannot sweep 'a': two --sweep options name it");
    refused(&["--sweep", "a=1", "-s", "a=2"], 2, "cannot sweep 'a': --set sets it, too");
    refused(&["--sweep", "a=uniform(0,1)"], 2, "cannot sweep 'a': random values need --sample N");
    refused(
        &["--sweep", "token=a,b"],
        2,
        "cannot sweep 'token': value 1 is a credential, and credentials are not recorded",
    );
    refused(
        &["--sweep", "u=x,https://u:p@h"],
        2,
        "cannot sweep 'u': value 2 is a credential, and credentials are not recorded",
    );
    refused(&["--sample", "3"], 2, "--sample needs a --sweep");
    refused(
        &["--sample", "3", "--sweep", "a=1,2"],
        2,
        "cannot draw what --sample asks for: there are only 2 different draws",
    );
    refused(
        &["--sample", "0", "--sweep", "a=1,2"],
        2,
        "invalid value '0' for '--sample <N>': must be a whole number above 0",
    );
    refused(
        &["--sweep", "a=1..1000", "--sweep", "b=1..1000"],
        2,
        "cannot create 1000000 runs: one call creates at most 100000",
    );
    refused(&["--exist-ok"], 2, "--exist-ok needs a batch with a name");
    refused(&["--exist-ok", "-b"], 2, "--exist-ok needs a batch with a name");
    refused(&["-b=a/b"], 2, "cannot use the name 'a/b': it contains '/'");
    refused(&["-b="], 2, "cannot use the name '': it is empty");
    refused(&["-b", "-n", "stop"], 2, "cannot use the name 'stop': a file of the batch has this name");
    refused(&["-b", "none/*.yaml"], 5, "cannot read 'none/*.yaml': no file matches");
    refused(&["-b", "a.yaml", "missing.yaml"], 5, "cannot read 'missing.yaml': No such file or directory");
    refused(&["-b", "a.ya[ml"], 2, "cannot use the pattern 'a.ya[ml': invalid range pattern");
}

#[test]
fn a_quoted_pattern_stands_for_the_files_that_match() {
    let lab = Lab::new();
    for name in ["c/b.yaml", "c/a.yaml", "c/.hidden.yaml", "c/d/e.yaml", "c/[x].yaml", "c/dir.yaml/f.toml"] {
        lab.write(name, "");
    }
    let stems = |args: &[&str]| -> Vec<String> {
        let done = lab.cmd("run-new").args(["-b", "--json"]).args(args).run().code(0).stderr("");
        done.json_lines().iter().map(|object| object["run_name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(stems(&["c/*.yaml"]), ["[x]", "a", "b"]);
    assert_eq!(stems(&["c/[x].yaml"]), ["[x]"]);
    assert_eq!(stems(&["c/**/*.yaml"]), ["[x]", "a", "b", "e"]);
    assert_eq!(stems(&["c/b.yaml", "c/?.yaml"]), ["b", "a", "b-2"]);
}

#[test]
fn seed_steps_and_device_are_those_of_the_cell() {
    let lab = Lab::new();
    lab.write("a.yaml", "seed: 1\nmax_steps: 10\ndevice: mps\n");
    lab.write("b.yaml", "max_steps: 20\n");
    let args = ["--json", "--sweep", "seed=5,6", "--sweep", "device=cpu", "a.yaml", "b.yaml"];
    let said: Vec<Value> = lab
        .cmd("run-new")
        .args(args)
        .run()
        .code(0)
        .json_lines()
        .iter()
        .map(|meta| json!([meta["seed"], meta["total_steps"], meta["device"]]))
        .collect();
    assert_eq!(json!(said), json!([[5, 10, "cpu"], [6, 10, "cpu"], [5, 20, "cpu"], [6, 20, "cpu"]]));
    let done = lab.cmd("run-new").args(args).args(["--seed", "9"]).run().code(0);
    assert!(done.json_lines().iter().all(|meta| meta["seed"] == 9));
}

#[test]
fn a_sweep_without_a_batch_makes_runs_beside_each_other() {
    let lab = Lab::new();
    let all: Vec<_> = (0..8).map(|_| lab.cmd("run-new").args(["--sweep", "k=1..30"]).spawn()).collect();
    let mut paths: Vec<String> =
        all.into_iter().flat_map(|one| lines(&one.wait().code(0).stderr(""))).collect();
    paths.sort();
    paths.dedup();
    assert_eq!((paths.len(), names(&lab, "runs").len()), (240, 240));
    for path in paths {
        let meta = meta(&lab, &path);
        let name = path.strip_prefix("runs/").unwrap();
        assert_eq!((&meta["run_name"], &meta["batch"]), (&json!(name), &Value::Null));
        assert!(
            name.starts_with("run_20")
                && name.contains(&format!("_k-{}", meta["overrides"]["k"].as_str().unwrap()))
        );
    }
}

#[test]
fn a_reader_gets_the_first_run_while_others_are_created() {
    let lab = Lab::new();
    let script = "run-new -b=b --sweep k=1..20000 -- true {set} | { read -r run; exec </dev/null; run-exec -q \"$run\"; }";
    lab.cmd("bash").args(["-e", "-o", "pipefail", "-c", script]).run().code(0).stderr("").stdout("");
    assert_eq!(lab.status("runs/b/run_k-1")["status"], "completed");
    let there = names(&lab, "runs/b");
    assert!(there.len() < 20_000, "who is not read any more creates no more");
    assert!(there.iter().all(|name| !name.starts_with(".new-")));
    let done = lab.cmd("run-new").args(["-0", "--sweep", "k=a\u{301}b,c d"]).run().code(0);
    let paths: Vec<&[u8]> = done.stdout.split(|&byte| byte == 0).collect();
    assert_eq!((paths.len(), paths[2].len(), done.out().contains('\n')), (3, 0, false));
    let piped = lab.cmd("run-status").args(["--json", "-0", "-"]).stdin(&done.stdout).run().code(0);
    assert_eq!(piped.json_lines().len(), 2);
}
