//! Sees runs that were asked to stop to their end.

use crate::ask::{Asked, is_taken};
use crate::leftovers;
use run_common::error::Error;
use run_common::message::warn;
use run_common::process::identity::Signal;
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::status::Status;
use run_common::rundir::stop::killed_remark;
use run_common::rundir::wait::Waiter;
use run_common::time::{Timestamp, human};
use std::time::{Duration, Instant};

/// How long a supervisor may take to kill, or to show that it has been asked.
const LAST: Duration = Duration::from_secs(10);

/// Sees runs to their end.
pub(crate) struct Finisher<'a> {
    pub(crate) observer: &'a Observer,
    /// How long what is left of a run without supervisor has before it is killed.
    pub(crate) grace: Duration,
    /// Whether a supervisor that does not kill when it is told to is killed.
    pub(crate) kills: bool,
    /// Whether runs are waited for.
    pub(crate) waits: bool,
}

impl Finisher<'_> {
    /// Sees a run to its end; returns what it is then, and why that is in doubt after it was waited for.
    pub(crate) fn finish(&self, mut asked: Asked) -> Result<(Observed, Option<String>), Error> {
        if asked.leftovers.is_empty() && self.waits {
            let (observed, doubt) = self.wait(&asked)?;
            if observed.leftovers.is_empty() {
                if let Some(remark) = observed.reason().and_then(killed_remark).filter(|_| asked.was_active) {
                    let shown = asked.run.layout().root().display();
                    warn(&format!("'{shown}' did not end when it was asked to: {remark}"));
                }
                return Ok((observed, doubt));
            }
            leftovers::ask(&observed.leftovers, self.kills); // its supervisor was killed meanwhile
            asked = Asked { time: Instant::now(), leftovers: observed.leftovers, ..asked };
        }
        if !asked.leftovers.is_empty() {
            let killed = if self.waits {
                let known = asked.leftovers.clone();
                leftovers::end(&asked.run, known, asked.time, self.grace, self.observer)?
            } else {
                0
            };
            let (count, shown) = (asked.leftovers.len(), asked.run.layout().root().display());
            let noun = if count == 1 { "process" } else { "processes" };
            let done = if self.waits { "ended" } else { "asked" };
            let forced = match killed {
                1.. if !self.kills => {
                    format!("; {killed} had to be killed after grace {}", human(self.grace))
                }
                _ => String::new(),
            };
            warn(&format!("{done} {count} {noun} of '{shown}', whose supervisor was gone{forced}"));
        }
        let observed = self.observer.observe(&asked.run)?;
        let doubt = self.doubt(&observed);
        Ok((observed, doubt))
    }

    fn doubt(&self, observed: &Observed) -> Option<String> {
        let is_in_doubt = self.waits && observed.status() == Status::Stale;
        is_in_doubt.then(|| observed.reason().unwrap_or_default().to_owned())
    }

    /// Waits until a run has ended, or is in doubt, or will not start. A supervisor that does not
    /// kill when it is told to is killed; one that may be another's process has to show that it was asked.
    fn wait(&self, asked: &Asked) -> Result<(Observed, Option<String>), Error> {
        let mut waiter = Waiter::new();
        let mut kills = self.kills;
        loop {
            let observed = self.observer.observe(&asked.run)?;
            let waits = match observed.status() {
                Status::Running | Status::Queued => true,
                Status::Created => is_taken(&asked.run), // it is about to say that it runs
                Status::Stale => asked.supervisor.is_some() && observed.leftovers.is_empty(), // it wakes up
                _ => false,
            };
            if !waits {
                let doubt = self.doubt(&observed);
                return Ok((observed, doubt));
            }
            let left = LAST.saturating_sub(asked.time.elapsed());
            if let Some(supervisor) =
                asked.unproven.filter(|_| left.is_zero() && !has_answered(&observed, asked))
            {
                let why = format!("process {} may not be its supervisor", supervisor.pid);
                return Ok((observed, Some(why)));
            }
            if kills && left.is_zero() {
                kills = false;
                if let Some(supervisor) = &asked.supervisor
                    && supervisor.signal(Signal::KILL).is_ok()
                {
                    let shown = asked.run.layout().root().display();
                    warn(&format!(
                        "killed the supervisor of '{shown}', which had not killed the run after {}",
                        human(LAST)
                    ));
                }
            }
            let has_deadline = kills || asked.unproven.is_some() && !left.is_zero();
            waiter.pause([&observed], has_deadline.then_some(left));
        }
    }
}

/// Says whether the supervisor has written the record since it was asked, which it does as soon as it finds the
/// request.
fn has_answered(observed: &Observed, asked: &Asked) -> bool {
    let beat = observed.recorded.attempt().and_then(|attempt| attempt.last_heartbeat);
    beat.is_some_and(|beat| Timestamp::now().seconds_since(beat) < asked.time.elapsed().as_secs_f64())
}
