//! Lightning's loggers, `lightning_logs/version_N/`: `hparams.yaml`, `metrics.csv` or event files, and `checkpoints/`.

use super::traces::{first_event, is_event_file, number_after, written};
use super::{Account, ForeignLayout, Listing, settings};
use std::path::Path;

/// The layout.
#[derive(Debug)]
pub(super) struct Lightning;

impl ForeignLayout for Lightning {
    fn name(&self) -> &'static str {
        "Lightning"
    }

    fn is_run(&self, listing: &Listing) -> bool {
        number_after("version_", &listing.name().to_string_lossy()).is_some()
            && (["hparams.yaml", "metrics.csv"].iter().any(|name| listing.has_file(name))
                || listing.has_dir("checkpoints")
                || listing.any_file(is_event_file))
    }

    fn account(&self, run: &Path) -> Account {
        let start_time = first_event([run.to_owned()]).or_else(|| written(&run.join("hparams.yaml")));
        let mut account = Account { start_time, ..Account::default() };
        settings::config_file(&mut account.meta, run, "hparams.yaml", &mut account.damage);
        account
    }
}
