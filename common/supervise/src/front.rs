//! The front: belongs to the caller, passes signals to the supervisor and its output to the
//! caller, and takes the supervisor's place should that be killed.

use super::combined::Stream;
use super::driver::{Driver, Report};
use super::log::Log;
use super::scraped::Scraped;
use super::signals;
use super::tee::{PIPE, Source, Tee};
use super::terminal::{Terminal, copy_size};
use super::{FAILED, Output, Task, set_nonblocking};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, pipe2, setsid};
use run_common::error::{Error, Exit, plain};
use run_common::fsio::append::ends_whole;
use run_common::fsio::write::{open_append, open_null};
use run_common::message::{complain, warn};
use run_common::process::identity::{Process, Signal};
use run_common::process::signals::{Held, Signals, is_request};
use run_common::process::spawn::{Side, fork};
use run_common::process::stat::has_proc;
use run_common::process::tree::{Table, signal_all};
use run_common::rundir::attempts::AttemptEnd;
use run_common::rundir::record::Record;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Files that a front and a supervisor need, or somewhat more.
const SPARE: usize = 32;

/// Where the command's output goes through, made before the fork: the front keeps the ends that
/// are read from, so that nothing in them is lost, and nobody's pipe breaks, when the supervisor is
/// killed.
struct Plumbing {
    /// Ends that are read from, with the logs they go to.
    sources: Vec<Source>,
    combined: File,
    /// The command's stdout and stderr.
    stdout: OwnedFd,
    stderr: OwnedFd,
    /// Our side of the command's terminal.
    terminal: Option<OwnedFd>,
}

/// Output on its way from the supervisor to the caller. Without it, as with `--quiet`, the
/// supervisor says the little it has to say on the caller's stderr itself.
struct Onward {
    stdout: Way,
    stderr: Way,
}

struct Way {
    read: File,
    write: File,
}

/// Executes the task and returns the status to exit with. Both the caller's process and the
/// supervisor's return from here, and, when detached, a third one. A front that works for another
/// process, the `parent`, ends with it, and then is as good as killed. The signals may have been `caught`
/// before.
pub fn run(
    task: &Task,
    record: Record,
    parent: Option<Process>,
    caught: Option<Signals>,
) -> Result<u8, Error> {
    let failed = |what: &'static str| move |error: io::Error| Error::new(Exit::System, what).because(error);
    spare().map_err(|error| cannot_start(task).because(error).hint("ulimit -n tells and sets the limit"))?;
    warn_without_proc();
    let started = if task.detach {
        match detach().map_err(failed("cannot detach"))? {
            Detached::Caller(status) => return Ok(status),
            Detached::Front(started) => Some(started),
        }
    } else {
        None
    };
    let plumbing = Plumbing::lay(task).map_err(|error| plumbing_failed(task, &error))?;
    let onward = if task.quiet || task.detach {
        None
    } else {
        Some(Onward::new().map_err(failed("cannot create a pipe"))?)
    };
    let (report_read, report_write) =
        pipe2(OFlag::O_CLOEXEC).map_err(|error| failed("cannot create a pipe")(error.into()))?;
    let myself = Process::myself().map_err(failed("cannot open a pidfd"))?;
    set_child_subreaper(true).map_err(|error| failed("cannot become a subreaper")(error.into()))?;
    let signals = match caught {
        Some(signals) => signals,
        None => signals::catch().map_err(failed("cannot catch signals"))?,
    };
    let supervisor = match fork().map_err(failed("cannot fork"))? {
        Side::Parent(supervisor) => supervisor,
        Side::Child(held) => {
            drop((started, signals)); // they are the front's
            let report = Report::new(report_write);
            let front = if task.detach { None } else { Some(myself) };
            return match supervise(task, record, plumbing, onward, front, &report, held) {
                Ok(status) => Ok(status),
                Err(error) => {
                    complain(&failed("cannot supervise")(error));
                    std::process::abort(); // the front sees that, ends what runs and records it
                }
            };
        }
    };
    drop(report_write);
    let Plumbing { sources, combined, stdout, stderr, terminal } = plumbing;
    drop((stdout, stderr));
    let copied = match onward {
        None => None,
        Some(Onward { stdout, stderr }) => {
            let (copied, copying) = UnixStream::pair().map_err(failed("cannot create a socket"))?;
            let done = copying.try_clone().map_err(failed("cannot create a socket"))?;
            copy(stdout, io::stdout(), done);
            copy(stderr, io::stderr(), copying);
            Some(copied)
        }
    };
    if task.stdin
        && let Some(terminal) = &terminal
    {
        feed(terminal).map_err(failed("cannot read stdin"))?;
    }
    let report = File::from(report_read);
    let front = Front { task, supervisor, parent, signals, report, started, child: None, terminal };
    front.watch(record, sources, combined, copied.as_ref()).map_err(failed("cannot watch the supervisor"))
}

