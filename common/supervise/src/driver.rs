//! The supervisor's effects: starts the command, feeds what happens to the machine, does what it
//! says, and keeps the record.

use super::machine::{Action, Event, Sent, State, Wait, step};
use super::outcome::{Cause, exit_status, judge, may_pass};
use super::reason::{End, LastWords, OomCounter, last_words};
use super::resources::Meter;

use super::tee::{Seen, Tee};
use super::{CANNOT_EXECUTE, FAILED, NOT_FOUND, Output, Task, script};
use nix::libc::SIGKILL;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use run_checkpoint::{Program, discover_latest, latest};
use run_common::cost::{Rates, of_attempt};
use run_common::error::plain;
use run_common::fsio::append::append_line;
use run_common::message::{tool, warn};
use run_common::process::identity::{Process, Signal};
use run_common::process::signals::{Signals, signal_name};
use run_common::process::spawn;
use run_common::process::stat::Stat;
use run_common::process::tree::{Table, signal_all};
use run_common::rundir::SCHEMA;
use run_common::rundir::attempts::{AttemptEnd, EndEvent};
use run_common::rundir::layout::Layout;
use run_common::rundir::raw::{Metrics, Recent};
use run_common::rundir::record::Record;
use run_common::rundir::status::Outcome;
use run_common::rundir::stop::StopRequest;
use run_common::time::{LONGEST, Timestamp};
use run_metrics::attempts::Attempts;
use run_metrics::follow::Follower;
use rustix::process::{Pid as ProcessGroup, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How often the `stop` file is looked for.
const STOP_FILE: Duration = Duration::from_secs(1);

/// When status.json is first written again, so that a listing soon knows the command's pid.
const FIRST_BEAT: Duration = Duration::from_millis(250);

/// What has been killed must be gone after this; a process that waits for a dead disk is not.
const LAST: Duration = Duration::from_secs(10);

/// How often what is being killed is looked for again: it may have forked.
const AGAIN: Duration = Duration::from_millis(20);

/// Tells the front that the command has started.
#[derive(Debug)]
pub(super) struct Report(File);

impl Report {
    pub(super) fn new(write: OwnedFd) -> Self {
        Self(write.into())
    }

    fn started(&self, pid: i32) {
        let _ = (&self.0).write_all(&pid.to_ne_bytes()); // a front that was killed is noticed elsewhere
    }
}

/// The main process: the command, or the last of a chain of shells that it turned out to be.
#[derive(Debug, Default)]
struct Main {
    command: i32,
    last: i32,
    /// Readable when the last of the chain has ended, in case a shell waits for it.
    handle: Option<Process>,
    command_end: Option<End>,
    last_end: Option<End>,
    has_ended: bool,
}

/// A supervisor at work.
pub(super) struct Driver<'a> {
    task: &'a Task,
    record: Record,
    signals: Signals,
    /// The front, when its death matters.
    front: Option<Process>,
    state: State,
    cause: Option<Cause>,
    main: Main,
    follower: Follower,
    meter: Meter,
    oom: Option<(OomCounter, u64)>,
    started: Instant,
    grew: Instant,
    timer: Option<Instant>,
    next_beat: Instant,
    next_look: Instant,
    /// When it has been silent for too long, unless it writes something until then.
    next_stall: Option<Instant>,
    /// Processes that had to be ended after the main one.
    swept: usize,
    /// Processes that could not be killed.
    undying: Vec<Stat>,
    /// Processes of the run live, but for the main one.
    has_children: bool,
    /// The record is not this attempt's any more, which was said.
    is_lost: bool,
    /// The record could not be written, which was said.
    record_fails: bool,
}

