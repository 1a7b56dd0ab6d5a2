//! Which graphics processors a run's processes use, as a program says that the tool names: asked in the
//! background, given up when it does not answer, never waited for.

use super::streams::set_nonblocking;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use run_common::process::identity::{Process, Signal};
use run_common::process::spawn;
use run_common::process::stat::Stat;
use run_common::provenance::device::{DeviceUse, UseQuery};
use std::collections::BTreeSet;
use std::env;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long an answer may take; a driver in trouble never answers.
const DEADLINE: Duration = Duration::from_secs(5);

/// How often in a row it may fail before it is asked no more.
const PATIENCE: u32 = 3;

/// What a run uses of graphics processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Used {
    /// How many of them.
    pub(super) devices: u32,
    /// Memory in use on all of them.
    pub(super) memory_bytes: u64,
}

/// The query, of which one at most is under way.
#[derive(Debug)]
pub(super) struct Devices {
    query: UseQuery,
    /// The program was looked for, which many runs are too short for.
    is_sought: bool,
    program: Option<PathBuf>,
    failures: u32,
    running: Option<Running>,
    /// The last answer.
    answer: Option<Vec<DeviceUse>>,
}

#[derive(Debug)]
struct Running {
    pid: i32,
    output: File,
    text: String,
    deadline: Instant,
}

impl Devices {
    /// Makes a query that was never asked.
    pub(super) fn new(query: UseQuery) -> Self {
        Self { query, is_sought: false, program: None, failures: 0, running: None, answer: None }
    }

    /// Looks for the program on the path.
    fn find(&mut self) {
        let path = env::var_os("PATH").unwrap_or_default();
        self.program =
            env::split_paths(&path).map(|dir| dir.join(self.query.program)).find(|file| file.is_file());
    }

    /// Returns the pid of the query, which is a child but not of the run.
    pub(super) fn pid(&self) -> Option<i32> {
        self.running.as_ref().map(|query| query.pid)
    }

    /// Returns what becomes readable when the query answers.
    pub(super) fn output(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|query| query.output.as_fd())
    }

    /// Asks, unless a question is open; one that is overdue is ended.
    pub(super) fn ask(&mut self) {
        if let Some(query) = &self.running {
            if Instant::now() >= query.deadline {
                self.end_query();
                self.failed();
            }
            return;
        }
        if !std::mem::replace(&mut self.is_sought, true) {
            self.find();
        }
        let Some(program) = self.program.as_ref() else { return };
        if self.start(&program.clone()).is_none() {
            self.failed();
        }
    }

    fn start(&mut self, program: &PathBuf) -> Option<()> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC).ok()?;
        let mut command = Command::new(program);
        command
            .args(self.query.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::from(write))
            .stderr(Stdio::null());
        let pid = spawn::start(&mut command, None).ok()?;
        set_nonblocking(&read).ok()?;
        let output = File::from(read);
        self.running =
            Some(Running { pid, output, text: String::new(), deadline: Instant::now() + DEADLINE });
        Some(())
    }

    /// Takes in what has been answered so far.
    pub(super) fn listen(&mut self) {
        let Some(query) = &mut self.running else { return };
        let mut bytes = [0; 4096];
        match query.output.read(&mut bytes) {
            Ok(0) => {
                let answer = (self.query.parse)(&query.text);
                self.running = None;
                match answer {
                    Some(answer) => {
                        self.failures = 0;
                        self.answer = Some(answer);
                    }
                    None => self.failed(),
                }
            }
            Ok(count) if query.text.len() < 1 << 20 => {
                query.text.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// Ends a question that is open: the run is over. Says whether one was; its process is not waited for.
    pub(super) fn end_query(&mut self) -> bool {
        let Some(query) = self.running.take() else { return false };
        if let Ok(process) = Process::child(query.pid) {
            let _ = process.signal(Signal::KILL); // it has ended, then
        }
        true
    }

    fn failed(&mut self) {
        self.answer = None;
        self.failures += 1;
        if self.failures >= PATIENCE {
            self.program = None;
        }
    }

    /// Says what these processes use, as of the last answer; `None` when nothing is known.
    pub(super) fn usage(&self, processes: &[Stat]) -> Option<Used> {
        let mine = |pid: i32| processes.iter().any(|process| process.pid == pid);
        let used: Vec<&DeviceUse> = self.answer.as_ref()?.iter().filter(|used| mine(used.pid)).collect();
        let devices: BTreeSet<&str> = used.iter().map(|used| used.device.as_str()).collect();
        Some(Used {
            devices: u32::try_from(devices.len()).unwrap_or(u32::MAX),
            memory_bytes: used.iter().map(|used| used.memory_bytes).sum(),
        })
    }
}
