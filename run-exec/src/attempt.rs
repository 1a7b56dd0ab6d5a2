//! An attempt, and its circumstances beyond the command line.

use crate::settings::Settings;
use run_common::process::identity::Process;
use run_supervise::Retry;

/// An attempt of a run.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// Whether there may be earlier attempts.
    pub(crate) is_resume: bool,
    /// Whether it is a retry: `--from-step` and `--additional-steps` applied to the first attempt only.
    pub(crate) is_retry: bool,
    /// The GPUs assigned to it.
    pub(crate) gpu: Option<String>,
    /// How many free GPUs it is to wait for, which are then assigned to it.
    pub(crate) free: Option<usize>,
    /// Given and inherited options.
    pub(crate) settings: Settings,
    /// When to retry.
    pub(crate) retry: Option<Retry>,
    /// The process that this process works for.
    pub(crate) parent: Option<Process>,
}
