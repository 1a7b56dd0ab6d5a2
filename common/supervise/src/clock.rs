//! The timers of a supervisor: heartbeats, looks at the `stop` file, limits, and the time left for processes
//! that are being ended. Pure: the caller passes the current time.

use super::machine::{State, Wait};
use super::task::Limits;
use std::time::{Duration, Instant};

/// How often to look for the `stop` file.
const STOP_FILE: Duration = Duration::from_secs(1);

/// Delay of the second write of status.json, so that a listing soon knows the command's pid. The delay
/// doubles until the interval of heartbeats is reached, so that the first steps of a run are visible.
const FIRST_BEAT: Duration = Duration::from_millis(250);

/// Time limit for killed processes to disappear; a process that waits for a dead disk exceeds it.
const LAST: Duration = Duration::from_secs(10);

/// How often to look again for processes to kill, because they may have forked.
const AGAIN: Duration = Duration::from_millis(20);

/// The times of an attempt.
#[derive(Debug)]
pub(super) struct Clock {
    limits: Limits,
    started: Instant,
    next_beat: Instant,
    next_look: Instant,
    /// When it will have been silent for too long, unless it writes something until then.
    next_stall: Option<Instant>,
    timer: Option<Instant>,
    /// The grace of the stop request, if it is shorter.
    grace: Duration,
}

impl Clock {
    /// Starts the clock of an attempt.
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            started: now,
            next_beat: now + FIRST_BEAT.min(limits.heartbeat),
            next_look: now + STOP_FILE,
            next_stall: limits.stall.map(|stall| now + stall),
            timer: None,
            grace: limits.grace,
        }
    }

    /// Returns the time until the next event in a state.
    pub(super) fn pause(&self, state: State, now: Instant) -> Duration {
        let again = is_killing(state).then(|| now + AGAIN);
        let times = [self.timer, self.deadline(state).map(|(time, _)| time), self.next_stall, again];
        let until = times.into_iter().flatten().fold(self.next_beat.min(self.next_look), Instant::min);
        until.saturating_duration_since(now)
    }

    /// Sets the timer, replacing any other.
    pub(super) fn arm(&mut self, wait: Wait, now: Instant) {
        let time = match wait {
            Wait::Grace => self.limits.grace,
            Wait::Linger => self.limits.linger,
            Wait::Last => LAST,
        };
        self.timer = Some(now + time);
    }

    /// Shortens the grace to this time from now.
    pub(super) fn shorten_grace(&mut self, grace: Duration, now: Instant) {
        if self.timer.is_some_and(|timer| now + grace < timer) {
            self.timer = Some(now + grace);
            self.grace = grace;
        }
    }

    /// Returns the grace in force.
    pub(super) fn grace(&self) -> Duration {
        self.grace
    }

    /// Returns once whether the timer has expired.
    pub(super) fn is_timer_over(&mut self, now: Instant) -> bool {
        self.timer.take_if(|timer| now >= *timer).is_some()
    }

    /// Makes a heartbeat due now.
    pub(super) fn hurry_beat(&mut self, now: Instant) {
        self.next_beat = now;
    }

    /// Returns whether a heartbeat is due, and schedules the next.
    pub(super) fn is_beat_due(&mut self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.started).max(FIRST_BEAT);
        is_due(&mut self.next_beat, self.limits.heartbeat.min(age), now)
    }

    /// Returns whether to look for the `stop` file now.
    pub(super) fn is_look_due(&mut self, now: Instant) -> bool {
        is_due(&mut self.next_look, STOP_FILE, now)
    }

    /// Returns the time limit that the attempt has reached, if any.
    pub(super) fn timeout(&self, state: State, now: Instant) -> Option<Duration> {
        self.deadline(state).filter(|(time, _)| now >= *time).map(|(_, limit)| limit)
    }

    /// Returns the end of the attempt's time, and the limit.
    fn deadline(&self, state: State) -> Option<(Instant, Duration)> {
        let limit = self.limits.timeout.filter(|_| state == State::Running)?;
        Some((self.started + limit, limit))
    }

    /// Returns whether to check now when the command last wrote something.
    pub(super) fn is_stall_due(&mut self, now: Instant) -> bool {
        self.next_stall.take_if(|stall| now >= *stall).is_some()
    }

    /// Returns the stall limit that the command has reached, given when it last wrote something; otherwise
    /// schedules the next check.
    pub(super) fn stall(&mut self, state: State, last: Instant, now: Instant) -> Option<Duration> {
        let limit = self.limits.stall.filter(|_| state == State::Running)?;
        if now >= last + limit {
            return Some(limit);
        }
        self.next_stall = Some(last + limit);
        None
    }
}

