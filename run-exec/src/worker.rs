//! The run of a process that a controller forks off, and what the process does.

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

/// The status by which a process says that another run-exec has its run.
pub(crate) const PASSED_OVER: u8 = 64;

/// A run at work.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) run: RunDir,
    pub(crate) slot: usize,
    pub(crate) batch: Option<usize>,
    /// Number of the last attempt before.
    pub(crate) before: u32,
    /// Attempts that were made again.
    pub(crate) retries: u32,
    settings: Settings,
    /// The lock, held between attempts too, where there may be others.
    pub(crate) held: Option<HeldRun>,
}

impl Worker {
    /// Returns what a process is needed for, or why the run is left as it is; takes the run when it is to be kept
    /// between attempts.
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

    /// Says how the next attempt is made, which `follows` another or is the first.
    pub(crate) fn attempt(&self, options: &Options, follows: bool) -> Attempt {
        Attempt {
            is_resume: options.resumes() || follows,
            is_retry: follows,
            gpu: options.slots.gpu(self.slot).cloned(),
            settings: self.settings.clone(),
            retry: self.settings.retry(self.retries),
            parent: Process::myself().ok(),
        }
    }

    /// Makes the attempt, in a process of its own, after so many seconds if it follows another.
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
