//! The run of a process that a controller forks, and the work of the process.

use crate::attempt::Attempt;
use crate::held_run::HeldRun;
use crate::options::Options;
use crate::settings::Settings;
use crate::unfinished::Left;
use run_common::cli::statuses::Ended;
use run_common::error::Error;
use run_common::process::identity::Process;
use run_common::rundir::observe::Observed;
use run_common::rundir::open::RunDir;

/// The exit status of a process whose run another run-exec is executing.
pub(crate) const PASSED_OVER: u8 = 64;

/// An active run.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) run: RunDir,
    pub(crate) slot: usize,
    pub(crate) batch: Option<usize>,
    /// Number of the last earlier attempt.
    pub(crate) before: u32,
    /// Number of retries so far.
    pub(crate) retries: u32,
    settings: Settings,
    /// The lock, held between attempts if the run may be retried.
    pub(crate) held: Option<HeldRun>,
}

impl Worker {
    /// Returns the worker of a run, or why the run is skipped; takes the lock if it must be held between attempts.
    pub(crate) fn admit(
        options: &Options,
        observed: Observed,
        slot: usize,
        batch: Option<usize>,
    ) -> Result<Result<Self, Left>, Error> {
        if let Some(left) = Left::of(options, &observed)? {
            return Ok(Err(left));
        }
        let (run, before) = (observed.run, observed.recorded.attempts());
        let settings = Settings::of(options, &run);
        let held = if settings.retries == 0 {
            None
        } else {
            match HeldRun::take(&run, options) {
                Ok(held) => Some(held),
                Err(error) => return Left::after(options, &run, error).map(Err),
            }
        };
        Ok(Ok(Self { run, slot, batch, before, retries: 0, settings, held }))
    }

    /// Returns the next attempt, which is a retry if it `follows` another.
    pub(crate) fn attempt(&self, options: &Options, follows: bool) -> Attempt {
        Attempt {
            is_resume: options.resumes() || follows,
            is_retry: follows || options.is_again,
            gpu: options.gpu(self.slot),
            free: options.free_gpus,
            settings: self.settings.clone(),
            retry: self.settings.retry(self.retries),
            parent: Process::myself().ok(),
        }
    }

    /// Makes the attempt in this process, after `delay` if it is a retry.
    pub(crate) fn make(
        self,
        options: &Options,
        attempt: Attempt,
        delay: Option<f64>,
    ) -> Result<Ended, Error> {
        let held = match self.held {
            Some(held) => held,
            None => match HeldRun::take(&self.run, options) {
                Ok(held) => held,
                Err(error) => {
                    return Left::after(options, &self.run, error).map(|_| Ended::With(PASSED_OVER));
                }
            },
        };
        match delay {
            Some(delay) => attempt.make_after(options, held, delay),
            None => attempt.make(options, held),
        }
    }
}
