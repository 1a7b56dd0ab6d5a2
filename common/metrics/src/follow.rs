//! Follows the metrics of a run while its program writes them: finds their files, reads what is appended, and
//! determines the progress from the trainer's other files. Used by the supervisor, so that no other tool
//! needs to read a long file again.

use super::aside::{Aside, Said};
use super::figures::Figures;
use super::growing::{Growing, Growth};
use super::resumptions::Resumptions;
use super::source::{MetricSource, Rank};
use super::trainer_files::{SNAPSHOTS, candidates};
use super::{snapshot, trainer_state};
use run_common::fsio::stamp::Stamp;
use run_common::rundir::layout::Layout;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Maximum time between two searches once the source is chosen, for files that are added to the source or lie
/// beside it.
const SELDOM: Duration = Duration::from_secs(60);

/// The next search waits at least this many times the duration of the last, so that searching uses less than
/// 1% of a core.
const RARENESS: u32 = 150;

/// Maximum number of files to watch for signs of life.
const WATCHED: usize = 256;

/// Maximum number of a source's files to name in a record.
const NAMED: usize = 20;

/// What to follow.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The file below the run that the user named.
    pub named: Option<String>,
    /// The name of the step, if given.
    pub step_key: Option<String>,
    /// Whether files of a trainer count.
    pub with_trainer: bool,
    /// Files below the run that an earlier attempt chose.
    pub chosen: Vec<String>,
    /// When the attempt began: older files do not show its progress.
    pub since: SystemTime,
}

/// The progress of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// The current step.
    pub step: Option<f64>,
    /// The number of steps to train for.
    pub total: Option<f64>,
}

/// Facts about the progress besides the metrics and the trainer's own files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside {
    /// The step of the latest checkpoint that the attempt has saved, or began with.
    pub checkpoint: Option<f64>,
    /// The step of the rows when that checkpoint was found, if there were any: rows that went back since then
    /// belong to another training, and so may a checkpoint that existed before all rows.
    pub rows: Option<f64>,
    /// The number of steps to train for.
    pub total: Option<f64>,
}

impl Beside {
    /// Returns the step of the checkpoint if it is further than the last row: rows may count from 0, or be
    /// rarer than checkpoints.
    fn ahead(&self, of_rows: f64, is_exact: bool, total: Option<f64>) -> Option<f64> {
        self.rows.filter(|rows| of_rows >= *rows)?;
        let step = self.checkpoint?;
        let is_next = (0.5..1.5).contains(&(step - of_rows));
        let is_within = is_exact && total.is_some_and(|total| step <= total) && step <= of_rows * 2.0;
        (is_next || is_within && step > of_rows).then_some(step)
    }
}

/// The metrics of a run as they grow.
#[derive(Debug)]
pub struct Follower {
    layout: Layout,
    wanted: Wanted,
    attempts: Resumptions,
    followed: Option<(Rank, Growing)>,
    begun: Instant,
    next_search: Option<Instant>,
    /// The trainer's records beside checkpoints, and its document about the present.
    saved: Aside,
    present: Aside,
    /// The table of earlier attempts, which the program may start over.
    table: Option<PathBuf>,
    /// Files that existed before the attempt began.
    old: HashMap<PathBuf, Stamp>,
    /// Files whose change is a sign of life.
    watched: HashMap<PathBuf, Option<Stamp>>,
    nothing: Figures,
}

impl Follower {
    /// Starts following the metrics of a run with these attempts, the current one being the last.
    pub fn new(layout: Layout, wanted: Wanted, attempts: Resumptions) -> Self {
        Self {
            layout,
            wanted,
            attempts,
            followed: None,
            begun: Instant::now(),
            next_search: None,
            saved: Aside::default(),
            present: Aside::default(),
            table: None,
            old: HashMap::new(),
            watched: HashMap::new(),
            nothing: Figures::for_record(),
        }
    }

    /// Records the state of a trainer's files before the attempt begins: files that stay unchanged do not
    /// belong to the attempt.
    pub fn begin(&mut self) {
        if self.wanted.with_trainer {
            let found = candidates(&self.layout, true);
            let first = self.wanted.chosen.first().map(|name| self.layout.root().join(name));
            let at = chosen(&found, &self.wanted.chosen, self.layout.root());
            self.table = first.filter(|_| at.is_some_and(|at| found[at].0 == Rank::Left));
            let paths = found.iter().flat_map(|(_, source)| source.paths());
            self.old = paths.filter_map(|path| Some((path.to_owned(), Stamp::at(path)?))).collect();
        }
    }

