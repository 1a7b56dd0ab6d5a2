//! Runs in no known layout: tables or lines of metrics, a log, checkpoints. Discovery never finds such runs,
//! because only a user who names the directory knows what the files are.

use super::change::oldest_change;
use super::traces::{names, written};
use super::{Account, ForeignLayout, Listing, Logs, MetricFiles, settings};
use std::path::{Path, PathBuf};

/// The layout.
#[derive(Debug)]
pub(super) struct Unknown;

/// Names of configs at the top of a run, the likeliest first.
const CONFIGS: [&str; 5] = ["config.yaml", "config.yml", "config.json", "args.json", "hparams.yaml"];

/// Beginnings of the names of logs, the likeliest first.
const LOGS: [&str; 8] = ["train", "combined", "stdout", "output", "log", "run", "nohup", "slurm-"];

impl ForeignLayout for Unknown {
    fn name(&self) -> &'static str {
        "unknown"
    }

    fn is_run(&self, _listing: &Listing) -> bool {
        false
    }

    fn account(&self, run: &Path) -> Account {
        let mut account = Account { start_time: oldest_change(run), ..Account::default() };
        if let Some(name) = CONFIGS.into_iter().find(|name| written(&run.join(name)).is_some()) {
            settings::config_file(&mut account.meta, run, name, &mut account.damage);
        }
        account
    }

    fn metrics(&self, run: &Path) -> MetricFiles {
        log(run).map_or(MetricFiles::Usual, MetricFiles::UsualOrPrinted)
    }

    fn logs(&self, run: &Path) -> Logs {
        Logs { combined: log(run), ..Logs::default() }
    }
}

/// Finds the likeliest log at the top of a run. Text files count only with an unmistakable name, because data
/// sets are full of them.
fn log(run: &Path) -> Option<PathBuf> {
    let rank = |name: &String| {
        let (stem, end) = name.rsplit_once('.')?;
        let is_log = matches!(end, "log" | "out") || name == "log.txt" || name == "output.txt";
        LOGS.iter().position(|known| stem.starts_with(known)).filter(|_| is_log)
    };
    let name = names(run).into_iter().filter(|name| rank(name).is_some()).min_by_key(rank)?;
    Some(run.join(name))
}
