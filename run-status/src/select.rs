//! Selects runs: those that operands name, or those below the runs directory that need attention.

use crate::cli::Args;
use run_common::cli::operands::open_runs;
use run_common::error::{Error, Exit};
use run_common::message::warn;
use run_common::rundir::find::{Found, Holders, search};
use run_common::rundir::observe::Observed;
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;
use run_common::time::Timestamp;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a failed run needs attention, in seconds.
const FAILED_SHOWN: f64 = 86400.0;

/// Resolution of the times of files, in milliseconds.
const TICK: i64 = 10;

/// The selection of the command line.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    runs_dir: PathBuf,
    /// Names and `-`; empty for the runs below the runs directory.
    operands: &'a [String],
    null: bool,
    /// Whether to show all runs, not only those that need attention.
    all: bool,
    /// The statuses to show; empty for any.
    statuses: Vec<Status>,
    /// The tags that runs must have.
    tags: &'a [String],
    /// Runs must have changed since then.
    since: Option<Timestamp>,
    stale_after: Duration,
}

/// The selected runs, and errors in place of those that cannot be opened.
pub(crate) struct Selection {
    pub(crate) runs: Vec<Result<RunDir, Error>>,
    /// The directories where runs may appear; none if runs were named.
    pub(crate) holders: Holders,
}

impl<'a> Scope<'a> {
    /// Returns the selection of the arguments.
    pub(crate) fn new(args: &'a Args) -> Self {
        let is_asked_for = |status: &Status| args.status.iter().any(|word| word == status.word());
        Self {
            runs_dir: args.runs_dir.path(),
            operands: &args.runs,
            null: args.null,
            all: args.all,
            statuses: Status::ALL.into_iter().filter(is_asked_for).collect(),
            tags: &args.tag,
            since: args.since,
            stale_after: args.stale_after,
        }
    }

    /// Returns the runs directory.
    pub(crate) fn runs_dir(&self) -> &Path {
        &self.runs_dir
    }

    /// Returns whether runs were named.
    pub(crate) fn is_named(&self) -> bool {
        !self.operands.is_empty()
    }

    /// Returns whether `--status` or `--tag` was given.
    pub(crate) fn is_filtered(&self) -> bool {
        !self.statuses.is_empty() || !self.tags.is_empty()
    }

    /// Returns whether `--since` was given: then no run is an answer, too.
    pub(crate) fn has_since(&self) -> bool {
        self.since.is_some()
    }

    /// Returns whether a run has changed since the time of `--since`.
    fn has_changed(&self, run: &Observed) -> bool {
        let Some(since) = self.since else { return true };
        let changed = changed(run).map_or(i64::MAX, Timestamp::millis);
        let noticed = match run.status() {
            // That a run has died is noticed some time after its last heartbeat.
            Status::Dead | Status::Stale => i64::try_from(self.stale_after.as_millis()).unwrap_or(i64::MAX),
            _ => TICK,
        };
        changed.saturating_add(noticed) >= since.millis()
    }

    /// Returns whether a run has the tags of `--tag`.
    fn has_tags(&self, run: &Observed) -> bool {
        if self.tags.is_empty() {
            return true;
        }
        let has: Vec<String> = run.recorded.tags.parse();
        self.tags.iter().all(|tag| has.contains(tag))
    }

    /// Opens the named runs.
    pub(crate) fn named(&self) -> Vec<Result<RunDir, Error>> {
        open_runs(self.operands, &self.runs_dir, self.null).collect()
    }

    /// Finds the runs.
    pub(crate) fn select(&self) -> Result<Selection, Error> {
        if self.is_named() {
            return Ok(Selection { runs: self.named(), holders: Holders::default() });
        }
        let search = search(&self.runs_dir);
        let mut runs = Vec::new();
        for found in search.found {
            match found {
                Found::Run(run, ()) => runs.push(Ok(run)),
                found => runs.extend(self.fault(found)?.map(Err)),
            }
        }
        Ok(Selection { runs, holders: search.holders })
    }

