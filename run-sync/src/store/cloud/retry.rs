//! Retries transient failures until a deadline, after random pauses that grow.

use super::failure::Failure;
use run_common::message::warn;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long to wait for a store that has never answered: its address is probably wrong.
const UNKNOWN: Duration = Duration::from_secs(20);
/// Time until a silent store is reported.
const NOTED: Duration = Duration::from_secs(2);
/// The longest first pause.
const FIRST: Duration = Duration::from_millis(50);
/// How often an answer that does not follow the protocol is ignored. The answer may be damaged, or come from
/// another server than the store.
const STRANGE: u32 = 6;
/// The longest pause, unless the store asks for a longer one.
const LONGEST: Duration = Duration::from_secs(5);

/// Retries requests to one store.
#[derive(Debug)]
pub(super) struct Retry {
    /// How long a request is retried after its first failure.
    within: Duration,
    /// Whether the store has ever answered anything.
    answered: AtomicBool,
    /// Address of the store, for messages.
    address: String,
    /// Time of the first failure of all requests, until the store answers.
    silent: OnceLock<Instant>,
    /// The silence of the store was reported.
    noted: AtomicBool,
    seen: Mutex<Seen>,
}

/// The outcomes of the last requests.
#[derive(Debug, Default)]
struct Seen {
    /// When a request was answered for good, as it was asked or not.
    passed: Option<Instant>,
    /// When a request ran out of time while none passed. For as long as that took, each further one is tried once unless
    /// one passes: who makes many requests to a store that has gone waits once.
    given_up: Option<Instant>,
}

impl Retry {
    /// Retries requests to the store at this address for this time after their first failure.
    pub(super) fn new(within: Duration, address: String) -> Self {
        let no = || AtomicBool::new(false);
        Self { within, answered: no(), address, silent: OnceLock::new(), noted: no(), seen: Mutex::default() }
    }

    /// Records that the store has answered.
    pub(super) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a request has passed: the store works.
    pub(super) fn passed(&self) {
        *self.seen() = Seen { passed: Some(Instant::now()), given_up: None };
    }

    /// Starts a request.
    pub(super) fn begin(&self) -> Attempts<'_> {
        Attempts { retry: self, first: None, pause: FIRST, strange: 0 }
    }

    /// Makes a request until it succeeds, fails for good, or runs out of time; then returns the last failure.
    /// The request must be repeatable.
    pub(super) fn run<T>(&self, mut request: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        let mut attempts = self.begin();
        loop {
            match request() {
                Ok(done) => {
                    self.passed();
                    return Ok(done);
                }
                Err(failure) => attempts.failed(failure)?,
            }
        }
    }
}

/// The attempts of one request.
pub(super) struct Attempts<'a> {
    retry: &'a Retry,
    first: Option<Instant>,
    pause: Duration,
    strange: u32,
}

