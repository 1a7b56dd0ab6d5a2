//! Gathers from the records of a run what its timeline is made of.

use super::receipt::{Micros, Receipt};
use super::timeline::{Clock, Facts, Millis, Progress, Row, Span, timeline};
use crate::fault::Fault;
use crate::run::Run;
use run_checkpoint::{Checkpoint, Program, discover};
use run_common::cost::{Rates, of_attempt};
use run_common::rundir::attempts::{Attempt, checkpoint_of};
use run_common::rundir::launch::Launch;
use run_common::rundir::sample::Beat;
use run_common::rundir::status::Status;
use run_common::time::Timestamp;
use run_metrics::names::Data;
use run_metrics::of_run;
use run_metrics::read::{RowCounts, marked_rows};
use run_metrics::resumptions::Resumptions;
use run_metrics::row::MetricRow;
use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

/// Silence of this length is a stall, in milliseconds, unless the attempt had a `--stall-timeout`.
const STALL: Millis = 600_000;

/// What a run did, and what its time and money went to.
#[derive(Debug)]
pub(crate) struct Goodput {
    /// The spans of the run, without gaps.
    pub(crate) spans: Vec<Span>,
    pub(crate) receipt: Receipt,
    /// When its rows were written.
    pub(crate) clock: Clock,
    /// Number of rows that later ones superseded.
    pub(super) lost_rows: usize,
    pub(super) faults: Vec<Fault>,
}

/// Reads the records of a run.
pub(crate) fn goodput(run: &Run, rates: Option<&Rates>) -> Goodput {
    let (rows, faults) = rows(run, &mut |_, _| {});
    Goodput { faults, ..of_rows(run, rows, rates) }
}

/// Finds what a run did from its records and its rows, by attempt.
pub(crate) fn of_rows(run: &Run, mut rows: Vec<Vec<Row>>, rates: Option<&Rates>) -> Goodput {
    let layout = run.seen.run.layout();
    let launch = Launch::read(layout).ok().flatten();
    let beats = Beat::all(layout).unwrap_or_default();
    let attempts: Vec<&Attempt> = run.attempts.iter().collect();
    rows.resize_with(attempts.len(), Vec::new);
    let lost_rows = rows.iter().flatten().filter(|row| !row.counts).count();
    let saves = saves(run);
    let mut before = 0;
    let mut facts: Vec<Facts> = Vec::new();
    for (place, attempt) in attempts.iter().enumerate() {
        let next = attempts.get(place + 1).map(|next| next.start.start_time.millis());
        let start = attempt.start.start_time.millis();
        let end = end_of(run, attempt, next, &beats);
        let of_attempt = std::mem::take(&mut rows[place]);
        let queued = launch.as_ref().filter(|launch| launch.attempts as usize == place);
        let is_own = |beat: &&Beat| (start..=end).contains(&beat.time.millis());
        let progress = beats.iter().filter(is_own).map(|beat| Progress {
            time: beat.time.millis(),
            rows: beat
                .life
                .rows
                .map(|rows| usize::try_from(rows).unwrap_or(usize::MAX).saturating_sub(before)),
            last_output: beat.life.last_output.map(Timestamp::millis),
        });
        let stalls = attempt.end.as_ref().and_then(|end| end.reason.as_deref());
        facts.push(Facts {
            time: start..end,
            queued: queued.map(|launch| launch.time.millis()),
            progress: progress.collect(),
            saves: saves.iter().filter(|save| save.start >= start && save.end <= end).cloned().collect(),
            stall: stall_of(attempt),
            has_stalled: stalls.is_some_and(|reason| reason.starts_with("stall timeout")),
            rows: Vec::new(),
        });
        before += of_attempt.len();
        facts[place].rows = of_attempt;
    }
    let waits = run.seen.status() == Status::Queued;
    let waiting = launch
        .filter(|launch| waits && launch.attempts as usize == attempts.len())
        .map(|launch| launch.time.millis()..Timestamp::now().millis());
    let spans = timeline(&facts, waiting.filter(|waiting| waiting.start <= waiting.end));
    let prices: Vec<Option<Micros>> =
        attempts.iter().zip(&facts).map(|(attempt, facts)| price(attempt, &facts.time, rates)).collect();
    let receipt = Receipt::of(&spans, &prices);
    let clock = Clock::of(&facts);
    Goodput { spans, receipt, clock, lost_rows, faults: Vec::new() }
}

