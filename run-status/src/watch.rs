//! `--watch`: the runs as they change, on a terminal in place, on a pipe as JSON lines.

use crate::detail;
use crate::entry::{Entry, Format, entry, figure, measured};
use crate::rows::{RunRow, counts, table};
use crate::select::Scope;
use crate::sparkline::Sparkline;
use run_common::cli::out::Out;
use run_common::cli::screen::{Screen, Woken};
use run_common::error::{Error, Exit};
use run_common::message::complain;
use run_common::rundir::find::Holders;
use run_common::rundir::meta::Meta;
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;
use run_common::time::Timestamp;
use std::collections::HashMap;
use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(100);

/// Watches until interrupted, or until all runs that were named have ended; of one run that was named the
/// details.
pub(crate) fn run(
    scope: &Scope,
    is_one: bool,
    format: Format,
    period: Duration,
    observer: Observer,
    out: &mut Out,
) -> Result<Exit, Error> {
    let period = period.max(SHORTEST);
    let watched = Watched::new(scope, observer);
    match format {
        Format::Table { columns } if io::stdout().is_terminal() => {
            let picture = Picture { scope, columns, is_one, colour: out.has_colour(), sparkline: None };
            on_terminal(watched, picture, period, out)
        }
        Format::Table { .. } => changes(watched, false, period, out),
        Format::Json { full } => changes(watched, full, period, out),
    }
}

/// Prints a line for each run that has changed, but for the time that passes.
fn changes(mut watched: Watched, full: bool, period: Duration, out: &mut Out) -> Result<Exit, Error> {
    let mut printed: HashMap<PathBuf, Vec<u8>> = HashMap::new();
    loop {
        let next = Instant::now() + period;
        watched.look()?;
        let mut damages = Vec::new();
        for run in watched.runs.iter().filter(|run| run.is_new) {
            let Some(observed) = &run.observed else { continue };
            let path = run.dir.layout().root();
            let was_shown = printed.contains_key(path);
            if !was_shown && !watched.scope.wants(observed) {
                continue;
            }
            let what = essence(observed)?;
            if printed.get(path) != Some(&what) {
                let (entry, damage) = entry(observed, full, watched.scope.is_named());
                out.bytes(&entry.json()?)?;
                damages.extend(damage.filter(|_| !was_shown));
                printed.insert(path.to_owned(), what);
            }
        }
        for damage in damages {
            watched.fail(&damage);
        }
        out.flush()?;
        if watched.is_over() {
            return Ok(watched.exit);
        }
        out.pause(next.saturating_duration_since(Instant::now()))?;
    }
}

/// Returns what is worth a line when it changes.
fn essence(run: &Observed) -> Result<Vec<u8>, Error> {
    let mut still = run.clone();
    if let Some(attempt) = still.recorded.attempt_mut() {
        attempt.last_heartbeat = None;
        attempt.last_output = None;
        attempt.resources = None;
        attempt.start_time = None; // so that no duration follows from it
    }
    Entry::of(&still).json()
}

/// Redraws the screen.
fn on_terminal(
    mut watched: Watched,
    mut picture: Picture,
    period: Duration,
    out: &mut Out,
) -> Result<Exit, Error> {
    let failed = |error: io::Error| Error::new(Exit::System, "cannot draw on the terminal").because(error);
    watched.is_quiet = true;
    watched.look()?;
    let mut screen = Screen::enter().map_err(failed)?;
    loop {
        let next = Instant::now() + period;
        if watched.is_over() {
            let last = picture.draw(&watched, (usize::MAX, usize::MAX));
            drop(screen);
            last.iter().try_for_each(|line| out.line(line))?;
            return Ok(watched.exit);
        }
        let redraw = |screen: &mut Screen, picture: &mut Picture, watched: &Watched| {
            let lines = picture.draw(watched, screen.size());
            screen.draw(lines).map_err(failed)
        };
        redraw(&mut screen, &mut picture, &watched)?;
        loop {
            match screen.pause(next).map_err(failed)? {
                Woken::Time => break,
                Woken::Redraw => redraw(&mut screen, &mut picture, &watched)?,
                Woken::Quit => return Ok(watched.exit),
            }
        }
        watched.look()?;
    }
}

/// The runs that are watched, and what is known of them.
struct Watched<'a> {
    scope: &'a Scope<'a>,
    observer: Observer,
    runs: Vec<Known>,
    /// Where runs appear.
    holders: Holders,
    is_first: bool,
    /// Errors are not said, but drawn.
    is_quiet: bool,
    errors: Vec<String>,
    exit: Exit,
}

/// A run as it was when last looked at.
struct Known {
    dir: RunDir,
    /// Inode, mtime and size of its record.
    stamp: Option<(u64, i64, i64, u64)>,
    observed: Option<Observed>,
    /// It was looked at just now.
    is_new: bool,
}

impl<'a> Watched<'a> {
    fn new(scope: &'a Scope, observer: Observer) -> Self {
        Self {
            scope,
            observer,
            runs: Vec::new(),
            holders: Holders::default(),
            is_first: true,
            is_quiet: false,
            errors: Vec::new(),
            exit: Exit::Ok,
        }
    }

