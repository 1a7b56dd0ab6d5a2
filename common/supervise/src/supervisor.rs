//! The supervisor: feeds events to the state machine and carries out its actions, until no process of the run
//! is left.

use super::clock::{Clock, is_killing};
use super::devices::Devices;
use super::end::End;
use super::ending::{Asked, Noticed};
use super::forced::Forced;
use super::machine::{Action, Event, Sent, State, step};
use super::main_process::{MainProcess, has_ended};
use super::oom::OomKills;
use super::outcome::{Cause, exit_status};
use super::records::Records;
use super::resources::Meter;
use super::script;
use super::task::{Beside, Task};
use super::tee::Tee;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use run_common::error::plain;
use run_common::message::{tool, warn};
use run_common::process::identity::{Process, Signal};
use run_common::process::signals::Signals;
use run_common::process::stat::{Stat, has_proc};
use run_common::process::tree::{ProcessTable, signal_all};
use run_common::rundir::attempts::AttemptEnd;
use run_common::rundir::record::{Loss, Record};
use run_common::rundir::stop::StopRequest;
use run_common::time::{LONGEST, human};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, wait, waitpid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Time to keep for recording the end before a scheduler kills the supervisor.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Time limit for the tool's work beside a command that has ended.
const BESIDE: Duration = Duration::from_secs(1);

/// A supervisor of one attempt.
pub(super) struct Supervisor<'a> {
    pub(super) task: &'a Task,
    pub(super) records: Records<'a>,
    signals: Signals,
    /// The monitor, if its death ends the run.
    monitor: Option<Process>,
    state: State,
    pub(super) cause: Option<Cause>,
    pub(super) main: MainProcess,
    clock: Clock,
    pub(super) meter: Meter,
    pub(super) oom_kills: Option<OomKills>,
    pub(super) forced: Forced,
    /// Earlier children of this process, if it was the monitor: those of a program that exec replaced with the
    /// tool.
    inherited: Vec<Stat>,
    /// Whether processes may live that could not be found, because there is no `/proc`.
    pub(super) has_unseen: bool,
    /// Whether another process has begun an attempt of the run.
    has_successor: bool,
    /// Receives a message when the tool's work beside the command is done.
    pub(super) beside: Option<Receiver<()>>,
}

impl<'a> Supervisor<'a> {
    /// Creates a supervisor, before anything is started.
    pub(super) fn new(task: &'a Task, record: Record, signals: Signals, monitor: Option<Process>) -> Self {
        Self {
            task,
            records: Records::new(task, record),
            signals,
            monitor,
            state: State::Running,
            cause: None,
            main: MainProcess::default(),
            clock: Clock::new(task.limits, Instant::now()),
            meter: Meter::new(Devices::new(
                task.devices,
                task.limits.heartbeat,
                task.value("CUDA_VISIBLE_DEVICES"),
            )),
            oom_kills: None,
            forced: Forced::default(),
            inherited: Vec::new(),
            has_unseen: false,
            has_successor: false,
            beside: None,
        }
    }

    /// Starts the tool's work beside the command.
    pub(super) fn begin_beside(&mut self) {
        let Some(Beside(work)) = self.task.beside.clone() else { return };
        let (done, receiver) = channel();
        let begun = thread::Builder::new().spawn(move || {
            work();
            let _ = done.send(()); // the supervisor may have ended
        });
        self.beside = begun.ok().map(|_| receiver);
    }

    /// Waits for the tool's work beside the command, with a time limit in case a file system hangs.
    fn end_beside(&mut self) {
        if let Some(done) = self.beside.take() {
            let _ = done.recv_timeout(BESIDE);
        }
    }

    /// Takes the place of a supervisor that was killed, whose processes are children of this process now.
    /// Children that were `inherited` do not belong to the run. If the supervisor was already ending the run, because
    /// of a limit, a stop request or the signal `request`, the recorded cause remains: a scheduler kills what is
    /// left of a job after some time.
    pub(super) fn adopt(&mut self, child: Option<i32>, inherited: Vec<Stat>, request: Option<i32>) {
        self.inherited = inherited;
        let stop = StopRequest::read(&self.task.layout.stop());
        let was_asked = stop.is_some() || request.is_some();
        let cause = self.records.noted_cause().and_then(|words| self.recorded_cause(words, was_asked));
        let cause = cause.unwrap_or(Cause::SupervisorKilled);
        self.records.take_over();
        let me = std::process::id().cast_signed();
        let child = child.filter(|&child| Stat::of(child).is_some_and(|stat| stat.ppid == me));
        match child {
            Some(pid) => {
                self.main = MainProcess::started(pid);
                self.records.note_child(pid);
                self.request(cause, Event::Stop);
            }
            None => {
                self.cause = Some(cause);
                self.main = MainProcess::gone();
                self.happen(Event::MainEnded);
            }
        }
        if let Some(stop) = stop {
            self.limit_grace(&stop);
        } else if request == Some(SIGTERM) && self.cause == Some(Cause::of_signal(SIGTERM)) {
            self.explain();
        }
    }

