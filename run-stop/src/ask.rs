//! Asks runs to stop, by signal or by stop file.

use crate::leftovers;
use run_common::error::{Error, Exit, plain};
use run_common::fsio::lock::{self, Held};
use run_common::message::{complain, warn};
use run_common::process::identity::{Process, Signal};
use run_common::process::stat::Stat;
use run_common::rundir::foreign::Foreign;
use run_common::rundir::launch::Launch;
use run_common::rundir::observe::{Observed, Observer, Recipient, open_supervisor};
use run_common::rundir::open::RunDir;
use run_common::rundir::recorded::Recorded;
use run_common::rundir::status::Status;
use run_common::rundir::stop::StopRequest;
use run_launch::launcher::used;
use run_launch::settle::settle;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

/// Asks runs.
pub(crate) struct Asker<'a> {
    pub(crate) observer: &'a Observer,
    pub(crate) request: &'a StopRequest,
    /// Submissions of runs that were taken out of the queue, each with the user who has written it.
    pub(crate) launches: RefCell<Vec<(Launch, Option<u32>)>>,
}

/// A run that was asked to stop.
pub(crate) struct Asked {
    pub(crate) run: RunDir,
    pub(crate) time: Instant,
    pub(crate) supervisor: Option<Process>,
    /// The recorded supervisor, if it was not signalled because nothing proves that it belongs to the run.
    pub(crate) unproven: Option<Stat>,
    /// Live processes of a run whose supervisor was gone.
    pub(crate) leftovers: Vec<Stat>,
    /// Whether the run had not ended before.
    pub(crate) was_active: bool,
}

