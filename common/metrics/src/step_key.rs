//! Names under which programs log the step of a row, and their order of preference (run-dir(5)). Used to order
//! rows, and to separate metrics from counters.

/// The unit of a counter. If a row has several counters, the one with the first unit in this list is the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    Step,
    Iteration,
    Epoch,
    Episode,
    Timestep,
    /// `steps` and the like: in a row with an episode, the length of the episode.
    Steps,
    /// `episodes`, `updates` and the like: beside another counter, only a statistic.
    Counts,
    /// `total_steps` and the like: beside another counter, the number of steps to train for.
    Totals,
}

/// The text before the name of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Prefix {
    /// Nothing.
    None,
    /// Names of objects that contain it, as in `trainer/global_step`.
    Path,
    /// An underscore: the counter belongs to a logger, and counts its calls.
    Underscore,
}

/// The key of a step. The smallest key in a row is the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StepKey {
    unit: Unit,
    prefix: Prefix,
    /// Distance of the spelling from the plain one.
    spelling: u8,
}

/// Maximum number of words in a name, and of bytes in its last part.
const WORDS: usize = 6;
const LENGTH: usize = 40;

/// Words that may come before or after the unit.
const BEFORE: [&str; 24] = [
    "global",
    "current",
    "cur",
    "train",
    "training",
    "trainer",
    "env",
    "environment",
    "optim",
    "optimizer",
    "opt",
    "gradient",
    "grad",
    "learner",
    "actor",
    "policy",
    "model",
    "agent",
    "update",
    "total",
    "num",
    "n",
    "cumulative",
    "sum",
];
const AFTER: [&str; 8] = ["idx", "index", "num", "number", "no", "count", "total", "lifetime"];

/// Words that turn a counter into a sum.
const SUMS: [&str; 6] = ["total", "num", "n", "cumulative", "sum", "lifetime"];

impl StepKey {
    /// Parses a name, by its last part and in any case; `None` if it is not a name for a step.
    pub(crate) fn of(name: &str) -> Option<Self> {
        if !name.ends_with(|c: char| c.is_ascii_alphabetic()) {
            return None; // most columns of wide tables end in a digit
        }
        let (prefix, last) = match name.rsplit_once(['/', '.']) {
            Some((_, last)) => (Prefix::Path, last),
            None => (Prefix::None, name),
        };
        let bare = last.trim_start_matches('_');
        let prefix = if bare.len() < last.len() { Prefix::Underscore } else { prefix };
        let mut found = [""; WORDS];
        let words = words(bare, &mut found)?;
        let is_one_of = |word: &str, list: &[&str]| list.iter().any(|one| word.eq_ignore_ascii_case(one));
        let (mut words, mut is_sum) = (words, false);
        while let [rest @ .., last] = words
            && !rest.is_empty()
            && (is_one_of(last, &AFTER) || last.eq_ignore_ascii_case("sampled"))
        {
            is_sum |= is_one_of(last, &["total", "lifetime"]);
            words = rest;
        }
        let (counted, before) = words.split_last()?;
        let (counted, before) = match before.split_last() {
            Some((time, rest))
                if time.eq_ignore_ascii_case("time") && is_one_of(counted, &["step", "steps"]) =>
            {
                (if counted.len() == 4 { "timestep" } else { "timesteps" }, rest)
            }
            _ => (*counted, before),
        };
        if !before.iter().all(|word| is_one_of(word, &BEFORE)) {
            return None;
        }
        is_sum |= before.iter().any(|word| is_one_of(word, &SUMS));
        let is_plain = before.is_empty() && !is_sum;
        let (unit, variant) = Unit::of(counted, is_plain, is_sum)?;
        let qualifier = match before {
            [] => 0,
            [one] if one.eq_ignore_ascii_case("global") => 1,
            _ => 2,
        };
        Some(Self { unit, prefix, spelling: 4 * qualifier + variant })
    }

    /// Returns whether the name alone proves that a line of output is a row: `steps` and `epochs` also occur in
    /// configs.
    pub(crate) fn is_sure(self) -> bool {
        self.unit < Unit::Steps
    }

    /// Returns whether it counts epochs, which may have fractions.
    pub(crate) fn is_epoch(self) -> bool {
        self.unit == Unit::Epoch
    }

    /// Returns whether the unit consists of many steps, such as an epoch or an episode.
    pub(crate) fn is_large(self) -> bool {
        matches!(self.unit, Unit::Epoch | Unit::Episode | Unit::Counts)
    }

    /// Returns the rank of another counter within which this one may restart, the smallest being the best;
    /// `None` if it does not restart within the other.
    pub(crate) fn within(self, other: Self) -> Option<u8> {
        let is_outer = other.is_sure() && self.unit < other.unit && other.unit != Unit::Timestep;
        is_outer.then_some(match other.unit {
            Unit::Epoch => 0,
            Unit::Episode => 1,
            _ => 2,
        })
    }
}

