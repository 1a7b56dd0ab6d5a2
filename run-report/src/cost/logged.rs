//! The money that programs log as spent: metrics in dollars.

use crate::fault::Fault;
use crate::run::Run;
use run_common::cost::{add_up, dollars};
use run_metrics::aggregate::Room;
use run_metrics::{of_run, read};
use std::collections::BTreeMap;

/// Returns the money that the program has logged as spent, in all attempts, including rows that a later
/// attempt repeated.
pub(super) fn logged(run: &Run) -> (Option<f64>, Vec<Fault>) {
    let recorded = run.seen.recorded.metrics().figures();
    let is_stand_in = run.seen.run.layout().rows().is_some();
    let has_all = !is_stand_in && !recorded.is_empty() && !Room::is_filled_by(recorded.keys());
    if has_all && !recorded.keys().any(|name| dollars(name).is_some()) {
        return (None, run.seen.of_metrics.iter().map(Fault::seen).collect());
    }
    let Some(source) = of_run::source(run.seen.run.layout()) else { return (None, Vec::new()) };
    let mut spent: BTreeMap<String, f64> = BTreeMap::new();
    let read = read::all_rows(&source, &mut |row| {
        for (name, usd) in row.numbers().filter(|(_, usd)| usd.is_finite()) {
            match dollars(name) {
                Some(true) => {
                    let greatest = spent.entry(name.to_owned()).or_default();
                    *greatest = greatest.max(usd);
                }
                Some(false) => *spent.entry(name.to_owned()).or_default() += usd,
                None => {}
            }
        }
    });
    (add_up(spent.iter().map(|(name, usd)| (name.as_str(), *usd))), run.faults(read))
}
