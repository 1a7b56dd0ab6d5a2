//! What lies in the place of a file of a run: links, pipes, devices, directories, files without end. No tool
//! writes to anything but the run's own files, waits, fills memory, or lets one bad run hide the others.
//! All that links lead to lies in the laboratory.

use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use testkit::process::Signal;
use testkit::{Done, Lab, Random, times};

/// What is put in the place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Put {
    /// A link to the file itself, which was moved away: all can be read as before.
    Link,
    /// A link to a file of somebody else.
    LinkToOther,
    /// A link to a file that is not there.
    Dangling,
    /// Another name of the file.
    HardLink,
    /// A pipe that nobody writes to.
    Pipe,
    /// A directory with a file in it.
    Directory,
    /// A link to a device without end.
    Zero,
    /// Ten gigabytes without a line end.
    Endless,
}

use Put::{Dangling, Directory, Endless, HardLink, Link, LinkToOther, Pipe, Zero};

const ALL: [Put; 8] = [Link, LinkToOther, Dangling, HardLink, Pipe, Directory, Zero, Endless];

/// What no file of a record may be when it is written to in place.
const UNFIT: [Put; 7] = [Link, LinkToOther, Dangling, HardLink, Pipe, Directory, Zero];

const LENGTH: u64 = 10 << 30;

impl Put {
    /// Puts it at a place below a directory; what it leads to is below `victims` there.
    fn at(self, root: &Path, place: &str) {
        let path = root.join(place);
        let victims = root.join("victims");
        let moved = victims.join("moved");
        let was_there = path.symlink_metadata().is_ok();
        if !was_there {
            fs::write(&moved, "precious\n").unwrap();
        }
        match self {
            Link | HardLink if was_there => fs::rename(&path, &moved).unwrap(),
            _ if was_there && path.is_dir() => fs::remove_dir_all(&path).unwrap(),
            _ if was_there => fs::remove_file(&path).unwrap(),
            _ => {}
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match self {
            Link => symlink(&moved, &path).unwrap(),
            LinkToOther => symlink(victims.join("other"), &path).unwrap(),
            Dangling => symlink(victims.join("nowhere"), &path).unwrap(),
            HardLink => fs::hard_link(&moved, &path).unwrap(),
            Pipe => mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap(),
            Directory => {
                fs::create_dir(&path).unwrap();
                fs::write(path.join("kept"), "kept\n").unwrap();
            }
            Zero => symlink("/dev/zero", &path).unwrap(),
            Endless => File::create(&path).unwrap().set_len(LENGTH).unwrap(),
        }
    }

    /// Says in what words it is refused.
    fn words(self) -> &'static str {
        match self {
            Link | LinkToOther | Dangling | Zero => "it is a symbolic link",
            HardLink => "it is a hard link, and its other names would change too",
            Pipe => "it is a pipe",
            Directory => "it is a directory",
            Endless => "it is larger",
        }
    }
}

/// Runs with all files that there can be, and a copy of them for each case.
struct Stage {
    lab: Lab,
}

impl Stage {
    fn new() -> Self {
        let lab = Lab::new();
        lab.write("base.yaml", "seed: 1\nlr: 0.1\n");
        let program = "echo step 1 loss 0.5; echo error >&2; mkdir -p $RUN_DIR/checkpoints/step_1; \
                       echo {} >$RUN_DIR/checkpoints/step_1/state.json; echo '{\"step\":1,\"acc\":2}' >$RUN_METRICS; sleep 0.05";
        let new = |args: &[&str]| {
            lab.cmd("run-new").args(args).args(["base.yaml", "--", "sh", "-c", program]).run()
        };
        new(&["-n", "r"]).code(0);
        new(&["-n", "other"]).code(0);
        new(&["-b=b", "--sweep", "k=1..2"]).code(0);
        for name in ["r", "other", "b"] {
            lab.cmd("run-exec").args(["-q", "--heartbeat", "10ms", name]).run().code(0);
        }
        let done = lab.cmd("run-eval").args(["r", "--", "echo", "{\"score\": 1}"]).run().code(0);
        assert_eq!(done.out(), "eval_runs/r_eval/consolidated_metrics.csv\n");
        for name in ["runs", "eval_runs"] {
            fs::create_dir_all(lab.path("template")).unwrap();
            fs::rename(lab.path(name), lab.path("template").join(name)).unwrap();
        }
        lab.write("template/victims/other", "theirs\n");
        Self { lab }
    }

