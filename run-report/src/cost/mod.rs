//! The costs of runs: all attempts at the price of their devices, the money that the program logged, and the
//! answer of a command.

mod command;
mod logged;

use crate::fault::Fault;
use crate::frame::{Frame, Sort, TableFormat};
use crate::run::Run;
use crate::runs::Runs;
use crate::scalar::Scalar;
use command::{Answer, ask};
use logged::logged;
use run_checkpoint::save_times;
use run_common::cli::out::Out;
use run_common::cli::table::Tint;
use run_common::cost::{Rates, Spent, spent};
use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};
use run_common::rundir::attempts::Attempt;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The columns by what they tell: where a terminal has no room, the last of these are dropped first.
const RANKS: [&str; 15] = [
    "unknown_attempts",
    "usd",
    "status",
    "wasted_usd",
    "compute_usd",
    "logged_usd",
    "command_usd",
    "duration_s",
    "device_hours",
    "gpu_hours",
    "wasted_s",
    "attempts",
    "balance",
    "calls",
    "devices",
];

/// The options of `--cost`.
pub(crate) struct Options<'a> {
    pub(crate) format: TableFormat,
    /// The columns; empty for the default ones.
    pub(crate) columns: Vec<String>,
    pub(crate) sort: Option<Sort<'a>>,
    /// Prices of devices, if known.
    pub(crate) rates: Option<Rates>,
    /// The command that reports further costs, and its time limit.
    pub(crate) command: Option<(&'a str, Duration)>,
}

/// The cost of a run.
#[derive(Default)]
struct Cost {
    spent: Spent,
    logged: Option<f64>,
    asked: Option<Answer>,
}

impl Cost {
    /// Returns the sum of the known costs.
    fn usd(&self) -> Option<f64> {
        let parts = [self.spent.usd, self.logged, self.asked.as_ref().map(|answer| answer.usd)];
        parts.into_iter().flatten().reduce(|one, other| one + other)
    }
}

/// Prints a row for each run; a table for people ends with the sum.
pub(crate) fn print(runs: &Runs, options: &Options, out: &mut Out) -> Result<Exit, Error> {
    // Refuse unknown columns before executing a command.
    let chosen = Chosen::new(options, &frame(&[], &[], options))?;
    let (costs, exit) = costs(runs, options);
    say_unpriced(&costs, options);
    let mut frame = frame(&runs.all, &costs, options);
    if let Some((column, is_descending)) = chosen.sort {
        frame.sort(column, is_descending);
    }
    if costs.len() > 1 && matches!(options.format, TableFormat::Table | TableFormat::Md) {
        add_sum(&mut frame);
    }
    if !chosen.columns.is_empty() {
        frame.select(&chosen.columns);
    }
    frame.print(options.format, out).map(|()| exit)
}

/// Returns the cost of each run, and the worst exit status.
fn costs(runs: &Runs, options: &Options) -> (Vec<Cost>, Exit) {
    let mut exit = runs.exit;
    let mut costs = Vec::new();
    for run in &runs.all {
        let (logged, faults) = logged(run);
        exit = Fault::say_all(&faults, exit);
        let save_times = || save_times(&run.seen, &run.meta);
        let spent = spent(&run.seen, &run.attempts, options.rates.as_ref(), save_times);
        let mut cost = Cost { spent, logged, asked: None };
        if let Some((command, limit)) = options.command {
            match ask(command, &question(run, &cost), limit) {
                Ok(answer) => cost.asked = Some(answer),
                Err(cause) => {
                    let what = format!("no cost from --cost-command for '{}'", run.name);
                    complain(&Error::new(Exit::No, what).because(cause));
                    exit = exit.max(Exit::No);
                }
            }
        }
        costs.push(cost);
    }
    (costs, exit)
}

/// Warns about missing prices.
fn say_unpriced(costs: &[Cost], options: &Options) {
    let unpriced: BTreeSet<&String> = costs.iter().flat_map(|cost| &cost.spent.unpriced).collect();
    for device in unpriced {
        warn(&format!("no price for '{device}': its time is not in the sums"));
    }
    if options.rates.is_none() && !costs.is_empty() && costs.iter().all(|cost| cost.spent.usd.is_none()) {
        warn("no device prices known; set --rate, --rates or RUN_RATE");
    }
}

/// The requested columns.
struct Chosen {
    sort: Option<(usize, bool)>,
    columns: Vec<usize>,
}

impl Chosen {
    fn new(options: &Options, frame: &Frame) -> Result<Self, Error> {
        let find = |name: &str| {
            frame.find(name).ok_or_else(|| {
                let names: Vec<&str> = frame.columns.iter().map(|column| column.name.as_str()).collect();
                Error::usage(format!("--cost has no column '{name}'"))
                    .hint(format!("it has {}", names.join(", ")))
            })
        };
        let sort =
            options.sort.as_ref().map(|sort| Ok((find(sort.column)?, sort.is_descending))).transpose()?;
        let mut columns: Vec<usize> =
            options.columns.iter().map(|name| find(name)).collect::<Result<_, _>>()?;
        if !columns.is_empty() {
            columns.retain(|&at| at != 0);
            columns.insert(0, 0);
        }
        Ok(Self { sort, columns })
    }
}

