//! What the time and the money of runs went to: training, or a queue, a start, a stall, work that was repeated.

pub(crate) mod gather;
pub(crate) mod receipt;
pub(crate) mod timeline;

use crate::fault::Fault;
use crate::frame::{Frame, TableFormat};
use crate::runs::Runs;
use crate::scalar::Scalar;
use gather::{Goodput, goodput};
use receipt::{Micros, Receipt};
use run_common::cli::out::Out;
use run_common::cost::Rates;
use run_common::error::{Error, Exit};
use run_common::figures::money;
use run_common::time::{Timestamp, human_seconds};
use serde_json::{Value, json};
use timeline::{Kind, Millis, Span};

/// The columns by what they tell: where a terminal has no room, the parts of the money are dropped first, and then the
/// last of these.
const RANKS: [&str; 13] = [
    "trained_percent",
    "usd",
    "status",
    "wall_s",
    "lost_s",
    "stalled_s",
    "training_s",
    "queued_s",
    "idle_s",
    "starting_s",
    "saving_s",
    "evaluating_s",
    "lost_rows",
];

/// Prints a row for each run; a table for people ends with the sum, and what part of it trained; an object
/// of JSON has the timeline, too.
pub(crate) fn print(
    runs: &Runs,
    format: TableFormat,
    rates: Option<&Rates>,
    out: &mut Out,
) -> Result<Exit, Error> {
    let all: Vec<Goodput> = runs.all.iter().map(|run| goodput(run, rates)).collect();
    let exit = all.iter().fold(runs.exit, |exit, one| Fault::say_all(&one.faults, exit));
    let mut sum = Receipt::default();
    for one in &all {
        sum.add(&one.receipt);
    }
    let is_for_people = matches!(format, TableFormat::Table | TableFormat::Md);
    let mut receipts: Vec<&Receipt> = all.iter().map(|one| &one.receipt).collect();
    let mut names: Vec<String> = runs.all.iter().map(|run| run.name.clone()).collect();
    let mut statuses: Vec<Scalar> =
        runs.all.iter().map(|run| Scalar::Text(run.seen.status().to_string())).collect();
    let mut lost: Vec<usize> = all.iter().map(|one| one.lost_rows).collect();
    let mut paths: Vec<Scalar> = runs.all.iter().map(|run| Scalar::Text(run.path())).collect();
    if is_for_people && all.len() > 1 {
        receipts.push(&sum);
        names.push("all".to_owned());
        statuses.push(Scalar::Empty);
        lost.push(lost.iter().sum());
        paths.push(Scalar::Empty);
    }
    let mut frame = Frame::default();
    frame.column("run", false, names.into_iter().map(Scalar::Text));
    frame.column("status", false, statuses.into_iter());
    frame.column("wall_s", false, receipts.iter().map(|receipt| seconds(receipt.wall())));
    for kind in Kind::ALL {
        let values = receipts.iter().map(|receipt| seconds(receipt.time_of(kind)));
        frame.column(format!("{}_s", kind.name()), sum.time_of(kind) == 0, values);
    }
    frame.column("lost_rows", lost.iter().all(|&rows| rows == 0), lost.iter().copied().map(Scalar::count));
    let has_no_price = sum.money().is_none();
    frame.column("usd", has_no_price, receipts.iter().map(|receipt| dollars(receipt.money())));
    for kind in Kind::ALL.into_iter().filter(|kind| ![Kind::Queued, Kind::Idle].contains(kind)) {
        let is_extra = has_no_price || sum.money_of(kind) == Some(0);
        let values = receipts.iter().map(|receipt| dollars(receipt.money_of(kind)));
        frame.column(format!("{}_usd", kind.name()), is_extra, values);
    }
    let percent = receipts.iter().map(|receipt| Scalar::number(receipt.trained().map(f64::round)));
    frame.column("trained_percent", false, percent);
    frame.column("path", true, paths.into_iter());
    frame.rank_by(&RANKS);
    if format == TableFormat::Json {
        for (mut object, one) in frame.objects().zip(&all) {
            object.insert("timeline".to_owned(), one.spans.iter().map(span).collect());
            out.json(&object)?;
        }
        return Ok(exit);
    }
    frame.print(format, out)?;
    if is_for_people && let Some(words) = in_words(&sum) {
        out.bytes(format!("\n{words}\n").as_bytes())?;
    }
    Ok(exit)
}

/// Says what part of the money trained, else of the time.
pub(crate) fn in_words(receipt: &Receipt) -> Option<String> {
    let whole = match receipt.money() {
        Some(micros) if micros > 0 => format!("${}", money(in_dollars(micros))),
        _ => human_seconds(in_seconds(receipt.spent())),
    };
    Some(format!("{:.0} % of {whole} trained", receipt.trained()?))
}

/// Returns a span for JSON; attempts count from 1.
fn span(span: &Span) -> Value {
    let time = |millis| Timestamp::from_millis(millis);
    json!({
        "kind": span.kind.name(),
        "from": time(span.time.start),
        "to": time(span.time.end),
        "attempt": span.attempt.map(|place| place + 1),
    })
}

#[expect(clippy::cast_precision_loss, reason = "times of centuries fit a double to the millisecond")]
pub(crate) fn in_seconds(millis: Millis) -> f64 {
    millis as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "a billion dollars fit a double to the millionth")]
pub(crate) fn in_dollars(micros: Micros) -> f64 {
    micros as f64 / 1e6
}

fn seconds(millis: Millis) -> Scalar {
    Scalar::Seconds(in_seconds(millis))
}

fn dollars(micros: Option<Micros>) -> Scalar {
    micros.map_or(Scalar::Empty, |micros| Scalar::Dollars(in_dollars(micros)))
}