    /// Returns the figures as of the last [`Self::poll`].
    pub fn figures(&self) -> &Figures {
        self.followed.as_ref().map_or(&self.nothing, |(_, growing)| growing.figures())
    }

    /// Returns the paths below the run of the files behind the figures, at most the first ones.
    pub fn names(&self) -> Vec<String> {
        let Some((_, growing)) = &self.followed else { return Vec::new() };
        let mut names = growing.source().names(self.layout.root());
        names.truncate(NAMED);
        names
    }

    /// Reads some or all of what was appended, and returns what changed.
    pub fn poll(&mut self) -> io::Result<Growth> {
        self.choose(false);
        self.look_aside();
        match &mut self.followed {
            Some((_, growing)) => growing.poll(),
            None => Ok(Growth::default()),
        }
    }

    /// Searches for sources again, and makes the next [`Self::poll`] exact, however recent the last search.
    pub fn search(&mut self) {
        self.search_again(false);
    }

    /// Like [`Self::search`], after the program has ended: a table that it has emptied is no source.
    pub fn end(&mut self) {
        self.search_again(true);
    }

    fn search_again(&mut self, has_ended: bool) {
        self.next_search = None;
        self.choose(has_ended);
        if let Some((_, growing)) = &mut self.followed {
            growing.hurry();
        }
    }

    /// Returns whether a file that may hold metrics has changed since the last call.
    pub fn has_signs_of_life(&mut self) -> bool {
        let mut has_changed = self.present.take_change();
        for (path, known) in &mut self.watched {
            let stamp = Stamp::at(path);
            has_changed |= stamp.is_some() && stamp != *known;
            *known = stamp;
        }
        has_changed
    }

    /// Returns the progress of the training. In order of precedence: rows with a step, the trainer's document
    /// about the present, a checkpoint or its record, and the bar that `bar` finds for a number of steps.
    pub fn progress(&self, beside: &Beside, bar: impl Fn(f64) -> Option<f64>) -> Progress {
        let figures = self.figures();
        let of_rows = figures.step();
        let is_exact = !figures.is_in_large_units() || self.wanted.step_key.is_some();
        let present = self.present.said;
        let is_in_epochs = of_rows.is_some() && !is_exact && present.is_none();
        let total_aside = || [present, self.saved.said].into_iter().flatten().find_map(|said| said.total);
        let total = figures.total().or_else(|| if is_in_epochs { None } else { total_aside() });
        let known = beside.total.or(total);
        let of_rows = of_rows.map(|step| beside.ahead(step, is_exact, known).unwrap_or(step));
        let saved = self.saved.said.filter(|_| self.saved.is_newer_than(self.wanted.since));
        let saved = || {
            let all = [saved.map(|saved| saved.step), beside.checkpoint, known.and_then(&bar)];
            all.into_iter().flatten().reduce(f64::max)
        };
        // Rows of earlier attempts are less current than the files of this attempt.
        let is_before = figures.attempt().is_some_and(|attempt| attempt < self.attempts.count());
        let present_now = present.filter(|_| self.present.is_newer_than(self.wanted.since));
        let later = || {
            let saved = || saved().filter(|step| Some(*step) > of_rows);
            present_now.map(|present| present.step).or_else(saved)
        };
        let later = if is_before { later() } else { None };
        let step = later
            .or(of_rows.filter(|_| is_exact))
            .or(present.map(|present| present.step))
            .or(of_rows)
            .or_else(saved)
            .or_else(|| figures.row_number());
        Progress { step, total }
    }

    /// Chooses the source, if necessary.
    fn choose(&mut self, has_ended: bool) {
        if let Some((rank, source)) = self.direct() {
            self.follow(rank, source);
        } else if self.followed.as_ref().is_some_and(|(rank, _)| *rank <= Rank::Written) {
            (self.followed, self.next_search) = (None, None); // the file was emptied
        }
        let now = Instant::now();
        if self.next_search.is_none_or(|time| now >= time) {
            self.look_around(has_ended);
            self.next_search =
                Some(Instant::now() + self.pause(now).max(now.elapsed().saturating_mul(RARENESS)));
        } else if self.followed.is_none()
            && self.wanted.named.is_none()
            && let Some(source) = MetricSource::lines(self.layout.scraped())
        {
            self.follow(Rank::Scraped, source);
        }
    }