    /// Makes a case ready: something in the place of a file.
    fn case(&self, put: Put, place: &str) -> Case<'_> {
        let root = self.lab.path("case");
        if root.exists() {
            fs::remove_dir_all(&root).unwrap();
        }
        self.lab.cmd("cp").args(["-a", "template", "case"]).run().code(0);
        put.at(&root, place);
        let before = snapshot(&root);
        Case { lab: &self.lab, shown: format!("{put:?} at {place}"), root, before }
    }
}

/// Something in the place of a file.
struct Case<'a> {
    lab: &'a Lab,
    shown: String,
    root: PathBuf,
    before: BTreeMap<PathBuf, Vec<u8>>,
}

impl Case<'_> {
    /// Executes a tool with bounded memory. It says what is wrong in one line, with another for advice.
    fn run(&self, words: &[&str]) -> Done {
        self.run_to(words, Stdio::piped())
    }

    fn run_to(&self, words: &[&str], to: Stdio) -> Done {
        let limited = ["-c", "ulimit -v 3000000; exec \"$@\"", "sh"];
        let done = self.lab.cmd("sh").cwd(&self.root).args(limited).args(words).stdout_to(to).run();
        let (err, shown) = (done.err(), &self.shown);
        assert!(done.code < 200, "{shown}: {words:?} ended with {}: {err}", done.code);
        assert!(err.lines().count() <= 2, "{shown}: {words:?} says {err}");
        for line in err.lines() {
            assert!(line.starts_with(&format!("{}: ", words[0])), "{shown}: {words:?} says {line}");
        }
        self.victims_are_safe(words);
        done
    }

    /// Expects an exit status.
    fn code(&self, words: &[&str], codes: &[i32]) -> Done {
        let done = self.run(words);
        let (code, err) = (done.code, done.err());
        assert!(codes.contains(&code), "{}: {words:?} ended with {code}: {err}", self.shown);
        done
    }

    /// Expects that nothing has changed outside of the run.
    fn victims_are_safe(&self, words: &[&str]) {
        let victims = |all: &BTreeMap<PathBuf, Vec<u8>>| -> Vec<(PathBuf, Vec<u8>)> {
            all.iter()
                .filter(|(path, _)| path.starts_with("victims"))
                .map(|(p, b)| (p.clone(), b.clone()))
                .collect()
        };
        assert_eq!(victims(&snapshot(&self.root)), victims(&self.before), "{}: {words:?}", self.shown);
    }

    /// Expects that nothing has changed at all.
    fn nothing_is_touched(&self) {
        let now = snapshot(&self.root);
        let changed: Vec<_> = self
            .before
            .keys()
            .chain(now.keys())
            .filter(|path| self.before.get(*path) != now.get(*path))
            .collect();
        assert!(changed.is_empty(), "{}: changed {changed:?}", self.shown);
    }

    /// Expects that the other run is listed, by all who list.
    fn others_are_listed(&self) {
        for words in [&["run-status", "-a", "--json"][..], &["run-report", "--format", "json"]] {
            let done = self.code(words, &[0, 3]);
            let names: Vec<String> = done
                .json_lines()
                .iter()
                .map(|line| line["run_name"].as_str().or(line["run"].as_str()).unwrap().to_owned())
                .collect();
            for name in ["other", "base_k=1", "base_k=2"] {
                assert!(
                    names.iter().any(|found| found.ends_with(name)),
                    "{}: {words:?} lists {names:?}",
                    self.shown
                );
            }
        }
    }
}

/// Returns what is below a directory: the content of each file, or what it is.
fn snapshot(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn add(root: &Path, directory: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let content = match kind {
                kind if kind.is_symlink() => {
                    fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
                }
                kind if kind.is_dir() => {
                    add(root, &path, into);
                    Vec::new()
                }
                kind if kind.is_file() && entry.metadata().unwrap().len() < LENGTH => {
                    fs::read(&path).unwrap()
                }
                _ => format!("{kind:?}").into_bytes(),
            };
            into.insert(path.strip_prefix(root).unwrap().to_owned(), content);
        }
    }
    let mut all = BTreeMap::new();
    add(root, root, &mut all);
    all
}

const APPENDED: [&str; 7] = [
    "runs/r/.run/lock",
    "runs/r/.run/attempts.jsonl",
    "runs/r/.run/resources.jsonl",
    "runs/r/.run/scraped.jsonl",
    "runs/r/stdout.log",
    "runs/r/stderr.log",
    "runs/r/combined.log",
];