    /// Returns the cause that was recorded in these words: a limit of the task, or else a request.
    fn recorded_cause(&self, words: String, was_asked: bool) -> Option<Cause> {
        let limits = &self.task.limits;
        let limits = [limits.timeout.map(Cause::Timeout), limits.stall.map(Cause::Stall)];
        let limit = limits.into_iter().flatten().find(|limit| limit.words() == words);
        limit.or_else(|| was_asked.then_some(Cause::Asked(words)))
    }

    /// Supervises until no process of the run is left; returns the exit status.
    pub(super) fn supervise(mut self, mut tee: Tee) -> io::Result<u8> {
        // The command starts meanwhile.
        self.oom_kills = OomKills::find();
        self.reap();
        while self.state != State::Over {
            if self.wait(&tee)? {
                self.records.look_at_checkpoints();
            }
            self.heed_signals();
            if let Err(error) = tee.look() {
                warn(&format!("cannot start a thread: {}; ending the run", plain(&error)));
                self.request(Cause::Failure(format!("{} could not start a thread", tool())), Event::Stop);
            }
            self.meter.devices.listen();
            self.reap();
            self.look_after_monitor();
            self.look_at_clock(&tee);
        }
        let has_children = self.reap();
        self.has_unseen = has_children && self.meter.devices.groups().is_empty() && !has_proc();
        let unlogged = tee.unlogged();
        let seen = tee.finish();
        self.records.take_in_all();
        self.records.say_skipped();
        self.records.note_output(seen);
        let end = self.conclude(seen, &unlogged);
        self.end_beside();
        self.write_end(&end);
        let status = match exit_status(self.cause.as_ref(), self.main.end(), self.task.statuses) {
            0 if self.lives_on() => self.task.statuses.failed,
            status => status,
        };
        self.after_end(&end);
        Ok(status)
    }

