//! The words in the names of checkpoints (run-dir(5) lists them).

/// Extensions of files that are checkpoints if their names fit, in lower case. If two extensions match, the
/// longer comes first.
pub(crate) const ENDINGS: [&str; 16] = [
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
    ".cbm",
];

/// Extensions that are common for other contents, too: such names need a word that [`are_of_a_model`] accepts.
pub(crate) const SHARED_ENDINGS: [&str; 13] = [
    ".zip", ".h5", ".hdf5", ".npz", ".npy", ".pkl", ".pickle", ".joblib", ".tar", ".gguf", ".bson", ".bin",
    ".ubj",
];

/// Extensions of files that are a part of the checkpoint beside them: the optimizers of `PaddlePaddle`, Caffe
/// and `MXNet`.
pub(crate) const PART_ENDINGS: [&str; 3] = [".pdopt", ".solverstate", ".states"];

/// Words for a step.
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

/// Words for units of training, the preferred ones first if a name has several: an iteration of Composer
/// consists of many batches (`ep0-it0-ba100`), and `batch_32` beside a step is a size.
pub(crate) const STEPS: [&[&str]; 4] = [&STEP, &["ba"], &["it"], &["batch", "batches"]];

pub(crate) const EPOCHS: [&str; 5] = ["epoch", "epochs", "episode", "episodes", "ep"];
pub(crate) const CHECKPOINTS: [&str; 3] = ["checkpoint", "ckpt", "snapshot"];

/// Words that may accompany the others in the name of a directory.
pub(crate) const COMPANIONS: [&str; 9] =
    ["global", "model", "models", "rl", "train", "training", "state", "weights", "agent"];

/// Those of [`COMPANIONS`] that also occur in the names of data files.
const OF_TRAINING: [&str; 4] = ["global", "rl", "train", "training"];

/// Words for files that usually contain a model.
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

/// Words for files that contain results, not a model.
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

/// Words for inputs or outputs of a model, if they are the last word of a name.
const MADE: [&str; 35] = [
    "sample",
    "samples",
    "rollout",
    "rollouts",
    "trajectory",
    "trajectories",
    "transition",
    "transitions",
    "demos",
    "prediction",
    "predictions",
    "pred",
    "preds",
    "image",
    "images",
    "video",
    "videos",
    "history",
    "token",
    "tokens",
    "cache",
    "chunk",
    "chunks",
    "latent",
    "latents",
    "activation",
    "activations",
    "logit",
    "logits",
    "feature",
    "features",
    "output",
    "outputs",
    "gradients",
    "grads",
];

/// Words for the splits of a data set.
const SPLITS: [&str; 6] = ["train", "val", "valid", "validation", "test", "dev"];

/// Directories without checkpoints: outputs of models, and installed programs.
const OTHER_PLACES: [&str; 21] = [
    "eval",
    "evals",
    "evaluation",
    "evaluations",
    "samples",
    "generations",
    "predictions",
    "rollouts",
    "trajectories",
    "images",
    "videos",
    "visualizations",
    "plots",
    "figures",
    "embeddings",
    "features",
    "activations",
    "latents",
    "__pycache__",
    "site-packages",
    "node_modules",
];

/// Directories of data, where files need names as strict as those with [`SHARED_ENDINGS`].
const OF_DATA: [&str; 6] = ["data", "dataset", "datasets", "cache", "replay", "replay_buffer"];

/// Directories of models, where the name of a file may be just a number: `models/PPO/1000000.zip`.
const OF_MODELS: [&str; 3] = ["models", "saved_models", "weights"];

/// Words for files that are a part of a checkpoint, and never a checkpoint themselves.
pub(crate) const PARTS: [&str; 9] =
    ["optimizer", "optim", "opt", "scheduler", "scaler", "rng", "buffer", "replay", "vecnormalize"];

/// Words for files that are a part of a checkpoint if another file of its step lies beside them.
pub(crate) const SECONDS: [&str; 12] = [
    "ema",
    "swa",
    "teacher",
    "d",
    "dis",
    "disc",
    "discriminator",
    "critic",
    "value",
    "target",
    "dur",
    "training",
];

