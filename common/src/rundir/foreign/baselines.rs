//! Log directories of Stable Baselines 3, of its zoo, and of the Baselines before: `progress.csv`, `monitor.csv` for
//! each environment, and `evaluations.npz`.

use super::traces::{first_event, names, written};
use super::{Account, ForeignLayout, Listing};
use crate::fsio::read::read_start;
use crate::time::Timestamp;
use serde_json::Value;
use std::path::Path;

/// The layout.
#[derive(Debug)]
pub(super) struct Baselines;

/// Maximum length of the first line of a monitor's table, which contains the start.
const FIRST_LINE: u64 = 4 << 10;

impl ForeignLayout for Baselines {
    fn name(&self) -> &'static str {
        "Stable Baselines 3"
    }

    fn is_run(&self, listing: &Listing) -> bool {
        listing.has_file("progress.csv")
            || listing.has_file("evaluations.npz")
            || listing.any_file(|name| name.ends_with("monitor.csv"))
    }

    fn account(&self, run: &Path) -> Account {
        let monitors = names(run).into_iter().filter(|name| name.ends_with("monitor.csv"));
        let begun = monitors.filter_map(|name| begun(&run.join(name))).min();
        let created = || written(&run.join("command.txt")); // written by the zoo
        Account {
            start_time: begun.or_else(|| first_event([run.to_owned()])).or_else(created),
            ..Account::default()
        }
    }
}

/// Reads the start of a monitor: its table begins with `#{"t_start": SECONDS, …}`.
fn begun(monitor: &Path) -> Option<Timestamp> {
    let start = read_start(monitor, FIRST_LINE).ok()?;
    let line = start.split(|&byte| byte == b'\n').next()?;
    let head: Value = serde_json::from_slice(line.strip_prefix(b"#")?).ok()?;
    Timestamp::of_seconds(head.get("t_start")?.as_f64()?)
}
