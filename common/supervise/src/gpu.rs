//! Which graphics processors a run's processes use, as nvidia-smi(1) says: asked in the
//! background, given up when it does not answer, never waited for.

use run_common::process::identity::{Process, Signal};
use run_common::process::spawn;
use run_common::process::stat::Stat;
use std::collections::BTreeSet;
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
pub(super) struct GpuUsage {
    /// How many of them.
    pub(super) devices: u32,
    /// Memory in use on all of them.
    pub(super) memory_bytes: u64,
}

/// The query, of which one at most is under way.
#[derive(Debug, Default)]
pub(super) struct Gpu {
    /// The program was looked for, which many runs are too short for.
    is_sought: bool,
    program: Option<PathBuf>,
    failures: u32,
    running: Option<Query>,
    /// The last answer: pid, device, memory in bytes.
    answer: Option<Vec<(i32, String, u64)>>,
}

#[derive(Debug)]
struct Query {
    pid: i32,
    output: File,
    text: String,
    deadline: Instant,
}

impl Gpu {
    /// Looks for nvidia-smi on the path.
    fn find(&mut self) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        self.program =
            std::env::split_paths(&path).map(|dir| dir.join("nvidia-smi")).find(|file| file.is_file());
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
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).ok()?;
        let mut command = Command::new(program);
        command
            .args(["--query-compute-apps=pid,gpu_uuid,used_memory", "--format=csv,noheader,nounits"])
            .stdin(Stdio::null())
            .stdout(Stdio::from(write))
            .stderr(Stdio::null());
        let pid = spawn::start(&mut command, None).ok()?;
        super::set_nonblocking(&read).ok()?;
        let output = File::from(read);
        self.running = Some(Query { pid, output, text: String::new(), deadline: Instant::now() + DEADLINE });
        Some(())
    }

    /// Takes in what has been answered so far.
    pub(super) fn listen(&mut self) {
        let Some(query) = &mut self.running else { return };
        let mut bytes = [0; 4096];
        match query.output.read(&mut bytes) {
            Ok(0) => {
                let answer = parse(&query.text);
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
    pub(super) fn usage(&self, processes: &[Stat]) -> Option<GpuUsage> {
        let mine = |pid: i32| processes.iter().any(|process| process.pid == pid);
        let used: Vec<_> = self.answer.as_ref()?.iter().filter(|(pid, ..)| mine(*pid)).collect();
        let devices: BTreeSet<&str> = used.iter().map(|(_, device, _)| device.as_str()).collect();
        Some(GpuUsage {
            devices: u32::try_from(devices.len()).unwrap_or(u32::MAX),
            memory_bytes: used.iter().map(|(.., memory)| memory).sum(),
        })
    }
}

/// Parses lines such as `1234, GPU-8a6b…, 512`: memory in MiB, or `[N/A]`.
fn parse(text: &str) -> Option<Vec<(i32, String, u64)>> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let mut fields = line.split(',').map(str::trim);
            let pid = fields.next()?.parse().ok()?;
            let device = fields.next()?.to_owned();
            let mebibytes: u64 = fields.next()?.parse().unwrap_or(0);
            Some((pid, device, mebibytes << 20))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_understood_whole_or_not_at_all() {
        let answer = parse("7, GPU-a, 512\n8, GPU-b, [N/A]\n").unwrap();
        assert_eq!(answer, [(7, "GPU-a".to_owned(), 512 << 20), (8, "GPU-b".to_owned(), 0)]);
        assert_eq!(parse(""), Some(vec![]));
        assert_eq!(parse("NVIDIA-SMI has failed because it couldn't communicate with the driver.\n"), None);
    }
}
