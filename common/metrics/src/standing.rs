//! The position of a row among the rows of its run: its step; the counter within which the step may restart,
//! such as an epoch; and the series of the row. Used to determine which rows were superseded.

use super::step_key::StepKey;
use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Maximum number of kinds of rows that are remembered, and of bytes of the names of one kind.
const REMEMBERED: usize = 8;
const NAMES: usize = 16 << 10;

/// The names of the fields of rows, and which of them determine the position.
type Kind = (Vec<String>, Arc<StepFields>);

thread_local! {
    /// The last kinds of rows. Nearly all rows of a file have the same names as a recent row, and comparing
    /// names is ten times as fast as classifying them.
    static KINDS: RefCell<Vec<Kind>> = const { RefCell::new(Vec::new()) };
}

/// Fields whose values separate series of rows. A program may write several series at a time, each with its own
/// steps.
const SERIES: [&str; 27] = [
    "actor",
    "dataset",
    "device",
    "env_id",
    "fold",
    "global_rank",
    "gpu",
    "kind",
    "local_rank",
    "mode",
    "node",
    "partition",
    "phase",
    "player",
    "prefix",
    "rank",
    "replica",
    "seed",
    "set",
    "split",
    "stage",
    "subset",
    "tag",
    "task",
    "trial",
    "worker",
    "worker_id",
];

/// The fields that determine the position of rows; the same for all rows with the same names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepFields {
    /// Fields that may be the step, the best first.
    steps: Vec<Step>,
    /// Fields that determine the series.
    series: Vec<usize>,
    /// Hash of all names.
    names: u64,
}

/// A field that may be the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    key: StepKey,
    at: usize,
    /// Hash of its name.
    name: u64,
}

/// The value of a field.
#[derive(Clone, Copy, Debug)]
pub enum Cell<'a> {
    /// A number; it may be NaN or infinite.
    Number(f64),
    /// A text.
    Text(&'a [u8]),
    /// Anything else.
    Other,
}

/// The position of a row among the rows of its run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Hash of the name of the step.
    pub(crate) key: u64,
    /// Whether the key may mean something else, such as the length of an episode.
    pub(crate) is_doubtful: bool,
    /// The step, or a fraction of an epoch.
    pub(crate) step: f64,
    is_epoch: bool,
    /// A slower counter within which the step may restart, such as the epoch.
    pub(crate) outer: Option<f64>,
    /// Hash of the values that determine the series.
    pub(crate) series: u64,
    /// Hash of all names of the row: rows of one shape are in the order of their steps.
    pub(crate) shape: u64,
}

impl Standing {
    /// Returns the step, or a fraction of an epoch, and the counter within which it may restart.
    pub fn position(&self) -> (f64, Option<f64>) {
        (self.step, self.outer)
    }

    /// Returns whether a row is of the same series and the same shape.
    pub(super) fn is_of_kind(&self, other: &Self) -> bool {
        (self.shape, self.key, self.series) == (other.shape, other.key, other.series)
    }

    /// Returns whether the next row of the same kind plainly continues after this one, by step and outer
    /// counter.
    pub(super) fn goes_on(&self, next: &Self) -> bool {
        match (self.outer, next.outer) {
            (None, None) => self.step <= next.step,
            (Some(one), Some(other)) => {
                one <= other && self.step <= next.step && (one >= other || self.step < next.step)
            }
            _ => false,
        }
    }

    /// Returns the same position with another step.
    pub(super) fn at_step(self, step: f64) -> Self {
        Self { step, ..self }
    }

    /// Returns whether the step is a fraction of an epoch, and so not a step.
    pub fn is_part_of_epoch(&self) -> bool {
        self.is_epoch && self.step.fract() != 0.0
    }
}

impl StepFields {
    /// Finds the fields of rows with these names.
    pub fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut fields = Self::default();
        let mut hasher = DefaultHasher::new();
        for (at, name) in names.enumerate() {
            name.hash(&mut hasher);
            if let Some(key) = StepKey::of(name) {
                fields.steps.push(Step { key, at, name: hash(name) });
            } else if is_series(name) {
                fields.series.push(at);
            }
        }
        fields.steps.sort_unstable();
        fields.names = hasher.finish();
        fields
    }

    /// Like [`Self::of`], but returns the fields of an earlier row with the same names if they are remembered.
    pub(crate) fn shared<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Arc<Self> {
        KINDS.with_borrow_mut(|kinds| {
            let is_of = |kind: &Kind| kind.0.iter().map(String::as_str).eq(names.clone());
            if let Some(at) = kinds.iter().position(is_of) {
                return Arc::clone(&kinds[at].1);
            }
            let fields = Arc::new(Self::of(names.clone()));
            if names.clone().map(str::len).sum::<usize>() <= NAMES {
                kinds.truncate(REMEMBERED - 1);
                kinds.insert(0, (names.map(str::to_owned).collect(), Arc::clone(&fields)));
            }
            fields
        })
    }

    /// Returns the fields that may be the step, the best first, and whether each counts epochs.
    pub fn steps(&self) -> impl Iterator<Item = (usize, bool)> {
        self.steps.iter().map(|step| (step.at, step.key.is_epoch()))
    }

    /// Returns the keys that may be the step, the best first, and the numbers of their fields.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (StepKey, usize)> {
        self.steps.iter().map(|step| (step.key, step.at))
    }

    /// Returns whether the step alone determines the position of rows.
    pub fn has_only_a_step(&self) -> bool {
        self.steps.len() == 1 && self.series.is_empty()
    }

    /// Returns the position of a row, given its names and values; `None` without a step.
    pub fn standing<'a>(
        &self,
        name: impl Fn(usize) -> &'a str,
        value: impl Fn(usize) -> Cell<'a>,
    ) -> Option<Standing> {
        let number = |at: usize| match value(at) {
            Cell::Number(number) if number.is_finite() => Some(number),
            _ => None,
        };
        let numbers = || self.steps.iter().filter_map(|of| Some((of.key, of.name, number(of.at)?)));
        let (key, of_name, step) = numbers().next()?;
        let outer = numbers().filter_map(|(other, _, number)| Some((key.within(other)?, number)));
        let outer = outer.reduce(|one, other| if other.0 < one.0 { other } else { one });
        let series = if self.series.is_empty() {
            0
        } else {
            let mut hasher = DefaultHasher::new();
            for &at in &self.series {
                match value(at) {
                    Cell::Number(number) => (name(at), number.to_bits()).hash(&mut hasher),
                    Cell::Text(text) => (name(at), text).hash(&mut hasher),
                    Cell::Other => {}
                }
            }
            hasher.finish()
        };
        let outer = outer.map(|(_, number)| number);
        let (is_doubtful, is_epoch) = (!key.is_sure(), key.is_epoch());
        Some(Standing { key: of_name, is_doubtful, step, is_epoch, outer, series, shape: self.names })
    }
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

fn is_series(name: &str) -> bool {
    let last = name.rsplit(['/', '.']).next().unwrap_or(name);
    SERIES.iter().any(|one| last.eq_ignore_ascii_case(one))
}