fn cannot_start(task: &Task) -> Error {
    Error::new(Exit::System, format!("cannot start '{}'", task.layout.root().display()))
}

fn plumbing_failed(task: &Task, error: &io::Error) -> Error {
    cannot_start(task).because(format!("its logs cannot be opened: {}", plain(error)))
}

/// Makes sure, before anything is begun, that as many files can be opened as are needed.
fn spare() -> io::Result<()> {
    let null = open_null()?;
    let spare: io::Result<Vec<File>> = (0..SPARE).map(|_| null.try_clone()).collect();
    spare.map(drop)
}

/// Says, once for all attempts of a command line, that processes cannot be seen here.
pub(crate) fn warn_without_proc() {
    static SAID: AtomicBool = AtomicBool::new(false); // forked processes have it, too
    if !has_proc() && !SAID.swap(true, Ordering::Relaxed) {
        warn("/proc cannot be read: processes that outlive the main one cannot be found");
    }
}

impl Plumbing {
    fn lay(task: &Task) -> io::Result<Self> {
        let layout = &task.layout;
        let mut combined = open_append(&layout.combined())?;
        if !ends_whole(&mut combined)? {
            combined.write_all(b"\n")?;
        }
        let stdout_log = open_append(&layout.stdout())?;
        let stderr_log = open_append(&layout.stderr())?;
        let source = |stream, input: OwnedFd, log: File, name| -> io::Result<Source> {
            set_nonblocking(&input)?;
            Ok(Source {
                stream,
                input: input.into(),
                log: Log::new(log, name),
                other_side: None,
                onward: None,
            })
        };
        match task.output {
            Output::Terminal => {
                let Terminal { ours, theirs } = Terminal::open()?;
                let mut only = source(Stream::Stdout, ours.try_clone()?, stdout_log, "stdout.log")?;
                only.other_side = Some(theirs.try_clone()?);
                Ok(Self {
                    sources: vec![only],
                    combined,
                    stderr: theirs.try_clone()?,
                    stdout: theirs,
                    terminal: Some(ours),
                })
            }
            Output::Merged => {
                let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
                Ok(Self {
                    sources: vec![source(Stream::Stdout, read, stdout_log, "stdout.log")?],
                    combined,
                    stderr: write.try_clone()?,
                    stdout: write,
                    terminal: None,
                })
            }
            Output::Pipes => {
                let (stdout_read, stdout) = pipe2(OFlag::O_CLOEXEC)?;
                let (stderr_read, stderr) = pipe2(OFlag::O_CLOEXEC)?;
                Ok(Self {
                    sources: vec![
                        source(Stream::Stdout, stdout_read, stdout_log, "stdout.log")?,
                        source(Stream::Stderr, stderr_read, stderr_log, "stderr.log")?,
                    ],
                    combined,
                    stdout,
                    stderr,
                    terminal: None,
                })
            }
        }
    }
}

/// Makes a pipe as large as the kernel lets this user have.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    let _ = fcntl(&read, FcntlArg::F_SETPIPE_SZ(PIPE)); // the usual 64 KiB will do
    Ok((read, write))
}

impl Onward {
    fn new() -> io::Result<Self> {
        let way = || -> io::Result<Way> {
            let (read, write) = pipe()?;
            set_nonblocking(&write)?;
            Ok(Way { read: read.into(), write: write.into() })
        };
        Ok(Self { stdout: way()?, stderr: way()? })
    }
}

