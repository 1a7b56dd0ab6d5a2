//! What runs cost: all attempts at the price of their devices, what the program logged, and what a
//! command answers.

use crate::cli::{Args, Format};
use crate::runs::{Fault, Run, Runs};
use crate::sheet::{Cell, Sheet};
use run_checkpoint::save_times;
use run_common::cli::out::Out;
use run_common::cli::table::Tint;
use run_common::cost::{Rates, Spent, add_up, dollars, spent};
use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};
use run_common::rundir::attempts::Attempt;
use run_common::time::human;
use run_metrics::aggregate::Room;
use run_metrics::attempts::Attempts;
use run_metrics::of_run;
use run_metrics::read;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// How often a command is looked at that has closed its output and has not ended.
const PAUSE: Duration = Duration::from_millis(5);

/// Bytes of an answer that are read.
const ANSWER: u64 = 1 << 20;

/// What a run cost.
#[derive(Default)]
struct Cost {
    spent: Spent,
    logged: Option<f64>,
    asked: Option<Answer>,
}

/// What the command said.
#[derive(Default)]
struct Answer {
    usd: f64,
    balance: Option<f64>,
    calls: Option<f64>,
}

impl Cost {
    /// Returns the sum of what is known.
    fn usd(&self) -> Option<f64> {
        let parts = [self.spent.usd, self.logged, self.asked.as_ref().map(|answer| answer.usd)];
        parts.into_iter().flatten().reduce(|one, other| one + other)
    }
}

/// Prints a row for each run; a table for people ends with the sum.
pub(crate) fn print(runs: &Runs, args: &Args, out: &mut Out) -> Result<Exit, Error> {
    let rates = match (args.rate, &args.rates) {
        (Some(usd), _) => Some(Rates::one(usd)),
        (None, Some(path)) => Some(Rates::read(path)?),
        (None, None) => Rates::from_environment()?,
    };
    // What cannot be shown is said before a command is asked.
    let chosen = Chosen::new(args, &sheet(&Runs { all: Vec::new(), exit: Exit::Ok }, &[], args))?;
    let mut exit = runs.exit;
    let mut costs = Vec::new();
    for run in &runs.all {
        let (logged, fault) = logged(run);
        exit = fault.iter().map(Fault::say).fold(exit, Exit::max);
        let mut cost = Cost {
            spent: spent(&run.seen, &run.attempts, rates.as_ref(), || save_times(&run.seen, &run.meta)),
            logged,
            asked: None,
        };
        if let Some(command) = &args.cost_command {
            match ask(command, &question(run, &cost), args.cost_timeout) {
                Ok(answer) => cost.asked = Some(answer),
                Err(cause) => {
                    let what = format!("what '{}' cost beside is not known", run.name);
                    complain(&Error::new(Exit::No, what).because(cause));
                    exit = exit.max(Exit::No);
                }
            }
        }
        costs.push(cost);
    }
    let unpriced: std::collections::BTreeSet<&String> =
        costs.iter().flat_map(|cost| &cost.spent.unpriced).collect();
    for device in unpriced {
        warn(&format!("no price of '{device}': its time is not in the sums"));
    }
    if rates.is_none() && !costs.is_empty() && costs.iter().all(|cost| cost.spent.usd.is_none()) {
        warn("no price of a device is known: --rate, --rates, or RUN_RATE in the environment");
    }
    let mut sheet = sheet(runs, &costs, args);
    if let Some((column, is_descending)) = chosen.sort {
        sheet.sort(column, is_descending);
    }
    if costs.len() > 1 && matches!(args.format, Format::Table | Format::Md) {
        add_sum(&mut sheet);
    }
    if !chosen.columns.is_empty() {
        sheet.select(&chosen.columns);
    }
    sheet.print(args.format, out).map(|()| exit)
}

/// Columns that were asked for.
struct Chosen {
    sort: Option<(usize, bool)>,
    columns: Vec<usize>,
}