    /// Waits for an event or the next deadline; returns whether checkpoints may have changed.
    fn wait(&self, tee: &Tee) -> io::Result<bool> {
        let checkpoints = self.records.awaited();
        let monitor = self.monitor.as_ref().map(Process::as_fd);
        let awaited = [checkpoints, Some(self.signals.as_fd()), monitor, self.main.awaited()];
        let awaited = awaited.into_iter().flatten().chain(self.meter.devices.output()).chain(tee.awaited());
        let mut fds: Vec<PollFd> = awaited.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // Adds a millisecond, because poll(2) rounds down to whole milliseconds.
        let left = self.clock.pause(self.state, Instant::now()) + Duration::from_millis(1);
        let left = self.records.rest().map_or(left, |rest| left.min(rest));
        let timeout = PollTimeout::try_from(left.min(Duration::from_secs(3600))).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) => Ok(checkpoints.is_some() && fds.first().and_then(PollFd::any) == Some(true)),
            Err(nix::Error::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn heed_signals(&mut self) {
        for signal in self.signals.pending() {
            match signal {
                SIGINT => self.asked(signal, Event::Interrupt),
                SIGTERM | SIGHUP => self.asked(signal, Event::Stop),
                SIGUSR1 => self.main.pass_on(Signal::USR1),
                SIGUSR2 => self.main.pass_on(Signal::USR2),
                _ => {}
            }
        }
    }

    /// Handles a signal that requests a stop.
    fn asked(&mut self, signal: i32, event: Event) {
        let request = StopRequest::read(&self.task.layout.stop()).filter(|_| event == Event::Stop);
        match request {
            Some(request) => self.grant(&request),
            None => {
                let is_first = self.cause.is_none() && !self.main.has_ended();
                self.request(Cause::of_signal(signal), event);
                if is_first && signal == SIGTERM {
                    self.records.show(); // the scheduler may kill this process before it answers
                    self.explain();
                }
            }
        }
    }

    /// Asks the tool why the program has to end, and shortens the grace to the time that is left.
    fn explain(&mut self) {
        let Some(Asked { words, left }) = self.task.ending.asked(Noticed::Request) else { return };
        self.records.note_cause(&words);
        self.cause = Some(Cause::Asked(words));
        if let Some(left) = left {
            let spare = self.task.limits.linger + LAST_WORDS;
            self.clock.shorten_grace(left.saturating_sub(spare), Instant::now());
        }
    }

    /// Carries out a request in the `stop` file, with its grace, counted from now.
    fn grant(&mut self, request: &StopRequest) {
        self.request(Cause::Asked(request.words()), if request.kill { Event::Kill } else { Event::Stop });
        self.limit_grace(request);
    }

    /// Applies the grace of a stop request, counted from now.
    fn limit_grace(&mut self, request: &StopRequest) {
        let wanted = request.grace_s.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        if let (Some(grace), State::Stopping { .. }) = (wanted, self.state)
            && grace <= LONGEST
        {
            self.clock.shorten_grace(grace, Instant::now());
        }
    }

    /// Records the cause of an event, and handles the event.
    fn request(&mut self, cause: Cause, event: Event) {
        if !self.main.has_ended() && self.cause.is_none() {
            self.records.note_cause(&cause.words());
            self.clock.hurry_beat(Instant::now()); // show the stop early, because it may take long
            self.cause = Some(cause);
        }
        self.happen(event);
    }

    fn happen(&mut self, event: Event) {
        let before = self.state;
        let (state, actions) = step(before, event);
        self.state = state;
        match event {
            Event::Timer => self.note_overtime(before),
            Event::MainEnded => self.meter.devices.end(),
            _ => {}
        }
        for action in actions {
            match action {
                Action::SignalMain(sent) => {
                    let ending = &self.task.ending;
                    self.main.ask(signal(sent), |pid| ending.signal_elsewhere(pid, signal(sent)));
                }
                Action::SignalAll(sent) => self.signal_all(sent),
                Action::Arm(wait) => self.clock.arm(wait, Instant::now()),
            }
        }
    }

    /// Records processes that have not ended in time, and warns if the grace was not enough.
    fn note_overtime(&mut self, before: State) {
        let task = self.task;
        let (root, grace) = (task.layout.root().display(), self.clock.grace());
        let (grace_words, linger) = (human(grace), human(task.limits.linger));
        match (before, self.state) {
            (State::Stopping { .. }, _) => warn(&format!(
                "'{root}' has not ended after grace {grace_words}: asked all of it to end, which is killed after \
                 linger {linger}"
            )),
            (State::Terminating, State::Killing) => {
                warn(&format!(
                    "'{root}' has not ended after grace {grace_words} and linger {linger}: killed"
                ));
                self.forced.grace = Some(grace);
            }
            (State::Sweeping, _) => self.forced.killed = self.processes().len(),
            (State::Killing | State::Purging, _) => self.forced.undying = self.processes(),
            _ => {}
        }
    }

    fn signal_all(&mut self, sent: Sent) {
        if sent == Sent::Kill {
            for program in self.main.programs() {
                self.task.ending.signal_elsewhere(program, Signal::KILL);
            }
        }
        let left = self.processes();
        if left.is_empty() {
            self.main.signal_group(signal(sent));
        }
        if self.main.has_ended() && sent == Sent::Term {
            self.forced.asked = left.len();
        }
        signal_all(&left, signal(sent));
        if sent == Sent::Term {
            signal_all(&left, Signal::CONT);
        }
    }

    /// Returns the living processes of the run.
    fn processes(&self) -> Vec<Stat> {
        self.processes_of(&ProcessTable::read())
    }

    fn processes_of(&self, table: &ProcessTable) -> Vec<Stat> {
        table.descendants(std::process::id().cast_signed(), self.meter.devices.groups(), &self.inherited)
    }

    /// Waits for a child that has ended, if there is one; skips children that do not belong to the run.
    fn next_ended(&mut self) -> Result<Option<(Pid, WaitStatus)>, Errno> {
        loop {
            let is_there = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            let child = waitid(Id::All, is_there).ok().and_then(|status| status.pid());
            if child.is_some_and(|child| self.meter.wait_for_foreign(child.as_raw())) {
                continue;
            }
            let child = child.and_then(|child| Pid::from_raw(child.as_raw()));
            return match child {
                Some(_) => waitpid(child, WaitOptions::NOHANG),
                None => wait(WaitOptions::NOHANG),
            };
        }
    }

    /// Waits for all children that have ended, and notices the end of the main process and of the last process.
    /// Returns whether children are left.
    fn reap(&mut self) -> bool {
        let has_children = loop {
            let (pid, status) = match self.next_ended() {
                Ok(Some(ended)) => ended,
                Ok(None) => break true,
                Err(Errno::INTR) => continue,
                Err(_) => break false,
            };
            let end = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => End::Exited(code),
                (None, Some(signal)) => End::Signaled(signal),
                (None, None) => continue,
            };
            if self.main.note_end(pid.as_raw_nonzero().get(), end) {
                self.happen(Event::MainEnded);
            }
        };
        if self.main.was_seen_to_end() {
            self.happen(Event::MainEnded);
        }
        // If a driver is in trouble, a child that does not belong to the run may never end.
        let has_others = !self.inherited.is_empty() || !self.meter.devices.groups().is_empty();
        if !has_children || self.main.has_ended() && has_others && has_proc() && self.processes().is_empty() {
            if self.main.note_gone() {
                self.happen(Event::MainEnded);
            }
            self.happen(Event::Empty);
        }
        has_children
    }

