//! Runs the built tools in laboratories: empty directories with a cleared environment, of which
//! nothing is left over. A failed expectation panics with what happened instead.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub mod active;
pub mod batches;
pub mod browser;
pub mod campaigns;
pub mod checkpoints;
pub mod evals;
pub mod foreign;
pub mod hosts;
pub mod kubectl;
pub mod locks;
pub mod misplaced;
pub mod progress;
pub mod python;
pub mod reports;
pub mod sets;
pub mod slurm;
pub mod sshd;
pub mod stores;
pub mod sync;
pub mod terminal;
pub mod trackers;

pub use campaigns::{Random, times};
pub use rustix::process;

/// How long a fact is waited for before the test fails: long enough for a busy machine, where eleven trainers that load
/// at once want a minute each.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// Returns the directory of the tools: `$RUN_BIN`, else where this test was built.
pub fn bin() -> PathBuf {
    if let Some(bin) = std::env::var_os("RUN_BIN") {
        return bin.into();
    }
    let test = std::env::current_exe().unwrap();
    let bin = test.ancestors().nth(2).unwrap().to_owned();
    assert!(bin.join("run-exec").exists(), "the tools are not built: 'make test' does that first");
    bin
}

/// Returns the top of the checkout.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns where a program is on a path.
fn find(program: &OsStr, path: &OsStr) -> Option<PathBuf> {
    let is_name = Path::new(program).components().count() == 1;
    std::env::split_paths(path).map(|dir| dir.join(program)).find(|found| is_name && found.is_file())
}