impl Chosen {
    fn new(args: &Args, sheet: &Sheet) -> Result<Self, Error> {
        let find = |name: &str| {
            sheet.find(name).ok_or_else(|| {
                let names: Vec<&str> = sheet.columns.iter().map(|column| column.name.as_str()).collect();
                Error::usage(format!("--cost has no column '{name}'"))
                    .hint(format!("it has {}", names.join(", ")))
            })
        };
        let sort =
            args.sort_by().map(|(name, is_descending)| Ok((find(name)?, is_descending))).transpose()?;
        let mut columns: Vec<usize> = args.columns.iter().map(|name| find(name)).collect::<Result<_, _>>()?;
        if !columns.is_empty() {
            columns.retain(|&at| at != 0);
            columns.insert(0, 0);
        }
        Ok(Self { sort, columns })
    }
}

fn sheet(runs: &Runs, costs: &[Cost], args: &Args) -> Sheet {
    let mut sheet = Sheet::default();
    let hours = |seconds: f64| Cell::Number(seconds / 3600.0);
    let usd = |of: &dyn Fn(&Cost) -> Option<f64>| -> Vec<Cell> {
        costs.iter().map(|cost| of(cost).map_or(Cell::Empty, Cell::Dollars)).collect()
    };
    sheet.column("run", false, runs.all.iter().map(|run| Cell::Text(run.name.clone())));
    let status = |run: &Run| (Cell::Text(run.seen.status().to_string()), run.seen.status().into());
    sheet.tinted_column("status", false, runs.all.iter().map(status));
    sheet.column("attempts", false, costs.iter().map(|cost| Cell::Exact(cost.spent.attempts.into())));
    sheet.column("duration_s", false, costs.iter().map(|cost| Cell::Seconds(cost.spent.duration_s)));
    sheet.column("devices", false, costs.iter().map(|cost| Cell::Text(in_words(&cost.spent.devices))));
    sheet.column("device_hours", false, costs.iter().map(|cost| hours(cost.spent.device_s)));
    sheet.column("gpu_hours", false, costs.iter().map(|cost| cost.spent.gpu_s.map_or(Cell::Empty, hours)));
    sheet.column("compute_usd", false, usd(&|cost| cost.spent.usd).into_iter());
    sheet.column("logged_usd", false, usd(&|cost| cost.logged).into_iter());
    if args.cost_command.is_some() {
        let answers = || costs.iter().map(|cost| cost.asked.as_ref());
        let asked = usd(&|cost| cost.asked.as_ref().map(|answer| answer.usd));
        sheet.column("command_usd", false, asked.into_iter());
        sheet.column(
            "balance",
            false,
            answers().map(|answer| Cell::number(answer.and_then(|of| of.balance))),
        );
        sheet.column("calls", false, answers().map(|answer| Cell::number(answer.and_then(|of| of.calls))));
    }
    sheet.column("usd", false, usd(&Cost::usd).into_iter());
    sheet.column("wasted_s", false, costs.iter().map(|cost| Cell::Seconds(cost.spent.wasted_s)));
    sheet.column("wasted_usd", false, usd(&|cost| cost.spent.wasted_usd).into_iter());
    let all_known = costs.iter().all(|cost| cost.spent.unknown == 0);
    sheet.column(
        "unknown_attempts",
        all_known,
        costs.iter().map(|cost| Cell::Exact(cost.spent.unknown.into())),
    );
    sheet.column("path", true, runs.all.iter().map(|run| Cell::Text(run.path())));
    sheet
}

