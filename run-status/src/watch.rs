//! `--watch`: the runs as they change, on a terminal in place, on a pipe as JSON lines.

use crate::cli::Args;
use crate::line::{Line, figure, measured};
use crate::list::{Row, counts, json_line, table};
use crate::select::{Selection, is_wanted};
use crate::{detail, spark};
use run_common::cli::operands::Operand;
use run_common::cli::out::Out;
use run_common::cli::screen::{Screen, Woken};
use run_common::error::{Error, Exit};
use run_common::message::complain;
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
use std::time::{Duration, Instant, SystemTime};

/// A directory that was changed so lately may have been changed again without its mtime telling.
const YOUNG: Duration = Duration::from_secs(2);

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(100);

/// Watches until interrupted, or until all runs that were named have ended.
pub(crate) fn run(args: &Args, period: Duration, out: &mut Out) -> Result<Exit, Error> {
    let period = period.max(SHORTEST);
    let watched = Watched::new(args);
    if args.json || args.full || !io::stdout().is_terminal() {
        changes(watched, args, period, out)
    } else {
        on_terminal(watched, args, period, out)
    }
}

/// Prints a line for each run that has changed, but for the time that passes.
fn changes(mut watched: Watched, args: &Args, period: Duration, out: &mut Out) -> Result<Exit, Error> {
    let mut printed: HashMap<PathBuf, Vec<u8>> = HashMap::new();
    loop {
        let next = Instant::now() + period;
        watched.look()?;
        for run in watched.runs.iter().filter(|run| run.is_new) {
            let Some(observed) = &run.observed else { continue };
            let path = run.dir.layout().root();
            let was_shown = printed.contains_key(path);
            if !was_shown && !is_wanted(observed, args) {
                continue;
            }
            let what = essence(observed)?;
            if printed.get(path) != Some(&what) {
                let line = if args.full { Line::full(observed)? } else { Line::of(observed) };
                out.bytes(&json_line(&line)?)?;
                printed.insert(path.to_owned(), what);
            }
        }
        out.flush()?;
        if watched.is_over(args) {
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
    json_line(&Line::of(&still))
}

/// Redraws the screen.
fn on_terminal(mut watched: Watched, args: &Args, period: Duration, out: &mut Out) -> Result<Exit, Error> {
    let failed = |error: io::Error| Error::new(Exit::System, "cannot draw on the terminal").because(error);
    watched.is_quiet = true;
    watched.look()?;
    let mut screen = Screen::enter().map_err(failed)?;
    let mut picture = Picture::new(args, out.has_colour());
    loop {
        let next = Instant::now() + period;
        if watched.is_over(args) {
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
    args: &'a Args,
    observer: Observer,
    runs: Vec<Known>,
    /// The directories in which runs appear, and when they were last changed.
    holders: Vec<(PathBuf, Option<SystemTime>)>,
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
    fn new(args: &'a Args) -> Self {
        Self {
            args,
            observer: Observer::new(args.stale_after),
            runs: Vec::new(),
            holders: Vec::new(),
            is_first: true,
            is_quiet: false,
            errors: Vec::new(),
            exit: Exit::Ok,
        }
    }

    /// Looks at what may have changed.
    fn look(&mut self) -> Result<(), Error> {
        if self.is_first || self.holders.iter().any(|(path, time)| mtime(path) != *time || is_young(*time)) {
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
        if !self.is_first && !self.args.runs.is_empty() {
            return Ok(());
        }
        let before: Vec<(PathBuf, Option<SystemTime>)> =
            self.holders.iter().map(|(path, _)| (path.clone(), mtime(path))).collect();
        let selection = Selection::make(self.args)?;
        let time = |path: &PathBuf| {
            let seen = before.iter().find(|(known, _)| known == path);
            seen.map_or_else(|| mtime(path), |(_, time)| *time)
        };
        self.holders = selection.holders.iter().map(|path| (path.clone(), time(path))).collect();
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
    fn is_over(&self, args: &Args) -> bool {
        !args.runs.is_empty() && self.observed().all(|run| run.status().has_ended())
    }

    fn observed(&self) -> impl Iterator<Item = &Observed> {
        self.runs.iter().filter_map(|run| run.observed.as_ref())
    }
}

fn mtime(path: &PathBuf) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}

fn is_young(time: Option<SystemTime>) -> bool {
    time.is_some_and(|time| time.elapsed().is_ok_and(|age| age < YOUNG))
}

/// What is drawn.
struct Picture<'a> {
    args: &'a Args,
    /// One run was named.
    is_one: bool,
    colour: bool,
    curve: Option<spark::Curve>,
}

impl<'a> Picture<'a> {
    fn new(args: &'a Args, colour: bool) -> Self {
        let named = |name: &String| Operand::named(name, &args.runs_dir.path());
        let is_one = matches!(args.runs.as_slice(), [name] if name != "-" && matches!(named(name), Ok(Operand::Run(_))));
        Self { args, is_one, colour, curve: None }
    }

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
        let runs_dir = self.args.runs_dir.path();
        let mut all: Vec<Row> = watched
            .observed()
            .map(|run| Row::of(run, self.args, &runs_dir, is_wanted(run, self.args)))
            .collect();
        let head = format!("{}  {}", Timestamp::now().local(), counts(&all));
        let room = height.saturating_sub(watched.errors.len() + 3);
        let mut lines = vec![run_common::text::fit(&head, columns)];
        let wanted = all.iter().filter(|row| row.cells.is_some()).count();
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
        if let Ok(meta) = Meta::shown(run.run.layout()) {
            add(detail::facts(run, &meta, detail::Extent::Short).lines(self.colour, columns));
        }
        let metrics = run.recorded.metrics().figures();
        let main = self.args.columns.first().map(String::as_str).or_else(|| measured(&metrics).next());
        if let Some(name) = main.filter(|name| metrics.contains_key(*name)) {
            let curve = self.curve.get_or_insert_with(|| spark::Curve::of(run, name));
            curve.follow();
            let (drawn, last) = (curve.draw(columns.min(100) / 2), figure(&metrics[name]["last"]));
            add(vec![run_common::text::fit(&format!("{name}  {drawn}  {last}"), columns)]);
        }
        add(detail::rows(&run.recorded.recent().rows()).lines(self.colour, columns));
        add(detail::figures(&metrics).lines(self.colour, columns));
        lines
    }
}

/// Leaves out so many rows: of runs that have ended first, and of the last first.
fn leave_out(rows: &mut [Row], mut count: usize) {
    for ended in [true, false] {
        for row in rows.iter_mut().rev().filter(|row| row.cells.is_some()) {
            if count > 0 && (!ended || row.status.has_ended() || row.status == Status::Created) {
                row.cells = None;
                count -= 1;
            }
        }
    }
}