/// Returns whether all remaining processes are being killed.
pub(super) fn is_killing(state: State) -> bool {
    matches!(state, State::Killing | State::Purging)
}

fn is_due(next: &mut Instant, every: Duration, now: Instant) -> bool {
    let is_due = now >= *next;
    if is_due {
        *next = now + every;
    }
    is_due
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const STOPPING: State = State::Stopping { interrupted: false };

    fn clock(change: fn(&mut Limits)) -> (Clock, Instant) {
        let mut limits = Limits {
            grace: 120 * SECOND,
            linger: 5 * SECOND,
            heartbeat: 5 * SECOND,
            timeout: None,
            stall: None,
        };
        change(&mut limits);
        let now = Instant::now();
        (Clock::new(limits, now), now)
    }

    #[test]
    fn the_first_heartbeats_are_soon_and_each_is_due_once() {
        let (mut clock, start) = clock(|_| {});
        assert_eq!(clock.pause(State::Running, start), FIRST_BEAT);
        assert!(!clock.is_beat_due(start));
        for millis in [250, 500, 1000, 2000, 4000, 8000, 13_000, 18_000] {
            let after = |millis| start + Duration::from_millis(millis);
            assert!(!clock.is_beat_due(after(millis - 1)) && clock.is_beat_due(after(millis)), "{millis}");
            assert!(!clock.is_beat_due(after(millis)), "{millis}");
        }
        assert!(clock.is_look_due(start + SECOND) && !clock.is_look_due(start + SECOND));
        clock.hurry_beat(start + SECOND);
        assert_eq!(clock.pause(State::Running, start + SECOND), Duration::ZERO);
    }

    #[test]
    fn a_limit_holds_for_what_runs_alone() {
        let (clock, start) = clock(|limits| limits.timeout = Some(10 * SECOND));
        assert_eq!(clock.timeout(State::Running, start + 9 * SECOND), None);
        assert_eq!(clock.timeout(State::Running, start + 10 * SECOND), Some(10 * SECOND));
        assert_eq!(clock.timeout(STOPPING, start + 10 * SECOND), None);
    }

    #[test]
    fn a_stall_is_counted_from_the_last_sign_of_life() {
        let (mut clock, start) = clock(|limits| limits.stall = Some(3 * SECOND));
        assert!(!clock.is_stall_due(start + 2 * SECOND));
        assert!(clock.is_stall_due(start + 3 * SECOND));
        let last = start + SECOND;
        assert_eq!(clock.stall(State::Running, last, start + 3 * SECOND), None);
        assert!(!clock.is_stall_due(last + 2 * SECOND) && clock.is_stall_due(last + 3 * SECOND));
        assert_eq!(clock.stall(STOPPING, last, last + 3 * SECOND), None);
        assert_eq!(clock.stall(State::Running, last, last + 3 * SECOND), Some(3 * SECOND));
    }

    #[test]
    fn the_grace_can_be_shortened_and_not_prolonged() {
        let (mut clock, start) = clock(|_| {});
        clock.shorten_grace(SECOND, start);
        assert_eq!((clock.grace(), clock.is_timer_over(start + 2 * SECOND)), (120 * SECOND, false));
        clock.arm(Wait::Grace, start);
        clock.shorten_grace(200 * SECOND, start);
        assert_eq!(clock.grace(), 120 * SECOND);
        clock.shorten_grace(3 * SECOND, start + SECOND);
        assert_eq!(clock.grace(), 3 * SECOND);
        assert!(!clock.is_timer_over(start + 3 * SECOND));
        assert!(clock.is_timer_over(start + 4 * SECOND) && !clock.is_timer_over(start + 4 * SECOND));
    }

    #[test]
    fn what_is_being_killed_is_looked_for_often() {
        let (clock, start) = clock(|_| {});
        assert_eq!(clock.pause(State::Killing, start), AGAIN);
        assert_eq!(clock.pause(State::Purging, start), AGAIN);
    }
}
