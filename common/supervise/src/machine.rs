//! The state machine of a supervisor: a pure table, which lists every case.

/// The state of a run between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The main process runs and no stop was requested.
    Running,
    /// The main process has been asked to end. `interrupted` once a SIGINT was among the requests.
    Stopping {
        /// The next SIGINT kills.
        interrupted: bool,
    },
    /// The grace is over; all processes have been asked to end.
    Terminating,
    /// All processes are being killed.
    Killing,
    /// The main process has ended; the other processes have time to end and to close their output.
    Lingering,
    /// The other processes have been asked to end.
    Sweeping,
    /// The other processes are being killed.
    Purging,
    /// No process is left, or the remaining ones cannot be killed.
    Over,
}

/// The events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A stop was requested, or a time limit reached.
    Stop,
    /// SIGINT: requests a stop, and kills when it comes again.
    Interrupt,
    /// An immediate end was requested.
    Kill,
    /// The timer has expired.
    Timer,
    /// The main process has ended.
    MainEnded,
    /// No process of the run is left.
    Empty,
}

/// A signal to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// SIGINT.
    Int,
    /// SIGTERM.
    Term,
    /// SIGKILL.
    Kill,
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// `--grace`.
    Grace,
    /// `--linger`.
    Linger,
    /// Until killed processes must be gone.
    Last,
}

/// The actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Signals the main process, through a chain of shells.
    SignalMain(Sent),
    /// Signals every process of the run.
    SignalAll(Sent),
    /// Sets the timer for the event `Timer`, replacing any other.
    Arm(Wait),
}

/// Returns the next state and the actions for an event.
pub(super) fn step(state: State, event: Event) -> (State, Vec<Action>) {
    use {Action::*, Event::*, State::*};
    let terminate = || vec![SignalAll(Sent::Term), Arm(Wait::Linger)];
    let kill = || vec![SignalAll(Sent::Kill), Arm(Wait::Last)];
    match (state, event) {
        (Running, Stop) => (Stopping { interrupted: false }, vec![SignalMain(Sent::Term), Arm(Wait::Grace)]),
        (Running, Interrupt) => (Stopping { interrupted: true }, vec![SignalMain(Sent::Int), Arm(Wait::Grace)]),
        (Stopping { interrupted: false }, Interrupt) => (Stopping { interrupted: true }, vec![]),
        (Stopping { interrupted: true } | Terminating, Interrupt)
        | (Running | Stopping { .. } | Terminating, Kill)
        | (Terminating, Timer) => (Killing, kill()),
        (Stopping { .. }, Timer) => (Terminating, terminate()),
        (Running | Stopping { .. }, MainEnded) => (Lingering, vec![Arm(Wait::Linger)]),
        (Terminating, MainEnded) => (Sweeping, vec![Arm(Wait::Linger)]),
        (Killing, MainEnded) => (Purging, vec![]),
        (Lingering, Timer | Stop | Interrupt) => (Sweeping, terminate()),
        (Sweeping, Timer | Interrupt) | (Lingering | Sweeping, Kill) => (Purging, kill()),
        (Running | Stopping { .. } | Terminating | Lingering | Sweeping, Empty)
        | (Killing | Purging, Empty | Timer) => (Over, vec![]),
        (Running, Timer)
        | (Stopping { .. } | Terminating, Stop) // two stop requests are the same as one
        | (Killing, Stop | Interrupt | Kill)
        | (Lingering, MainEnded)
        | (Sweeping, Stop | MainEnded)
        | (Purging, Stop | Interrupt | Kill | MainEnded)
        | (Over, Stop | Interrupt | Kill | Timer | MainEnded | Empty) => (state, vec![]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use {Action::*, Event::*, State::*};

    /// Plays events from the start; returns the last state and all that was sent.
    fn play(events: &[Event]) -> (State, Vec<Action>) {
        let mut sent = Vec::new();
        let last = events.iter().fold(Running, |state, event| {
            let (state, actions) = step(state, *event);
            sent.extend(actions.into_iter().filter(|action| !matches!(action, Arm(_))));
            state
        });
        (last, sent)
    }

    #[test]
    fn a_stop_asks_once_then_all_then_kills() {
        let sent = vec![SignalMain(Sent::Term), SignalAll(Sent::Term), SignalAll(Sent::Kill)];
        assert_eq!(play(&[Stop, Stop, Timer, Stop, Timer, MainEnded, Empty]), (Over, sent));
    }

    #[test]
    fn only_a_second_interrupt_kills_at_once() {
        let sent = vec![SignalMain(Sent::Int), SignalAll(Sent::Kill)];
        assert_eq!(play(&[Interrupt, Stop, Interrupt]), (Killing, sent));
        assert_eq!(play(&[Stop, Interrupt]).0, Stopping { interrupted: true });
        assert_eq!(play(&[Stop, Interrupt, Interrupt]).0, Killing);
    }

    #[test]
    fn a_kill_gives_no_time() {
        let sent = vec![SignalAll(Sent::Kill)];
        assert_eq!(play(&[Kill, Stop, MainEnded, Empty]), (Over, sent.clone()));
        assert_eq!(play(&[MainEnded, Kill, Empty]), (Over, sent));
        assert_eq!(play(&[Stop, Kill]).0, Killing);
    }

    #[test]
    fn what_outlives_the_main_process_is_given_time_then_ended() {
        let sent = vec![SignalAll(Sent::Term), SignalAll(Sent::Kill)];
        assert_eq!(play(&[MainEnded, Timer, Timer, Empty]), (Over, sent));
        assert_eq!(play(&[MainEnded, Empty]), (Over, vec![]));
    }

    #[test]
    fn whatever_happens_it_ends() {
        let events = [Stop, Interrupt, Kill, Timer, MainEnded, Empty];
        for first in events {
            for second in events {
                let (state, _) = play(&[first, second, MainEnded, Timer, Timer, Timer]);
                assert_eq!(state, Over, "{first:?} {second:?}");
            }
        }
    }
}
