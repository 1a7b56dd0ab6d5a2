//! The data of the page, as JSON: what its program reads.

use super::axes::Axes;
use super::media::{Picture, ROOM, embedded};
use super::numbers::{array, number, short};
use super::resources::{self, RESOURCES};
use super::row_places::RowPlaces;
use crate::curve::{Bucket, Curve};
use crate::curves::{Gathering, Options};
use crate::export::about;
use crate::fault::Fault;
use crate::figures::{Figures, main_metrics};
use crate::goodput::gather::{Goodput, of_rows, rows};
use crate::goodput::receipt::Receipt;
use crate::goodput::timeline::{Kind, Row, Span};
use crate::goodput::{in_dollars, in_seconds, in_words};
use crate::run::Run;
use crate::runs::Runs;
use crate::settings::{Environment, environment};
use crate::table;
use run_common::cost::Rates;
use run_common::error::Exit;
use run_common::json::json_number;
use run_common::palette::{DASHES, HUES, css};
use run_common::pipeline::large_in_order;
use run_common::rundir::log_end::last_output;
use run_common::text::cut;
use run_common::time::Timestamp;
use run_metrics::names::{Better, is_bookkeeping};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::convert::Infallible;

/// Maximum number of lines at the end of a log, and of characters of a line.
const LINES: usize = 25;
const WIDTH: usize = 300;

/// Maximum number of spans of a timeline: more than a screen has room for.
const SPANS: usize = 400;

/// Number of parts of a long timeline in each of which one thing is shown.
const SLOTS: i64 = 200;

/// A run of the page.
struct PageRun {
    json: String,
    /// Its metrics, in the order of their first appearance.
    metrics: Vec<String>,
    /// What its time and money went to; none without attempts.
    receipt: Option<Receipt>,
}

/// Returns the data, with at most `buckets` points for each curve, and the worst exit status.
pub(super) fn of_runs(
    runs: &Runs,
    options: &Options,
    rates: Option<&Rates>,
    figures: &[Figures],
    buckets: usize,
) -> (String, Exit) {
    let drawn = read_options(options);
    let chosen = options.metrics.names(|name| figures.iter().any(|figures| figures.has(name)));
    let is_drawn = |name: &String| chosen.is_empty() || chosen.contains(name);
    let mut exit = runs.exit;
    let mut all: Vec<PageRun> = Vec::new();
    let take = |(run, faults): (PageRun, Vec<Fault>)| -> Result<(), Infallible> {
        exit = Fault::say_all(&faults, exit);
        all.push(run);
        Ok(())
    };
    let environments: Vec<Environment> = runs.all.iter().map(environment).collect();
    let same = same_packages(&environments);
    let room = ROOM / runs.all.len().max(1);
    let reading = Reading { options: &drawn, rates, buckets, is_drawn: &is_drawn, same: &same, room };
    let Ok(()) = large_in_order(
        runs.all.iter().zip(environments),
        |(run, environment)| reading.of_run(run, environment),
        take,
    );
    let has = |metric: &str| all.iter().any(|run| run.metrics.iter().any(|name| name == metric));
    let exit = exit.max(options.say_missing(runs, has));
    let frame = table::all_columns(&runs.all, figures);
    let mut sum = Receipt::default();
    let mut receipts = Vec::new();
    for (run, made) in runs.all.iter().zip(&all) {
        if let Some(receipt) = &made.receipt {
            sum.add(receipt);
            receipts.push(json!([run.name, of_receipt(receipt)]));
        }
    }
    let mut whole = of_receipt(&sum);
    whole["words"] = in_words(&sum).into();
    let mut head = head(options);
    head["metrics"] = metrics(&all, figures).into();
    head["same_packages"] = json!(same);
    head["receipts"] = receipts.into();
    head["sum"] = whole;
    // The runs hold many numbers, so each run was serialized as soon as it was read.
    let head = head.to_string();
    let head = head.strip_suffix('}').unwrap_or(&head);
    let runs: Vec<String> = all.into_iter().map(|run| run.json).collect();
    (format!("{head},{},\"runs\":[{}]}}\n", frame.members(), runs.join(",\n")), exit)
}

