//! Configs: copied as they are, and read for the little that the suite wants to know.

use glob::{MatchOptions, glob_with};
use run_common::error::{Error, Exit};
use run_common::fsio::atomic::{Durability, write_with_mode};
use run_common::fsio::read::{open_file, read_argument};
use run_common::fsio::write::create_with_mode;
use run_common::message::warn;
use run_common::provenance::config::{self, parse};
use run_common::provenance::hash::{copy_hashed, sha256, sha256_of};
use serde_json::Value;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Keys that hold the seed, in order of preference.
const SEED: [&str; 6] =
    ["seed", "random_seed", "train.seed", "training.seed", "trainer.seed", "general.seed"];

/// Keys that hold the number of steps.
const TOTAL_STEPS: [&str; 19] = [
    "total_steps",
    "train.total_steps",
    "training.total_steps",
    "trainer.total_steps",
    "max_steps",
    "train.max_steps",
    "training.max_steps",
    "trainer.max_steps",
    "max_iters",
    "train.max_iters",
    "training.max_iters",
    "num_train_steps",
    "max_train_steps",
    "num_training_steps",
    "train_steps",
    "train_iters",
    "total_timesteps",
    "train.total_timesteps",
    "training.steps",
];

/// Keys that hold the device.
const DEVICE: [&str; 6] =
    ["device", "train.device", "training.device", "trainer.device", "agent.params.device", "model.device"];

/// A config file.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where it was given, made absolute.
    pub(crate) path: PathBuf,
    content: Content,
    /// The mode of its copy: others may read that only if they may read the config.
    mode: u32,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub(crate) sha256: String,
    /// What it says; empty when it cannot be understood.
    pub(crate) values: Value,
}

/// The bytes of a config.
#[derive(Debug)]
enum Content {
    Read(Vec<u8>),
    /// More than are read for what they say. They are copied from where they are.
    Large,
}

/// Returns the files that operands name. One with `*`, `?` or `[` that is no file itself stands for
/// the files that match, sorted; none is an error.
pub(crate) fn expand(operands: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for operand in operands {
        match operand.to_str().filter(|text| text.contains(['*', '?', '[']) && !operand.exists()) {
            None => files.push(operand.clone()),
            Some(pattern) => files.extend(matching(pattern)?),
        }
    }
    Ok(files)
}

fn matching(pattern: &str) -> Result<Vec<PathBuf>, Error> {
    let as_in_a_shell = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let paths = glob_with(pattern, as_in_a_shell)
        .map_err(|error| Error::usage(format!("cannot use the pattern '{pattern}'")).because(error.msg))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|error| {
            let directory = error.path().to_owned();
            Error::io("read", &directory, error.into())
        })?;
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Error::new(Exit::System, format!("cannot read '{pattern}'")).because("no file matches"));
    }
    Ok(files)
}

impl Config {
    /// Reads a config. One that does not parse is warned about, and taken as it is; so is one that is too
    /// large for it.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let failed = |error| Error::io("read", path, error);
        let absolute = std::path::absolute(path).map_err(|error| Error::io("find", path, error))?;
        if absolute.to_str().is_none() {
            return Err(
                Error::usage(format!("cannot use '{}'", path.display())).because("its path is not UTF-8")
            );
        }
        let found = fs::metadata(path).map_err(failed)?;
        let is_large = found.is_file() && found.len() > config::LIMIT;
        let (content, sha256, parsed) = if is_large {
            (Content::Large, sha256_of(path).map_err(failed)?, Err("it is too large".to_owned()))
        } else {
            let bytes = read_argument(path).map_err(failed)?;
            let (sha256, parsed) = (sha256(&bytes), parse(&absolute, &bytes));
            (Content::Read(bytes), sha256, parsed)
        };
        let values = parsed.unwrap_or_else(|cause| {
            warn(&format!("'{}' cannot be understood, so nothing is read from it: {cause}", path.display()));
            Value::Null
        });
        let mode = found.mode() & 0o066 | 0o600;
        Ok(Self { path: absolute, content, mode, sha256, values })
    }

    /// Writes the copy into a run.
    pub(crate) fn write(&self, run: &Path, durability: Durability) -> io::Result<()> {
        let target = run.join(self.copy_name());
        let Content::Read(bytes) = &self.content else { return self.copy(&target, durability) };
        write_with_mode(&target, bytes, self.mode, durability)
    }

    fn copy(&self, target: &Path, durability: Durability) -> io::Result<()> {
        let mut file = create_with_mode(target, self.mode)?;
        if copy_hashed(&mut open_file(&self.path)?, &mut file)? != self.sha256 {
            return Err(io::Error::other(format!("'{}' has just been changed", self.path.display())));
        }
        match durability {
            Durability::Process => Ok(()),
            Durability::Power => file.sync_all(),
        }
    }

    /// Returns the name of the copy: `config` and the extension of the original.
    pub(crate) fn copy_name(&self) -> String {
        match self.path.extension() {
            Some(extension) => format!("config.{}", extension.to_string_lossy()),
            None => "config".to_owned(),
        }
    }

    /// Refuses a config that lacks a key.
    pub(crate) fn require(&self, keys: &[String]) -> Result<(), Error> {
        match keys.iter().find(|key| get(&self.values, key).is_none()) {
            None => Ok(()),
            Some(key) => Err(Error::new(Exit::Usage, format!("'{}' has no '{key}'", self.path.display()))),
        }
    }
}

