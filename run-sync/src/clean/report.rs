//! The report of a cleanup: a line for people, an object for programs.

use run_common::figures::{counted, human_bytes};
use run_common::message::warn;
use serde::Serialize;

/// The outcome of a cleanup.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    /// Name of the run in the store, else its own name.
    pub(super) name: String,
    /// Directory of the run, absolute.
    pub(super) path: String,
    /// `removed`, `nothing`, `refused` or, with `--dry-run`, `planned`.
    pub(super) result: &'static str,
    /// The stores in which every byte was read back.
    pub(super) stores: Vec<String>,
    /// Checkpoints that were removed, or would be.
    pub(super) removed: Vec<Removed>,
    /// Bytes of their files.
    pub(super) bytes: u64,
    /// Checkpoints that stay.
    pub(super) kept: Vec<String>,
    /// Files that were not removed, and why.
    pub(super) left: Vec<Left>,
}

/// A checkpoint that was removed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Removed {
    pub(super) path: String,
    pub(super) files: usize,
    pub(super) bytes: u64,
}

/// A file that was not removed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Left {
    pub(super) path: String,
    pub(super) why: String,
}

impl Report {
    /// Reports the files that were not removed.
    pub(super) fn say(&self) {
        for left in &self.left {
            warn(&format!("'{}': left '{}': {}", self.name, left.path, left.why));
        }
    }

    /// Returns lines for people: with `--dry-run` a line for each checkpoint, and a summary.
    pub(super) fn lines(&self) -> Vec<String> {
        let name = &self.name;
        let mut lines = Vec::new();
        if self.result == "planned" {
            let each =
                |one: &Removed| format!("{name}: would remove {} ({})", one.path, human_bytes(one.bytes));
            lines.extend(self.removed.iter().map(each));
            lines.extend(self.kept.iter().map(|path| format!("{name}: would keep {path}")));
        }
        let amount = match &self.removed[..] {
            [one] if one.path == "." => format!("{} but the record", counted(one.files, "file")),
            removed => counted(removed.len(), "checkpoint"),
        };
        let amount = format!("{amount} ({})", human_bytes(self.bytes));
        lines.push(match self.result {
            "refused" => format!("{name}: removed nothing"),
            _ if self.removed.is_empty() => format!("{name}: nothing to remove"),
            "planned" => format!("{name}: would remove {amount}"),
            _ => format!(
                "{name}: removed {amount}, after reading them back from {}",
                self.stores.join(" and ")
            ),
        });
        lines
    }
}
