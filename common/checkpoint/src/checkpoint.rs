//! A checkpoint with its verdict, and the choice among several.

use run_common::text::printable;
use run_common::time::Timestamp;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long files that cannot prove their completeness must be unchanged while the program lives.
pub const QUIET: Duration = Duration::from_secs(10);

/// Whether a program may still write below the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// It may: the run is running, or its state is unknown.
    Lives,
    /// It cannot: the run is known to have ended or died.
    Ended,
}

/// A checkpoint, complete or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its path below the run. For TensorFlow the common prefix of its files, as programs expect it.
    pub path: PathBuf,
    /// Its files and directories, below the run: `path` and its companions, such as the optimizer beside a
    /// model. For TensorFlow the files with the prefix.
    pub parts: Vec<PathBuf>,
    /// The step from its name, its own record, its content or the metrics logged before it.
    pub step: Option<u64>,
    /// The epoch of its step, if the steps of the run restart in each epoch.
    pub epoch: Option<u64>,
    /// Whether its name contains its step.
    pub is_named: bool,
    /// Its labels, from its name or that of a link to it.
    pub labels: Vec<Label>,
    /// Its size and age at the time of the look.
    pub size: Size,
    /// Whether it is complete.
    pub state: State,
}

/// A label that identifies a checkpoint without a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// The checkpoint at the end of the training.
    Final,
    /// The checkpoint with the best result, by the program's measure.
    Best,
    /// The newest checkpoint; also `latest`, and `ckpt.pt`, which is overwritten in place.
    Last,
}

impl Label {
    /// Returns its word.
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

/// The measured size of a checkpoint. Equal values mean no growth in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Total size of its files, in bytes.
    pub bytes: u64,
    /// Newest modification time, in nanoseconds since 1970.
    pub files: u64,
    /// Newest modification time, in nanoseconds since 1970.
    pub modified_ns: i128,
}

/// Whether a checkpoint is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is complete.
    Complete,
    /// It is incomplete, or cannot be read; the reason, in one line.
    Incomplete(String),
}

impl Checkpoint {
    /// Returns whether it is complete.
    pub fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// Returns its position in the order of checkpoints: the epoch, if steps restart in each epoch, and the
    /// step.
    pub fn order(&self) -> Option<(u64, u64)> {
        self.step.map(|step| (self.epoch.unwrap_or(0), step))
    }

    /// Returns its step, for people: `step 40`, or `step 40 of epoch 2`.
    pub fn count(&self) -> Option<String> {
        let epoch = self.epoch.map(|epoch| format!(" of epoch {epoch}")).unwrap_or_default();
        self.step.map(|step| format!("step {step}{epoch}"))
    }

    /// Returns its modification time; a time that no record can hold is replaced by the present.
    pub fn modified(&self) -> Timestamp {
        let millis = i64::try_from(self.size.modified_ns.div_euclid(1_000_000));
        millis.ok().and_then(Timestamp::from_millis).unwrap_or_else(Timestamp::now)
    }
}

/// Returns the complete checkpoint with the greatest step; of several, one with the step in its name, and of
/// these the last.
pub fn latest(all: &[Checkpoint]) -> Option<&Checkpoint> {
    let complete = all.iter().filter(|one| one.is_complete() && one.step.is_some());
    complete.max_by_key(|one| (one.order(), one.is_named))
}

/// Returns the other complete checkpoints whose names contain the same step as the name of `one`: a command
/// line that gives this step could mean any of them.
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

/// Lists checkpoints by path, for a line of text: the first three, and the number of the others.
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

/// Maximum number of paths in a line of text.
const SHOWN: usize = 3;

/// Returns the incomplete checkpoints that may be newer than the [`latest`], with the reasons: those with a
/// greater step, and those without a step.
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

    /// Creates checkpoints from pairs: the step, and whether the checkpoint is complete.
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
        // Without a latest checkpoint, all incomplete ones are returned.
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
