//! Directories that callbacks of Keras write to: the table of `CSVLogger`, whose first column is `epoch`, and the event
//! files of `TensorBoard` in `train/` and `validation/`.

use super::table_head::TableHead;
use super::traces::{event_files, first_event};
use super::{Account, ForeignLayout, Listing};
use std::path::Path;

/// The layout.
#[derive(Debug)]
pub(super) struct Keras;

/// Usual names of the table of `CSVLogger`.
const TABLES: [&str; 4] = ["training.log", "log.csv", "history.csv", "training.csv"];

/// Usual separators of its fields.
const SEPARATORS: [char; 3] = [',', ';', '\t'];

/// Directories of the event files.
const EVENTS: [&str; 2] = ["train", "validation"];

impl ForeignLayout for Keras {
    fn name(&self) -> &'static str {
        "Keras"
    }

    fn is_run(&self, listing: &Listing) -> bool {
        let head = |name: &str| TableHead::read(&listing.path().join(name), &SEPARATORS);
        let is_of_keras = |head: TableHead| head.begins_with("epoch") && head.any_number(is_measure);
        let is_table = |name: &str| listing.has_file(name) && head(name).is_some_and(is_of_keras);
        let has_events =
            |name: &str| listing.has_dir(name) && !event_files(&listing.path().join(name)).is_empty();
        TABLES.iter().any(|name| is_table(name)) || EVENTS.iter().any(|name| has_events(name))
    }

    fn account(&self, run: &Path) -> Account {
        let directories = EVENTS.iter().map(|name| run.join(name));
        Account { start_time: first_event(directories.chain([run.to_owned()])), ..Account::default() }
    }
}

/// Returns whether a name is one that Keras gives to a loss, a metric or a learning rate.
fn is_measure(name: &str) -> bool {
    let last = name.rsplit('_').next().unwrap_or(name);
    name.starts_with("val_") || name == "learning_rate" || ["loss", "accuracy", "acc", "lr"].contains(&last)
}