impl Asker<'_> {
    /// Asks a run to stop.
    pub(crate) fn ask(&self, run: &RunDir) -> Result<Asked, Error> {
        let mut observed = self.observer.observe(run)?;
        let died = observed.why_over();
        let before = (observed.recorded.status(), observed.recorded.attempts());
        if observed.status() != Status::Queued {
            settle(self.observer, [&mut observed]); // its job may be started again
        }
        let (status, shown) = (observed.status(), run.layout().root().display());
        let mut asked = Asked {
            run: run.clone(),
            time: Instant::now(),
            supervisor: None,
            unproven: None,
            leftovers: observed.leftovers.clone(),
            was_active: !status.has_ended(),
        };
        if status.has_ended() {
            warn(&format!("'{shown}' has already ended: {status}"));
            return Ok(asked);
        }
        if let Some(foreign) = run.layout().foreign() {
            asked.supervisor = self.ask_foreign(run, foreign)?;
            return Ok(asked);
        }
        if status == Status::Queued && self.take_out(run, before, died)? {
            return Ok(asked);
        }
        if let Some(command) = &observed.unproven {
            spare(run, command, "program");
        }
        if asked.leftovers.is_empty() {
            self.ask_supervisor(&observed, &mut asked)?;
        } else {
            leftovers::ask(&asked.leftovers, self.request.kill);
        }
        if status == Status::Created && !is_taken(run) {
            warn(&format!("'{shown}' has not started, and will not start"));
        }
        Ok(asked)
    }

    /// Asks a run of another system: its process, where that is proven to be its trainer, else by the file that it
    /// looks for. Returns the process.
    fn ask_foreign(&self, run: &RunDir, foreign: Foreign) -> Result<Option<Process>, Error> {
        let shown = run.layout().root().display();
        let Some(way) = foreign.stop(run.layout().root()) else {
            return Err(Error::new(Exit::BadRun, format!("cannot stop '{shown}'"))
                .because(format!("run-stop stops no runs of {}", foreign.name()))
                .hint("end its program as it was started"));
        };
        let process = way.process.as_ref().and_then(Process::open);
        let signal = |process: &Process| {
            if self.request.kill { process.signal(Signal::KILL) } else { process.ask_to_end() }
        };
        let why = match process.as_ref().map(signal) {
            Some(Ok(())) => return Ok(process),
            Some(Err(error)) => plain(&error),
            None => way.unproven.unwrap_or_else(|| "its process has just ended".to_owned()),
        };
        self.request.write(&way.file).map_err(|error| Error::io("write", &way.file, error))?;
        warn(&format!("'{shown}' is not signalled ({why}); it will find the file 'stop'"));
        Ok(None)
    }

    /// Takes a run that waits for a job out of the queue, unless it is just being started: then its job finds the
    /// request. Says whether it has. `before` is what was recorded of the run. Its last attempt may have
    /// `died` unseen.
    fn take_out(&self, run: &RunDir, before: (Status, u32), died: Option<String>) -> Result<bool, Error> {
        let layout = run.layout();
        self.request.write(&layout.stop()).map_err(|error| Error::io("write", &layout.stop(), error))?;
        let active = match run.clone().activate() {
            Ok(active) => active,
            Err(error) if error.exit() == Exit::Busy => return Ok(false),
            Err(error) => return Err(error),
        };
        let recorded = Recorded::read(layout)?;
        if recorded.status() != Status::Queued && (recorded.status(), recorded.attempts()) != before {
            return Ok(false);
        }
        active.complete_attempts(&recorded, died)?;
        active.write_stopped(&recorded, self.request.words())?;
        if let Some(launch) = Launch::read(layout)? {
            self.launches.borrow_mut().push((launch, Launch::writer(layout)));
        }
        Ok(true)
    }

    /// Cancels the jobs of runs that were taken out of the queue; returns why launchers have failed.
    pub(crate) fn cancel_jobs(&self) -> Vec<Error> {
        let mut by_launcher = BTreeMap::<_, Vec<String>>::new();
        for (Launch { launcher, args, job, .. }, user) in self.launches.take() {
            by_launcher.entry((launcher, args, user)).or_default().extend(job);
        }
        let cancel = |((name, args, user), jobs): ((String, Vec<String>, Option<u32>), Vec<String>)| {
            let first = jobs.first()?;
            let cancelled = used(&name, &args, user).and_then(|launcher| launcher.cancel(&jobs));
            let more = if jobs.len() > 1 { format!(" and {} more", jobs.len() - 1) } else { String::new() };
            let error = cancelled.err()?;
            let said = Error::new(error.exit(), format!("cannot cancel job {first}{more}"))
                .because(error.to_string());
            Some(said.hint("the runs are recorded as stopped: their jobs will find nothing to do"))
        };
        by_launcher.into_iter().filter_map(cancel).collect()
    }

    fn ask_supervisor(&self, observed: &Observed, asked: &mut Asked) -> Result<(), Error> {
        let layout = asked.run.layout();
        match open_supervisor(layout, &observed.recorded) {
            Recipient::Supervisor(supervisor) => asked.supervisor = Some(supervisor),
            Recipient::Unproven(supervisor) => {
                spare(&asked.run, &supervisor, "supervisor");
                asked.unproven = Some(supervisor);
            }
            Recipient::Nobody => {}
        }
        if let Err(error) = self.request.write(&layout.stop()) {
            let error = Error::io("write", &layout.stop(), error);
            if asked.supervisor.is_none() {
                return Err(error);
            }
            complain(&error); // the signal is enough
        }
        if let Some(supervisor) = &asked.supervisor
            && let Err(error) = supervisor.ask_to_end()
        {
            let (why, shown) = (plain(&error), layout.root().display());
            warn(&format!("cannot signal the supervisor of '{shown}' ({why}); it will find the file 'stop'"));
        }
        Ok(())
    }
}

/// Returns whether a run-exec holds a run, even if the record does not show this yet.
pub(crate) fn is_taken(run: &RunDir) -> bool {
    lock::ask(&run.layout().lock()).is_ok_and(|held| held == Held::Yes)
}

/// Warns that a recorded process is not signalled, and says what to do.
fn spare(run: &RunDir, process: &Stat, role: &str) {
    let (pid, shown) = (process.pid, run.layout().root().display());
    warn(&format!(
        "not signalling process {pid}, the recorded {role} of '{shown}': nothing proves that it belongs to the run"
    ));
    warn(&format!("if process {pid} belongs to the run, 'kill {pid}' ends it"));
}
