//! Processes that had to be ended by force, and the remarks about them in the reason.

use run_common::process::stat::Stat;
use run_common::rundir::stop::killed_after;
use run_common::time::human;
use std::time::Duration;

/// The processes that did not end by themselves.
#[derive(Debug, Default)]
pub(super) struct Forced {
    /// All processes were killed because they had not ended after this grace.
    pub(super) grace: Option<Duration>,
    /// Number of processes that were asked to end after the main process had ended.
    pub(super) asked: usize,
    /// Number of processes that were killed after that.
    pub(super) killed: usize,
    /// Processes that could not be killed.
    pub(super) undying: Vec<Stat>,
}

impl Forced {
    /// Returns the words "killed after grace …" if all processes were killed, else `None`.
    pub(super) fn killed_words(&self, linger: Duration) -> Option<String> {
        self.grace.map(|grace| killed_after(grace, linger))
    }

    /// Returns the remarks about processes that outlived the main process, other than in a requested stop.
    pub(super) fn words(&self, was_asked: bool, linger: Duration) -> Vec<String> {
        let mut words = Vec::new();
        let ended = self.asked.saturating_sub(self.killed);
        if ended > 0 && !was_asked {
            words.push(format!("ended {} that outlived it", count_processes(ended)));
        }
        if self.killed > 0 {
            let killed = count_processes(self.killed);
            words.push(format!("killed {killed} that outlived it, after linger {}", human(linger)));
        }
        if let Some(first) = self.undying.first() {
            let undying = count_processes(self.undying.len());
            words.push(format!("{undying} could not be killed, such as {}", first.pid));
        }
        words
    }
}

fn count_processes(count: usize) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_secs(5);

    #[test]
    fn what_had_to_be_ended_is_told() {
        let told = |forced: &Forced, was_asked| forced.words(was_asked, LINGER).join("; ");
        let forced = Forced { asked: 3, killed: 1, ..Forced::default() };
        let killed = "killed 1 process that outlived it, after linger 5s";
        assert_eq!(told(&forced, false), format!("ended 2 processes that outlived it; {killed}"));
        assert_eq!(told(&forced, true), killed);
        assert_eq!(told(&Forced { killed: 1, ..Forced::default() }, true), killed);
        assert_eq!(told(&Forced { asked: 1, killed: 1, ..Forced::default() }, false), killed);
        assert_eq!(told(&Forced::default(), false), "");
    }

    #[test]
    fn a_kill_says_after_what_times() {
        let forced = Forced { grace: Some(Duration::from_secs(3)), ..Forced::default() };
        assert_eq!(forced.killed_words(LINGER).unwrap(), "killed after grace 3s and linger 5s");
        assert_eq!(Forced::default().killed_words(LINGER), None);
    }
}
