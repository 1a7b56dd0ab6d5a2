//! Log directories of Stable Baselines 3, of its zoo, and of the Baselines before: `progress.csv`, `monitor.csv` for
//! each environment, and `evaluations.npz`.

use super::table_head::TableHead;
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

/// Names without a group in `progress.csv`, of the Baselines and of what came from the same logger.
const LOGGED: [&str; 14] = [
    "AverageReturn",
    "EpLenMean",
    "EpRewMean",
    "TimestepsSoFar",
    "TotalEnvSteps",
    "ep_len_mean",
    "ep_reward_mean",
    "explained_variance",
    "mean 100 episode reward",
    "n_updates",
    "nupdates",
    "policy_entropy",
    "serial_timesteps",
    "total_timesteps",
];

impl ForeignLayout for Baselines {
    fn name(&self) -> &'static str {
        "Stable Baselines 3"
    }

    fn is_run(&self, listing: &Listing) -> bool {
        let at = |name: &str| listing.path().join(name);
        // Nothing but its name tells of a table that cannot be read, or is still empty.
        let is_progress =
            || TableHead::read(&at("progress.csv"), &[',']).is_none_or(|head| head.any_number(is_logged));
        listing.has_file("evaluations.npz")
            || listing.has_file("progress.csv") && is_progress()
            || listing.any_file(|name| name.ends_with("monitor.csv") && is_monitor(&at(name)))
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

/// Returns whether a name is one that the loggers of these libraries write: with a group, or as the Baselines
/// had it.
fn is_logged(name: &str) -> bool {
    name.contains('/') || LOGGED.iter().any(|logged| name.eq_ignore_ascii_case(logged))
}

/// Returns whether a table is that of a monitor: it begins with an object, or with the columns of a monitor.
/// Nothing but its name tells of a table that cannot be read, or is still empty.
fn is_monitor(path: &Path) -> bool {
    let start = read_start(path, 16).unwrap_or_default();
    let begins = |with: &[u8]| start.starts_with(with);
    start.is_empty() || begins(b"#{") || begins(b"# {") || begins(b"r,l,t")
}

/// Reads the start of a monitor: its table begins with `#{"t_start": SECONDS, …}`.
fn begun(monitor: &Path) -> Option<Timestamp> {
    let start = read_start(monitor, FIRST_LINE).ok()?;
    let line = start.split(|&byte| byte == b'\n').next()?;
    let head: Value = serde_json::from_slice(line.strip_prefix(b"#")?).ok()?;
    Timestamp::of_seconds(head.get("t_start")?.as_f64()?)
}
