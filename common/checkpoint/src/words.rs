//! The words that names of checkpoints are made of (run-dir(5) lists them).

/// Endings of files that are checkpoints when their names say so, in lower case; of two that fit, the longer
/// comes first.
pub(crate) const ENDINGS: [&str; 15] = [
    ".pth.tar",
    ".weights.h5",
    ".pt",
    ".pth",
    ".ckpt",
    ".safetensors",
    ".keras",
    ".th",
    ".pdparams",
    ".params",
    ".caffemodel",
    ".weights",
    ".eqx",
    ".nemo",
    ".msgpack",
];

/// Endings of files that hold other things as well, and so need one of [`KNOWN`] in their names too.
pub(crate) const SHARED_ENDINGS: [&str; 11] =
    [".zip", ".h5", ".hdf5", ".npz", ".npy", ".pkl", ".pickle", ".joblib", ".tar", ".gguf", ".bson"];

/// Words of a step.
const STEP: [&str; 11] = [
    "step",
    "steps",
    "globalstep",
    "iter",
    "iters",
    "iteration",
    "iterations",
    "timestep",
    "timesteps",
    "update",
    "updates",
];

/// Words of what a training counts, those first that count where several are there: Composer's iterations
/// hold many batches (`ep0-it0-ba100`), and `batch_32` beside a step is a size.
pub(crate) const STEPS: [&[&str]; 4] = [&STEP, &["ba"], &["it"], &["batch", "batches"]];

pub(crate) const EPOCHS: [&str; 5] = ["epoch", "epochs", "episode", "episodes", "ep"];
pub(crate) const CHECKPOINTS: [&str; 3] = ["checkpoint", "ckpt", "snapshot"];

/// Words that may stand beside the others in the name of a directory.
pub(crate) const COMPANIONS: [&str; 9] =
    ["global", "model", "models", "rl", "train", "training", "state", "weights", "agent"];

/// Words of files that hold a model and seldom something else.
const MODELS: [&str; 13] = [
    "net",
    "network",
    "policy",
    "params",
    "actor",
    "adapter",
    "adapters",
    "lora",
    "unet",
    "generator",
    "encoder",
    "decoder",
    "cp",
];

/// Words of files that hold no model.
const RESULTS: [&str; 28] = [
    "eval",
    "evals",
    "evaluation",
    "sample",
    "samples",
    "log",
    "logs",
    "loss",
    "losses",
    "stat",
    "stats",
    "metric",
    "metrics",
    "result",
    "results",
    "rollout",
    "rollouts",
    "trajectory",
    "trajectories",
    "prediction",
    "predictions",
    "image",
    "images",
    "embedding",
    "embeddings",
    "history",
    "video",
    "videos",
];

/// Words of files that are a part of a checkpoint, and none without it.
pub(crate) const PARTS: [&str; 10] = [
    "optimizer",
    "optim",
    "opt",
    "scheduler",
    "scaler",
    "rng",
    "buffer",
    "vecnormalize",
    "pdopt",
    "solverstate",
];

/// Words of files that are a part of a checkpoint when another one of its step lies beside them.
pub(crate) const SECONDS: [&str; 9] =
    ["ema", "d", "dis", "disc", "discriminator", "critic", "target", "dur", "training"];

/// Words of files that are a part of something else.
pub(crate) const NONE: [&str; 5] = ["rank", "shard", "part", "data", "dataset"];

/// Words before a number that is no step.
pub(crate) const OTHER_NUMBERS: [&str; 30] = [
    "v", "version", "fold", "seed", "rank", "gpu", "worker", "split", "size", "dim", "layer", "layers",
    "head", "heads", "lr", "bs", "loss", "acc", "accuracy", "auc", "score", "reward", "return", "map",
    "psnr", "fid", "bleu", "wer", "top", "of",
];

/// Words of a score, which may stand at the end of a name.
const SCORES: [&str; 20] = [
    "val",
    "valid",
    "validation",
    "test",
    "eval",
    "mean",
    "avg",
    "iou",
    "miou",
    "ssim",
    "cer",
    "ppl",
    "perplexity",
    "dice",
    "mse",
    "mae",
    "rmse",
    "metric",
    "f",
    "success",
];

/// Words of names of what is still being written.
pub(crate) const TEMPORARY: [&str; 4] = ["tmp", "temp", "partial", "incomplete"];

/// Says whether a word is that of a step.
pub(crate) fn is_step(word: &str) -> bool {
    STEPS.iter().any(|words| words.contains(&word))
}

/// Says whether a word belongs to a score.
pub(crate) fn is_score(word: &str) -> bool {
    let is_number = OTHER_NUMBERS.contains(&word) && !["v", "version", "of"].contains(&word);
    is_number || SCORES.contains(&word)
}

/// Says whether a word is that of a model.
pub(crate) fn is_model(word: &str) -> bool {
    COMPANIONS.contains(&word) || MODELS.contains(&word)
}

/// Says whether a path says that it holds results rather than state.
pub(crate) fn is_of_results(path: &str) -> bool {
    path.split(|c: char| !c.is_ascii_alphabetic()).any(|word| RESULTS.contains(&word))
}

/// Says whether the words of a file with one of [`SHARED_ENDINGS`] are those of a checkpoint; one that `is_held`
/// lies in a directory of checkpoints.
pub(crate) fn are_of_a_model(words: &[&str], is_held: bool) -> bool {
    let ends_known =
        |word: &str| ["step", "epoch", "checkpoint", "ckpt", "model"].iter().any(|end| word.ends_with(end));
    let is_known = |word: &&str| {
        is_step(word) || CHECKPOINTS.contains(word) || *word == "epochs" || is_model(word) || ends_known(word)
    };
    (is_held || words.iter().any(is_known)) && !words.iter().any(|word| RESULTS.contains(word))
}
