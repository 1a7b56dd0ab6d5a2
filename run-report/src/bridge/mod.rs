//! Ways out: what runs logged, written as other systems keep it, for who looks at runs there.

pub(crate) mod mlflow;
mod points;
mod target;
pub(crate) mod tensorboard;
