//! The limit of open files: each run has two that are locked, and one more for each link that leads to
//! checkpoints.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The limit that was in force, which is the commands'.
#[derive(Debug)]
pub(crate) struct OpenFiles(Option<(u64, u64)>);

impl OpenFiles {
    /// Lets this process open as many files as it may.
    pub(crate) fn raise() -> Self {
        let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
            Ok((soft, hard))
        });
        Self(raised.ok())
    }

    /// Puts the limit back that was in force.
    pub(crate) fn restore(&self) {
        if let Some((soft, hard)) = self.0 {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard); // more do no harm
        }
    }
}
