//! The process of one run, which a controller forks off: which runs get one, and what the process does.

use crate::attempt::Attempt;
use crate::controller::Controller;
use crate::held_run::{HeldRun, way_out};
use crate::run::Executed;
use crate::settings::Settings;
use run_common::cli::statuses::STATUSES;
use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};
use run_common::process::identity::Process;
use run_common::process::signals::Held;
use run_common::process::spawn::{Side, fork};
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;

/// The status by which a process says that another run-exec has its run.
pub(super) const PASSED_OVER: u8 = 64;

/// A run at work.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(super) run: RunDir,
    slot: usize,
    pub(super) batch: Option<usize>,
    /// Number of the last attempt before.
    pub(super) before: u32,
    /// Attempts that were made again.
    pub(super) retries: u32,
    settings: Settings,
    /// The lock, held between attempts too, where there may be others.
    pub(super) held: Option<HeldRun>,
}

impl Controller<'_> {
    /// Says whether a run that another run-exec executes is passed over.
    pub(super) fn passes_over(&self) -> bool {
        self.options.executed == Executed::Unfinished
    }

    /// Returns what a process is needed for, unless the run is to be passed over; takes the run when it is to
    /// be kept between attempts.
    pub(super) fn admit(
        &mut self,
        run: RunDir,
        slot: usize,
        batch: Option<usize>,
    ) -> Result<Option<Worker>, Error> {
        let observed = self.observer.observe(&run)?;
        let before = observed.recorded.attempts();
        match observed.status() {
            Status::Completed if self.passes_over() => {
                self.tally.pass();
                return Ok(None);
            }
            Status::Running if self.passes_over() => {
                pass_over(&run);
                return Ok(None);
            }
            Status::Stale if self.passes_over() && !self.options.take_over => {
                let what = format!("cannot start '{}'", run.layout().root().display());
                return Err(Error::new(Exit::Busy, what)
                    .because(observed.reason().unwrap_or_default())
                    .hint(way_out(&observed)));
            }
            _ => {}
        }
        let settings = Settings::of(self.options, &run);
        let held = if settings.retries == 0 {
            None
        } else {
            match HeldRun::take(&run, self.options) {
                Err(error) if self.passes_over() && error.exit() == Exit::Busy => {
                    pass_over(&run);
                    return Ok(None);
                }
                taken => Some(taken?),
            }
        };
        Ok(Some(Worker { run, slot, batch, before, retries: 0, settings, held }))
    }

    /// Forks the process of an attempt, which waits before it when `delay` says so. Returns the status to exit
    /// with, in that process alone.
    pub(super) fn fork_off(&mut self, worker: Worker, delay: Option<f64>) -> Option<u8> {
        let attempt = Attempt {
            is_resume: self.options.resumes() || delay.is_some(),
            is_retry: delay.is_some(),
            gpu: self.options.slots.gpu(worker.slot).cloned(),
            settings: worker.settings.clone(),
            retry: worker.settings.retry(worker.retries),
            parent: Process::myself().ok(),
        };
        match fork() {
            Ok(Side::Child(signals)) => Some(self.be_the_process(worker, attempt, delay, signals)),
            Ok(Side::Parent(pid)) => {
                let (batch, name) = (worker.batch, worker.run.layout().name());
                self.pool.add(pid, worker.slot, worker);
                if let Some(batch) = self.batches.get(batch) {
                    if delay.is_none() {
                        batch.note(&format!("run started: {name}"), &self.observer);
                    }
                    batch.is_behind = true;
                }
                None
            }
            Err(error) => {
                self.fail(&Error::new(Exit::System, "cannot fork").because(error));
                None
            }
        }
    }

    /// Goes on as the process of one run.
    fn be_the_process(&mut self, worker: Worker, attempt: Attempt, delay: Option<f64>, signals: Held) -> u8 {
        self.progress.forget();
        let options = self.options;
        let Worker { run, held, .. } = worker;
        let done = self.pool.leave(signals).and_then(|()| {
            let held = match held {
                Some(held) => held,
                None => HeldRun::take(&run, options)?,
            };
            match delay {
                Some(delay) => attempt.make_after(options, held, delay),
                None => attempt.make(options, held),
            }
        });
        match done {
            Ok(ended) => ended.status(), // the controller ends as a shell wants it
            Err(error) if self.passes_over() && error.exit() == Exit::Busy => {
                pass_over(&run);
                PASSED_OVER
            }
            Err(error) => {
                complain(&error);
                if self.is_one { STATUSES.failed } else { error.exit() as u8 }
            }
        }
    }
}

/// Says that another run-exec has a run.
fn pass_over(run: &RunDir) {
    warn(&format!("'{}' is executed by another run-exec, and passed over", run.layout().root().display()));
}
