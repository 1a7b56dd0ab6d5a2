//! A checkpoint that is to be evaluated, and what its evaluation is called.

use run_checkpoint::{Checkpoint, Label};
use run_common::rundir::evaluation::Content;
use std::path::{Path, PathBuf};

/// A checkpoint that is to be evaluated.
#[derive(Debug)]
pub(crate) struct Job {
    /// The number of the session that it is of.
    pub(crate) session: usize,
    pub(crate) checkpoint: Checkpoint,
    /// The directory that the checkpoint has its path below: the run, or the pins.
    pub(crate) root: PathBuf,
    pub(crate) is_pinned: bool,
    /// Its step, or what it is called instead.
    pub(crate) name: String,
    /// Where it lies, for the record: below the run, where it lies there.
    pub(crate) shown: String,
}

impl Job {
    /// Makes one of a checkpoint below `root`, of the run at `run`.
    pub(crate) fn new(session: usize, run: &Path, checkpoint: Checkpoint, root: PathBuf) -> Self {
        let path = root.join(&checkpoint.path);
        let shown = path.strip_prefix(run).unwrap_or(&path).to_string_lossy().into_owned();
        Self { session, name: name(&checkpoint), shown, root, is_pinned: false, checkpoint }
    }

    /// Returns where the checkpoint is read.
    pub(crate) fn path(&self) -> PathBuf {
        self.root.join(&self.checkpoint.path)
    }

    /// Returns what tells the content of the checkpoint from another.
    pub(crate) fn content(&self) -> Content {
        let size = self.checkpoint.size;
        Content {
            bytes: size.bytes,
            files: size.files,
            modified_ns: i64::try_from(size.modified_ns).unwrap_or(i64::MAX),
        }
    }

    /// Returns what the evaluation is called, for people.
    pub(crate) fn title(&self) -> String {
        if self.name.parse::<u64>().is_ok() { format!("step {}", self.name) } else { self.name.clone() }
    }
}

/// Returns what a checkpoint is called among the evaluations: its step, with the epoch where steps begin again,
/// unless its name calls it something else. What is written again in place is another checkpoint each time.
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
