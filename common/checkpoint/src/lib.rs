//! What a checkpoint is, and when it is complete: one definition for every tool (run-dir(5),
//! CHECKPOINTS).
//!
//! A checkpoint is a file or directory below a run whose name carries a step or says `final`,
//! `best` or `last`, or whose path matches the pattern that was recorded for the run, which then
//! stands in place of the known names. [`discover()`] lists them and judges each.
//!
//! What is promised of a [`State::Complete`] one:
//! - A file whose format tells where it ends (zip, safetensors, pickle, JSON) is whole: a beginning of
//!   it, of whatever length, is never complete.
//! - A directory whose format writes a mark last (`trainer_state.json`, `training_info.json`,
//!   `.metadata`, a tracker, a rename) has that mark and what goes with it.
//! - All else proves nothing, files of torch before 1.6 included. While the program lives, such a
//!   checkpoint counts when its newest file is older than [`QUIET`]. A program that has ended writes no
//!   more; whether it ended amid a write cannot be seen in such a file.
//!
//! Nothing here sleeps. Who polls may compare [`Checkpoint::size`] of two looks, and so demand
//! that both agree. Heads and tails of files are read, never the files.

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
