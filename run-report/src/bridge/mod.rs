//! Exports: writes the logged values of runs in the formats of other systems.

pub(crate) mod mlflow;
mod points;
mod target;
pub(crate) mod tensorboard;