/// Adds a row with the sums of what can be added up.
fn add_sum(sheet: &mut Sheet) {
    let sum = |at: usize| {
        let cells = sheet.rows.iter().map(|row| &row[at].0);
        match sheet.columns[at].name.as_str() {
            "run" => Cell::Text("all".to_owned()),
            "balance" => Cell::Empty,
            _ => cells
                .filter_map(|cell| match cell {
                    Cell::Number(_) | Cell::Seconds(_) | Cell::Exact(_) | Cell::Dollars(_) => {
                        Some(cell.clone())
                    }
                    _ => None,
                })
                .reduce(|one, other| match (one, other) {
                    (Cell::Seconds(one), Cell::Seconds(other)) => Cell::Seconds(one + other),
                    (Cell::Exact(one), Cell::Exact(other)) => Cell::Exact(one + other),
                    (Cell::Number(one), Cell::Number(other)) => Cell::Number(one + other),
                    (Cell::Dollars(one), Cell::Dollars(other)) => Cell::Dollars(one + other),
                    (one, _) => one,
                })
                .unwrap_or(Cell::Empty),
        }
    };
    let row = (0..sheet.columns.len()).map(|at| (sum(at), Tint::None)).collect();
    sheet.rows.push(row);
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

/// Returns what the program says it has spent, in all attempts: also in rows that a later one went
/// over again.
fn logged(run: &Run) -> (Option<f64>, Option<Fault>) {
    let recorded = run.seen.recorded.metrics().figures();
    let has_all = !recorded.is_empty() && !Room::is_filled_by(recorded.keys());
    if has_all && !recorded.keys().any(|name| dollars(name).is_some()) {
        return (None, None);
    }
    let Some(source) = of_run::source(run.seen.run.layout()) else { return (None, None) };
    let mut spent: BTreeMap<String, f64> = BTreeMap::new();
    let read = read::rows(&source, &Attempts::default(), &mut |row, _| {
        for (name, usd) in row.numbers().filter(|(_, usd)| usd.is_finite()) {
            match dollars(name) {
                Some(true) => {
                    let greatest = spent.entry(name.to_owned()).or_default();
                    *greatest = greatest.max(usd);
                }
                Some(false) => *spent.entry(name.to_owned()).or_default() += usd,
                None => {}
            }
        }
    });
    (add_up(spent.iter().map(|(name, usd)| (name.as_str(), *usd))), run.fault(read))
}

/// Returns what the command is told.
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

/// Asks a command what a run cost: JSON on its stdin, JSON on its stdout.
fn ask(command: &str, question: &Value, limit: Duration) -> Result<Answer, String> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("sh cannot be started: {error}"))?;
    let answer = converse(&mut child, question, limit);
    if answer.is_err() {
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL); // what it started, too
    }
    let _ = child.wait(); // it has ended, or was killed
    parse(&answer?)
}

fn converse(child: &mut Child, question: &Value, limit: Duration) -> Result<Vec<u8>, String> {
    let deadline = Instant::now() + limit;
    let late = || format!("the command took longer than {}", human(limit));
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("the command has no pipes".to_owned());
    };
    let text = format!("{question}\n");
    thread::spawn(move || stdin.write_all(text.as_bytes())); // one that reads nothing is fine
    let (send, receive) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.take(ANSWER).read_to_end(&mut bytes);
        send.send(read.map(|_| bytes))
    });
    let bytes = receive.recv_timeout(limit).map_err(|_| late())?.map_err(|error| error.to_string())?;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(bytes),
            Ok(Some(status)) => return Err(format!("the command ended with {status}")),
            Ok(None) if Instant::now() < deadline => thread::sleep(PAUSE),
            Ok(None) => return Err(late()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn parse(answer: &[u8]) -> Result<Answer, String> {
    let value: Value =
        serde_json::from_slice(answer).map_err(|error| format!("its answer is no JSON: {error}"))?;
    let usd = value["usd"].as_f64().filter(|usd| usd.is_finite());
    let usd = usd.ok_or_else(|| "its answer has no \"usd\" that is a number".to_owned())?;
    Ok(Answer { usd, balance: value["balance"].as_f64(), calls: value["calls"].as_f64() })
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the numbers are exact")]
mod tests {
    use super::*;

    #[test]
    fn equal_devices_are_counted() {
        let devices = ["B", "A", "B"].map(str::to_owned);
        assert_eq!(in_words(&devices), "A, 2 × B");
    }

    #[test]
    fn an_answer_without_dollars_is_none() {
        assert!(
            parse(b"{\"usd\": 1.5, \"calls\": 3}")
                .is_ok_and(|answer| answer.usd == 1.5 && answer.calls == Some(3.0))
        );
        assert!(parse(b"{\"usd\": null}").is_err() && parse(b"3").is_err() && parse(b"").is_err());
    }
}
