//! Warnings about `--columns` that no run has.

use run_common::cli::mistakes::meant;
use run_common::message::warn;
use run_common::rundir::observe::Observed;
use run_metrics::name_list::NameList;
use run_metrics::names::is_metric;
use std::collections::BTreeSet;
use std::sync::Mutex;

/// The metrics of the listed runs, if some are requested.
pub(crate) struct Columns<'a> {
    asked: &'a [String],
    known: Mutex<BTreeSet<String>>,
}

impl<'a> Columns<'a> {
    pub(crate) fn new(asked: &'a [String]) -> Self {
        Self { asked, known: Mutex::default() }
    }

    /// Adds the metrics of a run.
    pub(crate) fn look(&self, run: &Observed) {
        if !self.asked.is_empty()
            && let Ok(mut known) = self.known.lock()
        {
            known.extend(run.recorded.metrics().figures().into_iter().map(|(name, _)| name));
        }
    }

    /// Warns about each requested metric that no listed run has, and names the nearest ones.
    pub(crate) fn say_missing(self) {
        let known = self.known.into_inner().unwrap_or_default();
        for name in NameList::of(self.asked).names(|name| known.contains(name)) {
            if !known.contains(&name) {
                let names = known.iter().map(String::as_str).filter(|name| is_metric(name));
                let meant = meant(&name, names).map(|meant| format!("; {meant}")).unwrap_or_default();
                warn(&format!("no listed run has the metric '{name}'{meant}"));
            }
        }
    }
}