    fn look_after_monitor(&mut self) {
        if self.monitor.as_ref().is_some_and(has_ended) {
            self.monitor = None;
            self.request(Cause::MonitorKilled, Event::Stop);
        }
    }

    fn look_at_clock(&mut self, tee: &Tee) {
        let now = Instant::now();
        if self.clock.is_look_due(now)
            && let Some(request) = StopRequest::read(&self.task.layout.stop())
            && (self.state == State::Running || request.kill)
        {
            self.grant(&request);
        }
        if self.clock.is_beat_due(now) {
            self.beat(tee);
        }
        if let Some(limit) = self.clock.timeout(self.state, now) {
            self.request(Cause::Timeout(limit), Event::Stop);
        }
        if self.clock.is_stall_due(now) {
            self.records.look_for_life();
            let last = tee.last_activity().max(self.records.grew());
            if let Some(limit) = self.clock.stall(self.state, last, Instant::now()) {
                self.request(Cause::Stall(limit), Event::Stop);
            }
        }
        if self.clock.is_timer_over(now) {
            self.happen(Event::Timer);
        }
        if is_killing(self.state) {
            self.signal_all(Sent::Kill);
        }
    }

    /// Writes a heartbeat.
    fn beat(&mut self, tee: &Tee) {
        if self.records.is_lost() {
            return;
        }
        let table = ProcessTable::read();
        let processes = self.processes_of(&table);
        self.meter.devices.tend(&table);
        let mut sample = self.meter.sample(&processes);
        self.records.note_use(self.meter.used(), tee.seen());
        sample.life = self.records.life();
        // Check ownership last, directly before the record is written.
        if self.is_lost() {
            if self.has_successor {
                tee.mute();
            }
        } else {
            self.records.beat(&sample);
        }
    }

    /// Ends the attempt if it has lost the record; returns whether it has.
    fn is_lost(&mut self) -> bool {
        if let Some(Loss { why, has_successor }) = self.records.find_loss() {
            self.has_successor = has_successor;
            let has_ended = self.main.has_ended();
            let then = if has_ended { "how it ended is not recorded" } else { "ending the program" };
            warn(&format!("{why}; {then}"));
            if !has_ended {
                // A checkpoint that the program saves now could overwrite one of its successor.
                let event = if has_successor { Event::Kill } else { Event::Stop };
                self.request(Cause::Failure(why), event);
            }
        }
        self.records.is_lost()
    }

    /// Writes the record of the attempt's end, if the attempt still owns it.
    pub(super) fn write_end(&mut self, end: &AttemptEnd) {
        if !self.is_lost() {
            self.records.write_end(end);
        }
    }

    /// Releases the run, unless a retry follows, and executes the tool's script.
    pub(super) fn after_end(&mut self, end: &AttemptEnd) {
        if end.retry_in_s.is_none() {
            self.records.release();
        }
        script::execute(self.task, end, &mut self.signals);
    }
}

fn signal(sent: Sent) -> Signal {
    match sent {
        Sent::Int => Signal::INT,
        Sent::Term => Signal::TERM,
        Sent::Kill => Signal::KILL,
    }
}
