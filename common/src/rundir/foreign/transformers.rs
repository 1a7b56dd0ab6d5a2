//! Output directories of the Trainer of Hugging Face: `checkpoint-N/` with `trainer_state.json`, which is also
//! written at the top at the end, with `train_results.json` and `all_results.json`; event files below `runs/`.
//! Accelerate leaves `checkpoint-N/` with `random_states_0.pkl`.

use super::traces::{first_event, names, number_after, written};
use super::{Account, Claim, Fields, ForeignLayout, Listing};
use crate::fsio::read::LIMIT;
use crate::rundir::status::Outcome;
use crate::time::Timestamp;
use std::fs;
use std::path::{Path, PathBuf};

/// The layout.
#[derive(Debug)]
pub(super) struct Transformers;

const STATE: &str = "trainer_state.json";

/// Results that evaluations and predictions write, too.
const OTHER_RESULTS: [&str; 3] = ["all_results.json", "eval_results.json", "predict_results.json"];

/// Maximum time in seconds between the files that are written at one end.
const SLACK: f64 = 60.0;

impl ForeignLayout for Transformers {
    fn name(&self) -> &'static str {
        "Hugging Face Trainer"
    }

    fn is_run(&self, listing: &Listing) -> bool {
        let is_checkpoint = |name: &str| number_after("checkpoint-", name).is_some();
        let has_state = |name: &str| {
            let checkpoint = listing.path().join(name);
            is_checkpoint(name)
                && [STATE, "random_states_0.pkl"].iter().any(|file| checkpoint.join(file).exists())
        };
        !is_checkpoint(&listing.name().to_string_lossy())
            && (listing.has_file(STATE) || listing.any_dir(has_state))
    }

    fn account(&self, run: &Path) -> Account {
        let mut account = Account::default();
        let (path, state) = last_saved(run, &mut account.damage);
        account.step = state.number("global_step");
        account.meta.total_steps = state.whole("max_steps").filter(|steps| *steps > 0);
        let events: Vec<Timestamp> = names(&run.join("runs"))
            .into_iter()
            .filter_map(|name| first_event([run.join("runs").join(name)]))
            .collect();
        account.start_time = events.iter().min().copied();
        let control = ["stateful_callbacks", "TrainerControl", "args", "should_training_stop"];
        let is_over = super::settings::value_at(state.all(), &control).is_some_and(|stop| stop == true)
            || account
                .step
                .zip(state.number("max_steps"))
                .is_some_and(|(step, most)| most > 0.0 && step >= most);
        let saved = path.and_then(|path| written(&path));
        let is_late = |time: Timestamp, after: Timestamp| time.seconds_since(after) > SLACK;
        // Results older than the last saved state belong to an earlier training.
        let results = results(run).filter(|results| saved.is_none_or(|saved| !is_late(saved, *results)));
        let Some(end) = results.or(saved.filter(|_| is_over)) else { return account };
        // Each process logs to a directory of its own. A process that began after the end is still training,
        // until it writes results.
        let others = OTHER_RESULTS.iter().filter_map(|name| written(&run.join(name))).max();
        let known = Some(end).max(others).unwrap_or(end);
        if !events.iter().any(|begun| is_late(*begun, known)) {
            account.claim = Claim::Ended(Outcome::Completed);
            account.end_time = Some(end);
        }
        account
    }
}

/// Returns the time at which the results of a training were written. An evaluation alone writes
/// `all_results.json`, too.
fn results(run: &Path) -> Option<Timestamp> {
    let all = run.join("all_results.json");
    let is_of_training = || {
        let fields = Fields::read(&all, &mut Vec::new()).unwrap_or_default();
        fields.all().keys().any(|key| key.starts_with("train_"))
    };
    written(&run.join("train_results.json")).or_else(|| written(&all).filter(|_| is_of_training()))
}

/// Finds the last state that the Trainer saved: that at the top or that in the checkpoint with the highest
/// number, whichever has more steps. Times decide only if the steps are unknown, because those of copies
/// differ.
fn last_saved(run: &Path, damage: &mut Vec<String>) -> (Option<PathBuf>, Fields) {
    let mut read = |path: &Path| {
        // A large document is not parsed here; its step comes from the metrics in it.
        let is_small = fs::metadata(path).is_ok_and(|file| file.len() <= LIMIT);
        if is_small { Fields::read(path, damage).unwrap_or_default() } else { Fields::default() }
    };
    let mut checkpoints: Vec<(u64, PathBuf)> = names(run)
        .into_iter()
        .filter_map(|name| Some((number_after("checkpoint-", &name)?, run.join(name).join(STATE))))
        .collect();
    checkpoints.sort();
    let saved = checkpoints.into_iter().rev().find(|(_, path)| path.exists());
    let top = Some(run.join(STATE)).filter(|path| path.exists()).map(|path| (read(&path), path));
    match (top, saved) {
        (None, None) => (None, Fields::default()),
        (Some((state, path)), None) => (Some(path), state),
        (None, Some((_, path))) => (Some(path.clone()), read(&path)),
        (Some((state, path)), Some((step, saved))) => {
            let is_top = match state.whole("global_step") {
                Some(reached) => reached >= step,
                None => written(&path) >= written(&saved),
            };
            if is_top { (Some(path), state) } else { (Some(saved.clone()), read(&saved)) }
        }
    }
}