    /// Returns the error of an unreadable entry; `None` if it is not a run at all. Fails if the runs
    /// directory cannot be read.
    pub(crate) fn fault<R>(&self, found: Found<R>) -> Result<Option<Error>, Error> {
        match found.fault(&self.runs_dir) {
            Some(error) if error.exit() == Exit::System => Err(error),
            fault => Ok(fault),
        }
    }

    /// Returns whether runs that need no attention are left out.
    pub(crate) fn leaves_out(&self) -> bool {
        !self.all && !self.is_named() && !self.has_since() && !self.is_filtered()
    }

    /// Returns whether to show a run: any named run, else the runs that need attention.
    pub(crate) fn wants(&self, run: &Observed) -> bool {
        if !self.may_show(run) {
            return false;
        }
        let lately = || run.end_time().is_some_and(|end| Timestamp::now().seconds_since(end) < FAILED_SHOWN);
        !self.leaves_out()
            || match run.status() {
                Status::Created | Status::Queued | Status::Running | Status::Dead | Status::Stale => true,
                Status::Failed => lately(),
                Status::Completed | Status::Stopped => false,
            }
    }

    /// Returns whether a run would be shown if none were left out.
    pub(crate) fn may_show(&self, run: &Observed) -> bool {
        self.has_changed(run)
            && (self.statuses.is_empty() || self.statuses.contains(&run.status()))
            && self.has_tags(run)
    }

    /// Returns the batch of a run, relative to the runs directory; `None` if runs were named.
    pub(crate) fn batch_of(&self, run: &RunDir) -> Option<PathBuf> {
        let parent = run.layout().root().parent()?.strip_prefix(&self.runs_dir).ok()?;
        (!self.is_named() && !parent.as_os_str().is_empty()).then(|| parent.to_owned())
    }

    /// Reports why a list is empty: the number of runs not shown, and of directories that are not runs.
    pub(crate) fn explain_emptiness(&self, hidden: usize, unlike: usize) {
        let shown = self.runs_dir.display();
        let count = |count: usize, one: &str, many: &str| {
            if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
        };
        let why = if !self.runs_dir.exists() {
            format!("no runs: there is no directory '{shown}'")
        } else if hidden > 0 {
            format!("{} in '{shown}' not shown; -a shows all", count(hidden, "run", "runs"))
        } else if unlike > 0 {
            let unlike = count(unlike, "directory that is not a run", "directories that are not runs");
            format!("no runs: '{shown}' holds {unlike}")
        } else {
            format!("no runs: '{shown}' is empty")
        };
        warn(&why);
    }
}

