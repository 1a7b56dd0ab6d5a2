//! Output directories of the Trainer of Hugging Face: `checkpoint-N/` with `trainer_state.json`, which is also written
//! beside these in the end, as `train_results.json` and `all_results.json` are; event files below `runs/`. Accelerate
//! leaves `checkpoint-N/` with `random_states_0.pkl`.

use super::traces::{first_event, names, number_after, written};
use super::{Account, Claim, Fields, ForeignLayout, Listing};
use crate::fsio::read::LIMIT;
use crate::rundir::status::Outcome;
use std::fs;
use std::path::{Path, PathBuf};

/// The layout.
#[derive(Debug)]
pub(super) struct Transformers;

const STATE: &str = "trainer_state.json";

/// What is written when the training has ended.
const RESULTS: [&str; 2] = ["train_results.json", "all_results.json"];

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
        let path = state(run);
        // The metrics in a large one are read all the same, and tell the step.
        let small = path.as_ref().filter(|path| fs::metadata(path).is_ok_and(|file| file.len() <= LIMIT));
        let state = small.and_then(|path| Fields::read(path, &mut account.damage)).unwrap_or_default();
        account.step = state.number("global_step");
        account.meta.total_steps = state.whole("max_steps").filter(|steps| *steps > 0);
        let directories = names(&run.join("runs")).into_iter().map(|name| run.join("runs").join(name));
        account.start_time = first_event(directories);
        let control = ["stateful_callbacks", "TrainerControl", "args", "should_training_stop"];
        let is_over = super::settings::value_at(state.all(), &control).is_some_and(|stop| stop == true)
            || account
                .step
                .zip(state.number("max_steps"))
                .is_some_and(|(step, most)| most > 0.0 && step >= most);
        let results = RESULTS.iter().map(|name| run.join(name)).find(|path| path.exists());
        if is_over || results.is_some() {
            account.claim = Claim::Ended(Outcome::Completed);
            account.end_time = results.or(path).and_then(|path| written(&path));
        }
        account
    }
}

/// Finds what the Trainer saved last: in the end beside the checkpoints, else in the one with the highest number.
fn state(run: &Path) -> Option<PathBuf> {
    let mut checkpoints: Vec<(u64, String)> =
        names(run).into_iter().filter_map(|name| Some((number_after("checkpoint-", &name)?, name))).collect();
    checkpoints.sort();
    let saved = checkpoints.iter().rev().map(|(_, name)| run.join(name).join(STATE));
    let saved = saved.into_iter().find(|path| path.exists());
    let last = Some(run.join(STATE)).filter(|path| path.exists());
    [last, saved].into_iter().flatten().max_by_key(|path| written(path))
}
