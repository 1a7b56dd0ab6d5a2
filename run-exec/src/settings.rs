//! The options of an attempt: given and inherited ones.

use crate::options::Options;
use run_common::message::warn;
use run_common::provenance::redact::REDACTED;
use run_common::rundir::attempts::Attempts;
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::Meta;
use run_common::rundir::open::RunDir;
use run_common::rundir::options::AttemptOptions;
use run_common::time::LONGEST;
use run_metrics::scrape::Patterns;
use run_supervise::{Limits, Retry};
use std::time::Duration;

/// Maximum time between two attempts.
const LONGEST_DELAY: Duration = Duration::from_secs(3600);

/// Time for the record of an end.
const RECORD: Duration = Duration::from_secs(5);

/// The options of an attempt of one run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) scrape: Patterns,
    /// Maximum number of retries.
    pub(crate) retries: u32,
    /// Time before the first retry.
    retry_delay: Duration,
    /// Exit statuses after which to retry.
    retry_on: Vec<i32>,
    /// Shell command to execute after an attempt.
    on_end: Option<String>,
    /// The options for the record.
    pub(crate) recorded: AttemptOptions,
}

impl Settings {
    /// Reads the options that the next attempt of a run inherits. Errors in the record are found when the run
    /// is taken.
    pub(crate) fn of(options: &Options, run: &RunDir) -> Self {
        let layout = run.layout();
        let attempts = Attempts::read(layout).unwrap_or_default();
        let inherited = match attempts.last() {
            Some(last) => last.start.options.clone(),
            None => Meta::read(layout).map(|meta| meta.options).unwrap_or_default(),
        };
        let settings = Self::resolve(options.given.clone(), inherited);
        let retries = if options.stdin { 0 } else { settings.retries }; // stdin cannot be read again
        Self { retries, ..settings }
    }

    /// Returns the time that an attempt may need to end when it is asked to: so long before its limit a job is
    /// signalled.
    pub(crate) fn warning(&self) -> Duration {
        self.limits.grace + 2 * self.limits.linger + RECORD
    }

    /// Returns the shell command for the end of an attempt; warns if the command is unknown.
    pub(crate) fn on_end(&self, layout: &Layout) -> Option<String> {
        let command = self.on_end.as_ref()?;
        if command.contains(REDACTED) {
            let shown = layout.root().display();
            warn(&format!("--on-end of '{shown}' contained a secret and was not recorded; give it again"));
            return None;
        }
        Some(command.clone())
    }

    fn resolve(given: AttemptOptions, before: AttemptOptions) -> Self {
        let all = given.or(before);
        let time = |seconds: Option<f64>| {
            let time = Duration::try_from_secs_f64(seconds?).ok();
            time.filter(|time| *time <= LONGEST)
        };
        let limit = |seconds| time(seconds).filter(|limit| !limit.is_zero());
        let or = |seconds: Option<f64>, default| time(seconds).unwrap_or(Duration::from_secs(default));
        Self {
            limits: Limits {
                grace: or(all.grace_s, 120),
                linger: or(all.linger_s, 5),
                heartbeat: limit(all.heartbeat_s).unwrap_or(Duration::from_secs(5)),
                timeout: limit(all.timeout_s),
                stall: limit(all.stall_timeout_s),
            },
            // A record may have been edited.
            scrape: Patterns::parse(all.scrape.as_deref().unwrap_or_default()).unwrap_or_default(),
            retries: all.retries.unwrap_or(0),
            retry_delay: or(all.retry_delay_s, 30),
            retry_on: all.retry_on.clone().unwrap_or_default(),
            on_end: all.on_end.clone().filter(|command| !command.is_empty()),
            recorded: all.redacted(),
        }
    }

    /// Returns the delay before the next retry, which doubles each time.
    pub(crate) fn retry(&self, made: u32) -> Option<Retry> {
        let delay = self.retry_delay.saturating_mul(1 << made.min(16)).min(LONGEST_DELAY);
        (made < self.retries).then(|| Retry { delay, exit_codes: self.retry_on.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(given: AttemptOptions, before: AttemptOptions) -> Settings {
        Settings::resolve(given, before)
    }

    #[test]
    fn the_delay_is_doubled_up_to_an_hour() {
        let given = AttemptOptions { retries: Some(u32::MAX), ..AttemptOptions::default() };
        let settings = resolved(given, AttemptOptions::default());
        let delay = |made| settings.retry(made).map(|retry| retry.delay);
        assert_eq!(delay(0), Some(Duration::from_secs(30)));
        assert_eq!(delay(3), Some(Duration::from_secs(240)));
        assert_eq!([delay(7), delay(u32::MAX - 1)], [Some(LONGEST_DELAY); 2]);
        assert_eq!(delay(u32::MAX), None);
    }

    #[test]
    fn an_option_that_is_given_anew_counts_and_others_are_inherited() {
        let before = AttemptOptions {
            grace_s: Some(0.0),
            timeout_s: Some(9.0),
            stall_timeout_s: Some(8.0),
            on_end: Some("true".to_owned()),
            ..AttemptOptions::default()
        };
        let given =
            AttemptOptions { timeout_s: Some(0.0), on_end: Some(String::new()), ..AttemptOptions::default() };
        let settings = resolved(given, before.clone());
        assert_eq!((settings.limits.grace, settings.limits.timeout), (Duration::ZERO, None));
        assert_eq!((settings.limits.stall, settings.on_end), (Some(Duration::from_secs(8)), None));
        let next = resolved(AttemptOptions::default(), settings.recorded);
        assert_eq!((next.limits.timeout, next.on_end), (None, None), "what is ended stays so");
    }

    #[test]
    fn a_record_that_was_edited_does_no_harm() {
        let odd = AttemptOptions {
            grace_s: Some(-1.0),
            heartbeat_s: Some(0.0),
            timeout_s: Some(f64::MAX),
            scrape: Some(vec!["(".to_owned()]),
            ..AttemptOptions::default()
        };
        let settings = resolved(AttemptOptions::default(), odd);
        assert_eq!(settings.limits.grace, Duration::from_secs(120));
        assert_eq!(settings.limits.heartbeat, Duration::from_secs(5));
        assert_eq!((settings.limits.timeout, settings.scrape.known), (None, true));
    }
}