#[test]
fn no_attempt_writes_to_what_is_not_the_runs_file() {
    let stage = Stage::new();
    for place in APPENDED {
        for put in UNFIT {
            let case = stage.case(put, place);
            let done = case.code(&["run-exec", "-q", "--resume", "r"], &[125]);
            let expected =
                format!("run-exec: cannot write '{}': {}\n", case.root.join(place).display(), put.words());
            assert_eq!(done.err(), expected, "{}", case.shown);
            case.nothing_is_touched();
        }
        // What is wrong with one run does not keep others from theirs.
        let case = stage.case(Link, place);
        case.code(&["run-exec", "-q", "--resume", "r", "other"], &[3]);
        assert_eq!(stage.lab.json("case/runs/other/.run/status.json")["attempt"], 2);
    }
    for log in &APPENDED[4..] {
        let case = stage.case(Endless, log);
        case.code(&["run-exec", "-q", "--resume", "r"], &[0]);
        assert!(fs::metadata(case.root.join(log)).unwrap().len() > LENGTH, "{}", case.shown);
    }
    let case = stage.case(Endless, "runs/r/.run/attempts.jsonl");
    case.code(&["run-exec", "-q", "--resume", "r"], &[125]);
    assert_eq!(stage.lab.json("case/runs/r/.run/status.json")["attempt"], 1);
}

#[test]
fn no_replacement_of_a_file_goes_through_a_link() {
    let stage = Stage::new();
    for place in ["runs/r/.run/status.json", "runs/r/.run/result.json", "runs/r/.run/pid"] {
        for put in UNFIT {
            let case = stage.case(put, place);
            let code = if put == HardLink { 0 } else { 125 };
            if place.ends_with("status.json") && put != Link && put != HardLink {
                case.code(&["run-exec", "-q", "--resume", "r"], &[0, 125]); // it says nothing
                continue;
            }
            case.code(&["run-exec", "-q", "--resume", "r"], &[code]);
            if code == 125 {
                case.nothing_is_touched();
            }
        }
    }
    for place in ["runs/r/.run/.status.json.tmp", "runs/r/.run/.result.json.tmp", "runs/r/.run/.pid.tmp"] {
        for put in ALL {
            let case = stage.case(put, place);
            let code = if put == Directory { 125 } else { 0 };
            case.code(&["run-exec", "-q", "--heartbeat", "10ms", "--resume", "r"], &[code]);
            if put == Directory {
                case.nothing_is_touched();
            } else {
                let status = stage.lab.json("case/runs/r/.run/status.json");
                assert_eq!(
                    (&status["attempt"], &status["status"]),
                    (&2.into(), &"completed".into()),
                    "{}",
                    case.shown
                );
                assert!(!case.root.join(place).exists(), "{}", case.shown);
            }
        }
    }
}

#[test]
fn a_record_is_a_directory_of_its_own_and_a_run_may_be_reached_by_a_link() {
    let stage = Stage::new();
    for put in [Link, LinkToOther, Dangling] {
        let case = stage.case(put, "runs/r/.run");
        case.code(&["run-exec", "-q", "--resume", "r"], &[125]);
        case.nothing_is_touched();
        case.others_are_listed();
    }
    let case = stage.case(Link, "runs/r");
    case.run(&["run-status", "r"]);
    stage.lab.cmd("run-exec").cwd(&case.root).args(["-q", "--resume", "r"]).run().code(0);
    assert_eq!(stage.lab.json("case/victims/moved/.run/status.json")["attempt"], 2);
    let case = stage.case(Link, "runs/r/checkpoints");
    case.code(&["run-status", "r"], &[0]);
}

#[test]
fn no_request_to_stop_goes_through_a_link() {
    let stage = Stage::new();
    for put in [Link, LinkToOther, Dangling, HardLink, Pipe, Directory, Zero] {
        let case = stage.case(put, "runs/r/stop");
        stage.lab.cmd("run-new").cwd(&case.root).args(["-n", "new", "--", "true"]).run().code(0);
        fs::rename(case.root.join("runs/r/stop"), case.root.join("runs/new/stop")).unwrap();
        for words in
            [&["run-stop", "--no-wait", "new"][..], &["run-stop", "--no-wait", "--grace", "1s", "new"]]
        {
            case.code(words, &[0, 5]);
            assert!(case.root.join("runs/new/stop").symlink_metadata().is_ok());
        }
        let scratch = "ln -s ../../victims/other runs/new/.stop.$$.tmp; exec \"$@\"";
        let words = ["-c", scratch, "sh", "run-stop", "--no-wait", "--grace", "2s", "new"];
        stage.lab.cmd("sh").cwd(&case.root).args(words).run();
        case.victims_are_safe(&["run-stop"]);
        case.code(&["run-exec", "-q", "new"], &[125]);
    }
}

