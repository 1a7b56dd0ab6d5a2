//! The list of runs, as a table or as JSON lines.

use crate::columns::Columns;
use crate::entry::{Format, damage_of, entry};
use crate::rows::{RunRow, table};
use crate::select::Scope;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};
use run_common::pipeline::in_order;
use run_common::rundir::find::{Found, visit};
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::open::RunDir;
use run_common::spare::Spare;
use run_launch::settle;
use std::path::PathBuf;

/// Initial capacity for a line of JSON, in bytes.
const LINE: usize = 4 << 10;

/// Prints the list.
pub(crate) fn print(
    scope: &Scope,
    format: Format,
    observer: &Observer,
    out: &mut Out,
) -> Result<Exit, Error> {
    let listed = match format {
        Format::Table { columns } => as_table(scope, columns, observer, out)?,
        Format::Json { full } => as_json(scope, full, observer, out)?,
    };
    if listed.shown == 0 && listed.exit == Exit::Ok {
        // As with grep, "no run has this status" is an answer and needs no message.
        if !scope.is_named() && !scope.has_since() && (!scope.is_filtered() || !scope.runs_dir().exists()) {
            scope.explain_emptiness(listed.hidden, listed.unlike.len());
        }
        if scope.is_filtered() {
            return Ok(Exit::No);
        }
    }
    listed.say_unlike();
    Ok(listed.exit)
}

/// The outcome of a list.
struct Listed {
    exit: Exit,
    shown: usize,
    hidden: usize,
    /// Top-level directories that are not runs and contain no runs.
    unlike: Vec<PathBuf>,
    /// Some runs are of other systems.
    has_foreign: bool,
}

impl Listed {
    /// Says beside runs of other systems which directories were not recognised: one may be of a system that is not
    /// known.
    fn say_unlike(&self) {
        let Some((first, others)) = self.unlike.split_first().filter(|_| self.has_foreign) else { return };
        let first = first.display();
        warn(&match others.len() {
            0 => format!("'{first}' is not recognised as a run, and holds none"),
            more => format!("'{first}' and {more} more are not recognised as runs, and hold none"),
        });
    }

    fn fail(&mut self, error: &Error) {
        self.exit = self.exit.max(error.exit());
        complain(error);
    }
}

/// A run that was looked at.
enum Looked<T> {
    /// Whether it is shown, and what is made of it.
    Made(bool, Made<T>),
    /// Only a launcher can tell what it does: all launchers are asked together.
    Open(Box<Observed>),
}

/// The output for a run, and an error if part of its record is damaged.
type Made<T> = (T, Option<Error>);

/// Looks at many runs at once, and passes the results of `make` to `take` in the order of the runs, shown or
/// not.
fn look<T: Send>(
    scope: &Scope,
    observer: &Observer,
    make: impl Fn(&Observed, bool) -> Result<Made<T>, Error> + Sync,
    mut take: impl FnMut(T) -> Result<(), Error>,
) -> Result<Listed, Error> {
    let work = |run: &RunDir| {
        let run = observer.observe(run)?;
        if settle::needs_launcher(&run) {
            return Ok(Looked::Open(Box::new(run)));
        }
        let is_shown = scope.wants(&run);
        Ok(Looked::Made(is_shown, make(&run, is_shown)?))
    };
    let mut listed = Listed { exit: Exit::Ok, shown: 0, hidden: 0, unlike: Vec::new(), has_foreign: false };
    // What comes after a run that is open waits for it.
    let mut waiting: Vec<Result<Looked<T>, Error>> = Vec::new();
    let mut show = |listed: &mut Listed, made: Result<Looked<T>, Error>| match made {
        Ok(Looked::Made(is_shown, (item, damage))) => {
            *(if is_shown { &mut listed.shown } else { &mut listed.hidden }) += 1;
            if let Some(damage) = damage {
                listed.fail(&damage);
            }
            take(item)
        }
        Ok(Looked::Open(_)) => Ok(()),
        Err(error) => {
            listed.fail(&error);
            Ok(())
        }
    };
    let mut note = |listed: &mut Listed, looked: Result<Looked<T>, Error>| {
        if waiting.is_empty() && !matches!(looked, Ok(Looked::Open(_))) {
            return show(listed, looked);
        }
        waiting.push(looked);
        Ok(())
    };
    if scope.is_named() {
        in_order(scope.named(), |run: Result<RunDir, Error>| work(&run?), |made| note(&mut listed, made))?;
    } else {
        visit(scope.runs_dir(), work, |found| match found {
            Found::Run(run, made) => {
                listed.has_foreign |= run.layout().foreign().is_some();
                note(&mut listed, made)
            }
            Found::Other(path) => {
                listed.unlike.push(path);
                Ok(())
            }
            found => {
                if let Some(error) = scope.fault(found)? {
                    listed.fail(&error);
                }
                Ok(())
            }
        })?;
    }
    settle::settle(
        observer,
        waiting.iter_mut().filter_map(|looked| match looked {
            Ok(Looked::Open(run)) => Some(run.as_mut()),
            _ => None,
        }),
    );
    for looked in waiting {
        let looked = match looked {
            Ok(Looked::Open(run)) => {
                let is_shown = scope.wants(&run);
                make(&run, is_shown).map(|made| Looked::Made(is_shown, made))
            }
            looked => looked,
        };
        show(&mut listed, looked)?;
    }
    Ok(listed)
}

fn as_json(scope: &Scope, full: bool, observer: &Observer, out: &mut Out) -> Result<Listed, Error> {
    let spare = Spare::<Vec<u8>>::default();
    let make = |run: &Observed, is_shown: bool| {
        if !is_shown {
            return Ok((None, None));
        }
        let (entry, damage) = entry(run, full, scope.is_named());
        Ok((Some(entry.json_in(spare.take(|| Vec::with_capacity(LINE)))?), damage))
    };
    look(scope, observer, make, |line| match line {
        Some(line) => out.bytes(&line).map(|()| spare.put(line)),
        None => Ok(()),
    })
}

fn as_table(scope: &Scope, columns: &[String], observer: &Observer, out: &mut Out) -> Result<Listed, Error> {
    let mut rows = Vec::new();
    let asked = Columns::new(columns);
    let make = |run: &Observed, is_shown: bool| {
        Ok(if is_shown {
            asked.look(run);
            (RunRow::shown(run, scope, columns), damage_of(run, scope.is_named()))
        } else {
            (RunRow::counted(run, scope), None)
        })
    };
    let listed = look(scope, observer, make, |row| {
        rows.push(row);
        Ok(())
    })?;
    if listed.shown > 0 {
        out.table(&table(rows))?;
        asked.say_missing();
    }
    Ok(listed)
}