/// What happens in the supervisor's process.
fn supervise(
    task: &Task,
    record: Record,
    plumbing: Plumbing,
    onward: Option<Onward>,
    front: Option<Process>,
    report: &Report,
    held: Held,
) -> io::Result<u8> {
    setsid()?;
    set_child_subreaper(true)?;
    let signals = signals::catch()?;
    drop(held);
    let null = open_null()?;
    dup2_stdout(&null)?;
    if !task.stdin {
        dup2_stdin(&null)?;
    }
    let Plumbing { mut sources, combined, stdout, stderr, terminal } = plumbing;
    if let Some(Onward { stdout, stderr }) = &onward {
        dup2_stderr(&stderr.write)?;
        for source in &mut sources {
            let way = match source.stream {
                Stream::Stdout => stdout,
                Stream::Stderr => stderr,
            };
            source.onward = Some(way.write.try_clone()?);
        }
    }
    drop((onward, terminal));
    let mut driver = Driver::new(task, record, signals, front);
    match driver.start(stdout, stderr, report) {
        Ok(()) => {}
        Err(status) => return Ok(driver.finish_unstarted(status)),
    }
    dup2_stdin(&null)?;
    if task.detach {
        dup2_stderr(&null)?;
    }
    let combined = Log::new(combined, "combined.log");
    let tee = Tee::new(sources, combined, Scraped::new(task), task.limits.linger)?;
    driver.drive(tee)
}

struct Front<'a> {
    task: &'a Task,
    supervisor: i32,
    parent: Option<Process>,
    signals: Signals,
    report: File,
    /// Tells the caller of a detached run that it has started.
    started: Option<File>,
    /// The command's pid, as reported.
    child: Option<i32>,
    terminal: Option<OwnedFd>,
}

