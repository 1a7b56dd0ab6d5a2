//! Waits until runs that were asked to stop have ended, and kills what does not end.

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

/// How long a supervisor may take to kill its run, or to react to a request.
const LAST: Duration = Duration::from_secs(10);

/// Waits for the end of runs.
pub(crate) struct Finisher<'a> {
    pub(crate) observer: &'a Observer,
    /// How long processes without a supervisor have before they are killed.
    pub(crate) grace: Duration,
    /// Whether to kill a supervisor that does not kill its run.
    pub(crate) kills: bool,
    /// Whether to wait for runs.
    pub(crate) waits: bool,
}

impl Finisher<'_> {
    /// Waits for the end of a run, and returns the final state, with the reason if that state is in doubt.
    pub(crate) fn finish(&self, mut asked: Asked) -> Result<(Observed, Option<String>), Error> {
        if asked.leftovers.is_empty() && self.waits {
            let (observed, doubt) = self.wait(&asked)?;
            if observed.leftovers.is_empty() {
                if let Some(remark) = observed.reason().and_then(killed_remark).filter(|_| asked.was_active) {
                    let shown = asked.run.layout().root().display();
                    warn(&format!("'{shown}' did not end when asked to: {remark}"));
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

    /// Waits until a run has ended, or is in doubt, or will not start. Kills a supervisor that does not kill
    /// its run. If the recorded supervisor may be a stranger's process, the run must react to the request.
    fn wait(&self, asked: &Asked) -> Result<(Observed, Option<String>), Error> {
        let mut waiter = Waiter::new();
        let mut kills = self.kills;
        loop {
            let observed = self.observer.observe(&asked.run)?;
            let waits = match observed.status() {
                Status::Running | Status::Queued => true,
                Status::Created => is_taken(&asked.run), // its record will show the start soon
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

/// Returns whether the supervisor has written the record since the request; a supervisor does so as soon as
/// it finds the request.
fn has_answered(observed: &Observed, asked: &Asked) -> bool {
    let beat = observed.recorded.attempt().and_then(|attempt| attempt.last_heartbeat);
    beat.is_some_and(|beat| Timestamp::now().seconds_since(beat) < asked.time.elapsed().as_secs_f64())
}