    /// Returns how long no search is needed: files beside the metrics usually appear soon.
    fn pause(&self, now: Instant) -> Duration {
        match &self.followed {
            Some((Rank::Left, _)) if self.is_settled() => SELDOM.min((now - self.begun) / 4),
            _ if self.is_settled() => SELDOM,
            _ => Duration::ZERO,
        }
    }

    /// Returns the source that needs no search: the named one, else the suite's own file.
    fn direct(&self) -> Option<(Rank, MetricSource)> {
        match &self.wanted.named {
            Some(name) => Some((Rank::Named, MetricSource::named(self.layout.root(), name)?)),
            None => Some((Rank::Written, MetricSource::lines(self.layout.metrics())?)),
        }
    }

    /// Returns whether the chosen source is not replaced by a better one that may appear: a source with
    /// steps, a named one, or the suite's own file.
    fn is_settled(&self) -> bool {
        let has_steps = self.figures().step().is_some();
        self.followed.as_ref().is_some_and(|(rank, _)| *rank < Rank::Left || *rank == Rank::Left && has_steps)
    }

    /// Finds all sources and chooses one; an emptied table is replaced only if the program has ended.
    fn look_around(&mut self, has_ended: bool) {
        let mut candidates = candidates(&self.layout, self.wanted.with_trainer);
        for (rank, source) in &candidates {
            let first = source.paths().next().map(Path::to_owned);
            match rank {
                Rank::Saved => self.saved.path = first,
                Rank::Present => self.present.path = first,
                _ => {}
            }
            if *rank != Rank::Present {
                for path in source.paths() {
                    if self.watched.len() < WATCHED && !self.watched.contains_key(path) {
                        self.watched.insert(path.to_owned(), None);
                    }
                }
            }
        }
        if self.wanted.named.is_some() || self.direct().is_some() {
            return;
        }
        let root = self.layout.root();
        let awaited = match &self.followed {
            Some((Rank::Left, growing)) => growing.source().paths().next(),
            _ => self.table.as_deref(),
        };
        let has =
            |path: &Path| candidates.iter().any(|(_, source)| source.paths().any(|other| other == path));
        if !has_ended && awaited.is_some_and(|path| path.exists() && !has(path)) {
            return; // the program starts its table over
        }
        let of = |names: &[String]| chosen(&candidates, names, root);
        let is_old = |path: &Path| self.old.get(path).is_some_and(|old| Stamp::at(path) == Some(*old));
        let is_live =
            |(rank, source): &(Rank, MetricSource)| !rank.is_of_trainer() || !source.paths().all(is_old);
        let chosen = match &self.followed {
            None => of(&self.wanted.chosen),
            // The program may have removed its table before it started it over.
            Some((_, growing)) if self.is_settled() => {
                [of(&growing.source().names(root)), of(&self.wanted.chosen)].into_iter().flatten().min()
            }
            Some(_) => None,
        };
        let chosen = chosen.or_else(|| candidates.iter().position(is_live));
        if let Some(chosen) = chosen {
            let (rank, source) = candidates.swap_remove(chosen);
            self.follow(rank, source);
        }
    }

    /// Switches to a source, unless it is already followed.
    fn follow(&mut self, rank: Rank, source: MetricSource) {
        let source = source.with_step_key(self.wanted.step_key.as_deref());
        if let Some((known, growing)) = &mut self.followed
            && *known == rank
            && growing.extend(&source)
        {
            return;
        }
        self.followed = Some((rank, Growing::new(source, &self.attempts)));
    }

    /// Reads the trainer's document beside its metrics, if it has changed. It is usually at the top of the
    /// run, which needs no search.
    fn look_aside(&mut self) {
        if self.present.path.is_none() && self.wanted.with_trainer {
            let status = self.layout.root().join(SNAPSHOTS[0]);
            self.present.path = Stamp::at(&status).map(|_| status);
        }
        self.saved.look(|file| {
            trainer_state::saved(file).map(|saved| Said { step: saved.step, total: saved.total })
        });
        let step_key = self.wanted.step_key.as_deref();
        self.present.look(|file| {
            let present = snapshot::read(file, step_key).ok()??;
            Some(Said { step: present.step, total: present.total })
        });
    }
}