impl Front<'_> {
    /// Watches until the run has ended and the caller has its output.
    fn watch(
        mut self,
        record: Record,
        sources: Vec<Source>,
        combined: File,
        copied: Option<&UnixStream>,
    ) -> io::Result<u8> {
        let supervisor = Process::child(self.supervisor)?;
        let mut reporting = true;
        loop {
            // Nobody waits to hear of the start but the caller of a detached run.
            let is_awaited = reporting && self.started.is_some();
            let mut fds = vec![
                PollFd::new(supervisor.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            if is_awaited {
                fds.push(PollFd::new(self.report.as_fd(), PollFlags::POLLIN));
            }
            fds.extend(self.parent.as_ref().map(|parent| PollFd::new(parent.as_fd(), PollFlags::POLLIN)));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            if is_awaited && ready[2] {
                reporting = self.read_report()?;
            }
            if self.parent.is_some() && ready.last() == Some(&true) {
                return Ok(FAILED); // the supervisor notices that nobody is here, and ends the run
            }
            if ready[1] {
                self.pass_signals(&supervisor);
            }
            if ready[0] {
                break;
            }
        }
        while reporting {
            reporting = self.read_report()?;
        }
        let status = match waitpid(Pid::from_raw(self.supervisor), None)? {
            WaitStatus::Exited(_, status) => u8::try_from(status & 0xff).unwrap_or(FAILED),
            _ => self.take_over(record, sources, combined)?,
        };
        if let Some(copied) = copied {
            self.deliver(copied)?;
        }
        self.tell_started(status);
        Ok(status)
    }

    /// Reads what the supervisor reports; `false` when it will report nothing more.
    fn read_report(&mut self) -> io::Result<bool> {
        let mut pid = [0; 4];
        match self.report.read(&mut pid)? {
            4 => {
                self.child = Some(i32::from_ne_bytes(pid));
                self.tell_started(0);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Lets the caller of a detached run go, and lets go of what is the caller's.
    fn tell_started(&mut self, status: u8) {
        if let Some(mut started) = self.started.take() {
            if let Ok(null) = open_null() {
                let _ = (dup2_stdin(&null), dup2_stdout(&null), dup2_stderr(&null)); // open descriptors
            }
            let _ = started.write_all(&[status]); // a caller that was killed needs no answer
        }
    }

    fn pass_signals(&mut self, supervisor: &Process) {
        for signal in self.signals.pending() {
            let signal = match signal {
                signal_hook::consts::SIGINT => Signal::INT,
                signal_hook::consts::SIGTERM => Signal::TERM,
                signal_hook::consts::SIGHUP => Signal::HUP,
                signal_hook::consts::SIGUSR1 => Signal::USR1,
                signal_hook::consts::SIGUSR2 => Signal::USR2,
                signal_hook::consts::SIGWINCH => {
                    if let Some(terminal) = &self.terminal {
                        copy_size(terminal);
                    }
                    continue;
                }
                _ => continue,
            };
            let _ = supervisor.signal(signal); // it has ended, then
        }
    }

    /// Does the work of a supervisor that was killed: ends the run and records it.
    fn take_over(&mut self, record: Record, sources: Vec<Source>, mut combined: File) -> io::Result<u8> {
        let start = record.start();
        if let Some(end) = AttemptEnd::read(&self.task.layout, &start.run_id, start.attempt) {
            // What lives of it is the script for its end.
            warn("the supervisor was killed after the run had ended");
            signal_all(&Table::read().descendants(std::process::id().cast_signed(), None), Signal::TERM);
            return Ok(end.exit_code.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED));
        }
        warn("the supervisor was killed; ending the run");
        if !ends_whole(&mut combined)? {
            combined.write_all(b"\n")?;
        }
        let signals = signals::catch()?;
        let mut driver = Driver::new(self.task, record, signals, None);
        driver.adopt(self.child);
        let combined = Log::new(combined, "combined.log");
        let tee = Tee::new(sources, combined, Scraped::new(self.task), self.task.limits.linger)?;
        driver.drive(tee)
    }

    /// Waits until the caller has taken the output, or wants to wait no more.
    fn deliver(&mut self, copied: &UnixStream) -> io::Result<()> {
        self.signals.pending();
        loop {
            let mut fds = [
                PollFd::new(copied.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ready = fds.map(|fd| fd.any().unwrap_or(false));
            let impatient = ready[1] && self.signals.pending().into_iter().any(is_request);
            if ready[0] || impatient {
                return Ok(());
            }
        }
    }
}

/// Copies a stream to the caller until it ends, and closes `done` then. When the caller's side is
/// gone the pipe is closed, by which the supervisor learns that nobody reads any more.
fn copy(way: Way, mut to: impl Write + Send + 'static, done: UnixStream) {
    let Way { mut read, write } = way;
    drop(write);
    let work = move || {
        let _done = done;
        let mut block = vec![0; 64 << 10];
        loop {
            match read.read(&mut block) {
                Ok(0) => return,
                Ok(count) => {
                    if to.write_all(&block[..count]).and_then(|()| to.flush()).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("copy".to_owned()).spawn(work) {
        warn(&format!("cannot start a thread: {}; the output is in the logs alone", plain(&error)));
    }
}

/// Passes the caller's stdin to the command's terminal, and its end as Ctrl-D.
fn feed(terminal: &OwnedFd) -> io::Result<()> {
    let mut terminal = File::from(terminal.try_clone()?);
    let work = move || {
        let mut block = [0; 4096];
        loop {
            let count = io::stdin().read(&mut block).unwrap_or(0);
            let mut bytes = if count == 0 { &b"\x04"[..] } else { &block[..count] };
            while !bytes.is_empty() {
                match terminal.write(bytes) {
                    Ok(written) => bytes = &bytes[written..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        let mut fds = [PollFd::new(terminal.as_fd(), PollFlags::POLLOUT)];
                        let _ = poll(&mut fds, PollTimeout::NONE); // what it would say, the write says
                    }
                    Err(_) => return,
                }
            }
            if count == 0 {
                return;
            }
        }
    };
    thread::Builder::new().name("feed".to_owned()).spawn(work)?;
    Ok(())
}

enum Detached {
    /// The caller's process: the run has started, or failed to.
    Caller(u8),
    /// The process that stays, and how it tells.
    Front(File),
}

/// Leaves the caller's session in a process of its own.
fn detach() -> io::Result<Detached> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    match fork()? {
        Side::Parent(_) => {
            drop(write);
            let mut status = [FAILED];
            match File::from(read).read(&mut status)? {
                0 => complain(&Error::new(Exit::System, "the run did not start")),
                _ => return Ok(Detached::Caller(status[0])),
            }
            Ok(Detached::Caller(FAILED))
        }
        Side::Child(_held) => {
            setsid()?;
            Ok(Detached::Front(write.into()))
        }
    }
}