fn frame(runs: &[Run], costs: &[Cost], options: &Options) -> Frame {
    let mut frame = Frame::default();
    let hours = |seconds: f64| Scalar::Number(seconds / 3600.0);
    let usd = |of: &dyn Fn(&Cost) -> Option<f64>| -> Vec<Scalar> {
        costs.iter().map(|cost| of(cost).map_or(Scalar::Empty, Scalar::Dollars)).collect()
    };
    frame.column("run", false, runs.iter().map(|run| Scalar::Text(run.name.clone())));
    let status = |run: &Run| (Scalar::Text(run.seen.status().to_string()), run.seen.status().into());
    frame.tinted_column("status", false, runs.iter().map(status));
    frame.column("attempts", false, costs.iter().map(|cost| Scalar::Exact(cost.spent.attempts.into())));
    frame.column("duration_s", false, costs.iter().map(|cost| Scalar::Seconds(cost.spent.duration_s)));
    frame.column("devices", false, costs.iter().map(|cost| Scalar::Text(in_words(&cost.spent.devices))));
    frame.column("device_hours", false, costs.iter().map(|cost| hours(cost.spent.device_s)));
    frame.column("gpu_hours", false, costs.iter().map(|cost| cost.spent.gpu_s.map_or(Scalar::Empty, hours)));
    frame.column("compute_usd", false, usd(&|cost| cost.spent.usd).into_iter());
    frame.column("logged_usd", false, usd(&|cost| cost.logged).into_iter());
    if options.command.is_some() {
        let answers = || costs.iter().map(|cost| cost.asked.as_ref());
        let asked = usd(&|cost| cost.asked.as_ref().map(|answer| answer.usd));
        frame.column("command_usd", false, asked.into_iter());
        frame.column(
            "balance",
            false,
            answers().map(|answer| Scalar::number(answer.and_then(|of| of.balance))),
        );
        frame.column("calls", false, answers().map(|answer| Scalar::number(answer.and_then(|of| of.calls))));
    }
    frame.column("usd", false, usd(&Cost::usd).into_iter());
    frame.column("wasted_s", false, costs.iter().map(|cost| Scalar::Seconds(cost.spent.wasted_s)));
    frame.column("wasted_usd", false, usd(&|cost| cost.spent.wasted_usd).into_iter());
    let all_known = costs.iter().all(|cost| cost.spent.unknown == 0);
    frame.column(
        "unknown_attempts",
        all_known,
        costs.iter().map(|cost| Scalar::Exact(cost.spent.unknown.into())),
    );
    frame.column("path", true, runs.iter().map(|run| Scalar::Text(run.path())));
    frame.rank_by(&RANKS);
    frame
}

/// Adds a row with the sums of the columns that can be added up.
fn add_sum(frame: &mut Frame) {
    let sum = |at: usize| {
        let values = frame.rows.iter().map(|row| &row[at].0);
        match frame.columns[at].name.as_str() {
            "run" => Scalar::Text("all".to_owned()),
            "balance" => Scalar::Empty,
            _ => values
                .filter_map(|value| match value {
                    Scalar::Number(_) | Scalar::Seconds(_) | Scalar::Exact(_) | Scalar::Dollars(_) => {
                        Some(value.clone())
                    }
                    _ => None,
                })
                .reduce(|one, other| match (one, other) {
                    (Scalar::Seconds(one), Scalar::Seconds(other)) => Scalar::Seconds(one + other),
                    (Scalar::Exact(one), Scalar::Exact(other)) => Scalar::Exact(one + other),
                    (Scalar::Number(one), Scalar::Number(other)) => Scalar::Number(one + other),
                    (Scalar::Dollars(one), Scalar::Dollars(other)) => Scalar::Dollars(one + other),
                    (one, _) => one,
                })
                .unwrap_or(Scalar::Empty),
        }
    };
    let row = (0..frame.columns.len()).map(|at| (sum(at), Tint::None)).collect();
    frame.rows.push(row);
}

/// Returns devices as `8 × NVIDIA H100`.
fn in_words(devices: &[String]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for device in devices {
        *counts.entry(device).or_default() += 1;
    }
    let word = |(device, count): (&str, usize)| {
        if count == 1 { device.to_owned() } else { format!("{count} × {device}") }
    };
    counts.into_iter().map(word).collect::<Vec<_>>().join(", ")
}

/// Returns the input of the command.
fn question(run: &Run, cost: &Cost) -> Value {
    let line = |one: &Attempt| [json!(one.start), json!(one.end)];
    let lines: Vec<Value> = run.attempts.iter().flat_map(line).filter(|line| !line.is_null()).collect();
    json!({
        "run": run.name,
        "run_id": run.meta.run_id,
        "path": run.path(),
        "status": run.seen.status(),
        "created": run.meta.created,
        "duration_s": cost.spent.duration_s,
        "compute_usd": cost.spent.usd,
        "logged_usd": cost.logged,
        "tags": run.meta.tags,
        "overrides": run.meta.overrides,
        "attempts": lines,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_devices_are_counted() {
        let devices = ["B", "A", "B"].map(str::to_owned);
        assert_eq!(in_words(&devices), "A, 2 × B");
    }
}