    /// Looks at what may have changed.
    fn look(&mut self) -> Result<(), Error> {
        if self.is_first || self.holders.may_have_changed() {
            self.search()?;
        }
        for number in 0..self.runs.len() {
            let known = &mut self.runs[number];
            let stamp = fs::metadata(known.dir.layout().status())
                .ok()
                .map(|file| (file.ino(), file.mtime(), file.mtime_nsec(), file.size()));
            let rests = known
                .observed
                .as_ref()
                .is_some_and(|run| !matches!(run.status(), Status::Queued | Status::Running | Status::Stale));
            known.is_new =
                !(rests || known.observed.is_none()) || stamp != known.stamp || known.stamp.is_none();
            if !known.is_new {
                continue;
            }
            known.stamp = stamp;
            match self.observer.observe(&known.dir) {
                Ok(run) => known.observed = Some(run),
                Err(error) => {
                    let had = known.observed.take().is_some();
                    if had || self.is_first {
                        self.fail(&error);
                    }
                }
            }
        }
        self.is_first = false;
        Ok(())
    }

    /// Finds the runs, and keeps what is known of those that were there.
    fn search(&mut self) -> Result<(), Error> {
        let selection = self.scope.select()?;
        self.holders = selection.holders;
        let mut known: HashMap<PathBuf, Known> =
            self.runs.drain(..).map(|run| (run.dir.layout().root().to_owned(), run)).collect();
        for run in selection.runs {
            match run {
                Ok(dir) => {
                    let old = known.remove(dir.layout().root());
                    self.runs.push(old.unwrap_or(Known { dir, stamp: None, observed: None, is_new: true }));
                }
                Err(error) if self.is_first => self.fail(&error),
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: &Error) {
        self.exit = self.exit.max(error.exit());
        if self.is_quiet {
            self.errors.push(error.to_string());
        } else {
            complain(error);
        }
    }

    /// Says whether nothing more is to be expected.
    fn is_over(&self) -> bool {
        self.scope.is_named() && self.observed().all(|run| run.status().has_ended())
    }

    fn observed(&self) -> impl Iterator<Item = &Observed> {
        self.runs.iter().filter_map(|run| run.observed.as_ref())
    }
}

/// What is drawn.
struct Picture<'a> {
    scope: &'a Scope<'a>,
    /// The metrics to show in place of the first.
    columns: &'a [String],
    /// One run was named.
    is_one: bool,
    colour: bool,
    sparkline: Option<Sparkline>,
}

impl Picture<'_> {
    /// Returns the lines that fit a terminal of so many columns and rows.
    fn draw(&mut self, watched: &Watched, (columns, rows): (usize, usize)) -> Vec<String> {
        let mut lines = match watched.observed().next() {
            Some(run) if self.is_one => self.one(run, columns),
            _ => self.several(watched, columns, rows),
        };
        lines.extend(watched.errors.iter().map(|error| run_common::text::fit(error, columns)));
        lines
    }

    fn several(&self, watched: &Watched, columns: usize, height: usize) -> Vec<String> {
        let row = |run: &Observed| {
            if self.scope.wants(run) {
                RunRow::shown(run, self.scope, self.columns)
            } else {
                RunRow::counted(run, self.scope)
            }
        };
        let mut all: Vec<RunRow> = watched.observed().map(row).collect();
        let head = format!("{}  {}", Timestamp::now().local(), counts(&all));
        let room = height.saturating_sub(watched.errors.len() + 3);
        let mut lines = vec![run_common::text::fit(&head, columns)];
        let wanted = all.iter().filter(|row| row.is_shown()).count();
        if wanted > room {
            leave_out(&mut all, wanted - room);
        }
        if wanted > 0 {
            lines.extend(table(all).lines(self.colour, columns));
        }
        lines.truncate(height.saturating_sub(watched.errors.len() + 1));
        if wanted > room {
            lines.push(run_common::text::fit(&format!("and {} more", wanted - room), columns));
        }
        lines
    }

    fn one(&mut self, run: &Observed, columns: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let mut add = |block: Vec<String>| {
            if !block.is_empty() && !lines.is_empty() {
                lines.push(String::new());
            }
            lines.extend(block);
        };
        let meta = Meta::shown(run.run.layout()).ok();
        add(detail::facts(run, meta.as_ref(), detail::Extent::Short).lines(self.colour, columns));
        let metrics = run.recorded.metrics().figures();
        let main = self.columns.first().map(String::as_str).or_else(|| measured(&metrics).next());
        if let Some(name) = main.filter(|name| metrics.contains_key(*name)) {
            let sparkline = self.sparkline.get_or_insert_with(|| Sparkline::of(run, name));
            sparkline.follow();
            let (drawn, last) = (sparkline.draw(columns.min(100) / 2), figure(&metrics[name]["last"]));
            add(vec![run_common::text::fit(&format!("{name}  {drawn}  {last}"), columns)]);
        }
        add(detail::rows(&run.recorded.recent().rows()).lines(self.colour, columns));
        add(detail::figures(&metrics).lines(self.colour, columns));
        lines
    }
}

/// Leaves out so many rows: of runs that have ended first, and of the last first.
fn leave_out(rows: &mut [RunRow], mut count: usize) {
    for ended in [true, false] {
        for row in rows.iter_mut().rev().filter(|row| row.is_shown()) {
            if count > 0 && (!ended || row.status.has_ended() || row.status == Status::Created) {
                row.hide();
                count -= 1;
            }
        }
    }
}
