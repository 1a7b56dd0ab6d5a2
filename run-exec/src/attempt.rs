//! An attempt, and how it is made besides what the command line says.

use crate::settings::Settings;
use run_common::process::identity::Process;
use run_supervise::Retry;

/// An attempt of one run.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// There may have been attempts before.
    pub(crate) is_resume: bool,
    /// It is made in place of one that failed: what the command line says of where to begin, and for how
    /// many steps, was said of that one.
    pub(crate) is_retry: bool,
    /// Graphics processors that it has for its own.
    pub(crate) gpu: Option<String>,
    /// What is given and inherited.
    pub(crate) settings: Settings,
    /// When another attempt may follow.
    pub(crate) retry: Option<Retry>,
    /// The process for which this one works.
    pub(crate) parent: Option<Process>,
}
