//! Directories with event files of `TensorBoard`, without any other file that identifies the system.

use super::traces::{first_event, is_event_file};
use super::{Account, ForeignLayout, Listing};
use std::path::Path;

/// The layout.
#[derive(Debug)]
pub(super) struct TensorBoard;

impl ForeignLayout for TensorBoard {
    fn name(&self) -> &'static str {
        "TensorBoard"
    }

    fn is_run(&self, listing: &Listing) -> bool {
        listing.any_file(is_event_file)
    }

    fn account(&self, run: &Path) -> Account {
        Account { start_time: first_event([run.to_owned()]), ..Account::default() }
    }
}
