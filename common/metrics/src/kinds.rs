//! The table of sources: which files count as metrics of a trainer, by name and contents (run-dir(5)). A name
//! alone is not enough: the file must contain a row.

use super::row::MetricRow;
use super::row_reader::{SourceFormat, first_row};
use run_common::fsio::open_if_there;
use run_common::fsio::read::LIMIT;
use std::fs::File;
use std::path::Path;

/// A kind of file.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) format: SourceFormat,
    /// Names; `*` matches any beginning.
    names: &'static [&'static str],
    /// Directories that may contain it; empty for any directory.
    directories: &'static [&'static str],
    /// Requirements on its first row.
    needs: Needs,
    /// Whether files of a directory are read together, each as a track of its own.
    pub(super) is_many: bool,
}

/// The beginning of a file.
#[derive(Debug)]
pub(super) enum Beginning {
    /// Its first row.
    Row(MetricRow),
    /// It cannot be read.
    Unreadable,
}

impl Beginning {
    /// Returns whether rows have a step, as far as is known.
    pub(super) fn has_step(&self) -> bool {
        matches!(self, Self::Unreadable) || self.row().is_some_and(|row| row.step().is_some())
    }

    /// Returns the first row.
    pub(super) fn row(&self) -> Option<&MetricRow> {
        match self {
            Self::Row(row) => Some(row),
            Self::Unreadable => None,
        }
    }
}

/// Requirements on a first row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// A column `epoch`.
    Epoch,
    /// A step, and another number.
    Step,
}

const LINES: Kind =
    Kind { format: SourceFormat::Lines, names: &[], directories: &[], needs: Needs::Step, is_many: false };
const TABLE: Kind = Kind { format: SourceFormat::Csv, needs: Needs::Nothing, ..LINES };

/// All kinds of tables and files of lines, the best first.
pub(super) const KINDS: [Kind; 18] = [
    // Lightning and many others.
    Kind { names: &["metrics.csv"], ..TABLE },
    Kind { names: &["metrics.jsonl"], needs: Needs::Nothing, ..LINES },
    // Stable Baselines 3, Ray Tune.
    Kind { names: &["progress.csv"], ..TABLE },
    // LLaMA-Factory.
    Kind { names: &["trainer_log.jsonl"], ..LINES },
    Kind { names: &["*.jsonl"], directories: &["logs", "log"], is_many: true, ..LINES },
    Kind { names: &["train_log.jsonl", "train_metrics.jsonl", "log.jsonl", "history.jsonl"], ..LINES },
    // Detectron2; mmengine; mmcv.
    Kind { names: &["metrics.json", "scalars.json"], ..LINES },
    Kind { names: &["*.log.json"], ..LINES },
    // DETR, DeiT, MAE, DINO.
    Kind { names: &["log.txt", "log.json", "train_log.json"], ..LINES },
    // Ray Tune.
    Kind { names: &["result.json"], ..LINES },
    // YOLO; timm.
    Kind { names: &["results.csv", "summary.csv"], needs: Needs::Epoch, ..TABLE },
    // The CSVLogger of Keras.
    Kind { names: &["training.log", "log.csv", "history.csv"], needs: Needs::Epoch, ..TABLE },
    Kind {
        names: &["train_log.csv", "training_log.csv", "train_metrics.csv", "log.csv"],
        needs: Needs::Step,
        ..TABLE
    },
    Kind { names: &["*.csv"], directories: &["logs", "log"], needs: Needs::Step, ..TABLE },
    // Spinning Up; Flair.
    Kind { names: &["progress.txt"], needs: Needs::Step, ..TABLE },
    Kind { names: &["loss.tsv", "metrics.tsv"], needs: Needs::Step, ..TABLE },
    // The Monitor of Stable Baselines 3, for one environment and for several.
    Kind { names: &["monitor.csv"], ..TABLE },
    Kind { names: &["*.monitor.csv"], is_many: true, ..TABLE },
];

/// Words in the names of files of lines that hold texts of a model or of its training data.
const TEXTS: [&str; 10] = [
    "rollout",
    "sample",
    "completion",
    "generation",
    "prediction",
    "trajector",
    "transcript",
    "response",
    "prompt",
    "dataset",
];

/// Maximum number of JSON lines to search for the first row: lines about the start of a program may come
/// before.
const ROWS_BEFORE: usize = 20;

/// Number of bytes to search for the first row; if the name is specific, a header may be as long as a line.
const START: u64 = 1 << 20;
const LONG: u64 = 2 * LIMIT;

impl Kind {
    /// Returns whether a file may be of this kind, by its name and that of its directory.
    pub(super) fn may_be(&self, directory: &str, name: &str) -> bool {
        let is_called = |pattern: &&str| match pattern.strip_prefix('*') {
            Some(end) => name.ends_with(end),
            None => name == *pattern,
        };
        let is_text = || TEXTS.iter().any(|word| name.to_lowercase().contains(word));
        self.names.iter().any(is_called)
            && (self.directories.is_empty() || self.directories.contains(&directory))
            && !is_text()
    }

    /// Returns the beginning of a file of this kind; `None` if it is not one. What cannot be read counts if
    /// `is_strict`, so that its reader reports the error.
    pub(super) fn beginning(&self, path: &Path, is_strict: bool) -> Option<Beginning> {
        let file = match open_if_there(path) {
            Ok(file) => file?,
            Err(_) => return is_strict.then_some(Beginning::Unreadable),
        };
        let limit = if self.needs == Needs::Nothing { LONG } else { START };
        let rows = if self.format == SourceFormat::Lines { ROWS_BEFORE } else { 1 };
        first_row(&file, self.format, limit, rows, |row| self.is_metrics(row)).map(Beginning::Row)
    }

    /// Returns whether a name is exactly one of its names.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.names.contains(&name)
    }

    fn is_metrics(&self, row: &MetricRow) -> bool {
        match self.needs {
            Needs::Nothing => true,
            Needs::Epoch => row.number_under("epoch").is_some(),
            Needs::Step => row.step().is_some() && row.numbers().next().is_some(),
        }
    }
}

/// Returns whether there is a scalar at the beginning of an event file. What cannot be read counts if
/// `is_strict`.
pub(super) fn has_scalars(path: &Path, is_strict: bool) -> bool {
    let has_row = |file: File| first_row(&file, SourceFormat::Events, START, 1, |_| true).is_some();
    open_if_there(path).map_or(is_strict, |file| file.is_some_and(has_row))
}

/// Returns the rank of a file of lines as the main one: the smaller, the better.
pub(super) fn rank(name: &str) -> usize {
    ["train", "metric", "log"].iter().position(|word| name.contains(word)).unwrap_or(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_file_may_be() {
        let kinds =
            |directory: &str, name: &str| KINDS.iter().filter(|kind| kind.may_be(directory, name)).count();
        for (directory, name) in [
            ("", "metrics.csv"),
            ("a", "results.csv"),
            ("logs", "ratios.jsonl"),
            ("logs", "train_log.jsonl"),
            ("", "0.monitor.csv"),
            ("out", "trainer_log.jsonl"),
            ("", "training.log"),
        ] {
            assert!(kinds(directory, name) > 0, "{directory}/{name}");
        }
        for (directory, name) in [
            ("logs", "rollouts.jsonl"),
            ("", "ratios.jsonl"),
            ("data", "train.jsonl"),
            ("logs", "Samples.jsonl"),
            ("", "a.csv"),
        ] {
            assert_eq!(kinds(directory, name), 0, "{directory}/{name}");
        }
    }
}
