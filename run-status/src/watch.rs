//! `--watch`: the runs as they change, on a terminal in place, on a pipe as JSON lines.

use crate::entry::{Entry, Format, entry};
use crate::keys::Keys;
use crate::picture::Picture;
use crate::select::Scope;
use crate::watched::Watched;
use run_common::cli::out::Out;
use run_common::cli::screen::{Screen, Woken};
use run_common::error::{Error, Exit};
use run_common::rundir::observe::{Observed, Observer};
use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(100);

/// Watches until interrupted, or until all named runs have ended. Shows the details of a single run with this
/// directory.
pub(crate) fn run(
    scope: &Scope,
    one: Option<PathBuf>,
    format: Format,
    period: Duration,
    observer: Observer,
    out: &mut Out,
) -> Result<Exit, Error> {
    let period = period.max(SHORTEST);
    let watched = Watched::new(scope, observer);
    match format {
        Format::Table { columns } if io::stdout().is_terminal() => {
            let keys = Keys::new(one, scope.leaves_out());
            let picture = Picture { scope, columns, colour: out.has_colour(), keys, fresh: HashMap::new() };
            on_terminal(watched, picture, period, out)
        }
        Format::Table { .. } => changes(watched, false, period, out),
        Format::Json { full } => changes(watched, full, period, out),
    }
}

/// Prints a line for each run that has changed; passing time is not a change.
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

/// Returns the part of an entry whose change is worth a line.
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
            let (columns, rows) = screen.size();
            let is_list = picture.keys.run.is_none();
            picture.keys.chosen = None;
            let last = picture.draw(&watched, (columns, if is_list { usize::MAX } else { rows }));
            drop(screen);
            last.iter().try_for_each(|line| out.line(line))?;
            return Ok(watched.exit);
        }
        let redraw = |screen: &mut Screen, picture: &mut Picture, watched: &Watched| {
            let size = screen.size();
            let has_keys = screen.has_keys();
            let lines = if has_keys { picture.with_keys(watched, size) } else { picture.draw(watched, size) };
            screen.draw(lines).map_err(failed)
        };
        redraw(&mut screen, &mut picture, &watched)?;
        loop {
            match screen.pause(next).map_err(failed)? {
                Woken::Time => break,
                Woken::Redraw => redraw(&mut screen, &mut picture, &watched)?,
                Woken::Key(key) => {
                    let shown = picture.shown(&watched);
                    picture.keys.press(key, &shown);
                    if picture.keys.asks {
                        screen.forget_keys();
                    }
                    if !screen.has_pressed() {
                        redraw(&mut screen, &mut picture, &watched)?;
                    }
                }
                Woken::Quit => return Ok(watched.exit),
            }
        }
        watched.look()?;
    }
}
