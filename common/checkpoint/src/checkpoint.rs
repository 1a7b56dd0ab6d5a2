//! A checkpoint as it was found and judged, and which of several counts.

use run_common::text::printable;
use run_common::time::Timestamp;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For how long files that prove nothing have to be left alone by a living program.
pub const QUIET: Duration = Duration::from_secs(10);

/// Whether something may still be writing below the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// It may: the run is running, or nobody knows.
    Lives,
    /// It does not: the run is known to have ended or died.
    Ended,
}

/// A checkpoint, complete or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its path below the run. For TensorFlow the common prefix of its files, as programs take it.
    pub path: PathBuf,
    /// The files and directories it consists of, below the run: `path` and what goes with it, such as the
    /// optimizer beside a model. For TensorFlow the files that have the prefix.
    pub parts: Vec<PathBuf>,
    /// The step that its name, its own record, its content or the metrics of its time give.
    pub step: Option<u64>,
    /// The epoch that its step is counted in, where the steps of a run begin again with each.
    pub epoch: Option<u64>,
    /// Its name says its step.
    pub is_named: bool,
    /// What else it is called, by its name or that of a link to it.
    pub labels: Vec<Label>,
    /// How large and how old it was when looked at.
    pub size: Size,
    /// Whether it can be relied on.
    pub state: State,
}

/// A name that stands for a checkpoint without saying its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// The one at the end of the training.
    Final,
    /// The one with the best result, by the program's measure.
    Best,
    /// The newest; `latest` too, and `ckpt.pt`, which is overwritten in place.
    Last,
}

impl Label {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Final => "final",
            Self::Best => "best",
            Self::Last => "last",
        }
    }

    /// Reads the word.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Final, Self::Best, Self::Last].into_iter().find(|label| label.word() == word)
    }
}

/// What a look at a checkpoint has measured. Two that are equal saw no growth between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Lengths of all its files together.
    pub bytes: u64,
    /// How many files it has.
    pub files: u64,
    /// Newest time of modification, in nanoseconds since 1970.
    pub modified_ns: i128,
}

/// Whether a checkpoint can be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is all there.
    Complete,
    /// It is not, or cannot be read; why, in one line.
    Incomplete(String),
}

impl Checkpoint {
    /// Says whether it is complete.
    pub fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// Returns what checkpoints are ordered by: the epoch, where steps begin again with each, and the step.
    pub fn order(&self) -> Option<(u64, u64)> {
        self.step.map(|step| (self.epoch.unwrap_or(0), step))
    }

    /// Returns its step, for people: `step 40`, or `step 40 of epoch 2`.
    pub fn count(&self) -> Option<String> {
        let epoch = self.epoch.map(|epoch| format!(" of epoch {epoch}")).unwrap_or_default();
        self.step.map(|step| format!("step {step}{epoch}"))
    }

    /// Returns when it was last modified; times that no record can hold are the present.
    pub fn modified(&self) -> Timestamp {
        let millis = i64::try_from(self.size.modified_ns.div_euclid(1_000_000));
        millis.ok().and_then(Timestamp::from_millis).unwrap_or_else(Timestamp::now)
    }
}

/// Returns the complete checkpoint with the greatest step; of several the one whose name says it, and of
/// these the one listed last.
pub fn latest(all: &[Checkpoint]) -> Option<&Checkpoint> {
    let complete = all.iter().filter(|one| one.is_complete() && one.step.is_some());
    complete.max_by_key(|one| (one.order(), one.is_named))
}

/// Returns the other complete checkpoints whose names say the step that the name of `one` says, too: nothing
/// tells which of them is meant.
pub fn ties<'a>(all: &'a [Checkpoint], one: &'a Checkpoint) -> impl Iterator<Item = &'a Checkpoint> {
    let is_tie = |other: &&Checkpoint| {
        one.is_named
            && other.is_named
            && other.is_complete()
            && other.path != one.path
            && other.order() == one.order()
    };
    all.iter().filter(is_tie)
}

/// Lists checkpoints by their paths, for a line of text: the first three, and how many more there are.
pub fn listed<'a>(all: impl Iterator<Item = &'a Path>) -> String {
    let mut shown: Vec<String> =
        all.map(|path| format!("'{}'", printable(&path.to_string_lossy()))).collect();
    if shown.len() > SHOWN {
        let more = shown.len() - SHOWN;
        shown.truncate(SHOWN);
        shown.push(format!("{more} more"));
    }
    shown.join(", ")
}

/// Paths that a line of text names.
const SHOWN: usize = 3;

/// Returns the incomplete checkpoints that may be newer than the [`latest`], with the reasons:
/// those of a greater step, and those without any.
pub fn passed_over(all: &[Checkpoint]) -> impl Iterator<Item = (&Checkpoint, &str)> {
    let latest = latest(all).and_then(Checkpoint::order);
    all.iter().filter_map(move |one| match &one.state {
        State::Incomplete(why) if one.step.is_none() || one.order() > latest => Some((one, why.as_str())),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes checkpoints, in this order: the step, and whether each is complete.
    fn made(all: &[(Option<u64>, bool)]) -> Vec<Checkpoint> {
        let state =
            |complete| if complete { State::Complete } else { State::Incomplete("is cut".to_owned()) };
        let numbered = all.iter().enumerate();
        numbered
            .map(|(number, &(step, complete))| Checkpoint {
                path: number.to_string().into(),
                parts: vec![number.to_string().into()],
                step,
                epoch: None,
                is_named: true,
                labels: Vec::new(),
                size: Size::default(),
                state: state(complete),
            })
            .collect()
    }

    fn named(found: Option<&Checkpoint>) -> Option<&str> {
        found.and_then(|one| one.path.to_str())
    }

    #[test]
    fn the_latest_is_complete_and_has_the_greatest_step() {
        assert_eq!(named(latest(&[])), None);
        assert_eq!(
            named(latest(&made(&[(Some(1000), true), (Some(200), true), (Some(3000), false)]))),
            Some("0")
        );
        assert_eq!(named(latest(&made(&[(None, true), (Some(5), false)]))), None);
        assert_eq!(named(latest(&made(&[(Some(0), true), (None, true)]))), Some("0"));
        // Of several with one step, the one listed last.
        assert_eq!(named(latest(&made(&[(Some(7), true), (Some(7), true), (Some(7), false)]))), Some("1"));
    }

    #[test]
    fn those_are_passed_over_that_may_be_newer_than_the_latest() {
        let passed = |all: &[Checkpoint]| -> Vec<String> {
            passed_over(all).map(|(one, why)| format!("{} {why}", one.path.display())).collect()
        };
        let all = made(&[
            (Some(5), false),
            (Some(10), true),
            (Some(10), false),
            (Some(20), false),
            (None, false),
            (None, true),
        ]);
        assert_eq!(passed(&all), ["3 is cut", "4 is cut"]);
        // Without a latest, all that are incomplete.
        assert_eq!(passed(&made(&[(Some(5), false), (None, false)])), ["0 is cut", "1 is cut"]);
        assert_eq!(passed(&made(&[(Some(5), true), (Some(10), true)])), Vec::<String>::new());
    }

    #[test]
    fn a_label_is_read_by_its_word() {
        for label in [Label::Final, Label::Best, Label::Last] {
            assert_eq!(Label::named(label.word()), Some(label));
        }
        assert_eq!(Label::named("latest"), None);
    }
}