#[test]
fn no_evaluation_writes_to_what_is_not_its_own() {
    let stage = Stage::new();
    let eval = ["run-eval", "--force", "r", "--", "echo", "{\"score\": 2}"];
    let kind = "eval_runs/r_eval";
    let one = format!("{kind}/step_1_eval");
    // The place, and whether it is written to, so that the evaluation is refused.
    let files = [
        (".lock", true),
        (".eval/evaluations.json", true),
        ("eval_config.yaml", true),
        ("consolidated_metrics.csv", true),
        (".eval/.evaluations.json.tmp", false),
        (".eval_config.yaml.tmp", false),
        (".consolidated_metrics.csv.tmp", false),
        ("step_1_eval/.eval/lock", true),
        ("step_1_eval/.eval/attempts.jsonl", true),
        ("step_1_eval/.eval/resources.jsonl", true),
        ("step_1_eval/.eval/meta.json", false),
        ("step_1_eval/.eval/metrics.json", true),
        ("step_1_eval/.eval/.metrics.json.tmp", false),
        ("step_1_eval/stdout.log", true),
        ("step_1_eval/metrics.csv", false),
        ("step_1_eval/summary.json", false),
    ];
    for (file, is_refused) in files {
        for put in UNFIT {
            let case = stage.case(put, &format!("{kind}/{file}"));
            let is_replaced = [".csv", ".yaml", ".json"].iter().any(|end| file.ends_with(end));
            let codes: &[i32] = match put {
                HardLink if is_replaced => &[0],
                _ if is_refused => &[3],
                Directory => &[0, 1, 3, 5],
                _ => &[0],
            };
            case.code(&eval, codes);
        }
    }
    let record = format!("{kind}/.eval");
    for directory in [&record, &one, &format!("{one}/.eval"), &format!("{one}/.eval/attempt-1")] {
        for put in [Link, LinkToOther, Dangling] {
            let case = stage.case(put, directory);
            case.code(&eval, &[3]);
        }
    }
    for put in [Link, LinkToOther, Dangling, Pipe] {
        let case = stage.case(put, "runs/r/.eval-pins");
        case.code(&eval, &[0]);
        let case = stage.case(put, "runs/r/.eval-pins/lock");
        case.code(&eval, &[0]);
    }
    // The directory of all may be elsewhere.
    let case = stage.case(Link, kind);
    stage.lab.cmd("run-eval").cwd(&case.root).args(&eval[1..]).run().code(0);
}

#[test]
fn what_people_read_of_a_batch_keeps_no_run_from_its_work() {
    let stage = Stage::new();
    let places =
        ["lock", "../master_log.txt", "../experiment_summary.json", "../.experiment_summary.json.tmp", ""];
    for place in places.map(|place| format!("runs/b/.batch/{place}")) {
        for put in [Link, LinkToOther, Dangling, HardLink, Pipe, Directory, Zero] {
            if place.ends_with('/') && put != Link {
                continue; // then it is no batch
            }
            let case = stage.case(put, place.trim_end_matches('/'));
            let done = case.code(&["run-exec", "-q", "--resume", "runs/b/base_k=1", "runs/b/base_k=2"], &[0]);
            for run in ["base_k=1", "base_k=2"] {
                assert_eq!(
                    stage.lab.json(&format!("case/runs/b/{run}/.run/status.json"))["attempt"],
                    2,
                    "{}",
                    case.shown
                );
            }
            let is_written = place.contains("experiment_summary")
                && (put == HardLink || place.contains(".json.tmp") && put != Directory);
            assert_eq!(done.err().is_empty(), is_written, "{}: {}", case.shown, done.err());
        }
    }
}

