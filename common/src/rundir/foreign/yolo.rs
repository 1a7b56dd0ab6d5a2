//! Trainings of Ultralytics' YOLO, `runs/detect/trainN/`: `args.yaml`, `results.csv`, `weights/`, and plots that are
//! drawn in the end.

use super::traces::{last_lines, written};
use super::{Account, Claim, ForeignLayout, Listing, settings};
use crate::rundir::status::Outcome;
use serde_json::Value;
use std::path::Path;

/// The layout.
#[derive(Debug)]
pub(super) struct Yolo;

/// Seconds within which the table and the plots of one end are written.
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
        let last = last_lines(&results).into_iter().next();
        let epoch = last.and_then(|line| line.split(',').next()?.trim().parse::<f64>().ok());
        // The first versions count epochs from 0, and their tables have no time.
        let is_last = |(epoch, epochs): (f64, Value)| epochs.as_f64().is_some_and(|epochs| epoch >= epochs);
        let is_over = epoch.zip(epochs.map(Value::from)).is_some_and(is_last);
        // Plots that are older than the table are those of a training that goes on.
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
