//! Seed, number of steps and device from settings, under the names that trainers use. Used by run-new for
//! overrides, commands and configs, and by run-exec for commands.

use super::config::get;
use super::params::params;
use serde_json::{Map, Value};

/// Prefixes of the tables of a config to search for keys, first the top level.
const TABLES: [&str; 4] = ["", "train.", "training.", "trainer."];

/// Names of the seed, in order of preference.
const SEED: [&str; 2] = ["seed", "random_seed"];

/// Names of the number of steps, in order of preference.
const TOTAL_STEPS: [&str; 25] = [
    "total_steps",
    "max_steps",
    "max_iters",
    "max_iter",
    "num_train_steps",
    "max_train_steps",
    "num_training_steps",
    "train_steps",
    "train_iters",
    "max_train_iters",
    "total_iters",
    "num_iterations",
    "max_iterations",
    "total_timesteps",
    "max_timesteps",
    "num_timesteps",
    "n_timesteps",
    "max_update",
    "max_updates",
    "training_steps",
    "max_training_steps",
    "num_iters",
    "iterations",
    "total_env_steps",
    "num_env_steps",
];

/// Names of the device.
const DEVICE: [&str; 1] = ["device"];

/// Further keys outside these tables, in order of preference after the names.
const OTHER_SEED: [&str; 1] = ["general.seed"];
const OTHER_STEPS: [&str; 3] = ["training.steps", "solver.max_iter", "schedule.steps"];
const OTHER_DEVICE: [&str; 2] = ["agent.params.device", "model.device"];

/// Values of a run that settings contain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Random seed.
    pub seed: Option<i64>,
    /// Number of steps to train for.
    pub total_steps: Option<u64>,
    /// Whether the number of steps is negative, as in `--max_steps=-1`: something else ends the training.
    pub is_unbounded: bool,
    /// Device to train on.
    pub device: Option<String>,
}

impl Hints {
    /// Reads a config.
    pub fn of_config(values: &Value) -> Self {
        Self::find(|key| get(values, key).cloned())
    }

    /// Reads overrides as typed; the last value of a key counts.
    pub fn of_overrides(overrides: &[(String, String)]) -> Self {
        let typed = |value: &str| serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        Self::find(|key| {
            let last = overrides.iter().rev().find(|(name, _)| plain(name) == key);
            last.map(|(_, value)| typed(value))
        })
    }

    /// Reads the options of a command, and of a shell script in it. Placeholders are ignored.
    pub fn of_command(command: &[String]) -> Self {
        let mut options = params(command);
        for script in command.iter().filter(|word| word.contains(char::is_whitespace)) {
            let words: Vec<String> = script.split_whitespace().map(unquoted).collect();
            options.extend(params(&words));
        }
        Self::of_overrides(&as_typed(options))
    }

    /// Fills missing values from `others`.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            seed: self.seed.or(others.seed),
            total_steps: if self.is_unbounded { None } else { self.total_steps.or(others.total_steps) },
            is_unbounded: self.is_unbounded || self.total_steps.is_none() && others.is_unbounded,
            device: self.device.or(others.device),
        }
    }

    /// Takes the first key of each kind with a suitable value.
    fn find(value: impl Fn(&str) -> Option<Value>) -> Self {
        let all = |names: &'static [&'static str], others: &'static [&'static str]| {
            keys(names, others).filter_map(|key| value(&key)).collect::<Vec<_>>()
        };
        let device = |value: &Value| Some(value.as_str()?.to_owned()).filter(|name| is_device(name));
        let totals = all(&TOTAL_STEPS, &OTHER_STEPS);
        let total_steps = totals.iter().find_map(whole);
        Self {
            seed: all(&SEED, &OTHER_SEED).iter().find_map(Value::as_i64),
            total_steps,
            is_unbounded: total_steps.is_none() && totals.iter().filter_map(float).any(|total| total < 0.0),
            device: all(&DEVICE, &OTHER_DEVICE).iter().find_map(device),
        }
    }
}

/// Returns whether a key names the seed.
pub(crate) fn is_seed(key: &str) -> bool {
    keys(&SEED, &OTHER_SEED).any(|known| known == plain(key))
}

/// Returns whether a key names the number of steps.
pub(crate) fn is_total_steps(key: &str) -> bool {
    keys(&TOTAL_STEPS, &OTHER_STEPS).any(|known| known == plain(key))
}

fn keys(names: &'static [&str], others: &'static [&str]) -> impl Iterator<Item = String> {
    let in_tables = |name: &'static &str| TABLES.iter().map(move |table| format!("{table}{name}"));
    names.iter().flat_map(in_tables).chain(others.iter().map(|&key| key.to_owned()))
}

/// Normalizes a key as in the lists above: `+trainer.Max-Steps` becomes `trainer.max_steps`.
fn plain(key: &str) -> String {
    key.trim_start_matches('+').to_lowercase().replace('-', "_").replace('/', ".")
}

