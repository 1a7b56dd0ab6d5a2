//! Checks the requirements of an attempt before anything is started.

use run_common::error::{Error, Exit};
use run_common::fsio::write::open_null;
use run_common::message::warn;
use run_common::process::stat::has_proc;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Number of files that a monitor and a supervisor need, with a margin.
const FILES: usize = 32;

/// Checks that enough files can be opened: a later failure could not be undone.
pub(super) fn check_files(run: &Path) -> Result<(), Error> {
    let null = open_null();
    let spare: io::Result<Vec<File>> = null.and_then(|null| (0..FILES).map(|_| null.try_clone()).collect());
    spare.map(drop).map_err(|error| {
        Error::new(Exit::System, format!("cannot start '{}'", run.display()))
            .because(error)
            .hint("ulimit -n shows and sets the limit")
    })
}

/// Warns, once for all attempts of a command line, that processes are not visible here.
pub(super) fn look_for_proc() {
    static SAID: AtomicBool = AtomicBool::new(false); // also set in forked processes
    if !has_proc() && !SAID.swap(true, Ordering::Relaxed) {
        warn("cannot read /proc; processes that outlive the main process cannot be found");
    }
}
