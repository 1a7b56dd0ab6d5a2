//! How far a training is, by whatever it writes: checkpoints, metrics, logs.

mod afterwards;
mod arrays;
mod beside;
mod checkpoint;
mod checkpoint_discovery;
mod checkpoint_formats;
mod checkpoint_trainers;
mod file_forms;
mod metric_names;
mod metrics;
mod named_metrics;
mod names;
mod overwritten;
mod progress;
mod real_trainers;
mod scrape;
mod sources;
mod steps;