/// Places of files that are read, of a record and of a trainer.
const READ: [&str; 28] = [
    "runs/r/.run/meta.json",
    "runs/r/.run/status.json",
    "runs/r/.run/result.json",
    "runs/r/.run/attempts.jsonl",
    "runs/r/.run/resources.jsonl",
    "runs/r/.run/scraped.jsonl",
    "runs/r/.run/lock",
    "runs/r/.run/git.patch",
    "runs/r/stdout.log",
    "runs/r/stderr.log",
    "runs/r/combined.log",
    "runs/r/metrics.jsonl",
    "runs/r/metrics.csv",
    "runs/r/events.out.tfevents.1.h",
    "runs/r/config.yaml",
    "runs/r/stop",
    "runs/r/checkpoints/step_1/state.json",
    "runs/r/checkpoints/step_1/trainer_state.json",
    "runs/r/checkpoints/latest",
    "runs/b/.batch/batch.json",
    "runs/b/stop",
    "eval_runs/r_eval/.eval/evaluations.json",
    "eval_runs/r_eval/eval_config.yaml",
    "eval_runs/r_eval/consolidated_metrics.csv",
    "eval_runs/r_eval/step_1_eval/.eval/meta.json",
    "eval_runs/r_eval/step_1_eval/.eval/status.json",
    "eval_runs/r_eval/step_1_eval/.eval/metrics.json",
    "eval_runs/r_eval/step_1_eval/stdout.log",
];

const READERS: [&[&str]; 16] = [
    &["run-status", "-a"],
    &["run-status", "-a", "--full"],
    &["run-status", "r"],
    &["run-status", "--log", "r"],
    &["run-status", "--log=stdout", "r"],
    &["run-status", "--log=stderr", "-f", "r"],
    &["run-status", "--wait", "--timeout", "1s", "r"],
    &["run-status", "b"],
    &["run-report", "r", "other"],
    &["run-report", "--metrics"],
    &["run-report", "--evals"],
    &["run-report", "--cost", "--rate", "1"],
    &["run-report", "--compare", "r", "other"],
    &["run-report", "--export", "-"],
    &["run-stop", "r"],
    &["run-stop", "--all"],
];

#[test]
fn no_reader_waits_or_fills_memory_or_hides_the_other_runs() {
    let stage = Stage::new();
    let mut random = Random::new(11);
    let chosen = times(1, READERS.len());
    for place in READ {
        for put in ALL {
            let case = stage.case(put, place);
            case.others_are_listed();
            let first = usize::try_from(random.below(READERS.len() as u64)).unwrap();
            for reader in READERS.iter().cycle().skip(first).take(chosen) {
                // Ten gigabytes of a log are printed, and more than the test wants to keep.
                let done = case.run_to(reader, Stdio::null());
                assert!(
                    [0, 1, 3].contains(&done.code),
                    "{}: {reader:?} ended with {}: {}",
                    case.shown,
                    done.code,
                    done.err()
                );
            }
            if !place.ends_with("stop") {
                case.nothing_is_touched();
            }
        }
    }
}

#[test]
fn a_log_is_streamed_and_what_is_no_log_is_said() {
    let stage = Stage::new();
    let logs = [("combined", "combined.log"), ("stdout", "stdout.log"), ("stderr", "stderr.log")];
    for (number, (log, place)) in logs.into_iter().enumerate() {
        for put in [Pipe, Directory, Zero] {
            let case = stage.case(put, &format!("runs/r/{place}"));
            let why = if put == Zero { "it is a device" } else { put.words() };
            let done = case.code(&["run-status", &format!("--log={log}"), "r"], &[3]);
            assert_eq!(done.err(), format!("run-status: cannot read 'runs/r/{place}': {why}\n"));
        }
        if number >= times(1, logs.len()) {
            continue; // it takes its time
        }
        let case = stage.case(Endless, &format!("runs/r/{place}"));
        let script = format!("ulimit -v 3000000; run-status --log={log} r | tail -c +10000000000 | wc -c");
        let printed =
            stage.lab.cmd("sh").cwd(&case.root).args(["-c", &script]).run().code(0).stderr("").out();
        let before = if log == "combined" { 37 } else { 0 }; // the head of the line
        assert_eq!(printed.trim().parse::<u64>().unwrap(), LENGTH - before - 10_000_000_000 + 1);
        // A reader that prints to nobody ends with a signal.
        let reader = stage.lab.cmd("run-status").cwd(&case.root).args([&format!("--log={log}"), "r"]).spawn();
        for signal in [Signal::TERM, Signal::INT] {
            reader.signal(signal);
        }
        let code = reader.wait().code;
        assert!(code == 1000 + 15 || code == 1000 + 2, "{code}");
    }
}

