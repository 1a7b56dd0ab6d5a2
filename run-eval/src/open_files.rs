//! Raises the limit of open files: each run needs two locked files, and one more for each link to checkpoints.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The original limit, which the commands get.
#[derive(Debug)]
pub(crate) struct OpenFiles(Option<(u64, u64)>);

impl OpenFiles {
    /// Raises the soft limit of this process to the hard limit.
    pub(crate) fn raise() -> Self {
        let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
            Ok((soft, hard))
        });
        Self(raised.ok())
    }

    /// Restores the original limit.
    pub(crate) fn restore(&self) {
        if let Some((soft, hard)) = self.0 {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard); // a higher limit does no harm
        }
    }
}
