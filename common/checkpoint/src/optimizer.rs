//! Files of a checkpoint that only contain the state of optimizers and schedulers, by their names: needed for
//! training, not for using the model.

use crate::integrity::holds_state;
use crate::name::ends_in;
use crate::tokens::{Token, tokens};
use crate::words::PART_ENDINGS;
use std::path::Path;

/// Words that indicate other contents in a file named after an optimizer, such as `model_optim_rng.pt` of
/// Megatron. `DeepSpeed` keeps weights in `zero_pp_rank_0_mp_rank_00_optim_states.pt`.
const OTHERS: [&str; 8] = ["adapter", "consolidated", "lora", "model", "models", "params", "weights", "zero"];

/// Words that may accompany `opt`; beside other words, `opt` is the name of a model.
const BESIDE_OPT: [&str; 12] =
    ["state", "states", "step", "epoch", "iter", "ckpt", "checkpoint", "pt", "pth", "npz", "pkl", "msgpack"];

/// Returns whether a file contains only the state of an optimizer or scheduler, by its path below its
/// checkpoint. In doubt, it does not.
pub fn is_optimizer_state(path: &Path) -> bool {
    let names: Vec<String> = path.iter().map(|name| name.to_string_lossy().to_ascii_lowercase()).collect();
    let Some(file) = names.last() else { return false };
    ends_in(file, &PART_ENDINGS) || holds_state(file) && names.iter().any(|name| says_so(name))
}

fn says_so(name: &str) -> bool {
    let tokens = tokens(name);
    let words =
        || tokens.iter().filter_map(|token| if let Token::Word(word) = token { Some(*word) } else { None });
    let is_it = |word: &str| word.contains("optimizer") || word.contains("scheduler") || word == "optim";
    let is_size = |token: &Token| matches!(token, Token::Scaled(_) | Token::Mark('-')); // opt-125m is a model
    let is_opt = || {
        words().any(|word| word == "opt")
            && words().all(|word| word == "opt" || BESIDE_OPT.contains(&word))
            && !tokens.iter().any(is_size)
    };
    !words().any(|word| OTHERS.contains(&word)) && (words().any(is_it) || is_opt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_optimizers_are_known_by_their_names_and_doubts_are_none() {
        for path in [
            "optimizer.pt",
            "optimizer.bin",
            "scheduler.pt",
            "lr_scheduler.pt",
            "optimizer_0/__0_0.distcp",
            "mp_rank_00/distrib_optim.pt",
            "actor/optim_world_size_8_rank_0.pt",
            "opt010000.pt",
            "opt_state.msgpack",
            "actor_optimizer_500.pt",
            "10.pdopt",
            "net_iter_500.solverstate",
        ] {
            assert!(is_optimizer_state(Path::new(path)), "{path}");
        }
        for path in [
            "model.safetensors",
            "pytorch_model_fsdp_0/__0_0.distcp",
            "mp_rank_00/model_optim_rng.pt",
            "zero_pp_rank_0_mp_rank_00_optim_states.pt",
            "scheduler/scheduler_config.json",
            "opt-125m/pytorch_model.bin",
            "opt-125m/model.safetensors",
            "opt-125m.pt",
            "opt-350/model.bin",
            "opt-350/x.bin",
            "trainer_state.json",
            "training_args.bin",
            "vecnormalize.pkl",
            "scaler.pkl",
            "optimizer.py",
        ] {
            assert!(!is_optimizer_state(Path::new(path)), "{path}");
        }
    }
}