impl Attempts<'_> {
    /// Records that something arrived, so that the next failure counts as the first.
    pub(super) fn progressed(&mut self) {
        self.retry.passed();
        *self = self.retry.begin();
    }

    /// Waits for the next attempt, or returns the failure if there should be none.
    pub(super) fn failed(&mut self, failure: Failure) -> Result<(), Failure> {
        if !failure.may_pass() {
            if let Failure::Answer(_) = failure {
                self.retry.passed();
            }
            return Err(failure);
        }
        self.strange += u32::from(matches!(failure, Failure::Malformed(_)));
        if self.strange > STRANGE {
            return Err(failure);
        }
        let mut first = *self.first.get_or_insert_with(Instant::now);
        let mut within = self.retry.within;
        let has_answered = self.retry.answered.load(Ordering::Relaxed);
        if !has_answered {
            first = *self.retry.silent.get_or_init(|| first); // all requests share this deadline
            within = within.min(UNKNOWN);
        }
        let asked = match &failure {
            Failure::Answer(answer) => answer.retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        // A random share of the pause, so that clients that failed together do not return together.
        let share = RandomState::new().hash_one(Instant::now()) & 0xffff;
        let pause = self.pause.mul_f64(f64::from(u32::try_from(share).unwrap_or(0)) / 65536.0).max(asked);
        let is_given_up = self.retry.seen().given_up.is_some_and(|time| time.elapsed() < self.retry.within);
        let is_over = is_given_up || first.elapsed().saturating_add(pause) >= within;
        let failure = match failure {
            Failure::Transport(why) if !has_answered => {
                let what = format!("{} does not answer: {why}", self.retry.address);
                if !is_over && first.elapsed() >= NOTED && !self.retry.noted.swap(true, Ordering::Relaxed) {
                    warn(&format!("{what}; trying for {} seconds", within.as_secs()));
                }
                Failure::Transport(what)
            }
            failure => failure,
        };
        if is_over {
            if let (Failure::Transport(_), Some(begun)) = (&failure, self.first)
                && !is_given_up
            {
                let mut seen = self.retry.seen();
                if seen.passed.is_none_or(|passed| passed < begun) {
                    seen.given_up = Some(Instant::now());
                }
            }
            return Err(failure);
        }
        sleep(pause);
        self.pause = (self.pause * 2).min(LONGEST);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::failure::Answer;
    use super::*;

    fn answer(status: u16) -> Result<(), Failure> {
        Err(Failure::Answer(Box::new(Answer { status, ..Answer::default() })))
    }

    fn failing(status: u16, within: Duration, has_answered: bool) -> (u32, Duration) {
        let retry = Retry::new(within, "https://store".to_owned());
        if has_answered {
            retry.answered();
        }
        let (mut count, start) = (0, Instant::now());
        let failed = retry.run(|| -> Result<(), _> {
            count += 1;
            answer(status)
        });
        assert!(failed.is_err());
        (count, start.elapsed())
    }

    #[test]
    fn what_may_pass_is_tried_until_the_deadline_and_nothing_else_is() {
        let (count, lasted) = failing(503, Duration::from_millis(400), true);
        assert!(count > 2 && lasted < Duration::from_millis(450), "{count} in {lasted:?}");
        for status in [301, 400, 403, 404, 412, 501, 507] {
            assert_eq!(failing(status, Duration::from_secs(60), true).0, 1, "{status}");
        }
    }

    #[test]
    fn a_pause_that_a_store_asks_for_is_never_too_long_to_count() {
        for asked in [Duration::MAX, Duration::from_secs(u64::MAX)] {
            let retry = Retry::new(Duration::from_secs(60), "https://store".to_owned());
            retry.answered();
            let mut attempts = retry.begin();
            attempts.first = Instant::now().checked_sub(Duration::from_secs(2));
            let answer = Answer { status: 503, retry_after: Some(asked), ..Answer::default() };
            assert!(attempts.failed(Failure::Answer(Box::new(answer))).is_err());
        }
    }

    #[test]
    fn requests_to_a_store_that_never_answers_share_one_deadline_and_tell_its_address() {
        let retry = Retry::new(Duration::from_millis(300), "https://store".to_owned());
        let mut counts = Vec::new();
        for _ in 0..3 {
            let mut count = 0;
            let failed = retry.run(|| -> Result<(), _> {
                count += 1;
                Err(Failure::Transport("Connection refused".to_owned()))
            });
            let said = failed.map_err(|failure| failure.to_string());
            assert_eq!(said, Err("https://store does not answer: Connection refused".to_owned()));
            counts.push(count);
        }
        assert!(counts[0] > 1 && counts[1..] == [1, 1], "{counts:?}");
    }

    #[test]
    fn requests_to_a_store_that_has_gone_are_tried_once_until_one_passes() {
        let retry = Retry::new(Duration::from_millis(300), "https://store".to_owned());
        retry.answered();
        let request = |outcome: fn() -> Result<(), Failure>| {
            let mut count = 0;
            let done = retry.run(|| {
                count += 1;
                outcome()
            });
            (count, done.is_ok())
        };
        let cut = || Err(Failure::Transport("the connection was cut".to_owned()));
        let passing: [fn() -> Result<(), Failure>; 2] = [|| Ok(()), || answer(404)];
        for passes in passing {
            assert!(request(cut).0 > 1, "it is tried again");
            assert_eq!((request(cut), request(|| answer(503))), ((1, false), (1, false)));
            assert_eq!(request(passes).0, 1);
        }
        // One that is busy has not gone.
        assert!(request(|| answer(503)).0 > 1 && request(cut).0 > 1);
        // Some time later, it may be back.
        assert_eq!(request(cut).0, 1);
        let long_ago = retry.seen().given_up.and_then(|time| time.checked_sub(Duration::from_millis(300)));
        retry.seen().given_up = long_ago;
        assert!(request(cut).0 > 1);
    }

    #[test]
    fn a_store_that_works_for_others_has_not_gone() {
        let retry = Retry::new(Duration::from_millis(300), "https://store".to_owned());
        retry.answered();
        let cut = || Err::<(), _>(Failure::Transport("the connection was cut".to_owned()));
        let failed = retry.run(|| {
            retry.passed(); // another one meanwhile
            cut()
        });
        assert!(failed.is_err() && retry.seen().given_up.is_none());
    }
}
