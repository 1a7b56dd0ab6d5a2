//! `--gpus free`: an attempt waits until enough GPUs are free. Meanwhile its run is queued, as one that waits for a job is.

use crate::attempt::Attempt;
use crate::held_run::HeldRun;
use crate::options::Options;
use crate::plan::Plan;
use crate::retry::stopped;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use run_common::cli::statuses::{Ended, STATUSES};
use run_common::error::{Error, Exit};
use run_common::fsio::atomic::Durability;
use run_common::message::warn;
use run_common::process::identity::ProcessId;
use run_common::process::signals::Signals;
use run_common::provenance::device::NVIDIA_SMI;
use run_common::provenance::free_gpus::{FreeGpus, Look, TakenGpus};
use run_common::rundir::SCHEMA;
use run_common::rundir::launch::{FREE_GPUS, Launch};
use run_common::rundir::meta::Meta;
use run_common::rundir::recorded::Recorded;
use run_common::time::Timestamp;
use run_supervise::catch;
use std::fs;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Time between the first looks; later ones are further apart.
const FIRST: Duration = Duration::from_millis(500);

/// The longest time between two looks.
const LONGEST: Duration = Duration::from_secs(5);

/// How often to look for the `stop` file.
const STOP_FILE: Duration = Duration::from_secs(1);

/// How often the record says that the run still waits, for readers on other hosts.
const NEWS: Duration = Duration::from_secs(300);

/// What ended the wait.
enum Waited {
    Taken(TakenGpus),
    /// A stop was requested and recorded, or the attempt was given up; the exit status.
    Ended(u8),
}

impl Attempt {
    /// Makes the attempt as soon as this number of GPUs is free, and assigns them to it.
    pub(crate) fn make_when_free(
        self,
        options: &Options,
        mut held: HeldRun,
        count: usize,
        caught: Option<Signals>,
    ) -> Result<Ended, Error> {
        let failed = |error| Error::new(Exit::System, "cannot catch signals").because(error);
        let mut signals = caught.map_or_else(catch, Ok).map_err(failed)?;
        let free = FreeGpus::new(NVIDIA_SMI, count)?;
        self.check(options, &held)?;
        let taken = match free.look()? {
            Look::Taken(taken) => taken,
            Look::Waits(why) => match self.wait_for(&free, &mut held, &mut signals, why)? {
                Waited::Taken(taken) => taken,
                Waited::Ended(status) => return Ok(Ended::With(status)),
            },
        };
        let this = Self { gpu: Some(taken.list.clone()), free: None, ..self };
        this.make_now(options, held, signals) // the locks last until the process ends
    }

    /// Finds out whether the attempt could be made, before it waits for hours.
    fn check(&self, options: &Options, held: &HeldRun) -> Result<(), Error> {
        let meta = Meta::read(held.layout())?;
        let attempt = Self {
            gpu: Some("0".to_owned()), // any
            settings: self.settings.clone(),
            is_retry: true, // warnings about the command come when it starts
            is_resume: self.is_resume,
            free: None,
            retry: None,
            parent: None,
        };
        Plan::check(options, &attempt, held.active.run(), &meta, &held.recorded)
    }

    fn wait_for(
        &self,
        free: &FreeGpus,
        held: &mut HeldRun,
        signals: &mut Signals,
        mut why: String,
    ) -> Result<Waited, Error> {
        let before = Recorded::read(held.layout())?;
        if !self.is_retry && held.layout().stop().symlink_metadata().is_ok() {
            if !self.is_resume {
                return Err(held.refuse_stopped());
            }
            let stop = held.layout().stop();
            fs::remove_file(&stop).map_err(|error| Error::io("remove", &stop, error))?;
        }
        warn(&format!("'{}' {why}", held.layout().root().display()));
        let mut launch = waiting(&held.recorded.run_id);
        launch.write(held.layout())?;
        held.active.queue(&held.recorded, held.died.take(), Some(why.clone()), Durability::Power)?;
        held.recorded = Recorded::read(held.layout())?;
        let (started, mut news, mut look) = (Instant::now(), Instant::now(), Instant::now() + FIRST);
        loop {
            if let Some(status) = stopped(held, signals)? {
                return Ok(Waited::Ended(status));
            }
            let now = Instant::now();
            if now >= look {
                match free.look()? {
                    Look::Taken(taken) => return Ok(Waited::Taken(taken)),
                    Look::Waits(now) if now != why => {
                        held.active.queue(&held.recorded, None, Some(now.clone()), Durability::Power)?;
                        why = now;
                    }
                    Look::Waits(_) => {}
                }
                look = Instant::now() + (started.elapsed() / 10).clamp(FIRST, LONGEST);
            }
            if news.elapsed() > NEWS {
                launch.time = Timestamp::now();
                launch.write(held.layout())?;
                news = now;
            }
            let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            fds.extend(self.parent.as_ref().map(|parent| PollFd::new(parent.as_fd(), PollFlags::POLLIN)));
            let left = look.saturating_duration_since(Instant::now()).min(STOP_FILE);
            let pause = left + Duration::from_millis(1); // poll rounds down
            let _ = poll(&mut fds, PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX)); // everything is checked anyway
            if fds.get(1).is_some_and(|parent| parent.any().unwrap_or(false)) {
                // Nothing has happened to the run.
                if self.is_retry {
                    held.give_up("run-exec was killed before another attempt")?;
                } else {
                    held.active.write(&before)?;
                }
                return Ok(Waited::Ended(STATUSES.failed));
            }
        }
    }
}

/// Makes the submission of a run that waits for GPUs of this machine.
fn waiting(run_id: &str) -> Launch {
    Launch {
        schema: SCHEMA,
        run_id: run_id.to_owned(),
        submission: Uuid::now_v7().to_string(),
        launcher: FREE_GPUS.to_owned(),
        args: Vec::new(),
        job: None,
        list: None,
        time: Timestamp::now(),
        submitter: ProcessId::myself(),
        kill_wait_s: None,
        requeue: false,
        restart_ok: false,
        resubmitted: 0,
        resubmit_time: None,
        attempts: 0,
    }
}