/// Words for files that belong to neither a checkpoint nor its parts.
pub(crate) const NONE: [&str; 5] = ["rank", "shard", "part", "data", "dataset"];

/// Words before a number that is not a step.
pub(crate) const OTHER_NUMBERS: [&str; 41] = [
    "v", "version", "fold", "seed", "rank", "gpu", "worker", "split", "size", "dim", "layer", "layers",
    "head", "heads", "lr", "bs", "loss", "acc", "accuracy", "auc", "score", "reward", "return", "map",
    "psnr", "fid", "bleu", "wer", "top", "of", "avg", "ave", "average", "averaged", "trial", "exp", "stage",
    "phase", "client", "player", "task",
];

/// Words for a score, which may stand at the end of a name.
const SCORES: [&str; 19] = [
    "val",
    "valid",
    "validation",
    "test",
    "eval",
    "mean",
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

/// Words in temporary names: the file is still being written.
pub(crate) const TEMPORARY: [&str; 4] = ["tmp", "temp", "partial", "incomplete"];

/// Returns whether a word names a step.
pub(crate) fn is_step(word: &str) -> bool {
    STEPS.iter().any(|words| words.contains(&word))
}

/// Returns whether a word belongs to a score.
pub(crate) fn is_score(word: &str) -> bool {
    let is_name = ["v", "version", "of", "trial", "exp", "stage", "phase", "client", "player", "task"];
    let is_number = OTHER_NUMBERS.contains(&word) && !is_name.contains(&word);
    is_number || SCORES.contains(&word)
}

/// Returns whether a word names a model.
pub(crate) fn is_model(word: &str) -> bool {
    COMPANIONS.contains(&word) || MODELS.contains(&word)
}

/// Returns whether a path contains a word for results rather than state.
pub(crate) fn is_of_results(path: &str) -> bool {
    path.split(|c: char| !c.is_ascii_alphabetic()).any(|word| RESULTS.contains(&word))
}

/// Returns whether a directory of this name contains no checkpoints.
pub(crate) fn is_other_place(name: &str) -> bool {
    name.starts_with("eval_") || OTHER_PLACES.contains(&name)
}

/// Returns whether a directory of this name contains data.
pub(crate) fn is_place_of_data(name: &str) -> bool {
    OF_DATA.contains(&name)
}

/// Returns whether a directory of this name contains models.
pub(crate) fn is_place_of_models(name: &str) -> bool {
    OF_MODELS.contains(&name)
}

/// Returns whether the last word that describes the contents of a file is one for inputs or outputs of a model.
pub(crate) fn are_of_what_is_made(words: &[&str]) -> bool {
    let is_label = |word: &str| ["final", "best", "last", "latest"].contains(&word);
    let is_other =
        |word: &str| is_label(word) || is_step(word) || EPOCHS.contains(&word) || CHECKPOINTS.contains(&word);
    words.iter().rev().find(|word| !is_other(word)).is_some_and(|word| MADE.contains(word))
}

/// Returns whether all words name splits of a data set.
pub(crate) fn are_of_a_split(words: &[&str]) -> bool {
    !words.is_empty() && words.iter().all(|word| SPLITS.contains(word))
}

/// Returns whether a word names results.
pub(crate) fn is_result(word: &str) -> bool {
    RESULTS.contains(&word) || MADE.contains(&word)
}

/// Returns whether a file with one of [`SHARED_ENDINGS`] is a checkpoint by these words. `is_held`: the file
/// lies in a directory of checkpoints.
pub(crate) fn are_of_a_model(words: &[&str], is_held: bool) -> bool {
    let ends_known =
        |word: &str| ["step", "epoch", "checkpoint", "ckpt", "model"].iter().any(|end| word.ends_with(end));
    let is_known = |word: &&str| {
        let is_of_model = is_model(word) && !OF_TRAINING.contains(word);
        is_step(word) || CHECKPOINTS.contains(word) || *word == "epochs" || is_of_model || ends_known(word)
    };
    (is_held || words.iter().any(is_known)) && !words.iter().any(|word| RESULTS.contains(word))
}