/// Returns when a run last changed: its record or, while it runs, its last sign of life. Heartbeats are no change.
fn changed(run: &Observed) -> Option<Timestamp> {
    let attempt = run.recorded.attempt();
    let layout = run.run.layout();
    match run.status() {
        Status::Running if run.reason().is_none() => {
            attempt.and_then(|one| one.last_output.max(one.start_time))
        }
        Status::Running | Status::Dead | Status::Stale => attempt.and_then(|one| one.last_heartbeat),
        _ if layout.foreign().is_some() => run.end_time().or(attempt.and_then(|one| one.last_heartbeat)),
        _ => layout.status().metadata().and_then(|file| file.modified()).ok().and_then(Timestamp::of_system),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use run_common::rundir::observe::Verdict;
    use serde_json::json;

    fn scope<'a>(operands: &'a [String], all: bool, statuses: &[Status]) -> Scope<'a> {
        Scope {
            runs_dir: "runs".into(),
            operands,
            null: false,
            all,
            statuses: statuses.to_vec(),
            tags: &[],
            since: None,
            stale_after: Duration::from_secs(120),
        }
    }

    fn run(path: &str, status: &str, end: Option<Timestamp>, verdict: Verdict) -> Observed {
        let record = json!({
            "schema": 1, "run_id": "1", "run_name": "r", "status": status, "attempt": 1,
            "created": "2026-01-29T12:00:00.000Z", "end_time": end, "metrics": {}, "recent": [], "lost_bytes": 0,
            "overrides": {}, "tags": [],
        });
        let recorded = serde_json::from_value(record).unwrap();
        Observed {
            run: RunDir::seen(path),
            recorded,
            verdict,
            leftovers: Vec::new(),
            unproven: None,
            of_documents: None,
            of_metrics: None,
            account: None,
        }
    }

    #[test]
    fn runs_that_need_attention_are_shown_unasked() {
        let ended = |hours: i64| Timestamp::from_millis(Timestamp::now().millis() - hours * 3_600_000);
        let dead = || Verdict::Dead(String::new());
        let stale = || Verdict::Stale(String::new());
        for (status, end, verdict, expected) in [
            ("created", None, Verdict::Holds, true),
            ("queued", None, Verdict::Holds, true),
            ("running", None, Verdict::Holds, true),
            ("running", None, dead(), true),
            ("running", None, stale(), true),
            ("failed", ended(23), Verdict::Holds, true),
            ("failed", ended(25), Verdict::Holds, false),
            ("failed", None, Verdict::Holds, false),
            ("completed", ended(0), Verdict::Holds, false),
            ("stopped", ended(0), Verdict::Holds, false),
        ] {
            let run = run("runs/r", status, end, verdict);
            assert_eq!(scope(&[], false, &[]).wants(&run), expected, "{status} {end:?}");
            assert!(scope(&[], true, &[]).wants(&run) && scope(&["r".to_owned()], false, &[]).wants(&run));
            for filter in Status::ALL {
                let is_meant = filter == run.status();
                assert_eq!(scope(&[], true, &[filter]).wants(&run), is_meant, "{status} {filter}");
                assert_eq!(scope(&["r".to_owned()], false, &[filter]).wants(&run), is_meant);
            }
        }
    }

    #[test]
    fn what_is_no_run_to_look_at_is_refused_or_passed_over() {
        let scope = scope(&[], true, &[]);
        let fault = |found: Found| match scope.fault(found) {
            Ok(fault) => fault.map(|error| (error.exit(), error.to_string())),
            Err(error) => Some((error.exit(), format!("nothing to do: {error}"))),
        };
        let unreadable = |path: &str| Found::Unreadable(path.into(), "Permission denied".to_owned());
        assert_eq!(fault(Found::Run(RunDir::seen("runs/r"), ())), None);
        assert_eq!(fault(Found::Other("runs/notes".into())), None);
        let odd = "cannot read 'runs/odd': its name is not UTF-8".to_owned();
        assert_eq!(fault(Found::NotUtf8("runs/odd".into())), Some((Exit::BadRun, odd)));
        let one = "cannot read 'runs/r/.run': Permission denied".to_owned();
        assert_eq!(fault(unreadable("runs/r/.run")), Some((Exit::BadRun, one)));
        let all = "nothing to do: cannot read 'runs': Permission denied".to_owned();
        assert_eq!(fault(unreadable("runs")), Some((Exit::System, all)));
    }

    #[test]
    fn a_run_lies_in_the_batch_above_it_unless_it_was_named() {
        let batch =
            |operands: &[String], path: &str| scope(operands, true, &[]).batch_of(&RunDir::seen(path));
        assert_eq!(batch(&[], "runs/r"), None);
        assert_eq!(batch(&[], "runs/batch/r"), Some("batch".into()));
        assert_eq!(batch(&[], "runs/team/batch/r"), Some("team/batch".into()));
        assert_eq!(batch(&[], "elsewhere/batch/r"), None);
        assert_eq!(batch(&["r".to_owned()], "runs/batch/r"), None);
    }
}