/// Finds the source that contains the first of these files.
pub(crate) fn chosen(candidates: &[(Rank, MetricSource)], names: &[String], root: &Path) -> Option<usize> {
    let first = root.join(names.first()?);
    candidates.iter().position(|(_, source)| source.paths().any(|path| path == first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;
    use std::fs::{self, OpenOptions};
    use std::io::Write;
    use std::ops::Range;
    use tempfile::{TempDir, tempdir};

    fn rows(key: &str, steps: Range<u32>, scale: u32) -> String {
        steps.map(|step| format!("{{\"{key}\": {step}, \"loss\": {}}}\n", step * scale)).collect()
    }

    /// The two metric files of a run, neither of which exists yet.
    struct Files {
        layout: Layout,
        written: PathBuf,
        scraped: PathBuf,
        _dir: TempDir,
    }

    impl Files {
        fn new() -> Self {
            let dir = tempdir().unwrap();
            let layout = Layout::new(dir.path());
            fs::create_dir(layout.record()).unwrap();
            Self { written: layout.metrics(), scraped: layout.scraped(), layout, _dir: dir }
        }

        /// Follows them in an attempt that began when the first file had this length.
        fn follow(&self, boundary: Option<usize>) -> Follower {
            let time = run_common::time::Timestamp::now();
            let resumed = |at| Resumptions::resumed(time, "metrics.jsonl", at as u64);
            let wanted = Wanted {
                named: None,
                step_key: None,
                with_trainer: true,
                chosen: Vec::new(),
                since: SystemTime::UNIX_EPOCH,
            };
            Follower::new(self.layout.clone(), wanted, boundary.map(resumed).unwrap_or_default())
        }
    }

    fn loss(follower: &Follower) -> Value {
        follower.figures().aggregates().next().unwrap().1.to_json()
    }

    fn append(path: &PathBuf, text: &str) {
        OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn rows_that_a_later_attempt_went_over_again_do_not_count() {
        let files = Files::new();
        let first = rows("step", 0..10, 1);
        fs::write(&files.written, &first).unwrap();
        let mut follower = files.follow(Some(first.len()));
        assert!(!follower.poll().unwrap().has_rows);
        assert_eq!(follower.figures().step(), Some(9.0));
        append(&files.written, &format!("{}{{\"step\": 8, \"lo", rows("step", 5..8, 100)));
        assert!(follower.poll().unwrap().has_rows);
        assert_eq!(loss(&follower)["count"], 8);
        assert_eq!(loss(&follower)["max"], 700);
        append(&files.written, "ss\": 800}\n");
        assert!(follower.poll().unwrap().has_rows);
        assert_eq!(loss(&follower)["last"], 800);
        assert_eq!(follower.figures().recent().len(), 5);
        fs::write(&files.written, rows("step", 0..1, 7)).unwrap();
        assert!(follower.poll().unwrap().has_rows);
        assert_eq!(loss(&follower)["count"], 1);
    }

    #[test]
    fn every_step_key_of_a_later_attempt_supersedes_its_own() {
        let files = Files::new();
        let first = rows("iter", 0..10, 1) + &rows("step", 0..10, 1);
        fs::write(&files.written, &first).unwrap();
        let mut follower = files.follow(Some(first.len()));
        append(&files.written, &(rows("step", 5..6, 1) + &rows("iter", 5..6, 1)));
        assert!(follower.poll().unwrap().has_rows);
        assert_eq!(loss(&follower)["count"], 12);
        append(&files.written, &rows("iter", 6..8, 100));
        assert!(follower.poll().unwrap().has_rows);
        assert_eq!(loss(&follower)["count"], 14);
        assert_eq!(loss(&follower)["max"], 700);
    }

    #[test]
    fn rows_off_the_output_count_while_the_program_writes_none() {
        let files = Files::new();
        let mut follower = files.follow(None);
        assert!(!follower.poll().unwrap().has_rows);
        append(&files.scraped, &rows("iter", 0..3, 1));
        append(&files.written, "");
        assert!(follower.poll().unwrap().has_rows);
        assert_eq!(loss(&follower)["count"], 3);
        append(&files.written, &rows("step", 7..8, 1));
        assert!(follower.poll().unwrap().has_rows);
        assert_eq!(follower.figures().step(), Some(7.0));
        assert_eq!(loss(&follower)["count"], 1);
    }

    #[test]
    fn lines_that_cannot_be_read_count_in_their_own_attempt() {
        let files = Files::new();
        let long = "x".repeat(16 << 20) + "\n";
        let first = rows("step", 0..4, 1) + "bad\n" + &long + &rows("step", 4..8, 1);
        fs::write(&files.written, &first).unwrap();
        let mut follower = files.follow(Some(first.len()));
        append(&files.written, &(long.repeat(2) + "bad\n\n" + &rows("step", 6..8, 10)));
        let mut calls = 1;
        while follower.poll().unwrap().is_behind {
            calls += 1;
        }
        assert!(calls > 2, "a heartbeat must not wait for all of it");
        assert_eq!((loss(&follower)["count"].clone(), follower.figures().skipped()), (8.into(), 3));
        append(&files.written, &(rows("iter", 0..1, 1) + "bad\n"));
        assert_eq!(follower.poll().unwrap(), Growth { has_rows: true, is_changed: true, is_behind: false });
        assert_eq!(follower.figures().skipped(), 4);
    }

    #[test]
    fn a_row_that_is_large_is_kept_without_its_largest_fields() {
        let files = Files::new();
        let text = "x".repeat(crate::figures::ROW);
        append(&files.written, &format!("{{\"step\": 1, \"a\": \"{text}\", \"loss\": 2, \"b\": [1]}}\n"));
        let mut follower = files.follow(None);
        assert!(follower.poll().unwrap().has_rows);
        let recent = serde_json::to_string(&follower.figures().recent()).unwrap();
        assert_eq!(recent, "[{\"step\":1,\"loss\":2,\"b\":[1]}]");
    }

    #[test]
    fn a_table_that_an_attempt_starts_over_is_awaited() {
        let table = "step,loss\n1,4\n2,3\n";
        let other = "step,loss\n1,4\n2,3\n3,2\n";
        for is_removed in [false, true] {
            let files = Files::new();
            let path = |name: &str| files.layout.root().join(name);
            let (kept, also) = (path("progress.csv"), path("train_log.csv"));
            fs::write(&kept, table).unwrap();
            fs::write(&also, table).unwrap();
            let mut follower = files.follow(Some(0));
            follower.wanted.chosen = vec!["progress.csv".to_owned()];
            follower.begin();
            if is_removed {
                fs::remove_file(&kept).unwrap();
            } else {
                fs::write(&kept, "").unwrap();
            }
            fs::write(&also, other).unwrap();
            follower.search();
            follower.poll().unwrap();
            assert_eq!(follower.names().first().map(String::as_str), is_removed.then_some("train_log.csv"));
            fs::write(&kept, "step,loss\n3,7\n").unwrap();
            follower.search();
            follower.poll().unwrap();
            assert_eq!(
                (follower.names(), loss(&follower)["count"].clone()),
                (vec!["progress.csv".to_owned()], 1.into())
            );
        }
    }

    #[test]
    fn a_later_attempt_goes_on_to_the_state_of_a_newer_checkpoint() {
        let files = Files::new();
        let state = |step: u32| {
            let directory = files.layout.root().join(format!("checkpoint-{step}"));
            fs::create_dir(&directory).unwrap();
            let row =
                format!("{{\"global_step\": {step}, \"log_history\": [{{\"step\": {step}, \"loss\": 1}}]}}");
            fs::write(directory.join("trainer_state.json"), row).unwrap();
        };
        state(20);
        let mut follower = files.follow(Some(0));
        follower.wanted.chosen = vec!["checkpoint-20/trainer_state.json".to_owned()];
        follower.begin();
        follower.poll().unwrap();
        assert_eq!(follower.names(), ["checkpoint-20/trainer_state.json"]);
        state(40);
        follower.search();
        follower.poll().unwrap();
        assert_eq!(follower.names(), ["checkpoint-40/trainer_state.json"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn figures_are_the_same_however_often_one_looks(
            lines in prop::collection::vec("(\\{\"(step|epoch)\": [0-9], \"loss\": [0-9]\\}|bad|)", 0..12),
            begun: prop::sample::Index,
            looks in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let start = lines[..begun.index(lines.len() + 1)].iter().map(|line| line.len() + 1).sum();
            let said = |follower: &Follower| {
                let figures = follower.figures();
                let all: Vec<_> = figures.aggregates().map(|(name, figures)| (name.to_owned(), figures.to_json())).collect();
                (all, figures.recent(), figures.step(), figures.skipped())
            };
            let files = Files::new();
            fs::write(&files.written, &text).unwrap();
            let mut once = files.follow(Some(start));
            once.poll().unwrap();
            let grows = Files::new();
            fs::write(&grows.written, &text[..start]).unwrap();
            let mut often = grows.follow(Some(start));
            let mut ends: Vec<usize> = looks.iter().map(|look| start + look.index(text.len() - start + 1)).collect();
            ends.push(text.len());
            ends.sort_unstable();
            let mut done = start;
            for end in ends {
                append(&grows.written, &text[done..end]);
                done = end;
                often.poll().unwrap();
            }
            prop_assert_eq!(said(&often), said(&once));
        }
    }
}
