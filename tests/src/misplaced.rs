//! What may be at the path of a file of a run: links, pipes, devices, directories, files without end. All
//! that links lead to lies in the laboratory.

use crate::{Done, Lab};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// What is put at the path of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// A link to the file itself, which was moved away: all can be read as before.
    Link,
    /// A link to a file of another user.
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

/// All of them.
pub const ALL: [Put; 8] = [Link, LinkToOther, Dangling, HardLink, Pipe, Directory, Zero, Endless];

/// What no file of a record may be when it is written to in place.
pub const UNFIT: [Put; 7] = [Link, LinkToOther, Dangling, HardLink, Pipe, Directory, Zero];

/// Bytes of the endless file.
pub const LENGTH: u64 = 10 << 30;

impl Put {
    /// Puts it at a place below a directory; what it leads to is below `victims` there.
    pub fn at(self, root: &Path, place: &str) {
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
    pub fn words(self) -> &'static str {
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
pub struct Stage {
    /// Where it is.
    pub lab: Lab,
}

impl Stage {
    /// Executes the runs.
    pub fn make() -> Self {
        let lab = Lab::new();
        lab.write("base.yaml", "seed: 1\nlr: 0.1\n");
        let program = ": $RUN_RESUME_FROM; echo step 1 loss 0.5; echo error >&2; mkdir -p $RUN_DIR/checkpoints/step_1; \
                       echo {} >$RUN_DIR/checkpoints/step_1/state.json; echo '{\"step\":1,\"acc\":2}' >$RUN_METRICS; sleep 0.05";
        let new = |args: &[&str]| {
            lab.cmd("run-new").args(args).args(["base.yaml", "--", "sh", "-c", program]).run()
        };
        new(&["-n", "r"]).code(0);
        new(&["-n", "other"]).code(0);
        new(&["-b=b", "--set-by-env", "--sweep", "k=1..2"]).code(0);
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

    /// Makes a case ready: something at the path of a file.
    pub fn case(&self, put: Put, place: &str) -> Case<'_> {
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

/// Something at the path of a file.
pub struct Case<'a> {
    lab: &'a Lab,
    /// What it is.
    pub shown: String,
    /// The directory of the runs' directory.
    pub root: PathBuf,
    before: BTreeMap<PathBuf, Vec<u8>>,
}

impl Case<'_> {
    /// Executes a tool with bounded memory. It says what is wrong in one line, with another for advice.
    pub fn run(&self, words: &[&str]) -> Done {
        self.run_to(words, Stdio::piped())
    }

    /// Like [`Self::run`], with standard output elsewhere.
    pub fn run_to(&self, words: &[&str], to: Stdio) -> Done {
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
    pub fn code(&self, words: &[&str], codes: &[i32]) -> Done {
        let done = self.run(words);
        let (code, err) = (done.code, done.err());
        assert!(codes.contains(&code), "{}: {words:?} ended with {code}: {err}", self.shown);
        done
    }

    /// Expects that nothing has changed outside of the run.
    pub fn victims_are_safe(&self, words: &[&str]) {
        let victims = |all: &BTreeMap<PathBuf, Vec<u8>>| -> Vec<(PathBuf, Vec<u8>)> {
            all.iter()
                .filter(|(path, _)| path.starts_with("victims"))
                .map(|(p, b)| (p.clone(), b.clone()))
                .collect()
        };
        assert_eq!(victims(&snapshot(&self.root)), victims(&self.before), "{}: {words:?}", self.shown);
    }

    /// Expects that nothing has changed at all.
    pub fn nothing_is_touched(&self) {
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
    pub fn others_are_listed(&self) {
        for words in [&["run-status", "-a", "--json"][..], &["run-report", "--format", "json"]] {
            let done = self.code(words, &[0, 3]);
            let names: Vec<String> = done
                .json_lines()
                .iter()
                .map(|line| line["run_name"].as_str().or(line["run"].as_str()).unwrap().to_owned())
                .collect();
            for name in ["other", "base_k-1", "base_k-2"] {
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

/// Executes a tool while something is at the place of a file, and returns its output. It may fail for that, but soon,
/// with little memory and in a few lines.
pub fn within_limits(lab: &Lab, put: Put, place: &str, words: &[&str]) -> String {
    let limited = ["30", "sh", "-c", "ulimit -v 3000000; exec \"$@\"", "sh"];
    let done = lab.cmd("timeout").args(limited).args(words).run();
    let err = done.err();
    assert!([0, 1, 3].contains(&done.code), "{put:?} at {place}: {words:?}: {} {err}", done.code);
    assert!(err.lines().count() <= 4, "{put:?} at {place}: {words:?} says {err}");
    done.out()
}
