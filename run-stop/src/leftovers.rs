//! Ends the processes of a run whose supervisor is gone.

use run_common::error::{Error, Exit};
use run_common::process::identity::Signal;
use run_common::process::stat::Stat;
use run_common::process::tree::{await_an_end, signal_all};
use run_common::rundir::observe::Observer;
use run_common::rundir::open::RunDir;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long killed processes may take to disappear.
const LAST: Duration = Duration::from_secs(10);

/// How often to look for newly forked processes, while nothing ends.
const AGAIN: Duration = Duration::from_secs(1);

/// Asks processes to end, or kills them at once.
pub(crate) fn ask(processes: &[Stat], kills: bool) {
    signal_all(processes, if kills { Signal::KILL } else { Signal::TERM });
    signal_all(processes, Signal::CONT);
}

/// Ends the processes that carry the id of a run whose supervisor is gone. The processes in `known` were
/// asked to end at the time `asked`; processes that they start meanwhile are asked, too. After the grace,
/// kills the rest and returns how many processes were killed.
pub(crate) fn end(
    run: &RunDir,
    mut known: Vec<Stat>,
    asked: Instant,
    grace: Duration,
    observer: &Observer,
) -> Result<usize, Error> {
    let mut killed = BTreeSet::new();
    let mut is_over = false;
    loop {
        let left = observer.observe(run)?.leftovers;
        let Some(first) = left.first() else {
            // A process may have started another and ended during the scan; scan again.
            if is_over {
                return Ok(killed.len());
            }
            is_over = true;
            continue;
        };
        is_over = false;
        let is_known = |process: &Stat| known.iter().any(|known| known.pid == process.pid);
        let new: Vec<Stat> = left.iter().filter(|process| !is_known(process)).copied().collect();
        ask(&new, false);
        known.extend(new);
        let elapsed = asked.elapsed();
        if elapsed >= grace + LAST {
            let shown = run.layout().root().display();
            return Err(Error::new(Exit::System, format!("cannot end process {} of '{shown}'", first.pid)));
        }
        let next = if elapsed >= grace { grace + LAST } else { grace };
        if elapsed >= grace {
            signal_all(&left, Signal::KILL);
            killed.extend(left.iter().map(|process| process.pid));
        }
        await_an_end(&left, AGAIN.min(next.saturating_sub(elapsed)));
    }
}