/// Returns the metrics to draw, the most telling ones first, and the resources.
fn metrics(all: &[PageRun], figures: &[Figures]) -> Vec<Value> {
    let main = main_metrics(figures);
    let mut known = HashSet::new();
    let names: Vec<&String> =
        all.iter().flat_map(|run| &run.metrics).filter(|name| known.insert(*name)).collect();
    let (first, rest): (Vec<&String>, Vec<&String>) = names.into_iter().partition(|name| main.contains(name));
    let metric = |name: &String| of_metric(name, is_bookkeeping(name) && !main.contains(name));
    first.into_iter().chain(rest).map(metric).chain(RESOURCES.map(of_resource)).collect()
}

fn of_metric(name: &str, is_bookkeeping: bool) -> Value {
    let kind = if is_bookkeeping { "book" } else { "metric" };
    json!({"name": name, "kind": kind, "more": Better::of(name).map(Better::is_more), "unit": null})
}

fn of_resource((name, unit): (&str, &str)) -> Value {
    json!({"name": name, "kind": "resource", "more": null, "unit": unit})
}

/// Returns the metrics of a run, as those of a page.
pub(crate) fn metrics_of_run(curves: &[Curve]) -> Vec<Value> {
    curves.iter().map(|curve| of_metric(&curve.metric, is_bookkeeping(&curve.metric))).collect()
}

/// Returns the data of a page that asks for the details of its runs.
pub(crate) fn of_live(options: &Options, live: Value, columns: &[Value], runs: &[&Value]) -> String {
    let mut head = head(options);
    head["live"] = live;
    head["metrics"] = RESOURCES.map(of_resource).to_vec().into();
    head["columns"] = columns.into();
    head["rows"] = json!([]);
    head["runs"] = json!(runs);
    head.to_string()
}

/// Returns what every page has.
fn head(options: &Options) -> Value {
    let way = way(options);
    json!({
        "created": Timestamp::now(),
        "tool_version": env!("CARGO_PKG_VERSION"),
        "palette": HUES.map(css),
        "dashes": DASHES,
        "kinds": Kind::ALL.map(Kind::name),
        "way": way.unwrap_or("step"),
        "x": options.x.filter(|_| way.is_none()),
        "smooth": options.smooth,
        "log": options.log,
        "log_x": options.log_x,
        "live": null,
        "metrics": [],
        "same_packages": {},
        "receipts": [],
        "sum": null,
    })
}

/// Returns how curves lie along the horizontal axis, if not over steps: the page itself draws them so.
fn way<'a>(options: &Options<'a>) -> Option<&'a str> {
    options.x.filter(|x| ["epoch", "time"].contains(x))
}

/// Returns the options to read curves with: the page smooths them, and draws them over steps, epochs and times.
pub(crate) fn read_options<'a>(options: &Options<'a>) -> Options<'a> {
    let x = options.x.filter(|_| way(options).is_none());
    Options { metrics: options.metrics.clone(), x, smooth: None, ..*options }
}

/// Returns the packages of which all runs with packages have the same versions: a page names them once.
fn same_packages(environments: &[Environment]) -> Map<String, Value> {
    let mut known = environments.iter().map(|one| &one.packages).filter(|packages| !packages.is_empty());
    let mut same = known.next().cloned().unwrap_or_default();
    for packages in known {
        same.retain(|name, version| packages.get(name) == Some(version));
    }
    same
}

/// How runs are read for the page.
struct Reading<'a> {
    options: &'a Options<'a>,
    rates: Option<&'a Rates>,
    /// Maximum number of points of a curve.
    buckets: usize,
    is_drawn: &'a (dyn Fn(&String) -> bool + Sync),
    /// The packages that need no mention.
    same: &'a Map<String, Value>,
    /// Bytes of pictures of a run.
    room: usize,
}

impl Reading<'_> {
    /// Reads the rows of a run once, for its curves and its timeline.
    fn of_run(&self, run: &Run, mut environment: Environment) -> (PageRun, Vec<Fault>) {
        let (mut curves, rows, pictures, faults) = read_rows(run, self.options, self.buckets);
        curves.retain(|curve| (self.is_drawn)(&curve.metric));
        let goodput = of_rows(run, rows, self.rates);
        let has_packages = !environment.packages.is_empty();
        environment.packages.retain(|name, _| !self.same.contains_key(name));
        let made = PageRun {
            json: Parts {
                goodput: &goodput,
                curves: &curves,
                resources: &resources::curves(run.seen.run.layout()),
                environment,
                has_packages,
                media: of_pictures(&pictures, embedded(&pictures, run.seen.run.layout().root(), self.room)),
            }
            .json(run),
            metrics: curves.into_iter().map(|curve| curve.metric).collect(),
            receipt: Some(goodput.receipt).filter(|_| !goodput.spans.is_empty()),
        };
        (made, faults)
    }
}