impl<'a> Driver<'a> {
    pub(super) fn new(task: &'a Task, record: Record, signals: Signals, front: Option<Process>) -> Self {
        let now = Instant::now();
        let [written, scraped] = boundaries(&record, &task.layout);
        let follower = Follower::new((task.layout.metrics(), written), (task.layout.scraped(), scraped));
        Self {
            task,
            record,
            signals,
            front,
            state: State::Running,
            cause: None,
            main: Main::default(),
            follower,
            meter: Meter::new(),
            oom: None,
            started: now,
            grew: now,
            timer: None,
            next_beat: now + FIRST_BEAT.min(task.limits.heartbeat),
            next_look: now + STOP_FILE,
            next_stall: task.limits.stall.map(|stall| now + stall),
            swept: 0,
            undying: Vec::new(),
            has_children: false,
            is_lost: false,
            record_fails: false,
        }
    }

    /// Records the start and starts the command; on failure, says why and returns the status.
    pub(super) fn start(&mut self, stdout: OwnedFd, stderr: OwnedFd, report: &Report) -> Result<(), u8> {
        // A first attempt begins without rows, and soon.
        if self.record.start().attempt > 1 || self.record.start().offsets.get("metrics.jsonl") != Some(&0) {
            self.take_in_metrics();
        }
        let start_step = self.follower.figures().step();
        self.record.change(|running| running.attempt.start_step = start_step);
        if let Err(error) = self.record.begin() {
            return self.unstarted(FAILED, format!("{} cannot write the record: {}", tool(), plain(&error)));
        }
        let mut command = self.task.command();
        let terminal = match self.task.output {
            Output::Terminal => {
                drop(stderr);
                Some(stdout)
            }
            Output::Pipes | Output::Merged => {
                command.stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr));
                None
            }
        };
        // Without --stdin, ours is /dev/null by now.
        if let (Some(terminal), true) = (&terminal, self.task.stdin) {
            match terminal.try_clone() {
                Ok(terminal) => command.stdin(Stdio::from(terminal)),
                Err(error) => return self.unstarted(FAILED, format!("{} failed: {}", tool(), plain(&error))),
            };
        }
        match spawn::start(&mut command, terminal.as_ref()) {
            Ok(pid) => {
                self.main = Main { command: pid, last: pid, ..Main::default() };
                self.record.note_child(pid);
                self.make_room();
                report.started(pid);
                Ok(())
            }
            Err(error) => {
                let (status, reason) = self.why_not(&error);
                self.unstarted(status, reason)
            }
        }
    }

    /// Explains why the command did not start.
    fn why_not(&self, error: &io::Error) -> (u8, String) {
        let program = Path::new(&self.task.program);
        let shown = self.record.start().command.first().map_or("", String::as_str); // no secret in it
        if !self.task.cwd.is_dir() {
            return (
                FAILED,
                format!("cannot enter '{}': there is no such directory", self.task.cwd.display()),
            );
        }
        match error.kind() {
            io::ErrorKind::NotFound
                if program.components().count() > 1 && self.task.cwd.join(program).exists() =>
            {
                (NOT_FOUND, format!("command not found: the interpreter that '{shown}' names"))
            }
            io::ErrorKind::NotFound => (NOT_FOUND, format!("command not found: {shown}")),
            _ => (CANNOT_EXECUTE, format!("cannot execute '{shown}': {}", plain(error))),
        }
    }

    fn unstarted(&mut self, status: u8, reason: String) -> Result<(), u8> {
        warn(&reason);
        self.record.change(|running| running.notice = Some(reason));
        Err(status)
    }

    /// Records that the command did not start, and returns the status to exit with.
    pub(super) fn finish_unstarted(mut self, status: u8) -> u8 {
        let reason = self.record.recorded().reason().map(str::to_owned);
        let mut end = self.end(Outcome::Failed, reason);
        end.exit_code = Some(status.into());
        self.write_end(&end);
        self.after_end(&end);
        status
    }

    /// Takes the place of a supervisor that was killed: what it left is now this process's.
    pub(super) fn adopt(&mut self, child: Option<i32>) {
        if self.record.look_for_loss().is_none() {
            match self.record.begin() {
                Ok(()) => self.make_room(),
                Err(error) => self.complain_of_record(&error),
            }
        }
        let me = std::process::id().cast_signed();
        let child = child.filter(|&child| Stat::of(child).is_some_and(|stat| stat.ppid == me));
        match child {
            Some(pid) => {
                self.main = Main { command: pid, last: pid, ..Main::default() };
                self.record.note_child(pid);
                self.request(Cause::SupervisorKilled, Event::Stop);
            }
            None => {
                self.cause = Some(Cause::SupervisorKilled);
                self.main.has_ended = true;
                self.happen(Event::MainEnded);
            }
        }
    }

    /// Supervises until nothing of the run is left; returns the status to exit with.
    pub(super) fn drive(mut self, mut tee: Tee) -> io::Result<u8> {
        // The command is starting meanwhile.
        self.oom = OomCounter::find();
        self.reap();
        while self.state != State::Over {
            self.wait(&tee)?;
            for signal in self.signals.pending() {
                match signal {
                    signal_hook::consts::SIGINT => self.asked(signal, Event::Interrupt),
                    signal_hook::consts::SIGTERM | signal_hook::consts::SIGHUP => {
                        self.asked(signal, Event::Stop);
                    }
                    signal_hook::consts::SIGUSR1 => self.pass_on(Signal::USR1),
                    signal_hook::consts::SIGUSR2 => self.pass_on(Signal::USR2),
                    _ => {}
                }
            }
            if let Err(error) = tee.look() {
                warn(&format!("cannot start a thread: {}; ending the run", plain(&error)));
                self.request(Cause::Failure(format!("{} could not start a thread", tool())), Event::Stop);
            }
            self.meter.gpu.listen();
            self.reap();
            self.look_after_front();
            self.look_at_clock(&tee);
        }
        self.meter.gpu.end_query();
        self.reap();
        let seen = tee.finish();
        while self.take_in_metrics() {} // a heartbeat takes a part of what a long file holds
        self.note_output(seen);
        let end = self.conclude(seen);
        self.write_end(&end);
        let status = exit_status(self.cause.as_ref(), self.main_end());
        self.after_end(&end);
        Ok(status)
    }

    /// Waits until something happens or some time is up.
    fn wait(&self, tee: &Tee) -> io::Result<()> {
        let mut until = self.next_beat.min(self.next_look);
        for time in [self.timer, self.deadline(), self.next_stall].into_iter().flatten() {
            until = until.min(time);
        }
        if matches!(self.state, State::Killing | State::Purging) {
            until = until.min(Instant::now() + AGAIN);
        }
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let handles = [self.front.as_ref(), self.main.handle.as_ref()];
        fds.extend(
            handles.into_iter().flatten().map(|handle| PollFd::new(handle.as_fd(), PollFlags::POLLIN)),
        );
        fds.extend(tee.awaited().map(|output| PollFd::new(output, PollFlags::POLLIN)));
        fds.extend(self.meter.gpu.output().map(|output| PollFd::new(output, PollFlags::POLLIN)));
        // A millisecond more than is left, since poll counts in whole ones and rounds down.
        let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let timeout = PollTimeout::try_from(left.min(Duration::from_secs(3600))).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes note of a signal that asks for a stop.
    fn asked(&mut self, signal: i32, event: Event) {
        let request = StopRequest::read(&self.task.layout.stop()).filter(|_| event == Event::Stop);
        let words = match &request {
            Some(request) => request.words(),
            None => format!("stopped by signal {signal} ({})", signal_name(signal)),
        };
        match request {
            Some(request) => self.grant(&request, words),
            None => self.request(Cause::Asked(words), event),
        }
    }

    /// Does what the `stop` file asks for.
    fn grant(&mut self, request: &StopRequest, words: String) {
        self.request(Cause::Asked(words), if request.kill { Event::Kill } else { Event::Stop });
        self.note_grace(request);
    }

    /// Lets an event happen that has a cause.
    fn request(&mut self, cause: Cause, event: Event) {
        if !self.main.has_ended && self.cause.is_none() {
            let notice = format!("ending: {}", cause.words());
            self.record.change(|running| running.notice = Some(notice));
            self.next_beat = Instant::now(); // a stop may take long, and is to be seen
            self.cause = Some(cause);
        }
        self.happen(event);
    }

    fn happen(&mut self, event: Event) {
        let (state, actions) = step(self.state, event);
        self.state = state;
        for action in actions {
            match action {
                Action::SignalMain(sent) => self.signal_main(sent),
                Action::SignalAll(sent) => self.signal_all(sent),
                Action::Arm(wait) => {
                    let limits = &self.task.limits;
                    let time = match wait {
                        Wait::Grace => limits.grace,
                        Wait::Linger => limits.linger,
                        Wait::Last => LAST,
                    };
                    self.timer = Some(Instant::now() + time);
                }
            }
        }
    }

    /// Uses the grace that whoever asked for the stop wants, from when they asked.
    fn note_grace(&mut self, request: &StopRequest) {
        let wanted = request.grace_s.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let wanted = wanted.filter(|grace| *grace <= LONGEST);
        if let (Some(grace), State::Stopping { .. }) = (wanted, self.state) {
            let sooner = Instant::now() + grace;
            self.timer = self.timer.map(|timer| timer.min(sooner));
        }
    }

    /// Returns the command, or the chain of shells that it is, each of which waits for the next.
    fn chain(&self) -> Vec<Stat> {
        let table = Table::read();
        let mut chain: Vec<Stat> = Stat::of(self.main.command).into_iter().collect();
        while let Some(shell) = chain.last().filter(|stat| is_shell(stat.pid)) {
            let children: Vec<&Stat> = table.children(shell.pid).filter(|child| child.is_alive()).collect();
            let [child] = children.as_slice() else { break };
            chain.push(**child);
        }
        chain
    }

    /// Passes on a signal that means something to the program alone; a shell would die of it.
    fn pass_on(&self, signal: Signal) {
        if let Some(last) = self.chain().last() {
            signal_all(&[*last], signal);
        }
    }

    /// Asks the main process to end, shells before what they wait for.
    fn signal_main(&mut self, sent: Sent) {
        let chain = self.chain();
        if let Some(last) = chain.last().filter(|last| last.pid != self.main.command) {
            self.main.last = last.pid;
            self.main.handle = Process::open(last);
        }
        if chain.is_empty() && self.main.command_end.is_none() {
            // Without /proc it can be signalled all the same: it was not waited for.
            let main = Some(self.main.command).filter(|&pid| pid > 0).map(Process::child);
            let _ = main.and_then(Result::ok).map(|main| main.signal(signal(sent)));
        }
        signal_all(&chain, signal(sent));
        signal_all(&chain, Signal::CONT); // a stopped process would not take notice
    }

    fn signal_all(&mut self, sent: Sent) {
        let left = self.processes();
        if left.is_empty() {
            self.signal_group(sent);
        }
        if self.main.has_ended && sent == Sent::Term {
            self.swept = left.len();
        }
        signal_all(&left, signal(sent));
        if sent == Sent::Term {
            signal_all(&left, Signal::CONT);
        }
    }

    /// Signals what is in the process group of the command: where there is no `/proc`, no more of the run is
    /// known. The group is the command's while a child of ours is in it.
    fn signal_group(&self, sent: Sent) {
        let Some(group) = ProcessGroup::from_raw(self.main.command) else { return };
        let looks = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::Pgid(Some(group)), looks).is_ok() {
            let _ = kill_process_group(group, signal(sent)); // it has just ended, then
        }
    }

    /// Returns the living processes of the run.
    fn processes(&self) -> Vec<Stat> {
        Table::read().descendants(std::process::id().cast_signed(), self.meter.gpu.pid())
    }

    /// Collects whoever has ended, and notices when the main process or all of them have.
    fn reap(&mut self) {
        self.has_children = loop {
            match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => break true,
                Ok(WaitStatus::Exited(pid, status)) => self.note_end(pid.as_raw(), End::Exited(status)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    self.note_end(pid.as_raw(), End::Signaled(signal as i32));
                }
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(_) => break false,
            }
        };
        if let Some(handle) = &self.main.handle
            && !self.main.has_ended
            && has_ended(handle)
        {
            self.main_ended();
        }
        if !self.has_children
            || (self.main.has_ended && self.meter.gpu.pid().is_some() && self.processes().is_empty())
        {
            if !self.main.has_ended {
                self.main_ended();
            }
            self.happen(Event::Empty);
        }
    }

    fn note_end(&mut self, pid: i32, end: End) {
        if pid == self.main.command {
            self.main.command_end = Some(end);
        }
        if pid == self.main.last {
            self.main.last_end = Some(end);
            if !self.main.has_ended {
                self.main_ended();
            }
        }
    }

    fn main_ended(&mut self) {
        self.main.has_ended = true;
        self.main.handle = None;
        self.happen(Event::MainEnded);
    }

    fn look_after_front(&mut self) {
        if self.front.as_ref().is_some_and(has_ended) {
            self.front = None;
            self.request(Cause::FrontKilled, Event::Stop);
        }
    }

    /// Returns when the attempt's time is over.
    fn deadline(&self) -> Option<Instant> {
        if self.state == State::Running {
            self.task.limits.timeout.map(|timeout| self.started + timeout)
        } else {
            None
        }
    }

    fn look_at_clock(&mut self, tee: &Tee) {
        let now = Instant::now();
        if now >= self.next_look {
            self.next_look = now + STOP_FILE;
            if let Some(request) = StopRequest::read(&self.task.layout.stop())
                && (self.state == State::Running || request.kill)
            {
                self.grant(&request, request.words());
            }
        }
        if now >= self.next_beat {
            self.next_beat = now + self.task.limits.heartbeat;
            self.beat(tee);
        }
        if self.deadline().is_some_and(|deadline| now >= deadline)
            && let Some(timeout) = self.task.limits.timeout
        {
            self.request(Cause::Timeout(timeout), Event::Stop);
        }
        if self.next_stall.is_some_and(|stall| now >= stall) {
            self.look_for_stall(tee);
        }
        if self.timer.is_some_and(|timer| now >= timer) {
            self.timer = None;
            if matches!(self.state, State::Killing | State::Purging) {
                self.undying = self.processes();
            }
            self.happen(Event::Timer);
        }
        if matches!(self.state, State::Killing | State::Purging) {
            self.signal_all(Sent::Kill);
        }
    }

    /// Asks for a stop when neither output nor a metric row came for too long.
    fn look_for_stall(&mut self, tee: &Tee) {
        self.next_stall = None;
        let Some(stall) = self.task.limits.stall.filter(|_| self.state == State::Running) else { return };
        self.take_in_metrics();
        let overdue = tee.last_activity().max(self.grew) + stall;
        if Instant::now() >= overdue {
            self.request(Cause::Stall(stall), Event::Stop);
        } else {
            self.next_stall = Some(overdue);
        }
    }

    fn make_room(&mut self) {
        if let Err(error) = self.record.make_room() {
            self.complain_of_record(&error);
        }
    }

    /// Writes what the run does.
    fn beat(&mut self, tee: &Tee) {
        if self.is_lost() {
            return;
        }
        let processes = self.processes();
        self.meter.gpu.ask();
        let sample = self.meter.sample(&processes);
        let used = self.meter.used();
        self.record.change(|running| running.attempt.resources = Some(used));
        self.take_in_metrics();
        self.note_output(tee.seen());
        let written = append_line(&self.task.layout.resources(), &sample).and_then(|()| self.record.beat());
        match written {
            Ok(()) => self.record_fails = false,
            Err(error) if !self.is_lost() => self.complain_of_record(&error),
            Err(_) => {}
        }
    }

    /// Says whether the record is not this attempt's any more, which is ended then.
    fn is_lost(&mut self) -> bool {
        let Some(why) = self.record.look_for_loss() else { return false };
        if !std::mem::replace(&mut self.is_lost, true) {
            let then =
                if self.main.has_ended { "how it ended is not recorded" } else { "ending the program" };
            warn(&format!("{why}; {then}"));
            if !self.main.has_ended {
                self.request(Cause::Failure(why), Event::Stop);
            }
        }
        true
    }

    fn complain_of_record(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.record_fails, true) {
            warn(&format!(
                "cannot write the record of '{}': {}",
                self.task.layout.root().display(),
                plain(error)
            ));
        }
    }

    fn note_output(&mut self, seen: Seen) {
        let last_output = seen.last_output.and_then(Timestamp::from_millis);
        self.record.change(|running| {
            running.attempt.last_output = running.attempt.last_output.max(last_output);
            running.attempt.lost_bytes = seen.lost;
        });
    }

    /// Reads the metric rows that were added; says whether there were any.
    fn take_in_metrics(&mut self) -> bool {
        // Metrics that cannot be read are the program's affair.
        if !self.follower.poll().unwrap_or(false) {
            return false;
        }
        self.grew = Instant::now();
        let figures = self.follower.figures();
        let of_each = figures.aggregates().map(|(name, figures)| (name.to_owned(), figures.to_json()));
        let metrics = Metrics::new(&of_each.collect());
        self.record.change(|running| {
            running.attempt.last_output = Some(Timestamp::now());
            running.attempt.step = figures.step();
            running.attempt.recent = Recent::new(&figures.recent());
            running.attempt.metrics = metrics;
        });
        true
    }

    /// Returns how the main process ended.
    fn main_end(&self) -> End {
        self.main.last_end.or(self.main.command_end).unwrap_or(End::Unseen)
    }

    fn conclude(&mut self, seen: Seen) -> AttemptEnd {
        if self.cause.is_none() {
            // A program that watches the file itself may have ended before we looked.
            self.cause =
                StopRequest::read(&self.task.layout.stop()).map(|request| Cause::Asked(request.words()));
        }
        let end = self.main_end();
        let log = match self.task.output {
            Output::Pipes => self.task.layout.stderr(),
            Output::Merged | Output::Terminal => self.task.layout.stdout(),
        };
        let name = log.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let offset = self.record.start().offsets.get(&name).copied().unwrap_or_default();
        let words = match end {
            End::Exited(0) => LastWords::default(),
            _ => last_words(&log, offset).unwrap_or_default(),
        };
        let oom_kills = if end == End::Signaled(SIGKILL) { self.oom_kills() } else { 0 };
        let (mut status, mut reason) = judge(self.cause.as_ref(), end, &words, oom_kills);
        if status == Outcome::Completed
            && let Some(wrong) = self.task.check.and_then(|check| check(&self.task.layout))
        {
            (status, reason) = (Outcome::Failed, Some(wrong));
        }
        let is_unseen = self.has_children && self.undying.is_empty();
        if (is_unseen || !self.undying.is_empty()) && status == Outcome::Completed {
            status = Outcome::Failed; // it has not ended
        }
        let mut notes: Vec<String> = reason.into_iter().collect();
        if seen.lost > 0 {
            let why = if seen.full { "disk full: " } else { "" };
            notes.push(format!("{why}{} bytes of output could not be logged", seen.lost));
        }
        if self.cause.is_none() && self.swept > 0 {
            notes.push(format!("ended {} that outlived it", count_processes(self.swept)));
        }
        if is_unseen {
            notes.push("processes that outlived it could not be found: /proc cannot be read".to_owned());
        }
        if !self.undying.is_empty() {
            notes.push(format!(
                "{} could not be killed, such as {}",
                count_processes(self.undying.len()),
                self.undying[0].pid
            ));
        }
        let mut record = self.end(status, Some(notes.join("; ")).filter(|reason| !reason.is_empty()));
        record.traceback = words.traceback.filter(|_| status == Outcome::Failed);
        match end {
            End::Exited(code) => record.exit_code = Some(code),
            End::Signaled(signal) => record.signal = Some(signal),
            End::Unseen => {}
        }
        if let Some(retry) = &self.task.retry
            && may_pass(self.cause.as_ref(), end, &retry.exit_codes)
        {
            record.retry_in_s = Some(retry.delay.as_secs_f64());
        }
        record
    }

    /// Makes the record of the attempt's end, but for how the command ended.
    fn end(&mut self, status: Outcome, reason: Option<String>) -> AttemptEnd {
        let start = self.record.start();
        let end_time = Timestamp::now();
        let duration_s = end_time.seconds_since(start.start_time).max(0.0);
        let rates = Rates::from_environment().ok().flatten(); // the end of an attempt is no time to complain
        AttemptEnd {
            schema: SCHEMA,
            run_id: start.run_id.clone(),
            event: EndEvent::End,
            attempt: start.attempt,
            status,
            reason,
            end_time,
            duration_s,
            exit_code: None,
            signal: None,
            final_step: self.record.recorded().step(),
            final_checkpoint: self.final_checkpoint(),
            retry_in_s: None,
            traceback: None,
            resources: self.meter.total(),
            lost_bytes: self.record.attempt().map_or(0, |attempt| attempt.lost_bytes),
            cost_usd: rates.and_then(|rates| of_attempt(start, duration_s, &rates)),
        }
    }

    /// Returns the checkpoint to go on from.
    fn final_checkpoint(&self) -> Option<String> {
        let task = self.task;
        let found = discover_latest(&task.layout, task.checkpoint.as_ref(), Program::Ended);
        let found = found.unwrap_or_default();
        latest(&found).map(|checkpoint| checkpoint.path.to_string_lossy().into_owned())
    }

    fn write_end(&mut self, end: &AttemptEnd) {
        if !self.is_lost()
            && let Err(error) = self.record.end(end)
            && !self.is_lost()
        {
            self.record_fails = false; // the end is worth saying again
            self.complain_of_record(&error);
        }
    }

    /// Lets others have the run, unless another attempt follows, and executes `--on-end`.
    fn after_end(&mut self, end: &AttemptEnd) {
        if end.retry_in_s.is_none() {
            self.record.release();
        }
        script::execute(self.task, end, &mut self.signals);
    }

    /// Returns how many processes of this cgroup were killed for want of memory since the start.
    fn oom_kills(&self) -> u64 {
        let killed = |(counter, before): &(OomCounter, u64)| counter.read()?.checked_sub(*before);
        self.oom.as_ref().and_then(killed).unwrap_or_default()
    }
}

/// Returns where each attempt after the first began in metrics.jsonl and in scraped.jsonl.
fn boundaries(record: &Record, layout: &Layout) -> [Vec<u64>; 2] {
    if record.start().attempt == 1 {
        return [Vec::new(), Vec::new()];
    }
    let earlier = Attempts::read(layout).unwrap_or_default();
    ["metrics.jsonl", "scraped.jsonl"].map(|name| {
        let present = record.start().offsets.get(name).copied().unwrap_or_default();
        // A front that takes over finds the present attempt among them: twice is as good as once.
        earlier.offsets(name).into_iter().chain([present]).collect()
    })
}

/// Says whether a process waits for its only child because it is a shell.
fn is_shell(pid: i32) -> bool {
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    matches!(
        name.as_str(),
        "sh" | "bash" | "dash" | "ash" | "busybox" | "zsh" | "fish" | "ksh" | "ksh93" | "mksh"
    )
}

fn has_ended(process: &Process) -> bool {
    let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

fn signal(sent: Sent) -> Signal {
    match sent {
        Sent::Int => Signal::INT,
        Sent::Term => Signal::TERM,
        Sent::Kill => Signal::KILL,
    }
}

fn count_processes(count: usize) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}
