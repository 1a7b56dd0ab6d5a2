//! The list of runs, as a table or as JSON lines.

use crate::cli::Args;
use crate::line::{HEADS, Line};
use crate::select::{batch, explain_emptiness, fault, is_wanted};
use crate::{detail, log, wait, watch};
use run_common::cli::operands::{Operand, open_runs};
use run_common::cli::out::{Out, Table, Tint};
use run_common::error::{Error, Exit};
use run_common::message::complain;
use run_common::parallel::in_order;
use run_common::rundir::find::{Found, visit};
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::open::RunDir;
use run_common::rundir::record::document_in;
use run_common::rundir::status::Status;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Prints what was asked for.
pub(crate) fn run(args: &Args, out: &mut Out) -> Result<Exit, Error> {
    let observer = Observer::new(args.stale_after);
    if let Some(which) = args.log {
        return log::print(args, which, &observer, out);
    }
    if let Some(period) = args.watch {
        return watch::run(args, period, out);
    }
    if args.wait {
        return wait::run(args, &observer, out);
    }
    if let [operand] = args.runs.as_slice()
        && operand != "-"
        && !args.json
        && !args.full
        && let Operand::Run(run) = Operand::named(operand, &args.runs_dir.path())?
    {
        let run = observer.observe(&run)?;
        if !is_wanted(&run, args) {
            return Ok(Exit::No);
        }
        return detail::print(&run, out);
    }
    let listed =
        if args.json || args.full { as_json(args, &observer, out)? } else { as_table(args, &observer, out)? };
    if listed.shown == 0 && listed.exit == Exit::Ok {
        if args.runs.is_empty() {
            explain_emptiness(args, listed.hidden, listed.unlike);
        }
        if !args.status.is_empty() {
            return Ok(Exit::No);
        }
    }
    Ok(listed.exit)
}

/// Bytes of a line of JSON that there is room for at first.
const LINE: usize = 4 << 10;

/// What became of a list.
struct Listed {
    exit: Exit,
    shown: usize,
    hidden: usize,
    /// Directories at the top that are no runs and hold none.
    unlike: usize,
}

/// Looks at runs, many at once, and hands what `make` makes of each to `take` in their order.
fn look<T: Send>(
    args: &Args,
    observer: &Observer,
    make: impl Fn(&Observed, bool) -> Result<T, Error> + Sync,
    mut take: impl FnMut(T) -> Result<(), Error>,
) -> Result<Listed, Error> {
    let work = |run: &RunDir| {
        let run = observer.observe(run)?;
        let wanted = is_wanted(&run, args);
        Ok((wanted, make(&run, wanted)?))
    };
    let mut listed = Listed { exit: Exit::Ok, shown: 0, hidden: 0, unlike: 0 };
    let mut unlike = 0;
    let mut note = |seen: Result<(bool, T), Error>| match seen {
        Ok((wanted, made)) => {
            *(if wanted { &mut listed.shown } else { &mut listed.hidden }) += 1;
            take(made)
        }
        Err(error) => {
            listed.exit = listed.exit.max(error.exit());
            complain(&error);
            Ok(())
        }
    };
    let runs_dir = args.runs_dir.path();
    if args.runs.is_empty() {
        visit(&runs_dir, work, |found| match found {
            Found::Run(_, seen) => note(seen),
            found => match fault(found, &runs_dir)? {
                Some(error) => note(Err(error)),
                None => {
                    unlike += 1;
                    Ok(())
                }
            },
        })?;
    } else {
        let runs = open_runs(&args.runs, &runs_dir, args.null).collect();
        in_order(runs, |run: Result<RunDir, Error>| work(&run?), note)?;
    }
    listed.unlike = unlike;
    Ok(listed)
}

fn as_json(args: &Args, observer: &Observer, out: &mut Out) -> Result<Listed, Error> {
    let spare = Spare::default();
    let make = |run: &Observed, wanted: bool| match wanted {
        true if args.full => json_line_in(spare.take(), &Line::full(run)?).map(Some),
        true => json_line_in(spare.take(), &Line::of(run)).map(Some),
        false => Ok(None),
    };
    look(args, observer, make, |line| match line {
        Some(line) => out.bytes(&line).map(|()| spare.give_back(line)),
        None => Ok(()),
    })
}

/// The memory of lines that were printed, for further ones: threads that free what others allocated wait
/// for each other.
#[derive(Default)]
struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    fn take(&self) -> Vec<u8> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(LINE))
    }

    fn give_back(&self, line: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// A row of the table, or what is left of one that is not shown.
pub(crate) struct Row {
    pub(crate) batch: Option<PathBuf>,
    pub(crate) status: Status,
    pub(crate) cells: Option<Vec<(String, Tint)>>,
}

impl Row {
    pub(crate) fn of(run: &Observed, args: &Args, runs_dir: &Path, wanted: bool) -> Self {
        let batch = if args.runs.is_empty() { batch(&run.run, runs_dir) } else { None };
        let mut cells = wanted.then(|| Line::of(run).cells(&args.columns));
        if let (Some(cells), Some(_)) = (&mut cells, &batch) {
            cells[0].0.insert_str(0, "  ");
        }
        Self { batch, status: run.status(), cells }
    }
}

fn as_table(args: &Args, observer: &Observer, out: &mut Out) -> Result<Listed, Error> {
    let runs_dir = args.runs_dir.path();
    let mut rows = Vec::new();
    let make = |run: &Observed, wanted| Ok(Row::of(run, args, &runs_dir, wanted));
    let listed = look(args, observer, make, |row| {
        rows.push(row);
        Ok(())
    })?;
    if listed.shown > 0 {
        out.table(&table(rows))?;
    }
    Ok(listed)
}

/// Makes the table: runs of a batch below its name and how many of its runs do what.
pub(crate) fn table(rows: Vec<Row>) -> Table {
    let mut table = Table::new(HEADS);
    let mut rows = rows.into_iter().peekable();
    while let Some(first) = rows.next() {
        let batch = first.batch.clone();
        let mut together = vec![first];
        while let Some(row) = rows.next_if(|row| batch.is_some() && row.batch == batch) {
            together.push(row);
        }
        if let Some(batch) = batch.filter(|_| together.iter().any(|row| row.cells.is_some())) {
            table.row(vec![(format!("{}/  {}", batch.display(), counts(&together)), Tint::None)]);
        }
        together.into_iter().filter_map(|row| row.cells).for_each(|cells| table.row(cells));
    }
    table
}

/// Says how many of some runs do what.
pub(crate) fn counts(rows: &[Row]) -> String {
    let count = |status| rows.iter().filter(|row| row.status == status).count();
    let counts = Status::ALL.map(|status| (count(status), status));
    let shown =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, status)| format!("{count} {status}"));
    shown.collect::<Vec<_>>().join(", ")
}

/// Returns a line of JSON.
pub(crate) fn json_line(line: &Line) -> Result<Vec<u8>, Error> {
    json_line_in(Vec::new(), line)
}

/// Like [`json_line`], in memory that is there.
fn json_line_in(memory: Vec<u8>, line: &Line) -> Result<Vec<u8>, Error> {
    document_in(memory, line).map_err(|error| Error::new(Exit::System, "cannot write JSON").because(error))
}