/// Reads all rows of a run: its curves, the rows of each attempt, and what was wrong.
fn read_rows(
    run: &Run,
    options: &Options,
    buckets: usize,
) -> (Vec<Curve>, Vec<Vec<Row>>, Vec<Picture>, Vec<Fault>) {
    let mut gathering = Gathering::new(options, buckets, run);
    let mut places = RowPlaces::default();
    let (rows, faults) = rows(run, &mut |row, counts| {
        let place = places.next(row);
        if counts {
            gathering.add_beside(row, place);
        }
    });
    (gathering.curves(run), rows, places.pictures, faults)
}

/// What the page shows of a run.
pub(crate) struct Parts<'a> {
    pub(crate) goodput: &'a Goodput,
    pub(crate) curves: &'a [Curve],
    pub(crate) resources: &'a [Curve],
    pub(crate) environment: Environment,
    /// Whether packages were recorded, some of which may be named elsewhere.
    pub(crate) has_packages: bool,
    /// The pictures, as of [`of_pictures`].
    pub(crate) media: Vec<Value>,
}

/// Returns pictures as the page has them, given the places of some and where the page finds these.
pub(crate) fn of_pictures(pictures: &[Picture], sources: Vec<(usize, String)>) -> Vec<Value> {
    let picture = |(place, source): (usize, String)| {
        let Picture { name, step, .. } = pictures.get(place)?;
        Some(json!({"name": name, "step": json_number(*step), "src": source}))
    };
    sources.into_iter().filter_map(picture).collect()
}

impl Parts<'_> {
    /// Returns the run as JSON.
    pub(crate) fn json(self, run: &Run) -> String {
        let Self { goodput, curves, resources, environment, has_packages, media } = self;
        let layout = run.seen.run.layout();
        let started = run.attempts.iter().next().map(|first| first.start.start_time.millis());
        let first_time = || {
            let buckets = curves.iter().chain(resources).flat_map(|curve| &curve.buckets);
            buckets.map(|bucket| bucket.beside().time).reduce(f64::min)
        };
        let start = started.map_or_else(|| first_time().unwrap_or(f64::NAN), in_seconds);
        let mut log = last_output(layout, &run.meta, run.seen.recorded.attempts(), LINES).unwrap_or_default();
        for line in &mut log {
            *line = cut(line, WIDTH).into_owned();
        }
        let mut head = about(run, environment.facts);
        head.insert("packages".to_owned(), json!(Some(environment.packages).filter(|_| has_packages)));
        head.insert("timeline".to_owned(), seen(&goodput.spans).iter().map(of_span).collect());
        head.insert("log".to_owned(), log.into());
        head.insert("media".to_owned(), json!(media));
        let head = Value::from(head).to_string();
        let mut json = head.strip_suffix('}').unwrap_or(&head).to_owned();
        json.push_str(",\"start\":");
        number(&mut json, start);
        json.push_str(",\"curves\":[");
        let mut axes = Axes::new(start, &goodput.clock);
        let all =
            curves.iter().map(|curve| (curve, false)).chain(resources.iter().map(|curve| (curve, true)));
        for (place, (curve, is_resource)) in all.enumerate() {
            if place > 0 {
                json.push(',');
            }
            let axis = axes.of(curve, is_resource);
            write_curve(&mut json, curve, axis, if is_resource { "resource" } else { "metric" });
        }
        json.push_str("],\"axes\":");
        axes.write(&mut json);
        json.push('}');
        json
    }
}