/// Returns from which length on silence is a stall: that of `--stall-timeout`, where the attempt had such a limit.
fn stall_of(attempt: &Attempt) -> Millis {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float that does not fit becomes the greatest number"
    )]
    let limit = attempt.start.options.stall_timeout_s.map(|seconds| (seconds * 1000.0) as Millis);
    limit.filter(|&limit| limit > 0).unwrap_or(STALL)
}

/// Returns when an attempt ended, as far as is known; a running one, now.
fn end_of(run: &Run, attempt: &Attempt, next: Option<Millis>, beats: &[Beat]) -> Millis {
    let start = attempt.start.start_time.millis();
    if let Some(end) = &attempt.end {
        return end.end_time.millis().max(start);
    }
    #[expect(clippy::cast_possible_truncation, reason = "durations are far below 2^63 milliseconds")]
    let lasted = |seconds: f64| (seconds * 1000.0).round() as Millis;
    let until = match next {
        Some(next) => {
            let times = beats.iter().map(|beat| beat.time.millis());
            times.filter(|time| (start..next).contains(time)).max().unwrap_or(start)
        }
        None => run.seen.duration_s().map_or(start, |seconds| start.saturating_add(lasted(seconds))),
    };
    until.max(start)
}

/// Returns the price of an attempt.
fn price(attempt: &Attempt, time: &Range<Millis>, rates: Option<&Rates>) -> Option<Micros> {
    #[expect(clippy::cast_precision_loss, reason = "durations are far below 2^53 milliseconds")]
    let seconds = (time.end - time.start) as f64 / 1000.0;
    let usd = match rates {
        Some(rates) => of_attempt(&attempt.start, seconds, rates),
        None => attempt.end.as_ref().and_then(|end| end.cost_usd),
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float that does not fit becomes the greatest number"
    )]
    usd.filter(|usd| usd.is_finite() && (0.0..1e15).contains(usd)).map(|usd| (usd * 1e6).round() as Micros)
}

/// Reads all rows; returns those of each attempt, in the order of the files. Calls `each` for every row, with whether
/// it counts.
pub(crate) fn rows(run: &Run, each: &mut dyn FnMut(&MetricRow, bool)) -> (Vec<Vec<Row>>, Vec<Fault>) {
    let mut rows: Vec<Vec<Row>> = Vec::new();
    let Some(source) = of_run::source(run.seen.run.layout()) else { return (rows, Vec::new()) };
    let mut validations = Validations::default();
    let read = marked_rows(&source, &Resumptions::of(&run.attempts), &mut |row, attempt, counts| {
        each(&row, counts);
        let is_validation = validations.have(&row);
        if rows.len() < attempt {
            rows.resize_with(attempt, Vec::new);
        }
        rows[attempt - 1].push(Row { counts, is_validation });
    });
    let read = read.map(|counts| RowCounts { superseded: 0, ..counts }); // the report itself tells of these
    (rows, run.faults(read))
}

/// Tells the rows that have metrics of validation data and none of training data, whatever else they have, such as an
/// epoch, a time or a learning rate. Most rows have the names of the row before.
#[derive(Debug, Default)]
pub(crate) struct Validations {
    before: Vec<String>,
    is_one: bool,
    known: HashMap<String, Option<Data>>,
}

impl Validations {
    pub(crate) fn have(&mut self, row: &MetricRow) -> bool {
        if row.numbers().map(|(name, _)| name).eq(self.before.iter()) {
            return self.is_one;
        }
        self.before = row.numbers().map(|(name, _)| name.to_owned()).collect();
        let mut has = |data: Data| {
            self.before.iter().any(|name| {
                let known = self.known.get(name).copied();
                known.unwrap_or_else(|| *self.known.entry(name.clone()).or_insert_with(|| Data::of(name)))
                    == Some(data)
            })
        };
        self.is_one = has(Data::Validation) && !has(Data::Training);
        self.is_one
    }
}

/// Returns when the checkpoints of a run were written, as far as the file system knows: from the birth of the file
/// or directory to its last modification. Files that are overwritten in place have no known beginning.
fn saves(run: &Run) -> Vec<Range<Millis>> {
    let layout = run.seen.run.layout();
    let program = if run.seen.status().has_ended() { Program::Ended } else { Program::Lives };
    let found = discover(layout, checkpoint_of(&run.meta, layout).as_ref(), program).unwrap_or_default();
    let save = |one: &Checkpoint| {
        let born =
            fs::symlink_metadata(layout.root().join(&one.path)).and_then(|file| file.created()).ok()?;
        let end = one.modified().millis();
        Some(millis(born)?.min(end)..end)
    };
    found.iter().filter(|one| one.is_complete() && one.is_named).filter_map(save).collect()
}

fn millis(time: SystemTime) -> Option<Millis> {
    Millis::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}
