//! Checkpoints: how tools find them, and when a checkpoint is complete. All tools share this definition
//! (run-dir(5), CHECKPOINTS).
//!
//! A checkpoint is a file or directory below a run whose name contains a step or the word `final`, `best` or
//! `last`. If a pattern is recorded for the run, the paths that match the pattern are the checkpoints instead.
//! [`discover()`] lists and judges them.
//!
//! [`State::Complete`] guarantees:
//! - A file whose format shows its end (zip, safetensors, pickle, JSON) is whole: no prefix of the file is ever
//!   complete.
//! - A directory whose format writes a marker last (`trainer_state.json`, `training_info.json`, `.metadata`, a
//!   tracker, a rename) has this marker and the files that the marker implies.
//! - All other files prove nothing, including those of torch before 1.6. While the program lives, such a
//!   checkpoint counts as complete once its newest file is older than [`QUIET`]. A program that has ended
//!   writes no more, but a write that its end interrupted leaves no trace in such a file.
//!
//! Nothing in this crate sleeps. Callers that poll may compare [`Checkpoint::size`] of two looks, and require
//! that both agree. Only small documents are read whole; of other files the parts that matter.

mod bytes;
mod checkpoint;
mod complete;
mod contents;
mod count;
mod discover;
mod document;
mod doubts;
mod format;
mod gather;
mod hugging_face;
mod inside;
mod integrity;
mod name;
mod optimizer;
mod overwritten;
mod own_step;
mod pattern;
mod pickle;
mod saved_step;
mod schedule;
mod siblings;
mod tokens;
mod walk;
mod watch;
mod words;
mod zip;

pub use checkpoint::{Checkpoint, Label, Program, QUIET, Size, State, latest, listed, passed_over, ties};
pub use discover::{Names, at, discover, discover_latest, look_again, save_times};
pub use optimizer::is_optimizer_state;
pub use overwritten::Overwritten;
pub use pattern::{checkpoint_pattern, is_pattern};
pub use schedule::{AGAIN, Schedule, UNNOTICED};
pub use watch::Watcher;