/// A column of a curve: its name, its value for a bucket, and whether it is written.
type Column = (&'static str, fn(&Bucket) -> f64, bool);

/// Appends a curve: its values at the places of an axis, and the points at which some were not finite.
fn write_curve(json: &mut String, curve: &Curve, axis: usize, kind: &str) {
    let head = json!({"metric": curve.metric, "kind": kind, "axis": axis, "rows": curve.rows, "rows_each": curve.rows_each});
    let head = head.to_string();
    json.push_str(head.strip_suffix('}').unwrap_or(&head));
    let is_single = curve.rows_each == 1;
    let columns: [Column; 3] = [
        ("min", |bucket| bucket.least, true),
        ("max", |bucket| bucket.greatest, !is_single),
        ("mean", Bucket::mean, !is_single),
    ];
    for (name, of, is_written) in columns {
        json.push_str(",\"");
        json.push_str(name);
        json.push_str("\":");
        if is_written {
            array(json, curve.buckets.iter().map(|bucket| short(of(bucket))));
        } else {
            json.push_str("null");
        }
    }
    let nonfinite: Vec<usize> =
        (0..curve.buckets.len()).filter(|&place| curve.buckets[place].nonfinite > 0).collect();
    json.push_str(",\"nonfinite\":");
    json.push_str(&Value::from(nonfinite).to_string());
    json.push('}');
}

/// Joins neighbours that are too short to be seen, if a timeline has many spans: to what the run did for most of the
/// time.
fn seen(spans: &[Span]) -> Vec<Span> {
    let (Some(first), Some(last)) = (spans.first(), spans.last()) else { return Vec::new() };
    if spans.len() <= SPANS {
        return spans.to_vec();
    }
    let length = |span: &Span| span.time.end - span.time.start;
    let least = (last.time.end - first.time.start) / SLOTS;
    let mut joined: Vec<Span> = Vec::new();
    let mut short: Vec<&Span> = Vec::new();
    let end_short = |short: &mut Vec<&Span>, joined: &mut Vec<Span>| {
        let (Some(first), Some(last)) = (short.first(), short.last()) else { return };
        let time = |kind: &Kind| {
            short.iter().filter(|span| span.kind == *kind).map(|span| length(span)).sum::<i64>()
        };
        let kind = Kind::ALL.into_iter().max_by_key(time).unwrap_or(first.kind);
        joined.push(Span { time: first.time.start..last.time.end, kind, attempt: last.attempt });
        short.clear();
    };
    for span in spans {
        let is_long = length(span) >= least;
        let is_full = short.first().is_some_and(|first| span.time.end - first.time.start > least);
        if is_long || is_full {
            end_short(&mut short, &mut joined);
        }
        if is_long {
            joined.push(span.clone());
        } else {
            short.push(span);
        }
    }
    end_short(&mut short, &mut joined);
    joined
}

/// Returns a span: what the run did, from when to when in seconds since 1970, and in which attempt.
fn of_span(span: &Span) -> Value {
    json!([
        span.kind.name(),
        in_seconds(span.time.start),
        in_seconds(span.time.end),
        span.attempt.map(|place| place + 1)
    ])
}

pub(crate) fn of_receipt(receipt: &Receipt) -> Value {
    let seconds: Map<String, Value> = Kind::ALL
        .iter()
        .map(|kind| (kind.name().to_owned(), in_seconds(receipt.time_of(*kind)).into()))
        .collect();
    json!({
        "wall": in_seconds(receipt.wall()),
        "s": seconds,
        "usd": receipt.money().map(in_dollars),
        "lost_usd": receipt.money_of(Kind::Lost).map(in_dollars),
        "trained_usd": receipt.money_of(Kind::Training).map(in_dollars),
        "trained": receipt.trained(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_timeline_keeps_its_ends_and_its_long_spans() {
        let span = |start: i64, end: i64, kind| Span { time: start..end, kind, attempt: Some(0) };
        let mut spans = vec![span(0, 5000, Kind::Training), span(5000, 9000, Kind::Lost)];
        for place in 0..1000 {
            let start = 9000 + place * 20;
            spans.extend([
                span(start, start + 15, Kind::Training),
                span(start + 15, start + 20, Kind::Saving),
            ]);
        }
        let seen = seen(&spans);
        assert!((SPANS / 4..SPANS).contains(&seen.len()) && seen[..2] == spans[..2], "{}", seen.len());
        assert!(seen[2..].iter().all(|span| span.kind == Kind::Training));
        assert!(seen.windows(2).all(|pair| pair[0].time.end == pair[1].time.start));
        assert_eq!(seen.last().map(|last| last.time.end), Some(29_000));
    }
}