/// An empty directory to run tools in. It is removed in the end, and whatever was started in it is
/// killed.
#[derive(Debug)]
pub struct Lab {
    dir: PathBuf,
    mark: String,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// Creates a lab below the directory for temporary files.
    pub fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// Creates a lab below a directory.
    pub fn below(parent: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let mark = format!("lab-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let dir = parent.join(&mark);
        fs::create_dir_all(&dir).unwrap();
        Self { dir: dir.canonicalize().unwrap(), mark }
    }

    /// Returns its path.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns what is in the environment of all that is started in it, as `LAB`.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Returns the path of a file in it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes a file, with the directories above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Adds to the end of a file.
    pub fn append(&self, name: &str, content: impl AsRef<[u8]>) {
        let file = fs::File::options().append(true).create(true).open(self.path(name));
        file.unwrap().write_all(content.as_ref()).unwrap();
    }

    /// Sets the mode of a file. A program becomes a copy that `cp` writes: what this process has written may be open
    /// still in a child that another thread forks, and is "busy" for who executes it then.
    pub fn set_mode(&self, name: &str, mode: u32) {
        let path = self.path(name);
        if mode & 0o111 != 0 && path.is_file() {
            let copy = path.with_extension("copy");
            assert!(Command::new("cp").args([&path, &copy]).status().unwrap().success());
            fs::rename(&copy, &path).unwrap();
        }
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    /// Reads a file as text.
    pub fn read(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap()
    }

    /// Reads a file.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Reads a file that holds one JSON document.
    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.bytes(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Reads a file of JSON lines.
    pub fn json_lines(&self, name: &str) -> Vec<Value> {
        self.read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Prepares a tool, or any program on the path.
    pub fn cmd(&self, program: impl AsRef<OsStr>) -> Cmd {
        let program = program.as_ref();
        let mut path = OsString::from(bin());
        path.push(":/usr/local/bin:/usr/bin:/bin");
        // By its path a program is started without a copy of this process, which may have a gigabyte.
        let mut command = Command::new(find(program, &path).unwrap_or_else(|| program.into()));
        command
            .arg0(program)
            .env_clear()
            .env("PATH", path)
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env("HOME", &self.dir)
            .env("TMPDIR", std::env::temp_dir())
            .env("LAB", &self.mark)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Cmd { command, input: None }
    }

    /// Prepares a program for a user to whom file modes apply: not root.
    pub fn cmd_by_somebody(&self, program: &str) -> Cmd {
        self.set_mode("", 0o755);
        if process::getuid().is_root() {
            self.cmd("setpriv").args(["--reuid", "65534", "--clear-groups", program])
        } else {
            self.cmd(program)
        }
    }

    /// Returns a PATH on which the programs in the lab's `bin` come before all others.
    pub fn own_path(&self) -> String {
        format!("{}:{}:/usr/bin:/bin", self.path("bin").display(), bin().display())
    }

    /// Executes git, and returns what it prints.
    pub fn git(&self, args: &[&str]) -> String {
        self.cmd("git").args(["-c", "user.name=x", "-c", "user.email=x@y"]).args(args).run().code(0).out()
    }

    /// Creates a run of a command and returns its path, which begins with `runs/`.
    pub fn new_run(&self, name: &str, command: &[&str]) -> String {
        let done = self.cmd("run-new").args(["-n", name, "--"]).args(command).run().code(0).stderr("");
        done.out().trim_end().to_owned()
    }

    /// Returns what run-status says of a run.
    pub fn status(&self, run: &str) -> Value {
        let done = self.cmd("run-status").args(["--json", run]).run().code(0);
        serde_json::from_str(&done.out()).unwrap()
    }

    /// Waits until run-status says something of a run, and returns it.
    pub fn await_status(&self, run: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        wait_to_see(&format!("{run} to be {what}"), || self.status(run), holds)
    }

    /// Waits until the command of a run runs, and returns what run-status says then.
    pub fn await_child(&self, run: &str) -> Value {
        self.await_status(run, "running", |status| !status["child_pid"].is_null())
    }

    /// Waits until a file holds a text.
    pub fn await_text(&self, name: &str, text: &str) {
        wait_for(&format!("'{text}' in {name}"), || {
            fs::read(self.path(name))
                .is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
        });
    }

    /// Returns the processes that were started in the lab and live.
    pub fn alive(&self) -> Vec<i32> {
        let mark = format!("LAB={}", self.mark);
        let me = std::process::id().cast_signed();
        let pids =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        // Of a main thread that has ended nothing is left; the others have the same environment.
        let is_marked = |pid: &i32| {
            let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            threads
                .map(|thread| fs::read(thread.path().join("environ")).unwrap_or_default())
                .any(|environ| environ.split(|&byte| byte == 0).any(|entry| entry == mark.as_bytes()))
        };
        pids.filter(|&pid: &i32| pid != me && is_marked(&pid) && lives(pid)).collect()
    }

    /// Returns the command lines of the processes that were started in the lab and live.
    fn living(&self) -> String {
        let name = |pid: i32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            format!("{pid}: {}", String::from_utf8_lossy(&words).replace('\0', " "))
        };
        self.alive().into_iter().map(name).collect::<Vec<_>>().join("; ")
    }

    /// Expects that nothing which was started in the lab lives.
    pub fn nothing_left(&self) {
        let living = self.living();
        assert!(living.is_empty(), "left over: {living}");
    }

    /// Waits until nothing that was started in the lab lives.
    pub fn await_nothing_left(&self) {
        wait_to_see("all processes to end", || self.living(), String::is_empty);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let start = Instant::now();
        loop {
            let alive = self.alive();
            if alive.is_empty() || start.elapsed() > DEADLINE {
                break;
            }
            for pid in alive {
                signal(pid, Signal::KILL);
            }
        }
        let _ = fs::remove_dir_all(&self.dir); // a file system that a test mounted may be there
    }
}

/// Returns the state of a process (proc(5)), or `None` when there is none.
pub fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Says whether a process lives: a zombie does not, unless it is the main thread alone that has ended.
pub fn lives(pid: i32) -> bool {
    let threads = || fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    state(pid).is_some_and(|state| state != 'Z' || threads() > 1)
}

/// Sends a signal; a process that has ended takes none.
pub fn signal(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

/// Returns a pid out of what run-status says.
pub fn pid(status: &Value, key: &str) -> i32 {
    status[key].as_i64().unwrap().try_into().unwrap()
}

/// Waits until a process has ended.
pub fn await_end(pid: i32) {
    wait_for("a process to end", || !lives(pid));
}

/// Waits for a fact, with a deadline. The longer it takes, the more seldom is it looked at.
pub fn wait_for(what: &str, holds: impl FnMut() -> bool) {
    wait_to_see(what, holds, |held| *held);
}

/// Looks until something is as it is expected, with a deadline, and returns what was seen.
pub fn wait_to_see<T: Display>(what: &str, mut look: impl FnMut() -> T, holds: impl Fn(&T) -> bool) -> T {
    let start = Instant::now();
    loop {
        let seen = look();
        if holds(&seen) {
            return seen;
        }
        assert!(start.elapsed() < DEADLINE, "waited in vain for {what}: {seen}");
        sleep((start.elapsed() / 20).clamp(Duration::from_millis(5), Duration::from_millis(100)));
    }
}

/// A command to be run.
#[derive(Debug)]
pub struct Cmd {
    command: Command,
    input: Option<Vec<u8>>,
}

impl Cmd {
    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it in another directory.
    #[must_use]
    pub fn cwd(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Gives it something to read.
    #[must_use]
    pub fn stdin(mut self, input: impl AsRef<[u8]>) -> Self {
        self.command.stdin(Stdio::piped());
        self.input = Some(input.as_ref().to_vec());
        self
    }

    /// Sends its stdout elsewhere.
    #[must_use]
    pub fn stdout_to(mut self, to: impl Into<Stdio>) -> Self {
        self.command.stdout(to);
        self
    }

    /// Sends its stderr elsewhere.
    #[must_use]
    pub fn stderr_to(mut self, to: impl Into<Stdio>) -> Self {
        self.command.stderr(to);
        self
    }

    /// Starts it.
    pub fn spawn(mut self) -> Running {
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", self.command));
        if let Some(input) = self.input {
            child.stdin.take().unwrap().write_all(&input).unwrap();
        }
        Running { child, shown: format!("{:?}", self.command) }
    }

    /// Runs it to its end.
    pub fn run(self) -> Done {
        self.spawn().wait()
    }
}

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    /// The process.
    pub child: Child,
    shown: String,
}

impl Running {
    /// Returns its pid.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self::signal(self.pid(), signal);
    }

    /// Kills it, a run-exec, and the supervisor of its run, so that neither takes the other's place.
    pub fn kill_with(self, supervisor: i32) {
        self.signal(Signal::STOP);
        self::signal(supervisor, Signal::KILL);
        self.signal(Signal::KILL);
        self.wait();
        await_end(supervisor);
    }

    /// Waits for its end, and reads what it has written meanwhile.
    pub fn wait(mut self) -> Done {
        let start = Instant::now();
        let (mut out, mut err) = (self.child.stdout.take(), self.child.stderr.take());
        let read = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            err.as_mut().map(|err| err.read_to_end(&mut bytes));
            bytes
        });
        let mut stdout = Vec::new();
        out.as_mut().map(|out| out.read_to_end(&mut stdout));
        let stderr = read.join().unwrap();
        while self.child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < 2 * DEADLINE, "{} does not end", self.shown);
            sleep(Duration::from_millis(2));
        }
        let status = self.child.wait().unwrap();
        let code = status
            .code()
            .unwrap_or_else(|| 1000 + std::os::unix::process::ExitStatusExt::signal(&status).unwrap());
        Done { code, stdout, stderr, shown: self.shown }
    }
}