fn is_device(name: &str) -> bool {
    !name.is_empty() && !name.contains(['{', '}'])
}

fn unquoted(word: &str) -> String {
    word.trim_matches(['"', '\'', ';']).to_owned()
}

fn as_typed(options: Map<String, Value>) -> Vec<(String, String)> {
    let typed = |(key, value): (String, Value)| Some((key, value.as_str()?.to_owned()));
    options.into_iter().filter_map(typed).collect()
}

/// Reads a number, quoted or not, with underscores as in `5_000`.
fn float(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.replace('_', "").parse().ok())
}

/// Converts `1e6` and `5_000` to numbers.
fn whole(value: &Value) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be whole and in range"
    )]
    let from_float =
        || float(value).filter(|x| x.fract() == 0.0 && (0.0..9e15).contains(x)).map(|x| x as u64);
    value.as_u64().or_else(from_float)
}

#[cfg(test)]
mod tests {
    use super::super::config::parse;
    use super::*;
    use std::path::Path;

    impl Hints {
        fn of_seed(seed: i64) -> Self {
            Self { seed: Some(seed), ..Self::default() }
        }
    }

    fn of_config(name: &str, text: &str) -> Hints {
        Hints::of_config(&parse(Path::new(name), text.as_bytes()).unwrap())
    }

    fn of_command(line: &str) -> Hints {
        Hints::of_command(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn every_format_says_the_same() {
        let expected =
            Hints { total_steps: Some(5000), device: Some("cuda:1".to_owned()), ..Hints::of_seed(7) };
        let yaml = "seed: 7\ntrain: {total_steps: 5000}\nagent:\n  params: {device: 'cuda:1'}\n";
        let toml = "seed = 7\ndevice = \"cuda:1\"\n[train]\nmax_steps = 5_000\n";
        let json = r#"{"seed": 7, "num_train_steps": 5e3, "train": {"device": "cuda:1"}}"#;
        let python = "# seed = 1\nseed=7\nmax_iters: int = 5_000  # steps\ndevice = 'cuda:1' # or 'cpu'\n  seed = 9\nx = f(1)\n";
        for (name, text) in
            [("a.yaml", yaml), ("a.YML", yaml), ("a.toml", toml), ("a.json", json), ("a.py", python)]
        {
            assert_eq!(of_config(name, text), expected, "{name}");
        }
        assert_eq!(of_config("a.txt", "seed: 7"), Hints::default());
        assert_eq!(of_config("a.yaml", "device: null\nseed: x\nmax_steps: x\n"), Hints::default());
    }

    #[test]
    fn overrides_come_first() {
        let set = [("max_steps", "1e6"), ("seed", "3"), ("device", "cpu")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let config = serde_json::json!({"seed": 1, "total_steps": 5, "device": "cuda"});
        let expected =
            Hints { total_steps: Some(1_000_000), device: Some("cpu".to_owned()), ..Hints::of_seed(3) };
        assert_eq!(Hints::of_overrides(&set).or(Hints::of_config(&config)), expected);
    }

    #[test]
    fn a_negative_total_hides_the_one_of_the_config() {
        let config = || Hints::of_config(&serde_json::json!({"max_steps": 600}));
        let total =
            |options: &str| of_command(&format!("python train.py {options}")).or(config()).total_steps;
        assert_eq!(total("--max_steps=-1"), None);
        assert_eq!(total("--max-steps -1"), None);
        assert_eq!(total("--max_steps=-1 --max_iters=50"), Some(50));
        assert_eq!(total("--lr -1"), Some(600));
        let unbounded = Hints::of_config(&serde_json::json!({"max_steps": -1}));
        assert_eq!(of_command("python train.py --max_steps 7").or(unbounded).total_steps, Some(7));
    }

    #[test]
    fn a_command_says_its_total_in_every_spelling() {
        for options in [
            "--max_iters=2000",
            "--max_steps 2000",
            "--max-steps 2000",
            "max_steps=2000",
            "+trainer.max_steps=2000",
            "--train-iters 2000",
            "--total-timesteps 2e3",
            "--total_timesteps 2_000",
            "--training.steps 2000",
            "SOLVER.MAX_ITER=2000",
            "-m pkg.train --max_steps 1 --max_steps=2000",
        ] {
            assert_eq!(
                of_command(&format!("python train.py {options}")).total_steps,
                Some(2000),
                "{options}"
            );
        }
        for options in
            ["--max_iters={set:max_iters}", "env.max_steps=2000", "--num_steps 2000", "--max_steps -1"]
        {
            assert_eq!(of_command(&format!("python train.py {options}")).total_steps, None, "{options}");
        }
        let script =
            ["sh", "-c", "nice python train.py --max_iters=2000 --seed '7'; date"].map(str::to_owned);
        let expected = Hints { total_steps: Some(2000), ..Hints::of_seed(7) };
        assert_eq!(Hints::of_command(&script), expected);
    }
}