impl Unit {
    /// Returns the unit that a word names, and the number of its spelling, from 0.
    fn of(word: &str, is_plain: bool, is_sum: bool) -> Option<(Self, u8)> {
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        let find =
            |names: &[&str]| names.iter().position(|name| is(name)).and_then(|at| u8::try_from(at).ok());
        let of = |unit: Self| if is_sum { Self::Totals } else { unit };
        if is("step") {
            return Some((of(Self::Step), 0));
        }
        if is("steps") {
            return Some((if is_plain { Self::Steps } else { of(Self::Step) }, 0));
        }
        if is("timestep") {
            return Some((of(Self::Timestep), 0));
        }
        if is("timesteps") {
            return Some((if is_sum { Self::Step } else { Self::Steps }, 0));
        }
        if let Some(variant) = find(&["iteration", "iter", "itr"]) {
            return Some((of(Self::Iteration), variant));
        }
        if is("update") {
            return Some((of(Self::Iteration), 3));
        }
        if is("epoch") {
            return Some((of(Self::Epoch), 0));
        }
        if let Some(variant) = find(&["episode", "ep", "round", "generation"]) {
            return Some((of(Self::Episode), variant));
        }
        if let Some(variant) = find(&["frames", "frame"]) {
            return Some((Self::Steps, 1 + variant));
        }
        if let Some(variant) = find(&["updates"]) {
            return Some((Self::Counts, variant));
        }
        if let Some(variant) = find(&["iterations", "iters", "epochs", "episodes"]) {
            return Some((of(Self::Counts), variant));
        }
        None
    }
}

/// Splits the last part of a name into its words, at separators and before a capital letter after a lower-case
/// one.
fn words<'a, 'b>(text: &'a str, into: &'b mut [&'a str; WORDS]) -> Option<&'b [&'a str]> {
    let bytes = text.as_bytes();
    if bytes.len() > LENGTH || !bytes.iter().all(|byte| byte.is_ascii_alphabetic() || b"_- ".contains(byte)) {
        return None;
    }
    let mut count = 0;
    let mut start = 0;
    for at in 1..=bytes.len() {
        let is_sign = |byte: u8| !byte.is_ascii_alphabetic();
        let ends = at == bytes.len()
            || is_sign(bytes[at])
            || is_sign(bytes[at - 1])
            || bytes[at].is_ascii_uppercase() && bytes[at - 1].is_ascii_lowercase();
        if !ends {
            continue;
        }
        let word = &text[start..at];
        start = at;
        if !word.bytes().all(is_sign) {
            *into.get_mut(count)? = word;
            count += 1;
        }
    }
    Some(&into[..count]).filter(|words| !words.is_empty())
}

/// Sorts names of steps by preference; other names come last.
pub fn sort_step_names(names: &mut [String]) {
    names.sort_by_cached_key(|name| (StepKey::of(name).is_none(), StepKey::of(name)));
}

/// Returns whether a name is that of a step rather than a metric.
pub fn is_step(name: &str) -> bool {
    StepKey::of(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best<'a>(names: &[&'a str]) -> Option<&'a str> {
        let keyed = names.iter().filter_map(|name| Some((StepKey::of(name)?, *name)));
        keyed.min_by_key(|(key, _)| *key).map(|(_, name)| name)
    }

    #[test]
    fn step_keys_are_known_by_their_last_part_in_any_case() {
        for name in [
            "step",
            "Step",
            "STEP",
            "_step",
            "steps",
            "current_steps",
            "total_steps",
            "total/steps",
            "globalStep",
            "training/global_step",
            "trainer/global_step",
            "total_timesteps",
            "time/total_timesteps",
            "update",
            "num_updates",
            "n_updates",
            "env_step",
            "env_steps",
            "Timestep",
            "TotalTimesteps",
            "time_step",
            "ep",
            "Epoch",
            "train/epoch",
            "Episode",
            "episodes",
            "iter",
            "iter_num",
            "Itr",
            "training_iteration",
            "timesteps_total",
            "episodes_total",
            "num_env_steps_sampled_lifetime",
            "Global Step",
            "global-step",
            "metrics.step",
            "iterations",
            "frame",
            "learner_steps",
            "step_idx",
            "train_step",
        ] {
            assert!(is_step(name), "{name}");
        }
        for name in [
            "",
            "_",
            "/",
            "step/",
            "loss",
            "steps_per_second",
            "time_per_step",
            "max_steps",
            "warmup_steps",
            "best_epoch",
            "ep_len_mean",
            "eps",
            "epsilon",
            "episode_length",
            "step_time",
            "step_size",
            "s",
            "n",
            "total",
            "ep_rew_mean",
            "misstep",
            "footsteps",
            "update_time",
            "eval_steps",
            "n_step_return",
            "time",
        ] {
            assert!(!is_step(name), "{name}");
        }
    }

    #[test]
    fn of_several_step_keys_the_one_that_orders_rows_counts() {
        for (names, expected) in [
            // The order of the first version.
            (&["episode", "epoch", "iter", "iteration", "global_step", "step"][..], "step"),
            (&["episode", "epoch", "iter", "iteration", "global_step"], "global_step"),
            (&["episode", "epoch", "iter", "iteration"], "iteration"),
            (&["timestep", "episode", "epoch"], "epoch"),
            (&["timestep", "episode"], "episode"),
            // LLaMA-Factory, Lightning with W&B, Stable Baselines 3, baselines, verl.
            (&["current_steps", "total_steps", "epoch"], "current_steps"),
            (&["_step", "epoch", "trainer/global_step"], "trainer/global_step"),
            (&["time/iterations", "time/total_timesteps", "train/n_updates"], "time/total_timesteps"),
            (&["total/epochs", "total/episodes", "total/steps"], "total/steps"),
            (&["training/epoch", "training/global_step"], "training/global_step"),
            // The steps in a row with an episode are its length; `epochs` beside `epoch` is their total.
            (&["episode", "steps"], "episode"),
            (&["epoch", "epochs"], "epoch"),
            (&["steps", "episodes"], "steps"),
            (&["step", "eval/step"], "step"),
            (&["train/step", "global_step"], "global_step"),
        ] {
            let reversed: Vec<&str> = names.iter().rev().copied().collect();
            assert_eq!([best(names), best(&reversed)], [Some(expected); 2], "{names:?}");
        }
    }
}