/// A command that has ended. The status of one that a signal ended is 1000 and its number.
#[derive(Debug)]
pub struct Done {
    /// Its exit status.
    pub code: i32,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr.
    pub stderr: Vec<u8>,
    shown: String,
}

impl Done {
    /// Expects an exit status.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\nstdout: {}\nstderr: {}", self.shown, self.out(), self.err());
        self
    }

    /// Expects exactly this on stdout.
    #[track_caller]
    pub fn stdout(self, expected: impl AsRef<[u8]>) -> Self {
        assert_eq!(
            self.out(),
            String::from_utf8_lossy(expected.as_ref()),
            "{}\nstderr: {}",
            self.shown,
            self.err()
        );
        self
    }

    /// Expects exactly this on stderr.
    #[track_caller]
    pub fn stderr(self, expected: &str) -> Self {
        assert_eq!(self.err(), expected, "{}", self.shown);
        self
    }

    /// Expects that stderr contains this.
    #[track_caller]
    pub fn stderr_has(self, expected: &str) -> Self {
        assert!(
            self.err().contains(expected),
            "{}\nexpected: {expected}\nstderr: {}",
            self.shown,
            self.err()
        );
        self
    }

    /// Returns stdout as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns the lines of stdout, each of which is JSON.
    pub fn json_lines(&self) -> Vec<Value> {
        self.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns stderr as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}
