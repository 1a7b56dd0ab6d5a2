//! A checkpoint to evaluate, and the name of its evaluation.

use run_checkpoint::{Checkpoint, Label};
use run_common::rundir::evaluation::Content;
use std::path::{Path, PathBuf};

/// A checkpoint to evaluate.
#[derive(Debug)]
pub(crate) struct Job {
    /// The number of its session.
    pub(crate) session: usize,
    pub(crate) checkpoint: Checkpoint,
    /// The directory that the checkpoint's path is relative to: the run, or the pins.
    pub(crate) root: PathBuf,
    pub(crate) is_pinned: bool,
    /// Its step, or its name if it has no step.
    pub(crate) name: String,
    /// Its path for the record, relative to the run if it is below the run.
    pub(crate) shown: String,
}

impl Job {
    /// Creates the job for a checkpoint below `root`, of the run at `run`.
    pub(crate) fn new(session: usize, run: &Path, checkpoint: Checkpoint, root: PathBuf) -> Self {
        let path = root.join(&checkpoint.path);
        let shown = path.strip_prefix(run).unwrap_or(&path).to_string_lossy().into_owned();
        Self { session, name: name(&checkpoint), shown, root, is_pinned: false, checkpoint }
    }

    /// Returns the path to read the checkpoint from.
    pub(crate) fn path(&self) -> PathBuf {
        self.root.join(&self.checkpoint.path)
    }

    /// Returns the fingerprint of the checkpoint's content.
    pub(crate) fn content(&self) -> Content {
        let size = self.checkpoint.size;
        Content {
            bytes: size.bytes,
            files: size.files,
            modified_ns: i64::try_from(size.modified_ns).unwrap_or(i64::MAX),
        }
    }

    /// Returns the title of the evaluation, for people.
    pub(crate) fn title(&self) -> String {
        if self.name.parse::<u64>().is_ok() { format!("step {}", self.name) } else { self.name.clone() }
    }
}

/// Returns the name of a checkpoint among the evaluations: its step, with the epoch if steps restart in each
/// epoch, unless its name has a label. A checkpoint that is overwritten in place counts as a new one each
/// time.
fn name(one: &Checkpoint) -> String {
    let own = one.labels.iter().find(|label| **label != Label::Last);
    let label = own.or(one.labels.first());
    let is_overwritten = own.is_none() && label.is_some();
    match (one.step, label) {
        (Some(step), label) if one.is_named || is_overwritten || label.is_none() => match one.epoch {
            Some(epoch) => format!("epoch{epoch}_step{step}"),
            None => step.to_string(),
        },
        (_, Some(label)) => label.word().to_owned(),
        (_, None) => one.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use run_checkpoint::{Size, State};

    fn made(path: &str, step: Option<u64>, labels: &[Label]) -> Checkpoint {
        let is_named = step.is_some_and(|step| path.contains(&step.to_string()));
        let path = PathBuf::from(path);
        let parts = vec![path.clone()];
        let (labels, size, state) = (labels.to_vec(), Size::default(), State::Complete);
        Checkpoint { path, parts, step, epoch: None, is_named, labels, size, state }
    }

    fn called(path: &str, step: Option<u64>, labels: &[Label]) -> String {
        name(&made(path, step, labels))
    }

    #[test]
    fn an_evaluation_has_the_step_of_a_checkpoint_or_its_name() {
        assert_eq!(called("training_state/step_20", Some(20), &[Label::Last]), "20");
        assert_eq!(called("iter_0000100", Some(100), &[]), "100");
        assert_eq!(called("training_state/step_final", Some(40), &[Label::Final]), "final");
        assert_eq!(called("best.pt", None, &[Label::Best]), "best");
        assert_eq!(called("ckpt.pt", Some(40), &[Label::Last]), "40");
        assert_eq!(called("ckpt.pt", None, &[Label::Last]), "last");
        let of_epoch = Checkpoint { epoch: Some(2), ..made("epoch2_step50.pt", Some(50), &[]) };
        assert_eq!(name(&of_epoch), "epoch2_step50");
        assert_eq!(called("base_model", Some(0), &[]), "0");
        assert_eq!(called("base_model", None, &[]), "base_model");
    }
}
