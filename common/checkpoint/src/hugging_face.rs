//! The requirements of a directory `checkpoint-N`: from Hugging Face's trainer, from Accelerate, or from a
//! program that only uses this name.

use crate::contents::{Contents, Item};
use crate::integrity::{Proof, holds_state};
use std::fs;
use std::path::Path;

/// The file that the trainer writes last.
const TRAINER_STATE: &str = "trainer_state.json";

/// The files that Accelerate writes last, one per process (`save_accelerator_state` in its `checkpointing.py`).
const RANDOM_STATES: &str = "random_states_0.pkl";

/// Files that the trainer and Accelerate write before their last.
const EARLY: [&str; 5] =
    ["training_args.bin", "rng_state.pth", "rng_state_0.pth", "optimizer.bin", "scheduler.bin"];

/// The file of simpletransformers, which does not use the trainer, and so writes no trainer state.
const MODEL_ARGS: &str = "model_args.json";

/// Maximum number of sibling directories to examine.
const MOST: usize = 100;

/// Words in the names of files of weights.
const WEIGHTS: [&str; 5] = ["model", "weights", "adapter", "lora", "consolidated"];

/// Checks the files that the program of a directory `checkpoint-N` is known to write.
pub(crate) fn check(path: &Path, contents: &Contents) -> Result<Proof, String> {
    let is_trainers = contents.item(TRAINER_STATE).is_some();
    if !is_trainers && !contents.items.iter().any(is_of_accelerate) && !is_of_another(path, contents) {
        return Err(format!("'{TRAINER_STATE}' is missing"));
    }
    let holds_weights = |item: &Item| item.len > 0 && is_weights(&item.name.to_ascii_lowercase());
    if !contents.items.iter().any(holds_weights) {
        return Err("holds no weights".to_owned());
    }
    Ok(if is_trainers { Proof::Shown } else { Proof::None })
}

/// Returns whether a file holds weights, by its name in lower case.
pub(crate) fn is_weights(name: &str) -> bool {
    let (above, file) = name.rsplit_once('/').unwrap_or(("", name));
    let mut words = file.split(|c: char| !c.is_ascii_alphabetic());
    file.ends_with(".safetensors")
        || file.ends_with(".distcp") && !above.contains("optim")
        || holds_state(file) && !file.contains("optim") && words.any(|word| WEIGHTS.contains(&word))
}

fn is_of_accelerate(item: &Item) -> bool {
    let rank = item.name.strip_prefix("random_states_").and_then(|rest| rest.strip_suffix(".pkl"));
    rank.is_some()
}

/// Returns whether another program wrote a directory: several directories are named `checkpoint-N`, and none
/// contains files of the trainer or Accelerate.
fn is_of_another(path: &Path, contents: &Contents) -> bool {
    if contents.item(MODEL_ARGS).is_some() {
        return true;
    }
    if EARLY.iter().any(|name| contents.item(name).is_some()) {
        return false;
    }
    let siblings = fs::read_dir(path.parent().unwrap_or(Path::new("."))).into_iter().flatten().flatten();
    let others = siblings.filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix("checkpoint-").unwrap_or_default();
        number.parse::<u64>().is_ok() && Some(entry.file_name().as_os_str()) != path.file_name()
    });
    let mut count = 0;
    let is_known = |path: &Path| {
        [TRAINER_STATE, RANDOM_STATES].iter().chain(&EARLY).any(|name| path.join(name).exists())
    };
    for other in others.take(MOST) {
        count += 1;
        if is_known(&other.path()) {
            return false;
        }
    }
    count > 0
}
