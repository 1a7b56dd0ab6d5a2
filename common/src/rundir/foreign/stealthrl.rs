//! `StealthRL`: `run_metadata.json`, `metrics.jsonl`, `training.log`, `checkpoints/`. Times are local; only
//! `status` shows whether a run is active (`stealthrl/tinker/train.py`, `scripts/track_runs.py`).

use super::{Account, Claim, Fields, ForeignLayout, Listing, Logs, MetricFile, MetricFiles, MetricFormat};
use crate::time::Timestamp;
use std::path::Path;

/// The layout.
#[derive(Debug)]
pub(super) struct StealthRl;

/// The document that identifies a run.
const METADATA: &str = "run_metadata.json";

/// Fields of this document that are not settings.
const NO_SETTINGS: [&str; 5] = ["run_name", "start_time", "end_time", "status", "config_file"];

impl ForeignLayout for StealthRl {
    fn name(&self) -> &'static str {
        "StealthRL"
    }

    fn is_run(&self, listing: &Listing) -> bool {
        listing.has_file(METADATA)
    }

    fn account(&self, run: &Path) -> Account {
        let mut account = Account::default();
        let metadata = Fields::read(&run.join(METADATA), &mut account.damage).unwrap_or_default();
        let name = run.file_name().unwrap_or_default().to_string_lossy();
        account.start_time =
            metadata.time("start_time").or_else(|| Timestamp::of_name(&name, "run_%Y%m%d_%H%M%S"));
        account.end_time = metadata.time("end_time");
        account.claim = metadata.text("status").map_or(Claim::Nothing, |word| Claim::of_word(&word));
        let meta = &mut account.meta;
        meta.run_name = metadata.text("run_name").unwrap_or_default();
        meta.config_path = metadata.text("config_file");
        let is_setting = |key: &str| !NO_SETTINGS.contains(&key);
        let settings = metadata.all().iter().filter(|(key, value)| is_setting(key) && !value.is_null());
        meta.params = settings.map(|(key, value)| (key.clone(), value.clone())).collect();
        account
    }

    fn metrics(&self, run: &Path) -> MetricFiles {
        MetricFiles::Files(MetricFormat::Lines, vec![MetricFile::new(run.join("metrics.jsonl"))])
    }

    fn logs(&self, run: &Path) -> Logs {
        Logs { combined: Some(run.join("training.log")), ..Logs::default() }
    }
}