#[test]
fn a_config_without_end_is_copied_and_not_understood() {
    let lab = Lab::new();
    let file = lab.write("big.yaml", "seed: 1\n");
    let length = 64 << 20;
    File::options().write(true).open(&file).unwrap().set_len(length).unwrap();
    let script = "ulimit -v 60000; exec run-new -n r big.yaml -- true";
    let done = lab.cmd("sh").args(["-c", script]).run().code(0);
    let expected = "run-new: 'big.yaml' cannot be understood, so nothing is read from it: it is too large\n";
    assert_eq!(done.err(), expected);
    lab.cmd("cmp").args(["big.yaml", "runs/r/config.yaml"]).run().code(0);
    let hash = lab.cmd("sha256sum").arg("big.yaml").run().code(0).out();
    assert_eq!(lab.json("runs/r/.run/meta.json")["config_sha256"], hash[..64]);
    lab.cmd("run-exec").args(["-q", "r"]).run().code(0);
    lab.cmd("run-exec").args(["-q", "--resume", "r"]).run().code(0);
    lab.cmd("run-report").arg("r").run().code(0);
    // What the user names may be a pipe, of which there is an end.
    lab.cmd("run-new").args(["-n", "p", "/dev/stdin"]).stdin("seed: 1\n").run().code(0);
    assert_eq!(lab.read("runs/p/config"), "seed: 1\n");
    lab.cmd("run-new")
        .args(["-n", "z", "/dev/zero"])
        .run()
        .code(5)
        .stderr("run-new: cannot read '/dev/zero': it is larger than 16 MiB\n");
    lab.cmd("mkfifo").arg("pipe.yaml").run().code(0);
    lab.cmd("run-new").args(["-n", "q", "p*.yaml"]).run().code(5).stderr_has("no file matches");
    let reader = lab.cmd("run-new").args(["-n", "w", "pipe.yaml"]).spawn();
    reader.signal(Signal::TERM);
    reader.wait().code(1015);
}

#[test]
fn prices_are_not_waited_for_at_the_end_of_a_run() {
    let lab = Lab::new();
    lab.cmd("mkfifo").arg("rates").run().code(0);
    let run = lab.new_run("r", &["true"]);
    lab.cmd("run-exec").env("RUN_RATES", lab.path("rates")).args(["-q", &run]).run().code(0);
    let done = lab.cmd("run-report").env("RUN_RATES", "rates").arg("--cost").run();
    assert_eq!((done.code, done.err().as_str()), (3, "run-report: cannot read 'rates': it is a pipe\n"));
}

#[test]
fn links_list_nothing_twice_and_are_not_followed_in_circles() {
    let lab = Lab::new();
    lab.new_run("a", &["true"]);
    lab.cmd("run-new").args(["-b=b", "--sweep", "k=1..2", "--", "true"]).run().code(0);
    fs::create_dir(lab.path("runs/dark")).unwrap();
    for number in 0..300 {
        symlink(".", lab.path(format!("runs/loop{number}"))).unwrap();
    }
    symlink("..", lab.path("runs/b/up")).unwrap();
    symlink("run_k=1", lab.path("runs/b/again")).unwrap();
    for name in ["runs/a/.run", "runs/dark"] {
        lab.set_mode(name, 0);
    }
    let done = lab.cmd_by_somebody("run-status").run().code(3);
    let err = done.err();
    for name in ["runs/a/.run", "runs/dark/.run"] {
        assert_eq!(err.matches("cannot read").count(), 2, "{err}");
        assert!(err.contains(&format!("run-status: cannot read '{name}': Permission denied\n")), "{err}");
    }
    let names = |done: Done| -> Vec<String> {
        done.json_lines()
            .iter()
            .map(|line| line["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(lab.cmd_by_somebody("run-status").arg("--json").run().code(3)), ["run_k=1", "run_k=2"]);
    assert_eq!(names(lab.cmd("run-status").args(["--json", "b"]).run().code(0)), ["run_k=1", "run_k=2"]);
    for name in ["runs/a/.run", "runs/dark"] {
        lab.set_mode(name, 0o755);
    }
    // What is reached by links alone is listed once, by one of them.
    fs::create_dir_all(lab.path("far/one")).unwrap();
    fs::rename(lab.path("runs/a"), lab.path("far/one/a")).unwrap();
    symlink("../far", lab.path("runs/0")).unwrap();
    symlink("../far/one", lab.path("runs/z")).unwrap();
    assert_eq!(names(lab.cmd("run-status").arg("--json").run().code(0)), ["run_k=1", "run_k=2", "a"]);
}
