//! Trainings of Ultralytics' YOLO, `runs/detect/trainN/`: `args.yaml`, `results.csv`, `weights/`, and plots
//! that are drawn at the end.

use super::traces::{last_lines, written};
use super::{Account, Claim, ForeignLayout, Listing, settings};
use crate::fsio::read::read_start;
use crate::rundir::status::Outcome;
use serde_json::Value;
use std::path::Path;

/// The layout.
#[derive(Debug)]
pub(super) struct Yolo;

/// Number of bytes at the beginning of the table that contain its first two column names.
const HEADER: u64 = 256;

/// Maximum time in seconds between the table and the plots at one end.
const SLACK: f64 = 60.0;

impl ForeignLayout for Yolo {
    fn name(&self) -> &'static str {
        "YOLO"
    }

    fn is_run(&self, listing: &Listing) -> bool {
        let is_of_5 = || listing.has_file("hyp.yaml") && listing.has_file("opt.yaml");
        (listing.has_file("args.yaml") || is_of_5())
            && (listing.has_file("results.csv") || listing.has_dir("weights"))
    }

    fn account(&self, run: &Path) -> Account {
        let mut account = Account::default();
        let args =
            ["args.yaml", "opt.yaml"].into_iter().find(|name| run.join(name).exists()).unwrap_or("args.yaml");
        account.start_time = written(&run.join(args));
        let results = run.join("results.csv");
        let meta = &mut account.meta;
        let values = settings::config_file(meta, run, args, &mut account.damage);
        let epochs = values.as_ref().and_then(|values| values.get("epochs")?.as_u64());
        meta.total_steps = meta.total_steps.or(epochs);
        let rows: Vec<_> = last_lines(&results).iter().filter_map(|line| row(line)).collect();
        let epoch = rows.first().map(|(epoch, _)| *epoch);
        // A resumed training counts its seconds from 0 again. The first versions have no such column.
        let is_new = |pair: &&[(f64, f64)]| pair[0].1 < pair[1].1;
        let resumed = rows.windows(2).find(is_new).map(|pair| pair[1].0);
        account.start_step = resumed.filter(|_| has_seconds(&results));
        // The first versions count epochs from 0, and their tables have no time.
        let is_last = |(epoch, epochs): (f64, Value)| epochs.as_f64().is_some_and(|epochs| epoch >= epochs);
        let is_over = epoch.zip(epochs.map(Value::from)).is_some_and(is_last);
        // Plots older than the table belong to an earlier part of a training that continues.
        let drawn = written(&run.join("results.png"));
        let is_drawn = drawn.is_some_and(|drawn| {
            written(&results).is_none_or(|written| written.seconds_since(drawn) <= SLACK)
        });
        if is_over || is_drawn {
            account.claim = Claim::Ended(Outcome::Completed);
            account.end_time = written(&results);
        }
        account
    }
}

/// Reads the first two cells of a row: the epoch, and the seconds if the table has them.
fn row(line: &str) -> Option<(f64, f64)> {
    let mut cells = line.split(',').map(|cell| cell.trim().parse().ok());
    Some((cells.next()??, cells.next()??))
}

fn has_seconds(table: &Path) -> bool {
    let start = read_start(table, HEADER).unwrap_or_default();
    start.split(|byte| b",\n".contains(byte)).nth(1).is_some_and(|name| name.trim_ascii() == b"time")
}