/// What overrides and config say of a run.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Hints {
    pub(crate) seed: Option<i64>,
    pub(crate) total_steps: Option<u64>,
    pub(crate) device: Option<String>,
}

impl Hints {
    /// Looks among the overrides first, then in the config.
    pub(crate) fn find(overrides: &[(String, String)], values: &Value) -> Self {
        let all = |keys: &'static [&'static str]| {
            let overridden =
                keys.iter().filter_map(|key| overrides.iter().rev().find(|(name, _)| name == key));
            let typed = overridden.map(|(_, value)| {
                serde_json::from_str(value).unwrap_or_else(|_| Value::from(value.as_str()))
            });
            typed.chain(keys.iter().filter_map(|key| get(values, key).cloned()))
        };
        Self {
            seed: all(&SEED).find_map(|value| value.as_i64()),
            total_steps: all(&TOTAL_STEPS).find_map(|value| whole(&value)),
            device: all(&DEVICE)
                .find_map(|value| Some(value.as_str()?.to_owned()).filter(|device| !device.is_empty())),
        }
    }
}

/// Takes `1e6` for what is meant.
fn whole(value: &Value) -> Option<u64> {
    let float = || value.as_f64().or_else(|| value.as_str()?.parse().ok());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be whole and in range"
    )]
    let from_float = || float().filter(|x| x.fract() == 0.0 && (0.0..9e15).contains(x)).map(|x| x as u64);
    value.as_u64().or_else(from_float)
}

/// Finds a dotted key: `train.total_steps`, or the same as one word.
fn get<'a>(values: &'a Value, key: &str) -> Option<&'a Value> {
    if let Some(value) = values.get(key) {
        return Some(value);
    }
    let (first, rest) = key.split_once('.')?;
    get(values.get(first)?, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(name: &str, text: &str) -> Hints {
        Hints::find(&[], &parse(Path::new(name), text.as_bytes()).unwrap())
    }

    #[test]
    fn every_format_says_the_same() {
        let expected = Hints { seed: Some(7), total_steps: Some(5000), device: Some("cuda:1".to_owned()) };
        let yaml = "seed: 7\ntrain: {total_steps: 5000}\nagent:\n  params: {device: 'cuda:1'}\n";
        let toml = "seed = 7\ndevice = \"cuda:1\"\n[train]\nmax_steps = 5_000\n";
        let json = r#"{"seed": 7, "num_train_steps": 5e3, "train": {"device": "cuda:1"}}"#;
        let python = "# seed = 1\nseed=7\nmax_iters: int = 5_000  # steps\ndevice = 'cuda:1' # or 'cpu'\n  seed = 9\nx = f(1)\n";
        for (name, text) in
            [("a.yaml", yaml), ("a.YML", yaml), ("a.toml", toml), ("a.json", json), ("a.py", python)]
        {
            assert_eq!(hints(name, text), expected, "{name}");
        }
        assert_eq!(hints("a.txt", "seed: 7"), Hints::default());
        assert_eq!(hints("a.yaml", "device: null\nseed: x\nmax_steps: -1\n"), Hints::default());
    }

    #[test]
    fn overrides_come_first() {
        let set = [("max_steps", "1e6"), ("seed", "3"), ("device", "cpu")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let config = serde_json::json!({"seed": 1, "total_steps": 5, "device": "cuda"});
        let expected = Hints { seed: Some(3), total_steps: Some(1_000_000), device: Some("cpu".to_owned()) };
        assert_eq!(Hints::find(&set, &config), expected);
    }

    #[test]
    fn no_config_is_too_strange() {
        for bomb in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000), "? ".repeat(50_000)] {
            assert!(parse(Path::new("a.yaml"), bomb.as_bytes()).is_err());
        }
        assert!(parse(Path::new("a.json"), "[".repeat(100_000).as_bytes()).is_err());
        assert!(parse(Path::new("a.toml"), format!("a = {}", "[".repeat(100_000)).as_bytes()).is_err());
        assert!(parse(Path::new("a.yaml"), b"a: [1\nb: \xff").is_err());
        assert_eq!(parse(Path::new("a.py"), b"=\n==\nx=\ny = '\nz = \"a\n"), Ok(serde_json::json!({})));
    }
}
