//! Values from existing runs that a command line can name: metrics, settings, tags, labels, steps, stores.

use crate::place::Place;
use crate::runs::home;
use run_checkpoint::{Program, discover};
use run_common::fsio::read_small;
use run_common::provenance::config;
use run_common::rundir::evaluations::Finder;
use run_common::rundir::meta::Meta;
use run_common::rundir::open::RunDir;
use run_common::rundir::receipts;
use run_common::rundir::recorded::Recorded;
use run_metrics::foreign::figures;
use run_metrics::names::is_metric;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;

/// Maximum number of runs whose checkpoints are searched for: each search walks through all files.
const WALKED: usize = 3;

/// Maximum number of runs of other systems whose metrics are read: their files may be long.
const FOREIGN: usize = 3;

/// Returns the fields of metric rows; with `only_metrics`, without counters and times.
pub(crate) fn metrics(runs: &[RunDir], only_metrics: bool) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut foreign = 0;
    for run in runs {
        let is_foreign = run.layout().foreign().is_some();
        foreign += usize::from(is_foreign);
        if is_foreign && foreign > FOREIGN {
            continue;
        }
        if let Ok(mut recorded) = Recorded::read(run.layout()) {
            if is_foreign {
                figures(run.layout(), &mut recorded);
            }
            names.extend(recorded.metrics().figures().into_iter().map(|(name, _)| name));
        }
    }
    names.retain(|name| !only_metrics || is_metric(name));
    names
}

/// Returns the keys of the settings of runs: config, overrides, options of the command.
pub(crate) fn settings(runs: &[RunDir]) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for run in runs {
        let Ok(meta) = Meta::shown(run.layout()) else { continue };
        keys.extend(meta.params.into_iter().chain(meta.overrides).map(|(key, _)| key));
        keys.extend(meta.config_file.iter().flat_map(|file| config_keys(&run.layout().root().join(file))));
        keys.extend(meta.seed.map(|_| "seed".to_owned()));
    }
    keys
}

/// Returns the keys of the configs that a command line names.
pub(crate) fn keys_of_configs(place: &Place) -> BTreeSet<String> {
    place.given("configs").flat_map(|path| config_keys(&home(path))).collect()
}

fn config_keys(path: &Path) -> Vec<String> {
    let values = read_small(path).ok().and_then(|bytes| config::parse(path, &bytes).ok());
    config::flat(&values.unwrap_or_default()).into_iter().map(|(key, _)| key).collect()
}

/// Returns the tags of runs.
pub(crate) fn tags(runs: &[RunDir]) -> BTreeSet<String> {
    runs.iter().filter_map(|run| Meta::shown(run.layout()).ok()).flat_map(|meta| meta.tags).collect()
}

/// Returns the labels under which runs were evaluated.
pub(crate) fn labels(runs: &[RunDir], place: &Place) -> BTreeSet<String> {
    let given = place.given("eval_dir").last().map(home);
    let finder = Finder::new(given.as_deref());
    let of_run = |run: &RunDir| {
        let meta = Meta::read(run.layout()).ok()?;
        Some(finder.of_run(run, &meta.run_id))
    };
    let found = runs.iter().filter_map(of_run).flatten();
    found.map(|evaluations| evaluations.label().to_owned()).collect()
}

/// Returns the steps of the checkpoints of runs, the latest first.
pub(crate) fn steps(runs: &[RunDir]) -> Vec<String> {
    let of_run = |run: &RunDir| {
        let meta = Meta::read(run.layout()).ok()?;
        discover(run.layout(), meta.checkpoint.as_ref(), Program::Ended).ok()
    };
    let found = runs.iter().take(WALKED).filter_map(of_run).flatten();
    let steps: BTreeSet<u64> = found.filter_map(|checkpoint| checkpoint.step).collect();
    steps.into_iter().rev().map(|step| step.to_string()).collect()
}

/// Returns the stores that `$RUN_SYNC_URL` and the receipts of runs name.
pub(crate) fn stores(runs: &[RunDir]) -> BTreeSet<String> {
    let of_run = |run: &RunDir| receipts::last_backup(&run.layout().record()).map(|backup| backup.url);
    runs.iter()
        .filter_map(of_run)
        .chain(env::var("RUN_SYNC_URL").ok())
        .filter(|url| !url.is_empty())
        .collect()
}

/// Returns the names of the launchers on the path, `NAME` of `run-launch-NAME`.
pub(crate) fn launchers() -> BTreeSet<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let listed =
        env::split_paths(&path).filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
    let names = listed.filter_map(|entry| entry.file_name().into_string().ok());
    let launchers = names.filter_map(|name| name.strip_prefix("run-launch-").map(str::to_owned));
    launchers.filter(|name| !name.contains('.')).collect()
}
