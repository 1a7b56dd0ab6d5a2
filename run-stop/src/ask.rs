//! Asks runs to stop, each in the way that reaches it.

use crate::leftovers;
use run_common::error::{Error, plain};
use run_common::fsio::lock::{self, Held};
use run_common::message::{complain, warn};
use run_common::process::identity::Process;
use run_common::process::stat::Stat;
use run_common::rundir::observe::{Observed, Observer, Recipient, open_supervisor};
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;
use run_common::rundir::stop::StopRequest;
use std::time::Instant;

/// Asks runs.
pub(crate) struct Asker<'a> {
    pub(crate) observer: &'a Observer,
    pub(crate) request: &'a StopRequest,
}

/// A run that was asked to stop.
pub(crate) struct Asked {
    pub(crate) run: RunDir,
    pub(crate) time: Instant,
    pub(crate) supervisor: Option<Process>,
    /// The recorded supervisor, which was not signalled, since nothing proves that it is the run's.
    pub(crate) unproven: Option<Stat>,
    /// What lived of a run whose supervisor was gone.
    pub(crate) leftovers: Vec<Stat>,
    /// It had not ended before.
    pub(crate) was_active: bool,
}

impl Asker<'_> {
    /// Asks a run to stop.
    pub(crate) fn ask(&self, run: &RunDir) -> Result<Asked, Error> {
        let observed = self.observer.observe(run)?;
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
            warn(&format!("'{shown}' has ended already: it is {status}"));
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
            warn(&format!("'{shown}' has not started, and will not"));
        }
        Ok(asked)
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
            complain(&error); // the signal will do
        }
        if let Some(supervisor) = &asked.supervisor
            && let Err(error) = supervisor.ask_to_end()
        {
            let (why, shown) = (plain(&error), layout.root().display());
            warn(&format!(
                "cannot signal the supervisor of '{shown}' ({why}), which will find the file 'stop'"
            ));
        }
        Ok(())
    }
}

/// Says whether a run-exec has taken a run, though its record may not say so yet.
pub(crate) fn is_taken(run: &RunDir) -> bool {
    lock::ask(&run.layout().lock()).is_ok_and(|held| held == Held::Yes)
}

/// Says that a process is not signalled although the record names it, and what to do.
fn spare(run: &RunDir, process: &Stat, role: &str) {
    let (pid, shown) = (process.pid, run.layout().root().display());
    warn(&format!(
        "process {pid}, which the record of '{shown}' names as its {role}, is not signalled: nothing proves that it is the run's"
    ));
    warn(&format!("look at it, and if it is, 'kill {pid}' ends it"));
}
