//! Directories that callbacks of Keras write to: the table of `CSVLogger`, whose first column is `epoch`, and the event
//! files of `TensorBoard` in `train/` and `validation/`.

use super::traces::{event_files, first_event};
use super::{Account, ForeignLayout, Listing};
use crate::fsio::read::read_start;
use std::path::Path;

/// The layout.
#[derive(Debug)]
pub(super) struct Keras;

/// Usual names of the table of `CSVLogger`.
const TABLES: [&str; 4] = ["training.log", "log.csv", "history.csv", "training.csv"];

/// Directories of the event files.
const EVENTS: [&str; 2] = ["train", "validation"];

impl ForeignLayout for Keras {
    fn name(&self) -> &'static str {
        "Keras"
    }

    fn is_run(&self, listing: &Listing) -> bool {
        let is_table = |name: &str| {
            let start = || read_start(&listing.path().join(name), 16).unwrap_or_default();
            listing.has_file(name) && (start().starts_with(b"epoch,") || start().starts_with(b"epoch;"))
        };
        let has_events =
            |name: &str| listing.has_dir(name) && !event_files(&listing.path().join(name)).is_empty();
        TABLES.iter().any(|name| is_table(name)) || EVENTS.iter().any(|name| has_events(name))
    }

    fn account(&self, run: &Path) -> Account {
        let directories = EVENTS.iter().map(|name| run.join(name));
        Account { start_time: first_event(directories.chain([run.to_owned()])), ..Account::default() }
    }
}
